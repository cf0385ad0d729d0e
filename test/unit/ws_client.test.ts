// What a client makes of URLs and options, before anything is opened.
import { describe, expect, it } from "vitest";
import { clientele, connect, MillraceError, WebSocket } from "../../src/index.ts";
import { setBinding } from "../../src/native/binding.ts";
import { EVENT } from "../../src/native/tables.ts";
import { demandOf, patienceOf } from "../../src/websocket/dial.ts";
import { Engine } from "../../src/websocket/engine.ts";
import { rulesOf, settingsOf } from "../../src/websocket/handler.ts";
import { NativeSocket } from "../../src/websocket/socket.ts";
import { targetOf } from "../../src/websocket/url.ts";
import { FakeBinding } from "./fake.ts";

function code(run: () => unknown): string | undefined {
  try {
    run();
  } catch (error) {
    return error instanceof MillraceError ? error.code : String(error);
  }
  return undefined;
}

describe("targetOf()", () => {
  it.each([
    ["ws://a.example", false, "a.example", 80, "a.example", "/"],
    ["wss://a.example/x?y=1", true, "a.example", 443, "a.example", "/x?y=1"],
    ["http://a.example:8080/", false, "a.example", 8080, "a.example:8080", "/"],
    ["https://a.example:443/", true, "a.example", 443, "a.example", "/"],
    ["ws://[::1]:9/", false, "::1", 9, "[::1]:9", "/"],
    ["WS://A.EXAMPLE:80/%C3%BC?", false, "a.example", 80, "a.example", "/%C3%BC"],
    ["ws://ü.example/ü", false, "xn--tda.example", 80, "xn--tda.example", "/%C3%BC"],
  ])("understands %s", (url, isSecure, hostname, port, host, path) => {
    const target = { isSecure, hostname, port, host, path, unix: "" };
    expect(targetOf(url, undefined)).toMatchObject(target);
    expect(targetOf(new URL(url), undefined)).toMatchObject(target);
  });

  it.each([
    ["ws+unix:/tmp/a.sock", "/tmp/a.sock", "/"],
    ["ws+unix:/tmp/a.sock:", "/tmp/a.sock", "/"],
    ["ws+unix:/tmp/a.sock:/x:y?z=1", "/tmp/a.sock", "/x:y?z=1"],
    ["ws+unix:///tmp/a%20b.sock:/", "/tmp/a b.sock", "/"],
    ["wss+unix:/tmp/a.sock", "/tmp/a.sock", "/"],
    // Without a slash in front the URL's path is opaque, and keeps its spaces.
    ["ws+unix:./tmp/a.sock:/x HTTP/1.0 y", `${process.cwd()}/tmp/a.sock`, "/x%20HTTP/1.0%20y"],
  ])("understands %s", (url, unix, path) => {
    const isSecure = url.startsWith("wss");
    expect(targetOf(url, undefined)).toMatchObject({ unix, path, host: "localhost", isSecure });
  });

  it("keeps the host for the request when a unix socket is used", () => {
    expect(targetOf("ws://a.example:81/x", "/tmp/a.sock")).toMatchObject({
      unix: "/tmp/a.sock",
      host: "a.example:81",
      hostname: "",
      path: "/x",
    });
    expect(targetOf("ws://a.example/", "relative.sock").unix).toBe(
      `${process.cwd()}/relative.sock`,
    );
    expect(targetOf("ws://a.example/", "\0name").unix).toBe("\0name");
  });

  it("takes user and password out of the URL, and shows them to nobody", () => {
    const target = targetOf("ws://me:s%40cret@a.example/", undefined);
    expect(target.authorization).toBe(`Basic ${Buffer.from("me:s@cret").toString("base64")}`);
    expect(target.href).toBe("ws://a.example/");
    try {
      targetOf("ftp://me:secret@a.example/", undefined);
    } catch (error) {
      expect((error as Error).message).toContain("ftp:");
      expect((error as Error).message).not.toContain("secret");
    }
  });

  it.each([
    ["", undefined],
    ["/relative", undefined],
    ["ftp://a.example/", undefined],
    ["ws://a.example/#x", undefined],
    ["ws://a.example/#", undefined],
    [7, undefined],
    ["ws://a.example/", ""],
    ["ws://a.example/", "a\0b"],
    ["ws://a.example/", "/".padEnd(109, "x")],
    ["ws+unix:/tmp/a.sock", "/tmp/b.sock"],
    ["ws+unix://host/tmp/a.sock", undefined],
    ["ws+unix:/tmp/a.sock:relative", undefined],
    ["ws+unix:/tmp/%zz.sock", undefined],
  ])("refuses %j with unix %j", (url, unix) => {
    expect(code(() => targetOf(url, unix))).toBe("ERR_MILLRACE_INVALID_OPTION");
  });
});

