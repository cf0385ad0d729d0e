// Hands what was noted on the hot path to a function of the application, later and a little at a
// time. Bounded: a function that is slow, hangs or throws costs records and nothing else.
import { AsyncResource } from "node:async_hooks";
import { stackOf, warn } from "../warnings.ts";
import { Ring } from "./ring.ts";

const TURN_MS_MAX = 5;
const TURN_ITEMS_MAX = 256;
const FLUSH_MS_MAX = 1000;
const MANUAL = { requireManualDestroy: true };

/** What is delivered, and how. */
export interface DeliverySettings<T> {
  /** For messages: "log.write". */
  readonly name: string;
  /** Items that may wait. */
  readonly capacity: number;
  /** Items per call, at most. */
  readonly size: number;
  readonly write: (items: readonly T[]) => unknown;
  /** Makes the item that says how many were dropped before it. */
  readonly gap?: (dropped: number) => T;
}

/** One way out for records. When `write` gives a promise, the next call waits for it. */
export class Delivery<T> {
  /** Items that were dropped because too many waited. */
  dropped = 0;
  /** Calls that threw, or whose promise was rejected. */
  failures = 0;
  readonly #settings: DeliverySettings<T>;
  readonly #ring: Ring<T>;
  // The application's function is to see the async context of nobody's request.
  readonly #scope = new AsyncResource("MILLRACELOG", MANUAL);
  readonly #turn = (): void => this.#scope.runInAsyncScope(this.#run, this);
  #untold = 0;
  #isScheduled = false;
  #isWaiting = false;
  #onIdle: (() => void) | undefined = undefined;

  constructor(settings: DeliverySettings<T>) {
    this.#settings = settings;
    this.#ring = new Ring(settings.capacity);
  }

  /** Never calls anything of the application. */
  push(item: T): void {
    if (this.#untold > 0 && this.#ring.room > 1) this.#tellOfGap();
    if (!this.#ring.put(item)) {
      this.dropped += 1;
      this.#untold += 1;
      return;
    }
    this.#schedule();
  }

  /** Resolves when all has been delivered, or after `ms`. */
  async settle(ms: number): Promise<void> {
    if (this.#isIdle()) return;
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((resolve) => {
      this.#onIdle = resolve;
      timer = setTimeout(resolve, ms);
    });
    clearTimeout(timer);
    this.#onIdle = undefined;
  }

  /** Delivers at once what waits: the process ends, and no promise settles any more. */
  flush(): void {
    const end = performance.now() + FLUSH_MS_MAX;
    while (this.#next() && performance.now() < end) void this.#call();
  }

  #isIdle(): boolean {
    return this.#ring.size === 0 && this.#untold === 0 && !this.#isWaiting;
  }

  #schedule(): void {
    if (this.#isScheduled || this.#isWaiting) return;
    this.#isScheduled = true;
    setImmediate(this.#turn);
  }

  #run(): void {
    this.#isScheduled = false;
    const end = performance.now() + TURN_MS_MAX;
    let left = TURN_ITEMS_MAX;
    while (left > 0 && this.#next()) {
      left -= this.#settings.size;
      const pending = this.#call();
      if (pending !== undefined) {
        void this.#wait(pending);
        return;
      }
      if (performance.now() >= end) break;
    }
    if (this.#next()) this.#schedule();
    else this.#onIdle?.();
  }

  // Whether there is something to deliver. What was dropped is told of behind what came before.
  #next(): boolean {
    if (this.#ring.size === 0 && this.#untold > 0) this.#tellOfGap();
    return this.#ring.size > 0;
  }

  #tellOfGap(): void {
    const { gap } = this.#settings;
    const dropped = this.#untold;
    this.#untold = 0;
    if (gap !== undefined) this.#ring.put(gap(dropped));
  }

  #call(): PromiseLike<unknown> | undefined {
    const items = this.#ring.take(this.#settings.size);
    try {
      const result = this.#settings.write(items);
      return isThenable(result) ? result : undefined;
    } catch (error) {
      this.#failed(error);
      return undefined;
    }
  }

  async #wait(pending: PromiseLike<unknown>): Promise<void> {
    this.#isWaiting = true;
    try {
      await pending;
    } catch (error) {
      this.#failed(error);
    }
    this.#isWaiting = false;
    if (this.#next()) this.#schedule();
    else this.#onIdle?.();
  }

  #failed(error: unknown): void {
    this.failures += 1;
    if (this.failures > 1) return;
    const what = `${this.#settings.name} threw; later failures are only counted`;
    warn("ERR_MILLRACE_LOG_FAILED", what, stackOf(error));
  }
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  if (typeof value !== "object" || value === null) return false;
  return typeof (value as { then?: unknown }).then === "function";
}
