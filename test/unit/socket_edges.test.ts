// WebSockets without native code, at their edges: what our own close drops, iterators that leave,
// handlers that throw oddly, what is bounded and what is told apart.
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { describe, expect, it, vi } from "vitest";
import { type Context, raw, type Socket, serve } from "../../src/index.ts";
import { EVENT } from "../../src/native/tables.ts";
import {
  connect,
  end,
  events,
  fake,
  HANDSHAKE,
  message,
  noting,
  open,
  settled,
  start,
  warnings,
} from "./sockets.ts";

// Looking at it throws.
const hostile = (): unknown =>
  new Proxy(
    {},
    {
      getPrototypeOf() {
        throw new Error("trap");
      },
    },
  );

function ping(handle: number, ...bodies: string[]): void {
  fake.news(bodies.map((body) => ({ kind: EVENT.Ping, handle, body })));
}

describe("our own end", () => {
  it("drops what has come and what still comes, as browsers do", async () => {
    const { ws, handle } = await open({
      message: async (socket, data) => {
        events.push(`${data}`);
        await settled();
        if (data === "1") socket.close(4000, "enough");
      },
      ping: () => void events.push("ping"),
      close: (_ws, code) => void events.push(`close ${code}`),
    });
    message(handle, "1", "2", "3");
    ping(handle, "p");
    for (let i = 0; i < 3; i += 1) await settled();
    message(handle, "4");
    end(handle, 4000);
    expect([events, ws.readyState]).toEqual([["1", "close 4000"], 3]);
  });

  it("within a synchronous handler drops the rest of the batch", async () => {
    const { handle } = await open({
      message: (ws, data) => {
        events.push(`${data}`);
        if (data === "2") ws.close();
      },
    });
    message(handle, "1", "2", "3", "4");
    expect(events).toEqual(["1", "2"]);
  });

  it("drops what waits behind the peer's close frame, too", async () => {
    const { ws, handle } = await open(noting());
    ws.pause();
    message(handle, "1");
    fake.news([{ kind: EVENT.Ending, handle, status: 1000 }]);
    ws.close();
    end(handle, 1000);
    expect(events).toEqual(["open", "close 1000"]);
  });

  it("goes on reading, for the peer's close frame", async () => {
    const { ws, handle } = await open({ maxQueue: 1, message: () => new Promise(() => undefined) });
    message(handle, "1", "2");
    ws.close();
    ws.pause();
    expect(fake.log).toEqual([
      `hold ${handle} true`,
      `hold ${handle} false`,
      `close ${handle} 1000`,
    ]);
  });

  it("is told although somebody pauses after it", async () => {
    let go: () => void = () => undefined;
    const { handle } = await open(
      noting({
        message: async (ws, data) => {
          await new Promise<void>((resolve) => {
            go = resolve;
          });
          events.push(`${data}`);
          ws.pause();
        },
      }),
    );
    message(handle, "1", "2");
    end(handle, 1000);
    go();
    await settled();
    go();
    await settled();
    expect(events).toEqual(["open", "1", "2", "close 1000"]);
  });

  it("leaves the topics to close, and counts them back before", async () => {
    const { ws, handle } = await open({
      open: (socket) => socket.subscribe("a"),
      close: async (socket) => {
        socket.unsubscribe("gone");
        events.push([...socket.topics].join(), `${socket.publish("a", "bye")}`, fake.log[0] ?? "");
        await settled();
        socket.unsubscribe("a");
        events.push([...socket.topics].join());
      },
    });
    end(handle, 1000);
    await settled();
    await settled();
    // The publisher is no subscriber any more, and is not subtracted.
    expect(events).toEqual(["a", "7", `unsubscribe ${handle} a`, ""]);
    expect(fake.log.filter((each) => each.startsWith("unsubscribe")).length).toBe(1);
    expect(ws.topics.size).toBe(0);
  });
});

