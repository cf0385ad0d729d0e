// The option trustProxy: which hops are believed, and who the client is then. Pure functions; what
// a request makes of them is in client.ts.
import { isIn, type Network, networkOf, textOf, wordsOf } from "./addresses.ts";
import { integer, invalidOption } from "./check.ts";
import { elementsFromRight, entriesFromRight, type ForwardedElement, hopOf } from "./forwarded.ts";

/**
 * Whose X-Forwarded-*, Forwarded and X-Real-IP are believed: nobody's (false), everybody's (true),
 * those of so many hops, of peers on this machine ("loopback") or on unix sockets ("unix"), or of
 * addresses, networks ("10.0.0.0/8") and the words "loopback", "unix", "linklocal" and "private".
 */
export type TrustProxy = false | true | number | "loopback" | "unix" | readonly string[];

/** The option, compiled. */
export interface Trust {
  /** Nothing was said about proxies: forwarded headers are worth a warning. */
  readonly isUnsaid: boolean;
  /** Hops that are believed whoever they are. */
  readonly hops: number;
  readonly networks: readonly Network[];
  readonly unix: boolean;
}

/** What stands in the fields; `get` gives the value of one by its lower-case name. */
export type FieldReader = (name: string) => string | null;

/** Who made a request, as far as those who are believed say. */
export interface Client {
  /** Numeric; "" for a unix socket. */
  readonly address: string;
  /** 0 when nobody says, and for a unix socket. */
  readonly port: number;
  /** How the client asked; undefined when nobody says. */
  readonly scheme: "http" | "https" | undefined;
  /** Host and port that the client asked for; undefined when nobody says. */
  readonly host: string | undefined;
}

