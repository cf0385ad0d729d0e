// What goes into header fields as a URI: percent-encodes what cannot stand there.
import { toUSVString } from "node:util";
import { MillraceError, show } from "./errors.ts";

const ESCAPED = /[^\x21-\x7e]|["#<>\\^`{|}]/g;
const ESCAPED_WITHOUT_QUERY = /[^\x21-\x7e]|["#<>?\\^`{|}]/g;

/** The value of Location: characters beyond ASCII are percent-encoded, all else is as given. */
export function encodedLocation(to: string): string {
  if (typeof to !== "string")
    throw new MillraceError(
      "ERR_MILLRACE_INVALID_HEADER",
      `redirect() takes a string, got ${show(to)}`,
    );
  try {
    return to.replace(/[\u0080-\uffff]+/g, encodeURIComponent);
  } catch (cause) {
    const message = `the redirect to ${show(to)} holds half a surrogate pair`;
    throw new MillraceError("ERR_MILLRACE_INVALID_HEADER", message, { cause });
  }
}

/**
 * A path as a front end decodes it: spaces, "#" and what RFC 3986 has no place for are
 * percent-encoded, escapes stay. A "?" begins a query where `hasQuery`, else it is a character of
 * the path. Undefined for what no front end should be sent to: not absolute, a malformed escape, a
 * control character, half a surrogate pair, or a dot segment.
 */
export function encodedPath(path: string, hasQuery: boolean): string | undefined {
  const isClean =
    path.startsWith("/") &&
    toUSVString(path) === path &&
    !/\p{Cc}|%(?![\dA-Fa-f]{2})|%[01][\dA-Fa-f]|%7[Ff]/u.test(path);
  if (!isClean) return undefined;
  const query = hasQuery ? path.indexOf("?") : -1;
  const plain = (query < 0 ? path : path.slice(0, query))
    .replace(/%2e/gi, ".")
    .replace(/%2f/gi, "/");
  if (/\/\.\.?(?:\/|$)/.test(plain)) return undefined;
  return path
    .replace(/[\u0080-\u{10ffff}]/gu, encodeURIComponent)
    .replace(hasQuery ? ESCAPED : ESCAPED_WITHOUT_QUERY, escaped);
}

function escaped(character: string): string {
  return `%${character.charCodeAt(0).toString(16).toUpperCase().padStart(2, "0")}`;
}
