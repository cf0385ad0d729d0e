// WebSockets without native code: order, bounds, errors, and that close comes once.
import { AsyncLocalStorage } from "node:async_hooks";
import { describe, expect, it } from "vitest";
import { EVENT } from "../../src/native/tables.ts";
import {
  connect,
  end,
  events,
  fake,
  LOST,
  message,
  noting,
  open,
  settled,
  start,
  warnings,
} from "./sockets.ts";

describe("order", () => {
  it("awaits open before the first message, and each message before the next", async () => {
    const gates: (() => void)[] = [];
    const wait = (): Promise<void> => new Promise((resolve) => gates.push(resolve));
    const { handle } = await open({
      open: async () => {
        events.push("open");
        await wait();
        events.push("opened");
      },
      message: async (_ws, data) => {
        events.push(`begin ${data}`);
        if (data !== "b") await wait();
        events.push(`end ${data}`);
      },
      close: () => void events.push("close"),
    });
    message(handle, "a", "b");
    message(handle, "c");
    end(handle, 1000);
    await settled();
    expect(events).toEqual(["open"]);
    gates.shift()?.();
    await settled();
    expect(events).toEqual(["open", "opened", "begin a"]);
    gates.shift()?.();
    await settled();
    expect(events.slice(3)).toEqual(["end a", "begin b", "end b", "begin c"]);
    gates.shift()?.();
    await settled();
    expect(events.slice(7)).toEqual(["end c", "close"]);
  });

  it("calls a synchronous handler within the batch, also with several sockets", async () => {
    await start(noting({ message: (ws, data) => void events.push(`${ws.data} ${data}`) }));
    const [a, b] = [connect(), connect()];
    events.length = 0;
    fake.news([
      { kind: EVENT.Message, handle: a, body: "1" },
      { kind: EVENT.Message, handle: b, body: "2" },
      { kind: EVENT.Message, handle: a, body: "3" },
    ]);
    expect(events).toEqual(["undefined 1", "undefined 2", "undefined 3"]);
  });

  it("hands text over as strings and bytes as plain arrays of their own", async () => {
    const seen: (string | Uint8Array)[] = [];
    const { handle } = await open({ message: (_ws, data) => void seen.push(data) });
    const bytes = new Uint8Array([0, 255, 7]);
    message(handle, "ascii", "äöü€😀", "", bytes, new Uint8Array(0));
    fake.news([
      { kind: EVENT.Message, handle, body: "ä".repeat(9), asBlob: true },
      { kind: EVENT.Message, handle, body: bytes, asBlob: true },
    ]);
    expect(seen).toEqual(["ascii", "äöü€😀", "", bytes, new Uint8Array(0), "ä".repeat(9), bytes]);
    for (const each of seen)
      if (typeof each !== "string") expect(Buffer.isBuffer(each)).toBe(false);
  });

  it("runs each handler in the async context of the handshake", async () => {
    const store = new AsyncLocalStorage<string>();
    await start({
      upgrade: () => void store.enterWith("mine") as undefined,
      message: () => void events.push(`${store.getStore()}`),
    });
    const handle = connect();
    store.run("another's", () => message(handle, "x"));
    expect(events).toEqual(["mine"]);
  });

  it("gives pings and pongs their place in the order", async () => {
    const { handle } = await open({
      message: async (_ws, data) => {
        await settled();
        events.push(`message ${data}`);
      },
      ping: (_ws, data) => void events.push(`ping ${Buffer.from(data)}`),
      pong: (_ws, data) => void events.push(`pong ${Buffer.from(data)}`),
    });
    fake.news([
      { kind: EVENT.Message, handle, body: "1" },
      { kind: EVENT.Ping, handle, body: "p" },
      { kind: EVENT.Message, handle, body: "2" },
      { kind: EVENT.Pong, handle, body: "" },
    ]);
    for (let i = 0; i < 5; i += 1) await settled();
    expect(events).toEqual(["message 1", "ping p", "message 2", "pong "]);
  });

  it("stops reading when the queue is full and goes on at half of it", async () => {
    const gates: (() => void)[] = [];
    const { handle } = await open({
      maxQueue: 4,
      message: (_ws, data) => {
        events.push(`${data}`);
        return new Promise((resolve) => gates.push(resolve));
      },
    });
    message(handle, "0", "1", "2", "3");
    expect(fake.log).toEqual([]);
    message(handle, "4");
    expect(fake.log).toEqual([`hold ${handle} true`]);
    message(handle, "5"); // was on its way
    for (let i = 0; i < 3; i += 1) {
      expect(fake.log).toEqual([`hold ${handle} true`]);
      gates.shift()?.();
      await settled();
    }
    expect(fake.log).toEqual([`hold ${handle} true`, `hold ${handle} false`]);
    while (gates.length > 0) {
      gates.shift()?.();
      await settled();
    }
    expect(events).toEqual(["0", "1", "2", "3", "4", "5"]);
  });

  it("stops reading when what waits is large", async () => {
    const { handle } = await open({ message: () => new Promise(() => undefined) });
    message(handle, "x", "y".repeat(100_000));
    message(handle, "y".repeat(100_000));
    expect(fake.log).toEqual([]);
    message(handle, "y".repeat(62_144));
    expect(fake.log).toEqual([`hold ${handle} true`]);
  });

  it("keeps what comes while paused, and delivers it after resume()", async () => {
    const { ws, handle } = await open(noting());
    events.length = 0;
    ws.pause();
    ws.pause();
    message(handle, "a", "b");
    expect([events, fake.log]).toEqual([[], [`hold ${handle} true`]]);
    ws.resume();
    ws.resume();
    expect(events).toEqual(["message a", "message b"]);
    expect(fake.log).toEqual([`hold ${handle} true`, `hold ${handle} false`]);
  });

  it("stays within its handler when that resumes", async () => {
    const { ws, handle } = await open({
      message: (socket, data) => {
        events.push(`begin ${data}`);
        socket.pause();
        socket.resume();
        events.push(`end ${data}`);
      },
    });
    ws.pause();
    message(handle, "a", "b");
    ws.resume();
    expect(events).toEqual(["begin a", "end a", "begin b", "end b"]);
  });
});

