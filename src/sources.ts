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
          if (typeof destroy === "function") destroy.call(source, errorOf(reason));
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

function streamReader(stream: ReadableStream<unknown>): SourceReader {
  const reader = stream.getReader();
  return {
    next: () => reader.read(),
    cancel: (reason) => quietly(() => reader.cancel(reason)),
  };
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
