// WebSockets of a server, seen from clients: handshakes and messages. The rows of the seeds' tables
// (W1 to W24) are named where a test stands for one.
import { deflateRawSync } from "node:zlib";
import { expect, it } from "vitest";
import { raw, type Socket, type WebSocketHandler } from "../src/index.ts";
import {
  CLOSE,
  closeFrame,
  FrameClient,
  frame,
  frames,
  handshakeLines,
  PING,
  PONG,
  TEXT,
} from "./support/frames.ts";
import { type Host, onEachHost } from "./support/hosts.ts";
import { echo, noting, Peer, peer, told } from "./support/peers.ts";
import { gate, until } from "./support/until.ts";
import { wire } from "./support/wire.ts";

onEachHost((host) => {
  handshakes(host);
  messages(host);
});

function handshakes({ start }: Host): void {
  it("W1 shares its port with HTTP and echoes text and bytes", async () => {
    const server = await start({ routes: { "/": new Response("page"), "/ws": echo } });
    const client = await peer(server, "/ws");
    client.ws.send("hällo");
    client.ws.send(Buffer.from([0, 1, 255]));
    expect(await client.got(2)).toEqual(["hällo", Buffer.from([0, 1, 255])]);
    expect(await (await fetch(`${server.url}/`)).text()).toBe("page");
    expect(server.metrics.webSockets).toBe(1);
    client.ws.close();
    await client.over();
    await until("the gauge is zero", () => server.metrics.webSockets === 0);
  });

  it("W2 answers 426 to what is no handshake and 400 to a bad one, asking nobody", async () => {
    const asked: string[] = [];
    const server = await start({
      routes: { "/": { upgrade: () => void asked.push("asked") as undefined } },
    });
    const plain = await (await wire(server)).get("/").response();
    expect(plain.status).toBe(426);
    expect(plain.headers.get("upgrade")?.toLowerCase()).toBe("websocket");
    const version = handshakeLines("/").replace("Version: 13", "Version: 8");
    const old = await (await wire(server)).send(`${version}\r\n`).response();
    expect([old.status, old.headers.get("sec-websocket-version")]).toEqual([426, "13"]);
    const noKey = handshakeLines("/").replace(/Sec-WebSocket-Key: .*\r\n/, "");
    expect((await (await wire(server)).send(`${noKey}\r\n`).response()).status).toBe(400);
    expect(asked).toEqual([]);
  });

  it("W2 lets an asynchronous hook refuse, or accept with data, protocol and headers", async () => {
    const users: WebSocketHandler<{ user: string }> = {
      upgrade: async (request, ctx) => {
        await null;
        const user = new URL(request.url).searchParams.get("user");
        if (user === null) return new Response("who?", { status: 401 });
        expect(ctx.request).toBe(request);
        return { data: { user }, protocol: "b", headers: { "X-Seen": "yes" } };
      },
      message: (ws) => void ws.send(`${ws.data.user} ${ws.protocol}`),
    };
    const server = await start({ routes: { "/": users } });
    const nobody = new Peer(server);
    await until("it is refused", () => nobody.refused !== undefined);
    expect(nobody.refused).toBe(401);
    const client = new Peer(server, "/?user=ann", ["a", "b"]);
    let seen: unknown;
    client.ws.on("upgrade", (response) => {
      seen = response.headers["x-seen"];
    });
    await client.opened();
    client.ws.send("?");
    expect(await client.got(1)).toEqual(["ann b"]);
    expect([client.ws.protocol, seen]).toEqual(["b", "yes"]);
  });

  it("W2 answers 403 to browsers of other origins, and 500 when the hook fails", async () => {
    const server = await start({
      routes: {
        "/": { ...echo, allowedOrigins: ["https://app.example"] },
        "/bad": { upgrade: () => ({ protocol: "never offered" }) },
      },
      error: () => undefined,
    });
    const evil = new Peer(server, "/", [], { origin: "https://evil.example" });
    const good = await new Peer(server, "/", [], { origin: "https://app.example" }).opened();
    const bad = new Peer(server, "/bad", ["a"]);
    await until("both are refused", () => (evil.refused ?? 0) > 0 && (bad.refused ?? 0) > 0);
    expect([evil.refused, bad.refused, good.ws.protocol]).toEqual([403, 500, ""]);
  });

  it("W3 greets first, and loses nothing that came with the handshake", async () => {
    const server = await start({
      routes: { "/": { ...echo, open: (ws) => void ws.send("welcome") } },
    });
    const client = await frames(
      server,
      "/",
      "",
      Buffer.concat([frame(TEXT, "a"), frame(TEXT, "b")]),
    );
    const got = [await client.next(), await client.next(), await client.next()];
    expect(got.map(({ payload }) => payload.toString())).toEqual(["welcome", "a", "b"]);
    expect(client.response.headers.get("sec-websocket-accept")).toBe(
      "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
    );
  });

  it("W3 loses nothing while an asynchronous hook and open run", async () => {
    const wait = gate();
    const opening = gate();
    const server = await start({
      routes: {
        "/": {
          upgrade: () => wait.promise,
          open: () => opening.promise,
          message: (ws, data) => void ws.send(data),
        },
      },
    });
    const opened = await wire(server);
    opened.send(Buffer.concat([Buffer.from(`${handshakeLines("/")}\r\n`), frame(TEXT, "early")]));
    wait.open();
    const client = new FrameClient(opened, await opened.response());
    opening.open();
    expect((await client.next()).payload.toString()).toBe("early");
  });

  it("W13 gives a raw handler its socket at once, and sends behind the 101", async () => {
    const events: string[] = [];
    const sockets: Socket[] = [];
    const server = await start({
      routes: {
        "/": raw((req) => {
          const ws = req.upgrade({ data: 1, headers: { "X-A": "b" } });
          events.push(`state ${ws.readyState}`);
          for (let i = 0; i < 100; i += 1) ws.send(`${i}`);
          sockets.push(ws);
        }),
      },
      websocket: noting(events),
    });
    const client = await peer(server);
    await client.got(100);
    expect(client.messages).toEqual(Array.from({ length: 100 }, (_, i) => `${i}`));
    await expect(sockets[0]?.opened).resolves.toBeUndefined();
    expect(events).toEqual(["state 0", "open"]);
    const plain = await (await wire(server)).get("/").response();
    expect(plain.status).toBe(400);
  });

  it("W13 does not call close for a client that left before the 101", async () => {
    const events: string[] = [];
    const begun = gate();
    const decide = gate();
    let ws: Socket | undefined;
    const server = await start({
      routes: {
        "/": raw(async (req) => {
          begun.open();
          await decide.promise;
          ws = req.upgrade();
        }),
      },
      websocket: noting(events),
    });
    const client = await wire(server);
    client.send(`${handshakeLines("/")}\r\n`);
    await begun.promise;
    client.reset();
    await until("the server has noticed", () => server.metrics.connections === 0);
    decide.open();
    await until("it is decided", () => ws !== undefined);
    await expect(ws?.opened).rejects.toMatchObject({ code: "ERR_MILLRACE_ABORTED" });
    expect([ws?.readyState, ws?.send("x"), events]).toEqual([3, 0, []]);
  });

  it("upgrades in fetch handlers with ctx.upgrade(), when it is its turn", async () => {
    const server = await start({
      fetch: (request, ctx) =>
        new URL(request.url).pathname === "/ws" ? ctx.upgrade({ data: "d" }) : new Response("page"),
      websocket: { message: (ws, data) => void ws.send(`${ws.data} ${data}`) },
    });
    const opened = await wire(server);
    opened.send(`GET / HTTP/1.1\r\nHost: a\r\n\r\n${handshakeLines("/ws")}\r\n`);
    expect((await opened.response()).body).toBe("page");
    const response = await opened.response();
    expect(response.status).toBe(101);
    const client = new FrameClient(opened, response).text("x");
    expect((await client.next()).payload.toString()).toBe("d x");
  });
}

