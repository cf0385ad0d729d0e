// What goes wrong in applications: each mistake harms its own exchange only, is said with a code,
// and is never silent.
import { afterEach, beforeEach, expect, it } from "vitest";
import {
  type LogRecord,
  MillraceError,
  type RawHandler,
  type Req,
  type Res,
  raw,
  type ServeOptions,
  serve,
} from "../src/index.ts";
import { onEachHost } from "./support/hosts.ts";
import { gate, until } from "./support/until.ts";
import { type Wire, wire } from "./support/wire.ts";

const warnings: NodeJS.ErrnoException[] = [];
const printers = process.listeners("warning");
// Warnings are bounded per second, so each test gets a second of its own.
const now = performance.now.bind(performance);
let ahead = 0;
performance.now = () => now() + ahead;

beforeEach(() => {
  ahead += 1000;
  process.removeAllListeners("warning");
  process.on("warning", (warning) => warnings.push(warning));
});

afterEach(() => {
  process.removeAllListeners("warning");
  for (const printer of printers) process.on("warning", printer);
  warnings.length = 0;
});

const codesOfWarnings = (): readonly (string | undefined)[] => warnings.map(({ code }) => code);

/** What throws when it is looked at. */
function unprintable(): readonly unknown[] {
  const fail = (): never => {
    throw new Error("looked at");
  };
  const withStack = new Error("boom");
  Object.defineProperty(withStack, "stack", { get: fail });
  const renamed = new MillraceError("ERR_MILLRACE_CLOSED", "boom");
  Object.defineProperty(renamed, "message", { value: Symbol("message") });
  const revoked = Proxy.revocable({}, {});
  revoked.revoke();
  return [
    Object.create(null),
    withStack,
    new Proxy({}, { getPrototypeOf: fail }),
    new Proxy(() => undefined, { get: fail, getPrototypeOf: fail, has: fail }),
    revoked.proxy,
    Object.assign(new MillraceError("ERR_MILLRACE_INVALID_BODY", "boom"), { status: 400.5 }),
    renamed,
  ];
}

/** What `attempt` throws, as its code; "" when it does not. */
function codeOf(attempt: () => unknown): string {
  try {
    attempt();
  } catch (error) {
    return (error as { code?: string }).code ?? String(error);
  }
  return "";
}

