// Peers of WebSockets that flood, drip, announce, stall, vanish, or never read: what is held for
// them, what is said to them, and that everybody else is served meanwhile.

import { fileURLToPath } from "node:url";
import { deflateRawSync } from "node:zlib";
import { afterEach, expect, it } from "vitest";
import type { Connection, Server, Socket, WebSocketHandler } from "../src/index.ts";
import { Child } from "./support/child.ts";
import { FrameReader, texts } from "./support/frame_reader.ts";
import {
  CLOSE,
  closeFrame,
  type FrameClient,
  frame,
  frames,
  handshakeLines,
  PING,
  TEXT,
} from "./support/frames.ts";
import { onEachHost, portOf } from "./support/hosts.ts";
import { echo, noting, peer, told } from "./support/peers.ts";
import { gate, until } from "./support/until.ts";
import { wire } from "./support/wire.ts";

const isSanitized = Boolean(process.env["MILLRACE_SANITIZED"]);
const isLinux = process.platform === "linux";
const MIB = 1_048_576;
const MANY = isSanitized ? 20_000 : 200_000;
const RESETS = isSanitized ? 200 : 1000;

const children: Child[] = [];
const child = (name: string, ...words: readonly (string | number)[]): Child => {
  const program = fileURLToPath(new URL(`children/${name}.mjs`, import.meta.url));
  const own = ["--expose-gc", program, ...words.map(String)];
  const started = new Child(process.execPath, own);
  children.push(started);
  return started;
};
const stopChildren = async (): Promise<void> => {
  await Promise.all(children.splice(0).map((each) => each.stop("SIGKILL")));
};

async function expectService(server: Server, target = "/"): Promise<void> {
  const client = await peer(server, target);
  client.ws.send("still there?");
  expect(await client.got(1)).toEqual(["still there?"]);
  client.ws.terminate();
}

/** Repeats a frame without making each one anew. */
function repeated(one: Buffer, times: number): Buffer {
  return Buffer.concat(Array.from({ length: times }, () => one));
}

/** How far our resident memory has grown meanwhile. */
async function growthOf(body: () => Promise<void>): Promise<number> {
  const before = process.memoryUsage.rss();
  let most = before;
  const watch = setInterval(() => {
    most = Math.max(most, process.memoryUsage.rss());
  }, 5);
  try {
    await body();
  } finally {
    clearInterval(watch);
  }
  return Math.max(most, process.memoryUsage.rss()) - before;
}

/** Waits until a count stands still for a while. */
async function standstill(count: () => number): Promise<void> {
  let before = -1;
  let since = performance.now();
  await until("nothing moves", () => {
    if (count() !== before) {
      before = count();
      since = performance.now();
    }
    return performance.now() - since > 300;
  });
}

onEachHost((host) => {
  afterEach(stopChildren);
  floods(host);
  ends(host);
  slowPeers(host);
});

type Start = Parameters<Parameters<typeof onEachHost>[0]>[0];

