// Whether a response is compressed and how its head says so: options, negotiation, types. The bytes
// go through zipped.ts.
import { checkRecord, integer, invalidOption } from "./check.ts";
import { show } from "./errors.ts";
import { ENCODINGS, type Encoding, hasEncoding, LEVELS } from "./zipped.ts";

/** How hard to compress, by encoding; more costs more CPU time. */
export interface CompressLevels {
  /** 0 to 11. @default 4 */
  readonly br?: number;
  /** 1 to 9. @default 6 */
  readonly gzip?: number;
  /** 1 to 19. @default 3 */
  readonly zstd?: number;
}

/** What is compressed, and how. Each is described in docs/compression.md. */
export interface CompressOptions {
  /**
   * Encodings to offer; the first goes among those that the client likes equally. One that this
   * Node's zlib lacks is left out.
   * @default ["zstd", "br", "gzip"]
   */
  readonly encodings?: readonly Encoding[];
  /** How hard to compress. */
  readonly level?: CompressLevels;
  /** Bytes from which a body is compressed whose length is known. @default 1024 */
  readonly threshold?: number;
  /**
   * Media types to compress: "text/html", "text/*", expressions, or a function; they see the type
   * in lower case without parameters. Server-sent events are compressed only when these say so.
   * @default what is text by nature: text/*, JSON, XML, JavaScript, SVG, WebAssembly and the like
   */
  readonly types?: readonly (string | RegExp)[] | ((type: string) => boolean);
}

/** The options with every default filled in, and what was negotiated with them before. */
export interface Compression {
  readonly encodings: readonly Encoding[];
  readonly levels: Readonly<Record<Encoding, number>>;
  readonly threshold: number;
  readonly isType: (type: string) => boolean;
  /** By Accept-Encoding: clients send few different ones. */
  readonly known: Map<string, Encoding | undefined>;
}

/** What became of the head of a response that could be compressed. */
export interface Choice {
  readonly encoding: Encoding | undefined;
  readonly level: number;
  /** The header lines to send. */
  readonly lines: string;
}

/** What choose() looks at. */
export interface Candidate {
  readonly status: number;
  readonly lines: string; // without Content-Length
  readonly length: number; // of the body; -1: unknown
  readonly isForced: boolean; // whatever its type and length
  readonly accepted: string | null; // Accept-Encoding
  readonly validators: string | null; // If-None-Match
}

const COMPRESS_KEYS = ["encodings", "level", "threshold", "types"] as const;
const LEVEL_RANGES = { br: [0, 11], gzip: [1, 9], zstd: [1, 19] } as const;
const THRESHOLD = 1024;
const KNOWN_MAX = 64;
const KNOWN_LENGTH_MAX = 128;
const QUALITY = /^(?:0(?:\.\d*)?|1(?:\.0*)?)$/;
const EVENTS = "text/event-stream";
const TEXTUAL: ReadonlySet<string> = new Set([
  ...["ecmascript", "geo+json-seq", "graphql", "javascript", "json", "json-seq", "jsonl"],
  ...["jsonlines", "ld+json", "ndjson", "rtf", "sql", "toml", "typescript", "vnd.ms-fontobject"],
  ...["wasm", "x-javascript", "x-ndjson", "x-sh", "x-www-form-urlencoded", "x-yaml", "xml"],
  ...["xml-dtd", "yaml"],
]);
const OTHERS: ReadonlySet<string> = new Set([
  ...["font/collection", "font/otf", "font/ttf", "image/bmp", "image/vnd.microsoft.icon"],
  ...["image/x-icon", "model/gltf+json", "model/obj"],
]);

/**
 * The option `compress` of a server or a route; undefined when nothing is compressed. `above` is
 * what the server says, for its routes.
 * @throws {MillraceError} ERR_MILLRACE_INVALID_OPTION
 */