function messages({ start }: Host): void {
  it("W4, W20 takes a message of maxPayloadLength, and closes with 1009 beyond", async () => {
    const events: string[] = [];
    const server = await start({ routes: { "/": noting(events, { maxPayloadLength: 1000 }) } });
    const client = await frames(server);
    client.text("x".repeat(999)).text("y".repeat(1000));
    client.send(frame(TEXT, "a".repeat(600), { fin: false }), frame(0, "b".repeat(400)));
    for (const length of [999, 1000, 1000])
      expect((await client.next()).payload.length).toBe(length);
    client.text("z".repeat(1001));
    expect((await client.closed())[0]).toBe(1009);
    await told(events, "close");
    expect(events.slice(1)).toEqual(["error ERR_MILLRACE_WS_TOO_BIG", "close 1009"]);
    const other = await frames(server);
    other.send(frame(TEXT, "a".repeat(600), { fin: false }), frame(0, "b".repeat(401)));
    expect((await other.closed())[0]).toBe(1009);
  });

  it("W4, W8 carries empty messages, and text that looks like magic", async () => {
    const server = await start({ routes: { "/": echo } });
    const client = await peer(server);
    const magic = "close-258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    for (const each of ["", Buffer.alloc(0), magic, "PING"]) client.ws.send(each);
    expect(await client.got(4)).toEqual(["", Buffer.alloc(0), magic, "PING"]);
  });

  it("W5 carries messages of every length class, as text and as bytes", async () => {
    const server = await start({
      routes: { "/": { ...echo, maxPayloadLength: 5_000_000, backpressureLimit: 20_000_000 } },
    });
    const client = await peer(server);
    const sizes = [1, 125, 126, 127, 4096, 65_535, 65_536, 65_537, 300_000, 4_000_000];
    for (const size of sizes) {
      client.ws.send("é".repeat(size >> 1) + (size & 1 ? "x" : ""));
      client.ws.send(Buffer.alloc(size, size & 0xff));
      const [text, bytes] = (await client.got(2)) as [string, Buffer];
      expect([Buffer.byteLength(text), bytes.length], `${size}`).toEqual([size, size]);
      expect(bytes.equals(Buffer.alloc(size, size & 0xff))).toBe(true);
      expect(text === "é".repeat(size >> 1) + (size & 1 ? "x" : "")).toBe(true);
      client.messages.length = 0;
    }
  });

  it.each([
    ["an unmasked frame", frame(TEXT, "x", { masked: false }), 1002],
    ["a reserved bit", frame(TEXT, "x", { rsv: 4 }), 1002],
    ["an unknown opcode", frame(3, "x"), 1002],
    ["a continuation of nothing", frame(0, "x"), 1002],
    ["a fragmented ping", frame(PING, "x", { fin: false }), 1002],
    ["a ping of 126 bytes", frame(PING, "x".repeat(126)), 1002],
    ["a length that is not the shortest", frame(TEXT, "x", { lengthBytes: 2 }), 1002],
    ["text that is not UTF-8", frame(TEXT, Buffer.from([0xc3, 0x28])), 1007],
    ["a close code of 1005", closeFrame(1005), 1002],
    ["a close frame of one byte", frame(CLOSE, "x"), 1002],
  ])("W5, W19 closes with a close frame after %s", async (_name, bytes, code) => {
    const events: string[] = [];
    const server = await start({ routes: { "/": noting(events) } });
    const client = await frames(server);
    client.text("before");
    expect((await client.next()).payload.toString()).toBe("before");
    client.send(bytes);
    expect((await client.closed())[0]).toBe(code);
    client.wire.socket.end();
    await client.wire.end();
    await told(events, "close");
    const error = code === 1007 ? "ERR_MILLRACE_WS_BAD_TEXT" : "ERR_MILLRACE_WS_PROTOCOL";
    expect(events).toEqual(["open", `error ${error}`, `close ${code}`]);
  });

  it("W6, W21 answers a ping within a fragmented message with its payload", async () => {
    const pings: string[] = [];
    const server = await start({
      routes: {
        "/": { ...echo, ping: (_ws, data) => void pings.push(Buffer.from(data).toString()) },
      },
    });
    const client = await frames(server);
    client.send(frame(TEXT, "a", { fin: false }), frame(PING, "p?"), frame(0, "b"));
    const [pong, message] = [await client.next(), await client.next()];
    expect([pong.opcode, pong.payload.toString()]).toEqual([PONG, "p?"]);
    expect(message.payload.toString()).toBe("ab");
    expect(pings).toEqual(["p?"]);
  });

  it("W18 leaves pongs to the application where it wants that, and tells of pongs", async () => {
    const events: string[] = [];
    const server = await start({
      routes: {
        "/": {
          automaticPong: false,
          open: (ws) => void ws.ping("are you there"),
          ping: (ws, data) => void ws.pong(`own ${Buffer.from(data)}`),
          pong: (_ws, data) => void events.push(Buffer.from(data).toString()),
        },
      },
    });
    const client = await frames(server);
    const asked = await client.next();
    expect([asked.opcode, asked.payload.toString()]).toEqual([PING, "are you there"]);
    client.send(frame(PONG, "yes"), frame(PING, "x"));
    expect((await client.next()).payload.toString()).toBe("own x");
    expect(events).toEqual(["yes"]);
  });

  it("W15 calls asynchronous handlers one after the other per socket", async () => {
    const seen = new Map<string, string[]>();
    let [running, together] = [0, 0];
    const server = await start({
      routes: {
        "/": {
          open: (ws) => void seen.set(ws.id, []),
          message: async (ws, data) => {
            running += 1;
            together = Math.max(together, running);
            const turns = (Number(data) * 7) % 5;
            for (let i = 0; i < turns; i += 1) await new Promise((done) => setImmediate(done));
            seen.get(ws.id)?.push(`${data}`);
            running -= 1;
            if (data === "199") ws.send("done");
          },
        },
      },
    });
    const clients = await Promise.all(Array.from({ length: 20 }, () => peer(server)));
    for (let i = 0; i < 200; i += 1) for (const { ws } of clients) ws.send(`${i}`);
    for (const client of clients) await client.got(1);
    const all = Array.from({ length: 200 }, (_, i) => `${i}`);
    for (const list of seen.values()) expect(list).toEqual(all);
    expect([seen.size, together > 1]).toEqual([20, true]);
    for (const { ws } of clients) ws.terminate();
  });

  it("goes on after a handler that throws", async () => {
    const errors: string[] = [];
    const server = await start({
      routes: {
        "/": {
          message: (ws, data) => {
            if (data === "bad") throw new TypeError("no");
            ws.send(data);
          },
          error: (_ws, error) => void errors.push(error.message),
        },
      },
    });
    const client = await peer(server);
    client.ws.send("bad");
    client.ws.send("good");
    expect(await client.got(1)).toEqual(["good"]);
    expect(errors).toEqual(["no"]);
  });

  it("hands messages to whoever iterates, and slows the peer down for them", async () => {
    const go = gate();
    let sum = 0;
    const server = await start({
      routes: {
        "/": {
          maxPayloadLength: 100_000,
          open: async (ws) => {
            for await (const data of ws) {
              await go.promise;
              sum += (data as string).length;
              if (sum === 40_000_000) ws.send("all");
            }
          },
        },
      },
    });
    const client = await peer(server);
    const text = "x".repeat(100_000);
    // In steps, so that the server on this thread gets to say that it is enough.
    for (let i = 0; i < 400; i += 1) {
      client.ws.send(text);
      if (i % 10 === 9) await new Promise((done) => setImmediate(done));
    }
    await until("the client cannot go on", () => client.ws.bufferedAmount > 10_000_000);
    go.open();
    expect(await client.got(1)).toEqual(["all"]);
    client.ws.close();
    await client.over();
  });

  it("W22 compresses where both agree, and only what is long enough", async () => {
    const handler = { ...echo, perMessageDeflate: { threshold: 100, contextTakeover: true } };
    const server = await start({ routes: { "/": handler } });
    const client = new Peer(server, "/", [], { perMessageDeflate: { threshold: 0 } });
    await client.opened();
    expect(client.ws.extensions).toContain("permessage-deflate");
    const text = JSON.stringify(Array.from({ length: 100 }, (_, id) => ({ id, name: `n${id}` })));
    for (let i = 0; i < 5; i += 1) client.ws.send(text);
    expect(await client.got(5)).toEqual([text, text, text, text, text]);
    client.ws.close();
    await client.over();
    const raw = await frames(server, "/", "Sec-WebSocket-Extensions: permessage-deflate\r\n");
    raw.text("short").text(text);
    expect((await raw.next()).rsv).toBe(0);
    const compressed = await raw.next();
    expect([compressed.rsv, compressed.payload.length < text.length / 3]).toEqual([4, true]);
  });

  it("W22 closes with 1009 after a small frame that would become a large message", async () => {
    const events: string[] = [];
    const limits = { maxPayloadLength: 100_000, perMessageDeflate: true };
    const server = await start({ routes: { "/": noting(events, limits) } });
    const client = await frames(server, "/", "Sec-WebSocket-Extensions: permessage-deflate\r\n");
    const bomb = deflateRawSync(Buffer.alloc(50_000_000));
    client.send(frame(TEXT, bomb.subarray(0, 60_000), { rsv: 4 }));
    expect((await client.closed())[0]).toBe(1009);
    await told(events, "close");
    expect(events.slice(1)).toEqual(["error ERR_MILLRACE_WS_TOO_BIG", "close 1009"]);
  });
}
