// res.writable(): a response as the end of a pipeline of Node streams, over real sockets.
import { createReadStream, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable, type Writable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGunzip, createGzip, gunzipSync } from "node:zlib";
import { afterAll, beforeAll, expect, it } from "vitest";
import { chunkedResponse } from "./support/dechunk.ts";
import { onEachHost } from "./support/hosts.ts";
import {
  ask,
  codeOf,
  HIGH_WATER,
  MIB,
  serving,
  untilClosed,
  watchUncaught,
  watchWarnings,
} from "./support/streaming.ts";
import { until } from "./support/until.ts";
import { wire } from "./support/wire.ts";

const uncaught = watchUncaught();
const warnings = watchWarnings();
const codes = (): unknown[] => warnings.map(({ code }) => code);
let folder = "";
let large = "";

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "millrace-writable-"));
  large = join(folder, "large");
  writeFileSync(large, "0123456789abcdef".repeat(MIB / 2));
});
afterAll(() => rmSync(folder, { recursive: true }));

onEachHost(({ start }) => {
  it("ends a pipeline, and HEAD gets its head", async () => {
    const server = await serving(start, (_req, res) => {
      res.header("content-encoding", "gzip");
      return pipeline(createReadStream(large), createGzip({ level: 1 }), res.writable());
    });
    const client = await wire(server);
    client.get("/");
    const { body, headers } = await chunkedResponse(client);
    expect(headers.get("content-encoding")).toBe("gzip");
    expect(gunzipSync(Buffer.from(body, "latin1")).length).toBe(8 * MIB);
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").get("/now");
    expect((await client.response(true)).headers.get("content-encoding")).toBe("gzip");
    expect((await client.response()).body).toBe("now");
    expect([codes(), uncaught]).toEqual([[], []]);
  });

  it("sends with a length and with trailers, and refuses what stream() refuses", async () => {
    const refused: string[] = [];
    const { client } = await ask(start, (req, res) => {
      for (const options of [{ length: -1 }, { trailers: 5 }, { lenght: 1 }]) {
        try {
          res.writable(options as object);
        } catch (error) {
          refused.push(codeOf(error));
        }
      }
      if (req.search === "") res.writable({ length: 5 }).end("hello");
      else res.writable({ trailers: () => ({ "X-Sum": "1" }) }).end("hello");
    });
    expect((await client.response()).body).toBe("hello");
    expect(refused).toEqual([
      "ERR_MILLRACE_INVALID_HEADER",
      "ERR_MILLRACE_INVALID_OPTION",
      "ERR_MILLRACE_INVALID_OPTION",
    ]);
    client.get("/?trailers");
    const trailers = "X-Sum: 1\r\n";
    expect(await chunkedResponse(client)).toMatchObject({ body: "hello", trailers });
  });

  it("waits for a peer that does not read, and tells the pipeline when it leaves", async () => {
    const told: unknown[] = [];
    let waiting = 0;
    let writable: Writable | undefined;
    const source = createReadStream(large);
    const { client } = await ask(start, async (_req, res) => {
      res.header("content-type", "text/plain");
      writable = res.writable();
      source.on("data", () => {
        waiting = Math.max(waiting, res.writableLength);
      });
      await pipeline(source, writable).catch((error: unknown) => told.push(codeOf(error)));
    });
    client.socket.pause();
    await until("it waits", () => writable?.writableNeedDrain === true && waiting > 0);
    client.reset();
    await until("it is told", () => told.length > 0 && source.closed);
    expect([told, writable?.destroyed]).toEqual([["ERR_MILLRACE_ABORTED"], true]);
    expect(waiting).toBeLessThan(HIGH_WATER + 128 * 1024);
    expect([codes(), uncaught]).toEqual([[], []]);
  });

  it("ends nobody's process when nobody listens and the peer has left", async () => {
    const streams: Writable[] = [];
    const { client } = await ask(start, async (req, res) => {
      const pending = res.writable();
      streams.push(pending);
      pending.write("x");
      await new Promise((resolve) => req.signal.addEventListener("abort", resolve));
      await until("it is aborted", () => res.state === "aborted");
      const late = res.writable();
      streams.push(late);
      const copy = createReadStream(large);
      await pipeline(copy, late).catch((error: unknown) => {
        expect([codeOf(error), copy.destroyed]).toEqual(["ERR_MILLRACE_ABORTED", true]);
        streams.push(late);
      });
    });
    await until("it has begun", () => client.buffer.endsWith("1\r\nx\r\n"));
    client.reset();
    await until("all are over", () => streams.length === 3);
    expect(streams.map(({ destroyed }) => destroyed)).toEqual([true, true, true]);
    expect([codes(), uncaught]).toEqual([[], []]);
  });

  it("leaves the answer open until the first byte, and cuts after it", async () => {
    const server = await serving(start, async (req, res) => {
      if (req.search === "?caught") {
        const missing = createReadStream(join(folder, "missing"));
        await pipeline(missing, res.writable()).catch(() => res.send(404, "none"));
      } else {
        await pipeline(Readable.from(["first", "x".repeat(9)]), createGunzip(), res.writable());
      }
    });
    const client = await wire(server);
    client.get("/?caught");
    expect(await client.response()).toMatchObject({ status: 404, body: "none" });
    client.get("/?escapes");
    expect((await client.response()).status).toBe(500);
    expect(uncaught).toEqual([]);
  });

  it("answers 500 when it is destroyed and nobody else answers", async () => {
    const { client } = await ask(start, (_req, res) => {
      const writable = res.writable();
      setImmediate(() => writable.destroy(new Error("no well")));
    });
    expect((await client.response()).status).toBe(500);
    await until("it is told of", () => warnings.length > 0);
    expect([codes(), uncaught]).toEqual([["ERR_MILLRACE_SOURCE_FAILED"], []]);
  });

  it("cuts when it is destroyed in the middle", async () => {
    let writable: Writable | undefined;
    const { client } = await ask(start, (_req, res) => {
      writable = res.writable();
      writable.write("first");
    });
    await until("it has begun", () => client.buffer.endsWith("first\r\n"));
    writable?.destroy();
    await untilClosed(client);
    expect([client.error, uncaught]).toEqual(["ECONNRESET", []]);
    await until("it is told of", () => codes().includes("ERR_MILLRACE_SOURCE_FAILED"));
  });
});
