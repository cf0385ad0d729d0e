// What serve() accepts and hands to the native side, and the server's life, over a fake binding.
import { AsyncLocalStorage } from "node:async_hooks";
import { beforeEach, expect, it } from "vitest";
import { type Refusals, raw, type ServeOptions, serve } from "../../src/index.ts";
import { setBinding } from "../../src/native/binding.ts";
import { BODY_MODE, COMMAND, ERRORS, LIMITS, ROUTE_KIND } from "../../src/native/tables.ts";
import { FakeBinding } from "./fake.ts";

let fake: FakeBinding;
const fetch = (): Response => new Response("x");

beforeEach(() => {
  fake = new FakeBinding();
  setBinding(fake);
});

const REFUSED: readonly (readonly [options: unknown, message: string])[] = [
  [undefined, "serve() must be an object, got undefined"],
  [{}, "serve() needs one of routes, fetch, handler or notFound"],
  [{ fetch, prot: 1 }, 'serve() has no option "prot"; did you mean "port"?'],
  [{ fetch, port: 65_536 }, "port must be an integer from 0 to 65535, got 65536"],
  [{ fetch, port: "80" }, 'port must be an integer from 0 to 65535, got "80"'],
  [
    { fetch, port: 1, unix: "/x" },
    'unix cannot go with port; use listen: [...] for both, got "/x"',
  ],
  [{ fetch, mode: 0o600 }, "mode goes with unix only, got 384"],
  [{ fetch, hostname: "" }, 'hostname must be a string that is not empty, got ""'],
  [{ fetch, unix: `/${"x".repeat(120)}` }, "unix must have at most"],
  [{ fetch, listen: [] }, "listen must be an array with an entry or more, got an array"],
  [{ fetch, listen: [{ prot: 1 }] }, 'listen[0] has no option "prot"; did you mean "port"?'],
  [{ fetch, listen: [{ port: 1 }], port: 1 }, "port belongs into an entry of listen"],
  [
    { fetch, limits: { maxHeaderSize: 255 } },
    "limits.maxHeaderSize must be an integer from 256 to 65536 (bytes), got 255",
  ],
  [
    { fetch, limits: { maxHeadersSize: 1 } },
    'limits has no option "maxHeadersSize"; did you mean "maxHeaderSize"?',
  ],
  [
    { fetch, timeouts: { keepalive: 1 } },
    'timeouts has no option "keepalive"; did you mean "keepAlive"?',
  ],
  [
    { fetch, timeouts: { headers: 0.5 } },
    "timeouts.headers must be an integer from 0 to 86400000 (milliseconds), got 0.5",
  ],
  [{ fetch, loops: "many" }, 'loops must be an integer from 0 to 64 (or "auto"), got "many"'],
  [{ fetch: 1 }, "fetch must be a function, got 1"],
  [{ fetch, handler: fetch }, "fetch and handler both answer what no route matches"],
  [{ fetch, notFound: fetch }, "fetch and notFound both answer what no route matches"],
  [{ fetch, error: "x" }, 'error must be a function, got "x"'],
  [{ fetch, signal: {} }, "signal must be an AbortSignal, got an object"],
  [{ fetch, health: { alive: "/" } }, 'health has no option "alive"; did you mean "live"?'],
  [{ fetch, gracefulShutdown: { signals: ["term"] } }, 'gracefulShutdown.signals holds "term"'],
  [{ fetch, gracefulShutdown: { signals: ["SIGNOPE"] } }, 'signals holds "SIGNOPE"; use names of'],
  [{ fetch, gracefulShutdown: { signals: ["SIGKILL"] } }, "holds SIGKILL, which no process can"],
  [{ fetch, gracefulShutdown: { signals: ["SIGSTOP"] } }, "holds SIGSTOP, which no process can"],
  [{ fetch, gracefulShutdown: { signals: ["toString"] } }, 'signals holds "toString"'],
  [{ routes: [] }, "routes must be an object of patterns, got an array"],
  [
    { routes: { "/": { GET: fetch, body: "whole" } } },
    'routes["/"].body must be one of "buffer", "none", "sized", "stream", got "whole"',
  ],
  [{ routes: { "/": { get: fetch } } }, 'routes["/"] has no option "get"; did you mean "GET"?'],
  [
    { routes: { "/": { GET: fetch, maxBodySize: -1 } } },
    'routes["/"].maxBodySize must be a whole number of bytes',
  ],
  [{ fetch, refusals: 413 }, "refusals must be an object, got 413"],
  [
    { fetch, refusals: { 404: new Response("") } },
    'refusals has no option "404"; loops refuse with',
  ],
  [
    { fetch, refusals: { ERR_MILLRACE_BODY_TOO_LARG: new Response("") } },
    'did you mean "ERR_MILLRACE_BODY_TOO_LARGE"?',
  ],
  [
    { fetch, refusals: { ERR_MILLRACE_HANDLER_FAILED: new Response("") } },
    'refusals has no option "ERR_MILLRACE_HANDLER_FAILED"',
  ],
  [
    { fetch, refusals: { 413: "too large" } },
    'refusals["413"] must be a Response, got "too large"',
  ],
  [
    { fetch, refusals: { 413: new Response("", { status: 400 }) } },
    'refusals["413"] keeps the status 413; give the Response none, got 400',
  ],
  [
    { fetch, refusals: { 413: new Response("", { headers: { connection: "close" } }) } },
    'refusals["413"] must have no Date or Connection',
  ],
  [
    { fetch, refusals: { 413: new Response("abc", { headers: { "content-length": "4" } }) } },
    'refusals["413"] has a body of 3 bytes and a Content-Length that differs, got 4',
  ],
  [
    { fetch, refusals: { 413: new Response("x".repeat(65_537)) } },
    'refusals["413"] must have at most 65536 bytes of header fields and body',
  ],
  [{ notFound: {} }, "(notFound) must be a function or raw(...), got an object"],
];

