// Files as answers: what file() and dir() put into the routes table, and what res.file() asks for.
// They are found, judged and sent natively; nothing of them passes JavaScript.
import { basename, isAbsolute, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { checkRecord, invalidOption, oneOf, text, truth } from "./check.ts";
import { MillraceError, show } from "./errors.ts";
import { HeaderLines, type HeadersInit } from "./lines.ts";

const FILE: unique symbol = Symbol.for("millrace.file");

/** What goes with a file that is sent. */
export interface FileOptions {
  /**
   * Clients save the file instead of showing it (Content-Disposition, RFC 6266): under this name,
   * of any characters, or with true under that of the path.
   */
  readonly download?: boolean | string;
  /** More header fields, such as Cache-Control. Content-Type belongs into `type`. */
  readonly headers?: HeadersInit;
  /**
   * Whether `name.br`, `name.zst` and `name.gz` stand for the file where clients take them.
   * @default true
   */
  readonly precompressed?: boolean;
  /** Content-Type. @default by the extension */
  readonly type?: string;
}

/** How a folder is served. */
export interface DirOptions extends Omit<FileOptions, "download" | "type"> {
  /**
   * What happens to names that begin with a dot: "ignore" answers 404, "deny" 403. `.well-known` is
   * always allowed.
   * @default "ignore"
   */
  readonly dotfiles?: "allow" | "deny" | "ignore";
  /**
   * Whether symbolic links are followed that end inside the folder; those that leave it never are.
   * @default true (where the kernel has no openat2, links are refused)
   */
  readonly followLinks?: boolean;
  /** The file that stands for a folder; false for none. @default "index.html" */
  readonly index?: string | false;
}

/** How `res.file()` finds its file. */
export interface SendFileOptions extends Omit<FileOptions, "headers"> {
  /** With `root`: as that of dir(). @default "ignore" */
  readonly dotfiles?: DirOptions["dotfiles"];
  /** With `root`: as that of dir(). @default true */
  readonly followLinks?: boolean;
  /** A folder that the path, which is relative then, must not leave by "..", links or anything. */
  readonly root?: string;
}

/** What file() and dir() give. */
export interface FileRoute {
  readonly [FILE]: FileSource;
}

/** As the native side takes it. */
export interface FileSource {
  readonly path: string;
  readonly isFolder: boolean;
  readonly index: string;
  readonly type: string;
  readonly dotfiles: number;
  readonly followLinks: boolean;
  readonly precompressed: boolean;
  readonly headers: string; // lines
}

const PATH_MAX = 4096;
const DOTFILES = { ignore: 0, deny: 1, allow: 2 } as const;

/**
 * Serves one file: natively, with sendfile(2), ETag, Last-Modified, conditional requests and ranges
 * (RFC 9110 13, 14), and the precompressed file beside it where there is one.
 *
 * @param path - of the file; a file: URL too. It need not exist yet.
 * @throws {MillraceError} ERR_MILLRACE_INVALID_OPTION, ERR_MILLRACE_INVALID_HEADER
 * @example
 * ```ts
 * import { dir, file, serve } from "millrace";
 * await serve({
 *   port: 0,
 *   routes: {
 *     "/logo.svg": file("public/logo.svg"),
 *     "/static/**": dir("public", { headers: { "Cache-Control": "max-age=3600" } }),
 *   },
 * });
 * ```
 */
export function file(path: string | URL, options: FileOptions = {}): FileRoute {
  checkRecord("file()", options, ["download", "headers", "precompressed", "type"]);
  const plain = pathOf("file()", path);
  const source = {
    path: plain,
    isFolder: false,
    index: "",
    dotfiles: DOTFILES.allow,
    followLinks: true,
    ...commonOf("file()", options, plain),
    type: typeOf("file()", options.type),
  };
  return { [FILE]: source };
}

/**
 * Serves what lies below a folder, for a pattern that ends with "/**". The same as file(), with an
 * index for folders and a redirect to the path with a slash. Nothing outside of the folder can be
 * reached: not by "..", escapes, or symbolic links.
 *
 * @param path - of the folder; a file: URL too
 * @throws {MillraceError} ERR_MILLRACE_INVALID_OPTION, ERR_MILLRACE_INVALID_HEADER
 */
export function dir(path: string | URL, options: DirOptions = {}): FileRoute {
  checkRecord("dir()", options, ["dotfiles", "followLinks", "headers", "index", "precompressed"]);
  const { dotfiles = "ignore", followLinks = true, index = "index.html" } = options;
  oneOf("dir() dotfiles", dotfiles, Object.keys(DOTFILES));
  if (index !== false && (text("dir() index", index).includes("/") || index === ""))
    throw invalidOption("dir() index", "must be a file name or false", index);
  const source = {
    path: pathOf("dir()", path),
    isFolder: true,
    index: index === false ? "" : index,
    type: "",
    dotfiles: DOTFILES[dotfiles],
    followLinks: truth("dir() followLinks", followLinks),
    ...commonOf("dir()", options),
  };
  return { [FILE]: source };
}

/** What file() or dir() has made; undefined of anything else. */
export function fileSourceOf(value: unknown): FileSource | undefined {
  if (typeof value !== "object" || value === null || !(FILE in value)) return undefined;
  return (value as FileRoute)[FILE];
}

/**
 * What the native side is told about a file that a handler answers with: texts with a NUL behind
 * each.
 * @throws {MillraceError} ERR_MILLRACE_INVALID_OPTION
 */
export function sendFileText(
  path: string,
  options: SendFileOptions | undefined,
  field: (name: string) => string | null,
  isHead: boolean,
): string {
  if (options !== undefined) checkRecord("res.file()", options, SEND_OPTIONS);
  const { dotfiles, followLinks = true, precompressed = true, root, type } = options ?? {};
  const isFolder = root !== undefined;
  if (!isFolder && (dotfiles !== undefined || options?.followLinks !== undefined))
    throw invalidOption("res.file()", "takes dotfiles and followLinks with root only", undefined);
  const links = truth("res.file() followLinks", followLinks);
  const flags = [truth("res.file() precompressed", precompressed), isFolder, links, isHead];
  const below = isFolder ? relativeOf(path, dotfiles) : "";
  if (path.length > PATH_MAX) throw fileError(`${path.slice(0, 100)}...`, "ENAMETOOLONG");
  const latin1 = [typeOf("res.file()", type), field("accept-encoding") ?? ""];
  latin1.push(...CONDITIONS.map((name) => field(name) ?? ""));
  const texts = [
    flags.map((flag) => (flag ? "1" : "0")).join(""),
    asBytes(isFolder ? pathOf("res.file() root", root) : pathOf("res.file()", path)),
    asBytes(below),
    ...latin1,
  ];
  return texts.map((each) => `${each}\0`).join("");
}

const SEND_OPTIONS = ["dotfiles", "download", "followLinks", "precompressed", "root", "type"];

// In the order of file_answer.cpp.
const CONDITIONS = [
  "if-match",
  "if-none-match",
  "if-modified-since",
  "if-unmodified-since",
  "if-range",
  "range",
] as const;

/**
 * The error for a file that could not be sent; a handler that lets it escape answers with its
 * status.
 */
export function fileError(path: string, code: string): MillraceError {
  const status = STATUSES[code] ?? 500;
  const message = `${show(path)} could not be sent: ${code}`;
  return new MillraceError(
    status === 404 ? "ERR_MILLRACE_FILE_NOT_FOUND" : "ERR_MILLRACE_FILE_FAILED",
    message,
    { status },
  );
}

// As file_error_status() has them.
const STATUSES: Readonly<Record<string, number>> = {
  EACCES: 403,
  EISDIR: 404,
  ELOOP: 404,
  EMFILE: 503,
  ENAMETOOLONG: 404,
  ENFILE: 503,
  ENOENT: 404,
  ENOTDIR: 404,
  EPERM: 403,
  EXDEV: 404,
};

function commonOf(
  name: string,
  options: Omit<FileOptions, "type">,
  path = "",
): { headers: string; precompressed: boolean } {
  const lines = new HeaderLines();
  if (options.headers !== undefined) lines.setAll(options.headers);
  if (lines.has("content-type"))
    throw invalidOption(`${name} headers`, "hold Content-Type, which belongs into type", undefined);
  if (lines.flags !== 0 || lines.length >= 0)
    throw invalidOption(`${name} headers`, "hold a field that is written for you", undefined);
  const disposition = dispositionOf(name, options.download, path);
  if (disposition !== "") lines.set("Content-Disposition", disposition);
  // The file is encoded already: one beside it would be so twice.
  const isEncoded = lines.has("content-encoding");
  const precompressed = truth(`${name} precompressed`, options.precompressed ?? !isEncoded);
  if (isEncoded && precompressed)
    throw invalidOption(`${name} precompressed`, "cannot go with a Content-Encoding", true);
  return { headers: lines.text, precompressed };
}

/** The header line for res.file()'s `download`, unless the handler has set that field. */
export function downloadLine(
  path: string,
  options: SendFileOptions | undefined,
  lines: HeaderLines | undefined,
): string {
  const value = dispositionOf("res.file()", options?.download, path);
  if (value === "" || lines?.has("content-disposition") === true) return "";
  return `Content-Disposition: ${value}\r\n`;
}

/**
 * A Content-Disposition (RFC 6266) for the `download` option; "" without one.
 * @throws {MillraceError} ERR_MILLRACE_INVALID_OPTION
 */
function dispositionOf(name: string, download: unknown, path: string): string {
  if (download === undefined || download === false) return "";
  const given = download === true ? basename(path) : text(`${name} download`, download);
  const wanted = Buffer.from(given).toString(); // well-formed
  if (wanted === "")
    throw invalidOption(`${name} download`, "takes a file name, or true", download);
  // Old clients read the first one, where quotes and escapes are not safe with all of them.
  const plain = wanted.replace(/[^\x20-\x7e]|["\\%/]/gu, "_");
  const line = `attachment; filename="${plain}"`;
  if (plain === wanted) return line;
  const escaped = (c: string): string => `%${c.charCodeAt(0).toString(16).toUpperCase()}`;
  return `${line}; filename*=UTF-8''${encodeURIComponent(wanted).replace(/['()*]/g, escaped)}`;
}

function typeOf(name: string, type: unknown): string {
  if (type === undefined) return "";
  const lines = new HeaderLines();
  lines.set("Content-Type", text(`${name} type`, type));
  return type as string;
}

function pathOf(name: string, path: unknown): string {
  const plain = path instanceof URL && path.protocol === "file:" ? fileURLToPath(path) : path;
  if (typeof plain === "string" && plain !== "" && !plain.includes("\0")) return resolve(plain);
  throw invalidOption(name, "takes a path or a file: URL", path);
}

// Such names come from peers: what is not below the root is not there.
function relativeOf(path: unknown, dotfiles: DirOptions["dotfiles"] = "ignore"): string {
  if (typeof path !== "string") throw invalidOption("res.file()", "takes a path", path);
  oneOf("res.file() dotfiles", dotfiles, Object.keys(DOTFILES));
  if (path.includes("\0") || isAbsolute(path)) throw fileError(path, "ENOENT");
  if (dotfiles !== "allow" && DOT_NAME.test(path))
    throw fileError(path, dotfiles === "deny" ? "EACCES" : "ENOENT");
  return path;
}

// A name in a path that begins with a dot; "." and ".." are the kernel's to judge.
const DOT_NAME = /(?:^|\/)\.(?!\.?(?:\/|$)|well-known(?:\/|$))/;

// Paths are the system's bytes; what crosses is latin1.
function asBytes(path: string): string {
  return Buffer.from(path).toString("latin1");
}
