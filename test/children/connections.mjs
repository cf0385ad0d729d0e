// A server with five open connections whose process or worker ends:
// node connections.mjs NAME LOOPS.
// Lines go out at once, as nothing asynchronous happens at the end.
import { writeSync } from "node:fs";
import { connect } from "node:net";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { serve } from "millrace";

const COUNT = 5;
const [name, loops] = isMainThread ? process.argv.slice(2) : workerData;
const say = (line) => writeSync(1, `${line}\n`);

if (name === "workerExit" && isMainThread) {
  const worker = new Worker(new URL(import.meta.url), { workerData: [name, loops] });
  worker.on("message", (port) => dial(port));
  worker.on("exit", () => process.exit(0));
} else {
  await run();
}

async function run() {
  let open = 0;
  let logged = 0;
  const server = await serve({
    port: 0,
    loops: Number(loops),
    silent: true,
    fetch: () => new Response("x"),
    log: {
      level: "debug",
      write: ({ cause }) => {
        if (cause === undefined) return;
        logged += 1;
        if (logged === COUNT) say(`logged ${logged}`);
      },
    },
    onConnect: () => {
      say("connect");
      open += 1;
      if (open === COUNT) end(server);
    },
    onClose: (_connection, cause, detail) => say(`close ${cause} ${detail}`),
  });
  const { port } = server.addresses[0];
  if (isMainThread) dial(port);
  else parentPort.postMessage(port);
}

function end(server) {
  if (name === "unref") {
    server.unref();
    parentPort?.unref();
  } else process.exit(0);
}

function dial(port) {
  for (let i = 0; i < COUNT; i += 1)
    connect(port, "127.0.0.1")
      .on("error", () => undefined)
      .unref();
}
