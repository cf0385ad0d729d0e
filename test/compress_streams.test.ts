// Compressed responses that are written piece by piece, and what is left of a compressor when
// either side leaves.
import { createHash, randomBytes } from "node:crypto";
import { promisify } from "node:util";
import zlib from "node:zlib";
import { afterEach, expect, it, vi } from "vitest";
import type { MillraceError, RawHandler } from "../src/index.ts";
import type { Binding } from "../src/native/binding.ts";
import { Outgoing } from "../src/outgoing.ts";
import { ZippedOutgoing } from "../src/zipped.ts";
import { chunkedResponse, dechunked } from "./support/dechunk.ts";
import { onEachHost } from "./support/hosts.ts";
import { gate, until } from "./support/until.ts";
import { type Wire, wire } from "./support/wire.ts";

import {
  askWith,
  BR,
  early,
  GZIP,
  gunzipped,
  latin1,
  plain,
  unbrotlied,
  watchZips,
} from "./support/zips.ts";

const codeOf = (error: unknown): string => (error as MillraceError).code;
const KIB = 1024;
const MIB = KIB * KIB;

afterEach(() => void vi.restoreAllMocks());

it("hands on no more than there is room for behind it, and the rest when there is", async () => {
  const over = gate<unknown>();
  const sent: Uint8Array[] = [];
  const calls = {
    finish: () => true,
    writeBytes: (_handle: number, _generation: number, bytes: Uint8Array) => sent.push(bytes),
  };
  const size = (): number => sent.reduce((sum, bytes) => sum + bytes.length, 0);
  const outgoing = new Outgoing(calls as unknown as Binding, 1, 1, "GET /", -1, false);
  const options = {
    encoding: "gzip",
    length: -1,
    level: 1,
    over: over.open,
    where: "GET /",
  } as const;
  const zipped = new ZippedOutgoing(outgoing, options);
  const body = randomBytes(MIB);
  expect(zipped.write(body)).toBe(false);
  expect(zipped.end("")).toBe(true);
  await until("the peer is behind", () => size() >= 128 * KIB);
  for (let i = 0; i < 20; i += 1) await promisify(zlib.gzip)(body);
  expect(size()).toBeLessThan(256 * KIB);
  let isOver = false;
  void over.promise.then(() => (isOver = true));
  await until("all has been handed on", () => {
    zipped.acknowledge(outgoing.waitingBytes);
    return isOver;
  });
  expect(zlib.gunzipSync(Buffer.concat(sent)).equals(body)).toBe(true);
});

