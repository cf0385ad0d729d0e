// WebSockets without native code: what send() says by policy, and one to many.
import { describe, expect, it } from "vitest";
import { type Socket, serve } from "../../src/index.ts";
import { EVENT } from "../../src/native/tables.ts";
import { connect, end, events, fake, LOST, noting, open, start } from "./sockets.ts";

describe("send()", () => {
  it("gives the bytes of what was sent, also of an empty message", async () => {
    const { ws, handle } = await open({});
    expect([ws.send("héllo"), ws.send(""), ws.send(new Uint8Array(3))]).toEqual([6, 1, 3]);
    expect(ws.send(new ArrayBuffer(2))).toBe(2);
    expect(ws.cork(() => ws.send("x", { compress: false }))).toBe(1);
    expect(fake.log[0]).toBe(`send ${handle} 1 héllo`);
    expect(() => ws.send({} as never)).toThrow("a body must be a string");
    expect(() => ws.send(undefined as never)).toThrow("a body must be a string");
  });

  it("refuses what other servers take behind the message, whatever the state", async () => {
    const { ws, handle } = await open({});
    const wrong = [() => undefined, true, null, "x", [], { binary: true }, { compress: 1 }];
    const refused = expect.objectContaining({ code: "ERR_MILLRACE_INVALID_OPTION" });
    for (const options of wrong) {
      for (const data of ["text", new Uint8Array(1)])
        expect(() => ws.send(data, options as never), String(options)).toThrow(refused);
    }
    expect(fake.log).toEqual([]);
    expect([ws.send("a", {}), ws.send("b", { compress: true })]).toEqual([1, 1]);
    end(handle, 1000);
    expect(() => ws.send("q", true as never)).toThrow(refused);
  });

  it("asks for compression where it is on, unless told otherwise", async () => {
    const { ws, handle } = await open({ perMessageDeflate: true });
    ws.send("a");
    ws.send("b", { compress: false });
    ws.send(new Uint8Array([0x63]));
    expect(fake.log).toEqual([`send ${handle} 1z a`, `send ${handle} 1 b`, `send ${handle} 2z c`]);
  });

  it("says -1 above the high mark, and drain comes when there is room", async () => {
    const { ws, handle } = await open({
      backpressureLimit: 4096,
      drain: () => void events.push("drain"),
    });
    fake.keeps = true;
    expect(ws.send("x".repeat(2048))).toBe(2048);
    expect(ws.send("x")).toBe(-1);
    expect(ws.send("x")).toBe(-1);
    expect(fake.log.filter((each) => each.startsWith("report"))).toEqual([
      `report ${handle} 1024 1`,
    ]);
    fake.waiting.set(handle, 2049); // more was sent since
    fake.news([{ kind: EVENT.Sent, handle, head: [1, 0] }]);
    expect(events).toEqual([]);
    expect(fake.log.filter((each) => each.startsWith("report")).length).toBe(2);
    fake.waiting.set(handle, 1024);
    fake.news([{ kind: EVENT.Sent, handle, head: [1, 0] }]);
    fake.news([{ kind: EVENT.Sent, handle, head: [1, 0] }]);
    expect(events).toEqual(["drain"]);
  });

  it("never has a high mark above 128 KiB", async () => {
    const { ws, handle } = await open({ backpressureLimit: 2 ** 30 });
    fake.waiting.set(handle, 131_071);
    expect(ws.send("x")).toBe(1);
    fake.waiting.set(handle, 131_072);
    expect(ws.send("x")).toBe(-1);
  });

  it("closes with 1013 beyond the limit, and tells why", async () => {
    const { ws, handle } = await open(noting({ backpressureLimit: 1024 }));
    fake.waiting.set(handle, 1024);
    expect(ws.send("x")).toBe(-1);
    fake.waiting.set(handle, 1025);
    expect([ws.send("y"), ws.send("z"), ws.readyState]).toEqual([0, 0, 2]);
    expect(fake.log).toEqual([`send ${handle} 1 x`, `close ${handle} 1013`]);
    end(handle, 1006, LOST);
    expect(events).toEqual(["open", "error ERR_MILLRACE_WS_BACKLOG", "close 1013"]);
  });

  it("drops beyond the limit where that was asked for, and drain comes all the same", async () => {
    const drop = { onBackpressure: "drop", backpressureLimit: 1024 } as const;
    const { ws, handle } = await open({ ...drop, drain: () => void events.push("drain") });
    fake.waiting.set(handle, 1025);
    expect([ws.send("x"), ws.readyState]).toEqual([0, 1]);
    expect(fake.log).toEqual([`report ${handle} 256 1`]);
    fake.waiting.set(handle, 0);
    fake.news([{ kind: EVENT.Sent, handle, head: [1, 0] }]);
    expect([events, ws.send("y")]).toEqual([["drain"], 1]);
  });

  it("buffers up to 16 times the limit where that was asked for, then closes", async () => {
    const { ws, handle } = await open({ onBackpressure: "buffer", backpressureLimit: 1024 });
    fake.waiting.set(handle, 16_384);
    expect(ws.send("x")).toBe(-1);
    fake.waiting.set(handle, 16_385);
    expect([ws.send("x"), ws.readyState]).toEqual([0, 2]);
  });

  it("drained() resolves at once or with room, rejects at the end, and asks once", async () => {
    const { ws, handle } = await open(noting({ backpressureLimit: 4096 }));
    await ws.drained();
    expect(fake.log).toEqual([]);
    fake.waiting.set(handle, 1025);
    const both = Promise.all([ws.drained(), ws.drained()]);
    expect(fake.log).toEqual([`report ${handle} 1024 1`]);
    fake.waiting.set(handle, 1024);
    fake.news([{ kind: EVENT.Sent, handle, head: [1, 0] }]);
    await both;
    fake.waiting.set(handle, 1025);
    const last = ws.drained();
    end(handle, 1000);
    await expect(last).rejects.toMatchObject({ code: "ERR_MILLRACE_WS_CLOSED" });
    await expect(ws.drained()).rejects.toMatchObject({ code: "ERR_MILLRACE_WS_CLOSED" });
  });

  it("has pings and pongs of at most 125 bytes", async () => {
    const { ws, handle } = await open({});
    expect([ws.ping(), ws.ping("ä"), ws.pong(new Uint8Array([1]))]).toEqual([1, 2, 1]);
    expect(fake.log[1]).toBe(`send ${handle} 9 ä`);
    expect(ws.ping("x".repeat(125))).toBe(125);
    expect(() => ws.ping("x".repeat(126))).toThrow("ping() takes at most 125 bytes, got 126");
  });
});

