// Bodies in both directions, and clients as they are in the field: fetch, node:http, curl.
import { execFile, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { Agent, createServer, type RequestListener, request } from "node:http";
import type { AddressInfo } from "node:net";
import { promisify } from "node:util";
import { deflateSync, gzipSync } from "node:zlib";
import { Agent as UndiciAgent, fetch as undiciFetch } from "undici";
import { expect, it, onTestFinished } from "vitest";
import { raw, type Server } from "../src/index.ts";
import { wholeResponse } from "./support/dechunk.ts";
import { onEachHost } from "./support/hosts.ts";
import { gate, until } from "./support/until.ts";
import { wire } from "./support/wire.ts";

const run = promisify(execFile);
const MEBIBYTE = 1_048_576;
// What sanitizers preload is meant for node and stops others.
const { LD_PRELOAD: _preload, ...env } = process.env;

function post(
  server: Server,
  target: string,
  body: NonNullable<RequestInit["body"]>,
  type?: string,
): Promise<Response> {
  const headers: Record<string, string> = type === undefined ? {} : { "content-type": type };
  return fetch(server.url + target, { method: "POST", body, headers });
}

/** Another server, of node:http; gives its URL. */
async function upstream(listener: RequestListener): Promise<string> {
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

onEachHost(({ start }) => {
  it("reads a body as bytes, text, JSON or form, once", async () => {
    const server = await start({
      routes: {
        "/bytes": raw(async (req, res) => void res.end(await req.bytes())),
        "/text": raw(async (req, res) => void res.json([await req.text(), req.contentLength])),
        "/json": raw(async (req, res) => void res.json({ got: await req.json() })),
        "/form": raw(async (req, res) => void res.json([...(await req.form())])),
        "/twice": raw(async (req, res) => {
          await req.text();
          const second = await req.bytes().catch((error: unknown) => error);
          res.end((second as { code: string }).code);
        }),
      },
    });
    const bytes = randomBytes(1000);
    const back = await post(server, "/bytes", bytes);
    expect(Buffer.from(await back.arrayBuffer()).equals(bytes)).toBe(true);
    expect(await (await post(server, "/text", "häh")).json()).toEqual(["häh", 4]);
    expect(await (await post(server, "/json", '{"a":"ü"}')).json()).toEqual({ got: { a: "ü" } });
    const form = await post(server, "/form", new URLSearchParams({ a: "1 2", b: "ü" }));
    expect(await form.json()).toEqual([
      ["a", "1 2"],
      ["b", "ü"],
    ]);
    expect((await post(server, "/form", "{}", "application/json")).status).toBe(415);
    expect((await post(server, "/json", "{")).status).toBe(400);
    expect(await (await post(server, "/twice", "x")).text()).toBe("ERR_MILLRACE_BODY_USED");
    expect(await (await fetch(`${server.url}/text`)).json()).toEqual(["", null]);
  });

  it("refuses what is larger than the server's, the route's or the reader's limit", async () => {
    const sized = raw(async (req, res) => void res.end(`${(await req.bytes()).length}`));
    const server = await start({
      limits: { maxRequestBodySize: 1000 },
      routes: {
        "/server": sized,
        "/route": { POST: sized, maxBodySize: 5000 },
        "/none": { POST: sized, body: "none", maxBodySize: 0 },
        "/sized": { POST: sized, body: "sized" },
        "/reader": raw(async (req, res) => void res.end(await req.text({ limit: 10 }))),
      },
    });
    const status = async (target: string, size: number): Promise<number> =>
      (await post(server, target, "x".repeat(size))).status;
    expect([await status("/server", 1000), await status("/server", 1001)]).toEqual([200, 413]);
    expect([await status("/route", 5000), await status("/route", 5001)]).toEqual([200, 413]);
    expect([await status("/none", 0), await status("/none", 1)]).toEqual([200, 413]);
    expect([await status("/reader", 10), await status("/reader", 11)]).toEqual([200, 413]);
    const client = await wire(server);
    client.send("POST /sized HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    expect((await client.response()).status).toBe(411);
  });

  it('calls routes with body: "none" at once and without the body, which is dropped', async () => {
    const seen: string[] = [];
    const server = await start({
      routes: {
        "/raw": {
          POST: raw(async (req, res) => {
            seen.push(`${req.contentLength} ${(await req.bytes()).length}`);
            res.end("raw");
          }),
          body: "none",
        },
        "/fetch": {
          POST: async (request) => new Response(`fetch ${(await request.text()).length}`),
          body: "none",
        },
        "/next": raw((_req, res) => void res.end("next")),
      },
    });
    const client = await wire(server);
    client.send("POST /raw HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n");
    expect((await client.response()).body, "before the body").toBe("raw");
    client.send("GET /GET /next HTTP/1.1\r\nHost: a\r\n\r\n");
    expect((await client.response()).body).toBe("next");
    client.send("POST /fetch HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    expect((await client.response()).body).toBe("fetch 0");
    client.send("5\r\nGET /\r\n0\r\n\r\nGET /next HTTP/1.1\r\nHost: a\r\n\r\n");
    expect((await client.response()).body).toBe("next");
    client.send("POST /raw HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\n\r\nabc");
    const last = await client.response();
    expect([last.body, last.headers.get("connection")]).toEqual(["raw", "close"]);
    await client.end();
    expect([seen, client.buffer]).toEqual([["5 0", "9999999 0"], ""]);
  });

  it("takes 5 MiB and gives 5 MiB, sized and chunked", async () => {
    const server = await start({
      limits: { maxRequestBodySize: 6 * MEBIBYTE },
      handler: async (req, res) => void res.end(await req.bytes()),
    });
    const body = randomBytes(5 * MEBIBYTE);
    const sized = await post(server, "/", body);
    expect(Buffer.from(await sized.arrayBuffer()).equals(body)).toBe(true);
    const stream = new ReadableStream<Uint8Array>({
      start(controller) {
        for (let at = 0; at < body.length; at += 50_000)
          controller.enqueue(body.subarray(at, at + 50_000));
        controller.close();
      },
    });
    const chunked = await fetch(server.url, {
      method: "POST",
      body: stream,
      duplex: "half",
    } as RequestInit);
    expect(Buffer.from(await chunked.arrayBuffer()).equals(body)).toBe(true);
  });

  it("sends 64 MiB as bytes and as text", async () => {
    const size = 64 * MEBIBYTE;
    const server = await start({
      routes: {
        "/bytes": raw((_req, res) => void res.end(Buffer.alloc(size, "abcdefg"))),
        "/text": raw((_req, res) => void res.end("ü".repeat(size / 2))),
      },
    });
    const bytes = Buffer.from(await (await fetch(`${server.url}/bytes`)).arrayBuffer());
    expect(bytes.equals(Buffer.alloc(size, "abcdefg"))).toBe(true);
    const text = Buffer.from(await (await fetch(`${server.url}/text`)).arrayBuffer());
    expect(text.length).toBe(size);
    expect(text.subarray(size - 2).toString()).toBe("ü");
  });

  it("copies the bytes it is given, whatever the handler does with them afterwards", async () => {
    const server = await start({
      routes: {
        "/:size": raw((req, res) => {
          const bytes = new Uint8Array(Number(req.params.size)).fill(65);
          res.end(bytes);
          bytes.fill(66);
        }),
        "/view": raw((_req, res) => {
          const shared = new Uint8Array(new SharedArrayBuffer(8), 2, 4).fill(67);
          res.end(shared);
        }),
        "/buffer": raw((_req, res) => void res.end(new Uint8Array([68, 69]).buffer)),
      },
    });
    for (const size of [0, 1, 32_767, 32_768, 32_769, 300_000]) {
      const text = await (await fetch(`${server.url}/${size}`)).text();
      expect(text === "A".repeat(size), `${size} bytes`).toBe(true);
    }
    expect(await (await fetch(`${server.url}/view`)).text()).toBe("CCCC");
    expect(await (await fetch(`${server.url}/buffer`)).text()).toBe("DE");
  });

  it("gives fetch handlers a standard Request and sends their standard Response", async () => {
    const server = await start({
      routes: {
        "/echo/:id": async (req, ctx) => {
          const copy = req.clone();
          const form = await req.formData();
          return Response.json({
            url: req.url,
            method: copy.method,
            field: form.get("f"),
            length: (await copy.arrayBuffer()).byteLength,
            id: ctx.params.id,
            cookie: ctx.cookies.get("c"),
            local: ctx.localAddress.port,
          });
        },
        "/cookies": () => {
          const response = new Response("c");
          response.headers.append("set-cookie", "a=1");
          response.headers.append("set-cookie", "b=2; Path=/");
          return response;
        },
        "/json": async (req) => Response.json(await req.json()),
        "/stream": () => {
          const parts = ["one ", "two ", "three"];
          const body = new ReadableStream({
            async pull(controller) {
              await Promise.resolve();
              const part = parts.shift();
              if (part === undefined) controller.close();
              else controller.enqueue(new TextEncoder().encode(part));
            },
          });
          return new Response(body, { headers: { "content-type": "text/plain" } });
        },
      },
    });
    const headers = { cookie: "c=d%20e", "content-type": "application/x-www-form-urlencoded" };
    const echo = await fetch(`${server.url}/echo/7?q=1`, { method: "PUT", body: "f=x+y", headers });
    expect(await echo.json()).toEqual({
      url: `${server.url}/echo/7?q=1`,
      method: "PUT",
      field: "x y",
      length: 5,
      id: "7",
      cookie: "d e",
      local: Number(new URL(server.url).port),
    });
    const cookies = await fetch(`${server.url}/cookies`);
    expect(cookies.headers.getSetCookie()).toEqual(["a=1", "b=2; Path=/"]);
    expect(await (await post(server, "/json", "[1]")).json()).toEqual([1]);
    expect((await post(server, "/json", "[1")).status).toBe(400);
    expect(await (await fetch(`${server.url}/stream`)).text()).toBe("one two three");
  });

  it("aborts request.signal when the peer leaves, and not when it stays", async () => {
    let left = gate<unknown>();
    const staying: AbortSignal[] = [];
    const server = await start({
      routes: {
        "/leave": (req) =>
          new Promise<Response>((_resolve, reject) => {
            req.signal.addEventListener("abort", () => {
              left.open(req.signal.reason);
              reject(req.signal.reason);
            });
          }),
        "/stay": (req) => {
          staying.push(req.signal);
          return new Response("s");
        },
      },
    });
    expect(await (await fetch(`${server.url}/stay`)).text()).toBe("s");
    for (const way of ["close", "reset"] as const) {
      left = gate();
      const client = await wire(server);
      client.get("/leave");
      await until("the request is in flight", () => server.metrics.inFlight === 1);
      client[way]();
      expect(await left.promise, way).toMatchObject({ code: "ERR_MILLRACE_ABORTED" });
      await until("the exchange is over", () => server.metrics.inFlight === 0);
    }
    expect(staying[0]?.aborted).toBe(false);
    expect(server.metrics.aborted, "those that could not be answered any more").toBe(1);
  });

  it("cancels a Response's stalled stream when the peer leaves or close() forces", async () => {
    let cancelled = gate<unknown>();
    const server = await start({
      routes: {
        "/": () => {
          const body = new ReadableStream({
            start: (controller) => controller.enqueue(Buffer.from("begun")),
            cancel(reason) {
              cancelled.open(reason);
              return new Promise(() => undefined);
            },
          });
          return new Response(body);
        },
      },
    });
    for (const way of ["close", "reset"] as const) {
      cancelled = gate();
      const client = await wire(server);
      client.get("/");
      await until("the request is in flight", () => server.metrics.inFlight === 1);
      client[way]();
      expect(await cancelled.promise, way).toMatchObject({ code: "ERR_MILLRACE_ABORTED" });
      await until("the exchange is over", () => server.metrics.inFlight === 0);
    }
    cancelled = gate();
    const client = await wire(server);
    client.get("/");
    await until("the request is in flight", () => server.metrics.inFlight === 1);
    expect(await server.close({ timeout: 50 })).toMatchObject({ forced: 1 });
    expect(await cancelled.promise).toMatchObject({ code: "ERR_MILLRACE_ABORTED" });
  });

  it("still sends a stream that ends soon to a peer that has only half-closed", async () => {
    const server = await start({
      routes: {
        "/": (request) => {
          const body = new ReadableStream({
            async start(controller) {
              await new Promise((resolve) => request.signal.addEventListener("abort", resolve));
              controller.enqueue(Buffer.from("late"));
              controller.close();
            },
          });
          return new Response(body);
        },
      },
    });
    const client = await wire(server);
    client.get("/").socket.end();
    expect(await wholeResponse(client)).toMatchObject({ status: 200, body: "late" });
  });

  it("passes on what fetch() gave, whatever its hop looked like", async () => {
    const text = "hello ".repeat(100);
    const url = await upstream((req, res) => {
      res.setHeader("x-up", "1");
      res.setHeader("x-hop", "1");
      res.setHeader("connection", req.url === "/close" ? "close" : "keep-alive, x-hop");
      if (req.url === "/gzip") {
        const zipped = gzipSync(text);
        res.setHeader("content-encoding", "gzip").setHeader("content-length", zipped.length);
        res.end(zipped);
      } else if (req.url === "/deflate") {
        res.setHeader("content-encoding", "deflate");
        res.end(deflateSync(text));
      } else if (req.url === "/chunked" || req.url === "/close") {
        res.write(text.slice(0, 7));
        res.end(text.slice(7));
      } else if (req.url === "/odd") {
        res.setHeader("content-encoding", "odd");
        res.end(text);
      } else {
        res.setHeader("content-length", text.length).end(text);
      }
    });
    const kinds = ["gzip", "deflate", "chunked", "close", "odd", "plain"];
    const server = await start({
      routes: {
        "/same/:kind": (request, ctx) =>
          fetch(`${url}/${ctx.params.kind}`, { method: request.method }),
        "/get/:kind": (_request, ctx) => fetch(`${url}/${ctx.params.kind}`),
      },
    });
    const client = await wire(server);
    for (const kind of kinds) {
      for (const way of ["same", "get"]) {
        const label = `${way} ${kind}`;
        const { status, headers, body } = await wholeResponse(client.get(`/${way}/${kind}`));
        expect({ status, body }, label).toEqual({ status: 200, body: text });
        expect(headers.get("content-encoding"), label).toBe(kind === "odd" ? "odd" : undefined);
        const hop = ["keep-alive", "connection"];
        expect(
          hop.filter((name) => headers.has(name)),
          label,
        ).toEqual([]);
        expect([headers.get("x-up"), headers.has("x-hop")], label).toEqual(["1", kind === "close"]);
      }
      client.send(`HEAD /get/${kind} HTTP/1.1\r\nHost: a\r\n\r\n`);
      const head = await client.response(true);
      // Of what is decoded or comes in pieces nobody knows the length.
      const lengths = kind === "plain" || kind === "odd" ? ["600"] : [undefined, "600"];
      expect(head.status, kind).toBe(200);
      expect(lengths, kind).toContain(head.headers.get("content-length"));
    }
    client.send("HEAD /same/plain HTTP/1.1\r\nHost: a\r\n\r\n");
    expect((await client.response(true)).headers.get("content-length")).toBe("600");
  });

  it("sends a Response with a body once, and one without as often as wanted", async () => {
    const responses: Readonly<Record<string, Response>> = {
      text: new Response("x"),
      bytes: new Response(new Uint8Array([120])),
      stream: new Response(new Blob(["x"]).stream()),
      none: new Response(null, { status: 204 }),
    };
    const codes: unknown[] = [];
    const server = await start({
      routes: { "/:kind": (_request, ctx) => responses[ctx.params.kind] as Response },
      error: (error) => void codes.push((error as { code?: unknown }).code),
    });
    const client = await wire(server);
    for (const kind of ["text", "bytes", "stream"]) {
      expect((await client.get(`/${kind}`).response()).body, kind).toBe("x");
      expect((await client.get(`/${kind}`).response()).status, kind).toBe(500);
    }
    expect(codes).toEqual(Array(3).fill("ERR_MILLRACE_BODY_USED"));
    for (let i = 0; i < 2; i += 1) expect((await client.get("/none").response()).status).toBe(204);
  });

  it("serves undici and node:http over kept-alive connections", async () => {
    const server = await start({
      handler: async (req, res) => void res.end(`${req.path} ${await req.text()}`),
    });
    const dispatcher = new UndiciAgent({ connections: 4, pipelining: 1 });
    const bodies = await Promise.all(
      Array.from({ length: 200 }, async (_, n) => {
        const init = { method: "POST", body: `b${n}`, dispatcher };
        return (await undiciFetch(`${server.url}/u${n}`, init)).text();
      }),
    );
    expect(bodies).toEqual(Array.from({ length: 200 }, (_, n) => `/u${n} b${n}`));
    await dispatcher.close();
    const before = server.metrics.counters["accepted"] as number;
    expect(before).toBeLessThanOrEqual(4);
    const agent = new Agent({ keepAlive: true, maxSockets: 3 });
    const get = (n: number): Promise<string> =>
      new Promise((resolve, reject) => {
        const asked = request(`${server.url}/n${n}`, { agent, method: "POST" }, (response) => {
          let text = "";
          response.setEncoding("utf8").on("data", (part: string) => (text += part));
          response.on("end", () => resolve(text)).on("error", reject);
        });
        asked.on("error", reject).end(`b${n}`);
      });
    const texts = await Promise.all(Array.from({ length: 200 }, (_, n) => get(n)));
    expect(texts).toEqual(Array.from({ length: 200 }, (_, n) => `/n${n} b${n}`));
    expect(server.metrics.counters["accepted"] as number).toBeLessThanOrEqual(before + 3);
    agent.destroy();
  });

  it("serves curl: kept-alive, with Expect: 100-continue, uploading in chunks", async () => {
    const server = await start({
      limits: { maxRequestBodySize: 2 * MEBIBYTE },
      routes: {
        "/size": raw(async (req, res) => void res.end(`${(await req.bytes()).length}\n`)),
        "/small": { PUT: raw((_req, res) => void res.end("no")), maxBodySize: 10 },
      },
    });
    const curl = (...words: string[]): Promise<{ stdout: string; stderr: string }> =>
      run("curl", ["-sS", "-v", "--max-time", "15", ...words], { env });
    const two = await curl("-d", "abc", `${server.url}/size`, `${server.url}/size`);
    expect(two.stdout).toBe("3\n3\n");
    expect(two.stderr).toMatch(/Re-using existing connection/i);
    const data = "x".repeat(MEBIBYTE + 7);
    const upload = (words: string[]): Promise<{ stdout: string; stderr: string }> =>
      new Promise((resolve, reject) => {
        const child = spawn("curl", ["-sS", "-v", "--max-time", "15", "-T", "-", ...words], {
          env,
        });
        let stdout = "";
        let stderr = "";
        child.stdout.on("data", (part) => (stdout += String(part)));
        child.stderr.on("data", (part) => (stderr += String(part)));
        child.on("error", reject).on("close", () => resolve({ stdout, stderr }));
        child.stdin.on("error", () => undefined); // curl stops reading when it is refused
        child.stdin.end(data);
      });
    const expecting = await upload(["-H", "Expect: 100-continue", `${server.url}/size`]);
    expect(expecting.stdout).toBe(`${data.length}\n`);
    expect(expecting.stderr).toContain("Transfer-Encoding: chunked");
    expect(expecting.stderr).toContain("HTTP/1.1 100 Continue");
    const refused = await curl(
      "-X",
      "PUT",
      "-H",
      "Expect: 100-continue",
      "-d",
      "0123456789a",
      `${server.url}/small`,
    );
    expect(refused.stderr).toContain("HTTP/1.1 413");
    expect(refused.stderr).not.toContain("100 Continue");
    expect((await upload([`${server.url}/size`])).stdout).toBe(`${data.length}\n`);
  });
});
