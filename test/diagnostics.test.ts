// An agent that knows node:http's channels and nothing of us: it follows requests, measures them,
// and joins traces, as those of OpenTelemetry do.
import { AsyncLocalStorage } from "node:async_hooks";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { afterEach, beforeEach, expect, it, onTestFinished } from "vitest";
import { type LogRecord, raw } from "../src/index.ts";
import { onEachHost } from "./support/hosts.ts";
import { until } from "./support/until.ts";
import { wire } from "./support/wire.ts";

const TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

interface Span {
  readonly trace: string;
  readonly name: string;
  readonly peer: string;
  status?: number;
  type?: string;
}

interface Exchange {
  readonly request: {
    readonly method: string;
    readonly url: string;
    readonly headers: Readonly<Record<string, string>>;
    readonly socket: { readonly remoteAddress: string };
  };
  readonly response: { readonly statusCode: number; getHeader(name: string): string };
}

/** What an agent does with the messages. */
class Agent {
  readonly spans: Span[] = [];
  readonly current = new AsyncLocalStorage<Span>();
  readonly #open = new WeakMap<object, Span>();

  readonly start = (message: unknown): void => {
    const { request } = message as Exchange;
    const { method, url, headers, socket } = request;
    const [, trace = ""] = headers["traceparent"]?.split("-") ?? [];
    const span: Span = { trace, name: `${method} ${url}`, peer: socket.remoteAddress };
    this.#open.set(request, span);
    this.current.enterWith(span);
  };

  readonly finish = (message: unknown): void => {
    const { request, response } = message as Exchange;
    const span = this.#open.get(request);
    if (span === undefined) return;
    span.status = response.statusCode;
    span.type = response.getHeader("Content-Type");
    this.spans.push(span);
  };
}

interface Emitter {
  emit: (name: string, ...values: unknown[]) => boolean;
  on(name: string, listener: () => void): unknown;
  once(name: string, listener: () => void): unknown;
}

/** The same messages, as those take them that know them to be of node:http. */
interface Emitting {
  readonly server: Emitter;
  readonly request: Emitter & { readonly url: string };
  readonly response: Emitter & {
    readonly statusCode: number;
    end(text: string): void;
    writeHead(status: number): void;
  };
}

function watch(name: string, take: (message: Emitting) => void): void {
  const taken = (message: unknown): void => take(message as Emitting);
  subscribe(name, taken);
  onTestFinished(() => void unsubscribe(name, taken));
}

let agent: Agent;

beforeEach(() => {
  agent = new Agent();
  subscribe("http.server.request.start", agent.start);
  subscribe("http.server.response.finish", agent.finish);
});

afterEach(() => {
  unsubscribe("http.server.request.start", agent.start);
  unsubscribe("http.server.response.finish", agent.finish);
});

