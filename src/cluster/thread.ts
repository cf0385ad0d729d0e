// The first module of a cluster's thread: runs the application's, says that it is ready, and closes
// what it has opened when it is told to.
import { workerData } from "node:worker_threads";
import type { CloseReport } from "../api.ts";
import type { ClusterContext, ClusterModule } from "./api.ts";
import { openServers } from "./open.ts";
import { MARK, type Order, type Start, type Word } from "./wire.ts";

const start = (workerData as Record<string, Start>)[MARK] as Start;
const { line } = start;
const closing = new AbortController();
const context: ClusterContext = {
  data: start.data,
  index: start.index,
  port: start.port,
  signal: closing.signal,
  threads: start.threads,
};

// An error of these two ends the thread, and the main thread is told by Node.
const application = (await import(start.module)) as ClusterModule;
await application.init?.(context);

line.once("message", (order: Order) => void close(order));
const [first] = openServers();
tell({ kind: "ready", addresses: first?.addresses ?? [], url: first?.url ?? "" });

async function close(order: Order): Promise<void> {
  closing.abort();
  let total: CloseReport = { completed: 0, forced: 0 };
  try {
    // A dispose() may open none, but what another callback has opened meanwhile is closed too.
    for (let open = openServers(); open.length > 0; open = openServers())
      for (const report of await Promise.all(open.map((server) => server.close(order))))
        total = {
          completed: total.completed + report.completed,
          forced: total.forced + report.forced,
        };
    await application.dispose?.(context);
    tell({ kind: "closed", ...total });
  } catch (problem) {
    const shown = problem instanceof Error ? (problem.stack ?? problem.message) : String(problem);
    tell({ kind: "closed", ...total, problem: shown });
  }
  line.close();
}

function tell(word: Word): void {
  line.postMessage(word);
}
