// Parts of a multipart/form-data body as an async iterator that cannot hang: whatever ends the body
// ends it, and leaving a part drops what is left of it.
import { limitOf } from "./body.ts";
import { checkRecord, milliseconds } from "./check.ts";
import { MillraceError, sentenceOf, show } from "./errors.ts";
import { HeaderText, type ReadonlyHeaders } from "./headers.ts";
import type { Binding } from "./native/binding.ts";
import { ERRORS } from "./native/tables.ts";
import { type SavedFile, type SaveOptions, saveFile, writeBytes } from "./saving.ts";

/**
 * Bounds of one form. Beyond: ERR_MILLRACE_MULTIPART_LIMIT (413) or
 * ERR_MILLRACE_PART_HEADERS_TOO_LARGE (431).
 */
export interface MultipartOptions {
  /** Bytes of one part without a filename. @default 1_048_576 */
  readonly fieldSize?: number;
  /** Parts without a filename. @default 1000 */
  readonly fields?: number;
  /** Bytes of one part with a filename. @default unbounded */
  readonly fileSize?: number;
  /** Parts with a filename. @default 1000 */
  readonly files?: number;
  /**
   * Milliseconds for the whole form, while anything of it is waited for; then the connection is
   * cut.
   * @default no bound of its own
   */
  readonly giveUpMs?: number;
  /** Header fields of one part. @default 32 */
  readonly headers?: number;
  /** Bytes of the head of one part; 8192 at most. @default 8192 */
  readonly headerSize?: number;
  /**
   * Milliseconds without anything of the form; then the connection is cut. While a file is saved or
   * a part dropped, timeouts.receive is judged instead.
   * @default timeouts.receive
   */
  readonly idleMs?: number;
  /** Parts. @default 1000 */
  readonly parts?: number;
  /** Bytes of the whole form. @default the route's maxBodySize */
  readonly totalSize?: number;
}

/**
 * One part of a form. Iterating over it, or one of its methods, reads its content, once; what
 * nobody
 * reads when the next part is asked for is dropped. The next part comes when bytes(), text() or
 * saveTo() of this one is through.
 */
export interface Part extends AsyncIterable<Uint8Array> {
  /** What the client calls the file: never a path to be trusted. Undefined for a plain field. */
  readonly filename: string | undefined;
  /** Header fields of the part. */
  readonly headers: ReadonlyHeaders;
  /** Name of the form's field. */
  readonly name: string;
  /**
   * Content-Type without parameters, in lower case; "text/plain" when there is none (RFC 7578 4.4).
   */
  readonly type: string;

  /**
   * The content, at most 16 MiB unless `limit` says otherwise.
   * @throws {MillraceError} ERR_MILLRACE_BODY_USED, ERR_MILLRACE_BODY_TOO_LARGE (as rejections)
   */
  bytes(options?: { readonly limit?: number }): Promise<Uint8Array>;
  /**
   * Writes the content into a file, on native threads and without passing JavaScript: into a
   * temporary
   * file beside it, renamed at the end, removed when anything fails.
   * @throws {MillraceError} ERR_MILLRACE_SAVE_FAILED (507 when the disk is full, 409 when what is
   * there may not be replaced; `cause.code` names the system's reason), ERR_MILLRACE_ABORTED,
   * ERR_MILLRACE_GAVE_UP, ERR_MILLRACE_BODY_TOO_LARGE
   */
  saveTo(path: string, options?: SaveOptions): Promise<SavedFile>;
  /** Drops the content. */
  skip(): Promise<void>;
  /** The content as UTF-8 text. */
  text(options?: { readonly limit?: number }): Promise<string>;
}

/** Where parts come from: a body that streams, or one that is here. */
export interface PartSource {
  /** The next part; undefined at the end. What is left of the one before is dropped. */
  next(): Promise<Part | undefined>;
  /** Nobody reads on. */
  leave(): void;
}

const KEYS = [
  ...["fieldSize", "fields", "fileSize", "files", "giveUpMs", "headerSize", "headers"],
  ...["idleMs", "parts", "totalSize"],
] as const;
const HEADER_SIZE_MAX = 8192;
const BYTES_MAX = 16_777_216;
const utf8 = new TextDecoder();

/** The checked options of a form. */
export interface FormBounds {
  readonly giveUpMs: number;
  readonly idleMs: number;
  /** As the native side takes them. */
  readonly limits: Float64Array;
}

/** @throws {MillraceError} ERR_MILLRACE_INVALID_OPTION */
export function boundsOf(options: MultipartOptions = {}): FormBounds {
  checkRecord("multipart()", options, KEYS);
  return {
    giveUpMs: milliseconds("multipart() giveUpMs", options.giveUpMs, Infinity),
    idleMs: milliseconds("multipart() idleMs", options.idleMs, Infinity),
    limits: limitsOf(options),
  };
}

