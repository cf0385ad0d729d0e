// Workers that serve one address: node turns.mjs LOOPS. Prints who answered 32 connections that
// came one after another, then who answered 8 of them while the first worker was blocked.
import { once } from "node:events";
import { connect, createServer } from "node:net";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { raw, serve } from "millrace";

const WORKERS = 4;

async function work({ port, loops, number, gate }) {
  const server = await serve({
    port,
    loops,
    silent: true,
    routes: { "/": raw((_req, res) => void res.end(`${number}`)) },
  });
  parentPort.on("message", async (word) => {
    if (word === "block") {
      parentPort.postMessage("blocked");
      Atomics.wait(gate, 0, 0);
      return parentPort.postMessage("free");
    }
    await server.close({ timeout: 1000 });
    parentPort.close();
  });
  parentPort.postMessage("serving");
}

/** Who answers a connection that stays open. */
async function ask(port) {
  const socket = connect(port, "127.0.0.1");
  socket.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  let text = "";
  while (!/\r\n\r\n\d$/.test(text)) text += (await once(socket, "data"))[0];
  return { socket, number: Number(text.at(-1)) };
}

async function knock(port, count) {
  const answered = [];
  for (let i = 0; i < count; i++) answered.push(await ask(port));
  const counts = Array.from({ length: WORKERS }, (_, at) => {
    return answered.filter(({ number }) => number === at).length;
  });
  return { counts, end: () => answered.forEach(({ socket }) => void socket.destroy()) };
}

async function main(loops) {
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address();
  probe.close();
  await once(probe, "close");
  const gate = new Int32Array(new SharedArrayBuffer(4));
  const workers = [];
  for (let number = 0; number < WORKERS; number++) {
    const data = { port, loops, number, gate };
    workers.push(new Worker(new URL(import.meta.url), { workerData: data }));
    await once(workers[number], "message");
  }
  const inTurn = await knock(port, 32);
  console.log("in turn", JSON.stringify(inTurn.counts));
  inTurn.end();
  if (loops === 0) {
    workers[0].postMessage("block");
    await once(workers[0], "message");
    const others = await knock(port, 8);
    console.log("others", JSON.stringify(others.counts));
    others.end();
    Atomics.store(gate, 0, 1);
    Atomics.notify(gate, 0);
    await once(workers[0], "message");
  }
  for (const worker of workers) worker.postMessage("end");
  await Promise.all(workers.map((worker) => once(worker, "exit")));
  console.log("done");
}

if (isMainThread) await main(Number(process.argv[2]));
else await work(workerData);
