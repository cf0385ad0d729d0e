// A request body that is read while it comes. Credit goes to the loop as chunks are consumed: a
// slow
// reader makes the loop stop reading that socket, and nothing else.

import type { FileHandle } from "node:fs/promises";
import { checkRecord, milliseconds } from "./check.ts";
import { MillraceError } from "./errors.ts";
import type { ReadonlyHeaders } from "./headers.ts";
import { HeaderText } from "./headers.ts";
import { orLate } from "./late.ts";
import type { Binding } from "./native/binding.ts";
import { type NativeEnd, type SavedFile, type SaveOptions, saveFile, saveWith } from "./saving.ts";

/** Bytes that may wait in JavaScript for a reader. */
export const WINDOW_BYTES = 262_144;

/** What an event takes of the credit besides its bytes; as body_stream.h has it. */
export const EVENT_COST = 64;

const NOTHING: Uint8Array = new Uint8Array(0);
const OPEN = 0;
const ENDED = 1;
const FAILED = 2;

/** The events of a form, which src/form.ts takes. */
export interface FormEvents {
  begin(name: string, filename: string | null, headers: string, number: number): void;
  push(bytes: Uint8Array): void;
  endPart(): void;
  end(error: unknown): void;
}

interface Saved {
  readonly resolve: (end: NativeEnd) => void;
  readonly reject: (error: unknown) => void;
}

interface Waiting {
  readonly resolve: (chunk: Uint8Array | undefined) => void;
  readonly reject: (error: unknown) => void;
}

/** What `req.receive()` yields. */
export interface Receipt {
  /**
   * "progress" with a chunk, "try-again" when nothing came for `waitMs`, then once "complete" or
   * "fail".
   */
  readonly state: "progress" | "try-again" | "complete" | "fail";
  /** Bytes that came; empty unless the state is "progress". */
  readonly chunk: Uint8Array;
  /** Why, when the state is "fail". */
  readonly error?: MillraceError;
}

/** How `req.receive()` waits. */
export interface ReceiveOptions {
  /**
   * Milliseconds without a byte until "fail"; the connection is cut then. Each byte begins them
   * anew.
   * @default 10_000
   */
  readonly giveUpMs?: number;
  /**
   * Milliseconds for the whole body until "fail"; the connection is cut then. Judged while nothing
   * is here to be read.
   * @default no bound of its own
   */
  readonly totalMs?: number;
  /** Milliseconds without a byte until "try-again". @default 100 */
  readonly waitMs?: number;
}

/** One per streamed request body. */
export class Incoming {
  readonly native: Binding;
  readonly handle: number;
  readonly generation: number;
  readonly where: string;
  readonly #chunks: Uint8Array[] = [];
  #state = OPEN;
  #error: unknown = undefined;
  #trailers: HeaderText | undefined = undefined;
  #settled: { promise: Promise<void>; settle: () => void } | undefined = undefined;
  #waiting: Waiting | undefined = undefined;
  #isUsed = false;
  #isLeft = false;
  #isAsked = false;
  #saved: Saved | undefined = undefined;
  #form: FormEvents | undefined = undefined; // who gets the events of a body that is read as one
  #consumed = 0; // bytes taken since credit was given last

  /** `where` names the request in messages. */
  constructor(native: Binding, handle: number, generation: number, where: string) {
    this.native = native;
    this.handle = handle;
    this.generation = generation;
    this.where = where;
  }

  get isUsed(): boolean {
    return this.#isUsed;
  }

  get hasEnded(): boolean {
    return this.#state !== OPEN && this.#chunks.length === 0;
  }

