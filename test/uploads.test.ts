// Request bodies that are read while they come, over real sockets: every way of reading, credit,
// what happens when either side leaves early.
import { createHash, randomBytes } from "node:crypto";
import { Readable } from "node:stream";
import { request } from "undici";
import { expect, it } from "vitest";
import { type MillraceError, type Receipt, type Req, raw } from "../src/index.ts";
import { onEachHost, portOf } from "./support/hosts.ts";
import { until } from "./support/until.ts";
import { wire } from "./support/wire.ts";

const HEAD = "POST /up HTTP/1.1\r\nHost: a\r\n";
const CHUNKED = `${HEAD}Transfer-Encoding: chunked\r\n\r\n`;
const codeOf = (error: unknown): string => (error as MillraceError).code;
const MIB = 1_048_576;

async function digestOf(chunks: AsyncIterable<Uint8Array>): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of chunks) hash.update(chunk);
  return hash.digest("hex");
}

onEachHost(({ start }) => {
  const upload = (handler: (req: Req) => Promise<string>, more = {}) =>
    start({
      routes: {
        "/up": {
          POST: raw(async (req, res) => void res.end(await handler(req))),
          body: "stream",
          ...more,
        },
      },
    });

  it("calls the handler before the body has come", async () => {
    let called = false;
    const server = await upload(async (req) => {
      called = true;
      let text = "";
      for await (const chunk of req) text += Buffer.from(chunk).toString();
      return text;
    });
    const client = await wire(server);
    client.send(`${HEAD}Content-Length: 5\r\n\r\n`);
    await until("the handler is called", () => called);
    client.send("he");
    client.send("llo");
    expect((await client.response()).body).toBe("hello");
  });

  it("gives the same bytes at every split of a sized and a chunked body", async () => {
    const server = await upload(async (req) => {
      let text = "";
      for await (const chunk of req) text += Buffer.from(chunk).toString("latin1");
      return `${text} ${[...(await req.trailers)].join()}`;
    });
    const sized = `${HEAD}Content-Length: 11\r\n\r\nhello world`;
    const chunked = `${CHUNKED}5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nX-Sum: 1\r\n\r\n`;
    for (const [whole, body] of [
      [sized, "hello world "],
      [chunked, "hello world x-sum,1"],
    ] as const) {
      const client = await wire(server);
      for (let cut = 1; cut < whole.length; cut += 1) {
        client.send(whole.slice(0, cut));
        await until("the first part is sent", () => client.socket.writableLength === 0);
        client.send(whole.slice(cut));
        expect((await client.response()).body, `cut at ${cut}`).toBe(body);
      }
      client.close();
    }
  });

  it("takes large bodies bit by bit, sized and chunked", async () => {
    const server = await upload(digestOf);
    const bytes = randomBytes(20 * MIB);
    const digest = createHash("sha256").update(bytes).digest("hex");
    const url = `http://127.0.0.1:${portOf(server)}/up`;
    const sized = await request(url, { method: "POST", body: bytes });
    expect(await sized.body.text()).toBe(digest);
    const pieces = async function* (): AsyncGenerator<Buffer> {
      for (let at = 0; at < bytes.length; at += 100_003) yield bytes.subarray(at, at + 100_003);
    };
    const chunked = await request(url, { method: "POST", body: Readable.from(pieces()) });
    expect(await chunked.body.text()).toBe(digest);
  });

  it("stops reading a socket whose handler does not read, and nobody else's", async () => {
    let go: () => void = () => undefined;
    const gate = new Promise<void>((resolve) => (go = resolve));
    const server = await start({
      routes: {
        "/up": {
          POST: raw(async (req, res) => {
            await gate;
            res.end(await digestOf(req));
          }),
          body: "stream",
        },
        "/now": raw((_req, res) => void res.end("now")),
      },
    });
    const bytes = randomBytes(30 * MIB);
    const client = await wire(server);
    client.send(`${HEAD}Content-Length: ${bytes.length}\r\n\r\n`).send(bytes);
    const other = await wire(server);
    for (let i = 0; i < 20; i += 1) {
      other.get("/now");
      expect((await other.response()).body).toBe("now");
    }
    expect(server.metrics.bytesIn).toBeLessThan(2 * MIB);
    go();
    const digest = createHash("sha256").update(bytes).digest("hex");
    expect((await client.response()).body).toBe(digest);
  });

  it("reads a streamed body whole when asked to, within limits.maxRequestBodySize", async () => {
    const server = await start({
      limits: { maxRequestBodySize: 100 },
      routes: {
        "/json": {
          POST: raw(async (req, res) => void res.json(await req.json())),
          body: "stream",
        },
        "/fetch": {
          POST: async (request: Request) => new Response(await request.text()),
          body: "stream",
        },
      },
    });
    const url = `http://127.0.0.1:${portOf(server)}`;
    const good = await request(`${url}/json`, { method: "POST", body: '{"a":1}' });
    expect(await good.body.json()).toEqual({ a: 1 });
    const bad = await request(`${url}/json`, { method: "POST", body: "{" });
    expect([bad.statusCode, await bad.body.text()]).toEqual([
      400,
      expect.stringContaining("ERR_MILLRACE_BAD_JSON"),
    ]);
    const text = await request(`${url}/fetch`, { method: "POST", body: "é".repeat(50) });
    expect(await text.body.text()).toBe("é".repeat(50));
    const large = await request(`${url}/fetch`, { method: "POST", body: "é".repeat(51) });
    expect([large.statusCode, await large.body.text()]).toEqual([
      413,
      expect.stringContaining("ERR_MILLRACE_BODY_TOO_LARGE"),
    ]);
  });

  it("gives fetch handlers request.body as a stream", async () => {
    const server = await start({
      routes: {
        "/up": {
          POST: async (request: Request) => {
            expect(request.body).toBeInstanceOf(ReadableStream);
            return new Response(await digestOf(request.body as ReadableStream<Uint8Array>));
          },
          body: "stream",
        },
      },
    });
    const bytes = randomBytes(3 * MIB);
    const digest = createHash("sha256").update(bytes).digest("hex");
    const url = `http://127.0.0.1:${portOf(server)}/up`;
    const answer = await request(url, { method: "POST", body: bytes });
    expect(await answer.body.text()).toBe(digest);
  });

  it("sends 100 Continue when the handler begins to read, not before", async () => {
    let read: () => void = () => undefined;
    const gate = new Promise<void>((resolve) => (read = resolve));
    let called = 0;
    const server = await upload(async (req) => {
      called += 1;
      await gate;
      return req.text();
    });
    const client = await wire(server);
    client.send(`${HEAD}Expect: 100-continue\r\nContent-Length: 2\r\n\r\n`);
    await until("the handler is called", () => called === 1);
    expect(client.buffer).toBe("");
    read();
    await until("the client may send", () => client.buffer !== "");
    expect(client.buffer).toBe("HTTP/1.1 100 Continue\r\n\r\n");
    client.buffer = "";
    client.send("ok");
    expect((await client.response()).body).toBe("ok");
  });

  it("closes behind an answer that was given without asking for an expected body", async () => {
    const server = await upload(async () => "no");
    const client = await wire(server);
    client.send(`${HEAD}Expect: 100-continue\r\nContent-Length: 2\r\n\r\n`);
    const answer = await client.response();
    expect([answer.body, answer.headers.get("connection")]).toEqual(["no", "close"]);
    await client.end();
  });

  it("goes on with the next request when a short rest of a body was left", async () => {
    const server = await upload(async (req) => {
      for await (const chunk of req) return `left after ${chunk.length > 0}`;
      return "nothing";
    });
    const client = await wire(server);
    client.send(`${HEAD}Content-Length: 100000\r\n\r\n${"x".repeat(50_000)}`);
    expect((await client.response()).body).toBe("left after true");
    client.send("x".repeat(50_000));
    client.send(`${CHUNKED}5\r\nhello\r\n`);
    expect((await client.response()).body).toBe("left after true");
    client.send("5\r\nhello\r\n0\r\n\r\n");
    client.send(`${HEAD}Content-Length: 0\r\n\r\n`);
    expect((await client.response()).body).toBe("nothing");
  });

  it("closes when more of a body is left than limits.maxDiscardedBody", async () => {
    const server = await upload(async (req) => {
      for await (const chunk of req) return `left after ${chunk.length > 0}`;
      return "nothing";
    });
    const client = await wire(server);
    client.send(`${HEAD}Content-Length: 1000000\r\n\r\n${"x".repeat(1000)}`);
    const answer = await client.response();
    expect(answer.headers.get("connection")).toBe("close");
    await client.end();
    const other = await wire(server);
    other.send(`${CHUNKED}5\r\nhello\r\n`);
    expect((await other.response()).body).toBe("left after true");
    const chunk = `10000\r\n${"x".repeat(65_536)}\r\n`;
    other.send(chunk.repeat(5));
    await other.end();
  });

  it("tells a handler what is wrong with the body it reads, and answers for it", async () => {
    const codes: string[] = [];
    const server = await upload(
      async (req) => {
        try {
          return await digestOf(req);
        } catch (error) {
          codes.push(codeOf(error));
          throw error;
        }
      },
      { maxBodySize: 10 },
    );
    const broken = await wire(server);
    broken.send(`${CHUNKED}5\r\nhello\r\nnonsense\r\n`);
    expect((await broken.response()).status).toBe(400);
    await broken.end();
    const large = await wire(server);
    large.send(`${CHUNKED}5\r\nhello\r\n6\r\nworlds\r\n0\r\n\r\n`);
    expect((await large.response()).status).toBe(413);
    await large.end();
    const known = await wire(server);
    known.send(`${HEAD}Content-Length: 11\r\n\r\n`);
    expect((await known.response()).status).toBe(413);
    const half = await wire(server);
    half.send(`${HEAD}Content-Length: 10\r\n\r\nhello`);
    half.socket.end();
    expect((await half.response()).status).toBe(400);
    expect(codes).toEqual([
      "ERR_MILLRACE_BAD_CHUNK",
      "ERR_MILLRACE_BODY_TOO_LARGE",
      "ERR_MILLRACE_INCOMPLETE",
    ]);
  });

  it("ends a read with ERR_MILLRACE_ABORTED when the peer is reset", async () => {
    const codes: string[] = [];
    let chunks = 0;
    const server = await upload(async (req) => {
      try {
        for await (const _chunk of req) chunks += 1;
      } catch (error) {
        codes.push(codeOf(error));
      }
      return "late";
    });
    for (let i = 1; i <= 20; i += 1) {
      const client = await wire(server);
      client.send(`${HEAD}Content-Length: 1000\r\n\r\nhello`);
      await until("it has begun to read", () => chunks === i);
      client.reset();
      await until("it knows", () => codes.length === i);
    }
    expect(new Set(codes)).toEqual(new Set(["ERR_MILLRACE_ABORTED"]));
  });

  it("cuts a dripping peer by its own deadline, and not one that waits for us", async () => {
    let go: () => void = () => undefined;
    const gate = new Promise<void>((resolve) => (go = resolve));
    const server = await start({
      timeouts: { receive: 300, minReceiveRate: 0 },
      routes: {
        "/up": { POST: raw(async (req, res) => void res.end(await req.text())), body: "stream" },
        "/slow": {
          POST: raw(async (req, res) => {
            let size = 0;
            for await (const chunk of req) {
              size += chunk.length;
              await gate;
            }
            res.end(`${size}`);
          }),
          body: "stream",
        },
      },
    });
    // Held back before the other one stalls, and until that one has been cut.
    const slow = await wire(server);
    slow.send(`POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 900000\r\n\r\nx`);
    const stalled = await wire(server);
    stalled.send(`${HEAD}Content-Length: 10\r\n\r\nhello`);
    slow.send("x".repeat(899_999));
    expect((await stalled.response()).status).toBe(408);
    go();
    expect((await slow.response()).body).toBe("900000");
  });

  it("receives by states: progress, try-again, complete, fail", async () => {
    const seen: Receipt["state"][] = [];
    let giveUpMs = 10_000;
    const server = await upload(async (req) => {
      let text = "";
      for await (const { state, chunk } of req.receive({ waitMs: 20, giveUpMs })) {
        if (state !== seen.at(-1)) seen.push(state);
        text += Buffer.from(chunk).toString();
      }
      return text;
    });
    const client = await wire(server);
    client.send(`${HEAD}Content-Length: 4\r\n\r\nab`);
    await until("it waits", () => seen.includes("try-again"));
    client.send("cd");
    expect((await client.response()).body).toBe("abcd");
    expect(seen).toEqual(["progress", "try-again", "progress", "complete"]);
    seen.length = 0;
    giveUpMs = 300;
    const stalled = await wire(server);
    stalled.send(`${HEAD}Content-Length: 4\r\n\r\nab`);
    await stalled.end();
    expect(stalled.buffer).toBe("");
    expect(seen).toEqual(["progress", "try-again", "fail"]);
  });

  it("lets a body be read once, and not after the response has ended", async () => {
    const codes: string[] = [];
    const server = await start({
      routes: {
        "/up": {
          POST: raw(async (req, res) => {
            await req.text();
            await req.bytes().catch((error: unknown) => codes.push(codeOf(error)));
            res.end("once");
          }),
          body: "stream",
        },
        "/late": {
          POST: raw(async (req, res) => {
            res.end("early");
            await req.text().catch((error: unknown) => codes.push(codeOf(error)));
          }),
          body: "stream",
        },
      },
    });
    const client = await wire(server);
    client.send(`${HEAD}Content-Length: 2\r\n\r\nab`);
    expect((await client.response()).body).toBe("once");
    client.send("POST /late HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab");
    expect((await client.response()).body).toBe("early");
    await until("both are told", () => codes.length === 2);
    expect(codes).toEqual(["ERR_MILLRACE_BODY_USED", "ERR_MILLRACE_BODY_USED"]);
  });

  it("keeps the order of pipelined requests around a streamed body", async () => {
    const server = await upload(async (req) => req.text());
    const client = await wire(server);
    const one = `${HEAD}Content-Length: 3\r\n\r\n`;
    client.send(`${one}one${one}two${CHUNKED}5\r\nthree\r\n0\r\n\r\n${one}fou`);
    const bodies = [];
    for (let i = 0; i < 4; i += 1) bodies.push((await client.response()).body);
    expect(bodies).toEqual(["one", "two", "three", "fou"]);
  });

  it("collects no more than the limit, by whatever method", async () => {
    const read: Readonly<Record<string, (request: Request) => Promise<unknown>>> = {
      arrayBuffer: (request) => request.arrayBuffer(),
      blob: (request) => request.blob(),
      formData: (request) => request.formData(),
      json: (request) => request.json(),
      text: (request) => request.text(),
      touched: (request) => (request.body === null ? request.text() : request.blob()),
    };
    const server = await start({
      limits: { maxRequestBodySize: 1000 },
      routes: {
        "/:way": {
          POST: async (request: Request, ctx) => {
            await read[ctx.params.way]?.(request);
            return new Response("taken");
          },
          body: "stream",
        },
        "/raw/nan": {
          POST: raw(async (req, res) => void res.end(await req.bytes({ limit: Number.NaN }))),
          body: "stream",
        },
      },
    });
    for (const way of Object.keys(read)) {
      for (const [size, status] of [
        [1000, way === "json" ? 400 : way === "formData" ? 500 : 200],
        [1001, 413],
      ]) {
        const client = await wire(server);
        const head = `POST /${way} HTTP/1.1\r\nHost: a\r\nContent-Length: ${size}\r\n\r\n`;
        client.send(head + "x".repeat(size as number));
        expect([way, size, (await client.response()).status]).toEqual([way, size, status]);
        client.close();
      }
    }
    const client = await wire(server);
    client.send("POST /raw/nan HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx");
    expect((await client.response()).status).toBe(500);
  });

  it("bounds a handler that lets a body lie by timeouts.handler", async () => {
    const server = await start({
      timeouts: { handler: 200 },
      routes: { "/up": { POST: raw(() => new Promise<void>(() => undefined)), body: "stream" } },
    });
    const client = await wire(server);
    client.send(`${HEAD}Content-Length: 3\r\n\r\nabc`);
    expect((await client.response()).status).toBe(503);
    await client.end();
  });

  it("counts many tiny pieces by more than their bytes", async () => {
    const seen = { req: undefined as Req | undefined, end: () => {} };
    const server = await start({
      routes: {
        "/up": {
          POST: raw(async (req, res) => {
            await req[Symbol.asyncIterator]().next();
            seen.req = req;
            await new Promise<void>((resolve) => (seen.end = resolve));
            res.end();
          }),
          body: "stream",
        },
      },
    });
    const client = await wire(server);
    client.send(`${HEAD}Content-Length: 1000000\r\n\r\nx`);
    await until("it has begun", () => seen.req !== undefined);
    const before = server.metrics.counters["events"] ?? 0;
    let sent = 0;
    let held = -1;
    // Until the loop has stopped reading for a while.
    await until("it reads no more", () => {
      for (let i = 0; i < 50 && client.socket.writableLength < 5000; i += 1, sent += 1)
        client.send("x");
      const now = server.metrics.bytesIn;
      const isStill = now === held && client.socket.writableLength >= 5000;
      held = now;
      return isStill || sent > 60_000;
    });
    expect((server.metrics.counters["events"] ?? 0) - before).toBeLessThan(5000);
    client.reset();
    seen.end();
  });
});