describe("the end", () => {
  it("is error, then close with code and reason, once and last", async () => {
    const { ws, handle } = await open(noting());
    fake.news([{ kind: EVENT.Ending, handle, status: 4321, body: "wär's" }]);
    expect(ws.readyState).toBe(2);
    end(handle, 4321);
    end(handle, 1000);
    message(handle, "late");
    expect(events).toEqual(["open", "close 4321 wär's"]);
    expect([ws.readyState, ws.send("x"), ws.bufferedAmount]).toEqual([3, 0, 0]);
  });

  it("tells of a lost connection", async () => {
    const { handle } = await open(noting());
    end(handle, 1006, LOST);
    expect(events).toEqual(["open", "error ERR_MILLRACE_WS_LOST", "close 1006"]);
  });

  it("comes after messages that wait, also while paused", async () => {
    const { ws, handle } = await open(noting());
    ws.pause();
    message(handle, "a");
    end(handle, 1000);
    expect(events).toEqual(["open", "message a", "close 1000"]);
  });

  it("of terminate() is no error, and nothing that waits is delivered", async () => {
    const { ws, handle } = await open(noting());
    ws.pause();
    message(handle, "a");
    ws.terminate();
    ws.terminate();
    message(handle, "b");
    expect(fake.log).toEqual([`hold ${handle} true`]);
    expect(fake.cuts).toEqual([handle]);
    end(handle, 1006, LOST);
    expect(events).toEqual(["open", "close 1006"]);
  });

  it("does not touch another socket that has the handle by then", async () => {
    const { ws, handle } = await open(noting());
    end(handle, 1000);
    events.length = 0;
    fake.news([
      { kind: EVENT.Message, handle, generation: 7, body: "other's" },
      { kind: EVENT.Ended, handle, generation: 7, status: 1000 },
    ]);
    expect([events, ws.send("x")]).toEqual([[], 0]);
    expect(fake.log).toEqual([]);
  });

  it("and messages of an earlier socket with the handle do not reach the present one", async () => {
    const { handle } = await open(noting());
    fake.news([
      { kind: EVENT.Message, handle, generation: 7, body: "other's" },
      { kind: EVENT.Message, handle, generation: 7, body: "other's", asBlob: true },
      { kind: EVENT.Ended, handle, generation: 7, status: 1000 },
    ]);
    expect(events).toEqual(["open"]);
  });

  it("comes once, also when somebody who iterates leaves later", async () => {
    const { ws, handle } = await open(noting());
    const iterator = ws[Symbol.asyncIterator]();
    message(handle, "a", "b");
    end(handle, 1000);
    expect(events).toEqual(["open", "close 1000"]);
    expect((await iterator.next()).value).toBe("a");
    await iterator.return?.();
    ws.resume();
    expect(events).toEqual(["open", "close 1000"]);
  });

  it("keeps server.closed waiting for a close handler", async () => {
    let done: () => void = () => undefined;
    const server = await start({
      close: async () => {
        await new Promise<void>((resolve) => {
          done = resolve;
        });
        events.push("closed");
      },
    });
    const handle = connect();
    const closing = server.close().then(() => events.push("server closed"));
    end(handle, 1001);
    for (let i = 0; i < 5; i += 1) await settled();
    expect(events).toEqual([]);
    done();
    await closing;
    expect(events).toEqual(["closed", "server closed"]);
  });

  it("is told to sockets that the server's release cuts off", async () => {
    const server = await start(noting());
    connect();
    await server.close({ timeout: 0 });
    expect(events).toEqual(["open", "error ERR_MILLRACE_WS_LOST", "close 1006"]);
    expect(server.sockets.size).toBe(0);
    expect(server.publish("t", "x")).toBe(0);
  });
});