it.each(REFUSED)("refuses %o", async (options, message) => {
  const promise = serve(options as ServeOptions);
  await expect(promise).rejects.toMatchObject({ code: "ERR_MILLRACE_INVALID_OPTION" });
  await expect(promise).rejects.toThrow(message);
  expect(fake.options).toBeUndefined();
});

const BAD_ROUTES: readonly (readonly [routes: unknown, message: string])[] = [
  [{ users: fetch }, 'the route "users" must begin with "/"'],
  [{ "/a b": fetch }, 'the route "/a b" holds " "'],
  [{ "/a?x": fetch }, 'the route "/a?x" holds "?"'],
  [{ "/:": fetch }, 'the route "/:" has a parameter ""'],
  [{ "/:a/@a": fetch }, 'the route "/:a/@a" uses the parameter "a" twice'],
  [{ "/1/*/*/*/*/*/*/*/*/:x": fetch }, "has more than 8 parameters and wildcards"],
  [
    { "/": 1 },
    'the route "/" must be a Response, file(), dir(), a function, raw(...), a method table or a ' +
      "WebSocketHandler, got 1",
  ],
  [{ "/": {} }, 'the route "/" has no method'],
  [{ "/": { GET: "x" } }, 'the route "/" GET must be a Response, a function or raw(...), got "x"'],
  [{ "/": new Response("x", { headers: { date: "x" } }) }, "Date or Connection"],
  [
    { "/": new Response("x", { headers: { "content-length": "2" } }) },
    "a Response of 1 bytes whose Content-Length says 2",
  ],
];

it.each(BAD_ROUTES)("refuses the routes %o", async (routes, message) => {
  const promise = serve({ routes } as ServeOptions);
  await expect(promise).rejects.toMatchObject({ code: "ERR_MILLRACE_INVALID_ROUTE" });
  await expect(promise).rejects.toThrow(message);
});

it("fills in the defaults", async () => {
  await serve({ fetch });
  expect(fake.options?.listeners).toEqual([
    {
      host: "127.0.0.1",
      port: 3000,
      unix: "",
      mode: -1,
      fd: -1,
      backlog: 511,
      reusePort: false,
      protocol: "http",
      proxy: 0,
      label: "",
    },
  ]);
  expect(fake.options?.limits).toEqual(LIMITS.map((row) => row.value));
});

it("takes several doors, and names instead of addresses", async () => {
  await serve({
    fetch,
    loops: 2,
    listen: [
      { hostname: "localhost", port: 0 },
      { hostname: "[::1]", port: 1 },
      { unix: "/tmp/x", mode: 0o660 },
      { fd: 3 },
    ],
    limits: { maxHeaders: 5 },
  });
  const { listeners, limits, loops } = fake.options as NonNullable<typeof fake.options>;
  expect(listeners.map(({ host, port, unix, mode, fd }) => [host, port, unix, mode, fd])).toEqual([
    ["127.0.0.1", 0, "", -1, -1],
    ["::1", 1, "", -1, -1],
    ["", 0, "/tmp/x", 0o660, -1],
    ["", 0, "", -1, 3],
  ]);
  expect([limits[LIMITS.findIndex((row) => row.option === "maxHeaders")], loops]).toEqual([5, 2]);
});

