// One module for all threads: the main thread starts them, each of them serves. One that crashes
// is replaced, and SIGTERM closes all of them gracefully.
import { isMainThread, threadId } from "node:worker_threads";
import { cluster, raw, serve } from "millrace";

if (isMainThread) {
  const { threads, url } = await cluster(import.meta.url, {
    port: Number(process.env.PORT ?? 3000),
    threads: Number(process.env.WORKERS ?? 2),
    data: { greeting: "hello" },
    gracefulShutdown: true,
  });
  console.log(`cluster on ${url} (${threads.length} threads)`);
}

let server;

// In each thread, before it counts as ready: open what its handlers need, and serve.
export async function init({ data, index, port }) {
  server = await serve({
    port,
    routes: {
      "/": raw((_req, res) => res.json({ greeting: data.greeting, index, threadId })),
    },
  });
}

// In each thread, when its servers have closed: close what init() has opened.
export async function dispose({ index }) {
  console.log(`thread ${index} answered ${server.metrics.requests} requests`);
}
