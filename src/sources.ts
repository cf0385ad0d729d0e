// What response bodies are streamed from: one way to read every kind of source and to let go of it,
// and the pump between it and a response.
import type { Readable } from "node:stream";
import { type Bytes, checkedBody } from "./body.ts";
import { MillraceError, show } from "./errors.ts";

/** What a response can be streamed from. */
export type Source = ReadableStream<Uint8Array> | AsyncIterable<Bytes> | Iterable<Bytes> | Readable;

/** What pump() needs of a response. */
export interface Sending {
  readonly signal: AbortSignal; // aborted when nothing more can be sent
  write(chunk: Bytes): boolean;
  drained(): Promise<void>;
}

/**
 * Writes everything that a source gives. Ends early with the signal's reason, and then lets go of
 * the source without waiting for it.
 */
export async function pump(reader: SourceReader, sending: Sending): Promise<void> {
  const { signal } = sending;
  let breakOff = (_reason: unknown): void => undefined;
  const onAbort = (): void => breakOff(signal.reason);
  // Not a race with one promise for all: that would remember every chunk of an endless source.
  const unlessAborted = <T>(coming: Promise<T>): Promise<T> =>
    new Promise((resolve, reject) => {
      breakOff = reject;
      coming.then(resolve, reject);
      if (signal.aborted) reject(signal.reason);
    });
  signal.addEventListener("abort", onAbort, { once: true });
  let isDone = false;
  try {
    for (;;) {
      const step = await unlessAborted(reader.next());
      if (step.done === true) break;
      const chunk = checkedBody(step.value as Bytes) ?? "";
      if (!sending.write(chunk)) await unlessAborted(sending.drained());
    }
    isDone = true;
  } catch (error) {
    if (!isDone) reader.cancel(error);
    throw error;
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

/** One step of a source. */
export interface Step {
  readonly done?: boolean | undefined;
  readonly value?: unknown;
}

/** Any source, one way to read it. */
export interface SourceReader {
  next(): Promise<Step>;
  /** Never throws, and is not waited for: a source may take for ever over it. */
  cancel(reason: unknown): void;
}

/** @throws {MillraceError} ERR_MILLRACE_INVALID_BODY */
export function readerOf(source: unknown): SourceReader {
  if (source instanceof ReadableStream) return streamReader(source);
  if (typeof source === "object" && source !== null) {
    const { destroy } = source as Partial<Readable>;
    if (Symbol.asyncIterator in source) {
      const iterator = (source as AsyncIterable<unknown>)[Symbol.asyncIterator]();
      return {
        next: async () => iterator.next(),
        cancel: (reason) => {
          if (typeof destroy === "function") letGo(source as Readable, reason);
          else quietly(() => iterator.return?.());
        },
      };
    }
    if (Symbol.iterator in source) {
      const iterator = (source as Iterable<unknown>)[Symbol.iterator]();
      return {
        next: async () => iterator.next(),
        cancel: () => quietly(() => iterator.return?.()),
      };
    }
  }
  const kinds = "a ReadableStream, a Readable, or an (async) iterable of strings or bytes";
  const message = `a response is streamed from ${kinds}, got ${show(source)}`;
  throw new MillraceError("ERR_MILLRACE_INVALID_BODY", message);
}

// The iterator of a Readable listens from its first next() on. What nobody has begun to read may
// have something to say all the same: the reason that we give it, or that its file is not there.
function letGo(source: Readable, reason: unknown): void {
  quietly(() => {
    if (typeof source.on === "function") source.on("error", () => undefined);
    source.destroy(errorOf(reason));
  });
}

function streamReader(stream: ReadableStream<unknown>): SourceReader {
  const reader = stream.getReader();
  let coming: Promise<Step> | undefined;
  return {
    next: () => (coming = reader.read()),
    cancel: (reason) => quietly(() => cancelStream(stream, reader, coming, reason)),
  };
}

/** Lets go of the body of a Response that is not sent. */
export function discard(body: ReadableStream<unknown>): void {
  const reader = readerOf(body);
  if (!isIterated(body)) {
    reader.cancel(undefined);
    return;
  }
  // What Node makes of a Readable listens to it, and can let go of it, from the first read on,
  // which waits for the stream to start.
  reader.next().catch(() => undefined);
  setImmediate(() => reader.cancel(undefined));
}

// What Node makes of an iterable, for a Response, closes itself when that ends, also when it has
// been cancelled meanwhile, and an error nobody can catch ends the process. So while it waits for
// its iterable that is told, and the stream stays as it is.
function cancelStream(
  stream: ReadableStream<unknown>,
  reader: ReadableStreamDefaultReader<unknown>,
  coming: Promise<Step> | undefined,
  reason: unknown,
): unknown {
  if (coming === undefined || !isIterated(stream)) return reader.cancel(reason);
  const cancelSource = stateOf(stateOf(stream)?.["controller"])?.["cancelAlgorithm"];
  if (typeof cancelSource === "function") return cancelSource(reason);
  return coming.then(() => reader.cancel(reason));
}

// Such streams are byte streams. Where Node does not show that, each may be one.
function isIterated(stream: ReadableStream<unknown>): boolean {
  const controller = stateOf(stream)?.["controller"];
  return controller === undefined || controller instanceof ReadableByteStreamController;
}

function stateOf(object: unknown): Readonly<Record<string, unknown>> | undefined {
  if (typeof object !== "object" || object === null) return undefined;
  const symbols = Object.getOwnPropertySymbols(object);
  const symbol = symbols.find(({ description }) => description === "kState");
  if (symbol === undefined) return undefined;
  return Reflect.get(object, symbol) as Readonly<Record<string, unknown>>;
}

function quietly(act: () => unknown): void {
  try {
    const result = act();
    if (result instanceof Promise) result.catch(() => undefined);
  } catch {
    // What a source says while it is let go concerns nobody any more.
  }
}

function errorOf(reason: unknown): Error | undefined {
  return reason instanceof Error ? reason : undefined;
}
