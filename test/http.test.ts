// What a client gets: routes, methods, headers, native answers. Bodies and clients are in
// bodies.test.ts, transcripts of bytes in the case files.
import { expect, it } from "vitest";
import { type Context, raw, type Server } from "../src/index.ts";
import { onEachHost } from "./support/hosts.ts";
import { type WireResponse, wire } from "./support/wire.ts";

async function ask(
  server: Server,
  method: string,
  target: string,
  lines = "",
): Promise<WireResponse> {
  const client = await wire(server);
  try {
    client.send(
      `${method} ${target} HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n${lines}\r\n`,
    );
    const response = await client.response(method === "HEAD");
    await client.end();
    expect(client.buffer, "bytes behind the response").toBe("");
    return response;
  } finally {
    client.close();
  }
}

onEachHost(({ start }) => {
  it("finds routes by precedence and hands their parameters over decoded", async () => {
    const tell = (name: string) => raw((req, res) => void res.json({ name, ...req.params }));
    const server = await start({
      routes: {
        "/": tell("root"),
        "/users/me": tell("literal"),
        "/users/:id": tell("param"),
        "/users/:id/posts/:post": tell("two"),
        "/:a/:b/*": tell("star"),
        "/files/**": tell("rest"),
      },
    });
    const get = async (target: string): Promise<unknown> =>
      JSON.parse(Buffer.from((await ask(server, "GET", target)).body, "latin1").toString());
    expect(await get("/")).toEqual({ name: "root" });
    expect(await get("/users/me")).toEqual({ name: "literal" });
    expect(await get("/users/me?x=/users/1")).toEqual({ name: "literal" });
    expect(await get("/users/a%20b%2Fc")).toEqual({ name: "param", id: "a b/c" });
    expect(await get("/users/%zz")).toEqual({ name: "param", id: "%zz" });
    expect(await get("/users/7/posts/%C3%A9")).toEqual({ name: "two", id: "7", post: "é" });
    expect(await get("/x/y/z")).toEqual({ name: "star", a: "x", b: "y", "*": "z" });
    expect(await get("/files/a/b/c")).toEqual({ name: "rest", "*": "a/b/c" });
    expect(await get("http://other.example/users/9?q")).toEqual({ name: "param", id: "9" });
    expect((await ask(server, "GET", "/nowhere")).status).toBe(404);
  });

  it("answers HEAD from GET, OPTIONS by itself, and 405 with Allow", async () => {
    const server = await start({
      routes: {
        "/thing": {
          GET: raw((_req, res) => void res.end("twelve bytes")),
          PUT: () => Response.json(1),
        },
        "/own": {
          GET: () => new Response("get"),
          HEAD: raw((_req, res) => void res.status(202).end()),
        },
        "/all": raw((req, res) => void res.end(req.method)),
      },
    });
    const head = await ask(server, "HEAD", "/thing");
    expect(head.status).toBe(200);
    expect(head.headers.get("content-length")).toBe("12");
    expect((await ask(server, "HEAD", "/own")).status).toBe(202);
    const options = await ask(server, "OPTIONS", "/thing");
    expect(options.status).toBe(204);
    const allowed = (response: WireResponse): string[] =>
      (response.headers.get("allow") ?? "").split(/, */).sort();
    expect(allowed(options)).toEqual(["GET", "HEAD", "OPTIONS", "PUT"]);
    const refused = await ask(server, "DELETE", "/thing");
    expect(refused.status).toBe(405);
    expect(allowed(refused)).toEqual(["GET", "HEAD", "OPTIONS", "PUT"]);
    expect((await ask(server, "get", "/thing")).status).toBe(405);
    expect((await ask(server, "PURGE", "/all")).body).toBe("PURGE");
  });

  it("lets notFound and methodNotAllowed answer, with a status of their own", async () => {
    const server = await start({
      routes: { "/a": { GET: new Response("a") } },
      notFound: raw((req, res) => void res.end(`no ${req.path}`)),
      methodNotAllowed: (request) => new Response(`not ${request.method}`, { status: 418 }),
    });
    expect(await ask(server, "GET", "/b/c")).toMatchObject({ status: 404, body: "no /b/c" });
    expect(await ask(server, "POST", "/a")).toMatchObject({ status: 418, body: "not POST" });
  });

  it("lets the fallback handler take everything that no route does", async () => {
    const server = await start({
      routes: { "/a": new Response("a") },
      handler: (req, res) => void res.end(`${req.method} ${req.url}`),
    });
    expect(await ask(server, "GET", "/a")).toMatchObject({ status: 200, body: "a" });
    expect(await ask(server, "PATCH", "/b?c=d")).toMatchObject({
      status: 200,
      body: "PATCH /b?c=d",
    });
  });

  it("hands what a handler threw to the error hook", async () => {
    const seen: unknown[] = [];
    const server = await start({
      routes: {
        "/raw": raw((_req, res) => {
          res.header("x-half", "done");
          throw new Error("raw");
        }),
        "/fetch/:id": async () => Promise.reject(new Error("fetch")),
      },
      error: (error: unknown, ctx: Context) => {
        seen.push((error as Error).message);
        return new Response(`sorry ${JSON.stringify(ctx.params)}`, { status: 503 });
      },
    });
    const first = await ask(server, "GET", "/raw");
    expect(first).toMatchObject({ status: 503, body: "sorry {}" });
    expect(first.headers.has("x-half")).toBe(false);
    expect(await ask(server, "GET", "/fetch/1")).toMatchObject({
      status: 503,
      body: 'sorry {"id":"1"}',
    });
    expect(seen).toEqual(["raw", "fetch"]);
  });

  it("answers static Responses and health natively; ready is 503 while draining", async () => {
    const server = await start({
      routes: {
        "/static": new Response("fixed", {
          status: 203,
          headers: { "X-Fixed": "yes", ETag: '"1"' },
        }),
        "/empty": new Response(null, { status: 204 }),
      },
      health: { live: "/live", ready: "/ready" },
    });
    const fixed = await ask(server, "GET", "/static");
    expect(fixed).toMatchObject({ status: 203, body: "fixed" });
    expect(fixed.headers.get("x-fixed")).toBe("yes");
    expect(fixed.headers.get("etag")).toBe('"1"');
    expect(fixed.headers.get("date")).toMatch(/^\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT$/);
    const head = await ask(server, "HEAD", "/static");
    expect(head.headers.get("content-length")).toBe("5");
    const empty = await ask(server, "GET", "/empty");
    expect(empty.status).toBe(204);
    expect(empty.headers.has("content-length")).toBe(false);
    expect((await ask(server, "GET", "/ready")).status).toBe(200);
    server.drain();
    await expect.poll(async () => (await ask(server, "GET", "/ready")).status).toBe(503);
    expect((await ask(server, "GET", "/live")).status).toBe(200);
    expect(server.metrics.batchSize.max, "entries into JavaScript").toBe(0);
    expect(server.metrics.counters["nativeResponses"]).toBe(server.metrics.requests);
  });

  it("shows request headers without case, joined or one by one", async () => {
    const server = await start({
      handler: (req, res) => {
        const { headers } = req;
        res.json({
          one: headers.get("X-One"),
          lower: headers.get("x-one"),
          two: headers.get("x-two"),
          all: headers.getAll("X-Two"),
          none: headers.get("x-none"),
          has: [headers.has("HOST"), headers.has("x-non")],
          cookie: headers.get("cookie"),
          latin: headers.get("x-latin"),
          names: [...headers].map(([name]) => name),
        });
      },
    });
    const lines =
      "X-One: 1\r\nX-Two: a\r\nx-two:  b \r\nCookie: a=1\r\nCookie: b=2\r\nX-Latin: \xe9\r\n";
    expect(
      JSON.parse(Buffer.from((await ask(server, "GET", "/", lines)).body, "latin1").toString()),
    ).toEqual({
      one: "1",
      lower: "1",
      two: "a, b",
      all: ["a", "b"],
      none: null,
      has: [true, false],
      cookie: "a=1; b=2",
      latin: "é",
      names: ["host", "connection", "x-one", "x-two", "x-two", "cookie", "cookie", "x-latin"],
    });
  });

  it("sends headers and cookies as they were set, the last setting of a name winning", async () => {
    const server = await start({
      handler: (_req, res) => {
        res.header("X-A", "1").header("x-a", 2).append("X-B", "1").append("X-B", "2");
        res.header("X-C", ["p", "q"]).header("X-Latin", "é").header("Connection", "keep-alive");
        res.cookie("session", "a b;c", { httpOnly: true, maxAge: 60, sameSite: "lax" });
        res.cookie("theme", "dark", { path: "/x" });
        res.status(201).end("made");
      },
    });
    const { status, headers, body } = await ask(server, "GET", "/");
    expect({ status, body }).toEqual({ status: 201, body: "made" });
    expect(headers.get("x-a")).toBe("2");
    expect(headers.get("x-b")).toBe("1\n2");
    expect(headers.get("x-c")).toBe("p\nq");
    expect(headers.get("x-latin")).toBe("\xe9");
    expect(headers.get("content-length")).toBe("4");
    expect(headers.get("set-cookie")?.split("\n")).toEqual([
      "session=a%20b%3Bc; Max-Age=60; Path=/; HttpOnly; SameSite=Lax",
      "theme=dark; Path=/x",
    ]);
  });

  it("redirects, sends JSON, and sends status, body and headers in one call", async () => {
    const server = await start({
      routes: {
        "/old": raw((_req, res) => void res.redirect("/new/é?x=1", 308)),
        "/json": raw((_req, res) => void res.json({ a: [1, null, "ü"] })),
        "/send": raw((_req, res) => void res.send(409, new Uint8Array([104, 105]), { "X-Y": 3 })),
      },
    });
    const moved = await ask(server, "GET", "/old");
    expect(moved.status).toBe(308);
    expect(moved.headers.get("location")).toBe("/new/%C3%A9?x=1");
    expect(moved.headers.get("content-length")).toBe("0");
    const json = await ask(server, "GET", "/json");
    expect(json.headers.get("content-type")).toBe("application/json");
    expect(Buffer.from(json.body, "latin1").toString()).toBe('{"a":[1,null,"ü"]}');
    const sent = await ask(server, "GET", "/send");
    expect(sent).toMatchObject({ status: 409, body: "hi" });
    expect(sent.headers.get("x-y")).toBe("3");
  });

  it("sends informational responses ahead of the final one, to HTTP/1.1 clients only", async () => {
    const server = await start({
      handler: async (_req, res) => {
        res.earlyHints(["</a.css>; rel=preload", "</b.js>; rel=preload"]);
        await Promise.resolve();
        res.end(String(res.informational(102)));
      },
    });
    const client = await wire(server);
    client.get("/");
    const hints = await client.response();
    expect(hints.status).toBe(103);
    expect(hints.headers.get("link")).toBe("</a.css>; rel=preload\n</b.js>; rel=preload");
    expect((await client.response()).status).toBe(102);
    expect(await client.response()).toMatchObject({ status: 200, body: "true" });
    client.send("GET / HTTP/1.0\r\n\r\n");
    expect(await client.response()).toMatchObject({ status: 200, body: "false" });
  });

  it("answers pipelined requests in order although handlers finish out of order", async () => {
    const turns: (() => void)[] = [];
    const server = await start({
      limits: { maxBufferedBytes: 16_777_216 }, // before the first answer nobody knows their size
      routes: {
        "/n/:n": raw(async (req, res) => {
          await new Promise<void>((resolve) => {
            turns.push(resolve);
            if (turns.length === 20) for (const turn of turns.reverse()) turn();
          });
          res.end(req.params.n);
        }),
      },
    });
    const client = await wire(server);
    client.send(
      Array.from({ length: 20 }, (_, n) => `GET /n/${n} HTTP/1.1\r\nHost: a\r\n\r\n`).join(""),
    );
    for (let n = 0; n < 20; n += 1) expect((await client.response()).body).toBe(`${n}`);
  });

  it("counts what it did", async () => {
    const server = await start({ routes: { "/a": raw((_req, res) => void res.end("a")) } });
    for (let i = 0; i < 3; i += 1) await ask(server, "GET", "/a");
    await ask(server, "GET", "/b");
    const bad = await wire(server);
    bad.send("nonsense\r\n\r\n");
    expect((await bad.response()).status).toBe(400);
    bad.close();
    await expect.poll(() => server.metrics.connections).toBe(0);
    const { metrics } = server;
    expect(metrics.requests).toBe(4);
    expect(metrics.responses).toMatchObject({ "2xx": 3, "4xx": 2, "5xx": 0 });
    expect(Object.values(metrics.parseErrors)).toEqual([1]);
    expect(metrics.counters["accepted"]).toBe(5);
    expect(metrics.inFlight).toBe(0);
    expect(metrics.queueDelayMs.max).toBeLessThan(10_000);
  });
});
