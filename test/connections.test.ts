// Connections over real sockets: one object each, told of once at both ends, with the cause that it
// was.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, it, onTestFinished } from "vitest";
import {
  type Connection,
  type LogRecord,
  type Req,
  type Res,
  raw,
  type ServeOptions,
  type Socket,
} from "../src/index.ts";
import type { NativeReq } from "../src/request.ts";
import { Child } from "./support/child.ts";
import { onEachHost } from "./support/hosts.ts";
import { until } from "./support/until.ts";
import { wire } from "./support/wire.ts";

const program = fileURLToPath(new URL("children/connections.mjs", import.meta.url));
const HANDSHAKE =
  "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" +
  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

interface Seen {
  readonly connects: Connection[];
  readonly closes: { connection: Connection; cause: string; detail: string }[];
  readonly hooks: Pick<ServeOptions, "onClose" | "onConnect">;
}

/** Hooks that write down what they are told. */
function watcher(): Seen {
  const seen: Seen = {
    connects: [],
    closes: [],
    hooks: {
      onConnect: (connection) => void seen.connects.push(connection),
      onClose: (connection, cause, detail) => void seen.closes.push({ connection, cause, detail }),
    },
  };
  return seen;
}

/** Each connection was told of once, first its beginning and then its end. */
function expectPaired({ connects, closes }: Seen, count: number): void {
  expect(connects).toHaveLength(count);
  expect(closes).toHaveLength(count);
  expect(new Set(connects).size).toBe(count);
  expect(new Set(closes.map(({ connection }) => connection))).toEqual(new Set(connects));
}

/** The next end that is told of, as "Cause: detail". */
async function endOf(seen: Seen, at: number): Promise<string> {
  await until(`connection ${at} has ended`, () => seen.closes.length > at);
  const { cause, detail } = seen.closes[at] as Seen["closes"][number];
  return detail === "" ? cause : `${cause}: ${detail}`;
}

async function* failing(): AsyncGenerator<string> {
  yield "begun";
  throw new Error("thrown on purpose");
}