onEachHost(({ loops, start }) => {
  /** Serves one handler and asks once; the handler's own findings come back with the response. */
  async function once(
    handler: RawHandler,
  ): Promise<{ status: number; body: string; client: Wire }> {
    const server = await start({ handler });
    const client = await wire(server);
    const { status, body } = await client.get("/").response();
    return { status, body, client };
  }

  it("throws at a second answer and at changes after the first, which stays", async () => {
    const codes: string[] = [];
    const { status, body, client } = await once((_req, res) => {
      res.header("x-a", "1").end("first");
      codes.push(
        ...[
          () => res.end("second"),
          () => res.json({}),
          () => res.send(500),
          () => res.redirect("/"),
          () => res.status(404),
          () => res.header("x-b", "2"),
          () => res.append("x-b", "2"),
          () => res.cookie("a", "b"),
          () => res.informational(103),
        ].map(codeOf),
      );
    });
    expect({ status, body }).toEqual({ status: 200, body: "first" });
    expect(new Set(codes)).toEqual(new Set(["ERR_MILLRACE_ALREADY_ENDED"]));
    expect((await client.get("/").response()).status).toBe(200);
  });

  it("warns when a handler answers twice and lets the error escape", async () => {
    const { status, body, client } = await once(async (_req, res) => {
      res.end("first");
      await Promise.resolve();
      res.end("second");
    });
    expect({ status, body }).toEqual({ status: 200, body: "first" });
    await until("the warning is there", () => warnings.length === 1);
    expect(codesOfWarnings()).toEqual(["ERR_MILLRACE_ALREADY_ENDED"]);
    expect(client.buffer, "a second response").toBe("");
  });

  it("answers 500 and warns when a handler gives no answer", async () => {
    const ways: readonly RawHandler[] = [
      () => undefined,
      async () => Promise.resolve(),
      (_req, res) => res.status(201).header("x-a", "1"),
      // @ts-expect-error a fetch handler's way
      () => new Response("lost"),
      // @ts-expect-error likewise
      async () => new Response("lost"),
    ];
    for (const way of ways) {
      const { status, client } = await once(way);
      expect(status).toBe(500);
      client.close();
    }
    await until("the warnings are there", () => warnings.length === ways.length);
    expect(new Set(codesOfWarnings())).toEqual(new Set(["ERR_MILLRACE_NO_REPLY"]));
    expect(warnings[0]?.message).toContain("GET (handler) returned without answering");
  });

  it("answers 500 when a fetch handler returns something else than a Response", async () => {
    const wrong = (() => "text") as unknown as () => Response;
    const server = await start({ routes: { "/a": wrong, "/b": async () => wrong() } });
    for (const path of ["/a", "/b"]) expect((await fetch(server.url + path)).status).toBe(500);
    await until("the warnings are there", () => warnings.length === 2);
    expect(new Set(codesOfWarnings())).toEqual(new Set(["ERR_MILLRACE_NO_REPLY"]));
  });

  it("keeps the exchange open after detach() until whoever holds it answers", async () => {
    const held: Res[] = [];
    const server = await start({ handler: (_req, res) => void held.push(res.detach()) });
    const client = await wire(server);
    client.get("/").get("/");
    await until("both are there", () => held.length === 2);
    held[1]?.end("two");
    held[0]?.end("one");
    expect((await client.response()).body).toBe("one");
    expect((await client.response()).body).toBe("two");
    expect(warnings).toEqual([]);
  });

  it("answers 500 and warns when a handler throws or rejects, whatever it is", async () => {
    for (const thrown of [new Error("boom"), "a string", undefined, null, { status: 404 }]) {
      const first = await once(() => {
        throw thrown;
      });
      const second = await once(() => Promise.reject(thrown));
      expect([first.status, second.status]).toEqual([500, 500]);
      expect(first.body, "nothing of the error leaves the house").toBe("Internal Server Error\n");
      first.client.close();
      second.client.close();
    }
    await until("the warnings are there", () => warnings.length === 10);
    expect(new Set(codesOfWarnings())).toEqual(new Set(["ERR_MILLRACE_HANDLER_FAILED"]));
  });

  it("answers with the 4xx status of an Error, and its message where it says expose", async () => {
    const secret = "where the secret is";
    const made = (more: object): Error => Object.assign(new Error(secret), more);
    const cases: readonly (readonly [thrown: Error, status: number, body: string])[] = [
      [made({ status: 404 }), 404, "Not Found"],
      [made({ statusCode: 422 }), 422, "Unprocessable Entity"],
      [made({ status: 400, expose: "true" }), 400, "Bad Request"],
      [made({ status: 403, expose: true }), 403, secret],
      [made({ status: 502, statusCode: 409 }), 409, "Conflict"],
      [made({ status: 499 }), 499, "Client Error"],
      [made({ status: 404, expose: true, message: "" }), 404, "Not Found"],
      [made({ status: 399 }), 500, "Internal Server Error"],
      [made({ status: 500, expose: true }), 500, "Internal Server Error"],
      [made({ status: "404" }), 500, "Internal Server Error"],
      [made({ status: 404.5, statusCode: Number.NaN }), 500, "Internal Server Error"],
      [made({ status: 507 }), 500, "Internal Server Error"],
    ];
    const records: LogRecord[] = [];
    const options = {
      log: { level: "debug", write: (record) => void records.push(record) },
      routes: {
        "/raw/:n": raw((req) => {
          throw cases[Number(req.params["n"])]?.[0];
        }),
        "/fetch/:n": (_request, ctx) => Promise.reject(cases[Number(ctx.params["n"])]?.[0]),
      },
    } satisfies ServeOptions<string>;
    for (const error of [undefined, () => undefined]) {
      const server = await start({ ...options, ...(error && { error }) });
      const client = await wire(server);
      for (const kind of ["raw", "fetch"]) {
        for (const [n, [, status, body]] of cases.entries()) {
          const answer = await client.get(`/${kind}/${n}`).response();
          expect([answer.status, answer.body], `${kind} ${n}`).toEqual([status, `${body}\n`]);
          expect(answer.headers.get("content-type")).toBe("text/plain;charset=utf-8");
        }
      }
      client.close();
    }
    const told = (level: string): number =>
      records.filter(({ err, levelName }) => err !== undefined && levelName === level).length;
    await until("all is told, once", () => told("error") === 10 && told("debug") === 14);
    expect(warnings).toEqual([]);
  });

  it("answers 500, warns and serves on when what is thrown cannot be looked at", async () => {
    const things = unprintable();
    const server = await start({
      routes: {
        "/sync/:n": raw((req) => {
          throw things[Number(req.params.n)];
        }),
        "/async/:n": raw((req) => Promise.reject(things[Number(req.params.n)])),
        "/fetch/:n": (_request, ctx) => {
          throw things[Number(ctx.params.n)];
        },
        "/fine": raw((_req, res) => void res.end("fine")),
      },
    });
    const client = await wire(server);
    for (const kind of ["sync", "async", "fetch"]) {
      for (const n of things.keys()) {
        expect((await client.get(`/${kind}/${n}`).response()).status, `${kind} ${n}`).toBe(500);
        expect((await client.get("/fine").response()).body).toBe("fine");
      }
      // Those of a second are bounded.
      await until("the warnings are there", () => warnings.length === things.length);
      warnings.length = 0;
      ahead += 1000;
    }
  });

  it("serves the rest of the batch, whatever a handler or the error hook throws", async () => {
    const things = unprintable();
    let isThrown = false;
    const server = await start({
      routes: {
        "/:n": raw((req) => {
          throw things[Number(req.params.n)];
        }),
        "/fine": raw((_req, res) => void res.end("fine")),
      },
      error(error) {
        if (isThrown) throw error;
        return error as Response;
      },
    });
    const clients = await Promise.all(things.map(() => wire(server)));
    const last = await wire(server);
    for (isThrown of [false, true]) {
      for (const [n, client] of clients.entries()) client.get(`/${n}`);
      expect((await last.get("/fine").response()).body).toBe("fine");
      for (const [n, client] of clients.entries())
        expect((await client.response()).status, `${n}`).toBe(500);
      ahead += 1000;
    }
  });

  it("knows a peer that left from a handler's own failure, even if that is no error", async () => {
    const things = unprintable();
    const server = await start({
      routes: {
        "/:n": raw(async (req) => {
          await new Promise((resolve) => req.signal.addEventListener("abort", resolve));
          throw things[Number(req.params.n)];
        }),
      },
    });
    for (const n of things.keys()) {
      const client = await wire(server);
      client.get(`/${n}`);
      await until("it is in flight", () => server.metrics.inFlight === 1);
      client.reset();
      await until("it is over", () => server.metrics.inFlight === 0);
    }
    await until("the warnings are there", () => warnings.length === things.length);
  });

  it("falls back to 500 when the error hook itself throws", async () => {
    const server = await start({
      handler: () => Promise.reject(new Error("first")),
      error: () => {
        throw new Error("second");
      },
    });
    expect((await fetch(server.url)).status).toBe(500);
    await until("the warning is there", () => warnings.length === 1);
    expect(warnings[0]).toMatchObject({ detail: expect.stringContaining("second") as string });
  });

  it("takes answers after the peer left for what they are: false, not an error", async () => {
    const results: unknown[] = [];
    const answered = gate();
    const server = await start({
      handler: async (req, res) => {
        await new Promise((resolve) => req.signal.addEventListener("abort", resolve));
        await until("the response knows", () => res.state === "aborted");
        results.push(res.header("a", "b") === res, res.end("late"), res.json(1), res.state);
        results.push(req.aborted, req.headers.get("host"), res.informational(103));
        answered.open();
      },
    });
    const client = await wire(server);
    client.get("/");
    await until("the request is in flight", () => server.metrics.inFlight === 1);
    client.reset();
    await answered.promise;
    expect(results).toEqual([true, false, false, "aborted", true, "a", false]);
    expect(warnings).toEqual([]);
  });

  it("refuses what cannot be sent, and sends what follows", async () => {
    const wrong = (value: unknown): never => value as never;
    const attempts: readonly (readonly [code: string, attempt: (res: Res) => unknown])[] = [
      ["INVALID_HEADER", (res) => res.header("x", "a\r\nSet-Cookie: b=1")],
      ["INVALID_HEADER", (res) => res.header("x", "a\0")],
      ["INVALID_HEADER", (res) => res.header("x", "\u0100")],
      ["INVALID_HEADER", (res) => res.header("x y", "a")],
      ["INVALID_HEADER", (res) => res.header("x:", "a")],
      ["INVALID_HEADER", (res) => res.header("", "a")],
      ["INVALID_HEADER", (res) => res.header("x", ["a", "b\n"])],
      ["INVALID_HEADER", (res) => res.append("x", wrong({}))],
      ["INVALID_HEADER", (res) => res.header("transfer-encoding", "chunked")],
      ["INVALID_HEADER", (res) => res.header("content-length", "-1")],
      ["INVALID_HEADER", (res) => res.cookie("a b", "c")],
      ["INVALID_HEADER", (res) => res.cookie("a", "b", { path: "/\r\n" })],
      ["INVALID_HEADER", (res) => res.header("x", "y".repeat(1_000_000)).end()],
      ["INVALID_HEADER", (res) => res.redirect("/\r\nx: y")],
      ["INVALID_STATUS", (res) => res.status(199)],
      ["INVALID_STATUS", (res) => res.status(600)],
      ["INVALID_STATUS", (res) => res.status(200.5)],
      ["INVALID_STATUS", (res) => res.status(wrong("200"))],
      ["INVALID_STATUS", (res) => res.redirect("/", 200)],
      ["INVALID_STATUS", (res) => res.informational(101)],
      ["INVALID_BODY", (res) => res.end(wrong({ a: 1 }))],
      ["INVALID_BODY", (res) => res.end(wrong(7))],
      ["INVALID_BODY", (res) => res.end(wrong(null))],
      ["INVALID_BODY", (res) => res.end(wrong(new DataView(new ArrayBuffer(1))))],
      ["INVALID_BODY", (res) => res.json(undefined)],
      ["INVALID_BODY", (res) => res.send(204, "x")],
      ["INVALID_BODY", (res) => res.send(304, "x")],
      ["LENGTH_MISMATCH", (res) => res.header("content-length", 5).end("1234")],
    ];
    const server = await start({
      routes: {
        "/:n": raw((req, res) => {
          const [, attempt] = attempts[Number(req.params.n)] as (typeof attempts)[number];
          const code = codeOf(() => attempt(res));
          if (res.state === "open")
            res.send(200, code, { "content-length": code.length, x: "fine" });
        }),
      },
    });
    const client = await wire(server);
    for (const [n, [code, attempt]] of attempts.entries()) {
      const response = await client.get(`/${n}`).response();
      const label = String(attempt);
      expect(response.body, label).toBe(`ERR_MILLRACE_${code}`);
      expect(response.headers.get("x"), label).toBe("fine");
      expect(response.headers.has("set-cookie"), label).toBe(false);
    }
  });

  it("shows the same request after await, after the end and after a thousand others", async () => {
    const kept: Req[] = [];
    const server = await start({
      routes: {
        "/keep/:id": raw((req, res) => {
          kept.push(req);
          res.end("kept");
        }),
        "/other/:id": raw((req, res) => void res.end(req.params.id)),
      },
    });
    const keeper = await wire(server);
    keeper.send(
      "PUT /keep/a%20b?q=1 HTTP/1.1\r\nHost: h\r\nX-Mine: yes\r\nContent-Length: 4\r\n\r\nbody",
    );
    expect((await keeper.response()).status).toBe(200);
    const other = await wire(server);
    for (let round = 0; round < 20; round += 1) {
      const lines = `X-Mine: no${"-".repeat(round * 50)}\r\n`;
      for (let i = 0; i < 50; i += 1) other.get(`/other/${i}?q=2`, lines);
      for (let i = 0; i < 50; i += 1) expect((await other.response()).body).toBe(`${i}`);
    }
    keeper.close();
    other.close();
    await until("both are gone", () => server.metrics.connections === 0);
    const req = kept[0] as Req;
    expect([req.method, req.url, req.path, req.search]).toEqual([
      "PUT",
      "/keep/a%20b?q=1",
      "/keep/a%20b",
      "?q=1",
    ]);
    expect([...req.headers]).toEqual([
      ["host", "h"],
      ["x-mine", "yes"],
      ["content-length", "4"],
    ]);
    expect({ ...req.params }).toEqual({ id: "a b" });
    expect([req.ip, req.query.get("q"), req.contentLength]).toEqual(["127.0.0.1", "1", 4]);
    expect(await req.text()).toBe("body");
    expect(req.aborted).toBe(false);
  });

  it("refuses options with their name, the value and what is allowed", async () => {
    const handler: RawHandler = (_req, res) => void res.end();
    const refused: readonly (readonly [options: unknown, words: RegExp])[] = [
      [{ handler, port: 70_000 }, /port must be an integer from 0 to 65535, got 70000/],
      [{ handler, prot: 1 }, /no option "prot"; did you mean "port"\?/],
      [{ handler, limits: { maxHeaders: 0 } }, /limits\.maxHeaders .* from 1 to 1000 .* got 0/],
      [{ handler, timeouts: { keepalive: 1 } }, /did you mean "keepAlive"\?/],
      [{ port: 0 }, /needs one of routes/],
      [{ routes: { nope: handler } }, /the route "nope" must begin with "\/"/],
      [{ routes: { "/:a/:a": new Response("") } }, /"\/:a\/:a" uses the parameter "a" twice/],
      [{ routes: { "/a": { GTE: handler } } }, /no option "GTE"/],
      [{ port: 0, routes: { "/a/:b": new Response("1"), "/a/:c": new Response("2") } }, /\/a\/:c/],
    ];
    for (const [options, words] of refused) {
      const started = serve({ ...(options as ServeOptions), loops, silent: true });
      await expect(started, String(words)).rejects.toThrow(words);
      await expect(started).rejects.toBeInstanceOf(MillraceError);
    }
  });
});
