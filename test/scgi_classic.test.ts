// The classic loop of SCGI: open(), next(), run(), requests that write their own header block.
import { describe, expect, it, onTestFinished } from "vitest";
import { MillraceError, scgi } from "../src/index.ts";
import { cgiAnswer, scgiRequest } from "./support/scgi.ts";
import { watchWarnings } from "./support/streaming.ts";
import { until } from "./support/until.ts";
import { Wire } from "./support/wire.ts";

type State = Awaited<ReturnType<typeof scgi.open>>;

const warnings = watchWarnings();

describe.each([0, 1, 2])("loops: %i", (loops) => {
  async function opened(options: scgi.ScgiOptions = {}): Promise<State> {
    const state = await scgi.open({ port: 0, loops, ...options });
    onTestFinished(() => state.close({ timeout: 1000 }));
    return state;
  }

  function connect(state: State, text: string): Wire {
    const client = new Wire({ port: state.address.port, host: "127.0.0.1", allowHalfOpen: true });
    onTestFinished(() => client.close());
    return client.send(text);
  }

  async function closed(client: Wire): Promise<string> {
    await until("the connection is closed", () => client.ended);
    return client.buffer;
  }

  async function taken(state: State): Promise<scgi.ScgiRequest> {
    const request = await state.next(10_000);
    if (request === null) throw new Error("nobody came");
    return request;
  }

  const get = (uri: string, more = {}): string => scgiRequest({ REQUEST_URI: uri, ...more });

  it("gives null when nobody comes in time", async () => {
    const state = await opened();
    expect(await state.next(0)).toBeNull();
    const began = performance.now();
    expect(await state.next(50)).toBeNull();
    expect(performance.now() - began).toBeGreaterThanOrEqual(49);
    // A client that connects, says half and leaves is nobody.
    const half = connect(state, get("/").slice(0, 20));
    expect(await state.next(20)).toBeNull();
    half.close();
    expect(await state.next(20)).toBeNull();
  });

  it("gives the next request, with variables and input", async () => {
    const state = await opened();
    const text = scgiRequest(
      { REQUEST_METHOD: "POST", REQUEST_URI: "/x?y", REMOTE_ADDR: "203.0.113.9", HTTP_A: "b" },
      Buffer.from("grüße\0").toString("latin1"),
    );
    const client = connect(state, text);
    const request = await taken(state);
    expect([request.method, request.uri, request.input]).toEqual(["POST", "/x?y", "grüße\0"]);
    expect([request.bytes.length, request.remoteAddress.address]).toEqual([8, "203.0.113.9"]);
    expect([...request.headers.keys()]).toEqual([
      "CONTENT_LENGTH",
      "SCGI",
      "REQUEST_METHOD",
      "REQUEST_URI",
      "REMOTE_ADDR",
      "HTTP_A",
    ]);
    request.writeStatusOkTextContent();
    request.write("Hello");
    await until("the head has come before the end", () => client.buffer.endsWith("Hello"));
    expect(client.ended).toBe(false);
    expect([request.closed, request.close(), request.closed, request.close()]).toEqual([
      false,
      true,
      true,
      false,
    ]);
    expect(await closed(client)).toBe("Status: 200 OK\r\nContent-Type: text/html\r\n\r\nHello");
  });

  it("writes the head alone, byte for byte, before anything else", async () => {
    const state = await opened();
    const client = connect(state, get("/"));
    const request = await taken(state);
    request.writeStatusOkTextContent("text/plain");
    const head = "Status: 200 OK\r\nContent-Type: text/plain\r\n\r\n";
    await until("the head is there", () => client.buffer === head);
    request.end();
    expect(await closed(client)).toBe(head);
  });

  it.each([
    ["Status: 404 Not Found\r\n\r\nnone", "Status: 404 Not Found\r\n\r\nnone"],
    [
      "Content-Type: a/b\nX: ü\n\nx\r\n\r\ny",
      "Status: 200 OK\r\nContent-Type: a/b\r\nX: ü\r\n\r\nx\r\n\r\ny",
    ],
    ["Location: /x\r\n\r\n", "Status: 302 Found\r\nLocation: /x\r\n\r\n"],
    [
      "Status: 200 OK\r\nContent-Length: 2\r\n\r\nok",
      "Status: 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ],
    [
      "Status: 503 x\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\n",
      "Status: 503 Service Unavailable\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\n",
    ],
  ])("takes a header block of the application's own: %j", async (written, expected) => {
    const state = await opened();
    const whole = connect(state, get("/"));
    const first = await taken(state);
    first.write(written);
    first.close();
    const wanted = Buffer.from(expected).toString("latin1");
    expect(await closed(whole)).toBe(wanted);
    const cut = connect(state, get("/"));
    const second = await taken(state);
    for (const byte of Buffer.from(written)) second.write(new Uint8Array([byte]));
    second.close();
    expect(await closed(cut)).toBe(wanted);
  });

  it.each([
    ["", "is missing"],
    ["Status: 200 OK\r\n", "has no empty line at its end"],
    ["<html>\r\n\r\n", "no header field"],
    ["Status: 700 x\r\n\r\n", "200 to 599"],
    ["A: \u0001\r\n\r\n", "A"],
  ])("answers 500 for the block %j and says why", async (written, message) => {
    const state = await opened();
    const client = connect(state, get("/"));
    const request = await taken(state);
    const write = (): void => {
      request.write(written);
      request.close();
    };
    expect(write).toThrow(message);
    expect(request.closed).toBe(true);
    const { status, body } = cgiAnswer(await closed(client));
    expect([status, body]).toEqual([500, "Internal Server Error\n"]);
    await until("it is warned of", () => warnings.some((each) => each.message.includes(message)));
    expect(() => request.write("x")).toThrow(scgi.ScgiError);
  });

  it("throws errors of its class, with the codes of all", async () => {
    const state = await opened();
    const error = await scgi.open({ port: state.address.port }).catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(scgi.ScgiError);
    expect(error).toBeInstanceOf(MillraceError);
    expect(error).toMatchObject({ name: "ScgiError", code: "ERR_MILLRACE_ADDR_IN_USE" });
    const wrong = { code: "ERR_MILLRACE_INVALID_OPTION", name: "ScgiError" };
    await expect(scgi.open({ host: "x" } as never)).rejects.toMatchObject(wrong);
    await expect(scgi.open({ reuseAddr: 1 } as never)).rejects.toMatchObject(wrong);
    await expect(state.next(-2)).rejects.toMatchObject(wrong);
    await expect(state.next(1.5)).rejects.toMatchObject(wrong);
  });

  it("ends those who wait when it closes, and answers 503 to what nobody took", async () => {
    const state = await opened();
    const waiting = state.next();
    const ended = waiting.catch((caught: unknown) => caught);
    const other = await opened();
    const client = connect(other, get("/"));
    await until("it is there", () => other.waiting === 1);
    await Promise.all([state.close(), other.close()]);
    expect(await ended).toMatchObject({ code: "ERR_MILLRACE_CLOSED", name: "ScgiError" });
    await expect(state.next(0)).rejects.toMatchObject({ code: "ERR_MILLRACE_CLOSED" });
    expect(cgiAnswer(await closed(client)).status).toBe(503);
  });

  it("lets what was taken finish", async () => {
    const state = await opened();
    const client = connect(state, get("/"));
    const request = await taken(state);
    const closing = state.close();
    request.writeStatusOkTextContent();
    request.write("late");
    request.close();
    await closing;
    expect((await closed(client)).endsWith("\r\n\r\nlate")).toBe(true);
  });

  it("keeps no more waiting than it may, and loses none", async () => {
    const state = await opened({ loops: Math.min(loops, 1), limits: { maxInFlight: 4 } });
    const clients = Array.from({ length: 12 }, (_, at) => connect(state, get(`/${at}`)));
    await until("as many as may wait do", () => state.server.metrics.inFlight === 4);
    await until("all are connected", () => state.server.metrics.connections === 12);
    expect(state.server.metrics.requests).toBe(4);
    const uris = new Set<string>();
    for (let at = 0; at < clients.length; at += 1) {
      const request = await taken(state);
      uris.add(request.uri);
      request.writeStatusOkTextContent();
      request.close();
    }
    expect(uris.size).toBe(12);
  });

  it("does not give out requests whose clients have left", async () => {
    const state = await opened();
    const gone = connect(state, get("/gone"));
    await until("it waits", () => state.waiting === 1);
    gone.reset();
    await until("it is known to have left", () => state.waiting === 0);
    connect(state, get("/here"));
    expect((await taken(state)).uri).toBe("/here");
    expect(await state.next(0)).toBeNull();
  });

  it("runs a handler until it returns true", async () => {
    const state = await opened();
    let count = 0;
    const running = state.run((request) => {
      count += 1;
      request.writeStatusOkTextContent();
      request.write(`Hello for the ${count}th time.\r\n`);
      return count === 3;
    });
    for (const n of [1, 2, 3]) {
      const text = await closed(connect(state, get("/")));
      expect(text).toBe(
        `Status: 200 OK\r\nContent-Type: text/html\r\n\r\nHello for the ${n}th time.\r\n`,
      );
    }
    await running;
    expect(count).toBe(3);
  });

  it("goes on when a handler throws, and waits for one that is asynchronous", async () => {
    const state = await opened();
    const running = state.run(async (request) => {
      if (request.uri === "/throw") throw new Error("thrown on purpose");
      if (request.uri === "/late") {
        request.writeStatusOkTextContent();
        throw new Error("thrown too late");
      }
      await new Promise(setImmediate);
      if (request.uri === "/silent") return false;
      request.writeStatusOkTextContent();
      request.write("ok");
      return request.uri === "/last";
    });
    const thrown = await closed(connect(state, get("/throw")));
    expect(cgiAnswer(thrown).status).toBe(500);
    const silent = await closed(connect(state, get("/silent")));
    expect(cgiAnswer(silent).status).toBe(500);
    const late = connect(state, get("/late"));
    await closed(late);
    expect((await closed(connect(state, get("/last")))).endsWith("ok")).toBe(true);
    await running;
    const messages = warnings.map(({ message }) => message).join("\n");
    expect(messages).toContain("CGI response is missing");
  });

  it("takes the next request while a client does not read what it asked for", async () => {
    const state = await opened();
    const chunk = "x".repeat(65_536);
    const bigs: string[] = [];
    const running = state.run(async (request) => {
      request.writeStatusOkTextContent();
      if (!request.uri.startsWith("/big")) return void request.write("ok");
      bigs.push(request.uri);
      for (let i = 0; i < 200; i += 1) if (!request.write(chunk)) await request.drained();
      request.write("the end");
      return request.uri === "/big-last";
    });
    const slow = ["/big", "/big-last"].map((uri) => {
      const client = connect(state, get(uri));
      client.socket.pause();
      return client;
    });
    await until("both have been taken", () => bigs.length === 2);
    for (let i = 0; i < 3; i += 1)
      expect((await closed(connect(state, get("/small")))).endsWith("ok")).toBe(true);
    // It ends with the handler that returns true, although it waits for a request.
    for (const client of slow) client.socket.resume();
    await running;
    for (const client of slow) expect((await closed(client)).endsWith("the end")).toBe(true);
    // And has left nobody behind who would take one.
    const client = connect(state, get("/after"));
    const request = await taken(state);
    request.writeStatusOkTextContent();
    request.close();
    await closed(client);
  });

  it("refuses a handler that is no function, and a second run() beside one", async () => {
    const state = await opened();
    const wrong = { code: "ERR_MILLRACE_INVALID_OPTION", name: "ScgiError" };
    await expect(state.run("nope" as never)).rejects.toMatchObject(wrong);
    await expect(scgi.run(undefined as never)).rejects.toMatchObject(wrong);
    const seen: string[] = [];
    const answer = (request: scgi.ScgiRequest): boolean => {
      seen.push(request.uri);
      request.writeStatusOkTextContent();
      return request.uri === "/last";
    };
    const running = state.run(answer);
    await expect(state.run(() => true)).rejects.toMatchObject(wrong);
    await expect(state.run("nope" as never)).rejects.toMatchObject(wrong);
    for (const uri of ["/1", "/2", "/last"])
      expect(cgiAnswer(await closed(connect(state, get(uri)))).status).toBe(200);
    await running;
    expect(seen).toEqual(["/1", "/2", "/last"]);
    const again = state.run(answer); // behind it there may be another
    await closed(connect(state, get("/last")));
    await again;
  });

  it("ends behind a handler that returns true, whatever became of its response", async () => {
    for (const write of [undefined, "Status: 200 OK\r\n", "Content-Length: 5\r\n\r\nabc"]) {
      const state = await opened();
      let count = 0;
      const running = state.run((request) => {
        count += 1;
        if (write !== undefined) request.write(write);
        return true;
      });
      await closed(connect(state, get("/")));
      const next = connect(state, get("/again"));
      await running;
      expect(count).toBe(1);
      next.close();
    }
  });

  it.each(["a\r\nX: y", "a\nX: y", "a\rb", "a\0", "a\x7f", 5, null])(
    "refuses %j as a Content-Type",
    async (type) => {
      const state = await opened();
      const client = connect(state, get("/"));
      const request = await taken(state);
      expect(() => request.writeStatusOkTextContent(type as string)).toThrow(
        expect.objectContaining({ code: "ERR_MILLRACE_INVALID_HEADER", name: "ScgiError" }),
      );
      const answer = await closed(client);
      expect(cgiAnswer(answer).status).toBe(500);
      expect(answer).not.toContain("X: y");
    },
  );

  it("answers 503 at once when its signal is aborted, and ends", async () => {
    const controller = new AbortController();
    const state = await opened({ signal: controller.signal });
    const clients = ["/1", "/2"].map((uri) => connect(state, get(uri)));
    await until("both wait", () => state.waiting === 2);
    const mine = await taken(state);
    const [first, second] = clients as [Wire, Wire];
    const [own, other] = mine.uri === "/1" ? [first, second] : [second, first];
    controller.abort();
    expect(cgiAnswer(await closed(other)).status).toBe(503);
    await expect(state.next()).rejects.toMatchObject({ code: "ERR_MILLRACE_CLOSED" });
    mine.writeStatusOkTextContent();
    mine.close();
    expect(cgiAnswer(await closed(own)).status).toBe(200);
  });

  it("is not disturbed by clients that are malformed or slow", async () => {
    const state = await opened();
    const bad = ["12x", "5:", "99999999999999999999:", get("/").slice(0, 30), ":", "0:,"];
    for (let i = 0; i < 60; i += 1) connect(state, bad[i % bad.length] as string);
    const good = Array.from({ length: 60 }, (_, at) => connect(state, get(`/${at}`)));
    const uris = new Set<string>();
    for (let i = 0; i < good.length; i += 1) {
      const request = await taken(state);
      uris.add(request.uri);
      request.writeStatusOkTextContent();
      request.write(request.uri);
      request.close();
    }
    expect(uris.size).toBe(60);
    for (const [at, client] of good.entries())
      expect((await closed(client)).endsWith(`\r\n\r\n/${at}`)).toBe(true);
    expect(await state.next(0)).toBeNull();
  });
});

it("opens, runs and closes in one call", async () => {
  const controller = new AbortController();
  const running = scgi.run(() => true, { port: 0, signal: controller.signal });
  await new Promise(setImmediate);
  controller.abort();
  await running;
  await scgi.run(() => true, { port: 0, signal: controller.signal });
  await expect(scgi.run("x" as never)).rejects.toThrow("must be a function");
});
