// Reads Cookie, writes Set-Cookie (RFC 6265bis). Does not sign and does not keep a jar.
import { MillraceError, show } from "./errors.ts";

/** Attributes of a Set-Cookie line. */
export interface CookieOptions {
  /** Host and its subdomains that get the cookie; without it only this host. */
  readonly domain?: string;
  /** When the cookie ends. `maxAge` goes first in every browser. */
  readonly expires?: Date;
  /** Hides the cookie from scripts. @default false */
  readonly httpOnly?: boolean;
  /** Seconds until the cookie ends; 0 or less deletes it. */
  readonly maxAge?: number;
  /** Keeps the cookie apart per top-level site (CHIPS); needs `secure`. @default false */
  readonly partitioned?: boolean;
  /** Path prefix that gets the cookie. @default "/" */
  readonly path?: string;
  /** Which cross-site requests carry it; "none" needs `secure`. */
  readonly sameSite?: "lax" | "strict" | "none";
  /** Only over TLS. @default false */
  readonly secure?: boolean;
}

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const ATTRIBUTE = /^[\x20-\x3a\x3c-\x7e]*$/;
const SAME_SITE: Readonly<Record<string, string>> = { lax: "Lax", none: "None", strict: "Strict" };

/**
 * The cookies of a Cookie field; of two with one name the first counts, as browsers send the
 * closest path first.
 */
export function parseCookies(field: string | null): ReadonlyMap<string, string> {
  const cookies = new Map<string, string>();
  if (field === null) return cookies;
  for (const pair of field.split(";")) {
    const equals = pair.indexOf("=");
    if (equals < 0) continue;
    const name = pair.slice(0, equals).trim();
    if (name === "" || cookies.has(name)) continue;
    const value = pair.slice(equals + 1).trim();
    cookies.set(
      name,
      decoded(
        value.length > 1 && value.startsWith('"') && value.endsWith('"')
          ? value.slice(1, -1)
          : value,
      ),
    );
  }
  return cookies;
}

/** A Set-Cookie value; `value` is percent-encoded, which `parseCookies` undoes. */
export function cookieLine(name: string, value: string, options: CookieOptions = {}): string {
  if (typeof name !== "string" || !TOKEN.test(name))
    throw refused(name, `${show(name)} is not a cookie name`);
  if (typeof value !== "string")
    throw refused(name, `its value must be a string, got ${show(value)}`);
  let line = `${name}=${encodeURIComponent(value)}`;
  if (options.maxAge !== undefined) {
    if (!Number.isSafeInteger(options.maxAge))
      throw refused(name, `maxAge must be whole seconds, got ${show(options.maxAge)}`);
    line += `; Max-Age=${options.maxAge}`;
  }
  if (options.expires !== undefined) {
    if (Number.isNaN(options.expires.getTime())) throw refused(name, "expires is not a valid date");
    line += `; Expires=${options.expires.toUTCString()}`;
  }
  if (options.domain !== undefined) line += `; Domain=${attribute(name, "domain", options.domain)}`;
  line += `; Path=${attribute(name, "path", options.path ?? "/")}`;
  if (options.secure === true) line += "; Secure";
  if (options.httpOnly === true) line += "; HttpOnly";
  if (options.sameSite !== undefined) {
    const word = SAME_SITE[options.sameSite];
    if (word === undefined)
      throw refused(
        name,
        `sameSite must be "lax", "strict" or "none", got ${show(options.sameSite)}`,
      );
    if (word === "None" && options.secure !== true)
      throw refused(name, 'sameSite "none" needs secure: true, or browsers drop it');
    line += `; SameSite=${word}`;
  }
  if (options.partitioned === true) {
    if (options.secure !== true)
      throw refused(name, "partitioned needs secure: true, or browsers drop it");
    line += "; Partitioned";
  }
  return line;
}

function attribute(name: string, key: string, value: string): string {
  if (typeof value === "string" && ATTRIBUTE.test(value)) return value;
  throw refused(name, `${key} must be printable ASCII without ";", got ${show(value)}`);
}

function decoded(value: string): string {
  if (!value.includes("%")) return value;
  try {
    return decodeURIComponent(value);
  } catch {
    return value;
  }
}

function refused(name: string, why: string): MillraceError {
  return new MillraceError("ERR_MILLRACE_INVALID_HEADER", `cookie ${show(name)}: ${why}`);
}
