// Clients that go away, do not read, or are too many; JavaScript that is busy.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { raw } from "../src/index.ts";
import { Child } from "./support/child.ts";
import { onEachHost } from "./support/hosts.ts";
import { until } from "./support/until.ts";
import { closeWires, Wire, wire } from "./support/wire.ts";

const servers = fileURLToPath(new URL("children/servers.mjs", import.meta.url));

onEachHost(({ start }) => {
  it("survives two hundred resets at every stage of a request", async () => {
    const server = await start({
      routes: {
        "/now": raw(async (req, res) => void res.end(await req.text())),
        "/held": raw((_req, res) => void res.detach()),
        "/large": raw((_req, res) => void res.end("x".repeat(4_000_000))),
      },
    });
    const post = "POST /now HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n";
    const stages = [
      "",
      "GET /no",
      post,
      post + "x".repeat(60_000),
      "GET /held HTTP/1.1\r\nHost: a\r\n\r\n",
      "GET /held HTTP/1.1\r\nHost: a\r\n\r\n".repeat(10),
      "GET /large HTTP/1.1\r\nHost: a\r\n\r\n".repeat(3),
      "POST /now HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
    ];
    const received = (): number => server.metrics.bytesIn;
    for (let n = 0; n < 200; n += 8) {
      const before = received();
      const clients = await Promise.all(stages.map(() => wire(server)));
      for (const [at, client] of clients.entries()) {
        client.socket.pause();
        client.send(stages[at] as string);
      }
      await until("something of it has come", () => received() >= before + 60_000);
      for (const client of clients) client.reset();
    }
    await until("all connections are gone", () => server.metrics.connections === 0);
    const { connections, inFlight, counters } = server.metrics;
    expect({ connections, inFlight, blocks: counters["blocks"] }).toEqual({
      connections: 0,
      inFlight: 0,
      blocks: 0,
    });
    expect((await (await wire(server)).get("/now").response()).status).toBe(200);
  });

  // More batches than one entry into JavaScript takes, on lanes whose numbers are not neighbours.
  it("works off the thousands of requests that came while JavaScript was busy", async () => {
    const other = { loops: 1, routes: { "/": new Response("other") } };
    const before = await start(other);
    await start(other);
    await before.close();
    let blocks = 0;
    const server = await start({
      limits: { maxPipelined: 1024 },
      handler: (req, res) => {
        const end = performance.now() + (req.is("/block") ? 200 : 0);
        while (performance.now() < end) blocks += 1;
        res.end(req.path);
      },
    });
    const clients = await Promise.all(Array.from({ length: 64 }, () => wire(server)));
    const blocker = await wire(server);
    blocker.get("/block");
    for (const client of clients) client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(300));
    await Promise.all(
      clients.map(async (client) => {
        for (let i = 0; i < 300; i += 1) expect((await client.response()).body).toBe("/");
      }),
    );
    expect(blocks).toBeGreaterThan(0);
  });

  it("holds a client back that never reads, and drops it at the write timeout", async () => {
    const server = await start({
      limits: { maxBufferedBytes: 1_000_000 },
      timeouts: { write: 500 },
      handler: (_req, res) => void res.end("x".repeat(100_000)),
    });
    const client = await wire(server);
    client.socket.pause();
    for (let i = 0; i < 1000; i += 1) client.get("/");
    await until("it is held back", () => {
      return server.metrics.requests > 10 && server.metrics.timeouts.write === 0;
    });
    const other = await wire(server);
    expect((await other.get("/").response()).status).toBe(200);
    await until("it is dropped", () => server.metrics.timeouts.write === 1);
    // What the kernel took, what was buffered, and the other's one: far from all thousand.
    expect(server.metrics.requests).toBeLessThan(300);
    await until("only the other is left", () => server.metrics.connections === 1);
    expect((await other.get("/").response()).status).toBe(200);
  });
});

