// What WebSockets hold for a peer, and for how long: bursts within one turn, messages that trickle.
import { Worker } from "node:worker_threads";
import { expect, it } from "vitest";
import type { Socket, WebSocketHandler } from "../src/index.ts";
import { BINARY, frame, frames, handshakeLines, PING, TEXT } from "./support/frames.ts";
import { type Host, onEachHost, portOf } from "./support/hosts.ts";
import { noting, peer, told } from "./support/peers.ts";
import { until } from "./support/until.ts";

const KIB = "x".repeat(1024);
const MIB = Buffer.alloc(1 << 20);

onEachHost((host) => {
  bursts(host);
  silentOnes(host);
  trickles(host);
});

// Sends everything within one turn, in which nothing can leave before send() looks.
function bursts({ start }: Host): void {
  it.each([
    ["close", 65_536, 100, 4],
    ["drop", 1024, 300, 1],
    ["buffer", 1024, 300, 1],
  ] as const)(
    "sends a burst whole to a peer that reads (%s, limit %i)",
    async (onBackpressure, backpressureLimit, count, kib) => {
      const events: string[] = [];
      const payload = KIB.repeat(kib);
      const results = new Set<boolean>();
      const handler = noting(events, {
        onBackpressure,
        backpressureLimit,
        message: (ws) => {
          for (let i = 0; i < count; i += 1) results.add(ws.send(`${i} ${payload}`) !== 0);
        },
      });
      const server = await start({ routes: { "/": handler } });
      const client = await peer(server);
      client.ws.send("go");
      const messages = await client.got(count);
      expect(messages.map((each) => `${each}`.split(" ")[0])).toEqual(
        Array.from({ length: count }, (_, i) => `${i}`),
      );
      expect([[...results], events]).toEqual([[true], ["open"]]);
    },
  );

  it("sends a burst of send() and publish() whole", async () => {
    const events: string[] = [];
    const payload = KIB.repeat(8);
    const server = await start({
      routes: {
        "/": noting(events, {
          backpressureLimit: 65_536,
          open: (ws) => ws.subscribe("all"),
          message: (ws) => {
            for (let i = 0; i < 60; i += 1) {
              if (i % 2 === 0) ws.send(`${i} ${payload}`);
              else server.publish("all", `${i} ${payload}`);
            }
          },
        }),
      },
    });
    const client = await peer(server);
    client.ws.send("go");
    expect((await client.got(60)).map((each) => `${each}`.split(" ")[0])).toEqual(
      Array.from({ length: 60 }, (_, i) => `${i}`),
    );
    expect(events).toEqual([]);
  });

  it("tells sendMany() of a burst before it as of any other message", async () => {
    const sockets: Socket[] = [];
    const server = await start({
      routes: {
        "/": {
          backpressureLimit: 1024,
          onBackpressure: "drop",
          open: (ws) => void sockets.push(ws),
        },
      },
    });
    const client = await peer(server);
    await until("it is open", () => sockets.length === 1);
    const [ws] = sockets as [Socket];
    for (let i = 0; i < 10; i += 1) ws.send(KIB);
    expect(await server.sendMany([ws], "to many")).toEqual({ delivered: 1, failed: [] });
    expect((await client.got(11)).at(-1)).toBe("to many");
  });
}

