// A response body that is written piece by piece: counts what the loop has not sent yet, and tells
// the writer when to wait. And whether a response, of any kind, has left.
import { milliseconds } from "./check.ts";
import { MillraceError } from "./errors.ts";
import type { Binding } from "./native/binding.ts";
import type { NativeRes } from "./response.ts";
import type { Service } from "./service.ts";

/** Bytes that may wait for the peer before write() says false. */
export const HIGH_WATER_BYTES = 131_072;
const HALF_CLOSED_MS = 1000;
const LOW_WATER_BYTES = HIGH_WATER_BYTES / 2;
// Who writes on regardless is stopped here: the rest of the process needs memory too.
export const WAITING_BYTES_MAX = 67_108_864;

/** How long to wait for a peer. */
export interface DrainOptions {
  /**
   * Milliseconds until the connection is cut and ERR_MILLRACE_GAVE_UP thrown.
   * @default no bound but timeouts.write
   */
  readonly giveUpMs?: number;
}

interface Waiting {
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/** One per response that has begun. */
export class Outgoing {
  readonly #native: Binding;
  readonly #handle: number;
  readonly #generation: number;
  readonly #where: string;
  readonly #length: number; // as Content-Length announced it; -1: chunked
  readonly #isBodiless: boolean;
  #written = 0;
  #waitingBytes = 0;
  #waiting: Waiting[] = [];
  #failure: unknown = undefined;

  constructor(
    native: Binding,
    handle: number,
    generation: number,
    where: string,
    length: number,
    isBodiless: boolean,
  ) {
    this.#native = native;
    this.#handle = handle;
    this.#generation = generation;
    this.#where = where;
    this.#length = length;
    this.#isBodiless = isBodiless;
  }

  get writtenBytes(): number {
    return this.#written;
  }

  get waitingBytes(): number {
    return this.#waitingBytes;
  }

  /** Whether more may be written at once. */
  get hasRoom(): boolean {
    return this.#waitingBytes < HIGH_WATER_BYTES;
  }