describe("what is thrown", () => {
  it("may be such that looking at it throws: the rest of the batch is served", async () => {
    const seen: unknown[] = [];
    const evil = noting({
      message: (ws, data) => {
        if (data === "bad") throw hostile();
        if (data === "worse") return Promise.reject(hostile());
        events.push(`${ws.data} ${data}`);
        return undefined;
      },
      error: (_ws, error) => void seen.push((error as { code?: unknown }).code),
    });
    await start(evil);
    const [a, b] = [connect(), connect()];
    events.length = 0;
    fake.news([
      { kind: EVENT.Message, handle: a, body: "bad" },
      { kind: EVENT.Message, handle: b, body: "1" },
      { kind: EVENT.Message, handle: a, body: "worse" },
      { kind: EVENT.Message, handle: a, body: "2" },
    ]);
    await settled();
    end(a, 1000);
    expect(events).toEqual(["undefined 1", "undefined 2", "close 1000"]);
    const code = "ERR_MILLRACE_HANDLER_FAILED";
    expect(seen).toEqual([code, code]);
  });

  it("by close, or by drain after it, is warned of and not told to error", async () => {
    const { texts, stop } = warnings();
    for (const close of [
      () => {
        throw new Error("at once");
      },
      () => Promise.reject(new Error("later")),
    ]) {
      const { handle } = await open(noting({ close }));
      end(handle, 1000);
      await settled();
    }
    await settled();
    stop();
    expect(events).toEqual(["open", "open"]);
    expect(texts.map((text) => text.split(" [")[0])).toEqual([
      "the WebSocket /: close() threw; the socket is over",
      "the WebSocket /: close() threw; the socket is over",
    ]);
  });
});

describe("an iterator", () => {
  it("that has returned takes no message any more", async () => {
    const { ws, handle } = await open({});
    const stale = ws[Symbol.asyncIterator]();
    const other = ws[Symbol.asyncIterator]();
    const pending = stale.next();
    const theirs = other.next();
    await settled();
    await stale.return?.();
    expect(await pending).toEqual({ done: true, value: undefined });
    message(handle, "one", "two");
    expect((await theirs).value).toBe("one");
    expect((await ws[Symbol.asyncIterator]().next()).value).toBe("two");
  });

  it("ends with a socket that never opened", async () => {
    let ws: Socket | undefined;
    const handler = raw((req) => {
      ws = req.upgrade();
    });
    await serve({ loops: 0, routes: { "/": handler }, websocket: {} });
    const handle = fake.one(HANDSHAKE);
    const pending = (ws as Socket)[Symbol.asyncIterator]().next();
    fake.event(EVENT.Aborted, handle, handle + 100, [0, 0]);
    expect((await pending).done).toBe(true);
    expect((await (ws as Socket)[Symbol.asyncIterator]().next()).done).toBe(true);
  });

  it("leaves pings their order and their number, and open its place", async () => {
    const gates: (() => void)[] = [];
    let leave: () => void = () => undefined;
    let most = 0;
    let now = 0;
    const { handle } = await open(
      noting({
        maxQueue: 4,
        open: async (ws) => {
          for await (const data of ws) {
            events.push(`got ${data}`);
            if (data === "stop") break;
          }
          await new Promise<void>((resolve) => {
            leave = resolve;
          });
          events.push("open ends");
        },
        ping: async (_ws, data) => {
          now += 1;
          most = Math.max(most, now);
          await new Promise<void>((resolve) => gates.push(resolve));
          events.push(`ping ${Buffer.from(data)}`);
          now -= 1;
        },
      }),
    );
    message(handle, "a");
    ping(handle, "1", "2");
    message(handle, "stop", "behind");
    await settled();
    expect([events, gates.length, fake.log]).toEqual([["got a"], 1, []]);
    ping(handle, "3", "4");
    expect(fake.log).toEqual([`hold ${handle} true`]);
    for (let i = 0; i < 2; i += 1) {
      gates[i]?.();
      await settled();
    }
    expect(events).toEqual(["got a", "ping 1", "ping 2", "got stop"]);
    // Nobody iterates any more, and open has not ended.
    end(handle, 1000);
    await settled();
    expect(events.length).toBe(4);
    leave();
    await settled();
    for (let i = 2; i < 4; i += 1) {
      gates[i]?.();
      await settled();
    }
    const rest = ["open ends", "message behind", "ping 3", "ping 4", "close 1000"];
    expect([events.slice(4), most]).toEqual([rest, 1]);
  });

  it("does not let a ping's promise end the wait for open's", async () => {
    let leave: () => void = () => undefined;
    const { handle } = await open(
      noting({
        open: async (ws) => {
          for await (const _ of ws) break;
          await new Promise<void>((resolve) => {
            leave = resolve;
          });
          events.push("open ends");
        },
        ping: async () => {
          events.push("ping");
        },
      }),
    );
    ping(handle, "");
    await settled();
    message(handle, "first", "second");
    await settled();
    end(handle, 1000);
    await settled();
    expect(events).toEqual(["ping"]);
    leave();
    await settled();
    expect(events).toEqual(["ping", "open ends", "message second", "close 1000"]);
  });
});