function floods({ start }: Start): void {
  it(`puts a message of ${MANY} one-byte fragments together, none beyond`, async () => {
    const events: string[] = [];
    const server = await start({
      routes: { "/": noting(events, { maxPayloadLength: MANY + 1 }) },
    });
    const got: string[] = [];
    const client = await FrameReader.open(portOf(server), texts(got));
    const one = frame(0, "b", { fin: false });
    const first = frame(TEXT, "a", { fin: false });
    await client.write(
      Buffer.concat([first, repeated(one, MANY - 1), frame(0, ""), first, repeated(one, MANY)]),
    );
    await until("the first is echoed", () => got.length > 0);
    expect(got[0] === `a${"b".repeat(MANY - 1)}`).toBe(true);
    await client.write(repeated(one, 10));
    await told(events, "close");
    expect(events).toEqual(["open", "error ERR_MILLRACE_WS_TOO_BIG", "close 1009"]);
    await until("it is over", () => client.isOver);
    await expectService(server);
  });

  it(`takes ${MANY} empty messages, and a message of as many empty fragments`, async () => {
    let count = 0;
    const server = await start({
      routes: {
        "/": {
          message: (ws, data) => {
            count += 1;
            if (count > MANY) ws.send(data);
          },
        },
      },
    });
    const got: string[] = [];
    const client = await FrameReader.open(portOf(server), texts(got));
    await client.write(repeated(frame(TEXT, ""), MANY));
    const empty = repeated(frame(0, "", { fin: false }), MANY);
    await client.write(Buffer.concat([frame(TEXT, "", { fin: false }), empty, frame(0, "")]));
    await until("the last is echoed", () => got.length > 0);
    expect([got, count]).toEqual([[""], MANY + 1]);
    client.socket.destroy();
  });

  it("does not read whoever pings without end and reads nothing, and cuts it", async () => {
    const events: string[] = [];
    const server = await start({
      timeouts: { write: 400 },
      routes: { "/": noting(events), "/other": echo },
    });
    const client = await frames(server);
    client.wire.socket.pause();
    const { bytesIn } = server.metrics;
    const pings = repeated(frame(PING, "p".repeat(125)), 8000);
    const growth = await growthOf(async () => {
      for (let i = 0; i < 40; i += 1) client.wire.socket.write(pings);
      await told(events, "close");
    });
    expect(events).toEqual(["open", "error ERR_MILLRACE_WS_TIMEOUT", "close 1006"]);
    // Its pongs fill the kernel's buffers and a little here; behind that nothing is read.
    expect(server.metrics.bytesIn - bytesIn).toBeLessThan(40 * pings.length);
    if (!isSanitized) expect(growth / MIB, "MiB").toBeLessThan(40);
    await expectService(server, "/other");
  });

  it.each([
    ["2^63", 0x8000_0000, 0, 1002],
    ["2^63 - 1", 0x7fff_ffff, 0xffff_ffff, 1009],
    ["2^32", 1, 0, 1009],
    ["2^31", 0, 0x8000_0000, 1009],
    ["one too many", 0, 64 * MIB + 1, 1009],
  ])("believes nobody who announces %s bytes", async (_name, high, low, code) => {
    const events: string[] = [];
    const server = await start({ routes: { "/": noting(events, { maxPayloadLength: 64 * MIB }) } });
    const client = await frames(server);
    const head = Buffer.from([0x82, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]);
    head.writeUInt32BE(high, 2);
    head.writeUInt32BE(low, 6);
    client.send(head);
    expect((await client.closed())[0]).toBe(code);
    await told(events, `close ${code}`);
  });

  it("holds what has come, not what was announced", async () => {
    const opened: Socket[] = [];
    const server = await start({
      routes: { "/": { maxPayloadLength: 64 * MIB, open: (ws) => void opened.push(ws) } },
    });
    const head = Buffer.from([0x82, 0xff, 0, 0, 0, 0, 4, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7]);
    const clients = await Promise.all(Array.from({ length: 100 }, () => frames(server)));
    const before = server.metrics.bytesIn;
    const growth = await growthOf(async () => {
      for (const client of clients) client.send(head);
      await until("all has come", () => server.metrics.bytesIn === before + 100 * head.length);
    });
    expect(opened.length).toBe(100);
    if (!isSanitized) expect(growth / MIB, "MiB").toBeLessThan(30);
    for (const client of clients) client.wire.reset();
    await until("all are gone", () => server.sockets.size === 0);
  });

  it("takes handshake and frames that drip byte by byte", async () => {
    const server = await start({ routes: { "/": echo } });
    const opened = await wire(server);
    const drip = async (...parts: readonly Buffer[]): Promise<void> => {
      for (const byte of Buffer.concat(parts)) {
        opened.send(Buffer.from([byte]));
        await new Promise((resolve) => setImmediate(resolve));
      }
    };
    const end = frame(0, "p".repeat(130));
    await drip(Buffer.from(`${handshakeLines("/")}\r\n`), frame(TEXT, "dri", { fin: false }));
    await drip(frame(PING, "?"), end);
    await until("it is echoed", () => opened.buffer.endsWith("p"));
    await drip(closeFrame(4321, "done"));
    await opened.end();
    const answer = opened.buffer.slice(opened.buffer.indexOf("\r\n\r\n") + 4);
    const echoed = `dri${"p".repeat(130)}`;
    expect(answer).toBe(`\x8a\x01?\x81\x7e\x00\x85${echoed}\x88\x06\x10\xe1done`);
  });

  it("ends a hundred deflate bombs with 1009, for no more than they are allowed", async () => {
    const events: string[] = [];
    const server = await start({
      routes: { "/": noting(events, { perMessageDeflate: true }), "/other": echo },
    });
    // 64 MiB of zeros, without the empty block at its end (RFC 7692 7.2.1).
    const bomb = deflateRawSync(Buffer.alloc(64 * MIB), { level: 9 });
    const sent = frame(2, bomb, { rsv: 4 });
    const halves = [
      frame(2, bomb.subarray(0, 500), { rsv: 4, fin: false }),
      frame(0, bomb.subarray(500)),
    ];
    const more = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
    const clients = await Promise.all(Array.from({ length: 100 }, () => frames(server, "/", more)));
    const growth = await growthOf(async () => {
      for (const [at, client] of clients.entries())
        client.send(...(at % 2 === 0 ? [sent] : halves));
      for (const client of clients) expect((await client.closed())[0]).toBe(1009);
    });
    await until("all are told", () => events.length === 300);
    expect(events.filter((each) => each === "close 1009").length).toBe(100);
    if (!isSanitized) expect(growth / MIB, "MiB").toBeLessThan(100);
    await expectService(server, "/other");
  });
}