const HOPS_MAX = 255;
const WORDS: ReadonlyMap<string, readonly string[]> = new Map([
  ["linklocal", ["169.254.0.0/16", "fe80::/10"]],
  ["loopback", ["127.0.0.0/8", "::1"]],
  ["private", ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"]],
  ["unix", []],
]);
const AUTHORITY = /^(?:\[[0-9A-Fa-f:.]{2,45}\]|[\w.-]{1,255})(?::\d{1,5})?$/;
const NOBODY: readonly Network[] = [];

/** @throws {MillraceError} ERR_MILLRACE_INVALID_OPTION */
export function compileTrust(value: unknown): Trust {
  const none: Trust = { isUnsaid: false, hops: 0, networks: NOBODY, unix: false };
  if (value === undefined || value === false) return { ...none, isUnsaid: true };
  if (value === true) return { ...none, hops: Number.POSITIVE_INFINITY };
  if (typeof value === "number")
    return { ...none, hops: integer("trustProxy", value, 0, HOPS_MAX, "hops") };
  if (value === "loopback" || value === "unix") return listed([value]);
  if (Array.isArray(value)) return listed(value);
  const what = 'must be true, false, a number of hops, "loopback", "unix" or an array';
  throw invalidOption("trustProxy", what, value);
}

function listed(list: readonly unknown[]): Trust {
  const networks = list.flatMap((entry, at) => {
    const texts = typeof entry === "string" ? (WORDS.get(entry) ?? [entry]) : [];
    const own = texts.map((text) => networkOf(text));
    if (typeof entry === "string" && !own.includes(undefined)) return own as Network[];
    const words = [...WORDS.keys()].join(", ");
    const what = `must be an address, a network like "10.0.0.0/8", or one of ${words}`;
    throw invalidOption(`trustProxy[${at}]`, what, entry);
  });
  return { isUnsaid: false, hops: 0, networks, unix: list.includes("unix") };
}

/** Whether the hop is believed; `passed` counts those between it and us. */
export function isTrusted(trust: Trust, address: string, passed: number): boolean {
  if (passed < trust.hops) return true;
  if (address === "") return trust.unix;
  if (trust.networks.length === 0) return false;
  const words = wordsOf(address);
  return words !== undefined && trust.networks.some((network) => isIn(network, words));
}

/**
 * Who the client is: from the peer leftward through those that are believed to the first that is
 * not. An entry that names nobody ends the way at the hop that wrote it. When anything of
 * X-Forwarded-For, -Proto, -Host, -Port or X-Real-IP came, Forwarded is not looked at: most proxies
 * write the former and let the latter pass, so that a client could claim anything in it.
 * @param passed - hops nearer than `peer`, which have named it: a front end by REMOTE_ADDR, a
 * balancer by a PROXY header
 */
export function resolveClient(
  trust: Trust,
  peer: string,
  port: number,
  get: FieldReader,
  passed = 0,
): Client {
  if (!isTrusted(trust, peer, passed))
    return { address: peer, port, scheme: undefined, host: undefined };
  const list = get("x-forwarded-for");
  const forwarded = get("forwarded");
  const real = get("x-real-ip");
  const proto = get("x-forwarded-proto");
  const host = get("x-forwarded-host");
  const hostPort = get("x-forwarded-port");
  const isClassic = [list, real, proto, host, hostPort].some((value) => value !== null);
  if (!isClassic && forwarded !== null) return fromForwarded(trust, peer, port, forwarded, passed);
  const walked =
    list === null ? fromRealIp(peer, port, real) : walk(trust, peer, port, list, passed);
  return {
    address: walked.address,
    port: walked.port,
    scheme: schemeOf(entryOf(proto, walked.written)),
    host: withPort(hostOf(entryOf(host, walked.written)), entryOf(hostPort, walked.written)),
  };
}

interface Walked {
  readonly address: string;
  readonly port: number;
  readonly written: number; // entries of those who were believed, the peer's among them
}

function walk(trust: Trust, peer: string, port: number, list: string, passed: number): Walked {
  let address = peer;
  let from = port;
  let written = 1;
  for (const entry of entriesFromRight(list)) {
    const hop = hopOf(entry);
    if (hop === undefined) break;
    ({ address, port: from } = hop);
    if (!isTrusted(trust, address, passed + written)) break;
    written += 1;
  }
  return { address, port: from, written };
}

function fromRealIp(peer: string, port: number, real: string | null): Walked {
  const hop = real === null ? undefined : hopOf(real.trim());
  return { address: hop?.address ?? peer, port: hop === undefined ? port : hop.port, written: 1 };
}

function fromForwarded(
  trust: Trust,
  peer: string,
  port: number,
  field: string,
  passed: number,
): Client {
  let address = peer;
  let from = port;
  let written = 1;
  let last: ForwardedElement | undefined;
  for (const element of elementsFromRight(field)) {
    last = element;
    const hop = element.for === null ? undefined : hopOf(element.for);
    if (hop === undefined) break;
    ({ address, port: from } = hop);
    if (!isTrusted(trust, address, passed + written)) break;
    written += 1;
  }
  return {
    address,
    port: from,
    scheme: schemeOf(last?.proto ?? null),
    host: hostOf(last?.host ?? null),
  };
}

// What the outermost of the believed hops wrote, if each of them has added an entry; what stands
// further left is a client's. When they replace instead of adding, there is one entry.
function entryOf(list: string | null, written: number): string | null {
  if (list === null) return null;
  let last: string | null = null;
  let count = 0;
  for (const entry of entriesFromRight(list)) {
    last = entry;
    count += 1;
    if (count >= written) break;
  }
  return last;
}

function schemeOf(proto: string | null): "http" | "https" | undefined {
  switch (proto?.toLowerCase()) {
    case "https":
    case "wss":
      return "https";
    case "http":
    case "ws":
      return "http";
    default:
      return undefined;
  }
}

function hostOf(host: string | null): string | undefined {
  return host !== null && AUTHORITY.test(host) ? host : undefined;
}

function withPort(host: string | undefined, port: string | null): string | undefined {
  if (host === undefined || port === null || !/^[1-9]\d{0,4}$/.test(port)) return host;
  return /:\d+$/.test(host) ? host : `${host}:${port}`;
}

/** The value of trustProxy that would make this peer's headers count, for messages. */
export function trustFor(peer: string): string {
  if (peer === "") return '"unix"';
  const words = wordsOf(peer);
  if (words === undefined) return JSON.stringify([peer]);
  const isLoopback = listed(["loopback"]).networks.some((network) => isIn(network, words));
  return isLoopback ? '"loopback"' : JSON.stringify([textOf(words)]);
}
