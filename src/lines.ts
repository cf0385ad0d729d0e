// Response header lines: checks names and values, sets the framing fields apart. Sends nothing.
import { MillraceError, show } from "./errors.ts";
import { COMMAND_FLAG } from "./native/tables.ts";

/** The header fields of an event stream, unless they are set. */
export const EVENT_LINES = [
  ["Content-Type", "text/event-stream"],
  ["Cache-Control", "no-cache"],
  ["X-Accel-Buffering", "no"], // nginx passes events on as they come
] as const;

/**
 * Header fields for a response: what `new Headers()` takes, or an object whose values may be arrays
 * (several lines).
 */
export type HeadersInit =
  | NonNullable<ConstructorParameters<typeof globalThis.Headers>[0]>
  | Readonly<Record<string, string | number | readonly string[]>>;

const PLAIN = 0;
const CONTENT_LENGTH = 1;
const CONNECTION = 2;
const TRANSFER_ENCODING = 3;
const DATE = 4;

const SPECIAL: Readonly<Record<string, number>> = {
  connection: CONNECTION,
  "content-length": CONTENT_LENGTH,
  date: DATE,
  "transfer-encoding": TRANSFER_ENCODING,
};

interface FieldName {
  readonly lower: string;
  readonly mark: string; // "\nname\n", for searching in HeaderLines.#names
  readonly special: number;
  // Most fields have one value all their life: it is checked, and its line put together, once.
  // Given up after some changes, so that nothing of a request is kept alive.
  kept: string | undefined;
  keptLine: string;
  changes: number;
}

// RFC 9110 7.6.1; Trailer too, as the body is framed anew.
const HOP_BY_HOP: ReadonlySet<string> = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);
const DECODED: ReadonlySet<string> = new Set([
  "br",
  "deflate",
  "gzip",
  "x-gzip",
  ...(Number.parseInt(process.versions["undici"] ?? "0", 10) >= 7 ? ["zstd"] : []),
]);

const NAMES_MAX = 512;
const KEPT_LENGTH_MAX = 256;
const KEPT_CHANGES_MAX = 16;
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const NOT_IN_VALUE = /[^\t\x20-\x7e\x80-\xff]/;
const names = new Map<string, FieldName>();

/** The header lines of one response, checked, and what must be told about them natively. */
export class HeaderLines {
  /** "Name: value\r\n" per field. */
  text = "";
  /** COMMAND_FLAG bits: close, hasDate. */
  flags = 0;
  /** Content-Length as the application said it; -1 when it did not. It is not in `text`. */
  length = -1;
  #names = "\n";

  /** Replaces every line of that name. An array makes several lines. */
  set(name: string, value: string | number | readonly string[]): void {
    const field = fieldNameOf(name);
    if (typeof value === "string" && value === field.kept) {
      if (this.text !== "") this.#remove(field);
      this.#addLine(field, field.keptLine);
      return;
    }
    if (field.special !== PLAIN) {
      if (this.#setSpecial(field, name, value)) return;
    }
    if (typeof value === "object") {
      const list = value.map((each) => checkedValue(name, each));
      this.#remove(field);
      for (const each of list) this.#add(field, name, each);
      return;
    }
    const checked = checkedValue(name, value);
    if (this.text !== "") this.#remove(field);
    this.#addLine(field, lineOf(field, name, checked));
  }

  /** Adds a line and leaves those of the same name. */
  append(name: string, value: string | number): void {
    const field = fieldNameOf(name);
    if (field.special === PLAIN) this.#add(field, name, checkedValue(name, value));
    else this.set(name, value);
  }

  /** Whether a line of that name is there; `lower` in lower case. */
  has(lower: string): boolean {
    return this.#names.includes(`\n${lower}\n`);
  }

  /** Removes the lines of a name, in lower case, and gives their values. */
  take(lower: string): string[] {
    const field = fieldNameOf(lower);
    const prefix = `${lower}:`;
    const values = this.text
      .split("\r\n")
      .filter((line) => line.slice(0, prefix.length).toLowerCase() === prefix)
      .map((line) => line.slice(prefix.length).trim());
    this.#remove(field);
    return values;
  }

  /** Sets what `headers` has. */
  setAll(headers: HeadersInit): void {
    if (typeof headers !== "object" || headers === null) {
      throw new MillraceError(
        "ERR_MILLRACE_INVALID_HEADER",
        `headers must be an object, pairs or Headers, got ${show(headers)}`,
      );
    }
    if (Symbol.iterator in headers) {
      this.#setPairs(headers as Iterable<readonly [string, string]>);
      return;
    }
    for (const name of Object.keys(headers))
      this.set(name, (headers as Readonly<Record<string, string>>)[name] as string);
  }

  /**
   * Takes over the fields of a standard Response. What only concerns the hop it came from is left
   * behind. `isForLength`: no body goes with it, so that its Content-Length is news.
   */
  takeFrom(response: Response, isForLength: boolean): void {
    if (isFetched(response)) {
      this.#takeFetched(response, isForLength);
      return;
    }
    for (const [name, value] of response.headers) {
      if (name === "transfer-encoding" || name === "keep-alive") continue;
      if (name === "connection" && !/(?:^|,)\s*close\s*(?:,|$)/i.test(value)) continue;
      if (name === "connection") this.flags |= COMMAND_FLAG.close;
      else this.append(name, value);
    }
  }

  #takeFetched(response: Response, isForLength: boolean): void {
    const { headers } = response;
    const decoded = isDecoded(response);
    const dropped = (headers.get("connection") ?? "").toLowerCase().split(/[\s,]+/);
    for (const [name, value] of headers) {
      if (HOP_BY_HOP.has(name) || dropped.includes(name)) continue;
      if (name === "content-encoding" && decoded) continue;
      if (name === "content-length" && (decoded || !isForLength)) continue;
      this.append(name, value);
    }
  }

