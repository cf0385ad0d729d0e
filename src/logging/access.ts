// The access log: a record per answer, also of those that were given on the loop, handed over in
// batches.
import { scgiPeerOf } from "../client.ts";
import { idOf, loopOf } from "../connection/connection.ts";
import type { Connections } from "../connection/connections.ts";
import { HeaderText } from "../headers.ts";
import { EVENT_FLAG, EVENT_WORD as W } from "../native/tables.ts";
import { resolveClient, type Trust } from "../proxies.ts";
import { traceparentOf } from "../trace.ts";
import { Delivery } from "./delivery.ts";
import type { AccessLogOptions } from "./options.ts";

const BATCH = 256;
const FIXED_DOUBLES = 8;
const MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(" ");
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
const UNPRINTABLE = /[\x00-\x1f"\\\x7f-\uffff]/g;

/** One answer: complete, or broken off. Bytes are those on the wire, heads included. */
export interface AccessRecord {
  /** When the request's first byte was read: milliseconds of Unix time. */
  readonly time: number;
  readonly method: string;
  /** The request target without the query, as sent. Targets are cut after 1024 bytes. */
  readonly path: string;
  /** The query with its "?", or "". */
  readonly search: string;
  /** The request target, whole. */
  readonly target: string;
  /** Pattern of the route whose handler answered, or "" when the loop did. */
  readonly route: string;
  readonly status: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
  /** Milliseconds from the first byte of the request to the last of the answer with the kernel. */
  readonly durationMs: number;
  /** Of those, waiting for JavaScript; -1 when the loop answered. */
  readonly queueMs: number;
  /** The client's address, as `trustProxy` says; by SCGI of what the front end says. */
  readonly ip: string;
  /** `connection.id`. */
  readonly connection: string;
  /** Number of the loop among those of this thread. */
  readonly loop: number;
  readonly protocol: "http/1.0" | "http/1.1" | "scgi";
  /** The answer did not leave whole. */
  readonly aborted: boolean;
  readonly userAgent: string | undefined;
  readonly referer: string | undefined;
  /** When it is valid: W3C Trace Context. */
  readonly traceparent: string | undefined;
  /** X-Request-Id of the request. */
  readonly requestId: string | undefined;
}

/** What the access log needs of its server. */
export interface AccessSettings extends Required<AccessLogOptions> {
  readonly targets: readonly { readonly pattern: string }[];
  readonly trust: Trust;
}

/** One per server that has the option. */
export class AccessLog {
  readonly #settings: AccessSettings;
  readonly #delivery: Delivery<AccessRecord>;

  constructor(settings: AccessSettings) {
    this.#settings = settings;
    const { size, write } = settings;
    this.#delivery = new Delivery({ name: "accessLog()", capacity: size, size: BATCH, write });
  }

  /** Records that were dropped because `write` does not keep up. */
  get dropped(): number {
    return this.#delivery.dropped;
  }

  /** An Access event; `text` is its own. */
  take(
    connections: Connections,
    words: Int32Array,
    batch: Uint8Array,
    base: number,
    text: string,
  ): void {
    const at = batch.byteOffset + (base << 2);
    const figures = new Float64Array(batch.buffer, at + FIXED_DOUBLES * 8, 5);
    // A slice would keep the text of the whole batch.
    const own = Buffer.from(text, "latin1").toString("latin1");
    this.#delivery.push(recordOf(this.#settings, connections, words, base, figures, own));
  }

  /** The process ends: what waits is delivered at once. */
  flush(): void {
    this.#delivery.flush();
  }

  /** Waits until what was noted has been delivered, for at most `ms`. */
  close(ms: number): Promise<void> {
    return this.#delivery.settle(ms);
  }
}

function recordOf(
  { targets, trust }: AccessSettings,
  connections: Connections,
  words: Int32Array,
  base: number,
  figures: Float64Array,
  text: string,
): AccessRecord {
  const lengths = words[base + W.route] as number;
  const flags = (words[base + W.kind] as number) >>> 16;
  const handle = words[base + W.handle] as number;
  const methodEnd = lengths >>> 24;
  const targetEnd = methodEnd + (words[base + W.targetLength] as number);
  const peerEnd = targetEnd + (((words[base + W.peer] as number) >>> 16) & 0xff);
  const target = text.slice(methodEnd, targetEnd);
  const query = target.indexOf("?");
  const headers = new HeaderText(text.slice(peerEnd));
  const [time = 0, durationMs = 0, queueMs = 0, bytesIn = 0, bytesOut = 0] = figures;
  const place = {
    handle,
    index: (words[base + W.headA] as number) >>> 0,
    generation: (words[base + W.listener] as number) >>> 16,
  };
  // Told of before anything is answered on it.
  const isProxied = connections.hasProxied && connections.find(place)?.proxy !== undefined;
  const ip = ipOf(trust, flags, text.slice(targetEnd, peerEnd), headers, isProxied ? 1 : 0);
  return {
    time,
    method: text.slice(0, methodEnd),
    path: query < 0 ? target : target.slice(0, query),
    search: query < 0 ? "" : target.slice(query),
    target,
    route: queueMs < 0 ? "" : (targets[lengths & 0xffff]?.pattern ?? ""),
    status: words[base + W.headB] as number,
    bytesIn,
    bytesOut,
    durationMs,
    queueMs,
    ip,
    connection: idOf(place),
    loop: loopOf(place),
    protocol: protocolOf(flags),
    aborted: (flags & EVENT_FLAG.aborted) !== 0,
    userAgent: headers.get("user-agent") ?? undefined,
    referer: headers.get("referer") ?? undefined,
    traceparent: traceparentOf(headers.get("traceparent")),
    requestId: headers.get("x-request-id") ?? undefined,
  };
}

// As req.ip has it.
function ipOf(
  trust: Trust,
  flags: number,
  peer: string,
  headers: HeaderText,
  passed: number,
): string {
  const get = (name: string): string | null => headers.get(name);
  if ((flags & EVENT_FLAG.scgi) === 0) return resolveClient(trust, peer, 0, get, passed).address;
  // Among the fields that are logged none has that name: it is the variable.
  const said = scgiPeerOf(get("remote_addr"));
  const hops = said === undefined ? passed : passed + 1;
  return resolveClient(trust, said ?? peer, 0, get, hops).address;
}

function protocolOf(flags: number): AccessRecord["protocol"] {
  if ((flags & EVENT_FLAG.scgi) !== 0) return "scgi";
  return (flags & EVENT_FLAG.http10) === 0 ? "http/1.1" : "http/1.0";
}

/**
 * A record as a line of the combined log format, without a line end; times are UTC, bytes those on
 * the wire.
 */
export function accessLine(record: AccessRecord): string {
  const { ip, time, method, target, protocol, status, bytesOut, referer, userAgent } = record;
  const version = protocol === "http/1.0" ? "HTTP/1.0" : "HTTP/1.1";
  const request = `${quotable(method)} ${quotable(target)} ${version}`;
  const who = `"${quotable(referer ?? "-")}" "${quotable(userAgent ?? "-")}"`;
  return `${ip === "" ? "unix:" : ip} - - [${when(time)}] "${request}" ${status} ${bytesOut} ${who}`;
}

function when(time: number): string {
  const date = new Date(time);
  const two = (number: number): string => `${number}`.padStart(2, "0");
  const day = `${two(date.getUTCDate())}/${MONTHS[date.getUTCMonth()]}/${date.getUTCFullYear()}`;
  const clock = [date.getUTCHours(), date.getUTCMinutes(), date.getUTCSeconds()].map(two);
  return `${day}:${clock.join(":")} +0000`;
}

function quotable(text: string): string {
  return text.replace(UNPRINTABLE, (found) => {
    return `\\x${found.charCodeAt(0).toString(16).padStart(2, "0")}`;
  });
}
