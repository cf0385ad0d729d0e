// cluster(): the same module in several worker threads, started together, replaced when one ends,
// closed together.
import { availableParallelism } from "node:os";
import { isAbsolute, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { isMainThread, workerData } from "node:worker_threads";
import type { Address } from "../api.ts";
import { checkRecord, integer, invalidOption, text, truth } from "../check.ts";
import { MillraceError } from "../errors.ts";
import { type ShutdownOptions, shutdownOf } from "../options.ts";
import { closeOf, type ServerCloseOptions } from "../restart/options.ts";
import { atSignal } from "../signals.ts";
import type { Cluster, ClusterOptions, ClusterReport, ClusterThread } from "./api.ts";
import { Place, type Plan } from "./place.ts";
import { MARK } from "./wire.ts";

const THREADS_MAX = 1024;
const START_MS = 30_000;
const START_MS_MAX = 86_400_000;
const KEYS = [
  ...["data", "gracefulShutdown", "port", "respawn", "startTimeout", "threads", "worker"],
] as const;

/**
 * Runs a module in several worker threads that share their listening sockets: one server each, or
 * more. The module may export `init(context)`, which opens them, and `dispose(context)`; both may
 * be async. Resolves when every thread is ready. The first one starts alone, so that what is wrong
 * with all of them is told once.
 *
 * Call it in the main thread. Servers that a thread has opened with `serve()` are closed for it.
 *
 * @param module - a file: URL, or a path from the working directory
 * @throws {MillraceError} ERR_MILLRACE_INVALID_OPTION; ERR_MILLRACE_CLUSTER when a thread fails to
 *   start, with its error as the cause; then none is left
 * @example
 * ```js
 * // server.mjs
 * import { cluster } from "millrace";
 * await cluster(new URL("app.mjs", import.meta.url), { port: 3000, gracefulShutdown: true });
 *
 * // app.mjs
 * import { serve } from "millrace";
 * export const init = ({ port }) => serve({ port, routes: { "/": new Response("hello") } });
 * ```
 */
export async function cluster(
  module: string | URL,
  options: ClusterOptions = {},
): Promise<Cluster> {
  const plan = planOf(module, options);
  const shutdown = shutdownOf(options.gracefulShutdown);
  const made = new ThreadCluster(plan);
  try {
    await made.start();
  } catch (error) {
    await made.close({ timeout: 0 });
    throw error;
  }
  made.closeOn(shutdown);
  return made;
}

function planOf(module: unknown, options: ClusterOptions): Plan {
  checkRecord("cluster()", options, KEYS);
  if (!isMainThread && isOfCluster()) {
    const what = "runs in a thread of a cluster already; call it where isMainThread is true";
    throw new MillraceError("ERR_MILLRACE_INVALID_OPTION", `cluster() ${what}`);
  }
  const { data, port = 0, respawn = true, startTimeout = START_MS, worker = {} } = options;
  const { threads = availableParallelism() } = options;
  if (typeof worker !== "object" || worker === null)
    throw invalidOption("cluster() worker", "must be an object", worker);
  return {
    data,
    module: urlOf(module),
    port: integer("cluster() port", port, 0, 65_535),
    respawns: truth("cluster() respawn", respawn),
    startMs: integer("cluster() startTimeout", startTimeout, 1, START_MS_MAX, "milliseconds"),
    threads: integer("cluster() threads", threads, 1, THREADS_MAX),
    worker,
  };
}

function isOfCluster(): boolean {
  return typeof workerData === "object" && workerData !== null && MARK in workerData;
}

function urlOf(module: unknown): string {
  if (module instanceof URL || (typeof module === "string" && module.startsWith("file:"))) {
    try {
      return pathToFileURL(fileURLToPath(module)).href;
    } catch {
      throw invalidOption("cluster()", "takes a file: URL or a path", String(module));
    }
  }
  const path = text("cluster()", module);
  return pathToFileURL(isAbsolute(path) ? path : resolve(path)).href;
}

class ThreadCluster implements Cluster {
  readonly closed: Promise<ClusterReport>;
  readonly #plan: Plan;
  readonly #places: readonly Place[];
  readonly #cleanups: (() => void)[] = [];
  #finish!: (report: ClusterReport) => void;
  #isClosing = false;

  constructor(plan: Plan) {
    this.#plan = plan;
    this.#places = Array.from({ length: plan.threads }, (_, index) => new Place(plan, index));
    this.closed = new Promise((resolve) => {
      this.#finish = resolve;
    });
  }

  get addresses(): readonly Address[] {
    return this.#places[0]?.addresses ?? [];
  }

  get threads(): readonly ClusterThread[] {
    return this.#places.map((place) => place.view());
  }

  get url(): string {
    return this.#places[0]?.url ?? "";
  }

  async start(): Promise<void> {
    const [first, ...others] = this.#places;
    await first?.start(this.#plan.port);
    const port = this.#plan.port || portOf(this.addresses);
    const starts = await Promise.allSettled(others.map((place) => place.start(port)));
    for (const start of starts) if (start.status === "rejected") throw start.reason;
    if (this.#plan.respawns) for (const place of this.#places) place.keepUp(port);
    // Without replacements, a cluster is over with its last thread.
    void Promise.all(this.#places.map((place) => place.over)).then(() => this.#end());
  }

  closeOn(shutdown: Required<ShutdownOptions> | undefined): void {
    if (shutdown === undefined || this.#isClosing) return;
    const { timeout, wait } = shutdown;
    const onSignal = (): void => void this.close({ timeout, wait });
    for (const name of shutdown.signals) this.#cleanups.push(atSignal(name, onSignal));
  }

  async close(options?: ServerCloseOptions): Promise<ClusterReport> {
    const order = closeOf(options);
    this.#isClosing = true;
    for (const cleanup of this.#cleanups.splice(0)) cleanup();
    await Promise.all(this.#places.map((place) => place.close(order)));
    this.#end();
    return this.closed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #end(): void {
    for (const cleanup of this.#cleanups.splice(0)) cleanup();
    const report = { completed: 0, forced: 0, terminated: 0 };
    for (const place of this.#places) {
      report.completed += place.report.completed;
      report.forced += place.report.forced;
      report.terminated += place.report.terminated;
    }
    this.#finish(report);
  }
}

function portOf(addresses: readonly Address[]): number {
  for (const address of addresses) if ("port" in address) return address.port ?? 0;
  return 0;
}
