// WebSocket servers in worker threads that share a port and their topics, and processes that end
// while sockets are busy: node ws-workers.mjs SCENARIO LOOPS ROUNDS. Ends with the scenario's exit
// code, or with 1 and the reason when something is not as it should be.
import { once } from "node:events";
import { createServer } from "node:net";
import { isMainThread, parentPort, threadId, Worker, workerData } from "node:worker_threads";
import { clientele, connect, serve } from "millrace";
import { WebSocket } from "ws";

const CODE = 7;
const EACH = 500; // publications of a thread in the scenario topics
const CLIENTS = 20;
const turn = () => new Promise((resolve) => setImmediate(resolve));
const pause = () => new Promise((resolve) => setTimeout(resolve, 2));

/** The server module, the same in every thread. */
function start(port, loops) {
  return serve({
    port,
    hostname: "127.0.0.1",
    loops,
    silent: true,
    routes: {
      "/": {
        open(ws) {
          ws.subscribe("t");
          ws.send(`hello ${threadId}`);
        },
        message(ws, data) {
          if (data === "exit") process.exit(CODE);
          if (data === "exit-later") return pause().then(() => process.exit(CODE));
          if (data === "throw")
            return void setTimeout(() => {
              throw new Error("thrown on purpose");
            }, 1);
          ws.send(data);
          ws.publish("t", `from ${threadId}`);
        },
        close(_ws, code) {
          if (code === 4007) process.exit(CODE);
        },
      },
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

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

async function startWorker(port, loops, more = {}) {
  const worker = new Worker(new URL(import.meta.url), { workerData: { port, loops, ...more } });
  const state = { worker, id: worker.threadId, code: undefined, error: undefined, said: [] };
  worker.on("message", (message) => state.said.push(message));
  worker.on("error", (error) => (state.error = error));
  worker.on("exit", (code) => (state.code = code));
  await until("a worker listens", () => state.said.length > 0 || state.code !== undefined);
  if (state.code !== undefined) throw new Error("a worker has ended", { cause: state.error });
  return state;
}

/** Clients on a port that send and get publications, and are replaced when they are cut. */
class Crowd {
  open = 0;
  opened = 0;
  /** Messages by the thread that says it sent them. */
  #by = new Map();
  #sockets = new Set();
  #port;
  #stopped = false;

  constructor(port) {
    this.#port = port;
    for (let i = 0; i < CLIENTS; i += 1) this.#add();
  }

  by(id) {
    return this.#by.get(id) ?? 0;
  }

  async stop() {
    this.#stopped = true;
    for (const socket of this.#sockets) socket.terminate();
    await until("all clients are closed", () => this.#sockets.size === 0);
  }

  #add() {
    if (this.#stopped) return;
    const ws = new WebSocket(`ws://127.0.0.1:${this.#port}/`, { perMessageDeflate: false });
    this.#sockets.add(ws);
    let isOpen = false;
    ws.on("open", () => {
      isOpen = true;
      this.open += 1;
      this.opened += 1;
      ws.send("x");
    });
    let count = 0;
    ws.on("message", (data) => {
      const id = Number(/^(?:from|hello) (\d+)$/.exec(data)?.[1] ?? -1);
      if (id >= 0) this.#by.set(id, this.by(id) + 1);
      count += 1;
      // Each is published to all: fewer than one comes of one.
      if (count % (4 * CLIENTS) === 0 && ws.readyState === WebSocket.OPEN) ws.send("x");
    });
    ws.on("error", () => undefined);
    ws.on("close", () => {
      this.#sockets.delete(ws);
      if (isOpen) this.open -= 1;
      setTimeout(() => this.#add(), 1);
    });
  }
}

/** Publishes as long as the thread lives, without getting ahead of those who read. */
async function publishAlways(server) {
  for (;;) {
    for (let i = 0; i < 4; i += 1) server.publish("t", `from ${threadId}`);
    await pause();
  }
}

/** Two workers and this thread serve; `end` ends a worker, the others go on. */
async function rounds(loops, count, end) {
  const port = await freePort();
  const server = await start(port, loops);
  const keeper = await startWorker(port, loops, { publishes: true });
  const crowd = new Crowd(port);
  void publishAlways(server);
  for (let round = 0; round < count; round += 1) {
    const victim = await startWorker(port, loops, { publishes: true });
    const all = [0, keeper.id, victim.id];
    const before = all.map((id) => crowd.by(id));
    await until("all are heard", () => all.every((id, at) => crowd.by(id) > before[at] + 50));
    await end(victim, port);
    await until("the worker has ended", () => victim.code !== undefined);
    const then = [0, keeper.id].map((id) => crowd.by(id));
    await until("the others go on", () =>
      [0, keeper.id].every((id, at) => crowd.by(id) > then[at] + 50),
    );
    if (keeper.code !== undefined) throw new Error("the other worker has ended too");
    await until("all clients are back", () => crowd.open === CLIENTS);
    await until("each is subscribed once", () => server.subscriberCount("t") === CLIENTS);
  }
  await crowd.stop();
  await until("nobody is subscribed", () => server.subscriberCount("t") === 0);
  keeper.worker.postMessage("close");
  await until("the other worker ends", () => keeper.code !== undefined);
  expectCode(keeper, 0);
  await server.close();
  process.exit(); // publishAlways
}

function expectCode({ code, error }, expected, message = "") {
  const isRight = code === expected && (error?.message ?? "") === message;
  if (!isRight) throw new Error(`the worker ended with ${code}, ${error?.message}`);
}

/** A client of the victim's own server says something to it. */
async function sayTo(victim, what, closes) {
  victim.worker.postMessage("own port");
  await until("it has a server of its own", () => victim.said.length > 1);
  const ws = new WebSocket(`ws://127.0.0.1:${victim.said[1]}/`);
  ws.on("error", () => undefined);
  ws.on("open", () => (closes ? ws.close(what) : ws.send(what)));
  await until("the worker has ended", () => victim.code !== undefined);
}

/** A server of the main thread under load, until `end` ends the process. */
async function untilTheEnd(loops, end) {
  const server = await start(0, loops);
  const { port } = server.addresses[0];
  const crowd = new Crowd(port);
  void publishAlways(server);
  await until("it is heard", () => crowd.by(0) > 200);
  const ws = new WebSocket(`ws://127.0.0.1:${port}/`);
  ws.on("error", () => undefined);
  await once(ws, "open");
  await end(ws, port, server);
  await until("the process ends", () => false);
}

const scenarios = {
  // What any thread publishes reaches the subscribers of all threads: in order, once each.
  async topics(loops, count) {
    const port = await freePort();
    for (let round = 0; round < count; round += 1) {
      const server = await start(port, loops);
      const workers = [await startWorker(port, loops), await startWorker(port, loops)];
      const ids = [0, ...workers.map(({ id }) => id)];
      const got = [];
      const sockets = [];
      const homes = new Set();
      // Whoever is idle accepts: until each of the threads has some.
      while (homes.size < ids.length && got.length < 1000) {
        await Promise.all(
          Array.from({ length: 30 }, () => subscriber(port, ids, homes, got, sockets)),
        );
      }
      await until("all are subscribed", () => server.subscriberCount("t") === sockets.length);
      for (const { worker } of workers) worker.postMessage("publish");
      await publishNumbers(server);
      const isDone = (lists) => [...lists.values()].every(({ length }) => length >= EACH);
      await until("all has come", () => got.every(isDone));
      const expected = Array.from({ length: EACH }, (_, n) => n).join();
      for (const lists of got)
        for (const [id, list] of lists)
          if (list.join() !== expected) throw new Error(`of thread ${id} came ${list}`);
      if (homes.size !== 3) throw new Error(`only the threads ${[...homes]} have sockets`);
      const codes = sockets.map((ws) => once(ws, "close"));
      for (const { worker } of workers) worker.postMessage("close");
      await server.close();
      await until("the workers end", () => workers.every(({ code }) => code !== undefined));
      for (const state of workers) expectCode(state, 0);
      for (const [code] of await Promise.all(codes))
        if (code !== 1001) throw new Error(`closed with ${code}`);
    }
  },
  terminate: (loops, count) => rounds(loops, count, ({ worker }) => worker.terminate()),
  workerExit: (loops, count) =>
    rounds(loops, count, async (victim) => {
      await sayTo(victim, "exit", false);
      expectCode(victim, CODE);
    }),
  workerExitInClose: (loops, count) =>
    rounds(loops, count, async (victim) => {
      await sayTo(victim, 4007, true);
      expectCode(victim, CODE);
    }),
  workerThrow: (loops, count) =>
    rounds(loops, count, async (victim) => {
      await sayTo(victim, "throw", false);
      expectCode(victim, 1, "thrown on purpose");
    }),
  exit: (loops) => untilTheEnd(loops, (ws) => ws.send("exit")),
  exitLater: (loops) => untilTheEnd(loops, (ws) => ws.send("exit-later")),
  exitInClose: (loops) => untilTheEnd(loops, (ws) => ws.close(4007)),
  throw: (loops) => untilTheEnd(loops, (ws) => ws.send("throw")),
  exitWhileClosing: (loops) =>
    untilTheEnd(loops, (_ws, _port, server) => {
      void server.close();
      setImmediate(() => process.exit(CODE));
    }),
  async exitWithWorkers(loops) {
    const port = await freePort();
    const workers = [0, 1].map(() => startWorker(port, loops, { publishes: true }));
    const ids = (await Promise.all(workers)).map(({ id }) => id);
    const crowd = new Crowd(port);
    await until("both are heard", () => ids.every((id) => crowd.by(id) > 100));
    process.exit(CODE);
  },
  // Clients of our own, on loops of their own, in the middle of sending.
  exitWithClients: (loops) =>
    untilTheEnd(loops, async (_ws, port) => {
      const many = await startClients(port, loops);
      for (let i = 0; i < 20; i += 1) await turn();
      if ([...many.connected()].length !== CLIENTS) throw new Error("clients are lost");
      process.exit(CODE);
    }),
  // Their environment ends while they and what they talk to are busy.
  async clientsEnd(loops, count) {
    const server = await start(0, loops);
    const { port } = server.addresses[0];
    for (let round = 0; round < count; round += 1) {
      const victim = await startWorker(port, loops, { clients: true });
      await until("they are subscribed", () => server.subscriberCount("t") === CLIENTS + 1);
      for (let i = 0; i < 50; i += 1) {
        server.publish("t", "x".repeat(10_000));
        await turn();
      }
      await victim.worker.terminate();
      await until("they are gone", () => server.subscriberCount("t") === 0);
    }
    const { forced } = await server.close();
    if (forced !== 0) throw new Error(`forced ${forced}`);
  },
};

/** A client whose numbers come into a list by thread; resolves when its thread has said hello. */
function subscriber(port, ids, homes, got, sockets) {
  const lists = new Map(ids.map((id) => [id, []]));
  got.push(lists);
  return new Promise((resolve) => {
    const ws = new WebSocket(`ws://127.0.0.1:${port}/`);
    sockets.push(ws);
    ws.on("message", (data) => {
      const [word, id, number] = `${data}`.split(" ");
      if (word !== "hello") return lists.get(Number(id)).push(Number(number));
      homes.add(Number(id));
      resolve();
    });
  });
}

async function startClients(port, loops) {
  const url = `ws://127.0.0.1:${port}/`;
  const isEcho = (data) => data.startsWith("busy");
  const text = `busy ${"y".repeat(2000)}`;
  const message = (client, data) => void (isEcho(data) && client.send(text));
  const many = clientele({ loops, message });
  const clients = Array.from({ length: CLIENTS }, () => many.client(url));
  await Promise.all(clients.map((client) => client.connect()));
  const one = await connect(url, { handler: { message } });
  one.send(text);
  for (const client of clients) void client.send(text);
  return many;
}

async function publishNumbers(server) {
  for (let n = 0; n < EACH; n += 1) {
    server.publish("t", `t ${threadId} ${n}`);
    if (n % 10 === 9) await turn();
  }
}

async function runWorker() {
  const { port, loops, publishes, clients } = workerData;
  if (clients === true) {
    await startClients(port, loops);
    return parentPort.postMessage("clients are open");
  }
  const server = await start(port, loops);
  parentPort.on("message", async (message) => {
    if (message === "publish") return publishNumbers(server);
    if (message === "own port") {
      const own = await start(0, loops);
      return parentPort.postMessage(own.addresses[0].port);
    }
    await server.close();
    process.exit(0); // publishAlways
  });
  if (publishes === true) void publishAlways(server);
  parentPort.postMessage("listening");
}

if (isMainThread) {
  const [name, loops, count] = process.argv.slice(2);
  await scenarios[name](Number(loops), Number(count));
} else {
  await runWorker();
}
