// Reads what proxies write about a client, from the right: X-Forwarded-* lists and the elements of
// Forwarded (RFC 7239). What stands left of an entry, a client's own claim perhaps, cannot change
// how the entry is read. Trusts nobody and decides nothing.
import { textOf, wordsOf } from "./addresses.ts";

/** Who one entry names. */
export interface Hop {
  /** Numeric, in its one form; "" for a peer on a unix socket. */
  readonly address: string;
  /** 0 when the entry has none. */
  readonly port: number;
}

/** One element of Forwarded; null for what it does not say. */
export interface ForwardedElement {
  readonly for: string | null;
  readonly host: string | null;
  readonly proto: string | null;
}

// Longer ones are no addresses.
const ELEMENT_LENGTH_MAX = 1024;
const PAIR =
  /[\t ]*([!#$%&'*+\-.^_`|~\w]+)=(?:([!#$%&'*+\-.^_`|~\w]+)|"((?:[^"\\]|\\.)*)")[\t ]*(?:;|$)/y;
const PORT = /^(?:0|[1-9]\d{0,4})$/;

/**
 * An entry of X-Forwarded-For, or `for` of Forwarded: an address with or without brackets and
 * port. Undefined for a hidden one ("unknown", "_name") and for what is none.
 */
export function hopOf(entry: string): Hop | undefined {
  if (entry === "unix:") return { address: "", port: 0 }; // nginx, of a client on a unix socket
  const bracket = entry.startsWith("[") ? entry.indexOf("]") : -1;
  const colon = bracket >= 0 ? bracket + 1 : entry.indexOf(":");
  // Without brackets a second colon means that none of them begins a port.
  const isBare = bracket < 0 && (colon < 0 || entry.includes(":", colon + 1));
  const host = isBare ? entry : bracket >= 0 ? entry.slice(1, bracket) : entry.slice(0, colon);
  if (bracket >= 0 && !host.includes(":")) return undefined;
  const words = wordsOf(host);
  if (words === undefined) return undefined;
  const rest = isBare ? "" : entry.slice(colon);
  if (rest === "") return { address: textOf(words), port: 0 };
  const port = portOf(rest);
  return port === undefined ? undefined : { address: textOf(words), port };
}

// An obfuscated port (RFC 7239 6.3) is none.
function portOf(rest: string): number | undefined {
  if (/^:_[\w.-]+$/.test(rest)) return 0;
  if (!rest.startsWith(":") || !PORT.test(rest.slice(1))) return undefined;
  const port = Number(rest.slice(1));
  return port <= 65_535 ? port : undefined;
}

/** The entries of a list, last one first; empty ones are left out (RFC 9110 5.6.1). */
export function* entriesFromRight(list: string): Generator<string, void, undefined> {
  let end = list.length;
  while (end >= 0) {
    const comma = end === 0 ? -1 : list.lastIndexOf(",", end - 1);
    const entry = list.slice(comma + 1, end).trim();
    if (entry !== "") yield entry;
    end = comma;
  }
}

/** The elements of Forwarded, last one first; ends before the first that is malformed. */
export function* elementsFromRight(field: string): Generator<ForwardedElement, void, undefined> {
  let end = field.length;
  while (end >= 0) {
    const comma = commaBefore(field, end);
    if (comma === undefined || end - comma > ELEMENT_LENGTH_MAX) return;
    const text = field.slice(comma + 1, end).trim();
    if (text !== "") {
      const element = elementOf(text);
      if (element === undefined) return;
      yield element;
    }
    end = comma;
  }
}

// The last comma before `end` that is in no quoted string, -1 for the beginning; undefined when
// what is passed is no element.
function commaBefore(field: string, end: number): number | undefined {
  const floor = Math.max(-1, end - ELEMENT_LENGTH_MAX - 1);
  for (let at = end - 1; at > floor; at -= 1) {
    const code = field.charCodeAt(at);
    if (code === 0x2c) return at;
    if (code !== 0x22) continue;
    at = openingBefore(field, at, floor);
    if (at < 0) return undefined;
  }
  return floor < 0 ? -1 : undefined;
}

// Quotes inside a quoted string have a backslash, or another odd number of them, before them.
function openingBefore(field: string, closing: number, floor: number): number {
  for (let at = closing - 1; at > floor; at -= 1) {
    if (field.charCodeAt(at) !== 0x22) continue;
    let slashes = 0;
    while (field.charCodeAt(at - 1 - slashes) === 0x5c) slashes += 1;
    if (slashes % 2 === 0) return at;
    at -= slashes;
  }
  return -1;
}

function elementOf(text: string): ForwardedElement | undefined {
  const found: Record<"for" | "host" | "proto", string | null> = {
    for: null,
    host: null,
    proto: null,
  };
  const seen = new Set<string>();
  PAIR.lastIndex = 0;
  while (PAIR.lastIndex < text.length) {
    const match = PAIR.exec(text);
    if (match === null) return undefined;
    const name = (match[1] as string).toLowerCase();
    if (seen.has(name)) return undefined; // RFC 7239 4
    seen.add(name);
    const value = match[2] ?? (match[3] as string).replace(/\\(.)/g, "$1");
    if (name === "for" || name === "host" || name === "proto") found[name] = value;
  }
  return found;
}
