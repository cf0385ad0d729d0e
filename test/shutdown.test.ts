// How an application learns that its server has begun to stop: server.signal, server.stopping and
// onShutdown(), by whatever way the end begins; and event streams that end with the server.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it, onTestFinished } from "vitest";
import {
  type EventStream,
  type LogRecord,
  type MillraceError,
  type RawHandler,
  type Res,
  raw,
  type Server,
  type ShutdownCallback,
  serve,
} from "../src/index.ts";
import { node } from "./support/child.ts";
import { dechunked } from "./support/dechunk.ts";
import { onEachHost } from "./support/hosts.ts";
import { gate, until } from "./support/until.ts";
import { closeWires, type Wire, wire } from "./support/wire.ts";

const hello = raw((_req, res) => void res.end("hello"));
const routes = { "/": hello };
const never = new Promise<never>(() => undefined);

const textOf = (client: Wire): string => {
  const at = client.buffer.indexOf("\r\n\r\n");
  return at < 0 ? "" : dechunked(client.buffer.slice(at + 4)).chunks.join("");
};

/** An event stream with its client. */
async function stream(
  start: (options: { handler: RawHandler; onShutdown?: ShutdownCallback }) => Promise<Server>,
  endOnShutdown: boolean,
  onShutdown?: (events: EventStream) => unknown,
): Promise<{ server: Server; client: Wire; events: EventStream }> {
  const streams: EventStream[] = [];
  const server = await start({
    handler: (_req, res) => void streams.push(res.events({ heartbeat: 0, endOnShutdown })),
    onShutdown: () => onShutdown?.(streams[0] as EventStream),
  });
  const client = await wire(server);
  client.get("/");
  await until("the stream is open", () => streams.length === 1 && client.buffer !== "");
  return { server, client, events: streams[0] as EventStream };
}

