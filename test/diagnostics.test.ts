// An agent that knows node:http's channels and nothing of us: it follows requests, measures them,
// and joins traces, as those of OpenTelemetry do.
import { AsyncLocalStorage } from "node:async_hooks";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { afterEach, beforeEach, expect, it } from "vitest";
import { raw } from "../src/index.ts";
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