describe("the Response of ctx.upgrade()", () => {
  it("is accepted for its own request only", async () => {
    const { texts, stop } = warnings();
    let saved: Response | undefined;
    const fetch = (_request: Request, ctx: Context): Response => (saved ??= ctx.upgrade());
    await serve({ loops: 0, fetch, websocket: noting() });
    const handle = fake.one(HANDSHAKE);
    for (const request of [HANDSHAKE, {}]) {
      fake.one(request);
      expect((await fake.answer()).status).toBe(500);
    }
    await serve({ loops: 0, fetch, websocket: noting() });
    fake.one(HANDSHAKE);
    expect((await fake.answer()).status).toBe(500);
    await settled();
    stop();
    expect(fake.log).toEqual([`upgrade ${handle} 0`]);
    expect(texts.length).toBe(3);
    expect(texts[0]).toContain("for another request");
  });
});

describe("a socket", () => {
  it("has an id that no socket of another server has", async () => {
    const ids = new Set<string>();
    for (let i = 0; i < 3; i += 1) {
      const server = await start({ message() {} });
      fake.event(EVENT.Opened, 0, 0, [0, 0]);
      connect();
      for (const ws of server.sockets) ids.add(ws.id.replace(/-\w+-\w+$/, ""));
    }
    expect(ids.size).toBe(3);
  });

  it("is among server.sockets while it is open", async () => {
    let ws: Socket | undefined;
    const handler = raw((req) => {
      ws = req.upgrade();
    });
    const { sockets } = await serve({ loops: 0, routes: { "/": handler }, websocket: {} });
    const holds = (): unknown[] => [sockets.size, [...sockets].length, sockets.has(ws as Socket)];
    const handle = fake.one(HANDSHAKE);
    expect(holds()).toEqual([0, 0, false]);
    fake.news([{ kind: EVENT.Opened, handle }]);
    expect(holds()).toEqual([1, 1, true]);
    ws?.close();
    expect(holds()).toEqual([0, 0, false]);
    end(handle, 1000);
    expect(holds()).toEqual([0, 0, false]);
  });

  it("gives a copy of its topics", async () => {
    const { ws } = await open({});
    ws.subscribe("a");
    (ws.topics as Set<string>).add("b");
    expect([...ws.topics]).toEqual(["a"]);
  });

  it.each([
    ["", {}, 1024],
    ["maxTopics", { maxTopics: 2 }, 2],
  ])("subscribes to a bounded number of topics: %s", async (_name, options, most) => {
    const { ws } = await open(options);
    for (let i = 0; i < most; i += 1) ws.subscribe(`${i}`);
    ws.subscribe("0");
    expect(() => ws.subscribe("more")).toThrow(`at most ${most} topics`);
    expect(ws.topics.size).toBe(most);
    ws.unsubscribe("0");
    ws.subscribe("more");
  });

  it("does not keep the text of its batch for what its data has of the request", async () => {
    setFlagsFromString("--expose-gc");
    const collect = runInNewContext("gc") as () => void;
    const kept: Socket[] = [];
    await serve({
      loops: 0,
      routes: {
        "/ws/:room": {
          upgrade: (_request, ctx) => ({ data: ctx.params.room }),
          open: (ws) => void kept.push(ws),
        },
        "/": new Response("x"),
      },
      fetch: () => new Response("x"),
    });
    const target = `/ws/${"r".repeat(40)}`;
    const big = { route: 1, headers: [["x-big", "h".repeat(60_000)]] } as const;
    collect();
    const before = process.memoryUsage().heapUsed;
    for (let i = 0; i < 100; i += 1) {
      const [handle] = fake.batch([{ ...HANDSHAKE, target, params: [[4, 40]] }, big]);
      fake.news([{ kind: EVENT.Opened, handle: handle as number }]);
      fake.answers.length = 0;
    }
    await settled();
    collect();
    const each = (process.memoryUsage().heapUsed - before) / kept.length;
    expect([kept.length, kept[99]?.data]).toEqual([100, "r".repeat(40)]);
    expect(each).toBeLessThan(20_000);
  });
});

