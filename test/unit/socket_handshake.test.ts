// Handshakes without native code: hooks, origins, sub-protocols, upgrade() in handlers, options.
import { constants } from "node:buffer";
import { describe, expect, it } from "vitest";
import { raw, type Socket, serve, type WebSocketHandler } from "../../src/index.ts";
import { EVENT } from "../../src/native/tables.ts";
import { events, fake, HANDSHAKE, noting, settled, start, warnings } from "./sockets.ts";

describe("the handshake", () => {
  it("accepts at once without a hook, with the first sub-protocol that both speak", async () => {
    await start(noting({ protocols: ["chat.v1", "chat.v2"] }));
    const handle = fake.one(HANDSHAKE);
    expect(fake.log).toEqual([`upgrade ${handle} 0 Sec-WebSocket-Protocol: chat.v2`]);
    expect(events).toEqual([]);
    fake.news([{ kind: EVENT.Opened, handle }]);
    expect(events).toEqual(["open"]);
  });

  it("waits for an asynchronous hook and takes data, protocol and headers from it", async () => {
    let ws: Socket | undefined;
    const chat: WebSocketHandler<{ user: string }> = {
      upgrade: async (request) => ({
        data: { user: new URL(request.url).searchParams.get("user") ?? "" },
        protocol: "chat.v1",
        headers: { "X-Served-By": "a" },
      }),
      open: (socket) => {
        ws = socket;
        events.push(socket.data.user);
      },
    };
    await start(chat);
    const handle = fake.one({ ...HANDSHAKE, target: "/?user=ann" });
    expect(fake.log).toEqual([]);
    await settled();
    const lines = "X-Served-By: a\r\nSec-WebSocket-Protocol: chat.v1";
    expect(fake.log).toEqual([`upgrade ${handle} 0 ${lines}`]);
    fake.news([{ kind: EVENT.Opened, handle }]);
    expect(events).toEqual(["ann"]);
    expect([ws?.protocol, ws?.readyState, ws?.remoteAddress]).toEqual([
      "chat.v1",
      1,
      { family: "IPv4", address: "10.0.0.1", port: 40_000 },
    ]);
  });

  it("sends the hook's Response instead", async () => {
    await start({ upgrade: () => new Response("who?", { status: 401 }) });
    fake.one(HANDSHAKE);
    expect(await fake.answer()).toMatchObject({ status: 401, body: "who?" });
    expect(fake.log).toEqual([]);
  });

  it.each([
    [{ upgrade: () => ({ protocol: "chat.v9" }) }, "must be one that the client offered"],
    [{ upgrade: () => 0 }, "must give { data, protocol, headers }, a Response, true, false or"],
    [{ upgrade: () => "chat" }, "must give { data, protocol, headers }, a Response, true, false"],
    [{ upgrade: () => ({ header: {} }) }, 'did you mean "headers"?'],
    [{ upgrade: () => ({ headers: { "Sec-WebSocket-Accept": "x" } }) }, "Sec-WebSocket-Accept"],
    [{ upgrade: () => ({ headers: { Upgrade: "x" } }) }, "Upgrade cannot be set"],
    [{ upgrade: () => ({ headers: { Connection: "close" } }) }, "cannot be set"],
    [{ upgrade: () => Promise.reject(new Error("no")) }, "no"],
  ])("answers 500 when the hook gives nonsense or throws: %#", async (handler, text) => {
    const errors: unknown[] = [];
    await serve({
      loops: 0,
      routes: { "/": handler as unknown as WebSocketHandler },
      error: (error) => void errors.push(error) as undefined,
    });
    fake.one(HANDSHAKE);
    expect((await fake.answer()).status).toBe(500);
    expect((errors[0] as Error).message).toContain(text);
    expect(fake.log).toEqual([]);
  });

  it("answers 403 to an Origin that is not allowed, before the hook is asked", async () => {
    const upgrade = (): undefined => void events.push("asked") as undefined;
    await start({ upgrade, allowedOrigins: ["https://other.example"] });
    fake.one(HANDSHAKE);
    const answer = await fake.answer();
    expect([answer.status, answer.body.split(":")[0]]).toEqual([403, "ERR_MILLRACE_WS_ORIGIN"]);
    expect(events).toEqual([]);
  });

  it.each([
    [["https://APP.example:443"], "https://app.example"],
    [["http://a.example:8080"], "http://a.example:8080"],
    ["*", "https://evil.example"],
    [["null"], "null"],
    [["https://app.example"], undefined],
  ])("with allowedOrigins %j lets %s in", async (allowedOrigins, origin) => {
    await start({ allowedOrigins } as WebSocketHandler);
    const headers = [["host", "a"], ...(origin === undefined ? [] : [["origin", origin]])];
    fake.one({ ...HANDSHAKE, headers: headers as [string, string][] });
    expect(fake.log.length).toBe(1);
  });

  it("does not mistake another port, scheme or a longer name for an allowed Origin", async () => {
    await start({ allowedOrigins: ["https://app.example"] });
    for (const origin of [
      "https://app.example:444",
      "http://app.example",
      "https://app.example.evil",
      "https://xapp.example",
      "null",
    ]) {
      fake.one({ ...HANDSHAKE, headers: [["origin", origin]] });
      expect((await fake.answer()).status, origin).toBe(403);
    }
  });

  it("says nothing to handlers when the client left before", async () => {
    await start(noting());
    const handle = fake.one(HANDSHAKE);
    fake.event(EVENT.Aborted, handle, handle + 100, [0, 0]);
    await settled();
    expect(events).toEqual([]);
  });

  it("does not upgrade when the client left while the hook ran", async () => {
    let decide: () => void = () => undefined;
    const decided = new Promise<void>((resolve) => {
      decide = resolve;
    });
    await start(noting({ upgrade: () => decided }));
    const handle = fake.one(HANDSHAKE);
    fake.event(EVENT.Aborted, handle, handle + 100, [0, 0]);
    decide();
    await settled();
    expect([fake.log, fake.answers, events]).toEqual([[], [], []]);
  });
});

