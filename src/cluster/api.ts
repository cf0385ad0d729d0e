// What cluster() takes and gives, and what the module of its threads exports.
import type { WorkerOptions } from "node:worker_threads";
import type { Address, CloseReport } from "../api.ts";
import type { ShutdownOptions } from "../options.ts";
import type { ServerCloseOptions } from "../restart/options.ts";

/** How cluster() starts its threads. */
export interface ClusterOptions {
  /** Given to each `init`, copied by the structured clone algorithm. */
  readonly data?: unknown;
  /** Closes the cluster on these signals; a second one has its usual effect. @default false */
  readonly gracefulShutdown?: boolean | ShutdownOptions;
  /** What `context.port` says; with 0 the first thread chooses and the others follow. @default 0 */
  readonly port?: number;
  /** Whether a thread that ends by itself, or by an error, is replaced. @default true */
  readonly respawn?: boolean;
  /** How long a thread may take to be ready, in milliseconds. @default 30000 */
  readonly startTimeout?: number;
  /** How many threads. @default os.availableParallelism() */
  readonly threads?: number;
  /** More options of `new Worker()`, such as `resourceLimits`, `env` and `execArgv`. */
  readonly worker?: Omit<WorkerOptions, "eval" | "transferList" | "workerData">;
}

/** What `init` and `dispose` of a thread's module are called with. */
export interface ClusterContext<D = unknown> {
  /** The option `data`. */
  readonly data: D;
  /** From 0 to `threads` - 1; a replacement has that of the thread it stands for. */
  readonly index: number;
  /** The port to listen on, so that all threads share it. */
  readonly port: number;
  /** Aborted when the cluster begins to close. */
  readonly signal: AbortSignal;
  readonly threads: number;
}

/** What the module of a cluster's threads may export. */
export interface ClusterModule<D = unknown> {
  /** Called once in each thread, and awaited before the thread counts as ready. */
  readonly init?: (context: ClusterContext<D>) => unknown;
  /** Called once in each thread that is closed, when its servers are; awaited. */
  readonly dispose?: (context: ClusterContext<D>) => unknown;
}

/** A thread of a cluster, as it is now. */
export interface ClusterThread {
  readonly index: number;
  /** Whether it is there and `init` is done. */
  readonly isReady: boolean;
  /** How many threads stood in this place before. */
  readonly restarts: number;
  /** Node's number of it; -1 while there is none. */
  readonly threadId: number;
}

/** What the servers of all threads reported, and how many threads had to be terminated. */
export interface ClusterReport extends CloseReport {
  readonly terminated: number;
}

/** Threads that serve together. */
export interface Cluster extends AsyncDisposable {
  /** Where the first thread's servers listen. */
  readonly addresses: readonly Address[];
  /** Resolves when all threads have ended. Never rejects. */
  readonly closed: Promise<ClusterReport>;
  readonly threads: readonly ClusterThread[];
  /** URL of the first address; "" without a server. */
  readonly url: string;
  /**
   * Closes the servers of all threads gracefully, calls `dispose` in each, and ends them. A thread
   * that takes longer than `wait` + `timeout` and a second is terminated.
   * @throws {MillraceError} ERR_MILLRACE_INVALID_OPTION
   */
  close(options?: ServerCloseOptions): Promise<ClusterReport>;
}
