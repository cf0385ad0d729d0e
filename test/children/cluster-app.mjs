// What the threads of children/cluster.mjs run; `data.mode` says in which way they misbehave.
import { threadId } from "node:worker_threads";
import { cluster, raw, serve } from "millrace";

export async function init({ data, index, port, signal, threads }) {
  const { counts, mode } = data;
  const turn = Atomics.add(counts, 0, 1); // of all init() calls
  if (mode === "throws" && index === 1) throw new TypeError("init threw on purpose");
  if (mode === "hangs") await new Promise(() => setInterval(() => undefined, 1000)); // never
  if (mode === "nested") await cluster(import.meta.url, { data });
  if (mode === "failsOnce" && turn === 2) throw new Error("failed once on purpose");
  signal.addEventListener("abort", () => Atomics.add(counts, 2, 1));
  if (mode === "timers") setInterval(() => undefined, 1000);
  await serve({
    port,
    loops: data.loops,
    routes: {
      "/": raw((_req, res) => res.json({ index, port, threadId, threads })),
      "/slow": raw(async (_req, res) => {
        console.log("slow has come");
        await new Promise((resolve) => signal.addEventListener("abort", resolve));
        res.end("slow");
      }),
      "/throw": raw(() => {
        setImmediate(() => {
          throw new Error("thrown on purpose");
        });
      }),
      "/exit": raw(() => process.exit(5)),
      "/block": raw(() => {
        Atomics.add(counts, 3, 1);
        for (;;);
      }),
    },
  });
}

export async function dispose({ data, index }) {
  await new Promise((resolve) => setImmediate(resolve));
  Atomics.add(data.counts, 1, 1);
  if (data.mode === "disposeThrows" && index === 0) throw new Error("dispose threw on purpose");
}
