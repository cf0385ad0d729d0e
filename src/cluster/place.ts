// One place among a cluster's threads: the worker that stands in it, and the one that follows when
// it ends.
import {
  MessageChannel,
  type MessagePort,
  receiveMessageOnPort,
  Worker,
  type WorkerOptions,
} from "node:worker_threads";
import type { Address } from "../api.ts";
import { MillraceError } from "../errors.ts";
import { stackOf, warn } from "../warnings.ts";
import type { ClusterThread } from "./api.ts";
import { MARK, type Order, type Start, type Word } from "./wire.ts";

export interface Plan {
  readonly data: unknown;
  readonly module: string;
  readonly port: number;
  readonly respawns: boolean;
  readonly startMs: number;
  readonly threads: number;
  readonly worker: WorkerOptions;
}

// A thread that fails again and again is tried less and less often.
const PAUSE_MS = 100;
const PAUSE_MS_MAX = 5000;
const STEADY_MS = 10_000; // lived that long: what ended it was something new
const LAST_WORDS_MS = 1000;

export class Place {
  addresses: readonly Address[] = [];
  url = "";
  readonly over: Promise<void>; // no thread is in this place, nor will be
  readonly report = { completed: 0, forced: 0, terminated: 0 };
  readonly #plan: Plan;
  readonly #index: number;
  #worker: Worker | undefined = undefined;
  #line: MessagePort | undefined = undefined;
  #whenEnded: Promise<void> = Promise.resolve();
  #isReady = false;
  #isClosing = false;
  #respawnPort: number | undefined = undefined;
  #restarts = 0;
  #failures = 0; // in a row
  #readyAt = 0;
  #pause: NodeJS.Timeout | undefined = undefined;
  #leave!: () => void;

  constructor(plan: Plan, index: number) {
    this.#plan = plan;
    this.#index = index;
    this.over = new Promise((resolve) => {
      this.#leave = resolve;
    });
  }

  view(): ClusterThread {
    return {
      index: this.#index,
      isReady: this.#isReady,
      restarts: this.#restarts,
      threadId: this.#worker?.threadId ?? -1,
    };
  }

  /** From now on a thread that ends is replaced. */
  keepUp(port: number): void {
    this.#respawnPort = port;
    // It may have ended while others started.
    if (this.#worker === undefined && !this.#isClosing) this.#replace(port);
  }

  /** Resolves when the thread is ready. @throws {MillraceError} ERR_MILLRACE_CLUSTER */
  start(port: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const line = new MessageChannel();
      const worker = this.#spawn(port, line.port2);
      this.#worker = worker;
      this.#line = line.port1;
      let isDone = false;
      let thrown: unknown;
      const fail = (why: string): void => {
        if (isDone) return;
        isDone = true;
        clearTimeout(timer);
        reject(this.#failure(why, thrown));
      };
      const timer = setTimeout(() => {
        fail(`was not ready within ${this.#plan.startMs} ms`);
        void worker.terminate();
      }, this.#plan.startMs);
      const hear = (word: Word): void => {
        if (word.kind === "closed") {
          this.#closed(word);
          return;
        }
        if (isDone) return;
        isDone = true;
        clearTimeout(timer);
        this.addresses = word.addresses;
        this.url = word.url;
        this.#isReady = true;
        this.#readyAt = performance.now();
        resolve();
      };
      line.port1.on("message", hear);
      worker.once("error", (error) => {
        thrown = error;
      });
      this.#whenEnded = new Promise((ended) => {
        worker.once("exit", (code) => {
          // What it said last may be on its way still.
          for (let left = receiveMessageOnPort(line.port1); left !== undefined; ) {
            hear(left.message as Word);
            left = receiveMessageOnPort(line.port1);
          }
          line.port1.close();
          fail("failed to start");
          this.#ended(code, thrown);
          ended();
        });
      });
    });
  }

  /** Resolves when there is no thread any more. Never rejects. */
  async close(order: Order): Promise<void> {
    this.#isClosing = true;
    clearTimeout(this.#pause);
    const worker = this.#worker;
    if (worker !== undefined) {
      this.#line?.postMessage(order);
      const most = order.wait + order.timeout + LAST_WORDS_MS;
      const timer = setTimeout(() => this.#terminate(worker), most);
      await this.#whenEnded;
      clearTimeout(timer);
    }
    this.#leave();
  }

  #spawn(port: number, line: MessagePort): Worker {
    const { data, module, threads, worker } = this.#plan;
    const start: Start = { data, index: this.#index, line, module, port, threads };
    return new Worker(new URL("./thread.js", import.meta.url), {
      ...worker,
      workerData: { [MARK]: start },
      transferList: [line],
    });
  }

  #closed(word: Word & { readonly kind: "closed" }): void {
    this.report.completed += word.completed;
    this.report.forced += word.forced;
    if (word.problem !== undefined)
      warn("ERR_MILLRACE_CLUSTER", `dispose() of thread ${this.#index} threw`, `${word.problem}`);
    // Timers of the application must not keep it.
    const worker = this.#worker;
    if (worker === undefined) return;
    const timer = setTimeout(() => void worker.terminate(), LAST_WORDS_MS);
    worker.once("exit", () => clearTimeout(timer));
  }

  #terminate(worker: Worker): void {
    this.report.terminated += 1;
    void worker.terminate();
  }

  #ended(code: number, thrown: unknown): void {
    const wasReady = this.#isReady;
    this.#worker = undefined;
    this.#line = undefined;
    this.#isReady = false;
    if (this.#isClosing) return;
    const port = this.#respawnPort;
    const how = thrown === undefined ? `ended with code ${code}` : "was ended by an error";
    const next = port === undefined ? "" : "; another takes its place";
    if (wasReady)
      warn("ERR_MILLRACE_CLUSTER", `thread ${this.#index} ${how}${next}`, detailOf(thrown));
    if (port !== undefined) this.#replace(port);
    else if (!this.#plan.respawns) this.#leave();
  }

  #replace(port: number): void {
    if (this.#readyAt > 0 && performance.now() - this.#readyAt >= STEADY_MS) this.#failures = 0;
    const pause = Math.min(PAUSE_MS * 2 ** this.#failures, PAUSE_MS_MAX);
    this.#failures += 1;
    this.#pause = setTimeout(() => {
      this.#restarts += 1;
      // A failure is told here, and #ended() has seen to the next.
      this.start(port).catch((error: MillraceError) =>
        warn("ERR_MILLRACE_CLUSTER", error.message, detailOf(error.cause)),
      );
    }, pause);
  }

  #failure(why: string, thrown: unknown): MillraceError {
    const what = `thread ${this.#index} of the cluster ${why}`;
    const more = thrown instanceof Error ? `: ${thrown.message}` : "";
    const options = thrown === undefined ? {} : { cause: thrown };
    return new MillraceError("ERR_MILLRACE_CLUSTER", `${what}${more}`, options);
  }
}

function detailOf(thrown: unknown): string | undefined {
  return thrown === undefined ? undefined : stackOf(thrown);
}
