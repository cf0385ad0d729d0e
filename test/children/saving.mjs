// A thread that ends while uploads are saved: node saving.mjs SCENARIO LOOPS FOLDER. Ends with code
// 7, or with 1 and the reason.
import { readdirSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { raw, serve } from "millrace";

const CODE = 7;
const SAVES = 6;
const CHUNK = Buffer.alloc(65_536, "x");

const pause = () => new Promise((resolve) => setTimeout(resolve, 2));

async function until(what, condition) {
  const end = Date.now() + 10_000;
  while (!condition()) {
    if (Date.now() > end) throw new Error(`in vain: ${what}`);
    await pause();
  }
}

/** Uploads without an end, as fast as the server takes them, or stalls after `chunks`. */
function upload(port, chunks = Infinity) {
  const socket = connect(port, "127.0.0.1");
  let sent = 0;
  socket.on("error", () => undefined);
  socket.write("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n");
  const more = () => {
    while (!socket.destroyed && sent < chunks) {
      sent += 1;
      if (!socket.write(CHUNK)) return;
    }
  };
  socket.on("drain", more);
  more();
  return socket;
}

async function start({ loops, folder }) {
  const server = await serve({
    port: 0,
    loops,
    routes: {
      "/": {
        POST: raw((req, res) =>
          req.saveTo(join(folder, "upload"), { sha256: true }).then(
            () => void res.end(),
            () => undefined,
          ),
        ),
        body: "stream",
        maxBodySize: 2_000_000_000,
      },
    },
  });
  return server;
}

const underWay = (server, folder) =>
  until("all are under way", () => {
    const { bytesIn } = server.metrics;
    return readdirSync(folder).length >= SAVES && bytesIn > SAVES * CHUNK.length;
  });

if (isMainThread) {
  const [scenario, loops, folder] = process.argv.slice(2);
  const options = { loops: Number(loops), folder };
  if (scenario === "terminate") {
    const worker = new Worker(new URL(import.meta.url), { workerData: options });
    const port = await new Promise((resolve) => worker.once("message", resolve));
    const sockets = Array.from({ length: SAVES }, () => upload(port));
    await new Promise((resolve) => worker.once("message", resolve));
    await worker.terminate();
    await until("the peers know", () => sockets.every(({ destroyed }) => destroyed));
    process.exitCode = CODE;
  } else {
    const server = await start(options);
    const { port } = server.addresses[0];
    const chunks = scenario === "end" ? 20 : Infinity;
    const sockets = Array.from({ length: SAVES }, () => upload(port, chunks));
    await underWay(server, folder);
    // What a socket has to send would keep the process alive.
    const isIdle = ({ writableLength }) => writableLength === 0;
    if (scenario === "end") await until("all is sent", () => sockets.every(isIdle));
    process.exitCode = CODE;
    if (scenario === "exit") process.exit();
    server.unref();
    for (const socket of sockets) socket.unref();
  }
} else {
  const server = await start(workerData);
  parentPort.postMessage(server.addresses[0].port);
  await underWay(server, workerData.folder);
  parentPort.postMessage("under way");
}
