// What most sockets never have: waiting messages, topics, promises. Made when first needed, so that
// an idle socket stays small.
import type { Connection } from "../connection/api.ts";
import type { MillraceError } from "../errors.ts";
import { MESSAGE } from "./calls.ts";

/** MESSAGE, PING or PONG of socket.ts, and what came. */
export interface Arrival {
  readonly kind: number;
  readonly data: string | Uint8Array;
}

/** A promise that is settled from outside. */
export interface Waiter {
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/** How a socket ended. */
export interface Ending {
  readonly code: number;
  readonly reason: string;
  readonly error: MillraceError | undefined;
}

/** What an iterator's `next()` gives. */
export type Result = IteratorResult<string | Uint8Array, undefined>;

/** The last of them. */
export const DONE = { done: true, value: undefined } as const;

/** An iterator's `next()` that waits for a message. */
export interface Pull {
  readonly owner: object;
  readonly resolve: (result: Result) => void;
}

/** The rare state of one socket. */
export class RareState {
  /** Arrivals from `head` on wait; those before are taken. */
  readonly arrivals: (Arrival | undefined)[] = [];
  head = 0;
  waitingBytes = 0;
  /** Iterators under way, and those of them that wait for a message. */
  iterators = 0;
  pulls: Pull[] = [];
  readonly drains: Waiter[] = [];
  topics: Set<string> | undefined = undefined;
  /** The peer's close frame. */
  reason = "";
  /** What JavaScript gave the socket up for. */
  failure: MillraceError | undefined = undefined;
  ending: Ending | undefined = undefined;
  /** The close code that is owed to the peer, behind the answers to what it sent before. */
  farewell: number | undefined = undefined;
  opened: (Waiter & { readonly promise: Promise<void> }) | undefined = undefined;
  request: Request | undefined = undefined;
  /** Of a server's socket, once it was asked for. */
  connection: Connection | undefined = undefined;

  get waiting(): number {
    return this.arrivals.length - this.head;
  }

  get first(): Arrival | undefined {
    return this.arrivals[this.head];
  }

  put(kind: number, data: string | Uint8Array): void {
    this.arrivals.push({ kind, data });
    this.waitingBytes += data.length;
  }

  take(): Arrival | undefined {
    const arrival = this.arrivals[this.head];
    if (arrival === undefined) return undefined;
    this.arrivals[this.head] = undefined;
    this.head += 1;
    this.waitingBytes -= arrival.data.length;
    if (this.head === this.arrivals.length) this.#shrink();
    return arrival;
  }

  /** The first message, without what came before it. */
  takeMessage(): Arrival | undefined {
    let arrival = this.take();
    while (arrival !== undefined && arrival.kind !== MESSAGE) arrival = this.take();
    return arrival;
  }

  /** Ends those that wait: of one iterator, or all. */
  endPulls(owner?: object): void {
    const pulls = this.pulls;
    this.pulls = [];
    for (const pull of pulls) {
      if (owner === undefined || pull.owner === owner) pull.resolve(DONE);
      else this.pulls.push(pull);
    }
  }

  clear(): void {
    this.#shrink();
    this.waitingBytes = 0;
  }

  #shrink(): void {
    this.arrivals.length = 0;
    this.head = 0;
  }
}

/** A promise with what settles it. Nobody has to look at it. */
export function deferred(): Waiter & { readonly promise: Promise<void> } {
  let resolve: () => void = () => undefined;
  let reject: (error: unknown) => void = resolve;
  const promise = new Promise<void>((onDone, onFailed) => {
    resolve = onDone;
    reject = onFailed;
  });
  promise.catch(() => undefined);
  return { resolve, reject, promise };
}