it("turns routes into rows", async () => {
  await serve({
    routes: {
      "/static": new Response("hi", { status: 203, headers: { "x-a": "1" } }),
      "/any": fetch,
      "/table/:id": { GET: raw(() => {}), POST: fetch, body: "none", maxBodySize: 9 },
    },
    health: { live: "/live", ready: "/ready" },
    notFound: fetch,
    methodNotAllowed: raw(() => {}),
  });
  const { routes, fallback, methodNotAllowed } = fake.options as NonNullable<typeof fake.options>;
  expect(
    routes.map(({ method, pattern, kind, id, body, bodyMax }) => [
      method,
      pattern,
      kind,
      id,
      body,
      bodyMax,
    ]),
  ).toEqual([
    ["GET", "/static", ROUTE_KIND.Static, 0, BODY_MODE.Buffer, -1],
    ["", "/any", ROUTE_KIND.Handler, 0, BODY_MODE.Buffer, -1],
    ["GET", "/table/:id", ROUTE_KIND.Handler, 1, BODY_MODE.None, 9],
    ["POST", "/table/:id", ROUTE_KIND.Handler, 2, BODY_MODE.None, 9],
    ["GET", "/live", ROUTE_KIND.Static, 0, BODY_MODE.Buffer, -1],
    ["GET", "/ready", ROUTE_KIND.Ready, 0, BODY_MODE.Buffer, -1],
  ]);
  expect(routes[0]).toMatchObject({
    status: 203,
    headers: "content-type: text/plain;charset=UTF-8\r\nx-a: 1\r\n",
  });
  expect(Buffer.from(routes[0]?.content ?? []).toString()).toBe("hi");
  expect([fallback?.id, methodNotAllowed?.id]).toEqual([3, 4]);
  fake.one({ route: 3 });
  expect((await fake.answer()).status).toBe(200);
});

it("gives each code the refusal of its own, or else of its status", async () => {
  const of = (name: string) => ERRORS.findIndex((row) => row.name === name);
  await serve({
    fetch,
    refusals: {
      413: new Response("not asked for"),
      426: new Response(null, { headers: { upgrade: "tea", a: "b" } }),
      503: new Response(null, { status: 503 }),
      ERR_MILLRACE_BODY_TOO_LARGE: Response.json({ error: "ü" }),
      ERR_MILLRACE_UNAVAILABLE: new Response("stopping"),
      ERR_MILLRACE_BAD_HOST: undefined,
    } as unknown as Refusals,
  });
  const rows = (fake.options?.refusals ?? []).map(({ code, status, headers, content }) => {
    return [code, status, headers, Buffer.from(content).toString()];
  });
  const text = "content-type: text/plain;charset=UTF-8\r\n";
  expect(rows).toEqual([
    [of("WsVersion"), 426, "a: b\r\n", ""],
    [of("WsRequired"), 426, "a: b\r\n", ""],
    [of("HandlerTimeout"), 503, "", ""],
    [of("Overloaded"), 503, "Retry-After: 1\r\n", ""],
    [of("TooManyConnections"), 503, "", ""],
    [of("BodyTooLarge"), 413, "content-type: application/json\r\n", '{"error":"ü"}'],
    [of("Unavailable"), 503, text, "stopping"],
  ]);
  await serve({
    fetch,
    refusals: { 503: new Response(null, { headers: { "retry-after": "9" } }) },
  });
  const own = fake.options?.refusals?.find(({ code }) => code === of("Overloaded"));
  expect(own?.headers).toBe("retry-after: 9\r\n");
});

it("takes a refusal of 64 KiB", async () => {
  const lines = "content-type: text/plain;charset=UTF-8\r\n";
  const body = "x".repeat(65_536 - lines.length);
  await serve({ fetch, refusals: { 413: new Response(body) } });
  expect(fake.options?.refusals?.[0]?.content.length).toBe(body.length);
});

it("starts raw fallbacks with the status that they stand for", async () => {
  await serve({
    notFound: raw((_req, res) => void res.end()),
    methodNotAllowed: raw((_req, res) => void res.end()),
  });
  fake.batch([{ route: 0 }, { route: 1 }]);
  expect(fake.answers.map((answer) => answer.status)).toEqual([404, 405]);
});

it("can be tried again with the same options after a refusal", async () => {
  const options = { port: 8080, routes: { "/": new Response("hi") } };
  fake.failure = Object.assign(new Error("bind: EADDRINUSE"), {
    code: "EADDRINUSE",
    syscall: "bind",
    listener: 0,
  });
  await expect(serve(options)).rejects.toMatchObject({
    code: "ERR_MILLRACE_ADDR_IN_USE",
    cause: fake.failure,
  });
  await expect(serve(options)).rejects.toThrow("127.0.0.1:8080");
  fake.failure = Object.assign(new Error("bind: EINVAL"), {
    code: "EINVAL",
    syscall: "bind",
    listener: 0,
  });
  await expect(serve(options)).rejects.toMatchObject({ code: "ERR_MILLRACE_LISTEN_FAILED" });
  fake.failure = Object.assign(new Error("epoll_create: EMFILE"), {
    code: "EMFILE",
    syscall: "epoll_create",
  });
  await expect(serve(options)).rejects.toMatchObject({ code: "ERR_MILLRACE_SYSTEM" });
  fake.failure = undefined;
  await serve(options);
  expect(Buffer.from(fake.options?.routes[0]?.content ?? []).toString()).toBe("hi");
});