function ends({ start, loops }: Start): void {
  it("tells of a peer that ends without a close frame, behind its messages", async () => {
    const events: string[] = [];
    const handler = noting(events, { message: (_ws, data) => void events.push(`${data}`) });
    const server = await start({ routes: { "/": handler } });
    const client = await frames(server);
    client.wire.socket.end(Buffer.concat([frame(TEXT, "last"), Buffer.from([0x81, 0x85, 1])]));
    await told(events, "close");
    expect(events).toEqual(["open", "last", "error ERR_MILLRACE_WS_LOST", "close 1006"]);
    await client.wire.end();
    await until("it is gone", () => server.metrics.connections === 0);
  });

  it("takes what a peer said before its end while its handler was busy", async () => {
    const events: string[] = [];
    const go = gate();
    const handler = noting(events, {
      maxQueue: 2,
      message: async (_ws, data) => {
        await go.promise;
        events.push(`${data}`);
      },
    });
    const server = await start({ routes: { "/": handler } });
    const client = await frames(server);
    const all = Array.from({ length: 100 }, (_, n) => `${n}`);
    client.wire.socket.end(Buffer.concat(all.map((text) => frame(TEXT, text))));
    await until("the first have come", () => events.length === 1);
    go.open();
    await told(events, "close");
    expect(events).toEqual(["open", ...all, "error ERR_MILLRACE_WS_LOST", "close 1006"]);
    await client.wire.end();
  });

  it("opens nothing, or closes it, for whoever ends behind the handshake", async () => {
    const events: string[] = [];
    const begun = gate();
    const decide = gate();
    const upgrade = async (): Promise<void> => {
      begun.open();
      await decide.promise;
    };
    const server = await start({
      routes: { "/": noting(events), "/later": noting(events, { upgrade }) },
    });
    const half = await wire(server);
    half.socket.end(handshakeLines("/")); // without its last line
    await half.end();
    const now = await wire(server);
    now.socket.end(`${handshakeLines("/")}\r\n`);
    await now.end();
    const later = await wire(server);
    later.socket.end(`${handshakeLines("/later")}\r\n`);
    await begun.promise;
    decide.open();
    await later.end();
    await until("all are gone", () => server.metrics.connections === 0);
    await until("all is told", () => server.sockets.size === 0);
    const opens = events.filter((each) => each === "open").length;
    expect(events.filter((each) => each === "close 1006").length).toBe(opens);
    expect(opens).toBeLessThanOrEqual(2);
  });

  it(`survives ${RESETS} resets in the middle of frames`, async () => {
    let [opened, closed, failed] = [0, 0, 0];
    const handler: WebSocketHandler = {
      open: (ws) => {
        opened += 1;
        ws.subscribe("all");
      },
      message: (ws, data) => {
        ws.send(data);
        ws.publish("all", "x".repeat(1000));
      },
      error: () => void (failed += 1),
      close: () => void (closed += 1),
    };
    const deflates = { ...handler, perMessageDeflate: { contextTakeover: true } };
    const server = await start({ routes: { "/": handler, "/deflate": deflates } });
    const compressed = frame(TEXT, deflateRawSync("y".repeat(3000)), { rsv: 4, fin: false });
    const stages = [
      Buffer.alloc(0),
      Buffer.from([0x81]),
      Buffer.from([0x81, 0xfe, 0xff]),
      frame(TEXT, "x".repeat(30_000)).subarray(0, 20_000),
      frame(TEXT, "begun", { fin: false }),
      repeated(frame(TEXT, "small"), 200),
      frame(PING, "p".repeat(100)).subarray(0, 50),
      compressed,
      closeFrame(1000).subarray(0, 4),
      Buffer.concat([frame(TEXT, "last"), closeFrame(1000)]),
    ];
    const more = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
    for (let n = 0; n < RESETS; n += stages.length) {
      const wave = await Promise.all(stages.map(() => wire(server)));
      const target = n % 20 === 0 ? "/" : "/deflate";
      for (const [at, client] of wave.entries()) {
        const bytes = stages[at] as Buffer;
        const stage = target === "/" && bytes === compressed ? frame(TEXT, "z") : bytes;
        client.send(Buffer.concat([Buffer.from(`${handshakeLines(target, more)}\r\n`), stage]));
      }
      await until("all are open", () => opened === n + stages.length);
      for (const client of wave) client.reset();
    }
    await until("all are gone", () => server.metrics.connections === 0);
    await until("all are told", () => server.sockets.size === 0 && closed === opened);
    // Those with a close frame, and none or some of the others before they were reset.
    expect([opened, failed > RESETS / 2]).toEqual([RESETS, true]);
    expect(server.metrics.counters["subscriptions"]).toBe(0);
    expect(server.subscriberCount("all")).toBe(0);
  });

  it.each([
    ["half a frame", frame(TEXT, "x".repeat(100)).subarray(0, 50)],
    ["half a head", Buffer.from([0x81])],
    ["a fragment", frame(TEXT, "x", { fin: false })],
    ["nothing", Buffer.alloc(0)],
  ])("W11 gives up a peer that is silent behind %s", async (_name, bytes) => {
    const events: string[] = [];
    const server = await start({ routes: { "/": noting(events, { idleTimeout: 200 }) } });
    const client = await frames(server, "/", "", bytes);
    expect((await client.next()).opcode).toBe(PING);
    const [code] = await client.closed();
    await told(events, "close");
    expect([code, events]).toEqual([1001, ["open", "error ERR_MILLRACE_WS_TIMEOUT", "close 1006"]]);
  });

  it("W11 finds out by pings that a peer is dead, while others are kept", async () => {
    const events: string[] = [];
    const server = await start({
      routes: { "/": noting(events, { idleTimeout: 400 }) },
    });
    const dead = child("ws-peers", "alive", portOf(server));
    await dead.said(/open/);
    const alive = child("ws-peers", "alive", portOf(server));
    await alive.said(/pinged(.|\n)*pinged/);
    expect(events).toEqual(["open", "open"]);
    dead.process.kill("SIGSTOP");
    await told(events, "close");
    expect(events.slice(2)).toEqual(["error ERR_MILLRACE_WS_TIMEOUT", "close 1006"]);
    expect([server.sockets.size, alive.hasExited]).toEqual([1, false]);
  });

  it("W17 cuts a peer that ignores our close frame, whatever it goes on sending", async () => {
    const events: string[] = [];
    let calls = 0;
    const handler = noting(events, {
      closeTimeout: 200,
      message: (ws) => {
        calls += 1;
        ws.close(4000, "enough");
      },
    });
    const server = await start({ routes: { "/": handler } });
    const [silent, loud] = [await frames(server), await frames(server)];
    for (const client of [silent, loud]) client.text("close me");
    const flood = setInterval(() => loud.text("more").send(frame(PING, "and pings")), 5);
    for (const client of [silent, loud]) {
      expect(await client.closed()).toEqual([4000, "enough"]);
      await client.wire.end();
      expect(client.wire.buffer, "nothing behind the close frame").toBe("");
    }
    clearInterval(flood);
    await until("both are told", () => events.length === 6);
    expect(events.slice(2).sort()).toEqual([
      "close 1006",
      "close 1006",
      "error ERR_MILLRACE_WS_TIMEOUT",
      "error ERR_MILLRACE_WS_TIMEOUT",
    ]);
    expect(calls).toBe(2);
  });

  it("ends a thousand sockets with 1001 when the server closes", async () => {
    const COUNT = isSanitized ? 200 : 1000;
    let closed = 0;
    const codes = new Map<number, number>();
    const server = await start({
      routes: {
        "/": {
          open: (ws) => ws.subscribe("t"),
          close: async (_ws, code) => {
            codes.set(code, (codes.get(code) ?? 0) + 1);
            await null;
            closed += 1;
          },
        },
      },
    });
    const said: number[] = [];
    const clients = await Promise.all(
      Array.from({ length: COUNT }, async () => {
        const client: FrameReader = await FrameReader.open(portOf(server), (opcode, payload) => {
          if (opcode !== CLOSE) return;
          said.push(payload.readUInt16BE(0));
          client.socket.write(frame(CLOSE, payload));
        });
        return client;
      }),
    );
    expect(server.subscriberCount("t")).toBe(COUNT);
    const report = await server.close();
    expect(closed, "close() waits for the last callbacks").toBe(COUNT);
    await until("all are over", () => clients.every(({ isOver }) => isOver));
    expect([said.length, new Set(said)]).toEqual([COUNT, new Set([1001])]);
    expect([...codes]).toEqual([[1001, COUNT]]);
    expect(report.forced).toBe(0);
    expect(await server.closed).toEqual(report);
    expect(server.publish("t", "nobody")).toBe(0);
  });

  it("cuts what does not answer 1001 within the timeout of close()", async () => {
    const events: string[] = [];
    const server = await start({ routes: { "/": noting(events) } });
    const deaf: FrameClient[] = await Promise.all([1, 2, 3].map(() => frames(server)));
    const report = await server.close({ timeout: 100 });
    expect(report.forced).toBe(3);
    expect(events.filter((each) => each.startsWith("close")).length).toBe(3);
    for (const client of deaf) expect((await client.closed())[0]).toBe(1001);
  });

  it.runIf(isLinux && loops > 0)(
    "holds little of a flood while JavaScript is blocked",
    async () => {
      const server = child("ws-server", "numbered", loops);
      const ports = (await server.said(/^ports (.*);$/m))[1] ?? "";
      const port = Number(ports.split(" ")[0]);
      const report = async (): Promise<Record<string, unknown>> => {
        const response = await fetch(`http://127.0.0.1:${port}/report`);
        return (await response.json()) as Record<string, unknown>;
      };
      const CLIENTS = 50;
      const EACH = isSanitized ? 20 : 100;
      const clients = await Promise.all(
        Array.from({ length: CLIENTS }, () => FrameReader.open(port, () => undefined)),
      );
      const idle = (await report())["rss"] as number;
      await fetch(`http://127.0.0.1:${port}/block`);
      await server.said(/blocked/);
      const body = Buffer.alloc(50_000);
      for (let n = 0; n < EACH; n += 1) {
        body.writeUInt32BE(n);
        const bytes = frame(2, body);
        for (const { socket } of clients) socket.write(bytes);
      }
      const blocked = Number((await server.said(/unblocked (\d+)/))[1]);
      // 250 MB were on their way: each lane holds 32 MiB of them.
      if (!isSanitized)
        expect((blocked - idle) / MIB, "MiB while blocked").toBeLessThan(32 + 40 * loops);
      let last = await report();
      await until("all have come", async () => {
        last = await report();
        return last["messages"] === CLIENTS * EACH;
      });
      expect(last).toMatchObject({ isOrdered: true, opened: CLIENTS, closed: 0 });
      if (!isSanitized)
        expect(((last["rssMost"] as number) - idle) / MIB, "MiB at most").toBeLessThan(160);
      for (const { socket } of clients) socket.destroy();
    },
  );
}