onEachHost(({ start }) => {
  const ask = askWith(start);

  // ── streams ──

  it("sends each write of a slow writer before the next one comes", async () => {
    for (const [lines, read] of [
      [GZIP, early],
      [BR, (body: string) => `${body.length > 0}`],
    ] as const) {
      const step = gate();
      const { client } = await ask(
        async (_req, res) => {
          plain(res);
          res.header("content-length", 11).write("first");
          await step.promise;
          res.write("second");
          res.end(undefined, { "X-Sum": "1" });
        },
        lines,
        { threshold: 0 },
      );
      const { headers } = await client.response();
      expect(headers.get("transfer-encoding")).toBe("chunked");
      expect(headers.has("content-length")).toBe(false);
      const body = (): string => dechunked(client.buffer).chunks.join("");
      const first = lines === GZIP ? "first" : "true";
      await until("the first write is there", () => read(body()) === first);
      step.open();
      await until("all is there", () => dechunked(client.buffer).rest !== undefined);
      expect((lines === GZIP ? gunzipped : unbrotlied)(body())).toBe("firstsecond");
      expect(dechunked(client.buffer).trailers).toBe("X-Sum: 1\r\n");
    }
  });

  it("delimits by the end of the connection for HTTP/1.0 clients", async () => {
    const { server } = await ask((_req, res) => {
      plain(res);
      res.write("hello ");
      res.end("world");
    });
    const client = await wire(server);
    client.send(`GET / HTTP/1.0\r\n${GZIP}\r\n`);
    await client.end();
    const at = client.buffer.indexOf("\r\n\r\n");
    expect(client.buffer.slice(0, at)).toMatch(/content-encoding: gzip/i);
    expect(gunzipped(client.buffer.slice(at + 4))).toBe("hello world");
  });

  it.each([
    ["more", 4],
    ["less", 6],
  ])("cuts the connection when %s is written than Content-Length says", async (_what, length) => {
    const codes: string[] = [];
    const zips = watchZips();
    const { client } = await ask(
      (_req, res) => {
        plain(res);
        res.header("content-length", length).write("ab");
        try {
          res.write("cde");
          res.end();
        } catch (error) {
          codes.push(codeOf(error));
        }
        expect(res.state).toBe("aborted");
      },
      GZIP,
      { threshold: 0 },
    );
    await client.end();
    expect([codes, client.error]).toEqual([["ERR_MILLRACE_LENGTH_MISMATCH"], "ECONNRESET"]);
    expect(zips.map((zip) => zip.destroyed)).toEqual([true]);
  });

  it("leaves events alone unless types name them, and then sends each at once", async () => {
    const { client } = await ask((_req, res) => {
      const events = res.events();
      events.send("one");
      events.close();
    });
    const events = await chunkedResponse(client);
    expect([events.headers.has("content-encoding"), events.body]).toEqual([false, "data: one\n\n"]);
    const step = gate();
    const types = ["text/event-stream"];
    const handler: RawHandler = async (_req, res) => {
      const stream = res.events();
      stream.send("one");
      await step.promise;
      stream.send("two");
      stream.close();
    };
    const other = (await ask(handler, GZIP, { types })).client;
    expect((await other.response()).headers.get("content-encoding")).toBe("gzip");
    const body = (): string => dechunked(other.buffer).chunks.join("");
    await until("the first event is there", () => early(body()) === "data: one\n\n");
    step.open();
    await until("all is there", () => dechunked(other.buffer).rest !== undefined);
    expect(gunzipped(body())).toBe("data: one\n\ndata: two\n\n");
  });

  it.each([
    ["gzip", GZIP],
    ["br", BR],
  ])(
    "gives a slow reader the same 20 MiB in %s and holds little",
    async (coding, lines) => {
      const block = Buffer.from(randomBytes(32 * KIB).toString("hex"));
      const hash = createHash("sha256");
      let most = 0;
      const { client } = await ask(async (_req, res) => {
        plain(res);
        const source = (function* (): Generator<Uint8Array> {
          for (let i = 0; i < (20 * MIB) / block.length; i += 1) {
            block.write(`${i} `.padStart(12));
            hash.update(block);
            most = Math.max(most, res.writableLength);
            yield block;
          }
        })();
        await res.stream(source);
      }, lines);
      const timer = setInterval(() => {
        if (client.socket.isPaused()) client.socket.resume();
        else client.socket.pause();
      }, 2);
      const { headers, body } = await chunkedSlowly(client).finally(() => clearInterval(timer));
      expect(headers.get("content-encoding")).toBe(coding);
      const bytes = latin1(body);
      const whole = coding === "br" ? zlib.brotliDecompressSync(bytes) : zlib.gunzipSync(bytes);
      expect(whole.length).toBe(20 * MIB);
      expect(createHash("sha256").update(whole).digest("hex")).toBe(hash.digest("hex"));
      expect(most).toBeLessThanOrEqual(128 * KIB + block.length);
    },
    60_000,
  );

  it("stops a writer whose peer reads nothing, and lets go of all when it leaves", async () => {
    const zips = watchZips();
    const failed = gate<unknown>();
    const isOver = { source: false };
    let writable = (): number => 0;
    const block = randomBytes(64 * KIB).toString("hex");
    const { client, server } = await ask(async (_req, res) => {
      plain(res);
      writable = () => res.writableLength;
      const source = (function* (): Generator<string> {
        try {
          for (;;) yield block;
        } finally {
          isOver.source = true;
        }
      })();
      await res.stream(source).catch(failed.open);
    });
    await client.response();
    client.socket.pause();
    let written = -1;
    await until("the writer stands still", async () => {
      const before = written;
      written = server.metrics.bytesOut;
      const other = await wire(server);
      for (let i = 0; i < 20; i += 1) {
        other.get("/now");
        await other.response();
      }
      other.close();
      return written - before < 20_000 && writable() > 64 * KIB;
    });
    expect(writable()).toBeLessThanOrEqual(128 * KIB + block.length);
    client.reset();
    expect(codeOf(await failed.promise)).toBe("ERR_MILLRACE_ABORTED");
    expect([isOver.source, zips.map((zip) => zip.destroyed)]).toEqual([true, [true]]);
  });

  it("gives up on a peer that takes nothing for giveUpMs", async () => {
    const zips = watchZips();
    const failed = gate<unknown>();
    const block = randomBytes(64 * KIB).toString("hex");
    const { client } = await ask(async (_req, res) => {
      plain(res);
      const source = (function* (): Generator<string> {
        for (;;) yield block;
      })();
      await res.stream(source, { giveUpMs: 50 }).catch(failed.open);
    });
    client.socket.pause(); // at once: all of it may take 50 ms
    expect(codeOf(await failed.promise)).toBe("ERR_MILLRACE_GAVE_UP");
    expect(zips.map((zip) => zip.destroyed)).toEqual([true]);
  });

  // ── leaving early ──

  it("answers nobody when the peer leaves while zlib works, and closes by force", async () => {
    const zips = watchZips();
    const asked = gate();
    const text = randomBytes(MIB).toString("hex");
    let states: string[] = [];
    const { client, server } = await ask((req, res) => {
      plain(res);
      if (req.search === "?stream") res.write(text);
      res.end(text);
      states = [...states, res.state];
      if (states.length === 12) asked.open();
    });
    for (let i = 1; i < 12; i += 1) {
      const other = await wire(server);
      other.get(i % 2 === 0 ? "/" : "/?stream", GZIP);
      if (i % 3 === 0) void asked.promise.then(() => other.reset());
    }
    await asked.promise;
    client.reset();
    expect(new Set(states)).toEqual(new Set(["ended"]));
    await server.close({ timeout: 0 });
    await until("zlib is done", () => zips.every((zip) => zip.destroyed));
  });

  it("finishes what is being compressed before a server that closes is closed", async () => {
    const text = randomBytes(MIB).toString("hex");
    const asked = gate();
    const { client, server } = await ask((_req, res) => {
      plain(res);
      res.end(text);
      asked.open();
    });
    await asked.promise;
    const closing = server.close();
    expect(gunzipped((await client.response()).body)).toBe(text);
    expect(await closing).toEqual({ completed: 1, forced: 0 });
  });

  it("compresses many at a time, each once, a few at the same time", async () => {
    const zips = watchZips();
    let most = 0;
    const { server, client } = await ask((req, res) => {
      plain(res);
      res.end(req.search.repeat(5000));
      most = Math.max(most, zips.filter((zip) => !zip.destroyed).length);
    });
    for (let i = 1; i < 50; i += 1) client.get(`/?${i}`, GZIP);
    await client.response();
    for (let i = 1; i < 50; i += 1)
      expect(gunzipped((await client.response()).body)).toBe(`?${i}`.repeat(5000));
    expect(zips.length).toBe(49);
    expect(most).toBeLessThanOrEqual(8);
    expect(server.metrics.inFlight).toBe(0);
  });

  it("leaves the event loop free while it compresses", async () => {
    const names = Object.keys(zlib).filter((name) => name.endsWith("Sync"));
    const spies = names.map((name) => vi.spyOn(zlib, name as "gzipSync"));
    const text = randomBytes(256 * KIB).toString("hex");
    const handler: RawHandler = (req, res) => {
      plain(res);
      if (req.search === "?stream") res.write(text);
      res.end(text);
    };
    const { server, client } = await ask(handler, BR, { level: { br: 11 } });
    const other = await wire(server);
    for (let i = 0; i < 10; i += 1) {
      other.get("/now");
      expect((await other.response()).body).toBe("now");
    }
    expect(client.buffer).toBe("");
    const whole = await client.response();
    expect(whole.headers.get("content-encoding")).toBe("br");
    client.get("/?stream", GZIP);
    expect((await chunkedResponse(client)).headers.get("content-encoding")).toBe("gzip");
    expect(spies.length).toBeGreaterThan(5);
    for (const spy of spies) expect(spy).not.toHaveBeenCalled();
  });
});

/** As chunkedResponse(), looking at what has come only at its end. */
async function chunkedSlowly(client: Wire): Promise<Awaited<ReturnType<typeof chunkedResponse>>> {
  await until("a last chunk may be there", () => client.buffer.endsWith("\r\n0\r\n\r\n"), 55_000);
  return chunkedResponse(client);
}