describe("upgrade() in handlers", () => {
  it("of a fetch handler is done by returning its Response", async () => {
    await serve({
      loops: 0,
      fetch: (_request, ctx) => ctx.upgrade({ data: 7, headers: { "X-A": "b" } }),
      websocket: noting({ open: (ws) => void events.push(`open ${ws.data}`) }),
    });
    const handle = fake.one(HANDSHAKE);
    expect(fake.log).toEqual([`upgrade ${handle} 0 X-A: b`]);
    fake.news([{ kind: EVENT.Opened, handle }]);
    expect(events).toEqual(["open 7"]);
    expect(fake.answers).toEqual([]);
  });

  it("of a fetch handler does nothing when another Response is returned", async () => {
    const fetch = (_request: Request, ctx: { upgrade: () => Response }): Response => {
      expect(ctx.upgrade().status).toBe(101);
      return new Response("no");
    };
    await serve({ loops: 0, fetch, websocket: {} });
    fake.one(HANDSHAKE);
    expect(await fake.answer()).toMatchObject({ status: 200, body: "no" });
    expect(fake.log).toEqual([]);
  });

  it("of a raw handler gives the socket at once; what it sends goes behind the 101", async () => {
    const { texts, stop } = warnings();
    let ws: Socket | undefined;
    const handler = raw((req) => {
      ws = req.upgrade({ data: "mine" });
      ws.send("hello");
    });
    await serve({ loops: 0, routes: { "/": handler }, websocket: noting() });
    const handle = fake.one(HANDSHAKE);
    expect(fake.log).toEqual([`upgrade ${handle} 0`, `send ${handle} 1 hello`]);
    expect([ws?.readyState, ws?.data]).toEqual([0, "mine"]);
    fake.news([{ kind: EVENT.Opened, handle }]);
    await expect(ws?.opened).resolves.toBeUndefined();
    expect([ws?.readyState, events]).toEqual([1, ["open"]]);
    await settled();
    stop();
    expect(texts).toEqual([]);
    expect(fake.answers).toEqual([]);
  });

  it("of a raw handler rejects `opened` when the client left before, calling nobody", async () => {
    let ws: Socket | undefined;
    const handler = raw((req) => {
      ws = req.upgrade();
    });
    await serve({ loops: 0, routes: { "/": handler }, websocket: noting() });
    const handle = fake.one(HANDSHAKE);
    const before = ws?.opened;
    fake.event(EVENT.Aborted, handle, handle + 100, [0, 0]);
    await expect(before).rejects.toMatchObject({ code: "ERR_MILLRACE_ABORTED" });
    fake.accepts = false; // Gone natively, and we do not know yet.
    fake.one(HANDSHAKE);
    await expect(ws?.opened).rejects.toMatchObject({ code: "ERR_MILLRACE_ABORTED" });
    expect([ws?.readyState, ws?.send("x"), events]).toEqual([3, 0, []]);
  });

  it("throws a coded error where there is no handshake, answered with 400", async () => {
    await serve({ loops: 0, fetch: (_request, ctx) => ctx.upgrade(), websocket: {} });
    fake.one({});
    expect(await fake.answer()).toMatchObject({
      status: 400,
      body: expect.stringContaining("ERR_MILLRACE_WS_HANDSHAKE"),
    });
  });

  it("names the option that is missing", async () => {
    let caught: unknown;
    const handler = raw((req, res) => {
      try {
        req.upgrade();
      } catch (error) {
        caught = error;
      }
      res.end();
    });
    await serve({ loops: 0, routes: { "/": handler } });
    fake.one(HANDSHAKE);
    expect((caught as Error).message).toContain("needs the option websocket of serve()");
  });
});