describe("many", () => {
  it("looks, when a socket ends, at its own deliveries only", async () => {
    const server = await start({});
    const [a, b] = [connect(), connect()];
    const [first, second] = [...server.sockets] as [Socket, Socket];
    for (let i = 0; i < 100; i += 1) void server.sendMany([first], "x");
    const reports = [server.sendMany([second, first], "y"), server.sendMany([second], "z")];
    const deleting = vi.spyOn(Set.prototype, "delete");
    end(b, 1000);
    const times = deleting.mock.calls.length;
    deleting.mockRestore();
    expect(times).toBeLessThan(20);
    expect((await reports[1])?.failed).toEqual([second]);
    end(a, 1000);
    expect(await reports[0]).toEqual({ delivered: 0, failed: [second, first] });
  });

  it("publishes nothing on a closed server, to other servers of the thread neither", async () => {
    const server = await start({});
    await server.close({ timeout: 0 });
    const { ws } = await open({});
    ws.subscribe("t");
    fake.log.length = 0;
    expect(server.publish("t", "x", { scope: "thread" })).toBe(0);
    expect(fake.log).toEqual([]);
  });

  it("keeps topic spaces apart, natively, in the thread and between hosts", async () => {
    const carried: unknown[] = [];
    let deliver: (message: never) => void = () => undefined;
    const chat = await serve({
      loops: 0,
      topicSpace: "chat",
      routes: { "/": { open: (ws) => ws.subscribe("spaces") } },
      sync: () => ({
        subscribe: (take) => {
          deliver = take;
        },
        publish: (each) => void carried.push(each),
      }),
    });
    expect(fake.options?.topicSpace).toBe("chat");
    const handle = connect();
    fake.log.length = 0;
    const other = await start({});
    expect(fake.options?.topicSpace).toBe("");
    expect(other.publish("spaces", "x", { scope: "thread" })).toBe(0);
    expect(chat.publish("spaces", "y", { scope: "thread" })).toBe(1);
    expect(chat.publish("spaces", "z")).toBe(7);
    expect(carried).toEqual([{ namespace: "chat", topic: "spaces", data: "z" }]);
    deliver({ namespace: "", topic: "spaces", data: "no" } as never);
    deliver({ namespace: "chat", topic: "spaces", data: "yes" } as never);
    // What is no message never gets to the native side.
    deliver({ namespace: "chat", topic: "spaces", data: {} } as never);
    deliver({ namespace: "chat", topic: 7, data: "x" } as never);
    expect(fake.log.filter((each) => each.startsWith("many"))).toEqual([
      `many ${handle} 1 y 0`,
      `many ${handle} 1 yes 0`,
    ]);
    for (const topicSpace of ["", 7, "ä".repeat(513)])
      await expect(serve({ topicSpace: topicSpace as never, routes: {} })).rejects.toThrow(
        "topicSpace must",
      );
  });
});

describe("what the platform lacks", () => {
  it("is told once: a server that would compress without a zlib", async () => {
    const said = warnings();
    const about = (): string[] => said.texts.filter((text) => text.includes("zlib"));
    await start({ perMessageDeflate: true });
    fake.zlib = false;
    await start({});
    await settled();
    expect(about()).toEqual([]);
    await start({ perMessageDeflate: true });
    await start({ perMessageDeflate: { level: 1 } });
    await settled();
    said.stop();
    expect(about()).toEqual([
      expect.stringContaining("perMessageDeflate has no effect: no zlib was found"),
    ]);
  });

  it("closes with 1009 what is too long for a string, and calls nobody", async () => {
    const { handle } = await open(noting());
    events.length = 0;
    fake.textsAreTooLong = true;
    fake.news([{ kind: EVENT.Message, handle, body: "long", asBlob: true }]);
    expect(fake.log).toEqual([`close ${handle} 1009`]);
    expect(events).toEqual([]);
  });
});
