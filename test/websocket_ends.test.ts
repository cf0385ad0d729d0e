// WebSockets of a server, seen from clients: how they end, peers that do not read, one to many. The
// rows of the seeds' tables (W1 to W24) are named where a test stands for one.
import { expect, it } from "vitest";
import type { Connection, Server, Socket } from "../src/index.ts";
import { closeFrame, frame, frames, PING, TEXT } from "./support/frames.ts";
import { type Host, onEachHost } from "./support/hosts.ts";
import { echo, noting, Peer, peer, told } from "./support/peers.ts";
import { gate, until } from "./support/until.ts";

onEachHost((host) => {
  closing(host);
  slowPeers(host);
  manyPeers(host);
});

function closing({ start }: Host): void {
  it("W7 tells the peer's code and reason, and answers its close frame", async () => {
    const events: string[] = [];
    const server = await start({ routes: { "/": noting(events) } });
    const client = await peer(server);
    client.ws.close(4321, "wär's");
    expect(await client.over()).toEqual([4321, "wär's"]);
    await told(events, "close");
    expect(events).toEqual(["open", "close 4321 wär's"]);
    const silent = await frames(server);
    silent.send(closeFrame());
    expect(await silent.closed()).toEqual([1005, ""]);
    await silent.wire.end();
    await until("both are told", () => events.length === 4);
    expect(events.at(-1)).toBe("close 1005");
  });

  it("W10 sends what was sent before, then the close frame, then ends", async () => {
    const events: string[] = [];
    const server = await start({
      routes: {
        "/": noting(events, {
          message: (ws) => {
            for (let i = 0; i < 10; i += 1) ws.send("x".repeat(10_000));
            ws.close(4000, "done");
            expect([ws.send("late"), ws.readyState]).toEqual([0, 2]);
          },
        }),
      },
    });
    const client = await peer(server);
    client.ws.send("go");
    expect(await client.over()).toEqual([4000, "done"]);
    expect(client.messages.length).toBe(10);
    await told(events, "close");
    expect(events).toEqual(["open", "close 4000 done"]);
  });

  it("W11 finds a peer that is silent, asked or not", async () => {
    const events: string[] = [];
    const server = await start({
      routes: {
        "/asked": noting(events, { idleTimeout: 300 }),
        "/unasked": noting(events, { idleTimeout: 300, sendPings: false }),
        "/answers": { idleTimeout: 1500 },
      },
    });
    const alive = await peer(server, "/answers");
    let asks = 0;
    alive.ws.on("ping", () => {
      asks += 1;
    });
    const asked = await frames(server, "/asked");
    expect((await asked.next()).opcode).toBe(PING);
    await asked.wire.end();
    const unasked = await frames(server, "/unasked");
    unasked.send(frame(TEXT, "half a message", { fin: false }));
    await unasked.wire.end();
    await until(
      "both are told",
      () => events.filter((each) => each.startsWith("close")).length === 2,
    );
    expect(events.filter((each) => each === "error ERR_MILLRACE_WS_TIMEOUT").length).toBe(2);
    // At least a quarter of idleTimeout lies between two: without its pongs it would be gone.
    await until("the third one was asked five times", () => asks === 5);
    expect(alive.closed).toBeUndefined();
    alive.ws.terminate();
  });

  it("W14 tells of an error, then of the end, when a peer just leaves", async () => {
    const events: string[] = [];
    const server = await start({ routes: { "/": noting(events) } });
    (await frames(server)).wire.reset();
    await told(events, "close");
    expect(events).toEqual(["open", "error ERR_MILLRACE_WS_LOST", "close 1006"]);
    events.length = 0;
    (await frames(server)).wire.socket.end();
    await told(events, "close");
    expect(events).toEqual(["open", "error ERR_MILLRACE_WS_LOST", "close 1006"]);
  });

  it("W17 ends the connection when the peer ignores the close frame", async () => {
    const events: string[] = [];
    const handler = noting(events, { closeTimeout: 200, message: (ws) => ws.close(1001) });
    const server = await start({ routes: { "/": handler } });
    const client = (await frames(server)).text("x");
    expect(await client.closed()).toEqual([1001, ""]);
    await client.wire.end();
    await told(events, "close");
    expect(events.filter((each) => each.startsWith("close")).length).toBe(1);
  });

  it("says 1001 while it drains, and refuses who comes then, also after a slow hook", async () => {
    const go = gate();
    const handler = { ...echo, upgrade: async () => void (await go.promise) };
    const server = await start({
      routes: {
        "/": echo,
        "/slow": handler,
        "/fetch": async (_request, ctx) => {
          await go.promise;
          return ctx.upgrade();
        },
      },
      websocket: echo,
    });
    const client = await peer(server);
    const late = [new Peer(server, "/slow"), new Peer(server, "/fetch")];
    await until("both hooks wait", () => server.metrics.inFlight === 2);
    server.drain();
    expect((await client.over())?.[0]).toBe(1001);
    go.open();
    late.push(new Peer(server));
    for (const each of late) {
      await each.over();
      expect(each.refused).toBe(503);
    }
    expect(server.metrics.webSockets).toBe(0);
  });

  it("says 1001 to all when the server closes, and waits for their close handlers", async () => {
    const events: string[] = [];
    const server = await start({ routes: { "/": noting(events) } });
    const clients = [await peer(server), await peer(server)];
    const report = server.close({ timeout: 5000 }).then(() => events.push("closed"));
    for (const client of clients) expect((await client.over())?.[0]).toBe(1001);
    await report;
    expect(events).toEqual(["open", "open", "close 1001", "close 1001", "closed"]);
  });

  it("terminate() ends it without a handshake, and is no error", async () => {
    const events: string[] = [];
    const handler = noting(events, { message: (ws) => ws.terminate() });
    const server = await start({ routes: { "/": handler } });
    const client = await peer(server);
    client.ws.send("x");
    expect((await client.over())?.[0]).toBe(1006);
    await told(events, "close");
    expect(events).toEqual(["open", "close 1006"]);
  });

  it("W24 does nothing to another socket on the same slot", async () => {
    const sockets: Socket[] = [];
    const handler = { ...echo, open: (ws: Socket) => void sockets.push(ws) };
    const server = await start({ routes: { "/": handler } });
    const first = await peer(server);
    first.ws.close();
    await until("it is over", () => sockets[0]?.readyState === 3);
    const second = await peer(server);
    await until("the second is open", () => sockets.length === 2); // the peer may know first
    const [a, b] = sockets as [Socket, Socket];
    expect(a.id).not.toBe(b.id);
    expect([a.send("x"), a.ping()]).toEqual([0, 0]);
    a.close();
    a.terminate();
    a.subscribe("t");
    second.ws.send("mine");
    expect(await second.got(1)).toEqual(["mine"]);
    second.ws.terminate();
  });
}

