// Who made a request, from what the connection, the front end and those that trustProxy believes
// say; and the one warning when nobody said whom to believe.
import type { Address } from "./api.ts";
import { hopOf } from "./forwarded.ts";
import { type Client, type FieldReader, resolveClient, type Trust, trustFor } from "./proxies.ts";
import { warn } from "./warnings.ts";

/** What the requests of one server share about proxies. */
export interface Proxies {
  readonly trust: Trust;
  /** How many more requests are looked at for forwarded fields that nobody asked about. */
  arrivals: number;
  /** The same for requests whose client is asked for. */
  readings: number;
}

const ARRIVALS = 100;
const READINGS = 10_000;
const FIELDS = [
  "x-forwarded-for",
  "forwarded",
  "x-real-ip",
  "x-forwarded-proto",
  "x-forwarded-host",
] as const;

export function makeProxies(trust: Trust): Proxies {
  const { isUnsaid } = trust;
  return { trust, arrivals: isUnsaid ? ARRIVALS : 0, readings: isUnsaid ? READINGS : 0 };
}

/** The client of a request by HTTP; `passed` as for resolveClient(). */
export function clientOf(
  proxies: Proxies,
  peer: Address,
  get: FieldReader,
  passed: number,
): Client {
  const { trust } = proxies;
  if (proxies.readings > 0) {
    proxies.readings -= 1;
    warnOfFields(proxies, peer, get);
  }
  return resolveClient(trust, peer.address, peer.port, get, passed);
}

/**
 * Whom the front end took a request by SCGI from: REMOTE_ADDR (RFC 3875 4.1.8). Undefined when it
 * does not say.
 */
export function scgiPeerOf(remoteAddr: string | null | undefined): string | undefined {
  return hopOf(remoteAddr ?? "")?.address;
}

/**
 * The client of a request by SCGI. The peer is a front end by definition, and the hop that has
 * named the address that scgiPeerOf() gives, which trustProxy judges.
 */
export function scgiClientOf(
  proxies: Proxies,
  peer: Address,
  variables: ReadonlyMap<string, string>,
  get: FieldReader,
  passed: number,
): Client {
  const said = scgiPeerOf(variables.get("REMOTE_ADDR"));
  const port = Number(variables.get("REMOTE_PORT") ?? 0);
  const from = said === undefined ? peer : { address: said, port: portOf(port) };
  const hops = said === undefined ? passed : passed + 1;
  const client = resolveClient(proxies.trust, from.address, from.port, get, hops);
  const isHttps =
    /^(?:on|1)$/i.test(variables.get("HTTPS") ?? "") ||
    variables.get("REQUEST_SCHEME")?.toLowerCase() === "https";
  return {
    ...client,
    scheme: client.scheme ?? (isHttps ? "https" : "http"),
    host: client.host ?? get("host") ?? serverOf(variables, isHttps ? "443" : "80"),
  };
}

function portOf(port: number): number {
  return Number.isInteger(port) && port >= 0 && port <= 65_535 ? port : 0;
}

function serverOf(variables: ReadonlyMap<string, string>, usual: string): string | undefined {
  const name = variables.get("SERVER_NAME") ?? "";
  if (name === "" || name === "_") return undefined; // nginx's name for any
  const port = variables.get("SERVER_PORT") ?? usual;
  return port === usual ? name : `${name}:${port}`;
}

/** Address of what resolveClient() gives. */
export function addressOf({ address, port }: Client): Address {
  if (address === "") return { family: "unix", address, port: 0 };
  return { family: address.includes(":") ? "IPv6" : "IPv4", address, port };
}

/** Of the first requests of a server, so that it is said also where nobody asks for the client. */
export function lookAtArrival(proxies: Proxies, peer: Address, get: FieldReader): void {
  proxies.arrivals -= 1;
  warnOfFields(proxies, peer, get);
}

function warnOfFields(proxies: Proxies, peer: Address, get: FieldReader): void {
  const name = FIELDS.find((field) => (get(field) ?? "") !== "");
  if (name === undefined) return;
  proxies.arrivals = 0;
  proxies.readings = 0;
  const who = peer.address === "" ? "the unix socket" : peer.address;
  const message =
    `${name} came from ${who}, which is not trusted: ip, remoteAddress and encrypted tell of the ` +
    `connection itself; if that is a proxy of yours set trustProxy: ${trustFor(peer.address)}, ` +
    "if not set trustProxy: [] and nothing is said";
  warn("ERR_MILLRACE_UNTRUSTED_FORWARDED", message);
}