export function compressionOf(
  name: string,
  value: unknown,
  above: Compression | undefined,
): Compression | undefined {
  if (value === undefined) return above;
  if (value === false) return undefined;
  if (value === true) return above ?? compressionOf(name, {}, undefined);
  if (typeof value !== "object")
    throw invalidOption(name, "must be true, false or an object", value);
  checkRecord(name, value, COMPRESS_KEYS);
  const { encodings, level, threshold, types } = value as CompressOptions;
  const known = new Map<string, Encoding | undefined>();
  return {
    encodings:
      encodings === undefined ? (above?.encodings ?? offered(ENCODINGS)) : listed(name, encodings),
    levels: levelsOf(`${name}.level`, level, above?.levels ?? LEVELS),
    threshold:
      threshold === undefined
        ? (above?.threshold ?? THRESHOLD)
        : integer(`${name}.threshold`, threshold, 0, Number.MAX_SAFE_INTEGER, "bytes"),
    isType: types === undefined ? (above?.isType ?? isTextual) : typesOf(`${name}.types`, types),
    known,
  };
}

function offered(encodings: readonly Encoding[]): readonly Encoding[] {
  return encodings.filter(hasEncoding);
}

function listed(name: string, encodings: unknown): readonly Encoding[] {
  const isList = Array.isArray(encodings) && encodings.length > 0;
  const isKnown = isList && encodings.every((each) => ENCODINGS.includes(each as Encoding));
  if (!isKnown || new Set(encodings).size < encodings.length) {
    const what = `must list one or more of ${ENCODINGS.map(show).join(", ")}, each once`;
    throw invalidOption(`${name}.encodings`, what, encodings);
  }
  return offered(encodings as Encoding[]);
}

function levelsOf(
  name: string,
  level: unknown,
  above: Readonly<Record<Encoding, number>>,
): Readonly<Record<Encoding, number>> {
  if (level === undefined) return above;
  checkRecord(name, level, ENCODINGS);
  const levels = { ...above };
  for (const [encoding, value] of Object.entries(level as CompressLevels)) {
    if (value === undefined) continue;
    const [floor, ceiling] = LEVEL_RANGES[encoding as Encoding];
    levels[encoding as Encoding] = integer(`${name}.${encoding}`, value, floor, ceiling);
  }
  return levels;
}

function typesOf(name: string, types: unknown): (type: string) => boolean {
  if (typeof types === "function")
    return (type) => (types as (type: string) => unknown)(type) === true;
  const isList = Array.isArray(types);
  if (!isList || !types.every((each) => typeof each === "string" || each instanceof RegExp)) {
    const what =
      "must be a function, or a list of types, such as text/html or text/*, and expressions";
    throw invalidOption(name, what, types);
  }
  const tests = types.map((each: string | RegExp) => {
    // Without its memory of the last match.
    if (typeof each !== "string") return new RegExp(each.source, each.flags.replace(/[gy]/g, ""));
    const plain = each.toLowerCase().replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
    return new RegExp(`^${plain.replace(/\/\\\*$/, "/.+")}$`);
  });
  return (type) => tests.some((test) => test.test(type));
}

function isTextual(type: string): boolean {
  if (type.startsWith("text/")) return type !== EVENTS;
  if (/\+(?:json|text|xml|yaml)$/.test(type)) return true;
  return type.startsWith("application/") ? TEXTUAL.has(type.slice(12)) : OTHERS.has(type);
}

/** What to send instead of `candidate.lines`; undefined when it goes as it is. */
export function choose(compression: Compression, candidate: Candidate): Choice | undefined {
  const { status, lines } = candidate;
  if (status === 304) return { encoding: undefined, level: 0, lines: notModified(candidate) };
  // 206 carries a part of what a validator stands for.
  if (status >= 300 || status === 204 || status === 205 || status === 206) return undefined;
  if (candidate.length === 0 || fieldOf(lines, "content-encoding") !== undefined) return undefined;
  if (/\bno-transform\b/i.test(fieldOf(lines, "cache-control") ?? "")) return undefined;
  if (!candidate.isForced) {
    if (candidate.length >= 0 && candidate.length < compression.threshold) return undefined;
    const type = fieldOf(lines, "content-type")?.split(";", 1)[0]?.trim().toLowerCase() ?? "";
    if (type === "" || !compression.isType(type)) return undefined;
  }
  const encoding = negotiated(compression, candidate.accepted);
  const varied = withVary(lines);
  if (encoding === undefined) return { encoding, level: 0, lines: varied };
  const coded = `${withWeakTag(varied)}Content-Encoding: ${encoding}\r\n`;
  return { encoding, level: compression.levels[encoding], lines: coded };
}