function limitsOf(options: MultipartOptions): Float64Array {
  const of = (key: keyof MultipartOptions, fallback: number, most = Infinity): number => {
    const value: unknown = options[key];
    if (value === undefined) return fallback;
    if (typeof value === "number" && value >= 0 && value <= most) return Math.floor(value);
    const range = most === Infinity ? "0 or more" : `0 to ${most}`;
    const message = `multipart() ${key} must be a number of ${range}, got ${show(value)}`;
    throw new MillraceError("ERR_MILLRACE_INVALID_OPTION", message);
  };
  return Float64Array.of(
    of("parts", 1000),
    of("fields", 1000),
    of("files", 1000),
    of("fieldSize", 1_048_576),
    of("fileSize", Infinity),
    of("totalSize", Infinity),
    of("headerSize", HEADER_SIZE_MAX, HEADER_SIZE_MAX),
    of("headers", 32),
  );
}

/** @throws {MillraceError} ERR_MILLRACE_UNSUPPORTED_MEDIA_TYPE, ERR_MILLRACE_BAD_MULTIPART */
export function boundaryOf(native: Binding, contentType: string | null, where: string): string {
  const found = native.multipartBoundary(contentType ?? "");
  if (typeof found === "string") return found;
  const { code } = ERRORS[found] as { code: MillraceError["code"] };
  const type = contentType === null ? "none" : show(contentType);
  const needed = "multipart/form-data with a boundary is needed";
  const message = `${where}: ${sentenceOf(code)} Content-Type: ${type}; ${needed}`;
  throw new MillraceError(code, message);
}

/** Iterates over parts; leaving the loop early drops the rest. */
export async function* partsOf(source: PartSource): AsyncGenerator<Part, void, undefined> {
  try {
    for (;;) {
      const part = await source.next();
      if (part === undefined) return;
      yield part;
    }
  } finally {
    source.leave();
  }
}

/** What a part is, before anything of its content. */
export class PartHead {
  readonly name: string;
  readonly filename: string | undefined;
  readonly headers: ReadonlyHeaders;

  /** Texts as they come from the native side: bytes as latin1, headers as events have them. */
  constructor(name: string, filename: string | null, headers: string) {
    this.name = decoded(name);
    this.filename = filename === null ? undefined : decoded(filename);
    this.headers = new HeaderText(headers);
  }

  get type(): string {
    const type = this.headers.get("content-type");
    return type === null ? "text/plain" : (type.split(";", 1)[0] as string).trim().toLowerCase();
  }
}

function decoded(text: string): string {
  return /[\u0080-\u00ff]/.test(text) ? Buffer.from(text, "latin1").toString("utf8") : text;
}

/** The parts of a body that is here as a whole. */
export function wholeParts(
  native: Binding,
  bytes: Uint8Array,
  boundary: string,
  limits: Float64Array,
): readonly Part[] {
  const found = native.decodeParts(bytes, boundary, limits);
  if (typeof found === "number") {
    const { code } = ERRORS[found] as { code: MillraceError["code"] };
    throw new MillraceError(code, sentenceOf(code));
  }
  return found.map((row) => {
    const head = new PartHead(row.name, row.filename, row.headers);
    return new WholePart(head, bytes.slice(row.begin, row.end));
  });
}

/** A part whose content is here. */
class WholePart implements Part {
  readonly name: string;
  readonly filename: string | undefined;
  readonly headers: ReadonlyHeaders;
  readonly type: string;
  #bytes: Uint8Array | undefined;

  constructor(head: PartHead, bytes: Uint8Array) {
    this.name = head.name;
    this.filename = head.filename;
    this.headers = head.headers;
    this.type = head.type;
    this.#bytes = bytes;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, undefined> {
    const bytes = this.#take();
    if (bytes.length > 0) yield bytes;
  }

  async bytes(options?: { readonly limit?: number }): Promise<Uint8Array> {
    const limit = partLimitOf(options);
    if ((this.#bytes?.length ?? 0) > limit) throw tooLarge(this.name, limit);
    return this.#take();
  }

  async text(options?: { readonly limit?: number }): Promise<string> {
    return utf8.decode(await this.bytes(options));
  }

  saveTo(path: string, options?: SaveOptions): Promise<SavedFile> {
    return saveFile(path, options, (file, digest, limit) =>
      writeBytes(path, file, digest, limit, [this.#take()]),
    );
  }

  async skip(): Promise<void> {
    this.#bytes = undefined;
  }

  #take(): Uint8Array {
    const bytes = this.#bytes;
    if (bytes === undefined) throw partUsed(this.name);
    this.#bytes = undefined;
    return bytes;
  }
}

/** What bytes() and text() of a part take. @throws {MillraceError} ERR_MILLRACE_INVALID_OPTION */
export function partLimitOf(options: { readonly limit?: number } | undefined): number {
  return limitOf({ limit: options?.limit ?? BYTES_MAX });
}

/** @throws nothing: makes the error */
export function partUsed(name: string): MillraceError {
  const fix = "read it once, before the next part";
  const message = `the content of part ${show(name)} has been read or dropped already; ${fix}`;
  return new MillraceError("ERR_MILLRACE_BODY_USED", message);
}

/** @throws nothing: makes the error */
export function tooLarge(name: string, limit: number): MillraceError {
  const message = `part ${show(name)} has more than ${limit} bytes`;
  return new MillraceError("ERR_MILLRACE_BODY_TOO_LARGE", message);
}

/** The parts of a body that is here, as a source. */
export function wholeSource(parts: readonly Part[]): PartSource {
  const left = [...parts];
  return {
    next: async () => left.shift(),
    leave: () => {
      left.length = 0;
    },
  };
}