  /** @throws {MillraceError} ERR_MILLRACE_LENGTH_MISMATCH, ERR_MILLRACE_BUFFER_FULL */
  write(chunk: string | Uint8Array): boolean {
    const size = typeof chunk === "string" ? Buffer.byteLength(chunk) : chunk.length;
    if (size === 0) return this.hasRoom;
    if (this.#length >= 0 && this.#written + size > this.#length)
      throw this.#mismatch(this.#written + size);
    if (this.#waitingBytes > WAITING_BYTES_MAX) {
      const fix = "await res.drained() when write() returns false";
      const message = `${this.#where}: ${this.#waitingBytes} bytes wait for the peer; ${fix}`;
      throw new MillraceError("ERR_MILLRACE_BUFFER_FULL", message);
    }
    this.#written += size;
    if (this.#isBodiless) return true;
    this.#waitingBytes += size;
    if (typeof chunk === "string") this.#native.write(this.#handle, this.#generation, chunk);
    else this.#native.writeBytes(this.#handle, this.#generation, chunk);
    return this.hasRoom;
  }

  /** Whether everything that was announced has been written. */
  checkComplete(): void {
    if (this.#length < 0 || this.#written === this.#length) return;
    // A HEAD answer, or a 304, may announce what it does not carry.
    if (this.#isBodiless && this.#written === 0) return;
    throw this.#mismatch(this.#written);
  }

  end(trailers: string): boolean {
    return this.#native.finish(this.#handle, this.#generation, trailers);
  }

  drained(): Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    if (this.#waitingBytes <= LOW_WATER_BYTES) return Promise.resolve();
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
    });
  }

  /** The loop has handed `bytes` more to the kernel. */
  acknowledge(bytes: number): void {
    this.#waitingBytes -= bytes;
    if (this.#waitingBytes <= LOW_WATER_BYTES) this.#release();
  }

  /** The end is written: no news come any more, so nobody may wait for them. */
  settle(): void {
    this.#waitingBytes = 0;
    this.#release();
  }

  /** Nothing more can be sent. */
  fail(error: unknown): void {
    this.#failure ??= error;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const each of waiting) each.reject(error);
  }

  #release(): void {
    if (this.#waiting.length === 0) return;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const each of waiting) each.resolve();
  }

  #mismatch(size: number): MillraceError {
    const both = `Content-Length says ${this.#length}, ${size} bytes were written`;
    const message = `${this.#where}: ${both}; the connection was cut`;
    return new MillraceError("ERR_MILLRACE_LENGTH_MISMATCH", message);
  }
}

/**
 * The peer has sent its last byte. Mostly it is gone then. What waits for more is a client that
 * half-closes: it gets what comes without a long pause. While bytes wait for it the system knows
 * whether it is there.
 */
export function watchHalfClosed(
  outgoing: () => { readonly waitingBytes: number; readonly writtenBytes: number } | undefined,
  isOver: () => boolean,
  cut: () => void,
  signal: AbortSignal | undefined,
): void {
  let seen = outgoing()?.writtenBytes ?? 0;
  const timer = setInterval(() => {
    const written = outgoing()?.writtenBytes ?? 0;
    if (isOver()) clearInterval(timer);
    else if ((outgoing()?.waitingBytes ?? 0) === 0 && written === seen) cut();
    seen = written;
  }, HALF_CLOSED_MS);
  timer.unref();
  signal?.addEventListener("abort", () => clearInterval(timer), { once: true });
}

/**
 * Rejects with ERR_MILLRACE_GAVE_UP, after calling `giveUp`, when what `begin` begins takes too
 * long.
 * A peer that leaves is no unhandled rejection: who does not wait for the promise has lost nothing.
 * @throws {MillraceError} ERR_MILLRACE_INVALID_OPTION (as a rejection), before anything has begun
 */
export function orGiveUp<T>(
  begin: () => Promise<T>,
  options: DrainOptions | undefined,
  giveUp: (error: MillraceError) => void,
): Promise<T> {
  return sparing(beginOrGiveUp(begin, options, giveUp));
}

/**
 * The same promise, whose rejection may go unnoticed when the peer has left or was given up, and
 * when somebody else knows of it.
 */
export function sparing<T>(
  promise: Promise<T>,
  isKnown: (error: unknown) => boolean = () => false,
): Promise<T> {
  const spared: Promise<T> = promise.catch((error: unknown) => {
    const isLeft = error instanceof MillraceError && LEFT.has(error.code);
    if (isLeft || isKnown(error)) spared.catch(() => undefined);
    throw error;
  });
  return spared;
}

const LEFT: ReadonlySet<string> = new Set(["ERR_MILLRACE_ABORTED", "ERR_MILLRACE_GAVE_UP"]);

async function beginOrGiveUp<T>(
  begin: () => Promise<T>,
  options: DrainOptions | undefined,
  giveUp: (error: MillraceError) => void,
): Promise<T> {
  if (options?.giveUpMs === undefined) return begin();
  const ms = milliseconds("giveUpMs", options.giveUpMs, 0);
  const promise = begin();
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => {
      const error = new MillraceError(
        "ERR_MILLRACE_GAVE_UP",
        `the peer did not take the response within ${ms} ms`,
      );
      reject(error); // first: giving up rejects `promise` too
      giveUp(error);
    }, ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

// No field of each response: few are asked about.
const asked = new WeakMap<NativeRes, Promise<boolean>>();

/** @throws {MillraceError} ERR_MILLRACE_ALREADY_ENDED: the loop may have forgotten the exchange */
export function whenDelivered(service: Service, res: NativeRes): Promise<boolean> {
  const before = asked.get(res);
  if (before !== undefined) return before;
  const delivered = ask(service, res);
  asked.set(res, delivered);
  return delivered;
}

function ask(service: Service, res: NativeRes): Promise<boolean> {
  const { generation, handle } = res;
  if (res.state === "ended") {
    const what = "delivered is to be asked for before the response ends";
    throw new MillraceError("ERR_MILLRACE_ALREADY_ENDED", `${res.req.where}: ${what}`);
  }
  if (res.isAborted || !service.native.tell(handle, generation)) return Promise.resolve(false);
  return new Promise((resolve) => {
    service.deliveries.set(keyOf(handle, generation), resolve);
  });
}

/**
 * The loop knows: the answer has left, or never will, or another was given in its place, which is
 * told before that has left.
 */
export function settleDelivery(
  { deliveries }: Service,
  handle: number,
  generation: number,
  isWhole: boolean,
): void {
  if (deliveries.size === 0) return;
  const key = keyOf(handle, generation);
  deliveries.get(key)?.(isWhole);
  deliveries.delete(key);
}

/** No loop is there any more that could know. */
export function endDeliveries({ deliveries }: Service): void {
  for (const settle of deliveries.values()) settle(false);
  deliveries.clear();
}

function keyOf(handle: number, generation: number): string {
  return `${handle} ${generation}`;
}
