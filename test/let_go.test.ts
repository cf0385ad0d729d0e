// How sources are let go that nobody has begun to read, or that end when nobody reads them any
// more: a peer that leaves, HEAD, a wrong call. What they say then must not end the process.
import { createReadStream, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type Req, raw, type StreamOptions } from "../src/index.ts";
import { onEachHost } from "./support/hosts.ts";
import {
  ask,
  codeOf,
  laps,
  MIB,
  serving,
  watchUncaught,
  watchWarnings,
} from "./support/streaming.ts";
import { until } from "./support/until.ts";
import { wire } from "./support/wire.ts";

const uncaught = watchUncaught();
const warnings = watchWarnings();
let folder = "";
let large = "";

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "millrace-let-go-"));
  large = join(folder, "large");
  writeFileSync(large, new Uint8Array(MIB));
});
afterAll(() => rmSync(folder, { recursive: true }));

const left = (req: Req): Promise<void> =>
  new Promise((resolve) => req.signal.addEventListener("abort", () => resolve(), { once: true }));

onEachHost(({ start }) => {
  it.each(["large", "missing"])("answers HEAD from a %s file that is a Readable", async (name) => {
    const sources: Readable[] = [];
    const server = await serving(start, (_req, res) => {
      const source = createReadStream(join(folder, name));
      sources.push(source);
      return res.stream(source);
    });
    const client = await wire(server);
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    expect((await client.response(true)).status).toBe(200);
    await until("the file is closed", () => sources[0]?.closed === true);
    expect([uncaught, warnings]).toEqual([[], []]);
  });

  it.each(["large", "missing"])("lets go of a %s file when the peer has left", async (name) => {
    const sources: Readable[] = [];
    const codes: string[] = [];
    const { server, client } = await ask(start, async (req, res) => {
      const gone = left(req);
      codes.push("begun");
      await gone;
      await until("it is aborted", () => res.state === "aborted");
      const source = createReadStream(join(folder, name));
      sources.push(source);
      await res.stream(source).catch((error: unknown) => codes.push(codeOf(error)));
    });
    await until("it is with us", () => codes.length === 1);
    client.reset();
    await until("the file is closed", () => sources[0]?.closed === true);
    await laps(server, 1);
    expect(codes).toEqual(["begun", "ERR_MILLRACE_ABORTED"]);
    expect([uncaught, warnings]).toEqual([[], []]);
  });

  it("lets go of a Readable that comes after the answer", async () => {
    const sources: Readable[] = [];
    const codes: string[] = [];
    const { client } = await ask(start, async (_req, res) => {
      res.end("done");
      for (const name of ["large", "missing"]) {
        const source = createReadStream(join(folder, name));
        sources.push(source);
        await res.stream(source).catch((error: unknown) => codes.push(codeOf(error)));
      }
    });
    expect((await client.response()).body).toBe("done");
    await until("they are closed", () => sources.filter(({ closed }) => closed).length === 2);
    expect(codes).toEqual(Array<string>(2).fill("ERR_MILLRACE_ALREADY_ENDED"));
    expect(uncaught).toEqual([]);
  });

  const wrong: readonly [StreamOptions, string][] = [
    [{ length: -1 }, "ERR_MILLRACE_INVALID_HEADER"],
    [{ giveUpMs: -1 }, "ERR_MILLRACE_INVALID_OPTION"],
    [{ trailers: 5 } as unknown as StreamOptions, "ERR_MILLRACE_INVALID_OPTION"],
    [{ lenght: 5 } as StreamOptions, "ERR_MILLRACE_INVALID_OPTION"],
    [null as unknown as StreamOptions, "ERR_MILLRACE_INVALID_OPTION"],
  ];

  it.each(wrong)("lets go of a file when the options are %j", async (options, code) => {
    const codes: string[] = [];
    const source = createReadStream(large);
    const { client } = await ask(start, async (_req, res) => {
      await res.stream(source, options).catch((error: unknown) => codes.push(codeOf(error)));
      res.end("still open");
    });
    expect((await client.response()).body).toBe("still open");
    await until("the file is closed", () => source.closed);
    expect([codes, uncaught]).toEqual([[code], []]);
  });

  // ── Responses of fetch handlers ──

  it("outlives an iterable that ends after its peer has left", async () => {
    let isOver = false;
    const server = await start({
      routes: {
        "/now": raw((_req, res) => void res.end("now")),
        "/": (request) =>
          new Response(
            (async function* () {
              yield Buffer.from("tick");
              await new Promise((resolve) => request.signal.addEventListener("abort", resolve));
              await new Promise(setImmediate);
              isOver = true;
            })() as unknown as ReadableStream,
          ),
      },
    });
    const client = await wire(server);
    client.get("/");
    await until("it has begun", () => client.buffer.includes("tick"));
    client.reset();
    await until("it is over", () => isOver);
    await laps(server, 1);
    expect([uncaught, warnings]).toEqual([[], []]);
  });

  it("cancels byte streams at once, whether they have something or not", async () => {
    const reasons: unknown[] = [];
    const server = await start({
      fetch: () =>
        new Response(
          new ReadableStream({
            type: "bytes",
            start: (controller) => controller.enqueue(new TextEncoder().encode("tick")),
            cancel: (reason) => void reasons.push(reason),
          }),
        ),
    });
    const client = await wire(server);
    client.get("/");
    await until("it has begun", () => client.buffer.includes("tick"));
    client.reset();
    await until("it is cancelled", () => reasons.length > 0);
    expect(reasons.map(codeOf)).toEqual(["ERR_MILLRACE_ABORTED"]);
  });

  it.each(["large", "missing"])("lets go of a Response of a %s file", async (name) => {
    const sources: Readable[] = [];
    const response = (): Response => {
      const source = createReadStream(join(folder, name));
      sources.push(source);
      const headers = { "content-length": `${MIB}` };
      return new Response(source as unknown as ReadableStream, { headers });
    };
    let isBegun = false;
    const server = await start({
      routes: {
        "/now": raw((_req, res) => void res.end("now")),
        "/sized": response,
        "/late": async (request) => {
          const gone = new Promise((resolve) => request.signal.addEventListener("abort", resolve));
          isBegun = true;
          await gone;
          return response();
        },
      },
    });
    const client = await wire(server);
    client.send("HEAD /sized HTTP/1.1\r\nHost: a\r\n\r\n");
    expect((await client.response(true)).headers.get("content-length")).toBe(`${MIB}`);
    await until("the first is closed", () => sources[0]?.closed === true);
    client.get("/late");
    await until("it is with us", () => isBegun);
    client.reset();
    await until("the second is closed", () => sources[1]?.closed === true);
    await laps(server, 1);
    expect([uncaught, warnings]).toEqual([[], []]);
  });
});