  /** Takes the body for one reader. @throws {MillraceError} ERR_MILLRACE_BODY_USED */
  use(): void {
    if (this.#isUsed)
      throw new MillraceError(
        "ERR_MILLRACE_BODY_USED",
        `the body of ${this.where} has been read already; read it once`,
      );
    this.#isUsed = true;
  }

  /** The next bytes; undefined at the end. One call at a time. */
  next(): Promise<Uint8Array | undefined> {
    const chunk = this.#chunks.shift();
    if (chunk !== undefined) {
      this.#credit(chunk.length);
      return Promise.resolve(chunk);
    }
    if (this.#state === ENDED) return Promise.resolve(undefined);
    if (this.#state === FAILED) return Promise.reject(this.#error);
    this.#ask();
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
    });
  }

  /** Nobody reads on: what is here is dropped and nothing more is asked for. */
  leave(reason?: unknown): void {
    this.#isLeft = true;
    this.#chunks.length = 0;
    this.#settled?.settle();
    if (reason !== undefined) this.#saved?.reject(reason);
  }

  /** All of it. @throws {MillraceError} ERR_MILLRACE_BODY_TOO_LARGE beyond `limit` bytes */
  async collect(limit: number): Promise<Uint8Array> {
    this.use();
    const chunks: Uint8Array[] = [];
    let size = 0;
    for (;;) {
      const chunk = await this.next();
      if (chunk === undefined) break;
      size += chunk.length;
      if (size > limit) {
        this.leave();
        const message = `the body of ${this.where} has more than ${limit} bytes`;
        throw new MillraceError("ERR_MILLRACE_BODY_TOO_LARGE", message);
      }
      chunks.push(chunk);
    }
    return chunks.length === 1 ? (chunks[0] as Uint8Array) : joined(chunks, size);
  }

  /**
   * The trailer fields, once the body has come; a rejection when nobody is there to read it. That
   * may go unnoticed: who reads the body is told as well.
   */
  trailers(): Promise<ReadonlyHeaders> {
    const trailers = this.#whenTrailers();
    trailers.catch(() => undefined);
    return trailers;
  }

  /** From now on the body is read as a form. */
  readAs(form: FormEvents): void {
    this.#form = form;
    if (this.#state === FAILED) form.end(this.#error); // nobody will say so again
  }

  // --- what the loop says ---

  /** Who gets the events of parts. */
  get form(): FormEvents | undefined {
    return this.#form;
  }

  push(bytes: Uint8Array): void {
    if (this.#isLeft || this.#state !== OPEN) return;
    if (this.#form !== undefined) {
      this.#form.push(bytes);
      return;
    }
    const waiting = this.#waiting;
    if (waiting === undefined) {
      this.#chunks.push(bytes);
      return;
    }
    this.#waiting = undefined;
    this.#credit(bytes.length);
    waiting.resolve(bytes);
  }

  end(trailers: string): void {
    if (this.#state !== OPEN) return;
    this.#state = ENDED;
    if (trailers !== "") this.#trailers = new HeaderText(trailers);
    this.#waiting?.resolve(undefined);
    this.#waiting = undefined;
    this.#settled?.settle();
    this.#form?.end(undefined);
  }

  /** A file is written, or could not be. */
  saved(end: NativeEnd): void {
    const saved = this.#saved;
    this.#saved = undefined;
    saved?.resolve(end);
  }

  /** The end of the file that the loop is about to write. */
  whenSaved(): Promise<NativeEnd> {
    const promise = new Promise<NativeEnd>((resolve, reject) => {
      this.#saved = { resolve, reject };
    });
    if (this.#state === FAILED) this.#saved?.reject(this.#error);
    promise.catch(() => undefined); // whoever waits for it may have failed before
    return promise;
  }

  /** All of it into a file; see Part.saveTo(). `giveUp` cuts the connection. */
  async saveTo(
    path: string,
    options: SaveOptions | undefined,
    giveUp: (error: MillraceError) => void,
  ): Promise<SavedFile> {
    this.use();
    const write = async (file: FileHandle, digest: boolean, limit: number) => {
      const saved = this.whenSaved();
      const isTaken = this.native.save(this.handle, this.generation, file.fd, digest, limit);
      const written = await saveWith(path, isTaken, saved, limit);
      if ((await this.next()) !== undefined) throw new Error("bytes behind a saved body");
      return written;
    };
    try {
      return await saveFile(path, options, write, giveUp);
    } catch (error) {
      this.leave();
      throw error;
    }
  }

  fail(error: unknown): void {
    if (this.#state !== OPEN) return;
    this.#state = FAILED;
    this.#error = error;
    this.#waiting?.reject(error);
    this.#waiting = undefined;
    this.#settled?.settle();
    this.#saved?.reject(error);
    this.#saved = undefined;
    this.#form?.end(error);
  }

  async #whenTrailers(): Promise<ReadonlyHeaders> {
    if (this.#state === OPEN && this.#isUsed && !this.#isLeft) await this.#whenSettled();
    if (this.#state === FAILED) throw this.#error;
    if (this.#state === OPEN) {
      const why = this.#isUsed ? "was left before its end" : "is read by nobody";
      const fix = "trailers come behind it; read all of it first";
      const message = `the body of ${this.where} ${why}, and ${fix}`;
      throw new MillraceError("ERR_MILLRACE_BODY_USED", message);
    }
    return this.#trailers ?? new HeaderText("");
  }

  // Until it has ended, failed or been left.
  #whenSettled(): Promise<void> {
    if (this.#settled === undefined) {
      let settle = (): void => undefined;
      const promise = new Promise<void>((resolve) => (settle = resolve));
      this.#settled = { promise, settle };
    }
    return this.#settled.promise;
  }

  // The first credit is what makes the loop read at all.
  #ask(): void {
    if (this.#isAsked) return;
    this.#isAsked = true;
    this.native.read(this.handle, this.generation, WINDOW_BYTES);
  }

  #credit(bytes: number): void {
    this.#consumed += bytes + EVENT_COST;
    if (this.#consumed < WINDOW_BYTES / 2 || this.#state !== OPEN) return;
    this.native.read(this.handle, this.generation, this.#consumed);
    this.#consumed = 0;
  }
}

/** Iterates over a body; leaving the loop early drops the rest. */
export async function* chunksOf(body: Incoming): AsyncGenerator<Uint8Array, void, undefined> {
  body.use();
  try {
    for (;;) {
      const chunk = await body.next();
      if (chunk === undefined) return;
      yield chunk;
    }
  } finally {
    body.leave();
  }
}

/** The checked options. @throws {MillraceError} ERR_MILLRACE_INVALID_OPTION */
export function patienceOf(options: ReceiveOptions = {}): Required<ReceiveOptions> {
  checkRecord("receive()", options, ["giveUpMs", "totalMs", "waitMs"]);
  return {
    giveUpMs: milliseconds("receive() giveUpMs", options.giveUpMs, 10_000),
    totalMs: milliseconds("receive() totalMs", options.totalMs, Infinity),
    waitMs: milliseconds("receive() waitMs", options.waitMs, 100),
  };
}

/**
 * The seed's way of reading: states instead of waiting and throwing. `giveUp` cuts the connection.
 */
export async function* receiptsOf(
  body: Incoming,
  { giveUpMs, totalMs, waitMs }: Required<ReceiveOptions>,
  giveUp: (error: MillraceError) => void,
): AsyncGenerator<Receipt, void, undefined> {
  body.use();
  try {
    let idleSince = performance.now();
    const deadline = idleSince + totalMs;
    const wait = (coming: Promise<Uint8Array | undefined>) =>
      orLate(coming, Math.min(waitMs, deadline - performance.now()), (): typeof LATE => LATE);
    for (;;) {
      const coming = body.next();
      let chunk: Uint8Array | undefined | typeof LATE;
      // Not asked for again while it is on its way: what comes meanwhile must not be lost.
      while ((chunk = await wait(coming)) === LATE) {
        const now = performance.now();
        if (now >= deadline || now - idleSince >= giveUpMs) {
          const message =
            now >= deadline
              ? `the body did not come within ${totalMs} ms (totalMs)`
              : `no byte of the body came for ${giveUpMs} ms (giveUpMs)`;
          const error = new MillraceError("ERR_MILLRACE_GAVE_UP", message);
          giveUp(error);
          yield { state: "fail", chunk: NOTHING, error };
          return;
        }
        yield { state: "try-again", chunk: NOTHING };
      }
      if (chunk === undefined) break;
      yield { state: "progress", chunk };
      idleSince = performance.now();
    }
    yield { state: "complete", chunk: NOTHING };
  } catch (error) {
    if (!(error instanceof MillraceError)) throw error;
    yield { state: "fail", chunk: NOTHING, error };
  } finally {
    body.leave();
  }
}

/** A body as a standard stream. */
export function readableOf(body: Incoming): ReadableStream<Uint8Array> {
  const source = {
    async pull(controller: ReadableStreamDefaultController<Uint8Array>): Promise<void> {
      const chunk = await body.next();
      if (chunk === undefined) controller.close();
      else controller.enqueue(chunk);
    },
    cancel(): void {
      body.leave();
    },
  };
  // Nothing is read ahead: the window is the loop's.
  return new ReadableStream(source, { highWaterMark: 0 });
}

const LATE: unique symbol = Symbol("late");

function joined(chunks: readonly Uint8Array[], size: number): Uint8Array {
  const whole = new Uint8Array(size);
  let at = 0;
  for (const chunk of chunks) {
    whole.set(chunk, at);
    at += chunk.length;
  }
  return whole;
}
