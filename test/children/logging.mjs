// Programs for logging.test.ts: node logging.mjs NAME PATH-OR-LOOPS.
import { connect } from "node:net";
import { isMainThread, Worker, workerData } from "node:worker_threads";
import { FileLogger, raw, serve } from "millrace";

const [name, more] = isMainThread ? process.argv.slice(2) : workerData;

const programs = {
  // Four workers write into one file.
  async workers() {
    if (isMainThread) {
      for (let i = 0; i < 4; i += 1)
        new Worker(new URL(import.meta.url), { workerData: [name, more, i] });
      return;
    }
    const file = new FileLogger(more);
    for (let i = 0; i < 2500; i += 1) file.info(`${workerData[2]} ${i}`);
    await file.close();
  },

  kill() {
    const file = new FileLogger(more);
    for (let i = 0; i < 500; i += 1) file.info(`line ${i}`);
    file.error("last");
    process.kill(process.pid, "SIGKILL");
  },

  exit() {
    const file = new FileLogger(more);
    for (let i = 0; i < 5000; i += 1) file.info(`line ${i}`);
    process.exit(0);
  },

  async stderr() {
    const server = await start({ name: "shop", log: "info" });
    await get(server, "/broken");
    await get(server, "/threat");
    process.exit(0);
  },

  // More than a pipe and what may wait for it hold, and nobody who reads: 2 MB of lines.
  async stuck() {
    const server = await start({ log: { level: "debug", capacity: 65_536 } });
    const target = `/own?${"x".repeat(150)}`;
    for (let i = 0; i < 100; i += 1) await get(server, target, 100);
    console.log("answered");
    await server.close();
    console.log(`closed, dropped: ${server.metrics.logDropped > 0}`);
    process.exit(0);
  },

  async usual() {
    const server = await start({});
    await get(server, "/usual");
    await server.close();
  },
};

async function start(options) {
  return serve({
    port: 0,
    loops: Number(more),
    silent: true,
    routes: {
      "/broken": raw(() => {
        throw new Error("two\nlines");
      }),
      "/own": raw((_req, res) => void res.end("x")),
      "/usual": raw(() => {
        throw new Error("thrown on purpose");
      }),
      "/threat": raw((req) => void req.connection.close("SecurityThreatened", "x".repeat(500))),
    },
    ...options,
  });
}

// Resolves when the connection is over.
function get(server, target, count = 1) {
  return new Promise((resolve) => {
    const socket = connect(server.addresses[0].port, "127.0.0.1");
    socket.on("error", () => undefined);
    socket.on("close", () => setImmediate(resolve));
    let text = "";
    socket.on("data", (bytes) => {
      text += bytes;
      if (text.split("HTTP/1.1 ").length > count) socket.end();
    });
    socket.write(`GET ${target} HTTP/1.1\r\nHost: a\r\n\r\n`.repeat(count));
  });
}

await programs[name]();