describe("close()", () => {
  it.each([
    [1000, ""],
    [1003, ""],
    [1007, "ä"],
    [1014, "x".repeat(123)],
    [3000, ""],
    [4999, ""],
  ])("takes %i", async (code, reason) => {
    const { ws, handle } = await open({});
    ws.close(code, reason);
    ws.close();
    expect(fake.log).toEqual([`close ${handle} ${code} ${reason}`.trim()]);
    expect([ws.readyState, ws.send("x"), ws.ping()]).toEqual([2, 0, 0]);
  });

  it.each([
    [999, ""],
    [1004, ""],
    [1005, ""],
    [1006, ""],
    [1015, ""],
    [2999, ""],
    [5000, ""],
    ["1000", ""],
    [1000, "x".repeat(124)],
    [1000, "ä".repeat(62)],
    [1000, 7],
  ])("refuses %s with %#", async (code, reason) => {
    const { ws } = await open({});
    expect(() => ws.close(code as number, reason as string)).toThrow("close() takes");
    expect([fake.log, ws.readyState]).toEqual([[], 1]);
  });
});

describe("one to many", () => {
  it("sends once to each and tells who failed", async () => {
    const server = await start({});
    const handles = [connect(), connect(), connect(), connect()];
    const [a, b, c, d] = [...server.sockets] as [Socket, Socket, Socket, Socket];
    end(handles[3] as number, 1000);
    fake.log.length = 0;
    const report = server.sendMany([a, b, a, c, d, d], "all");
    const many = `many ${handles.slice(0, 3).join(",")} 1 all 2`;
    expect(fake.log).toEqual([many]);
    fake.news([{ kind: EVENT.Sent, handle: handles[0] as number, head: [2, 0] }]);
    fake.news([{ kind: EVENT.Sent, handle: handles[0] as number, head: [2, 0] }]);
    end(handles[1] as number, 1006, LOST);
    fake.news([{ kind: EVENT.Sent, handle: handles[2] as number, head: [2, 0] }]);
    expect(await report).toEqual({ delivered: 2, failed: [d, b] });
  });

  it("cuts those that do not take it in time", async () => {
    const server = await start({});
    const handle = connect();
    fake.log.length = 0;
    const sockets = [...server.sockets];
    expect(await server.sendMany(sockets, new Uint8Array([65]), { timeout: 1 })).toEqual({
      delivered: 0,
      failed: sockets,
    });
    expect(fake.log).toEqual([`many ${handle} 2 65 2`, `expire ${handle}`]);
    expect(await server.sendMany([], "x")).toEqual({ delivered: 0, failed: [] });
  });

  it("refuses what is no socket of this server", async () => {
    const server = await start({});
    connect();
    const other = await start({});
    connect();
    const code = "ERR_MILLRACE_INVALID_OPTION";
    await expect(server.sendMany([{} as Socket], "x")).rejects.toMatchObject({ code });
    await expect(server.sendMany(other.sockets, "x")).rejects.toMatchObject({ code });
    const [theirs] = other.sockets;
    expect(() => server.publish("t", "x", { except: theirs as Socket })).toThrow("another's");
  });

  it("subscribes once per topic, and unsubscribes at the end", async () => {
    const { ws, handle } = await open({});
    ws.subscribe("news");
    ws.subscribe("news");
    ws.subscribe("sport");
    expect([...ws.topics]).toEqual(["news", "sport"]);
    ws.unsubscribe("news");
    ws.unsubscribe("news");
    end(handle, 1000);
    ws.subscribe("late");
    expect(fake.log).toEqual([
      `subscribe ${handle} news`,
      `subscribe ${handle} sport`,
      `unsubscribe ${handle} news`,
      `unsubscribe ${handle} sport`,
    ]);
    expect([...ws.topics]).toEqual([]);
    expect(() => ws.subscribe("")).toThrow("topic must be a string of 1 to 1024 bytes");
    expect(() => ws.subscribe("ä".repeat(513))).toThrow("topic must be");
  });

  it("publishes natively, a socket's own without itself", async () => {
    const server = await start({});
    const handle = connect();
    const [ws] = [...server.sockets] as [Socket];
    fake.log.length = 0;
    expect(server.publish("news", "x")).toBe(7);
    expect(server.publish("news", "y", { except: ws })).toBe(7);
    ws.subscribe("news");
    expect(ws.publish("news", "z")).toBe(6);
    expect(fake.log).toEqual([
      "publish 1 news 1 x -1 0",
      `publish 1 news 1 y ${handle} ${handle + 100}`,
      `subscribe ${handle} news`,
      `publish 1 news 1 z ${handle} ${handle + 100}`,
    ]);
    expect(server.subscriberCount("news")).toBe(7);
    expect(() => server.publish("news", "x", { scope: "world" as never })).toThrow(
      "publish() scope",
    );
  });

  it("publishes to this thread only when told so", async () => {
    const server = await start({});
    const [a, b, c] = [connect(), connect(), connect()];
    const [first, second] = [...server.sockets] as [Socket, Socket];
    first.subscribe("t");
    fake.log.length = 0;
    expect(server.publish("t", "x", { scope: "thread" })).toBe(1);
    second.subscribe("t");
    expect(first.publish("t", "y", { scope: "thread" })).toBe(1);
    first.unsubscribe("t");
    end(b, 1000);
    expect(server.publish("t", "z", { scope: "thread" })).toBe(0);
    expect(fake.log.filter((each) => each.startsWith("many"))).toEqual([
      `many ${a} 1 x 0`,
      `many ${b} 1 y 0`,
    ]);
    expect(c).toBeGreaterThan(b);
  });

  it("hands publications to the sync driver, and takes others' to its own sockets", async () => {
    const carried: unknown[] = [];
    let deliver: (message: { namespace: string; topic: string; data: string }) => void = () => {};
    const server = await serve({
      loops: 0,
      routes: { "/": { open: (ws) => ws.subscribe("t") } },
      sync: () => ({
        subscribe: (take) => {
          deliver = take;
        },
        publish: (each) => void carried.push(each),
      }),
    });
    const handle = connect();
    fake.log.length = 0;
    server.publish("t", "x");
    server.publish("t", "y", { scope: "process" });
    expect(carried).toEqual([{ namespace: "", topic: "t", data: "x" }]);
    deliver({ namespace: "", topic: "t", data: "theirs" });
    expect(fake.log.at(-1)).toBe(`many ${handle} 1 theirs 0`);
    expect(carried.length).toBe(1);
    await server.close();
  });

  it("has a live set of its sockets that cannot be changed", async () => {
    const server = await start({});
    const { sockets } = server;
    const handle = connect();
    const [ws] = [...sockets] as [Socket];
    expect([sockets.size, sockets.has(ws), [...sockets.entries()]]).toEqual([1, true, [[ws, ws]]]);
    expect("add" in sockets).toBe(false);
    const second = connect();
    const ids = [...sockets].map((each) => each.id);
    expect(new Set(ids).size).toBe(2);
    end(handle, 1000);
    expect([sockets.size, sockets.has(ws)]).toEqual([1, false]);
    end(second, 1000);
  });
});
