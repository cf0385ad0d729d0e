// The end of a server as the application hears of it: a signal, callbacks, and event streams that
// end with the server. Begins once; closes nothing itself.
import { AsyncResource } from "node:async_hooks";
import type { Server, ShutdownCallback } from "./api.ts";
import { MillraceError } from "./errors.ts";
import { LOG_LEVELS } from "./logging/levels.ts";
import type { Log } from "./logging/logger.ts";

const MANUAL = { requireManualDestroy: true };

/** A stream that can end with the server. */
export interface EndingStream {
  readonly signal: AbortSignal;
  close(): void;
}

/** What a shutdown needs of its server. */
export interface ShutdownSettings {
  readonly log: Log;
  /** Promises that close() waits for. */
  readonly tasks: Set<Promise<unknown>>;
  /** Asked when the end begins. */
  readonly server: () => Server;
}

interface Entry {
  readonly callback: ShutdownCallback;
}

/** One per server. */
export class Shutdown {
  readonly #settings: ShutdownSettings;
  readonly #controller = new AbortController();
  readonly #entries = new Set<Entry>();
  readonly #streams = new Set<EndingStream>();
  // Callbacks are to see the async context of nobody's request.
  readonly #scope = new AsyncResource("MILLRACESHUTDOWN", MANUAL);
  #told: Promise<unknown> | undefined = undefined; // callbacks that take longer
  #isTelling = false;
  #isClosing = false;

  constructor(settings: ShutdownSettings) {
    this.#settings = settings;
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Calls it when the end begins, or soon where it has begun; gives what takes that back. */
  add(callback: ShutdownCallback): () => void {
    const entry = { callback };
    this.#entries.add(entry);
    if (this.signal.aborted) queueMicrotask(() => this.#scope.runInAsyncScope(this.#callAll, this));
    return () => void this.#entries.delete(entry);
  }

  /** Ends the stream when the server drains or closes; one that is opened later, when it closes. */
  endAlso(stream: EndingStream): void {
    this.#streams.add(stream);
    stream.signal.addEventListener("abort", () => this.#streams.delete(stream), { once: true });
    // Later, so that who has opened it can listen first.
    if (this.#isClosing) queueMicrotask(() => this.endStreams(true));
  }

  /** The server begins to drain, or to close. */
  begin(): void {
    if (this.signal.aborted) return;
    const message = "the server has begun to stop";
    this.#isTelling = true;
    this.#scope.runInAsyncScope(() => {
      this.#controller.abort(new MillraceError("ERR_MILLRACE_CLOSED", message));
      this.#callAll();
    });
    this.#isTelling = false;
  }

  /** Behind begin(), when the loops know: ends the streams, which callbacks may say more in. */
  endStreams(isClosing: boolean): void {
    this.#isClosing ||= isClosing;
    if (this.#isTelling) return; // a callback closes: who called it comes here
    if (this.#told === undefined) this.#endNow();
    else void this.#told.then(() => this.#endNow());
  }

  // One may take another one back, or add one.
  #callAll(): void {
    const pending: Promise<unknown>[] = this.#told === undefined ? [] : [this.#told];
    for (const entry of this.#entries) {
      this.#entries.delete(entry);
      const task = this.#call(entry.callback);
      if (task !== undefined) pending.push(task);
    }
    if (pending.length > 0) this.#told = Promise.all(pending);
  }

  #call(callback: ShutdownCallback): Promise<unknown> | undefined {
    const { server, tasks } = this.#settings;
    try {
      const result = callback(server());
      if (typeof (result as { then?: unknown } | undefined)?.then !== "function") return undefined;
      const task = Promise.resolve(result)
        .catch((error: unknown) => this.#failed(error))
        .finally(() => tasks.delete(task));
      tasks.add(task);
      return task;
    } catch (error) {
      this.#failed(error);
      return undefined;
    }
  }

  #failed(error: unknown): void {
    const { log } = this.#settings;
    log.failed(LOG_LEVELS.error, "ERR_MILLRACE_HANDLER_FAILED", "onShutdown() threw", error);
  }

  #endNow(): void {
    for (const stream of this.#streams) stream.close();
  }
}