onEachHost(({ start }) => {
  it("tells why a connection ended: each cause", async () => {
    const seen = watcher();
    const records: LogRecord[] = [];
    const folder = await mkdtemp(join(tmpdir(), "millrace-"));
    onTestFinished(() => rm(folder, { recursive: true }));
    let late: { aborted: boolean; res: Res } | undefined;
    const server = await start({
      listen: [{ port: 0 }, { unix: join(folder, "m.sock") }],
      timeouts: { headers: 150 },
      log: { level: "debug", write: (record) => void records.push(record) },
      ...seen.hooks,
      routes: {
        "/": raw((_req, res) => void res.end("ok")),
        "/late": raw((req, res) => {
          const open = { aborted: false, res: res.detach() };
          req.signal.addEventListener("abort", () => {
            open.aborted = true;
          });
          late = open;
        }),
        "/throw": raw((_req, res) => {
          res.write("begun");
          throw new Error("thrown on purpose");
        }),
        "/close": raw((req, res) => {
          res.end("bye");
          expect(req.connection.close("CloseCalled", "that was it")).toBe(true);
          expect(req.connection.close()).toBe(false);
        }),
        "/threat": raw((req) => void req.connection.close("SecurityThreatened", "a flood")),
        "/fault": raw((req) => void req.connection.close("EFault", "", { reset: true })),
      },
    });
    let at = 0;
    const next = (): Promise<string> => endOf(seen, at++);

    const polite = await wire(server);
    expect((await polite.get("/").response()).body).toBe("ok");
    polite.socket.end();
    expect(await next()).toBe("ClosedByClient");

    const rude = await wire(server);
    expect((await rude.get("/").response()).body).toBe("ok");
    rude.reset();
    expect(await next()).toMatch(/^ClosedByClient(: ECONNRESET)?$/);

    // Gone before the answer: the system says so when it is written.
    const impatient = await wire(server, 1);
    impatient.get("/late");
    await until("the request is there", () => late !== undefined);
    impatient.close();
    await until("the peer has left", () => late?.aborted === true);
    late?.res.end("x".repeat(100_000));
    expect(await next()).toBe("ConnectionLost: EPIPE");

    const slow = await wire(server);
    slow.send("GET / HT");
    expect(await next()).toMatch(/^TimedOut: ERR_MILLRACE_HEADERS_TIMEOUT: /);

    const wrong = await wire(server);
    wrong.send("GET / HTTP/1.1\r\nHost : a\r\n\r\n");
    await wrong.end();
    wrong.close();
    expect(await next()).toMatch(/^ProtocolViolated: ERR_MILLRACE_BAD_HEADER: /);

    (await wire(server)).get("/throw");
    expect(await next()).toMatch(/^Excepted: ERR_MILLRACE_HANDLER_FAILED: /);

    const asked = await wire(server);
    expect((await asked.get("/close").response()).body).toBe("bye");
    await asked.end();
    asked.close();
    expect(await next()).toBe("CloseCalled: that was it");

    (await wire(server)).get("/threat");
    expect(await next()).toBe("SecurityThreatened: a flood");

    const faulty = await wire(server);
    faulty.get("/fault");
    expect(await next()).toBe("EFault");
    await faulty.end();
    expect(faulty.error).toBe("ECONNRESET");

    await wire(server);
    await until("it is told of", () => seen.connects.length === at + 1);
    await server.close();
    expect(await next()).toBe("CloseCalled: server closed");
    expectPaired(seen, at);
    const ends = records.filter(({ cause }) => cause !== undefined);
    expect(ends.map(({ levelName, cause }) => `${levelName} ${cause}`)).toEqual([
      "debug ClosedByClient",
      "debug ClosedByClient",
      "info ConnectionLost",
      "info TimedOut",
      "notice ProtocolViolated",
      "error Excepted",
      "debug AlreadyClosed",
      "debug CloseCalled",
      "warn SecurityThreatened",
      "error EFault",
      "debug CloseCalled",
    ]);
    expect(records.filter(({ code }) => code === "ERR_MILLRACE_NO_REPLY")).toEqual([]);
    const { id } = seen.connects[7] as Connection;
    expect(ends[8]).toMatchObject({
      connection: id,
      msg: `connection ${id} SecurityThreatened: a flood`,
    });
  });

  it("tells a handler that threw from a source that failed, by the code", async () => {
    const seen = watcher();
    const records: LogRecord[] = [];
    const server = await start({
      log: { level: "error", write: (record) => void records.push(record) },
      ...seen.hooks,
      routes: {
        "/throw": raw((_req, res) => {
          res.write("begun");
          throw new Error("thrown on purpose");
        }),
        "/source": raw(async (_req, res) => {
          await res.stream(failing());
        }),
        "/short": raw((_req, res) => {
          res.header("Content-Length", 10).write("begun");
          res.end();
        }),
      },
    });
    const wanted = ["HANDLER_FAILED", "SOURCE_FAILED", "LENGTH_MISMATCH"];
    for (const [at, path] of ["/throw", "/source", "/short"].entries()) {
      (await wire(server)).get(path);
      const end = await endOf(seen, at);
      expect(end.split(": ").slice(0, 2)).toEqual(["Excepted", `ERR_MILLRACE_${wanted[at]}`]);
    }
    await server.close();
    const ends = records.filter(({ cause }) => cause === "Excepted");
    expect(ends.map(({ code }) => code)).toEqual(wanted.map((name) => `ERR_MILLRACE_${name}`));
  });

  it("tells of N connections N times at both ends, however they and the server end", async () => {
    const seen = watcher();
    const server = await start({
      ...seen.hooks,
      routes: { "/": raw((_req, res) => void res.end("ok")) },
    });
    const count = 60;
    const wires = await Promise.all(Array.from({ length: count }, () => wire(server)));
    for (const [index, each] of wires.entries()) {
      if (index % 5 === 0) each.get("/");
      if (index % 5 === 1) each.send("rubbish\r\n\r\n");
      if (index % 5 === 2) each.reset();
      if (index % 5 === 3) each.socket.end();
    }
    await until("all are told of", () => seen.connects.length === count);
    await server.close();
    expectPaired(seen, count);
    expect([...server.connections]).toEqual([]);
  });

  it("is the same object for all requests of a connection, with data of its own", async () => {
    let made = 0;
    const seen: Connection[] = [];
    const server = await start({
      connectionData: () => {
        made += 1;
        return { number: made, requests: 0 };
      },
      fetch: (_request, ctx) => {
        const connection = ctx.connection as Connection<{ number: number; requests: number }>;
        connection.data.requests += 1;
        if (!seen.includes(connection)) seen.push(connection);
        return Response.json(connection.data);
      },
    });
    const first = await wire(server);
    for (const requests of [1, 2, 3]) {
      const { body } = await first.get("/").response();
      expect(JSON.parse(body)).toEqual({ number: 1, requests });
    }
    first.get("/").get("/");
    await first.response();
    expect(JSON.parse((await first.response()).body)).toEqual({ number: 1, requests: 5 });
    const second = await wire(server);
    const { body } = await second.get("/").response();
    expect(JSON.parse(body)).toEqual({ number: 2, requests: 1 });
    expect(seen).toHaveLength(2);
    expect([...server.connections]).toEqual(seen);
    expect(seen[0]?.remoteAddress).toMatchObject({ family: "IPv4", address: "127.0.0.1" });
    expect(seen[0]?.remoteAddress.port).toBe((first.socket.address() as { port: number }).port);
    expect(seen[0]?.localAddress).toEqual(server.addresses[0]);
  });

  it("forgets a connection that nobody asked to be told of when it is over", async () => {
    let own: Connection | undefined;
    const server = await start({
      fetch: (_request, ctx) => {
        own = ctx.connection;
        return new Response("x");
      },
    });
    const client = await wire(server);
    await client.get("/").response();
    const connection = own as Connection;
    expect(connection.setFlags(3)).toBe(true);
    expect([connection.closed, connection.flags]).toEqual([false, 3]);
    client.close();
    await until("it is over", () => connection.closed);
    expect([...server.connections]).toEqual([]);
    expect(connection.flags).toBe(-1);
    expect([connection.setFlags(1), connection.close()]).toEqual([false, false]);
    // Whoever has the place now is not concerned.
    const next = await wire(server);
    expect((await next.get("/").response()).status).toBe(200);
    expect(connection.close("EFault", "", { reset: true })).toBe(false);
    expect((await next.get("/").response()).status).toBe(200);
    expect(own).not.toBe(connection);
    expect(own?.id).not.toBe(connection.id);
  });

  it("says soon that a connection is over which was asked for too late", async () => {
    let ask: () => Connection = () => undefined as never;
    const server = await start({
      fetch: async (_request, ctx) => {
        await new Promise<void>((resolve) => {
          ctx.signal.addEventListener("abort", () => resolve());
        });
        ask = () => ctx.connection;
        return new Response("x");
      },
    });
    const client = await wire(server);
    client.get("/").reset();
    await until("the peer has left", () => server.metrics.connections === 0);
    await until("the handler knows", () => ask() !== undefined);
    const late = ask();
    await until("that is told", () => late.closed);
    expect([...server.connections]).toEqual([]);
  });

  it("does not close the connection that another server has at the same place", async () => {
    const kept: Req[] = [];
    const first = await start({
      routes: {
        "/": raw((req, res) => {
          kept.push(req);
          res.detach();
        }),
      },
    });
    (await wire(first)).get("/");
    await until("it is asked", () => kept.length === 1);
    const { place } = kept[0] as NativeReq;
    await first.close({ timeout: 0 });
    const seen = watcher();
    const places: unknown[] = [];
    const second = await start({
      ...seen.hooks,
      routes: {
        "/": raw((req, res) => {
          const { index, generation } = (req as NativeReq).place;
          places.push([index, generation]);
          res.end("alive");
        }),
      },
    });
    const client = await wire(second);
    expect((await client.get("/").response()).body).toBe("alive");
    expect(places, "else nothing is tested").toEqual([[place.index, place.generation]]);
    expect((kept[0] as Req).connection.close()).toBe(false);
    expect((await client.get("/").response()).body).toBe("alive");
    expect([seen.connects.length, seen.closes.length]).toEqual([1, 0]);
    client.close();
  });

  it("tells once of a handshake whose peer has left before it was accepted", async () => {
    const seen = watcher();
    let accept: () => Socket | undefined = () => undefined;
    const server = await start({
      ...seen.hooks,
      websocket: {},
      routes: {
        "/": raw((req, res) => {
          accept = () => req.upgrade();
          res.detach();
        }),
      },
    });
    const client = await wire(server);
    client.get("/", HANDSHAKE);
    await until("it is asked", () => seen.connects.length === 1 && `${accept}`.includes("upgrade"));
    client.reset();
    // The handler decides before it hears of the end, or behind it.
    await until("natively it is over", () => server.metrics.connections === 0);
    const ws = accept();
    const connection = ws?.connection;
    await until("the end is told", () => seen.closes.length > 0);
    expect(connection ?? ws?.connection).toBe(seen.connects[0]);
    await server.close();
    expectPaired(seen, 1);
  });

  it("goes over to the WebSocket, whose close code is told", async () => {
    const seen = watcher();
    const asked: unknown[] = [];
    const server = await start({
      ...seen.hooks,
      connectionData: () => "mine",
      websocket: {
        open: (ws) => void asked.push(ws.connection),
        message: (ws) => void ws.connection?.close("SecurityThreatened", "a message"),
        close: (ws) => void asked.push(ws.connection),
      },
      routes: {
        "/": (_request, ctx) => {
          asked.push(ctx.connection);
          return ctx.upgrade();
        },
      },
    });
    const client = await wire(server);
    client.get("/", HANDSHAKE);
    await until("it is open", () => asked.length === 2);
    const code = Buffer.alloc(2);
    code.writeUInt16BE(4321);
    client.send(Buffer.concat([Buffer.from([0x88, 0x82, 0, 0, 0, 0]), code]));
    await client.end();
    client.close();
    expect(await endOf(seen, 0)).toMatch(/^(ClosedByClient|CloseCalled): 4321$/);
    expect(asked).toHaveLength(3);
    expect(new Set(asked)).toEqual(new Set(seen.connects));
    expect(seen.connects[0]?.data).toBe("mine");

    const second = await wire(server);
    second.get("/", HANDSHAKE);
    await until("it is open", () => asked.length === 5);
    second.send(Buffer.from([0x81, 0x81, 0, 0, 0, 0, 0x61]));
    expect(await endOf(seen, 1)).toBe("SecurityThreatened: a message");
  });

  it.each([true, false])(
    "knows what a proxy said of the client, with hooks: %s",
    async (hooked) => {
      const seen = watcher();
      const asked: Connection[] = [];
      const server = await start({
        listen: [{ port: 0, proxyProtocol: "require" }],
        ...(hooked ? seen.hooks : {}),
        fetch: (_request, ctx) => {
          asked.push(ctx.connection);
          return new Response("x");
        },
      });
      const client = await wire(server);
      client.send("PROXY TCP4 203.0.113.9 192.0.2.7 4000 80\r\n");
      for (let i = 0; i < 2; i += 1) await client.get("/").response();
      const { port } = client.socket.address() as { port: number };
      const [connection] = asked as [Connection];
      expect(asked).toEqual([connection, connection]);
      expect(connection.remoteAddress).toEqual({
        family: "IPv4",
        address: "203.0.113.9",
        port: 4000,
      });
      expect(connection.proxy).toEqual({
        version: 1,
        local: false,
        destination: { family: "IPv4", address: "192.0.2.7", port: 80 },
        via: { family: "IPv4", address: "127.0.0.1", port },
        tlvs: new Map(),
      });
      client.close();
      await until("it is over", () => connection.closed);
      if (hooked) expectPaired(seen, 1);
    },
  );

  it("does not wait for hooks, nor stumble over them", async () => {
    const server = await start({
      log: false,
      onConnect: () => {
        throw new Error("connect");
      },
      onClose: () => Promise.reject(new Error("close")),
      fetch: () => new Response("x"),
    });
    const client = await wire(server);
    expect((await client.get("/").response()).status).toBe(200);
  });

  it("ends quietly with hooks and a client that never says anything", async () => {
    const seen = watcher();
    const server = await start({ ...seen.hooks, fetch: () => new Response("x") });
    await wire(server);
    await until("it is told of", () => seen.connects.length === 1);
    expect([...server.connections]).toEqual(seen.connects);
    await server.close({ timeout: 0 });
    expectPaired(seen, 1);
  });
});

it.each(["processExit", "workerExit", "unref"])("tells of every end: %s", async (name) => {
  for (const loops of ["0", "2"]) {
    const child = new Child(process.execPath, [program, name, loops]);
    const exit = await child.exited;
    expect(exit, child.errors).toEqual({ code: 0, signal: null });
    const lines = child.output.trim().split("\n");
    expect(lines.filter((line) => line.startsWith("connect")).sort()).toEqual(
      Array.from({ length: 5 }, () => "connect"),
    );
    expect(lines.filter((line) => line.startsWith("close"))).toEqual(
      Array.from({ length: 5 }, () => "close CloseCalled server closed"),
    );
    expect(lines.at(-1)).toBe("logged 5");
  }
});
