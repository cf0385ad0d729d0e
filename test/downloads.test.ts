// Response bodies that are written piece by piece, over real sockets: framing, back-pressure, and
// what happens when either side leaves early. What they are streamed from: sources.test.ts.
import { createHash, randomBytes } from "node:crypto";
import { readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import type { RawHandler, Res, Server } from "../src/index.ts";
import { outputOf } from "./support/child.ts";
import { chunkedResponse } from "./support/dechunk.ts";
import { onEachHost, portOf } from "./support/hosts.ts";
import { programNamed } from "./support/programs.ts";
import {
  ask as askBy,
  codeOf,
  endless,
  HIGH_WATER,
  KIB,
  laps,
  MIB,
  serving as servingBy,
  untilClosed,
  watchWarnings,
} from "./support/streaming.ts";
import { gate, until } from "./support/until.ts";
import { type Wire, wire } from "./support/wire.ts";

const curl = programNamed("curl");
if (curl === undefined) process.stderr.write("downloads.test.ts: no curl here, less is tested\n");
const warnings = watchWarnings();

/** Sends the head of GET / in HTTP/1.0. */
const get10 = (client: Wire, lines = ""): Wire => client.send(`GET / HTTP/1.0\r\n${lines}\r\n`);

onEachHost(({ start }) => {
  const serving = (handler: RawHandler): Promise<Server> => servingBy(start, handler);
  const ask = (handler: RawHandler): ReturnType<typeof askBy> => askBy(start, handler);

  // ── framing ──

  it("frames what is written in chunks, byte by byte as the RFC has it", async () => {
    const { client } = await ask((_req, res) => {
      res.write("hello");
      res.write("");
      res.write(new Uint8Array(0));
      res.write(new TextEncoder().encode(" wörld").buffer as ArrayBuffer);
      res.end("!");
    });
    const { headers } = await client.response();
    expect(headers.get("transfer-encoding")).toBe("chunked");
    expect(headers.has("content-length")).toBe(false);
    const whole = "5\r\nhello\r\n7\r\n w\u00c3\u00b6rld\r\n1\r\n!\r\n0\r\n\r\n";
    await until("the body is there", () => client.buffer.length >= whole.length);
    expect(client.buffer).toBe(whole);
  });

  it("sends an empty body when nothing but empty chunks was written", async () => {
    const { client } = await ask((_req, res) => {
      res.write("");
      res.end();
    });
    await client.response();
    await until("the body is there", () => client.buffer.length >= 5);
    expect(client.buffer).toBe("0\r\n\r\n");
  });

  it("keeps chunks of every size whole, from one byte to beyond what a record holds", async () => {
    const sizes = [1, 15, 16, 255, 256, 4095, 4096, 4097, 16_384, 65_535, 65_536, 300_000];
    const text = sizes.map((size, at) => String.fromCharCode(97 + at).repeat(size));
    const { client } = await ask((_req, res) => {
      for (const each of text) res.write(each);
      for (const each of text) res.write(Buffer.from(each));
      res.end();
    });
    expect((await chunkedResponse(client)).body).toBe(text.join("") + text.join(""));
  });

  it("sends trailers behind a chunked body, also of an answer that was not begun", async () => {
    const { client } = await ask((req, res) => {
      if (req.search === "") res.write("a");
      res.end("b", { "X-Sum": "1", "X-More": ["2", "3"] });
    });
    const trailers = "X-Sum: 1\r\nX-More: 2\r\nX-More: 3\r\n";
    expect(await chunkedResponse(client)).toMatchObject({ body: "ab", trailers });
    client.get("/?whole");
    expect(await chunkedResponse(client)).toMatchObject({ body: "b", trailers });
  });

  it("sends what Content-Length announced without chunks and goes on", async () => {
    const { client } = await ask((_req, res) => {
      res.header("content-length", 10).write("hello");
      res.write("worl");
      res.end("d");
    });
    client.get("/");
    for (let i = 0; i < 2; i += 1) {
      const { headers, body } = await client.response();
      expect([headers.has("transfer-encoding"), body]).toEqual([false, "helloworld"]);
    }
  });

  it.each([
    ["more", 4],
    ["less", 6],
  ])("cuts the connection when %s is written than Content-Length says", async (_what, length) => {
    const codes: string[] = [];
    const { client } = await ask((_req, res) => {
      res.header("content-length", length).write("ab");
      try {
        res.write("cde");
        res.end();
      } catch (error) {
        codes.push(codeOf(error));
      }
      expect(res.state).toBe("aborted");
    });
    const { body } = await untilClosed(client);
    expect(codes).toEqual(["ERR_MILLRACE_LENGTH_MISMATCH"]);
    expect(body.length).toBeLessThan(length);
    expect(client.error).toBe("ECONNRESET");
  });

  it("delimits by the connection's end for HTTP/1.0 clients, or by Content-Length", async () => {
    const server = await serving((req, res) => {
      if (req.search === "?sized") res.header("content-length", 10);
      res.write("hello");
      res.end("world", { "X-Sum": "1" });
    });
    const client = await wire(server);
    get10(client, "Connection: keep-alive\r\n");
    const { head, body } = await untilClosed(client);
    expect([body, /transfer-encoding|keep-alive/i.test(head)]).toEqual(["helloworld", false]);
    const sized = await wire(server);
    for (let i = 0; i < 2; i += 1) {
      sized.send("GET /?sized HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
      const answer = await sized.response();
      expect([answer.body, answer.headers.get("connection")]).toEqual(["helloworld", "keep-alive"]);
    }
  });

  it("answers HEAD with the head of GET and no body", async () => {
    const { client } = await ask((req, res) => {
      if (req.search !== "") res.header("content-length", 6);
      res.write("hello");
      res.end("!", { "X-Sum": "1" });
    });
    await chunkedResponse(client);
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\nHEAD /?sized HTTP/1.1\r\nHost: a\r\n\r\n");
    client.get("/?sized");
    expect((await client.response(true)).headers.get("transfer-encoding")).toBe("chunked");
    expect((await client.response(true)).headers.get("content-length")).toBe("6");
    expect((await client.response()).body).toBe("hello!");
    expect(client.buffer).toBe("");
  });

  it("writes no body and no framing with 204 and 304, and says so to who writes one", async () => {
    const codes: string[] = [];
    const { client } = await ask((req, res) => {
      res.status(Number(req.search.slice(1) || 204));
      try {
        res.write("x");
      } catch (error) {
        codes.push(codeOf(error));
      }
      res.write("");
      res.end();
    });
    client.get("/?304").get("/?205");
    for (const status of [204, 304, 205]) {
      const { headers, ...answer } = await client.response();
      expect([answer.status, headers.has("transfer-encoding")]).toEqual([status, status === 205]);
      if (status !== 205) expect(headers.has("content-length")).toBe(false);
    }
    await until("the end of the last is there", () => client.buffer === "0\r\n\r\n");
    expect(codes).toEqual(Array<string>(3).fill("ERR_MILLRACE_INVALID_BODY"));
  });

  // ── at once ──

  it("sends the head with the first write and each chunk as it is written", async () => {
    const steps = [gate(), gate()];
    const { client } = await ask(async (_req, res) => {
      res.write("");
      await steps[0]?.promise;
      res.write("one");
      await steps[1]?.promise;
      res.end("two");
    });
    await client.response();
    expect(client.buffer).toBe("");
    steps[0]?.open();
    await until("the first chunk is there", () => client.buffer === "3\r\none\r\n");
    steps[1]?.open();
    await until("all is there", () => client.buffer === "3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n");
  });

  // ── back-pressure ──

  it("says false beyond 128 KiB and lets who waits go on when the peer has read", async () => {
    const told: unknown[] = [];
    const { client } = await ask(async (_req, res) => {
      const chunk = "x".repeat(64 * KIB);
      told.push(res.writableLength, res.write(chunk), res.write(chunk), res.write(""));
      told.push(res.writableLength);
      await res.drained();
      told.push(res.writableLength <= HIGH_WATER / 2, res.write("y"));
      res.end();
      await res.drained(); // of what has ended nobody waits
      told.push(res.writableLength);
    });
    expect((await chunkedResponse(client)).body).toBe(`${"x".repeat(HIGH_WATER)}y`);
    expect(told).toEqual([0, true, false, false, HIGH_WATER, true, true, 0]);
  });

  it("lets go of who waits when the response is ended meanwhile", async () => {
    const { client } = await ask(async (_req, res) => {
      res.write("x".repeat(MIB));
      const drained = res.drained();
      res.end();
      await drained;
      expect(res.writableLength).toBe(0);
    });
    expect((await chunkedResponse(client)).body.length).toBe(MIB);
  });

  it("holds little for a peer that never reads, and nobody waits for it", async () => {
    let written = 0;
    let most = 0;
    const left = gate<string>();
    const server = await serving(async (_req, res) => {
      const chunk = new Uint8Array(64 * KIB);
      try {
        for (;;) {
          written += chunk.length;
          const goesOn = res.write(chunk);
          most = Math.max(most, res.writableLength);
          if (!goesOn) await res.drained();
        }
      } catch (error) {
        left.open(codeOf(error));
      }
    });
    const client = await wire(server);
    client.socket.pause();
    client.get("/");
    await until("it is stuck", async () => {
      const before = written;
      await laps(server);
      return written > 0 && written === before;
    });
    expect(most).toBeLessThan(HIGH_WATER + 64 * KIB);
    expect(written - server.metrics.bytesOut).toBeLessThan(256 * KIB);
    client.reset();
    expect(await left.promise).toBe("ERR_MILLRACE_ABORTED");
  });

  it("stops who writes on regardless at 64 MiB, and sends what was written before", async () => {
    const codes: string[] = [];
    const chunk = new Uint8Array(8 * MIB);
    let written = 0;
    const { client } = await ask((_req, res) => {
      try {
        for (;;) {
          res.write(chunk);
          written += chunk.length;
        }
      } catch (error) {
        codes.push(codeOf(error));
      }
      res.end();
    });
    let size = 0;
    client.socket.removeAllListeners("data");
    client.socket.on("data", (bytes: Buffer) => {
      size += bytes.length;
      client.buffer = bytes.subarray(-5).toString("latin1");
    });
    await until("the end is there", () => client.buffer === "0\r\n\r\n");
    expect(codes).toEqual(["ERR_MILLRACE_BUFFER_FULL"]);
    expect(written).toBe(72 * MIB);
    expect(size).toBeGreaterThan(written);
  });

  it("refuses an invalid giveUpMs before anything has begun", async () => {
    const codes: string[] = [];
    const server = await serving(async (_req, res) => {
      for (const begin of [
        () => res.stream(["a"], { giveUpMs: -1 }),
        () => res.drained({ giveUpMs: "5" as unknown as number }),
      ])
        await begin().catch((error: unknown) => codes.push(codeOf(error)));
      res.end("still open");
    });
    const client = await wire(server);
    client.get("/");
    expect((await client.response()).body).toBe("still open");
    expect(codes).toEqual(["ERR_MILLRACE_INVALID_OPTION", "ERR_MILLRACE_INVALID_OPTION"]);
  });

  it("gives up on a peer that takes nothing for giveUpMs, and cuts it", async () => {
    const codes: string[] = [];
    const tell = { over: false };
    const server = await serving(async (req, res) => {
      try {
        if (req.search === "") {
          await res.stream(endless(tell), { giveUpMs: 50 });
        } else {
          for (;;) if (!res.write(new Uint8Array(MIB))) await res.drained({ giveUpMs: 50 });
        }
      } catch (error) {
        codes.push(codeOf(error));
        throw error;
      }
    });
    for (const target of ["/", "/?drained"]) {
      const client = await wire(server);
      client.socket.pause();
      client.get(target);
      await until("it gives up", () => codes.length === (target === "/" ? 1 : 2));
      client.socket.resume();
      await client.end();
      expect(client.buffer.endsWith("0\r\n\r\n")).toBe(false);
    }
    expect(codes).toEqual(["ERR_MILLRACE_GAVE_UP", "ERR_MILLRACE_GAVE_UP"]);
    await until("the source is let go", () => tell.over);
  });

  it("counts text as the bytes that it has in UTF-8, half surrogate pairs too", async () => {
    const texts = ["plain", "ümläut \u0080", "\u07ff\u0800文\uffff", "a😀", "\ud800 \udfff\udc00x"];
    const long = texts.flatMap((each) => [each, each.repeat(1000), each.repeat(30_000)]);
    const whole = Buffer.from(long.join("|"));
    const { client } = await ask(async (_req, res) => {
      res.header("content-length", whole.length);
      for (const [at, each] of long.entries()) {
        if (at > 0) res.write("|");
        res.write(each);
        await until("the kernel has it", () => res.writableLength <= 0);
        expect(res.writableLength).toBe(0);
      }
      res.end();
    });
    expect((await client.response()).body === whole.toString("latin1")).toBe(true);
  });

  // ── misuse ──

  it("refuses to change what was sent, and to go on after the end", async () => {
    const codes: string[] = [];
    const catching = (act: () => unknown): void => {
      try {
        act();
        codes.push("");
      } catch (error) {
        codes.push(codeOf(error));
      }
    };
    const { client } = await ask(async (_req, res) => {
      res.write("a");
      catching(() => res.status(201));
      catching(() => res.header("x", "y"));
      catching(() => res.cookie("x", "y"));
      catching(() => res.send(200, "x"));
      catching(() => res.json({}));
      catching(() => res.redirect("/"));
      await res.stream(["x"]).catch((error: unknown) => codes.push(codeOf(error)));
      expect(codes.splice(0)).toEqual(Array<string>(7).fill("ERR_MILLRACE_HEADERS_SENT"));
      catching(() => res.write({} as string));
      expect(codes.splice(0)).toEqual(["ERR_MILLRACE_INVALID_BODY"]);
      res.end("b");
      catching(() => res.write("c"));
      catching(() => res.end());
      await res.stream(["x"]).catch((error: unknown) => codes.push(codeOf(error)));
    });
    expect((await chunkedResponse(client)).body).toBe("ab");
    await until("all is told", () => codes.length === 3);
    expect(codes).toEqual(Array<string>(3).fill("ERR_MILLRACE_ALREADY_ENDED"));
    expect(warnings).toEqual([]);
  });

  it("cuts the connection when a handler throws after it began to write", async () => {
    const { client } = await ask((req, res) => {
      res.write("half");
      if (req.search === "") throw new Error("wheel off");
      return Promise.reject(new Error("wheel off"));
    });
    await untilClosed(client);
    expect([client.error, client.buffer.endsWith("0\r\n\r\n")]).toEqual(["ECONNRESET", false]);
    await until("it is warned of", () => warnings.length > 0);
    expect(warnings.map(({ code }) => code)).toEqual(["ERR_MILLRACE_HANDLER_FAILED"]);
  });

  it("keeps what was begun open when the handler returns", async () => {
    const kept: Res[] = [];
    const { client } = await ask((_req, res) => {
      res.write("a");
      kept.push(res);
    });
    await until("the first chunk is there", () => client.buffer.endsWith("1\r\na\r\n"));
    expect(kept[0]?.state).toBe("streaming");
    kept[0]?.end("b");
    expect((await chunkedResponse(client)).body).toBe("ab");
    expect(warnings).toEqual([]);
  });

  // ── pipelining ──

  it("keeps the order of pipelined answers of which some are being streamed", async () => {
    const kept = new Map<string, Res>();
    const server = await serving((req, res) => {
      if (req.path === "/whole") return void res.end("whole");
      kept.set(req.path, res);
      res.write(`${req.path} `);
    });
    const client = await wire(server);
    client.get("/1").get("/whole").get("/2").get("/now").get("/3");
    await until("all are with us", () => kept.size === 3);
    // Held back, the later ones are as long as they like.
    for (const name of ["/3", "/2", "/1"]) {
      for (let i = 0; i < 4; i += 1) kept.get(name)?.write(name.repeat(40_000));
      kept.get(name)?.end(".", { "X-Name": name });
    }
    for (const name of ["/1", "/2", "/3"]) {
      const { body, trailers } = await chunkedResponse(client);
      expect(body === `${name} ${name.repeat(160_000)}.`, name).toBe(true);
      expect(trailers).toBe(`X-Name: ${name}\r\n`);
      if (name !== "/3")
        expect((await client.response()).body).toBe(name === "/1" ? "whole" : "now");
    }
  });

  it("makes a later writer wait for its turn, and lets it go on then", async () => {
    const first = gate();
    let drained = false;
    const server = await serving(async (req, res) => {
      if (req.path === "/1") {
        res.write("1");
        await first.promise;
        res.end();
        return;
      }
      while (res.write("x".repeat(64 * KIB)));
      await res.drained();
      drained = true;
      res.end();
    });
    const client = await wire(server);
    client.get("/1").get("/2");
    await laps(server);
    expect(drained).toBe(false);
    first.open();
    expect((await chunkedResponse(client)).body).toBe("1");
    expect((await chunkedResponse(client)).body.length).toBe(HIGH_WATER);
    await until("it goes on", () => drained);
  });

  // ── ends ──

  it("gives a client that half-closes the whole of a streamed answer", async () => {
    const step = gate();
    const { server, client } = await ask(async (_req, res) => {
      const source = async function* () {
        yield "one";
        await step.promise;
        yield "two";
        for (let i = 0; i < 40; i += 1) yield "x".repeat(64 * KIB);
      };
      await res.stream(source());
    });
    client.socket.end();
    await until("the first chunk is there", () => client.buffer.includes("one"));
    await laps(server, 5);
    step.open();
    expect((await chunkedResponse(client)).body.length).toBe(6 + 40 * 64 * KIB);
    await client.end();
    expect(client.error).toBe("");
  });

  it("waits with close() for a stream that ends, and cuts one that does not", async () => {
    const step = gate();
    const { server, client } = await ask(async (_req, res) => {
      res.write("a");
      await step.promise;
      res.end("b");
    });
    await until("it has begun", () => client.buffer.includes("\r\na\r\n"));
    const closed = server.close({ timeout: 10_000 });
    step.open();
    expect((await chunkedResponse(client)).body).toBe("ab");
    expect(await closed).toEqual({ completed: 1, forced: 0 });

    const codes: string[] = [];
    const { server: other, client: last } = await ask(async (_req, res) => {
      await res
        .stream(endless({ over: false }))
        .catch((error: unknown) => codes.push(codeOf(error)));
    });
    last.socket.pause();
    await until("it has begun", () => other.metrics.bytesOut > 0);
    expect(await other.close({ timeout: 50 })).toEqual({ completed: 0, forced: 1 });
    await until("the handler is told", () => codes.length === 1);
    expect(codes).toEqual(["ERR_MILLRACE_ABORTED"]);
  });

  it("does not count the time of a streamed answer against timeouts.handler", async () => {
    const kept: Res[] = [];
    const server = await start({
      timeouts: { handler: 50 },
      handler: (req, res) => {
        if (req.path === "/stuck") return void res.detach();
        res.write("a");
        kept.push(res);
      },
    });
    const client = await wire(server);
    client.get("/");
    await until("it has begun", () => client.buffer.includes("\r\na\r\n"));
    const stuck = await wire(server);
    stuck.get("/stuck");
    expect((await stuck.response()).status).toBe(503);
    kept[0]?.end("b");
    expect((await chunkedResponse(client)).body).toBe("ab");
  });

  // ── real clients ──

  it.runIf(curl !== undefined)("gives a slow curl the same 20 MiB, in every framing", async () => {
    const whole = randomBytes(20 * MIB);
    const digest = createHash("sha256").update(whole).digest("hex");
    let most = 0;
    const server = await serving(async (req, res) => {
      const source = async function* () {
        for (let at = 0; at < whole.length; at += 100_003) {
          yield whole.subarray(at, at + 100_003);
          most = Math.max(most, res.writableLength);
        }
      };
      await res.stream(source(), req.search === "?sized" ? { length: whole.length } : {});
    });
    const url = `http://127.0.0.1:${portOf(server)}/`;
    const ways = [
      ["", "--http1.1"],
      ["?sized", "--http1.1"],
      ["", "--http1.0"],
    ] as const;
    await Promise.all(
      ways.map(async ([search, version], at) => {
        const file = join(tmpdir(), `millrace-download-${process.pid}-${at}`);
        const words = ["-sS", version, "--limit-rate", "20M", "-o", file];
        try {
          await outputOf(curl as string, ...words, url + search);
          const got = createHash("sha256").update(readFileSync(file)).digest("hex");
          expect(got, `${version} ${search}`).toBe(digest);
        } finally {
          rmSync(file, { force: true });
        }
      }),
    );
    expect(most).toBeLessThan(HIGH_WATER + 100_003);
  });
});
