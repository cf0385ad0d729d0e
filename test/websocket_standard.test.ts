// The standard's WebSocket against our own server.
import { describe, expect, it } from "vitest";
import { MillraceError, WebSocket } from "../src/index.ts";
import { echo, expectNoEngines, freePort, served } from "./support/clients.ts";
import { gate } from "./support/until.ts";

expectNoEngines();

describe("WebSocket", () => {
  function event<T extends Event>(ws: WebSocket, type: string): Promise<T> {
    return new Promise((resolve) => {
      ws.addEventListener(type, resolve as (event: Event) => void, { once: true });
    });
  }

  it("has the standard's shape", async () => {
    const { url } = await served(echo);
    const same: typeof globalThis.WebSocket = WebSocket;
    expect(same.OPEN).toBe(1);
    const ws = new WebSocket(url.replace("ws:", "http:"));
    expect([ws.CONNECTING, ws.OPEN, ws.CLOSING, ws.CLOSED]).toEqual([0, 1, 2, 3]);
    expect(String(ws)).toBe("[object WebSocket]");
    expect([ws.readyState, ws.url, ws.protocol, ws.extensions]).toEqual([0, `${url}/`, "", ""]);
    expect([ws.binaryType, ws.bufferedAmount, ws.onopen, ws.onclose]).toEqual([
      "blob",
      0,
      null,
      null,
    ]);
    ws.binaryType = "nonsense" as "blob";
    expect(ws.binaryType).toBe("blob");
    expect(() => ws.send("early")).toThrow(expect.objectContaining({ name: "InvalidStateError" }));
    const opened = await event(ws, "open");
    expect([opened.type, opened.target, ws.readyState]).toEqual(["open", ws, 1]);
    ws.close();
    expect(ws.readyState).toBe(2);
    const closed = await event<Event & { code: number; wasClean: boolean }>(ws, "close");
    expect([closed.code, closed.wasClean, ws.readyState]).toEqual([1005, true, 3]);
  });

  it("refuses wrong URLs, sub-protocols, codes and reasons as the standard does", async () => {
    const { url } = await served(echo);
    const bad: [unknown, unknown][] = [
      ["no url", []],
      ["ftp://a.example/", []],
      [`${url}/#fragment`, []],
      [`${url}/#`, []],
      [url, ["a b"]],
      [url, ["a", "a"]],
      [url, [""]],
    ];
    for (const [address, protocols] of bad)
      expect(() => new WebSocket(address as string, protocols as string[]), `${address}`).toThrow(
        expect.objectContaining({ name: "SyntaxError" }),
      );
    expect(() => new WebSocket(url, { timeout: -1 })).toThrow(MillraceError);
    const ws = new WebSocket(url);
    for (const code of [0, 999, 1001, 2999, 5000, Number.NaN])
      expect(() => ws.close(code)).toThrow(expect.objectContaining({ name: "InvalidAccessError" }));
    expect(() => ws.close(1000, "x".repeat(124))).toThrow(
      expect.objectContaining({ name: "SyntaxError" }),
    );
    const over = event(ws, "close");
    ws.close(3000, "x".repeat(123));
    await over;
  });

  it("runs all microtasks between two events, so that no message is missed", async () => {
    const { url } = await served({
      open(ws) {
        for (let i = 0; i < 20; i += 1) ws.send(`${i}`);
      },
    });
    const ws = new WebSocket(url);
    const next = async (): Promise<unknown> => {
      await null;
      const { data } = await new Promise<MessageEvent>((resolve) => {
        ws.onmessage = resolve;
      });
      await null;
      return data;
    };
    await event(ws, "open");
    await null;
    const got: unknown[] = [];
    for (let i = 0; i < 20; i += 1) got.push(await next());
    expect(got).toEqual(Array.from({ length: 20 }, (_, i) => `${i}`));
    ws.close();
    await event(ws, "close");
  });

  it("takes and gives strings, buffers, views and blobs, in order", async () => {
    const { url } = await served(echo);
    const ws = new WebSocket(url);
    await event(ws, "open");
    const got: unknown[] = [];
    const all = gate();
    ws.onmessage = ({ data }) => {
      if (got.push(data) === 6) all.open();
    };
    const bytes = new Uint8Array([0, 1, 2, 3, 4]);
    ws.send("text\ud800");
    ws.send(bytes.buffer);
    ws.send(new Blob(["slow ", "blob"]));
    ws.send(bytes.subarray(1, 3));
    ws.send(new DataView(bytes.buffer, 4));
    ws.send(new Blob([]));
    expect(ws.bufferedAmount).toBeGreaterThan(0);
    await all.promise;
    expect(got[0]).toBe("text\ufffd");
    expect(got.slice(1).every((each) => each instanceof Blob)).toBe(true);
    const texts = await Promise.all(
      got.slice(1).map(async (each) => [...new Uint8Array(await (each as Blob).arrayBuffer())]),
    );
    expect(texts).toEqual([[0, 1, 2, 3, 4], [...Buffer.from("slow blob")], [1, 2], [4], []]);
    expect(ws.bufferedAmount).toBe(0);
    ws.binaryType = "arraybuffer";
    ws.send(bytes);
    const { data } = await event<MessageEvent>(ws, "message");
    expect(data).toEqual(bytes.buffer);
    ws.close(1000, "enough");
    await event(ws, "close");
    ws.send("1234");
    expect(ws.bufferedAmount).toBe(4);
  });

  it("sends what waits for a blob before it closes", async () => {
    const log: string[] = [];
    const over = gate();
    const { url } = await served({
      message: (_ws, data) => void log.push(Buffer.from(data as Uint8Array).toString()),
      close(_ws, code) {
        log.push(`${code}`);
        over.open();
      },
    });
    const ws = new WebSocket(url);
    await event(ws, "open");
    ws.send(new Blob(["blob"]));
    ws.send("text");
    ws.close(3999);
    await over.promise;
    expect(log).toEqual(["blob", "text", "3999"]);
  });

  it("fires error and close when nothing comes of it, and when it is closed before", async () => {
    const port = await freePort();
    const log: string[] = [];
    const ws = new WebSocket(`ws://127.0.0.1:${port}/`);
    ws.onerror = (event) => log.push((event as unknown as { error: MillraceError }).error.code);
    ws.onclose = ({ code, wasClean }) => log.push(`${code} ${wasClean} ${ws.readyState}`);
    await event(ws, "close");
    expect(log).toEqual(["ERR_MILLRACE_WS_CONNECT", "1006 false 3"]);
    const { url } = await served(echo);
    const early = new WebSocket(url);
    early.close();
    expect(early.readyState).toBe(2);
    const failed = event(early, "error");
    expect(await event(early, "close")).toMatchObject({ code: 1006, wasClean: false });
    await failed;
  });

  it("tells the server's code and reason", async () => {
    const { url } = await served({ open: (ws) => ws.close(4321, "why") });
    const ws = new WebSocket(url);
    expect(await event(ws, "close")).toMatchObject({ code: 4321, reason: "why", wasClean: true });
  });

  it("passes over the messages that come after its own close()", async () => {
    const { url } = await served({
      open(ws) {
        for (let i = 0; i < 20; i += 1) ws.send("more");
      },
    });
    const ws = new WebSocket(url);
    let count = 0;
    ws.onmessage = () => {
      count += 1;
      ws.close();
    };
    await event(ws, "close");
    expect(count).toBe(1);
  });

  it("takes header fields and sub-protocols in an object", async () => {
    const { url } = await served({
      protocols: ["chat"],
      upgrade: (request) => ({ headers: { "x-got": request.headers.get("x-sent") ?? "" } }),
    });
    const ws = new WebSocket(url, { protocols: "chat", headers: { "x-sent": "1" } });
    await event(ws, "open");
    expect(ws.protocol).toBe("chat");
    ws.close();
    await event(ws, "close");
  });

  it("keeps the order of handler and listeners, and forgets a handler set to null", async () => {
    const { url } = await served({ open: (ws) => void ws.send("hi") });
    const log: string[] = [];
    const ws = new WebSocket(url);
    ws.onmessage = () => log.push("first idea");
    ws.addEventListener("message", () => log.push("listener"));
    ws.onmessage = () => log.push("handler");
    ws.onopen = () => log.push("never");
    ws.onopen = null;
    await event(ws, "message");
    expect(log).toEqual(["handler", "listener"]);
    ws.close();
    await event(ws, "close");
  });
});
