// JavaScript does not keep up: what the loop answers meanwhile, what it sheds
// (limits.maxQueueDelay) and that everything else is answered once JavaScript is back.
import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { describe, expect, it } from "vitest";
import { type RawHandler, type Res, raw, serve } from "../src/index.ts";
import { onEachHost, portOf } from "./support/hosts.ts";
import { until } from "./support/until.ts";
import { wire } from "./support/wire.ts";

const BLOCKED = 0; // JavaScript stands still
const RELEASED = 1;
const LATEST_MS = 30_000; // that a test may block, if all goes wrong

// A thread of its own, for ours stands still.
const client = `
  const net = require("node:net");
  const { parentPort, workerData: { port, words, script } } = require("node:worker_threads");
  const flags = new Int32Array(words);
  const tick = () => new Promise((done) => setTimeout(done, 1));
  const flag = async (index) => { while (Atomics.load(flags, index) === 0) await tick(); };
  const release = () => {
    Atomics.store(flags, ${RELEASED}, 1);
    Atomics.notify(flags, ${RELEASED});
  };
  // Resolves with all that came when the server closes: every request says Connection: close.
  const ask = (target, body) => new Promise((done) => {
    const socket = net.connect(port, "127.0.0.1");
    let text = "";
    const length = body === undefined ? "" : "Content-Length: " + body.length + "\\r\\n";
    const method = body === undefined ? "GET " : "POST ";
    const rest = " HTTP/1.1\\r\\nHost: a\\r\\nConnection: close\\r\\n" + length + "\\r\\n";
    socket.write(method + target + rest + (body ?? ""));
    socket.on("data", (bytes) => { text += bytes; });
    socket.on("error", (error) => done("error " + error.code));
    socket.on("close", () => done(text));
  });
  (async () => parentPort.postMessage(await eval(script)({ ask, flag, flags, release, tick })))();
`;

interface Tools {
  ask(target: string, body?: string): Promise<string>;
  flag(index: number): Promise<void>;
  release(): void;
  tick(): Promise<void>;
}

function block(flags: Int32Array): void {
  Atomics.store(flags, BLOCKED, 1);
  Atomics.wait(flags, RELEASED, 0, LATEST_MS);
}

async function run<T>(
  port: number,
  words: SharedArrayBuffer,
  script: (tools: Tools) => Promise<T>,
): Promise<T> {
  const workerData = { port, words, script: `(${script.toString()})` };
  const worker = new Worker(client, { eval: true, workerData });
  const [result] = (await once(worker, "message")) as [T];
  await worker.terminate();
  return result;
}

describe.each([1, 2])("loops: %i, JavaScript is blocked", (loops) => {
  it("answers natively what it can, sheds what is late, serves all else", async () => {
    const words = new SharedArrayBuffer(8);
    const flags = new Int32Array(words);
    const handler: RawHandler = (req, res) => {
      if (req.path === "/block") block(flags);
      res.end(`served ${req.path}`);
    };
    const server = await serve({
      port: 0,
      loops,
      limits: { maxQueueDelay: 200 },
      routes: { "/static": new Response("fixed") },
      health: { live: "/live", ready: "/ready", metrics: "/metrics" },
      handler,
    });
    const seen = await run(portOf(server), words, async ({ ask, flag, release, tick }) => {
      const answers: { target: string; answer: string }[] = [];
      const pending: Promise<void>[] = [];
      const send = (target: string, body?: string): void => {
        pending.push(ask(target, body).then((answer) => void answers.push({ target, answer })));
      };
      send("/block");
      await flag(0);
      // Until so many were shed, whichever loop they came to; the first ones wait in a lane.
      while (answers.filter(({ answer }) => answer.includes(" 503 ")).length < 10) {
        if (pending.length < 5000) send(`/late/${pending.length}`, "x".repeat(pending.length));
        await tick();
      }
      const shed = answers.length;
      const native: string[] = [];
      for (const path of ["/static", "/live", "/ready", "/metrics"]) native.push(await ask(path));
      release();
      await Promise.all(pending);
      const after = await Promise.all([ask("/after"), ask("/after"), ask("/after")]);
      return { answers, native, after, shed };
    });
    for (const text of seen.native) expect(text).toMatch(/^HTTP\/1\.1 200 /);
    expect(seen.native[3]).toMatch(/^millrace_shed_total [1-9]/m);
    expect(seen.shed).toBeGreaterThanOrEqual(10);
    const shed = seen.answers.filter(({ answer }) => answer.startsWith("HTTP/1.1 503 "));
    for (const { answer } of shed) expect(answer).toContain("\r\nRetry-After: 1\r\n");
    const served = seen.answers.filter(({ answer }) => answer.startsWith("HTTP/1.1 200 "));
    for (const { target, answer } of served) expect(answer).toContain(`\r\n\r\nserved ${target}`);
    expect(shed.length + served.length).toBe(seen.answers.length);
    expect(served.length, "the blocking one, and what waited").toBeGreaterThanOrEqual(2);
    for (const text of seen.after) expect(text).toContain("served /after");
    const { metrics } = server;
    expect(metrics.shed).toBe(shed.length);
    expect(metrics.parseErrors["ERR_MILLRACE_OVERLOADED"]).toBe(shed.length);
    expect(metrics.inFlight).toBe(0);
    await server.close();
  });
});

it("sheds nothing on an inline host that only now reads what came while it was busy", async () => {
  const words = new SharedArrayBuffer(8);
  const flags = new Int32Array(words);
  const delay = 20;
  const handler: RawHandler = (req, res) => {
    if (req.path === "/block") {
      block(flags);
      const until = performance.now() + 5 * delay;
      while (performance.now() < until);
    }
    res.end(`served ${req.path}`);
  };
  const server = await serve({ port: 0, loops: 0, limits: { maxQueueDelay: delay }, handler });
  const seen = await run(portOf(server), words, async ({ ask, flag, release, tick }) => {
    const first = ask("/block");
    await flag(0);
    const rest = Array.from({ length: 50 }, () => ask("/meanwhile", "x".repeat(1000)));
    await tick();
    release();
    return Promise.all([first, ...rest]);
  });
  expect(seen.filter((text) => text.startsWith("HTTP/1.1 200 "))).toHaveLength(51);
  expect(server.metrics.shed).toBe(0);
  await server.close();
});

onEachHost(
  ({ start }) => {
    it("answers 503 to who finds no place among maxInFlight within maxQueueDelay", async () => {
      const held: Res[] = [];
      const hold = raw((_req, res) => {
        res.detach();
        held.push(res);
      });
      const server = await start({
        limits: { maxInFlight: 2, maxQueueDelay: 100 },
        routes: { "/held": hold, "/fixed": new Response("x") },
      });
      const one = await wire(server);
      const two = await wire(server);
      const third = await wire(server);
      one.get("/held");
      two.get("/held");
      await until("both are in flight", () => held.length === 2);
      third.get("/held").get("/fixed");
      const shed = await third.response();
      expect(shed.status).toBe(503);
      expect(shed.headers.get("retry-after")).toBe("1");
      expect((await third.response()).status).toBe(200);
      expect(server.metrics.shed).toBe(1);
      expect(held).toHaveLength(2);
      // A place becomes free: whoever asks now gets it.
      held[0]?.end("first");
      expect((await one.response()).body).toBe("first");
      third.get("/held");
      await until("it is in flight", () => held.length === 3);
      held[2]?.end("third");
      expect((await third.response()).body).toBe("third");
      held[1]?.end("second");
      expect((await two.response()).body).toBe("second");
    });
  },
  [0, 1],
);