  // Pairs of one name add up, and together they replace what was there before.
  #setPairs(pairs: Iterable<readonly [string, string]>): void {
    const seen = new Set<string>();
    for (const [name, value] of pairs) {
      const { lower } = fieldNameOf(name);
      if (seen.has(lower)) this.append(name, value);
      else this.set(name, value);
      seen.add(lower);
    }
  }

  #add(field: FieldName, name: string, value: string): void {
    this.#addLine(field, `${name}: ${value}\r\n`);
  }

  #addLine(field: FieldName, line: string): void {
    if (this.text === "") {
      this.text = line;
      this.#names = field.mark;
    } else {
      this.text += line;
      this.#names += `${field.lower}\n`;
    }
  }

  #remove(field: FieldName): void {
    if (!this.#names.includes(field.mark)) return;
    const prefix = `${field.lower}:`;
    const kept = this.text
      .split("\r\n")
      .filter((line) => line !== "" && line.slice(0, prefix.length).toLowerCase() !== prefix);
    this.text = kept.map((line) => `${line}\r\n`).join("");
    this.#names = `\n${this.#names
      .split("\n")
      .filter((each) => each !== "" && each !== field.lower)
      .map((each) => `${each}\n`)
      .join("")}`;
  }

  // True when the field is dealt with and gets no line. Framing is written natively, so that it
  // cannot be wrong.
  #setSpecial(field: FieldName, name: string, value: string | number | readonly string[]): boolean {
    const text = checkedValue(name, typeof value === "object" ? value.join(", ") : value).trim();
    switch (field.special) {
      case CONTENT_LENGTH:
        if (!/^\d{1,15}$/.test(text)) throw refused(name, text, "it is a number of bytes");
        this.length = Number(text);
        return true;
      case CONNECTION: {
        const option = text.toLowerCase();
        if (option === "close") this.flags |= COMMAND_FLAG.close;
        else if (option !== "keep-alive")
          throw refused(name, text, 'only "close" and "keep-alive" can be asked for');
        return true;
      }
      case TRANSFER_ENCODING:
        throw refused(name, text, "millrace frames the body itself");
      default:
        this.flags |= COMMAND_FLAG.hasDate;
        return false;
    }
  }
}

/**
 * Whether it is what fetch() gave, and its body decoded already: Content-Encoding and
 * Content-Length then tell of bytes that nobody has any more.
 */
export function isDecoded(response: Response): boolean {
  const coding = response.headers.get("content-encoding");
  if (coding === null || !isFetched(response)) return false;
  // One that fetch() does not know leaves the whole body as it came.
  return coding.split(",").every((each) => DECODED.has(each.trim().toLowerCase()));
}

// The ones that handlers make have no URL and are of type "default".
function isFetched({ type, url }: Response): boolean {
  return type === "basic" || type === "cors" || (typeof url === "string" && url !== "");
}

// Checked once per distinct name; bounded, because a name may come from a peer.
function fieldNameOf(name: string): FieldName {
  const known = names.get(name);
  if (known !== undefined) return known;
  if (typeof name !== "string" || !TOKEN.test(name)) {
    throw new MillraceError(
      "ERR_MILLRACE_INVALID_HEADER",
      `${show(name)} is not a header name; use letters, digits and - only`,
    );
  }
  const lower = name.toLowerCase();
  const field: FieldName = {
    lower,
    mark: `\n${lower}\n`,
    special: Object.hasOwn(SPECIAL, lower) ? (SPECIAL[lower] as number) : PLAIN,
    kept: undefined,
    keptLine: "",
    changes: 0,
  };
  if (names.size < NAMES_MAX) names.set(name, field);
  return field;
}

// The line of a field that set() adds, kept if it is likely to come again.
function lineOf(field: FieldName, name: string, value: string): string {
  const line = `${name}: ${value}\r\n`;
  if (field.special !== PLAIN || field.changes > KEPT_CHANGES_MAX) return line;
  field.changes += 1;
  const isKept = field.changes <= KEPT_CHANGES_MAX && value.length <= KEPT_LENGTH_MAX;
  field.kept = isKept ? copyOf(value) : undefined;
  field.keptLine = isKept ? copyOf(line) : "";
  return line;
}

// A slice of a request's text would keep the text of its whole batch.
function copyOf(latin1: string): string {
  return Buffer.from(latin1, "latin1").toString("latin1");
}

function checkedValue(name: string, value: unknown): string {
  const text = typeof value === "number" ? `${value}` : value;
  if (typeof text !== "string") {
    throw new MillraceError(
      "ERR_MILLRACE_INVALID_HEADER",
      `the value of header ${name} must be a string, got ${show(value)}`,
    );
  }
  const bad = NOT_IN_VALUE.exec(text);
  if (bad === null) return text;
  const point = (text.codePointAt(bad.index) as number).toString(16).toUpperCase().padStart(4, "0");
  const hint =
    "CR, LF, NUL, control characters and those above U+00FF cannot be sent; encode them (encodeURIComponent)";
  throw new MillraceError(
    "ERR_MILLRACE_INVALID_HEADER",
    `the value of header ${name} holds U+${point} at position ${bad.index}; ${hint}`,
  );
}

function refused(name: string, value: string, why: string): MillraceError {
  return new MillraceError(
    "ERR_MILLRACE_INVALID_HEADER",
    `header ${name}: ${show(value)} cannot be sent: ${why}`,
  );
}