onEachHost(({ start }) => {
  it("follows requests through handlers of both styles, each in its own context", async () => {
    const server = await start({
      routes: {
        "/raw/:id": raw(async (req, res) => {
          await new Promise((resolve) => setImmediate(resolve));
          res.status(202).header("Content-Type", "text/plain");
          res.end(`${agent.current.getStore()?.name} ${req.ctx.traceparent}`);
        }),
        "/fetch/:id": async () => {
          await Promise.resolve();
          return Response.json({ name: agent.current.getStore()?.name });
        },
        "/static": new Response("x"),
      },
    });
    const client = await wire(server);
    for (let id = 0; id < 10; id += 1)
      client.get(`/raw/${id}`, `Traceparent: ${TRACE}\r\n`).get(`/fetch/${id}`);
    for (let id = 0; id < 10; id += 1) {
      expect((await client.response()).body).toBe(`GET /raw/${id} ${TRACE}`);
      expect((await client.response()).body).toBe(`{"name":"GET /fetch/${id}"}`);
    }
    expect((await client.get("/static").response()).status).toBe(200); // without JavaScript
    expect(agent.spans).toHaveLength(20);
    const byName = new Map(agent.spans.map((span) => [span.name, span]));
    expect(byName.get("GET /raw/3")).toEqual({
      trace: TRACE.split("-")[1],
      name: "GET /raw/3",
      peer: "127.0.0.1",
      status: 202,
      type: "text/plain",
    });
    expect(byName.get("GET /fetch/9")).toMatchObject({ trace: "", type: "application/json" });
  });

  it("runs handlers inside of what replaces server.emit, once and in its context", async () => {
    const inside = new AsyncLocalStorage<string>();
    const wrapped = new WeakSet<object>();
    const servers = new Set<object>();
    const ends: string[] = [];
    // As those of Sentry do it: the first request of a server is a wrapped one already.
    watch("http.server.request.start", ({ server }: Emitting) => {
      servers.add(server);
      if (wrapped.has(server.emit)) return;
      server.emit = new Proxy(server.emit, {
        apply: (emit, self, [name, request, response, ...more]) => {
          if (name !== "request") return emit.call(self, name, request, response, ...more);
          for (const event of ["finish", "close"])
            response.once(event, () => {
              ends.push(`${request.url} ${event} ${response.statusCode}`);
            });
          request.on("close", () => void ends.push(`${request.url} over`));
          const call = (): unknown => emit.call(self, name, request, response);
          return inside.run(request.url, call);
        },
      });
      wrapped.add(server.emit);
    });
    let calls = 0;
    const server = await start({
      routes: {
        "/raw": raw(async (_req, res) => {
          calls += 1;
          await new Promise((resolve) => setImmediate(resolve));
          res.end(inside.getStore());
        }),
        "/fetch": () => new Response(inside.getStore(), { status: 201 }),
      },
    });
    const client = await wire(server);
    for (let n = 0; n < 3; n += 1) {
      expect((await client.get("/raw").response()).body).toBe("/raw");
      expect((await client.get("/fetch").response()).body).toBe("/fetch");
    }
    expect(calls).toBe(3);
    expect(servers.size).toBe(1);
    const told = (path: string, status: number): string[] => {
      return [`${path} finish ${status}`, `${path} close ${status}`, `${path} over`];
    };
    expect(ends).toEqual(
      Array.from({ length: 3 }, () => [...told("/raw", 200), ...told("/fetch", 201)]).flat(),
    );
  });

  it("answers whatever agents throw, keep to themselves or do later", async () => {
    const records: LogRecord[] = [];
    const later: (() => void)[] = [];
    watch("http.server.request.start", ({ server, request, response }: Emitting) => {
      const emit = Object.getPrototypeOf(server).emit as Emitter["emit"];
      server.emit = (...event) => {
        if (request.url === "/throws") throw new Error("thrown by an agent");
        if (request.url === "/keeps") return false;
        if (request.url === "/later") later.push(() => void emit.apply(server, event));
        else emit.apply(server, event);
        return true;
      };
      response.on("finish", () => {
        throw new Error("thrown at the finish");
      });
      response.writeHead(500);
      response.end("an agent's answer");
    });
    let calls = 0;
    const server = await start({
      log: { level: "error", write: (record) => void records.push(record) },
      fetch: () => {
        calls += 1;
        return new Response("own");
      },
    });
    const client = await wire(server);
    for (const path of ["/throws", "/keeps", "/later", "/plain"])
      expect((await client.get(path).response()).body).toBe("own");
    for (const call of later) call();
    expect(calls).toBe(4);
    await until("all is logged", () => records.length === 5);
    expect(records.map(({ code, err }) => [code, err?.message])).toEqual([
      ["ERR_MILLRACE_HANDLER_FAILED", "thrown by an agent"],
      ...Array.from({ length: 4 }, () => ["ERR_MILLRACE_HANDLER_FAILED", "thrown at the finish"]),
    ]);
  });

  it("closes, without a finish, what the peer did not wait for", async () => {
    const ends: string[] = [];
    watch("http.server.request.start", ({ request, response }: Emitting) => {
      request.once("aborted", () => void ends.push("aborted"));
      response.once("finish", () => void ends.push("finish"));
      response.once("close", () => void ends.push("close"));
    });
    const server = await start({ fetch: () => new Promise<Response>(() => undefined) });
    const client = await wire(server);
    client.get("/");
    await until("it is there", () => server.metrics.inFlight === 1);
    client.reset();
    await until("it is told", () => ends.length >= 2);
    expect(ends).toEqual(["aborted", "close"]);
  });

  it("tells the default answers of handlers that failed", async () => {
    const server = await start({
      log: false,
      fetch: () => {
        throw new Error("no");
      },
    });
    expect((await (await wire(server)).get("/").response()).status).toBe(500);
    await until("it is told", () => agent.spans.length === 1);
    expect(agent.spans[0]).toMatchObject({ name: "GET /", status: 500 });
  });
});