describe("handlers that throw", () => {
  it("are told to error, and the socket goes on", async () => {
    const seen: unknown[] = [];
    const { handle } = await open({
      message: (_ws, data) => {
        if (data === "bad") throw new TypeError("no");
        if (data === "odd") throw "text";
        if (data === "late") return Promise.reject(new RangeError("later"));
        events.push(`${data}`);
        return undefined;
      },
      error: (_ws, error) => void seen.push(error),
    });
    message(handle, "bad", "odd", "late", "good");
    await settled();
    expect(events).toEqual(["good"]);
    expect(seen[0]).toBeInstanceOf(TypeError);
    expect(seen[1]).toMatchObject({ code: "ERR_MILLRACE_HANDLER_FAILED", cause: "text" });
    expect(seen[2]).toBeInstanceOf(RangeError);
  });

  it("become warnings without an error handler, or when that throws too", async () => {
    const { texts, stop } = warnings();
    const { handle } = await open({
      message: () => {
        throw new Error("one");
      },
    });
    message(handle, "x");
    await settled();
    const second = await open({
      message: () => {
        throw new Error("two");
      },
      error: () => {
        throw new Error("three");
      },
      close: () => Promise.reject(new Error("four")),
    });
    message(second.handle, "x");
    await settled();
    stop();
    expect(texts.map((text) => text.split(";")[0])).toEqual([
      "the WebSocket /: message() threw",
      "the WebSocket /: error() threw",
    ]);
  });
});

describe("iterating", () => {
  it("takes the messages within open, and ends with the socket", async () => {
    const { handle } = await open({
      open: async (ws) => {
        for await (const data of ws) events.push(`got ${data}`);
        events.push("left");
      },
      message: () => void events.push("message"),
      close: () => void events.push("close"),
    });
    message(handle, "a", "b");
    await settled();
    message(handle, "c");
    end(handle, 1000);
    await settled();
    expect(events).toEqual(["got a", "got b", "got c", "left", "close"]);
    const idle = connect();
    await settled();
    end(idle, 1000);
    await settled();
    expect(events.slice(5)).toEqual(["left", "close"]);
  });

  it("is bounded, and gives the rest back to the handler when it is left", async () => {
    const { ws, handle } = await open(noting({ maxQueue: 4 }));
    const iterator = ws[Symbol.asyncIterator]();
    message(handle, "a", "b", "c");
    expect(fake.log).toEqual([]);
    message(handle, "d");
    expect(fake.log).toEqual([`hold ${handle} true`]);
    expect((await iterator.next()).value).toBe("a");
    expect(fake.log.length).toBe(1);
    expect((await iterator.next()).value).toBe("b");
    expect(fake.log).toEqual([`hold ${handle} true`, `hold ${handle} false`]);
    await iterator.return?.();
    expect(events).toEqual(["open", "message c", "message d"]);
    expect(await iterator.next()).toEqual({ done: true, value: undefined });
  });
});
