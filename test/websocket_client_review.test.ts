// Clients at the edges: what a clientele survives, and what the standard says of WebSocket where
// browsers agree.
import { openAsBlob, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { clientele, type MillraceError, WebSocket } from "../src/index.ts";
import { echo, expectNoEngines, freePort, rawPeer, served, switching } from "./support/clients.ts";
import { gate, until } from "./support/until.ts";

expectNoEngines();

function event<T extends Event>(ws: WebSocket, type: string): Promise<T> {
  return new Promise((resolve) => {
    ws.addEventListener(type, resolve as (event: Event) => void, { once: true });
  });
}

describe("a client", () => {
  it("refused while its clientele closes, connects afterwards", async () => {
    const { url } = await served(echo);
    const codes: string[] = [];
    const many = clientele({
      error: (_client, error) => void codes.push((error as MillraceError).code),
    });
    const client = many.client(url);
    // Closed before it was ever open.
    await many.close();
    expect(await client.connect()).toBe(true);
    const closing = many.close();
    expect(await client.connect()).toBe(false);
    await closing;
    expect(codes).toEqual(["ERR_MILLRACE_CLOSED"]);
    expect([await client.connect(), client.isConnected]).toEqual([true, true]);
    await many.close();
  });

  it("does not connect again once it was removed", async () => {
    const { url } = await served(echo);
    const told: unknown[] = [];
    const many = clientele({
      error: (client, error) => void told.push([client.id, (error as MillraceError).code]),
    });
    const [once, never] = [many.client(url), many.client(url)];
    expect(await once.connect()).toBe(true);
    const removing = once.remove();
    expect(await once.connect(), "while it closes").toBe(false);
    await removing;
    await never.remove();
    expect([await once.connect(), await never.connect()]).toEqual([false, false]);
    expect([once.isConnected, never.isConnected, many.clients.size]).toEqual([false, false, 0]);
    const code = "ERR_MILLRACE_CLOSED";
    expect(told).toEqual([
      [1, code],
      [1, code],
      [2, code],
    ]);
    await many.close();
  });

  it("tells of an Error whatever its signal was aborted with", async () => {
    const { url } = await served(echo);
    const told: Error[] = [];
    const many = clientele({ error: (_client, error) => void told.push(error) });
    const client = many.client(url);
    const own = new RangeError("mine");
    for (const reason of ["text", own, undefined])
      expect(await client.connect({ signal: AbortSignal.abort(reason) })).toBe(false);
    expect(told[0]).toMatchObject({ code: "ERR_MILLRACE_ABORTED", cause: "text" });
    expect([told[0] instanceof Error, told[1], told[2]?.name]).toEqual([true, own, "AbortError"]);
    await many.close();
  });

  it("refuses options of send() that it does not have, and passes compress on", async () => {
    const { url } = await served({ ...echo, perMessageDeflate: true });
    const got = gate<unknown>();
    const many = clientele({ perMessageDeflate: true, message: (_client, data) => got.open(data) });
    const client = many.client(url);
    for (const options of [() => undefined, true, "x", { binary: true }, { compress: 1 }])
      expect(() => client.send("q", options as never)).toThrow(
        expect.objectContaining({ code: "ERR_MILLRACE_INVALID_OPTION" }),
      );
    await client.connect();
    expect(await client.send("hello", { compress: false, timeout: 1000 })).toBe(true);
    expect(await got.promise).toBe("hello");
    await many.close();
  });

  it("connects anew behind an attempt, and behind a socket, that close() has ended", async () => {
    const { url } = await served(echo);
    const many = clientele();
    const client = many.client(url);
    const first = client.connect();
    void client.close();
    const second = client.connect();
    expect(second).not.toBe(first);
    expect(client.connect()).toBe(second);
    expect(await Promise.all([first, second])).toEqual([false, true]);
    void client.close();
    expect(await client.connect()).toBe(true);
    expect(client.isConnected).toBe(true);
    const third = client.connect();
    await many.close();
    expect(await third).toBe(true);
  });

  it("is still itself when its socket's data is another's", async () => {
    const { url } = await served(echo);
    const got = gate<unknown>();
    const many = clientele({ message: (client, data) => got.open([client.id, data]) });
    const client = many.client(url);
    await client.connect();
    if (client.socket !== undefined) client.socket.data = { mine: 1 };
    await client.send("hello");
    expect(await got.promise).toEqual([1, "hello"]);
    await client.close();
    expect(client.isConnected).toBe(false);
    await many.close();
  });

  it.each([
    ["throws", () => raise("at once")],
    ["rejects", async () => raise("later")],
  ])("warns when the error callback %s about a failed attempt", async (_how, error) => {
    const texts: string[] = [];
    const listener = (warning: Error): void => void texts.push(warning.message);
    process.on("warning", listener);
    onTestFinished(() => void process.off("warning", listener));
    const many = clientele({ error });
    expect(await many.client(`ws://127.0.0.1:${await freePort()}/`).connect()).toBe(false);
    await until("there is a warning", () => texts.length > 0);
    expect(texts).toMatchObject([expect.stringContaining("error() threw")]);
    await many.close();
  });

  function raise(what: string): never {
    throw new Error(what);
  }
});

describe("WebSocket", () => {
  it("sends bytes as they were when they have to wait for a Blob", async () => {
    const { url } = await served(echo);
    const ws = new WebSocket(url);
    ws.binaryType = "arraybuffer";
    await event(ws, "open");
    const bytes = new Uint8Array([1, 2, 3]);
    ws.send(new Blob(["blob"]));
    ws.send(bytes);
    bytes.fill(9);
    await event(ws, "message");
    const { data } = await event<MessageEvent>(ws, "message");
    expect([...new Uint8Array(data)]).toEqual([1, 2, 3]);
    ws.close();
    await event(ws, "close");
  });

  it.each([false, true])("fails when a Blob cannot be read; closing: %s", async (isClosing) => {
    const got: unknown[] = [];
    const told = gate<number>();
    const { url } = await served({
      message: (_ws, data) => void got.push(data),
      close: (_ws, code) => told.open(code),
    });
    const file = join(tmpdir(), `millrace-blob-${process.pid}-${isClosing}`);
    writeFileSync(file, "abc");
    onTestFinished(() => rmSync(file));
    const blob = await openAsBlob(file);
    writeFileSync(file, "another size");
    const ws = new WebSocket(url);
    await event(ws, "open");
    const log: string[] = [];
    ws.onerror = (each) => log.push((each as unknown as { error: Error }).error.name);
    ws.onclose = ({ code, wasClean }) => log.push(`${code} ${wasClean}`);
    ws.send("before");
    ws.send(blob);
    ws.send("behind");
    if (isClosing) ws.close();
    await event(ws, "close");
    expect(log).toEqual(["NotReadableError", "1006 false"]);
    expect(await told.promise).toBe(1011);
    expect(got).toEqual(["before"]);
    expect(ws.bufferedAmount).toBe("abcbehind".length);
  });

  it("is open in the messages that came before the close frame", async () => {
    const { url } = await served({
      open(ws) {
        for (const each of ["1", "2", "3"]) ws.send(each);
        ws.close(4001, "x");
      },
    });
    const ws = new WebSocket(url);
    const log: string[] = [];
    ws.onmessage = ({ data }) => {
      log.push(`${data} ${ws.readyState}`);
      queueMicrotask(() => log.push(`${ws.readyState}`));
    };
    ws.onclose = ({ code }) => log.push(`${code} ${ws.readyState}`);
    await event(ws, "close");
    expect(log).toEqual(["1 1", "1", "2 1", "1", "3 1", "1", "4001 3"]);
  });

  it("says error and 1006 when the server breaks the protocol", async () => {
    const peer = await rawPeer((_head, accept) => `${switching(accept)}\xf1\x01A`);
    const ws = new WebSocket(peer.url, { closeTimeout: 100 });
    const log: string[] = [];
    ws.onerror = (each) => log.push((each as unknown as { error: MillraceError }).error.code);
    ws.onclose = ({ code, reason, wasClean }) => log.push(`${code} ${reason}${wasClean}`);
    await event(ws, "close");
    expect(log).toEqual(["ERR_MILLRACE_WS_PROTOCOL", "1006 false"]);
  });

  it("keeps bufferedAmount when the connection is lost", async () => {
    const peer = await rawPeer((_head, accept, socket) => {
      socket.pause();
      return switching(accept);
    });
    const ws = new WebSocket(peer.url);
    await event(ws, "open");
    ws.send("x".repeat(1 << 26));
    const before = ws.bufferedAmount;
    expect(before).toBeGreaterThan(1 << 20);
    for (const socket of peer.sockets) socket.destroy();
    await event(ws, "close");
    const after = ws.bufferedAmount;
    expect(after).toBeGreaterThan(1 << 20);
    ws.send("1234");
    expect(ws.bufferedAmount).toBe(after + 4);
  });

  it("counts nothing once all has left", async () => {
    const { url } = await served({ ...echo, message: (ws) => void ws.send("taken") });
    const ws = new WebSocket(url);
    await event(ws, "open");
    ws.send("x".repeat(1 << 24));
    expect(ws.bufferedAmount).toBeGreaterThan(0);
    await event(ws, "message");
    ws.close();
    await event(ws, "close");
    expect(ws.bufferedAmount).toBe(0);
  });

  it("refuses null, no message at all, and shared memory", async () => {
    const { url } = await served(echo);
    expect(() => new WebSocket(url, null as unknown as string)).toThrow(TypeError);
    const ws = new WebSocket(url);
    await event(ws, "open");
    expect(() => (ws as unknown as { send(): void }).send()).toThrow(TypeError);
    const shared = new SharedArrayBuffer(4);
    expect(() => ws.send(new Uint8Array(shared))).toThrow(TypeError);
    expect(() => ws.send(shared as unknown as ArrayBuffer)).toThrow(TypeError);
    ws.send(undefined as unknown as string);
    expect(await event(ws, "message")).toMatchObject({ data: "undefined" });
    ws.close();
    await event(ws, "close");
  });

  it("takes any iterable for sub-protocols", async () => {
    const { url } = await served({ protocols: ["b"] });
    const ws = new WebSocket(url, new Set(["a", "b"]) as unknown as string[]);
    await event(ws, "open");
    expect(ws.protocol).toBe("b");
    ws.close();
    await event(ws, "close");
  });

  it("tells its URL as it was given, normalised, with user and password", async () => {
    const port = await freePort();
    const ws = new WebSocket(`HTTP://me:secret@127.0.0.1:${port}/a b?c`);
    expect(ws.url).toBe(`ws://me:secret@127.0.0.1:${port}/a%20b?c`);
    const failed = event<Event & { message: string }>(ws, "error");
    await event(ws, "close");
    expect((await failed).message).not.toContain("secret");
  });
});
