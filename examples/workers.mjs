// The same module in several worker threads that share one port: each has its own event loop and
// its own native loop. The first worker chooses the port when PORT is 0.
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { isMainThread, parentPort, threadId, Worker, workerData } from "node:worker_threads";
import { raw, serve } from "millrace";

if (isMainThread) await startWorkers(Number(process.env.WORKERS ?? availableParallelism()));
else await startServer();

async function startWorkers(count) {
  const workers = [];
  let address = { port: Number(process.env.PORT ?? 3000) };
  for (let i = 0; i < count; i += 1) {
    const worker = new Worker(fileURLToPath(import.meta.url), { workerData: address });
    workers.push(worker);
    address = await new Promise((resolve, reject) => {
      worker.once("message", resolve);
      worker.once("error", reject);
    });
  }
  console.log(`workers on ${address.url} (${count} of them)`);
  // Signals reach the main thread only.
  process.once("SIGTERM", () => {
    for (const worker of workers) worker.postMessage("close");
  });
}

async function startServer() {
  const server = await serve({
    port: workerData.port,
    loops: 0,
    routes: {
      "/": raw((_req, res) => {
        res.json({ thread: threadId });
      }),
      "/busy": raw((_req, res) => {
        const until = performance.now() + 50; // holds up this worker only
        while (performance.now() < until);
        res.json({ thread: threadId });
      }),
    },
  });
  parentPort.once("message", () => server.close());
  parentPort.postMessage({ port: server.addresses[0].port, url: server.url });
}