// It must say of the 200 that it stands for what caches go by (RFC 9110 15.4.5). Whether that was
// compressed, the client knows: its tag is weak then.
function notModified({ lines, validators }: Candidate): string {
  const tag = fieldOf(lines, "etag");
  const wasWeak = tag !== undefined && validators?.includes(`W/${tag}`) === true;
  return withVary(wasWeak ? withWeakTag(lines) : lines);
}

function negotiated(compression: Compression, accepted: string | null): Encoding | undefined {
  if (accepted === null) return undefined;
  const { encodings, known } = compression;
  if (known.has(accepted)) return known.get(accepted);
  const encoding = negotiate(encodings, accepted);
  if (known.size < KNOWN_MAX && accepted.length <= KNOWN_LENGTH_MAX) {
    // A slice of a request's text would keep the text of its whole batch.
    known.set(Buffer.from(accepted, "latin1").toString("latin1"), encoding);
  }
  return encoding;
}

/**
 * The one of `encodings` that Accept-Encoding likes best (RFC 9110 12.5.3), the first of several;
 * undefined when the response goes as it is.
 */
export function negotiate(encodings: readonly Encoding[], accepted: string): Encoding | undefined {
  const qualities = new Map<string, number>();
  for (const element of accepted.split(",")) {
    const [coding = "", ...parameters] = element
      .split(";")
      .map((part) => part.trim().toLowerCase());
    const quality = qualityOf(parameters);
    // What is malformed counts as not said: then nothing is sent that nobody asked for.
    if (coding !== "" && quality !== undefined)
      qualities.set(coding === "x-gzip" ? "gzip" : coding, quality);
  }
  const others = qualities.get("*") ?? 0;
  let best: Encoding | undefined;
  // Who names identity may like it better. Unnamed it is what remains.
  let most = qualities.get("identity") ?? 0;
  for (const encoding of encodings) {
    const quality = qualities.get(encoding) ?? others;
    if (quality === 0 || quality < most || (best !== undefined && quality === most)) continue;
    best = encoding;
    most = quality;
  }
  return best;
}

function qualityOf(parameters: readonly string[]): number | undefined {
  const weight = parameters.find((each) => /^q\s*=/.test(each));
  if (weight === undefined) return 1;
  const value = weight.slice(weight.indexOf("=") + 1).trim();
  return QUALITY.test(value) ? Number(value) : undefined;
}

// --- header lines ---

/** The values of a field, joined with ", "; `lower` is its name in lower case. */
function fieldOf(lines: string, lower: string): string | undefined {
  let found: string | undefined;
  for (const line of lines.split("\r\n")) {
    if (!isOf(line, lower)) continue;
    const value = line.slice(lower.length + 1).trim();
    found = found === undefined ? value : `${found}, ${value}`;
  }
  return found;
}

function isOf(line: string, lower: string): boolean {
  return (
    line.charCodeAt(lower.length) === 0x3a && line.slice(0, lower.length).toLowerCase() === lower
  );
}

// Into the line that is there: some proxies look at one only.
function withVary(lines: string): string {
  const vary = fieldOf(lines, "vary");
  if (vary === undefined || vary === "") return `${lines}Vary: Accept-Encoding\r\n`;
  if (/(?:^|[\s,])(?:\*|accept-encoding)(?:$|[\s,])/i.test(vary)) return lines;
  return `${without(lines, "vary")}Vary: ${vary}, Accept-Encoding\r\n`;
}

// A strong tag promises the same bytes, and there are two representations now (RFC 9110 8.8.1).
function withWeakTag(lines: string): string {
  const tag = fieldOf(lines, "etag");
  if (tag === undefined || !tag.startsWith('"')) return lines;
  return `${without(lines, "etag")}ETag: W/${tag}\r\n`;
}

function without(lines: string, lower: string): string {
  const kept = lines.split("\r\n").filter((line) => line !== "" && !isOf(line, lower));
  return kept.map((line) => `${line}\r\n`).join("");
}