function slowPeers({ start }: Host): void {
  // As much as the kernel's buffers hold, and the limit, and more.
  const chunk = "x".repeat(65_536);

  async function stuffed(server: Server, sockets: Socket[]): Promise<[Socket, number[]]> {
    const client = await frames(server);
    client.wire.socket.pause();
    await until("it is open", () => sockets.length > 0);
    const ws = sockets[0] as Socket;
    const results: number[] = [];
    await until("no more is taken", async () => {
      for (let i = 0; i < 16 && ws.readyState === 1; i += 1) results.push(ws.send(chunk));
      await new Promise((resolve) => setImmediate(resolve));
      return results.includes(0) || results.length > 2000;
    });
    return [ws, results];
  }

  it("W16 closes a peer that never reads with 1013, with bounded memory", async () => {
    const events: string[] = [];
    const sockets: Socket[] = [];
    const handler = noting(events, {
      open: (ws) => void sockets.push(ws),
      backpressureLimit: 1_000_000,
      closeTimeout: 300,
    });
    const server = await start({ routes: { "/": handler } });
    const [ws, results] = await stuffed(server, sockets);
    expect([results.at(-1), results.includes(-1), ws.readyState]).toEqual([0, true, 2]);
    expect(ws.bufferedAmount).toBeLessThanOrEqual(1_000_000 + chunk.length);
    await told(events, "close");
    expect(events).toEqual(["error ERR_MILLRACE_WS_BACKLOG", "close 1013"]);
  });

  it("W16 drops where that was asked for, and goes on when the peer reads again", async () => {
    const sockets: Socket[] = [];
    const drained = gate();
    const server = await start({
      routes: {
        "/": {
          open: (ws) => void sockets.push(ws),
          drain: () => drained.open(),
          onBackpressure: "drop",
          backpressureLimit: 500_000,
        },
      },
    });
    const client = await frames(server);
    client.wire.socket.pause();
    await until("it is open", () => sockets.length > 0);
    const [ws] = sockets as [Socket];
    let sent = 0;
    await until("a message is dropped", async () => {
      const result = ws.send(chunk);
      if (result !== 0) sent += 1;
      await new Promise((resolve) => setImmediate(resolve));
      return result === 0;
    });
    const waiting = ws.drained();
    client.wire.socket.resume();
    await Promise.all([waiting, drained.promise]);
    expect(ws.send("last")).toBeGreaterThan(0);
    for (let i = 0; i < sent; i += 1)
      expect((await client.next()).payload.length).toBe(chunk.length);
    expect((await client.next()).payload.toString()).toBe("last");
    ws.terminate();
  });
}