function slowPeers({ start, loops }: Start): void {
  // Two gigabytes go through the kernel: seconds on a machine that is busy otherwise.
  it.runIf(loops !== 1)(
    "W9 sends 10 MB to two hundred: the three that never read fail, nobody else",
    async () => {
      const READERS = isSanitized ? 20 : 197;
      const data = Buffer.alloc(10_000_000, 7);
      const events: string[] = [];
      const sockets: Socket[] = [];
      const causes = new Map<Connection, string>();
      const server = await start({
        routes: {
          "/": {
            open: (ws) => void sockets.push(ws),
            error: (_ws, error) => void events.push((error as { code?: string }).code ?? ""),
          },
        },
        onClose: (connection, cause) => void causes.set(connection, cause),
      });
      const deaf = await Promise.all([1, 2, 3].map(() => frames(server)));
      for (const client of deaf) client.wire.socket.pause();
      await until("they are open", () => sockets.length === 3);
      const slow = new Set(sockets);
      // 10 bytes of head and the payload.
      const readers = child("ws-peers", "reading", portOf(server), READERS, data.length + 10);
      await readers.said(/open/);
      await until("all are open", () => sockets.length === READERS + 3);
      let most = 0;
      const growth = await growthOf(async () => {
        const began = performance.now();
        const report = server.sendMany(sockets, data, { timeout: 8000 });
        await readers.said(/got/);
        most = performance.now() - began;
        const { delivered, failed } = await report;
        expect(delivered).toBe(READERS);
        expect(new Set(failed)).toEqual(slow);
      });
      console.info(
        `10 MB are with ${READERS} in ${Math.round(most)} ms, for ${Math.round(growth / MIB)} MiB`,
      );
      // One copy for all, and the kernel's are not ours.
      if (!isSanitized) expect(growth / MIB, "MiB").toBeLessThan(60);
      await until("the three are cut", () => server.sockets.size === READERS && causes.size === 3);
      const cut = [...slow].map(({ connection }) => causes.get(connection as Connection));
      expect(cut).toEqual(["TimedOut", "TimedOut", "TimedOut"]);
      expect(readers.output).not.toContain("surprise");
      for (const client of deaf) client.wire.reset();
    },
  );

  it("ends subscribers that never read with 1013, while the others get all", async () => {
    const events: string[] = [];
    const handler = noting(events, {
      backpressureLimit: MIB,
      closeTimeout: 200,
      open: (ws) => ws.subscribe("t"),
    });
    const server = await start({ routes: { "/": handler } });
    const deaf = await Promise.all([1, 2, 3].map(() => frames(server)));
    for (const client of deaf) client.wire.socket.pause();
    const counts = Array.from({ length: 20 }, () => ({ messages: 0, wrong: 0 }));
    const readers = await Promise.all(
      counts.map((count) =>
        FrameReader.open(portOf(server), (_opcode, payload) => {
          if (payload.readUInt32BE(0) !== count.messages) count.wrong += 1;
          count.messages += 1;
        }),
      ),
    );
    await until("all listen", () => server.subscriberCount("t") === 23);
    const data = Buffer.alloc(100_000);
    let sent = 0;
    const growth = await growthOf(async () => {
      await until("the three are given up", async () => {
        data.writeUInt32BE(sent);
        server.publish("t", data);
        sent += 1;
        await until("the others have it", () => counts.every((each) => each.messages === sent));
        return events.length >= 6 || sent > 2000;
      });
    });
    expect(events.sort()).toEqual([
      ...Array.from({ length: 3 }, () => "close 1013"),
      ...Array.from({ length: 3 }, () => "error ERR_MILLRACE_WS_BACKLOG"),
    ]);
    expect(counts.filter((each) => each.wrong > 0)).toEqual([]);
    if (!isSanitized) expect(growth / MIB, "MiB").toBeLessThan(60);
    expect(server.subscriberCount("t")).toBe(20);
    for (const { socket } of readers) socket.destroy();
    for (const client of deaf) client.wire.reset();
  });

  it("reads nothing more of a peer that asks for answers and does not take them", async () => {
    const server = await start({
      routes: { "/": { ...echo, backpressureLimit: 8 * MIB, onBackpressure: "buffer" } },
    });
    const client = await frames(server);
    client.wire.socket.pause();
    const bytes = repeated(frame(TEXT, "x".repeat(60_000)), 50);
    for (let i = 0; i < 20; i += 1) client.wire.socket.write(bytes);
    await standstill(() => server.metrics.bytesIn);
    const [ws] = [...server.sockets] as [Socket];
    expect([ws.readyState, ws.bufferedAmount < 40 * MIB]).toEqual([1, true]);
    // What the lane had taken meanwhile is answered, too; it holds 32 MiB.
    expect(server.metrics.bytesIn).toBeLessThan(20 * bytes.length);
    let answers = 0;
    client.wire.socket.removeAllListeners("data").on("data", (part: Buffer) => {
      answers += part.length;
    });
    client.wire.socket.resume();
    await until("all is answered", () => answers >= 1000 * 60_004);
    expect(answers).toBe(1000 * 60_004);
  });
}
