// Servers in worker threads, and processes that end under load: node workers.mjs SCENARIO LOOPS
// ROUNDS. Prints "port N". Ends with the scenario's exit code, or with 1 and the reason when
// something is not as it should be.
import { once } from "node:events";
import { connect, createServer } from "node:net";
import { isMainThread, parentPort, threadId, Worker, workerData } from "node:worker_threads";
import { raw, serve } from "millrace";
import { Load } from "./load.mjs";

const CODE = 7;
const CONNECTIONS = 4;
const pause = () => new Promise((resolve) => setTimeout(resolve, 2));

/** The server module, the same in every thread. */
function start(port, loops) {
  const text = `from ${threadId};`;
  return serve({
    port,
    loops,
    routes: {
      "/": raw((_req, res) => void res.end(text)),
      "/later": raw((_req, res) => pause().then(() => void res.end(text))),
      "/fetch": () => pause().then(() => new Response(text)),
      "/static": new Response("static"),
      "/large": raw(async (req, res) => void res.end(await req.bytes())),
      "/never": raw((_req, res) => void res.detach()),
      "/exit": raw((_req, res) => process.exit(res.end() ? CODE : 1)),
      "/exit-later": raw(() => pause().then(() => process.exit(CODE))),
      "/throw": raw((_req, res) => {
        setTimeout(() => {
          throw new Error("thrown on purpose");
        }, 1);
        res.end();
      }),
    },
  });
}

async function until(what, condition) {
  const end = Date.now() + 20_000;
  while (!condition()) {
    if (Date.now() > end) throw new Error(`in vain: ${what}`);
    await pause();
  }
}

/** Listens for a moment; throws when somebody else does. */
async function probe(port) {
  const server = createServer().listen(port, "127.0.0.1");
  await once(server, "listening");
  const found = server.address().port;
  server.close();
  await once(server, "close");
  return found;
}

function ask(port, path) {
  const socket = connect(port, "127.0.0.1");
  socket.on("error", () => undefined);
  socket.write(`GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`);
  return socket;
}

async function startWorkers(port, loops, count) {
  const all = Array.from({ length: count }, () => {
    const worker = new Worker(new URL(import.meta.url), { workerData: { port, loops } });
    const state = { worker, id: worker.threadId, code: undefined, error: undefined, ready: false };
    worker.on("message", () => (state.ready = true));
    worker.on("error", (error) => (state.error = error));
    worker.on("exit", (code) => (state.code = code));
    return state;
  });
  await until("the workers listen", () => all.every(({ ready }) => ready));
  return all;
}

/** Two workers under load; `end` ends the first, the second serves on until it is terminated. */
async function rounds(loops, count, end) {
  const port = await probe(0);
  for (let round = 0; round < count; round += 1) {
    const [first, second] = await startWorkers(port, loops, 2);
    const load = new Load(port, CONNECTIONS);
    await until("both answer", () => load.by(first.id) > 20 && load.by(second.id) > 20);
    await end(first, port);
    await until("the first has ended", () => first.code !== undefined);
    const before = load.by(second.id);
    await until("the second serves on", () => load.by(second.id) > before + 20);
    if (second.code !== undefined) throw new Error("the second worker has ended too");
    load.stop();
    await second.worker.terminate();
    await probe(port);
  }
}

function expectCode({ code, error }, expected, message = "") {
  const isRight = code === expected && (error?.message ?? "") === message;
  if (!isRight) throw new Error(`the worker ended with ${code}, ${error?.message}`);
}

/** A server of the main thread under load, until `end` ends the process. */
async function untilTheEnd(loops, end) {
  const server = await start(0, loops);
  const { port } = server.addresses[0];
  console.log("port", port);
  const load = new Load(port, CONNECTIONS);
  await until("it answers", () => load.total > 50);
  await end(port, server);
  await pause().then(pause).then(pause);
  await until("the process ends", () => false);
}

const scenarios = {
  async serve(loops, count) {
    const port = await probe(0);
    for (let round = 0; round < count; round += 1) {
      const workers = await startWorkers(port, loops, 2);
      const load = new Load(port, CONNECTIONS);
      await until("both answer", () => workers.every(({ id }) => load.by(id) > 50));
      for (const { worker } of workers) worker.postMessage("close");
      await until("both end", () => workers.every(({ code }) => code !== undefined));
      load.stop();
      for (const state of workers) expectCode(state, 0);
      await probe(port);
    }
  },
  terminate: (loops, count) => rounds(loops, count, ({ worker }) => worker.terminate()),
  // With another of its requests, each in its own connection, so that both workers get one at last.
  async workerExit(loops, count) {
    for (const path of ["/exit", "/exit-later"]) {
      await rounds(loops, count / 2, async (first) => {
        first.worker.postMessage(path);
        await until("the first has ended", () => first.code !== undefined);
        expectCode(first, CODE);
      });
    }
  },
  workerThrow: (loops, count) =>
    rounds(loops, count, async (first) => {
      first.worker.postMessage("/throw");
      await until("the first has ended", () => first.code !== undefined);
      expectCode(first, 1, "thrown on purpose");
    }),
  exit: (loops) => untilTheEnd(loops, (port) => ask(port, "/exit")),
  exitLater: (loops) => untilTheEnd(loops, (port) => ask(port, "/exit-later")),
  throw: (loops) => untilTheEnd(loops, (port) => ask(port, "/throw")),
  async exitInFlight(loops) {
    await untilTheEnd(loops, async (port, server) => {
      for (let i = 0; i < 10; i += 1) ask(port, "/never");
      await until("they are in flight", () => server.metrics.inFlight >= 10);
      process.exit(CODE);
    });
  },
  async exitWithWorkers(loops) {
    const port = await probe(0);
    console.log("port", port);
    const workers = await startWorkers(port, loops, 2);
    const load = new Load(port, CONNECTIONS);
    await until("both answer", () => workers.every(({ id }) => load.by(id) > 20));
    process.exit(CODE);
  },
  // Nothing keeps the process alive, and requests are in flight.
  async endInFlight(loops) {
    const server = await start(0, loops);
    const { port } = server.addresses[0];
    console.log("port", port);
    const sockets = Array.from({ length: 10 }, () => ask(port, "/never"));
    await until("they are in flight", () => server.metrics.inFlight === 10);
    for (const socket of sockets) socket.unref();
    server.unref();
    process.exitCode = CODE;
  },
};

if (isMainThread) {
  const [name, loops, count] = process.argv.slice(2);
  await scenarios[name](Number(loops), Number(count));
} else {
  const server = await start(workerData.port, workerData.loops);
  parentPort.on("message", async (message) => {
    if (message !== "close") return ownHandler(message);
    await server.close();
    parentPort.close();
  });
  parentPort.postMessage("listening");
}

// The port is shared, so a request may reach the other worker; a server of our own gets it.
async function ownHandler(path) {
  const own = await start(0, workerData.loops);
  ask(own.addresses[0].port, path);
}