describe("options", () => {
  it("shares native settings among handlers that have equal ones", async () => {
    await serve({
      loops: 0,
      routes: {
        "/a": { message() {} },
        "/b": { open() {}, idleTimeout: 120_000 },
        "/c": { message() {}, perMessageDeflate: { level: 1 } },
      },
      websocket: { close() {} },
    });
    expect(fake.options?.sockets?.length).toBe(2);
    expect(fake.options?.routes.map((row) => [row.pattern, row.method, row.socket])).toEqual([
      ["/a", "GET", 0],
      ["/b", "GET", 0],
      ["/c", "GET", 1],
    ]);
    expect(fake.options?.sockets).toEqual([
      {
        payloadMax: 1_048_576,
        textMax: constants.MAX_STRING_LENGTH,
        backlogMax: 16_777_216,
        overflow: 0,
        pings: true,
        automaticPong: true,
        idleTimeout: 120_000,
        closeTimeout: 10_000,
        messageTimeout: 120_000,
        deflate: null,
      },
      expect.objectContaining({
        deflate: {
          level: 1,
          contextTakeover: false,
          peerContextTakeover: false,
          windowBits: 15,
          peerWindowBits: 15,
          threshold: 1024,
        },
      }),
    ]);
  });

  it.each([
    [{ mesage() {} }, 'routes["/"] has no option "mesage"; did you mean "message"?'],
    [{ message: 1 }, 'routes["/"].message must be a function'],
    [{ open() {}, maxPayloadLength: -1 }, 'routes["/"].maxPayloadLength must be an integer'],
    [{ open() {}, backpressureLimit: 1023 }, "from 1024 to 1073741824 (bytes)"],
    [{ open() {}, maxQueue: 0 }, "maxQueue must be an integer from 1 to 65536"],
    [{ open() {}, idleTimeout: 0.5 }, "idleTimeout must be an integer"],
    [{ open() {}, onBackpressure: "wait" }, '"close", "drop", "buffer"'],
    [{ open() {}, perMessageDeflate: { level: 10 } }, "perMessageDeflate.level must be"],
    [{ open() {}, perMessageDeflate: { lvl: 1 } }, 'perMessageDeflate has no option "lvl"'],
    [{ open() {}, protocols: ["a b"] }, "protocols must be an array of tokens"],
    [{ open() {}, allowedOrigins: ["app.example"] }, 'has entries like "https://app.example"'],
    [{ open() {}, allowedOrigins: ["https://a.example/"] }, "has entries like"],
    [{ open() {}, allowedOrigins: ["same-site"] }, 'and "same-origin", got "same-site"'],
    [{ open() {}, allowedOrigins: "same-site" }, 'must be an array, "*" or "same-origin"'],
    [{ open() {}, sendPings: 1 }, "sendPings must be true or false"],
    [{ open() {}, GET: () => new Response() }, 'has no option "open"'],
  ])("names what is wrong with %o", async (handler, text) => {
    const promise = start(handler as unknown as WebSocketHandler);
    await expect(promise).rejects.toMatchObject({ code: "ERR_MILLRACE_INVALID_OPTION" });
    await expect(promise).rejects.toThrow(text);
  });
});
