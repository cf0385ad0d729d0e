// The URL of a WebSocket: what to connect to, and what to ask for there. Opens nothing.
import { resolve } from "node:path";
import { invalidOption } from "../check.ts";
import { MillraceError, show } from "../errors.ts";

/** Where a client connects to. */
export interface Target {
  /** The URL as it is understood: ws: or wss:, ws+unix: or wss+unix:. */
  readonly href: string;
  /** Whether TLS is spoken. */
  readonly isSecure: boolean;
  /** A name or a numeric address, without brackets; "" for a unix socket. */
  readonly hostname: string;
  readonly port: number;
  /** Path of the unix socket, "\0name" for an abstract one; "" with a hostname. */
  readonly unix: string;
  /** The Host field. */
  readonly host: string;
  /** Path and query of the request. */
  readonly path: string;
  /** The Authorization field of user and password in the URL; "" when there are none. */
  readonly authorization: string;
}

const UNIX_PATH_BYTES_MAX = 107;
// HTTP's schemes mean the same here (WHATWG WebSockets 3.1).
const SCHEMES: Readonly<Record<string, string>> = {
  "ws:": "ws:",
  "wss:": "wss:",
  "http:": "ws:",
  "https:": "wss:",
  "ws+unix:": "ws+unix:",
  "wss+unix:": "wss+unix:",
};

/**
 * Understands a URL: ws:, wss:, http:, https:, or as npm's ws has it `ws+unix:/path/to.sock:/path`.
 * `unix` is a socket that is used instead of the URL's host.
 * @throws {MillraceError} ERR_MILLRACE_INVALID_OPTION
 */
export function targetOf(input: unknown, unix: unknown): Target {
  const url = urlOf(input);
  const scheme = SCHEMES[url.protocol];
  if (scheme === undefined)
    throw invalidUrl("must begin with ws:, wss:, http:, https: or ws+unix:", input);
  if (url.href.includes("#")) throw invalidUrl("must not have a fragment", input);
  const authorization = authorizationOf(url, input);
  url.username = "";
  url.password = "";
  const isSecure = scheme.startsWith("wss");
  if (scheme.endsWith("+unix:")) {
    if (unix !== undefined) throw invalidOption("unix", "does not go with a ws+unix: URL", unix);
    return { ...unixOf(url, input), isSecure, authorization };
  }
  url.protocol = scheme;
  return {
    href: url.href,
    isSecure,
    hostname: unix === undefined ? url.hostname.replace(/^\[(.*)\]$/, "$1") : "",
    port: unix === undefined ? Number(url.port) || (isSecure ? 443 : 80) : 0,
    unix: unix === undefined ? "" : unixPath("unix", unix),
    host: url.host,
    path: url.pathname + url.search,
    authorization,
  };
}

function urlOf(input: unknown): URL {
  if (typeof input === "string" || input instanceof URL) {
    try {
      return new URL(input);
    } catch {
      // Said below.
    }
  }
  throw invalidUrl("must be an absolute URL", input);
}

function unixOf(url: URL, input: unknown): Omit<Target, "isSecure" | "authorization"> {
  if (url.host !== "") throw invalidUrl("has its path right behind ws+unix:, no host", input);
  const colon = url.pathname.indexOf(":");
  const file = colon < 0 ? url.pathname : url.pathname.slice(0, colon);
  const path = colon < 0 ? "/" : url.pathname.slice(colon + 1);
  if (path !== "" && !path.startsWith("/"))
    throw invalidUrl("has a path that begins with / behind the socket's", input);
  return {
    href: url.href,
    hostname: "",
    port: 0,
    unix: unixPath("the path of a ws+unix: URL", decoded(file, input)),
    host: "localhost",
    // The path of a URL without a host may hold spaces: they would end the request's target.
    path: (path === "" ? "/" : path.replace(/[^!-~]/gu, encodeURIComponent)) + url.search,
  };
}

// Natively a path is told from an address by its slash.
function unixPath(name: string, value: unknown): string {
  const isPath = typeof value === "string" && value !== "" && !value.slice(1).includes("\0");
  if (!isPath) throw invalidOption(name, "must be the path of a socket", value);
  const path = value.startsWith("\0") ? value : resolve(value);
  if (Buffer.byteLength(path) <= UNIX_PATH_BYTES_MAX) return path;
  throw invalidOption(name, `must have at most ${UNIX_PATH_BYTES_MAX} bytes`, value);
}

function authorizationOf({ username, password }: URL, input: unknown): string {
  if (username === "" && password === "") return "";
  const both = `${decoded(username, input)}:${decoded(password, input)}`;
  return `Basic ${Buffer.from(both).toString("base64")}`;
}

function decoded(text: string, input: unknown): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw invalidUrl("has a malformed escape", input);
  }
}

// Without what may be a password.
function invalidUrl(what: string, input: unknown): MillraceError {
  const text = input instanceof URL ? input.href : input;
  const shown = typeof text === "string" ? text.replace(/\/\/[^/@]*@/, "//***@") : text;
  return new MillraceError(
    "ERR_MILLRACE_INVALID_OPTION",
    `the URL of a WebSocket ${what}, got ${show(shown)}`,
  );
}
