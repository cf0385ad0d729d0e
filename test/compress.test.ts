// Compressed responses over real sockets: who gets which encoding, and what the head says.
import zlib from "node:zlib";
import { request } from "undici";
import { afterEach, describe, expect, it, vi } from "vitest";
import { negotiate } from "../src/compress.ts";
import {
  type CompressOptions,
  type Encoding,
  type MillraceError,
  raw,
  type ServeOptions,
  serve,
} from "../src/index.ts";
import { outputOf } from "./support/child.ts";
import { chunkedResponse } from "./support/dechunk.ts";
import { onEachHost } from "./support/hosts.ts";
import { programNamed } from "./support/programs.ts";
import { wire } from "./support/wire.ts";

import { askWith, BR, GZIP, gunzipped, latin1, plain, TEXT, unbrotlied } from "./support/zips.ts";

const codeOf = (error: unknown): string => (error as MillraceError).code;
const curl = programNamed("curl");
if (curl === undefined) process.stderr.write("compress.test.ts: no curl here, less is tested\n");

afterEach(() => void vi.restoreAllMocks());

// ── negotiation ──

describe("Accept-Encoding", () => {
  const all: readonly Encoding[] = ["zstd", "br", "gzip"];
  const web: readonly Encoding[] = ["br", "gzip"];

  it.each<[string, readonly Encoding[], Encoding | undefined]>([
    ["", web, undefined],
    ["gzip", web, "gzip"],
    ["gzip", ["br"], undefined],
    ["gzip, deflate, br, zstd", all, "zstd"],
    ["gzip, deflate, br, zstd", web, "br"],
    ["gzip, deflate, br", ["gzip", "br"], "gzip"],
    ["GZip", web, "gzip"],
    ["x-gzip", web, "gzip"],
    ["X-GZIP;Q=0.5", web, "gzip"],
    ["deflate", web, undefined],
    ["gzipped, brotli", web, undefined],
    ["gzip;q=0", web, undefined],
    ["gzip;q=0.000, br;q=0.0", web, undefined],
    ["gzip;q=0.5", web, "gzip"],
    ["gzip;q=0.001", web, "gzip"],
    ["br;q=0.5, gzip;q=0.8", web, "gzip"],
    ["br;q=0.8,gzip;q=0.8", web, "br"],
    ["br ; q=0.1 , gzip ; q = 0.2", web, "gzip"],
    ["gzip;level=9;q=0.3", web, "gzip"],
    ["*", web, "br"],
    ["*", ["gzip"], "gzip"],
    ["*;q=0", web, undefined],
    ["*;q=0, gzip", web, "gzip"],
    ["br;q=0, *", web, "gzip"],
    ["gzip, *;q=0.1", web, "gzip"],
    ["gzip;q=0.1, *", web, "br"],
    ["identity", web, undefined],
    ["identity;q=0", web, undefined],
    ["identity;q=0, gzip;q=0.1", web, "gzip"],
    ["identity, gzip;q=0.5", web, undefined],
    ["identity;q=0.5, gzip;q=0.5", web, "gzip"],
    ["identity;q=0.5, gzip", web, "gzip"],
    ["identity;q=0.5, *;q=0.9", web, "br"],
    ["gzip;q=1.000", web, "gzip"],
    ["gzip;q=1.5", web, undefined],
    ["gzip;q=-1", web, undefined],
    ["gzip;q=", web, undefined],
    ["gzip;q=high, br;q=0.1", web, "br"],
    [", ,;q=1,gzip", web, "gzip"],
    ["gzip\t;\tq=0.5", web, "gzip"],
    ["toString, __proto__, gzip", web, "gzip"],
  ])("%j of %j is %s", (accepted, encodings, expected) => {
    expect(negotiate(encodings, accepted)).toBe(expected);
  });
});

// ── options ──

