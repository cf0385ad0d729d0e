// res.delivered: whether all of an answer has left.
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { type Res, raw } from "../src/index.ts";
import { onEachHost } from "./support/hosts.ts";
import { peer } from "./support/peers.ts";
import { gate, until } from "./support/until.ts";
import { wire } from "./support/wire.ts";

// More than the kernel takes for a peer that does not read.
const LARGE = Buffer.alloc(32_000_000, "x");
const self = fileURLToPath(import.meta.url);

onEachHost(({ loops, start }) => {
  it("is true for every kind of answer that has left", async () => {
    const told: string[] = [];
    const noted = (name: string, answer: (res: Res) => unknown) =>
      raw(async (_req, res) => {
        void res.delivered.then((isWhole) => told.push(`${name} ${isWhole}`));
        await answer(res);
      });
    const server = await start({
      compress: true,
      routes: {
        "/text": noted("text", (res) => res.end("hello")),
        "/bytes": noted("bytes", (res) => res.end(Buffer.alloc(100_000))),
        "/none": noted("none", (res) => res.status(204).end()),
        "/file": noted("file", (res) => res.file(self)),
        "/stream": noted("stream", (res) => res.stream(["a", "b"])),
        "/large": noted("large", (res) => res.compress(false).end(LARGE)),
        "/zipped": noted("zipped", (res) =>
          res.header("content-type", "text/plain").end("z".repeat(9999)),
        ),
        "/begun": noted("begun", (res) => {
          res.write("begun ");
          res.end("ended");
        }),
        "/fetch": (_request, ctx) => {
          void ctx.delivered.then((isWhole) => told.push(`fetch ${isWhole}`));
          return new Response("fetched");
        },
      },
    });
    const names = ["text", "bytes", "none", "file", "stream", "large", "zipped", "begun", "fetch"];
    for (const name of names) {
      await (await fetch(`${server.url}/${name}`)).arrayBuffer();
      await until(`it is told of ${name}`, () => told.length > 0);
      expect(told.splice(0)).toEqual([`${name} true`]);
    }
    await fetch(`${server.url}/text`, { method: "HEAD" });
    await until("it is told of HEAD", () => told.length > 0);
    expect(told).toEqual(["text true"]);
  });

  it("tells what has left from what has not, of one connection", async () => {
    const told = new Map<string, boolean>();
    const held = gate();
    const server = await start({
      handler: async (req, res) => {
        void res.delivered.then((isWhole) => told.set(req.path, isWhole));
        if (req.path === "/first") await held.promise;
        res.end(req.path === "/large" ? LARGE : "short");
      },
    });
    const client = await wire(server);
    client.get("/first").get("/second");
    await until("both are there", () => server.metrics.requests === 2);
    held.open();
    expect((await client.response()).body).toBe("short");
    expect((await client.response()).body).toBe("short");
    await until("both are told of", () => told.size === 2);
    client.socket.pause();
    const [large, behind] = ["/large", "/behind"].map(
      (path) => `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`,
    );
    client.send(`${large}${behind}`); // at once: behind so much that waits nothing is read
    await until("both have been answered", () => server.metrics.responses["2xx"] >= 3);
    const other = await wire(server);
    await other.get("/other").response();
    await until("another is told of", () => told.has("/other"));
    expect([...told.keys()]).toEqual(["/first", "/second", "/other"]);
    client.reset();
    await until("all are told of", () => told.size === 5);
    expect(Object.fromEntries(told)).toEqual({
      "/first": true,
      "/second": true,
      "/other": true,
      "/large": false,
      "/behind": false,
    });
  });

  it("is false when peer, loop or server did not wait for the answer", async () => {
    const seen: Res[] = [];
    const server = await start({
      timeouts: { handler: 100 },
      handler: (_req, res) => {
        seen.push(res);
        res.detach();
      },
    });
    const leaves = (await wire(server)).get("/");
    await until("it is there", () => seen.length === 1);
    const left = seen[0]?.delivered;
    leaves.reset();
    expect(await left).toBe(false);
    expect(await seen[0]?.delivered).toBe(false);
    const waits = (await wire(server)).get("/");
    await until("it is there", () => seen.length === 2);
    const late = seen[1]?.delivered;
    expect((await waits.response()).status).toBe(503);
    expect(await late).toBe(false);
    const cut = (await wire(server)).get("/");
    await until("it is there", () => seen.length === 3);
    const atClose = seen[2]?.delivered;
    await server.close({ timeout: 0 });
    await cut.end();
    expect(await atClose).toBe(false);
  });

  it.runIf(loops > 0)("is false when the loop has answered while JavaScript was busy", async () => {
    const told = gate<boolean>();
    let isAsked = false;
    const server = await start({
      timeouts: { handler: 100 },
      handler: async (req, res) => {
        isAsked ||= req.path === "/behind";
        if (isAsked) return void res.end();
        void res.delivered.then(told.open);
        await until("the loop knows that somebody asks", () => isAsked);
        while (server.metrics.parseErrors["ERR_MILLRACE_HANDLER_TIMEOUT"] === undefined);
        res.end("late");
      },
    });
    const client = (await wire(server)).get("/");
    await until("it is there", () => server.metrics.requests === 1);
    await (await wire(server)).get("/behind").response();
    expect((await client.response()).status).toBe(503);
    expect(await told.promise).toBe(false);
  });

  it("is one promise, to be asked for before the end", async () => {
    let before: Promise<boolean> | undefined;
    const server = await start({
      handler: (req, res) => {
        if (req.path === "/early") before = res.delivered;
        res.end("answered");
        if (req.path === "/early") expect(res.delivered).toBe(before);
        else expect(() => res.delivered).toThrow(/delivered is to be asked for before/);
      },
    });
    const client = await wire(server);
    expect((await client.get("/early").response()).body).toBe("answered");
    expect(await before).toBe(true);
    expect((await client.get("/late").response()).body).toBe("answered");
  });

  it("is true of the 101 of a WebSocket", async () => {
    const told = gate<boolean>();
    const server = await start({
      websocket: { message: (ws, data) => void ws.send(data) },
      handler: (req, res) => {
        void res.delivered.then(told.open);
        req.upgrade();
      },
    });
    const client = await peer(server, "/");
    expect(await told.promise).toBe(true);
    client.ws.close();
    await client.over();
  });
});