onEachHost(({ loops, start }) => {
  it("says that it stops before close() returns, and while requests are in flight", async () => {
    const held: Res[] = [];
    const server = await start({ handler: (_req, res) => void held.push(res.detach()) });
    const client = await wire(server);
    client.get("/");
    await until("it is in flight", () => held.length === 1);
    expect([server.stopping, server.signal.aborted]).toEqual([false, false]);
    const heard: unknown[] = [];
    server.signal.addEventListener("abort", () => heard.push("signal", server.stopping));
    server.onShutdown((stopped) => heard.push("callback", stopped === server));
    const closing = server.close({ timeout: 600_000 });
    expect(heard).toEqual(["signal", true, "callback", true]);
    expect([server.stopping, server.signal.aborted]).toEqual([true, true]);
    const reason = server.signal.reason as MillraceError;
    expect([reason.name, reason.code]).toEqual(["MillraceError", "ERR_MILLRACE_CLOSED"]);
    held[0]?.end("done");
    expect((await client.response()).body).toBe("done");
    await client.end();
    client.close();
    expect(await closing).toEqual({ completed: 1, forced: 0 });
    expect(heard.length, "once").toBe(4);
  });

  it("says so for drain(), the option signal, await using and signals of the process", async () => {
    const heard: string[] = [];
    const named =
      (name: string): ShutdownCallback =>
      () =>
        void heard.push(name);
    const drained = await start({ routes, onShutdown: named("drain") });
    drained.drain();
    expect(heard).toEqual(["drain"]);
    expect([drained.stopping, drained.signal.aborted]).toEqual([true, true]);
    drained.drain();
    await drained.close();
    const controller = new AbortController();
    const aborted = await start({
      routes,
      signal: controller.signal,
      onShutdown: named("abort"),
    });
    controller.abort();
    await aborted.closed;
    {
      await using _server = await start({ routes, onShutdown: named("using") });
    }
    const gracefulShutdown = { signals: ["SIGUSR2" as const], timeout: 5000 };
    const told = await start({ routes, gracefulShutdown, onShutdown: named("process") });
    process.emit("SIGUSR2");
    await told.closed;
    expect(heard).toEqual(["drain", "abort", "using", "process"]);
  });

  it("calls all in order at once, waits for their promises, and logs what they throw", async () => {
    const records: LogRecord[] = [];
    const heard: unknown[] = [];
    const slow = gate();
    const server = await start({
      routes,
      log: { level: "error", write: (record) => void records.push(record) },
      onShutdown() {
        heard.push("option", "onShutdown" in this);
        throw new Error("first");
      },
    });
    server.onShutdown(async () => {
      heard.push("slow");
      await slow.promise;
      heard.push("slow is done");
    });
    server.onShutdown(() => Promise.reject(new Error("second")));
    const takeBack = server.onShutdown(() => heard.push("taken back"));
    takeBack();
    const later = server.onShutdown(() => heard.push("taken back by the one before"));
    server.onShutdown(() => void heard.push("last"));
    let isClosed = false;
    later();
    const closing = server.close({ timeout: 600_000 }).finally(() => (isClosed = true));
    expect(heard).toEqual(["option", true, "slow", "last"]);
    await until("no connection is left", () => server.metrics.connections === 0);
    for (let turn = 0; turn < 100; turn += 1) await new Promise(setImmediate);
    expect(isClosed).toBe(false);
    slow.open();
    expect(await closing).toEqual({ completed: 0, forced: 0 });
    expect(heard.at(-1)).toBe("slow is done");
    expect(records.map(({ code, err, msg }) => [code, err?.message, msg])).toEqual([
      ["ERR_MILLRACE_HANDLER_FAILED", "first", "onShutdown() threw"],
      ["ERR_MILLRACE_HANDLER_FAILED", "second", "onShutdown() threw"],
    ]);
  });

  it("waits for a callback that hangs no longer than the last close() gives", async () => {
    const server = await start({ routes, onShutdown: () => never });
    const closing = server.close({ timeout: 600_000 });
    void server.close({ timeout: 0 });
    expect(await closing).toEqual({ completed: 0, forced: 0 });
  });

  it("lets callbacks close and drain, and register more", async () => {
    const heard: string[] = [];
    const server = await start({
      routes,
      onShutdown: (own) => {
        heard.push("first");
        own.drain();
        void own.close({ timeout: 0 });
        own.onShutdown(() => void heard.push("nested"));
      },
    });
    await server.close();
    expect(heard).toEqual(["first", "nested"]);
    server.onShutdown(() => void heard.push("late"));
    await Promise.resolve();
    expect(heard, "soon after the end").toEqual(["first", "nested", "late"]);
  });

  it("refuses what is no function", async () => {
    const server = await start({ routes });
    const wrong = { code: "ERR_MILLRACE_INVALID_OPTION" };
    // @ts-expect-error no function
    expect(() => server.onShutdown("x")).toThrow(expect.objectContaining(wrong));
    // @ts-expect-error no function
    await expect(serve({ port: 0, loops, routes, onShutdown: 1 })).rejects.toMatchObject(wrong);
    const handler: RawHandler = (_req, res) => {
      // @ts-expect-error no boolean
      res.events({ endOnShutdown: "yes" });
    };
    const other = await start({ handler, log: false });
    expect((await (await wire(other)).get("/").response()).status).toBe(500);
  });

  it("ends event streams that are to end with the server, behind the last words", async () => {
    const words = gate();
    const { server, client, events } = await stream(start, true, async (own) => {
      own.send("at once");
      await words.promise;
      own.send("last");
    });
    const closing = server.close({ timeout: 600_000 });
    await until("the first is there", () => textOf(client).includes("at once"));
    expect(events.isOpen).toBe(true);
    words.open();
    await client.end();
    expect(textOf(client)).toBe("data: at once\n\ndata: last\n\n");
    expect(dechunked(client.buffer.slice(client.buffer.indexOf("\r\n\r\n") + 4)).rest).toBe("");
    expect(events.signal.aborted).toBe(true);
    client.close();
    expect(await closing).toEqual({ completed: 1, forced: 0 });
  });

  it("ends them without any callback, too, and those that begin while it closes", async () => {
    const streams: EventStream[] = [];
    const held: Res[] = [];
    const server = await start({
      handler: (req, res) => {
        if (req.path === "/held") held.push(res.detach());
        else streams.push(res.events({ heartbeat: 0, endOnShutdown: true }));
      },
    });
    const [early, late] = await Promise.all([wire(server), wire(server)]);
    early.get("/");
    late.get("/held");
    await until("both are there", () => streams.length === 1 && held.length === 1);
    const closing = server.close({ timeout: 600_000 });
    await early.end();
    const last = held[0]?.events({ heartbeat: 0, endOnShutdown: true });
    expect(last?.send("goodbye")).toBe(true);
    await late.end();
    expect(textOf(late)).toBe("data: goodbye\n\n");
    closeWires();
    expect(await closing).toEqual({ completed: 2, forced: 0 });
  });

  it("ends them when it drains, and those that begin later when it closes", async () => {
    const { server, client } = await stream(start, true);
    server.drain();
    await until("it has ended", () => client.buffer.endsWith("\r\n0\r\n\r\n"));
    const next = await wire(server);
    next.get("/");
    await until("the next stream is open", () => next.buffer !== "");
    const other = await wire(server);
    other.get("/");
    await until("a third one is open", () => other.buffer !== "");
    expect([next.ended, other.ended]).toEqual([false, false]);
    const closing = server.close({ timeout: 600_000 });
    await next.end();
    closeWires();
    expect((await closing).forced).toBe(0);
  });

  it("ends them when a callback of drain() closes", async () => {
    const { server, client } = await stream(start, true, (events) => {
      void server.close({ timeout: 600_000 });
      events.send("last");
    });
    server.drain();
    await client.end();
    expect(textOf(client)).toBe("data: last\n\n");
    expect((await server.closed).forced).toBe(0);
  });

  it("leaves other event streams to the application, and cuts them at the timeout", async () => {
    const { server, client, events } = await stream(start, false);
    const closing = server.close({ timeout: 600_000 });
    await until("nobody listens", () => server.metrics.counters["listeners"] === 0);
    expect(events.send("still open")).toBe(true);
    await until("it is there", () => textOf(client) !== "");
    void server.close({ timeout: 0 });
    expect(await closing).toEqual({ completed: 0, forced: 1 });
  });

  it("says so when the sockets are handed over to another process", async () => {
    const folder = mkdtempSync(join(tmpdir(), "millrace-shutdown-"));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const path = join(folder, "hand");
    const heard = gate<boolean>();
    const server = await start({
      routes,
      handover: { path, wait: 0 },
      onShutdown: (own) => heard.open(own.signal.aborted),
    });
    const options = { loops, port: 0, handover: { path, wait: 0 } };
    const next = node("test/children/restart.mjs", { RESTART_OPTIONS: JSON.stringify(options) });
    onTestFinished(async () => void (await next.stop("SIGKILL")));
    expect(await heard.promise).toBe(true);
    expect((await server.closed).forced).toBe(0);
  });
});