describe("options", () => {
  it.each([
    [{ headers: { "x-a": "1\r\nx-b: 2" } }, "ERR_MILLRACE_INVALID_HEADER"],
    [{ headers: { "x a": "1" } }, "ERR_MILLRACE_INVALID_HEADER"],
    [{ headers: { Connection: "close" } }, "ERR_MILLRACE_INVALID_HEADER"],
    [{ headers: { upgrade: "h2c" } }, "ERR_MILLRACE_INVALID_HEADER"],
    [{ headers: { "content-length": "3" } }, "ERR_MILLRACE_INVALID_HEADER"],
    [{ headers: { "Sec-WebSocket-Key": "x" } }, "ERR_MILLRACE_INVALID_HEADER"],
    [{ headers: { "sec-websocket-extensions": "x" } }, "ERR_MILLRACE_INVALID_HEADER"],
    [{ headers: { host: "a\nb" } }, "ERR_MILLRACE_INVALID_HEADER"],
    [{ origin: "a\r\nb" }, "ERR_MILLRACE_INVALID_HEADER"],
    [{ origin: "" }, "ERR_MILLRACE_INVALID_OPTION"],
    [{ protocols: "a b" }, "ERR_MILLRACE_INVALID_OPTION"],
    [{ protocols: ["a", "a"] }, "ERR_MILLRACE_INVALID_OPTION"],
    [{ protocols: "a\r\nx" }, "ERR_MILLRACE_INVALID_OPTION"],
    [{ protocol: "a" }, "ERR_MILLRACE_INVALID_OPTION"],
    [{ timeout: 0 }, "ERR_MILLRACE_INVALID_OPTION"],
    [{ timeout: 86_400_001 }, "ERR_MILLRACE_INVALID_OPTION"],
    [{ signal: {} }, "ERR_MILLRACE_INVALID_OPTION"],
    [{ maxQueue: 0 }, "ERR_MILLRACE_INVALID_OPTION"],
    [{ maxQueue: 65_537 }, "ERR_MILLRACE_INVALID_OPTION"],
    [{ maxPayloadLength: -1 }, "ERR_MILLRACE_INVALID_OPTION"],
    [{ handler: { open() {} } }, "ERR_MILLRACE_INVALID_OPTION"],
    [{ handler: { message: 1 } }, "ERR_MILLRACE_INVALID_OPTION"],
    [{ tls: { host: "b.example" } }, "ERR_MILLRACE_INVALID_OPTION"],
    [{ tls: 1 }, "ERR_MILLRACE_INVALID_OPTION"],
  ])("connect() refuses %j", async (options, expected) => {
    await expect(connect("ws://127.0.0.1:1/", options as object)).rejects.toMatchObject({
      code: expected,
    });
  });

  it("offers no compression where there is no zlib", () => {
    const fake = new FakeBinding();
    setBinding(fake);
    const { deflate } = settingsOf("x", { perMessageDeflate: true });
    const offer = /Sec-WebSocket-Extensions: permessage-deflate;/;
    expect(demandOf("connect()", "ws://a.example", {}, deflate).after).toMatch(offer);
    fake.zlib = false;
    expect(demandOf("connect()", "ws://a.example", {}, deflate).after).not.toContain("Extensions");
  });

  it("says the request in an order of its own, Host first", () => {
    const { before, after } = demandOf(
      "connect()",
      "ws://u@a.example/p",
      {
        headers: [
          ["X-A", "1"],
          ["x-a", "2"],
          ["Host", "b.example"],
        ],
        origin: "https://c.example",
      },
      null,
    );
    expect(before).toBe(
      "GET /p HTTP/1.1\r\nHost: b.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n",
    );
    const basic = Buffer.from("u:").toString("base64");
    expect(after).toBe(
      "Sec-WebSocket-Version: 13\r\nX-A: 1\r\nx-a: 2\r\nOrigin: https://c.example\r\n" +
        `Authorization: Basic ${basic}\r\n\r\n`,
    );
  });

  it("checks a key", () => {
    expect(patienceOf("connect()", { key: "dGhlIHNhbXBsZSBub25jZQ==" }, ["key"]).key).toBeDefined();
    for (const key of ["", "short", "dGhlIHNhbXBsZSBub25jZQ=", 1])
      expect(code(() => patienceOf("connect()", { key }, ["key"]))).toBe(
        "ERR_MILLRACE_INVALID_OPTION",
      );
  });

  it("clientele() and its clients check theirs at once", () => {
    expect(code(() => clientele({ loops: 65 }))).toBe("ERR_MILLRACE_INVALID_OPTION");
    expect(code(() => clientele({ message: 1 } as object))).toBe("ERR_MILLRACE_INVALID_OPTION");
    expect(code(() => clientele({ massage() {} } as object))).toBe("ERR_MILLRACE_INVALID_OPTION");
    const many = clientele();
    expect(code(() => many.client("nonsense"))).toBe("ERR_MILLRACE_INVALID_OPTION");
    expect(code(() => many.client("ws://a.example/", { protocols: "," }))).toBe(
      "ERR_MILLRACE_INVALID_OPTION",
    );
    expect(many.clients.size).toBe(0);
  });
});