it("closes once, reports, and releases after the last event", async () => {
  const server = await serve({ fetch, loops: 0 });
  const closing = server.close({ timeout: 50 });
  expect(server.close()).toBe(closing);
  expect(fake.released).toBe(0);
  expect(await closing).toEqual({ completed: 3, forced: 1 });
  expect(await server.closed).toEqual({ completed: 3, forced: 1 });
  await server[Symbol.asyncDispose]();
  expect([fake.released, fake.controls]).toEqual([1, [[COMMAND.Close, 50]]]);
  expect(server.metrics.requests).toBe(0);
  expect(server.ref().unref()).toBe(server);
});

it("closes when its signal is aborted, and refuses one that is", async () => {
  const controller = new AbortController();
  const server = await serve({ fetch, loops: 0, signal: controller.signal });
  controller.abort();
  expect(await server.closed).toEqual({ completed: 3, forced: 1 });
  await expect(serve({ fetch, signal: controller.signal })).rejects.toMatchObject({
    code: "ERR_MILLRACE_CLOSED",
  });
});

it("closes on a signal when asked to, and leaves no listener behind", async () => {
  const before = process.listenerCount("SIGUSR2");
  const server = await serve({
    fetch,
    loops: 0,
    gracefulShutdown: { signals: ["SIGUSR2"], timeout: 5 },
  });
  expect(process.listenerCount("SIGUSR2")).toBe(before + 1);
  process.emit("SIGUSR2", "SIGUSR2");
  await server.closed;
  expect(process.listenerCount("SIGUSR2")).toBe(before);
  expect(fake.controls).toEqual([[COMMAND.Close, 5]]);
});

it("waits in close() for what waitUntil() was given, but not beyond the timeout", async () => {
  let done = false;
  const start = async (ms: number): Promise<void> => {
    const server = await serve({
      loops: 0,
      fetch: (_request, ctx) => {
        ctx.waitUntil(
          new Promise<void>((resolve) => {
            setTimeout(() => {
              done = true;
              resolve();
            }, ms);
          }),
        );
        return new Response("x");
      },
    });
    fake.one({});
    await server.close({ timeout: 60 });
  };
  await start(20);
  expect(done).toBe(true);
  done = false;
  await start(200);
  expect(done).toBe(false);
});

it("never lets an AsyncLocalStorage store pass from one request to another", async () => {
  const storage = new AsyncLocalStorage<number>();
  const seen: (number | undefined)[] = [];
  const later: (number | undefined)[] = [];
  await serve({
    loops: 0,
    handler: async (req, res) => {
      seen.push(storage.getStore());
      const own = Number(req.path.slice(1));
      storage.enterWith(own);
      await null;
      await new Promise((resolve) => setImmediate(resolve));
      later.push(own, storage.getStore());
      process.nextTick(() => later.push(own, storage.getStore()));
      res.end();
    },
  });
  for (let batch = 0; batch < 20; batch += 1) {
    fake.batch(Array.from({ length: 50 }, (_, index) => ({ target: `/${batch * 50 + index}` })));
  }
  for (let i = 0; i < 20 && later.length < 4000; i += 1)
    await new Promise((resolve) => setTimeout(resolve, 5));
  expect(seen).toHaveLength(1000);
  expect(new Set(seen)).toEqual(new Set([undefined]));
  expect(later).toHaveLength(4000);
  for (let i = 0; i < later.length; i += 2) expect(later[i + 1]).toBe(later[i]);
  expect(storage.getStore()).toBeUndefined();
});

it("calls fetch and error of an application object as its methods", async () => {
  class App {
    readonly loops = 0;
    #word = "mine";
    fetch(request: Request): Response {
      if (request.url.endsWith("/fail")) throw new Error("no");
      return new Response(this.#word);
    }
    error(): Response {
      return new Response(this.#word, { status: 503 });
    }
  }
  await serve(new App());
  fake.one({});
  expect(await fake.answer()).toMatchObject({ status: 200, body: "mine" });
  fake.one({ target: "/fail" });
  expect(await fake.answer()).toMatchObject({ status: 503, body: "mine" });
});

it("refuses more handlers than there are numbers for them", async () => {
  const many = Array.from({ length: 65_534 }, (_, i): [string, typeof fetch] => [`/${i}`, fetch]);
  const routes = Object.fromEntries(many);
  await expect(serve({ fetch, methodNotAllowed: fetch, routes })).rejects.toMatchObject({
    code: "ERR_MILLRACE_INVALID_OPTION",
    message: "routes has more than 65535 entries, got 65536",
  });
  await serve({ fetch, routes });
});
