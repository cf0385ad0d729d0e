// An inline loop stands still while JavaScript computes: deadlines must not be judged on bytes that
// nobody has read yet.
import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { expect, it } from "vitest";
import { raw, serve } from "../src/index.ts";

const HEADERS_MS = 600;
const STARTED = 0;
const SENT = 1;

// A thread of its own goes on sending while ours computes.
const client = `
  const { once } = require("node:events");
  const net = require("node:net");
  const { parentPort, workerData: { port, words } } = require("node:worker_threads");
  const flags = new Int32Array(words);
  const write = (socket, text) => new Promise((done) => socket.write(text, done));
  (async () => {
    // More than a loop reads in one go, and ready before the late one.
    const bulk = Array.from({ length: 8 }, () => net.connect(port, "127.0.0.1"));
    const late = net.connect(port, "127.0.0.1");
    await Promise.all([...bulk, late].map((socket) => once(socket, "connect")));
    await write(late, "GET /late HTTP/1.1\\r\\nHost: a\\r\\n");
    parentPort.postMessage("halfway");
    Atomics.wait(flags, ${STARTED}, 0);
    const head = "POST /bulk HTTP/1.1\\r\\nHost: a\\r\\nContent-Length: 600000\\r\\n\\r\\n";
    await Promise.all(bulk.map((socket) => write(socket, head + "x".repeat(100000))));
    await write(late, "\\r\\n");
    Atomics.store(flags, ${SENT}, 1);
    const [answer] = await once(late, "data");
    parentPort.postMessage(String(answer).slice(0, 12));
    for (const socket of [...bulk, late]) socket.destroy();
  })();
`;

it("reads what came during a stall before it judges a deadline", async () => {
  const server = await serve({
    port: 0,
    loops: 0,
    timeouts: { headers: HEADERS_MS },
    routes: { "/late": raw((_req, res) => void res.end()), "/bulk": { POST: raw(() => {}) } },
  });
  const words = new SharedArrayBuffer(8);
  const flags = new Int32Array(words);
  const port = server.addresses[0]?.port;
  const worker = new Worker(client, { eval: true, workerData: { port, words } });
  await once(worker, "message");
  while (server.metrics.bytesIn === 0) await new Promise(setImmediate);

  const until = performance.now() + 2 * HEADERS_MS;
  Atomics.store(flags, STARTED, 1);
  Atomics.notify(flags, STARTED);
  // JavaScript computes: nothing is read, and the deadline of the half head passes.
  while (Atomics.load(flags, SENT) === 0 || performance.now() < until);

  const [status] = await once(worker, "message");
  expect(status).toBe("HTTP/1.1 200");
  await worker.terminate();
  await server.close();
});