describe("attempts", () => {
  const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
  const url = "ws://127.0.0.1:1/";

  function faked(): FakeBinding {
    const fake = new FakeBinding();
    setBinding(fake);
    return fake;
  }

  function opened(ticket: number): { kind: number; handle: number; head: [number, number] } {
    return { kind: EVENT.Opened, handle: ticket, head: [ticket, 0] };
  }

  function ended(handle: number): { kind: number; handle: number; head: [number, number] } {
    return { kind: EVENT.Ended, handle, head: [1, 0] };
  }

  it("tells nobody of a connection that is there in the batch that gives it up", async () => {
    const fake = faked();
    const controller = new AbortController();
    const heard: string[] = [];
    const message = (): void => controller.abort();
    const first = connect(url, { handler: { message } });
    await settled();
    fake.news([opened(1)]);
    await first;
    const close = (): void => void heard.push("close");
    const second = connect(url, { signal: controller.signal, handler: { close } });
    await settled();
    fake.news([{ kind: EVENT.Message, handle: 1, body: "x" }, opened(2)]);
    await expect(second).rejects.toMatchObject({ name: "AbortError" });
    expect(fake.cuts).toEqual([2]);
    fake.news([ended(2), ended(1)]);
    await settled();
    expect(heard).toEqual([]);
  });

  it("W3C: closed while connecting, it does not open any more", async () => {
    const fake = faked();
    const log: string[] = [];
    const first = new WebSocket(url);
    await settled();
    fake.news([opened(1)]);
    await settled();
    const second = new WebSocket(url);
    for (const type of ["open", "error", "close"] as const)
      second.addEventListener(type, () => log.push(`${type} ${second.readyState}`));
    await settled();
    first.onmessage = () => second.close();
    fake.news([{ kind: EVENT.Message, handle: 1, body: "x" }, opened(2)]);
    await settled();
    expect(log).toEqual(["error 3", "close 3"]);
    expect(fake.cuts).toEqual([2]);
    fake.news([ended(1)]);
    await settled();
  });

  it("abandon() cuts what has come about, and a closed engine says that it is closed", async () => {
    const fake = faked();
    const engine = new Engine(settingsOf("x", {}), 0, undefined);
    const rules = rulesOf({}, "x", engine.settings, 0, 64, false);
    rules.service = engine.service;
    const to = { address: "127.0.0.1", port: 1, fd: -1 };
    const dial = () =>
      engine.dial(to, 1000, "key", "request", (handle, generation) => {
        return new NativeSocket(rules, handle, generation, undefined, "", "", 0);
      });
    const attempt = dial();
    fake.news([opened(1)]);
    await attempt.socket;
    attempt.abandon();
    expect(fake.cuts).toEqual([1]);
    fake.news([ended(1)]);
    await engine.close(0);
    fake.accepts = false;
    await expect(dial().socket).rejects.toMatchObject({ code: "ERR_MILLRACE_CLOSED" });
  });

  it("a client connects later when the loops could not be started at first", async () => {
    const fake = faked();
    const many = clientele({ error: () => undefined });
    const client = many.client(url);
    fake.failure = Object.assign(new Error("too many"), { code: "EMFILE" });
    expect(await client.connect()).toBe(false);
    fake.failure = undefined;
    const later = client.connect();
    await settled();
    fake.news([opened(1)]);
    expect(await later).toBe(true);
    const over = client.close(false);
    fake.news([ended(1)]);
    await over;
    await many.close();
  });
});