function silentOnes({ start }: Host): void {
  it.each(["close", "drop"] as const)(
    "holds no more than the limit within one turn for a peer that does not read (%s)",
    async (onBackpressure) => {
      const events: string[] = [];
      const sockets: Socket[] = [];
      const handler = noting(events, {
        onBackpressure,
        backpressureLimit: 2 << 20,
        closeTimeout: 300,
        open: (ws) => void sockets.push(ws),
      });
      const server = await start({ routes: { "/": handler } });
      const client = await frames(server);
      client.wire.socket.pause();
      await until("it is open", () => sockets.length === 1);
      const [ws] = sockets as [Socket];
      // The limit, and the message that goes beyond it; it counts twice while the loop notes it.
      const most = 4.1 * 2 ** 20;
      let sent = 0;
      while (sent < 200 && ws.send(MIB) !== 0) sent += 1;
      expect(sent).toBeLessThan(200); // the kernel has taken some
      expect(ws.bufferedAmount).toBeLessThanOrEqual(most);
      for (let i = 0; i < 100; i += 1) expect(ws.send(MIB)).toBe(0);
      expect(ws.bufferedAmount).toBeLessThanOrEqual(most);
      if (onBackpressure === "close") {
        await told(events, "close");
        expect(events).toEqual(["error ERR_MILLRACE_WS_BACKLOG", "close 1013"]);
      } else {
        expect([ws.readyState, events]).toEqual([1, []]);
        ws.terminate();
      }
    },
  );

  // The peer is gone, the loop knows it, JavaScript cannot have heard of it: nobody takes anything.
  it("sends nothing to a peer that left within the turn, and does not wait for it", async () => {
    const events: string[] = [];
    let results: number[] = [];
    const gone = new Int32Array(new SharedArrayBuffer(4));
    const handler = noting(events, {
      backpressureLimit: 1 << 20,
      message: (ws) => {
        Atomics.wait(gone, 0, 0, 10_000);
        results = Array.from({ length: 200 }, () => ws.send(MIB));
      },
    });
    const server = await start({ routes: { "/": handler } });
    const worker = new Worker(leaver, {
      eval: true,
      workerData: {
        gone,
        port: portOf(server),
        head: `${handshakeLines("/")}\r\n`,
        message: frame(TEXT, "go"),
      },
    });
    await told(events, "close");
    expect(events).toEqual(["open", "error ERR_MILLRACE_WS_LOST", "close 1006"]);
    expect([results.length, results.at(-1)]).toEqual([200, 0]);
    await worker.terminate();
  });
}

const leaver = `
  const { workerData: { gone, port, head, message } } = require("node:worker_threads");
  const socket = require("node:net").connect(port, "127.0.0.1", () => socket.write(head));
  socket.once("data", () => socket.write(message, () => socket.resetAndDestroy()));
  socket.on("error", () => undefined);
  socket.on("close", () => {
    Atomics.store(gone, 0, 1);
    Atomics.notify(gone, 0);
  });
`;

function trickles({ start }: Host): void {
  it.each([
    ["a frame", frame(BINARY, MIB.subarray(0, 100_000)).subarray(0, 100), Buffer.alloc(1)],
    ["a fragmented message", frame(TEXT, "half", { fin: false }), frame(PING, "")],
  ])(
    "W11 gives up a peer whose message does not come to its end: %s",
    async (_name, begin, more) => {
      const events: string[] = [];
      const limits: WebSocketHandler = { messageTimeout: 300 };
      const server = await start({ routes: { "/": noting(events, limits) } });
      const client = await frames(server);
      client.send(begin);
      const trickle = setInterval(() => client.wire.socket.write(more), 20);
      client.wire.socket.on("error", () => undefined);
      try {
        expect(await client.closed()).toEqual([1001, ""]);
      } finally {
        clearInterval(trickle);
      }
      await client.wire.end();
      await told(events, "close");
      expect(events).toEqual(["open", "error ERR_MILLRACE_WS_TIMEOUT", "close 1006"]);
    },
  );

  it("times no socket without a message in progress, and none without the limit", async () => {
    const events: string[] = [];
    const server = await start({
      routes: {
        "/short": noting(events, { messageTimeout: 1 }),
        "/none": noting(events, { messageTimeout: 0 }),
      },
    });
    const whole = await frames(server, "/short");
    const pieces = await frames(server, "/none");
    pieces.send(frame(TEXT, "a", { fin: false }));
    for (let i = 0; i < 20; i += 1) {
      whole.text(`${i}`);
      expect((await whole.next()).payload.toString()).toBe(`${i}`);
    }
    pieces.send(frame(0, "b"));
    expect((await pieces.next()).payload.toString()).toBe("ab");
    expect(events).toEqual(["open", "open"]);
  });
}