function manyPeers({ start }: Host): void {
  it("W9 sends to many: slow ones do not delay the others, and just they fail", async () => {
    const sockets: Socket[] = [];
    const handler = { open: (ws: Socket) => void sockets.push(ws) };
    const causes = new Map<Connection, string>();
    const server = await start({
      routes: { "/": handler },
      onClose: (connection, cause) => void causes.set(connection, cause),
    });
    const stuck = await Promise.all([frames(server), frames(server), frames(server)]);
    for (const { wire: opened } of stuck) opened.socket.pause();
    await until("they are open", () => sockets.length === 3);
    const slow = new Set(sockets);
    const fast = await Promise.all(Array.from({ length: 6 }, () => peer(server)));
    const gone = await peer(server);
    gone.ws.terminate();
    await until("it is over", () => sockets.length === 10 && sockets[9]?.readyState === 3);
    const data = Buffer.alloc(8_000_000, 7);
    const report = server.sendMany([...sockets, ...sockets], data, { timeout: 5000 });
    for (const client of fast) {
      const [got] = await client.got(1);
      expect((got as Buffer).equals(data)).toBe(true);
    }
    const { delivered, failed } = await report;
    expect([delivered, failed.length]).toEqual([6, 4]);
    expect(failed.filter((each) => slow.has(each)).length).toBe(3);
    await until("they are cut", () => server.sockets.size === 6 && causes.size === 4);
    const cut = [...slow].map(({ connection }) => causes.get(connection as Connection));
    expect(cut).toEqual(["TimedOut", "TimedOut", "TimedOut"]);
    for (const { ws } of fast) ws.terminate();
  });

  it("W12, W23 publishes to subscribers, and lists its sockets", async () => {
    const counts: number[] = [];
    const server = await start({
      routes: {
        "/:room": {
          upgrade: (_request, ctx) => ({ data: ctx.params["room"] }),
          open: (ws) => ws.subscribe(ws.data as string),
          message: (ws, data) => void counts.push(ws.publish(ws.data as string, data)),
        },
      },
    });
    const [a, b, c] = [
      await peer(server, "/x"),
      await peer(server, "/x"),
      await peer(server, "/y"),
    ];
    await until("all are there", () => server.subscriberCount("x") === 2);
    expect([server.sockets.size, server.subscriberCount("y")]).toEqual([3, 1]);
    a.ws.send("from a");
    expect(await b.got(1)).toEqual(["from a"]);
    expect(counts, "others that got it").toEqual([1]);
    expect(server.publish("x", "to x")).toBe(2);
    expect(server.publish("y", Buffer.from("to y"))).toBe(1);
    expect(server.publish("z", "nobody")).toBe(0);
    expect(await a.got(1)).toEqual(["to x"]);
    expect(await b.got(2)).toEqual(["from a", "to x"]);
    expect(await c.got(1)).toEqual([Buffer.from("to y")]);
    const first = [...server.sockets].find((ws) => ws.topics.has("x")) as Socket;
    server.publish("x", "but one", { except: first });
    server.publish("x", "thread", { scope: "thread" });
    await Promise.all(
      [a, b].map((each) => until("it is told", () => each.messages.at(-1) === "thread")),
    );
    const told = [a, b].filter((each) => each.messages.includes("but one"));
    expect(told.length).toBe(1);
    for (const { ws } of [a, b, c]) ws.close();
    await until("nobody is left", () => server.subscriberCount("x") === 0);
  });

  it("publishes in order with what is sent to a socket", async () => {
    const server = await start({
      routes: {
        "/": {
          open: (ws) => ws.subscribe("t"),
          message: (ws) => {
            for (let i = 0; i < 50; i += 1) {
              ws.send(`s${i}`);
              server.publish("t", `p${i}`);
            }
          },
        },
      },
    });
    const client = await peer(server);
    client.ws.send("go");
    const expected = Array.from({ length: 50 }, (_, i) => [`s${i}`, `p${i}`]).flat();
    expect(await client.got(100)).toEqual(expected);
    client.ws.terminate();
  });
}
