// connect() against our own server, and against one of bare bytes that answers handshakes wrongly.
import { AsyncLocalStorage } from "node:async_hooks";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  type ClientSocket,
  connect,
  MillraceError,
  type ReadonlyHeaders,
  type Socket,
} from "../src/index.ts";
import { ENGINES_MAX } from "../src/websocket/engine.ts";
import { echo, expectNoEngines, freePort, rawPeer, served, switching } from "./support/clients.ts";
import { gate, until } from "./support/until.ts";

const PROMPTLY_MS = 5000;

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "millrace-ws-client-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));
expectNoEngines();

async function taken(ws: Socket, count: number): Promise<(string | Uint8Array)[]> {
  const messages: (string | Uint8Array)[] = [];
  if (count === 0) return messages;
  for await (const message of ws) if (messages.push(message) === count) break;
  return messages;
}

async function failure(promise: Promise<unknown>): Promise<MillraceError> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(MillraceError);
  return error as MillraceError;
}

describe("connect()", () => {
  it("exchanges text and bytes of all lengths whole and in order", async () => {
    const { url } = await served(echo);
    await using ws = await connect(url, { maxPayloadLength: 4 << 20, backpressureLimit: 64 << 20 });
    const sent = [0, 1, 125, 126, 127, 65_535, 65_536, 1_000_000].flatMap((size) => [
      "ü".repeat(size),
      new Uint8Array(Buffer.alloc(size, `${size}.`)),
    ]);
    for (const message of sent) expect(ws.send(message)).not.toBe(0);
    const got = await taken(ws, sent.length);
    expect(got.map((each) => each.length)).toEqual(sent.map((each) => each.length));
    for (const [index, message] of sent.entries())
      expect(Buffer.compare(Buffer.from(message), Buffer.from(got[index] as string))).toBe(0);
    expect(ws.readyState).toBe(1);
    expect(ws.remoteAddress).toEqual({
      family: "IPv4",
      address: "127.0.0.1",
      port: Number(new URL(url).port),
    });
  });

  it("sends the same bytes twice intact, and masks each frame with another key", async () => {
    const peer = await rawPeer((_head, accept) => switching(accept));
    const ws = await connect(peer.url);
    const bytes = new Uint8Array(32).fill(7);
    ws.send(bytes);
    ws.send(bytes);
    expect(bytes).toEqual(new Uint8Array(32).fill(7));
    await until("both frames are there", () => peer.rest.length === 2 * (6 + 32));
    const frames = [0, 38].map((at) => Buffer.from(peer.rest.slice(at, at + 38), "latin1"));
    const keys = frames.map((frame) => {
      expect([...frame.subarray(0, 2)]).toEqual([0x82, 0x80 | 32]);
      const key = frame.subarray(2, 6);
      const plain = frame.subarray(6).map((byte, at) => byte ^ (key[at & 3] as number));
      expect([...plain]).toEqual([...bytes]);
      return key.toString("hex");
    });
    expect(keys[0]).not.toBe(keys[1]);
    ws.terminate();
    expect((await ws.closed).code).toBe(1006);
  });

  it("keeps what comes before anybody iterates, in order, and ends with the socket", async () => {
    const { url } = await served({
      open(ws) {
        for (let i = 0; i < 10; i += 1) ws.send(`${i}`);
        ws.close(4000, "that was all");
      },
    });
    const ws = await connect(url);
    expect(await ws.closed).toEqual({ code: 4000, reason: "that was all" });
    const all: unknown[] = [];
    for await (const message of ws) all.push(message);
    expect(all).toEqual([..."0123456789"]);
  });

  it("does not read on while nobody takes the messages, and loses none", async () => {
    const count = 400;
    const size = 65_536;
    const peer = gate<Socket>();
    const { url } = await served({
      backpressureLimit: 1 << 30,
      open(ws) {
        for (let i = 0; i < count; i += 1) ws.send(Buffer.alloc(size, i & 255));
        peer.open(ws);
      },
    });
    const ws = await connect(url);
    const theirs = await peer.promise;
    // What is not in the kernel's buffers and the client's queue waits at the server.
    let least = theirs.bufferedAmount;
    for (let quiet = 0; quiet < 50; quiet += 1) {
      await new Promise((resolve) => setImmediate(resolve));
      least = Math.min(least, theirs.bufferedAmount);
    }
    expect(least).toBeGreaterThan((count * size) / 2);
    let at = 0;
    for await (const message of ws) {
      expect(message.length).toBe(size);
      expect((message as Uint8Array)[0]).toBe(at & 255);
      if ((at += 1) === count) break;
    }
    ws.close();
    await ws.closed;
  });

  it("calls a handler in order, one message after another, close last", async () => {
    const { url } = await served({
      open(ws) {
        for (let i = 0; i < 5; i += 1) ws.send(`${i}`);
        ws.close(4001, "done");
      },
    });
    const log: string[] = [];
    const ws = await connect(url, {
      data: "mine",
      handler: {
        async message(socket, data) {
          log.push(`${socket.data} ${data}`);
          await new Promise((resolve) => setImmediate(resolve));
          log.push(`/${data}`);
        },
        close(_socket, code, reason) {
          log.push(`${code} ${reason}`);
        },
      },
    });
    await ws.closed;
    const each = [0, 1, 2, 3, 4].flatMap((i) => [`mine ${i}`, `/${i}`]);
    expect(log).toEqual([...each, "4001 done"]);
  });

  it("chooses a sub-protocol, sends header fields and tells those of the answer", async () => {
    let asked: Headers | undefined;
    const { url } = await served({
      protocols: ["soap", "chat"],
      upgrade(request) {
        asked = request.headers;
        return { headers: { "x-answer": "yes" } };
      },
    });
    const ws = await connect(url.replace("//", "//me:p%40ss@"), {
      protocols: ["chat", "soap"],
      origin: "https://app.example",
      headers: { "x-question": "well?", host: "other.example" },
    });
    expect(ws.protocol).toBe("chat");
    expect(ws.headers.get("X-Answer")).toBe("yes");
    expect(asked?.get("x-question")).toBe("well?");
    expect(asked?.get("host")).toBe("other.example");
    expect(asked?.get("origin")).toBe("https://app.example");
    expect(asked?.get("authorization")).toBe(`Basic ${Buffer.from("me:p@ss").toString("base64")}`);
    ws.close();
    await ws.closed;
  });

  it("compresses both ways where both want to", async () => {
    const text = "a rolling stone ".repeat(500);
    const { url } = await served({ ...echo, perMessageDeflate: true });
    for (const perMessageDeflate of [true, { contextTakeover: true, peerContextTakeover: true }]) {
      await using ws = await connect(url, { perMessageDeflate });
      expect(ws.extensions).toBe("permessage-deflate");
      for (let i = 0; i < 3; i += 1) ws.send(`${text}${i}`);
      expect(await taken(ws, 3)).toEqual([`${text}0`, `${text}1`, `${text}2`]);
    }
    const plain = await connect(url);
    expect(plain.extensions).toBe("");
    plain.close();
    await plain.closed;
  });

  it("connects to a name by whichever of its addresses takes it", async () => {
    const { url } = await served(echo);
    await using ws = await connect(url.replace("127.0.0.1", "localhost"));
    ws.send("to a name");
    expect(await taken(ws, 1)).toEqual(["to a name"]);
  });

  it("connects to unix sockets: by option, by URL, and to abstract ones", async () => {
    const path = join(folder, "a b.sock");
    await served(echo, { unix: path });
    const doors: [string, string | undefined][] = [
      ["ws://any.example/", path],
      [`ws+unix:${path.replaceAll(" ", "%20")}:/?x=1`, undefined],
      [`ws+unix:${path.replaceAll(" ", "%20")}`, undefined],
    ];
    if (process.platform === "linux") {
      const name = `\0millrace-${process.pid}`;
      await served(echo, { unix: name });
      doors.push(["ws://any.example/", name]);
    }
    for (const [url, unix] of doors) {
      await using ws = await connect(url, unix === undefined ? {} : { unix });
      ws.send("through the side door");
      expect(await taken(ws, 1)).toEqual(["through the side door"]);
      expect(ws.remoteAddress.family).toBe("unix");
    }
  });

  it("tells the system's error when nobody listens, at once", async () => {
    const port = await freePort();
    const before = performance.now();
    const error = await failure(connect(`ws://127.0.0.1:${port}/`));
    expect(error.code).toBe("ERR_MILLRACE_WS_CONNECT");
    expect(error.cause).toMatchObject({ code: "ECONNREFUSED", address: "127.0.0.1", port });
    expect(performance.now() - before).toBeLessThan(PROMPTLY_MS);
    const noFile = await failure(connect("ws://x/", { unix: join(folder, "nobody.sock") }));
    expect(noFile.cause).toMatchObject({ code: "ENOENT" });
    const noName = await failure(connect("ws://nobody.invalid/"));
    expect(noName.code).toBe("ERR_MILLRACE_WS_CONNECT");
    expect(noName.cause).toMatchObject({ syscall: "getaddrinfo" });
  });

  it.each([
    ["another accept", switching("AAAAAAAAAAAAAAAAAAAAAAAAAAA="), 101],
    ["no accept", "HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", 101],
    ["401", "HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n", 401],
    ["200", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", 200],
    ["no HTTP", "SSH-2.0-OpenSSH_9.2p1\r\n\r\n", undefined],
  ])("rejects a server that answers with %s", async (_name, answer, status) => {
    const peer = await rawPeer(() => answer);
    const error = await failure(connect(peer.url));
    expect(error.code).toBe("ERR_MILLRACE_WS_REJECTED");
    expect((error.cause as { status?: number }).status).toBe(status);
    await until("the connection is over", () => peer.sockets.size === 0);
  });

  it.each([
    [401, "WWW-Authenticate: Basic realm=a\r\nWWW-Authenticate: Bearer\r\n", "www-authenticate"],
    [302, "Location: /elsewhere\r\n", "Location"],
    [503, "Retry-After: 120\r\nSet-Cookie: a=1\r\n", "retry-after"],
  ])("gives the header fields of a %i, byte by byte", async (status, fields, name) => {
    const answer = `HTTP/1.1 ${status} No\r\n${fields}Content-Length: 0\r\n\r\n`;
    const peer = await rawPeer((_head, _accept, socket) => {
      void (async () => {
        socket.setNoDelay(true);
        for (const byte of answer) {
          if (!socket.destroyed) socket.write(byte);
          await new Promise((resolve) => setImmediate(resolve));
        }
      })();
      return undefined;
    });
    const error = await failure(connect(peer.url));
    const { headers } = error.cause as { headers: ReadonlyHeaders };
    expect(error).toMatchObject({ code: "ERR_MILLRACE_WS_REJECTED", cause: { status } });
    const expected = [...fields.matchAll(/: (.*)\r/g)].map((each) => each[1]);
    if (status === 503) expect(headers.get("set-cookie")).toBe(expected.pop());
    expect(headers.get(name)).toBe(expected.join(", "));
    expect([headers.get("content-length"), headers.get("x-none")]).toEqual(["0", null]);
  });

  it.each([
    ["a sub-protocol unasked", "Sec-WebSocket-Protocol: chat\r\n", []],
    ["another sub-protocol", "Sec-WebSocket-Protocol: soap\r\n", ["chat"]],
    ["none of the sub-protocols", "", ["chat"]],
    ["two sub-protocols", "Sec-WebSocket-Protocol: chat, soap\r\n", ["chat", "soap"]],
    ["an extension unasked", "Sec-WebSocket-Extensions: permessage-deflate\r\n", []],
  ])("rejects a server that chooses %s", async (_name, more, protocols) => {
    const peer = await rawPeer((_head, accept) => switching(accept, more));
    const error = await failure(connect(peer.url, { protocols }));
    expect(error.code).toBe("ERR_MILLRACE_WS_REJECTED");
    expect(error.cause).toMatchObject({ status: 101 });
    await until("the connection is over", () => peer.sockets.size === 0);
  });

  it("rejects a server that leaves without an answer", async () => {
    const peer = await rawPeer((_head, _accept, socket) => void socket.end());
    const error = await failure(connect(peer.url));
    expect(error.code).toBe("ERR_MILLRACE_WS_REJECTED");
  });

  it("takes messages that come with the answer", async () => {
    const peer = await rawPeer((_head, accept) => `${switching(accept)}\x81\x05hello\x81\x03you`);
    const ws = await connect(peer.url);
    expect(await taken(ws, 2)).toEqual(["hello", "you"]);
    ws.terminate();
    await ws.closed;
  });

  it("asks as RFC 6455 has it, with a new key each time", async () => {
    const peer = await rawPeer((_head, accept) => switching(accept));
    const url = `${peer.url.replace("ws:", "http:")}path?query`;
    for (let i = 0; i < 2; i += 1) {
      const ws = await connect(url, { perMessageDeflate: { windowBits: 12 } });
      ws.terminate();
      await ws.closed;
    }
    const [first = "", second = ""] = peer.heads;
    const lines = first.split("\r\n");
    expect(lines[0]).toBe("GET /path?query HTTP/1.1");
    expect(lines.slice(1).filter((line) => !/^sec-websocket-key/i.test(line))).toEqual([
      `Host: 127.0.0.1:${peer.port}`,
      "Upgrade: websocket",
      "Connection: Upgrade",
      "Sec-WebSocket-Version: 13",
      "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; " +
        "client_no_context_takeover; client_max_window_bits=12",
      "",
      "",
    ]);
    const keyOf = (head: string): string => /^sec-websocket-key: (.*)\r$/im.exec(head)?.[1] ?? "";
    expect(Buffer.from(keyOf(first), "base64")).toHaveLength(16);
    expect(keyOf(first)).not.toBe(keyOf(second));
  });

  it("gives up in time when the server says nothing", async () => {
    const peer = await rawPeer(() => undefined);
    const error = await failure(connect(peer.url, { timeout: 50 }));
    expect(error.code).toBe("ERR_MILLRACE_WS_TIMEOUT");
    await until("the connection is over", () => peer.sockets.size === 0);
  });

  it("rejects with the signal's reason: aborted before, and while it waits", async () => {
    const peer = await rawPeer(() => undefined);
    const reason = new Error("changed my mind");
    await expect(connect(peer.url, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    expect(peer.heads).toEqual([]);
    const controller = new AbortController();
    const attempt = connect(peer.url, { signal: controller.signal });
    await until("the request is there", () => peer.heads.length === 1);
    controller.abort();
    await expect(attempt).rejects.toMatchObject({ name: "AbortError" });
    await until("the connection is over", () => peer.sockets.size === 0);
  });

  it("cuts a connection whose answer comes when nobody waits for it any more", async () => {
    const late: (() => void)[] = [];
    const peer = await rawPeer((_head, accept, socket) => {
      if (late.push(() => socket.write(switching(accept))) === 1) return switching(accept);
      return undefined;
    });
    // Keeps the engine, so that it is not its end which ends the attempt.
    const other = await connect(peer.url);
    const controller = new AbortController();
    const attempt = connect(peer.url, { signal: controller.signal });
    await until("the request is there", () => late.length === 2);
    controller.abort();
    await expect(attempt).rejects.toMatchObject({ name: "AbortError" });
    late[1]?.();
    await until("only one connection is left", () => peer.sockets.size === 1);
    expect(other.readyState).toBe(1);
    other.terminate();
    await other.closed;
  });

  it("leaves an open socket alone when its signal is aborted", async () => {
    const { url } = await served(echo);
    const controller = new AbortController();
    await using ws = await connect(url, { signal: controller.signal });
    controller.abort();
    ws.send("still here");
    expect(await taken(ws, 1)).toEqual(["still here"]);
  });

  it.each([
    [1000, "", 1000],
    [4321, "why", 4321],
    [3000, "ü".repeat(61), 3000],
  ])("closes with %i, and the server is told", async (code, reason, seen) => {
    const told = gate<[number, string]>();
    const { url } = await served({ close: (_ws, ...how) => told.open(how) });
    const ws = await connect(url);
    ws.close(code, reason);
    expect(ws.readyState).toBe(2);
    expect(await told.promise).toEqual([seen, reason]);
    expect((await ws.closed).code).toBe(seen);
    expect(ws.readyState).toBe(3);
    expect(ws.send("too late")).toBe(0);
  });

  it("says 1006 and an error when the server cuts the connection", async () => {
    const { url } = await served({ open: (ws) => ws.terminate() });
    const errors: Error[] = [];
    const ws = await connect(url, { handler: { error: (_ws, error) => void errors.push(error) } });
    expect((await ws.closed).code).toBe(1006);
    expect(errors.map((error) => (error as MillraceError).code)).toEqual(["ERR_MILLRACE_WS_LOST"]);
  });

  it("closes with 1009 when a message is larger than allowed", async () => {
    const told = gate<number>();
    const { url } = await served({
      open: (ws) => void ws.send("x".repeat(1001)),
      close: (_ws, code) => told.open(code),
    });
    const errors: Error[] = [];
    const ws = await connect(url, {
      maxPayloadLength: 1000,
      handler: { error: (_ws, error) => void errors.push(error) },
    });
    await ws.closed;
    expect(await told.promise).toBe(1009);
    expect(errors).toMatchObject([{ code: "ERR_MILLRACE_WS_TOO_BIG" }]);
  });

  it("answers pings, and hears pongs", async () => {
    const pongs: string[] = [];
    const heard = gate();
    const { url } = await served({
      open: (ws) => void ws.ping("are you there"),
      pong(_ws, data) {
        pongs.push(Buffer.from(data).toString());
        heard.open();
      },
    });
    const own = gate<string>();
    await using ws = await connect(url, {
      handler: { pong: (_ws, data) => own.open(Buffer.from(data).toString()) },
    });
    ws.ping("and you?");
    expect(await own.promise).toBe("and you?");
    await heard.promise;
    expect(pongs).toEqual(["are you there"]);
  });

  it("calls handlers in the async context of connect()", async () => {
    const { url } = await served({ open: (ws) => ws.close(1000, "hi"), message: () => undefined });
    const storage = new AsyncLocalStorage<string>();
    const seen: unknown[] = [];
    const close = (): void => void seen.push(storage.getStore());
    const both = ["one", "two"].map((name) =>
      storage.run(name, async () => (await connect(url, { handler: { close } })).closed),
    );
    await Promise.all(both);
    expect(seen.sort()).toEqual(["one", "two"]);
  });

  it("refuses one kind of settings too many", async () => {
    const { url } = await served(echo);
    const open: ClientSocket[] = [];
    for (let i = 0; i < ENGINES_MAX; i += 1)
      open.push(await connect(url, { maxPayloadLength: 1000 + i }));
    const error = await failure(connect(url, { maxPayloadLength: 999 }));
    expect(error.code).toBe("ERR_MILLRACE_INVALID_OPTION");
    // Known ones go on.
    open.push(await connect(url, { maxPayloadLength: 1000 }));
    for (const ws of open) ws.terminate();
    await Promise.all(open.map((ws) => ws.closed));
  });
});