const NO_OPTIONS: [unknown, RegExp][] = [
  ["gzip", /^compress must be true, false or an object, got "gzip"/],
  [null, /^compress must be an object/],
  [{ encoding: ["gzip"] }, /^compress has no option "encoding"; did you mean "encodings"/],
  [{ encodings: [] }, /^compress\.encodings must list one or more of "zstd", "br", "gzip"/],
  [{ encodings: ["gzip", "gzip"] }, /^compress\.encodings .* each once/],
  [{ encodings: ["deflate"] }, /^compress\.encodings/],
  [{ encodings: "gzip" }, /^compress\.encodings/],
  [{ threshold: -1 }, /^compress\.threshold must be an integer from 0/],
  [{ threshold: 1.5 }, /^compress\.threshold/],
  [{ level: 6 }, /^compress\.level must be an object/],
  [{ level: { gzip: 10 } }, /^compress\.level\.gzip must be an integer from 1 to 9/],
  [{ level: { br: 12 } }, /^compress\.level\.br must be an integer from 0 to 11/],
  [{ level: { deflate: 1 } }, /^compress\.level has no option "deflate"/],
  [{ types: "text/html" }, /^compress\.types must be a function, or a list/],
  [{ types: [1] }, /^compress\.types/],
];

it.each(NO_OPTIONS)("refuses compress: %j", async (compress, message) => {
  const options = { handler: () => undefined, port: 0, silent: true };
  const starting = serve({ ...options, compress } as unknown as ServeOptions);
  await expect(starting).rejects.toMatchObject({ code: "ERR_MILLRACE_INVALID_OPTION" });
  await expect(starting).rejects.toThrow(message);
  const routes = { "/a": { GET: () => new Response(), compress } };
  const routed = serve({ port: 0, silent: true, routes } as unknown as ServeOptions);
  await expect(routed).rejects.toThrow(/^routes\["\/a"\]\.compress/);
});

