// A response as a Node stream: for pipe(), pipeline() and whatever wants to be given a Writable.
import { Writable } from "node:stream";

/** What the stream needs of a response. */
export interface WritableSink {
  readonly signal: AbortSignal; // aborted when nothing more can be sent
  write(chunk: Uint8Array): boolean;
  drained(): Promise<void>;
  end(): void;
  /** The stream was destroyed before its end. */
  fail(error: unknown): void;
}

/** The stream is destroyed with the signal's reason. */
export function writableOf(sink: WritableSink): Writable {
  let hasEnded = false;
  const writable = new Writable({
    write(chunk: Uint8Array, _encoding, done) {
      guarded(done, () => {
        if (sink.write(chunk)) done();
        else sink.drained().then(() => done(), done);
      });
    },
    final(done) {
      guarded(done, () => {
        sink.end();
        hasEnded = true;
        done();
      });
    },
    destroy(error, done) {
      if (!hasEnded) sink.fail(error ?? new Error("the stream was destroyed before its end"));
      done(error);
    },
  });
  // A peer that leaves must not end the process where nobody listens.
  writable.on("error", () => undefined);
  const { signal } = sink;
  const leave = (): void => void writable.destroy(signal.reason as Error);
  if (signal.aborted) leave();
  else signal.addEventListener("abort", leave, { once: true });
  return writable;
}

function guarded(done: (error: Error) => void, act: () => void): void {
  try {
    act();
  } catch (error) {
    done(error as Error);
  }
}
