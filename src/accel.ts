// Leaves the sending of a file to the front end: the header fields with which nginx (X-Accel-*),
// Apache and lighttpd (X-Sendfile and the like) are told to.
import { toUSVString } from "node:util";
import { checkRecord, integer, invalidOption, oneOf, text, truth } from "./check.ts";
import { encodedPath } from "./uris.ts";

/** What the front end is told besides where the file is. */
export interface AccelOptions {
  /** Whether nginx buffers the answer. @default as nginx is configured */
  readonly buffering?: boolean;
  /** Charset that nginx adds to the type, or "off". */
  readonly charset?: string;
  /** Has the client save the file: under its name, or under the one given. @default false */
  readonly download?: boolean | string;
  /** Seconds that nginx may keep the answer in its cache; 0 or false: not at all. */
  readonly expires?: number | false;
  /**
   * The field that names the file. All but nginx's take a path of the file system.
   * @default "X-Accel-Redirect"
   */
  readonly header?: "X-Accel-Redirect" | "X-Sendfile" | "X-LIGHTTPD-send-file";
  /** Bytes per second that nginx sends at most; false: as many as it can. */
  readonly limitRate?: number | false;
  /** Content-Type. @default the front end's for the file's name */
  readonly type?: string;
}

const NGINX = "X-Accel-Redirect";
const HEADERS = [NGINX, "X-Sendfile", "X-LIGHTTPD-send-file"] as const;
const KEYS = ["buffering", "charset", "download", "expires", "header", "limitRate", "type"];
const NGINX_ONLY = ["buffering", "charset", "expires", "limitRate"] as const;
const SECONDS_MAX = 315_360_000; // ten years
const RATE_MAX = 0x7fff_ffff;

/** @throws {MillraceError} ERR_MILLRACE_INVALID_OPTION */
export function accelLines(uri: string, options: AccelOptions = {}): [string, string][] {
  checkRecord("accel()", options, KEYS);
  const header = options.header ?? NGINX;
  oneOf("accel() header", header, HEADERS);
  const path = typeof uri === "string" ? encodedPath(uri, header === NGINX) : undefined;
  if (path === undefined) {
    const what =
      'takes a path that begins with "/", without dot segments, control characters and malformed ' +
      "escapes (use encodeURIComponent() for names)";
    throw invalidOption("accel()", what, uri);
  }
  const lines: [string, string][] = [[header, path]];
  const { buffering, charset, download, expires, limitRate, type } = options;
  const extra = NGINX_ONLY.find((name) => options[name] !== undefined);
  if (extra !== undefined && header !== NGINX)
    throw invalidOption(`accel() ${extra}`, "goes with X-Accel-Redirect only", options[extra]);
  if (type !== undefined) lines.push(["Content-Type", typeOf(type)]);
  if (buffering !== undefined)
    lines.push(["X-Accel-Buffering", truth("accel() buffering", buffering) ? "yes" : "no"]);
  if (charset !== undefined) lines.push(["X-Accel-Charset", charsetOf(charset)]);
  if (expires !== undefined) {
    const seconds =
      expires === false ? 0 : integer("accel() expires", expires, 0, SECONDS_MAX, "s");
    lines.push(["X-Accel-Expires", `${seconds}`]);
  }
  if (limitRate !== undefined) {
    const isOff = limitRate === false;
    const rate = isOff ? 0 : integer("accel() limitRate", limitRate, 1, RATE_MAX, "bytes/s");
    lines.push(["X-Accel-Limit-Rate", `${rate}`]);
  }
  if (download !== undefined && download !== false)
    lines.push(["Content-Disposition", dispositionOf(download)]);
  return lines;
}

/**
 * A Response that has the front end send a file: nginx an internal location, Apache and lighttpd
 * the file at a path.
 * @param uri - begins with "/"; spaces, "#" and characters beyond ASCII are percent-encoded, for
 * others than nginx "?" too; escapes stay
 * @throws {MillraceError} ERR_MILLRACE_INVALID_OPTION
 * @example
 * ```ts
 * import { accel, serve } from "millrace";
 * const server = await serve({
 *   port: 0,
 *   routes: { "/reports/:id": (_request, ctx) => accel(`/internal/${ctx.params.id}.pdf`) },
 * });
 * await server.close();
 * ```
 */
export function accel(uri: string, options?: AccelOptions): Response {
  return new Response(null, { headers: accelLines(uri, options) });
}

// What a Response takes as well as res.header().
function typeOf(type: unknown): string {
  const value = text("accel() type", type);
  if (/^[\t\x20-\x7e\x80-\xff]*$/.test(value)) return value;
  const what = "must have no control characters and none above U+00FF";
  throw invalidOption("accel() type", what, value);
}

function charsetOf(charset: unknown): string {
  const name = text("accel() charset", charset);
  if (/^[\w!#$%&+\-^`{}~.:]+$/.test(name)) return name;
  throw invalidOption("accel() charset", "must be a name", name);
}

// RFC 6266: the plain form for old clients, the encoded one for every name.
function dispositionOf(download: unknown): string {
  if (download === true) return "attachment";
  const name = toUSVString(text("accel() download", download));
  const plain = name.replace(/[^\x20-\x7e]|["\\%]/g, "_");
  const isPlain = plain === name;
  if (isPlain) return `attachment; filename="${plain}"`;
  const encoded = encodeURIComponent(name).replace(/['()*!]/g, escapeMore);
  return `attachment; filename="${plain}"; filename*=UTF-8''${encoded}`;
}

function escapeMore(character: string): string {
  return `%${character.charCodeAt(0).toString(16).toUpperCase()}`;
}
