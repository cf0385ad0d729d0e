// What the requests of one server share: native functions, handlers by route number, open
// exchanges, counts.
import type { Address, Context, ErrorHandler, FetchHandler, RawHandler, Req, Res } from "./api.ts";
import type { Compression } from "./compress.ts";
import type { Incoming } from "./incoming.ts";
import type { Binding } from "./native/binding.ts";
import type { Outbox } from "./outbox.ts";
import type { SocketHandler } from "./websocket/handler.ts";
import type { SocketService } from "./websocket/service.ts";

/**
 * A handler with what is known about its route; its index in `Service.targets` is the native route
 * number.
 */
export interface Target {
  readonly pattern: string; // "/users/:id", or "(fallback)"; for messages
  readonly params: readonly string[]; // names, in the order of the native spans
  readonly status: number; // what the response starts with: 200, 404, 405
  readonly compress: Compression | undefined;
  readonly raw: RawHandler | undefined; // exactly one of the two is there
  readonly fetch: FetchHandler | undefined;
}

/** An exchange whose handler has returned and which waits for its answer. */
export interface OpenExchange {
  readonly generation: number;
  abort(): void;
  peerClosed(): void;
  /** The streamed request body; undefined when there is none. */
  readonly incoming: Incoming | undefined;
  /** Bytes of the response have left. */
  written(bytes: number): void;
  /** The response's file is on its way, or errno says why not. */
  filed(errno: number): void;
}

/** One per server. One shape throughout, for the hot path. */
export interface Service {
  readonly native: Binding;
  readonly outbox: Outbox;
  readonly targets: readonly Target[];
  readonly error: ErrorHandler | undefined;
  /** By native handle. */
  readonly open: Map<number, OpenExchange>;
  readonly sockets: SocketService;
  /** The option `websocket`: what `upgrade()` makes sockets of. */
  readonly websocket: SocketHandler | undefined;
  /** Given from outside, so that request.ts needs nothing of fetch.ts. */
  readonly makeContext: (req: Req, res: Res) => Context;
  /** Promises given to waitUntil() that have not settled. */
  readonly tasks: Set<Promise<unknown>>;
  readonly counts: Counts;
  /** Bytes of a streamed body that bytes() and the like collect at most. */
  readonly bodyMax: number;
  addresses: readonly Address[];
  /** Called for each loop that has closed its last connection. */
  onDrained: (completed: number, forced: number) => void;
}

const DELAYS = 256;

/** What JavaScript itself counts. */
export interface Counts {
  batches: number;
  requests: number;
  largest: number;
  delayMax: number;
  /**
   * Requests by how long they were queued: 0 to 127 ms by millisecond, then 8 steps per factor of
   * two.
   */
  readonly delays: Float64Array;
}

/** Counts of a server that has seen nothing. */
export function makeCounts(): Counts {
  return { batches: 0, requests: 0, largest: 0, delayMax: 0, delays: new Float64Array(DELAYS) };
}

/** Adds a queueing delay in milliseconds. */
export function countDelay(counts: Counts, ms: number): void {
  const at = ms < 128 ? ms : Math.min(DELAYS - 1, 128 + Math.floor(Math.log2(ms / 128) * 8));
  counts.delays[at] = (counts.delays[at] as number) + 1;
  if (ms > counts.delayMax) counts.delayMax = ms;
}

/**
 * The delay in milliseconds that `share` (0 to 1) of all requests did not exceed; within a tenth
 * above 127 ms.
 */
export function delayAt(counts: Counts, share: number): number {
  let left = counts.delays.reduce((sum, count) => sum + count, 0) * share;
  if (left === 0) return 0;
  for (let at = 0; at < DELAYS; at += 1) {
    left -= counts.delays[at] as number;
    if (left <= 0)
      return Math.min(counts.delayMax, at < 128 ? at : Math.round(128 * 2 ** ((at - 127) / 8)));
  }
  return counts.delayMax;
}