onEachHost(({ start }) => {
  const ask = askWith(start);

  // ── whole bodies ──

  it("compresses what is long enough, with its length and Vary", async () => {
    const { client } = await ask((req, res) => {
      expect(res.json({ text: TEXT, path: req.path })).toBe(true);
      expect([res.state, res.writableLength]).toEqual(["ended", 0]);
    });
    const { status, headers, body } = await client.response();
    expect([status, headers.get("content-encoding")]).toEqual([200, "gzip"]);
    expect(headers.get("vary")).toBe("Accept-Encoding");
    expect(headers.get("content-type")).toBe("application/json");
    expect(headers.get("content-length")).toBe(`${body.length}`);
    expect(headers.has("transfer-encoding")).toBe(false);
    expect(JSON.parse(gunzipped(body))).toEqual({ text: TEXT, path: "/" });
    expect(body.length).toBeLessThan(TEXT.length / 10);
  });

  it("compresses strings, bytes and buffers alike, as they were when they were given", async () => {
    const { client } = await ask((req, res) => {
      plain(res);
      if (req.search === "?text") res.end(`wörld ${TEXT}`);
      const bytes = new TextEncoder().encode(`wörld ${TEXT}`);
      if (req.search === "?buffer") res.end(bytes.buffer as ArrayBuffer);
      if (req.search === "") res.end(bytes);
      bytes.fill(0);
    });
    client.get("/?text", GZIP).get("/?buffer", GZIP);
    for (let i = 0; i < 3; i += 1)
      expect(gunzipped((await client.response()).body)).toBe(`wörld ${TEXT}`);
  });

  it("answers pipelined requests in order, compressed and not", async () => {
    const { client } = await ask((req, res) => {
      plain(res);
      res.end(req.search.repeat(2000));
    });
    for (let i = 1; i < 20; i += 1)
      client.get(`/?${i}`, i % 3 === 0 ? "" : i % 2 === 0 ? BR : GZIP);
    expect((await client.response()).body).toBe("");
    for (let i = 1; i < 20; i += 1) {
      const { headers, body } = await client.response();
      const read = { br: unbrotlied, gzip: gunzipped }[headers.get("content-encoding") ?? ""];
      expect(headers.get("content-encoding")).toBe(
        i % 3 === 0 ? undefined : i % 2 === 0 ? "br" : "gzip",
      );
      expect((read ?? String)(body)).toBe(`?${i}`.repeat(2000));
    }
  });

  it.each([
    ["one byte short of the threshold", 999, false],
    ["at the threshold", 1000, true],
    ["one byte longer", 1001, true],
  ])("compresses by length in bytes: %s", async (_what, length, isZipped) => {
    const options = { threshold: 1000 };
    const { client } = await ask(
      (_req, res) => {
        plain(res);
        res.end(`ö${"x".repeat(length - 2)}`);
      },
      GZIP,
      options,
    );
    const { headers } = await client.response();
    // What is never compressed does not vary.
    expect([headers.has("content-encoding"), headers.has("vary")]).toEqual([isZipped, isZipped]);
  });

  it("has 1024 bytes as its threshold, and leaves an empty body alone at any", async () => {
    const { client } = await ask((req, res) => {
      plain(res);
      res.end("x".repeat(Number(req.search.slice(1))));
    });
    client.get("/?1023", GZIP).get("/?1024", GZIP);
    const codings: unknown[] = [];
    for (let i = 0; i < 3; i += 1)
      codings.push((await client.response()).headers.get("content-encoding"));
    expect(codings).toEqual([undefined, undefined, "gzip"]);
    const none = await ask((_req, res) => void plain(res).end(), GZIP, { threshold: 0 });
    const { headers } = await none.client.response();
    expect([headers.get("content-length"), headers.has("content-encoding")]).toEqual(["0", false]);
  });

  it.each([
    ["text/html;charset=utf-8", true],
    ["TEXT/CSS", true],
    ["application/json", true],
    ["application/problem+json; charset=utf-8", true],
    ["application/javascript", true],
    ["application/wasm", true],
    ["application/xhtml+xml", true],
    ["image/svg+xml", true],
    ["font/ttf", true],
    ["image/png", false],
    ["font/woff2", false],
    ["video/mp4", false],
    ["application/zip", false],
    ["application/octet-stream", false],
    ["text/event-stream", false],
    ["multipart/form-data; boundary=text/html", false],
    ["", false],
  ])("looks at the type: %j", async (type, isZipped) => {
    const { client } = await ask((_req, res) => {
      if (type !== "") res.header("content-type", type);
      res.end(TEXT);
    });
    const { headers, body } = await client.response();
    expect([headers.has("content-encoding"), headers.has("vary")]).toEqual([isZipped, isZipped]);
    expect(isZipped ? gunzipped(body) : body).toBe(TEXT);
  });

  it("takes types as a list or as a function", async () => {
    const types: CompressOptions["types"][] = [
      ["application/x-own", "image/*"],
      [/^application\/x-o/g, /png/y, /^image\/png$/g],
      (type) => type === "application/x-own" || type === "image/png",
    ];
    for (const each of types) {
      const { client } = await ask(
        (req, res) => void res.send(200, TEXT, { "Content-Type": req.search.slice(1) }),
        GZIP,
        { types: each as NonNullable<typeof each> },
      );
      const given = ["application/x-own", "image/PNG;a=b", "text/html", "application/x-ownx+json2"];
      for (const type of given) client.get(`/?${type}`, GZIP);
      await client.response();
      const zipped: boolean[] = [];
      for (const _type of given)
        zipped.push((await client.response()).headers.has("content-encoding"));
      expect(zipped.slice(0, 3)).toEqual([true, true, false]);
    }
  });

  it("says Vary also when the client gets the identity", async () => {
    const { client } = await ask((_req, res) => void plain(res).end(TEXT), "");
    client.get("/", "Accept-Encoding: gzip;q=0\r\n").get("/", "Accept-Encoding: deflate\r\n");
    for (let i = 0; i < 3; i += 1) {
      const { headers, body } = await client.response();
      expect([headers.get("vary"), headers.has("content-encoding")]).toEqual([
        "Accept-Encoding",
        false,
      ]);
      expect(body).toBe(TEXT);
    }
  });

  it.each([
    [["Origin"], "Origin, Accept-Encoding"],
    [["Origin", "Cookie"], "Origin, Cookie, Accept-Encoding"],
    [["accept-encoding"], "accept-encoding"],
    [["Origin,Accept-Encoding"], "Origin,Accept-Encoding"],
    [["*"], "*"],
    [["X-Accept-Encoding"], "X-Accept-Encoding, Accept-Encoding"],
  ])("adds to Vary what is not in it: %j", async (vary, expected) => {
    const { client } = await ask((_req, res) => {
      plain(res);
      for (const each of vary) res.append("vary", each);
      res.cookie("a", "1").cookie("b", "2").end(TEXT);
    });
    const { headers } = await client.response();
    expect(headers.get("vary")).toBe(expected);
    expect(headers.get("set-cookie")?.split("\n").length).toBe(2);
  });

  it("makes a strong tag weak where it compresses, and only there", async () => {
    const { client } = await ask((req, res) => {
      plain(res);
      res.header("ETag", req.search === "" ? '"abc"' : 'W/"abc"').end(TEXT);
    });
    client.get("/").get("/?weak", GZIP);
    const tags: unknown[] = [];
    for (let i = 0; i < 3; i += 1) tags.push((await client.response()).headers.get("etag"));
    expect(tags).toEqual(['W/"abc"', '"abc"', 'W/"abc"']);
  });

  it("answers 304 with Vary, and with the tag that the client has", async () => {
    const { client } = await ask((_req, res) => {
      res.status(304).header("ETag", '"abc"').end();
    }, `${GZIP}If-None-Match: W/"abc"\r\n`);
    client.get("/", 'If-None-Match: "abc"\r\n');
    for (const tag of ['W/"abc"', '"abc"']) {
      const { status, headers } = await client.response();
      expect([status, headers.get("etag"), headers.get("vary")]).toEqual([
        304,
        tag,
        "Accept-Encoding",
      ]);
      expect(headers.has("content-encoding")).toBe(false);
    }
  });

  it.each([204, 205, 206, 300, 404, 500])("leaves %i as it is", async (status) => {
    const isBodiless = status === 204 || status === 205;
    const { client } = await ask((_req, res) => {
      res.send(status, isBodiless ? undefined : TEXT, {
        "Content-Type": "text/plain",
        ETag: '"a"',
      });
    });
    const { headers, ...answer } = await client.response();
    expect([answer.status, answer.body]).toEqual([status, isBodiless ? "" : TEXT]);
    expect([headers.has("content-encoding"), headers.has("vary")]).toEqual([false, false]);
    expect(headers.get("etag")).toBe('"a"');
  });

  it("answers HEAD with the fields of GET, without length and body", async () => {
    const { client } = await ask((req, res) => {
      plain(res);
      res.header("ETag", '"a"');
      if (req.search === "?said") res.header("content-length", TEXT.length);
      if (req.search === "?short") res.header("content-length", 5);
      if (req.search === "?written") res.write(TEXT);
      if (req.isMethod("HEAD") && req.search !== "") res.end();
      else res.end(TEXT);
    });
    await client.response();
    const searches = ["", "?said", "?written"];
    for (const search of searches)
      client.send(`HEAD /${search} HTTP/1.1\r\nHost: a\r\n${GZIP}\r\n`);
    for (const _search of searches) {
      const { headers } = await client.response(true);
      expect([headers.get("vary"), headers.get("etag")]).toEqual(["Accept-Encoding", 'W/"a"']);
      expect([headers.get("content-encoding"), headers.has("content-length")]).toEqual([
        "gzip",
        false,
      ]);
    }
    client.send(`HEAD /?short HTTP/1.1\r\nHost: a\r\n${GZIP}\r\n`);
    client.send("HEAD /?said HTTP/1.1\r\nHost: a\r\n\r\n");
    const short = (await client.response(true)).headers;
    expect([short.get("content-length"), short.has("vary")]).toEqual(["5", false]);
    const said = (await client.response(true)).headers;
    expect([said.get("content-length"), said.get("vary")]).toEqual([
      `${TEXT.length}`,
      "Accept-Encoding",
    ]);
    client.get("/now");
    expect((await client.response()).body).toBe("now");
  });

  it("still finds a Content-Length that is wrong, and drops one that is right", async () => {
    const codes: string[] = [];
    const { client } = await ask((_req, res) => {
      plain(res);
      try {
        res.header("content-length", TEXT.length + 1).end(TEXT);
      } catch (error) {
        codes.push(codeOf(error));
      }
      res.header("content-length", TEXT.length).end(TEXT);
    });
    const { headers, body } = await client.response();
    expect(codes).toEqual(["ERR_MILLRACE_LENGTH_MISMATCH"]);
    expect(headers.get("content-length")).toBe(`${body.length}`);
    expect(gunzipped(body)).toBe(TEXT);
  });

  // ── off ──

  it("never touches what is encoded already or must not be transformed", async () => {
    const { client } = await ask((req, res) => {
      plain(res);
      if (req.search === "?coded") res.header("content-encoding", "x-own").end(TEXT);
      else res.header("cache-control", "public, No-Transform, max-age=1").end(TEXT);
    });
    client.get("/?coded", GZIP);
    for (const coding of [undefined, "x-own"]) {
      const { headers, body } = await client.response();
      expect([headers.get("content-encoding"), headers.has("vary")]).toEqual([coding, false]);
      expect(body).toBe(TEXT);
    }
  });

  it("does nothing unless it is switched on", async () => {
    const server = await start({
      handler: (_req, res) => void plain(res).compress(true).end(TEXT),
    });
    const client = await wire(server);
    client.get("/", GZIP);
    const { headers, body } = await client.response();
    expect([headers.has("vary"), headers.has("content-encoding"), body]).toEqual([
      false,
      false,
      TEXT,
    ]);
  });

  it("can be switched off, on and otherwise per route and per response", async () => {
    const answer = raw((_req, res) => void plain(res).end(TEXT));
    const server = await start({
      compress: { encodings: ["gzip"], threshold: 10 },
      routes: {
        "/off": { GET: answer, compress: false },
        "/on": { GET: answer, compress: true },
        "/more": { GET: answer, compress: { encodings: ["br"] } },
        "/less": { GET: answer, compress: { threshold: 10_000 } },
        "/this": raw((_req, res) => void plain(res).compress(false).end(TEXT)),
        "/any": raw((_req, res) => void res.compress(true).end("short")),
        "/fixed": new Response(TEXT),
      },
    });
    const client = await wire(server);
    const codings: [string, string | undefined][] = [];
    for (const path of ["/off", "/on", "/more", "/less", "/this", "/any", "/fixed"]) {
      client.get(path, "Accept-Encoding: gzip, br\r\n");
      codings.push([path, (await client.response()).headers.get("content-encoding")]);
    }
    expect(codings).toEqual([
      ["/off", undefined],
      ["/on", "gzip"],
      ["/more", "br"],
      ["/less", undefined],
      ["/this", undefined],
      ["/any", "gzip"],
      ["/fixed", undefined],
    ]);
    const only = await start({
      routes: { "/on": { GET: answer, compress: true }, "/": answer },
      notFound: () => new Response(TEXT),
    });
    const other = await wire(only);
    other.get("/on", GZIP).get("/", GZIP);
    expect((await other.response()).headers.get("content-encoding")).toBe("gzip");
    expect((await other.response()).headers.has("content-encoding")).toBe(false);
  });

  it("says what is wrong with compress() and does not take it after the head", async () => {
    const codes: string[] = [];
    const { client } = await ask((_req, res) => {
      for (const act of [
        () => res.compress("no" as unknown as boolean),
        () => res.write("x"),
        () => res.compress(false),
      ]) {
        try {
          act();
        } catch (error) {
          codes.push(codeOf(error));
        }
      }
      res.end();
    });
    await chunkedResponse(client);
    expect(codes).toEqual(["ERR_MILLRACE_INVALID_OPTION", "ERR_MILLRACE_HEADERS_SENT"]);
  });

  // ── the standard style ──

  it("compresses Responses, whole and streamed, and leaves encoded ones alone", async () => {
    const type = { "Content-Type": "text/plain" };
    const server = await start({
      compress: true,
      fetch: (asked) => {
        const { search } = new URL(asked.url);
        if (search === "?bytes") return new Response(Buffer.from(TEXT), { headers: type });
        if (search === "?coded")
          return new Response(zlib.gzipSync(TEXT), {
            headers: { ...type, "Content-Encoding": "gzip" },
          });
        if (search !== "?stream") return new Response(TEXT, { headers: { ...type, ETag: '"a"' } });
        const steps = [TEXT, TEXT];
        const pull = async (controller: ReadableStreamDefaultController): Promise<void> => {
          await new Promise((resolve) => setImmediate(resolve));
          const step = steps.pop();
          if (step === undefined) controller.close();
          else controller.enqueue(Buffer.from(step));
        };
        return new Response(new ReadableStream({ pull }, { highWaterMark: 0 }), { headers: type });
      },
    });
    const client = await wire(server);
    client.get("/", GZIP).get("/?bytes", GZIP).get("/?coded", GZIP);
    expect((await client.response()).headers.get("etag")).toBe('W/"a"');
    for (let i = 0; i < 2; i += 1) {
      const { headers, body } = await client.response();
      expect([headers.get("content-encoding"), gunzipped(body)]).toEqual(["gzip", TEXT]);
    }
    client.get("/?stream", GZIP);
    const streamed = await chunkedResponse(client);
    expect(streamed.headers.get("content-encoding")).toBe("gzip");
    expect(gunzipped(streamed.body)).toBe(TEXT + TEXT);
    expect(await (await fetch(`${server.url}/?stream`)).text()).toBe(TEXT + TEXT);
  });

  // ── real clients ──

  it("is understood by curl, fetch and undici", async () => {
    const { server, client } = await ask((_req, res) => void plain(res).end(TEXT));
    await client.response();
    const answer = await fetch(server.url);
    expect([answer.headers.has("content-encoding"), await answer.text()]).toEqual([true, TEXT]);
    const inBr = await request(server.url, { headers: { "accept-encoding": "br" } });
    expect(inBr.headers["content-encoding"]).toBe("br");
    expect(zlib.brotliDecompressSync(await inBr.body.arrayBuffer()).toString()).toBe(TEXT);
    const inGzip = await request(server.url, { headers: { "accept-encoding": "gzip" } });
    expect(zlib.gunzipSync(await inGzip.body.arrayBuffer()).toString()).toBe(TEXT);
    if (curl === undefined) return;
    expect(await outputOf(curl, "-sS", "--compressed", server.url)).toBe(TEXT);
    expect(await outputOf(curl, "-sS", server.url)).toBe(TEXT);
  });

  it.runIf("zstdDecompressSync" in zlib)("speaks zstd where zlib does", async () => {
    const { client } = await ask((req, res) => {
      plain(res);
      if (req.search !== "") res.write(TEXT);
      res.end(TEXT);
    }, "Accept-Encoding: gzip, zstd\r\n");
    const { zstdDecompressSync: unzstd } = zlib as unknown as {
      zstdDecompressSync(bytes: Buffer): Buffer;
    };
    const whole = await client.response();
    expect(whole.headers.get("content-encoding")).toBe("zstd");
    expect(unzstd(latin1(whole.body)).toString()).toBe(TEXT);
    client.get("/?stream", "Accept-Encoding: gzip, zstd\r\n");
    expect(unzstd(latin1((await chunkedResponse(client)).body)).toString()).toBe(TEXT + TEXT);
  });
});