describe.each([0, 1])("loops: %i", (loops) => {
  it("waits without spinning for descriptors, and goes on when there are some", async () => {
    const child = new Child(process.execPath, [servers, "descriptors", `${loops}`]);
    try {
      const [, port] = await child.said(/listening \S+:(\d+)/);
      const connect = (): Wire => new Wire({ port: Number(port), host: "127.0.0.1" });
      const clients = Array.from({ length: 200 }, () => connect().get("/"));
      const answered = (): number => clients.filter(({ buffer }) => buffer !== "").length;
      await child.said(/warning ERR_MILLRACE_SYSTEM/);
      await child.said(/"pauses":[1-9]/);
      expect(child.errors, "a line in the log").toMatch(/MillraceWarning: .*\bEMFILE\b/);
      // The second that follows the first whole one after that.
      const seconds = (): readonly string[] => child.output.match(/^second .*$/gm) ?? [];
      const from = seconds().length;
      await until("two more seconds have passed", () => seconds().length >= from + 2);
      const { ms, connections } = JSON.parse((seconds().at(-1) as string).slice(7)) as {
        ms: number;
        connections: number;
      };
      // The bound is that of the design: 5 %.
      expect(ms, "milliseconds of CPU in a second").toBeLessThan(50);
      expect(connections).toBeGreaterThan(5);
      expect(connections).toBeLessThan(64);
      expect(answered()).toBe(connections);
      const waiting = clients.filter(({ buffer }) => buffer === "").slice(-20);
      const began = performance.now();
      for (const client of clients) if (!waiting.includes(client)) client.close();
      await until("the others are answered", () => waiting.every(({ buffer }) => buffer !== ""));
      expect(performance.now() - began, "milliseconds to recover").toBeLessThan(1000);
      expect(waiting.map(({ buffer }) => buffer.slice(-5))).toEqual(waiting.map(() => "hello"));
      closeWires();
      expect((await connect().get("/").response()).body).toBe("hello");
    } finally {
      closeWires();
      await child.stop();
    }
  });
});

describe.each([1, 2])("loops: %i", (loops) => {
  it("answers static and health routes while JavaScript is blocked", async () => {
    const folder = mkdtempSync(join(tmpdir(), "millrace-faults-"));
    const hold = join(folder, "hold");
    writeFileSync(hold, "");
    const child = new Child(process.execPath, [servers, "blocking", `${loops}`, hold]);
    try {
      const [, port] = await child.said(/listening \S+:(\d+)/);
      const connect = (): Wire => new Wire({ port: Number(port), host: "127.0.0.1" });
      const blocked = connect().get("/block");
      await child.said(/blocked/);
      const waiting = connect().get("/").get("/").get("/");
      const others = Array.from({ length: 50 }, () => connect().get("/"));
      const times = [];
      const kept = connect();
      const paths = ["/static", "/live", "/ready", "/static"];
      while (times.length < 200) {
        const path = paths[times.length % paths.length] as string;
        const began = performance.now();
        const client = times.length % 3 === 0 ? kept : connect();
        expect((await client.get(path).response()).status).toBe(200);
        times.push(performance.now() - began);
        if (client !== kept) client.close();
      }
      expect([blocked.buffer, waiting.buffer], "JavaScript was still busy").toEqual(["", ""]);
      expect(others.filter(({ buffer }) => buffer !== "").length, "so they wait").toBe(0);
      // The bound is that of the design, for the middle one: our own process may be held up too.
      times.sort((a, b) => a - b);
      expect(times[times.length >> 1], "milliseconds of a probe").toBeLessThan(20);
      rmSync(hold);
      expect((await blocked.response()).body).toBe("unblocked");
      for (let i = 0; i < 3; i += 1) expect((await waiting.response()).body).toBe("hello");
      for (const other of others) expect((await other.response()).body).toBe("hello");
    } finally {
      closeWires();
      rmSync(folder, { recursive: true, force: true });
      await child.stop();
    }
  });
});
