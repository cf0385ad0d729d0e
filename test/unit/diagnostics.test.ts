// What subscribers of Node's own channels see of requests, over a fake binding.
import { AsyncLocalStorage } from "node:async_hooks";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { beforeEach, expect, it, onTestFinished } from "vitest";
import { raw, serve } from "../../src/index.ts";
import { setBinding } from "../../src/native/binding.ts";
import { EVENT_FLAG } from "../../src/native/tables.ts";
import { FakeBinding } from "./fake.ts";

let fake: FakeBinding;

beforeEach(() => {
  fake = new FakeBinding();
  setBinding(fake);
});

interface Message {
  readonly request: {
    readonly method: string;
    readonly url: string;
    readonly headers: Readonly<Record<string, string | string[]>>;
    readonly rawHeaders: string[];
    readonly httpVersion: string;
    readonly socket: { readonly remoteAddress: string; readonly localPort: number };
    readonly connection: unknown;
    readonly complete: boolean;
  };
  readonly response: {
    readonly req: unknown;
    readonly statusCode: number;
    readonly headersSent: boolean;
    readonly writableEnded: boolean;
    getHeader(name: string): unknown;
    getHeaders(): unknown;
    getHeaderNames(): string[];
    hasHeader(name: string): boolean;
    setHeader(name: string, value: string): unknown;
  };
  readonly socket: unknown;
  readonly server: { address(): unknown };
}

const CHANNELS = [
  "http.server.response.created",
  "http.server.request.start",
  "http.server.response.finish",
];

function watch(name: string, see: (message: Message) => void): void {
  const listener = (message: unknown): void => see(message as Message);
  subscribe(name, listener);
  onTestFinished(() => void unsubscribe(name, listener));
}

it("tells of request and response as node:http does, with what agents read", async () => {
  const seen: [string, Message][] = [];
  for (const name of CHANNELS) watch(name, (message) => seen.push([name, message]));
  await serve({
    loops: 0,
    routes: {
      "/a": raw((_req, res) => {
        res.status(201).header("X-A", "1").append("Set-Cookie", "a=1").append("Set-Cookie", "b=2");
        res.json({ ok: true });
      }),
    },
  });
  fake.one({
    method: "POST",
    target: "/a?b=1",
    headers: [
      ["host", "h"],
      ["accept", "x"],
      ["accept", "y"],
      ["set-cookie", "c"],
    ],
  });
  expect(seen.map(([name]) => name)).toEqual(CHANNELS);
  const [, start, finish] = seen.map(([, message]) => message) as [Message, Message, Message];
  expect(finish).toBe(start);
  const { request, response } = start;
  expect(request).toMatchObject({ method: "POST", url: "/a?b=1", httpVersion: "1.1" });
  expect({ ...request.headers }).toEqual({ host: "h", accept: "x, y", "set-cookie": ["c"] });
  expect(request.rawHeaders.slice(0, 4)).toEqual(["host", "h", "accept", "x"]);
  expect(request.socket).toMatchObject({ remoteAddress: "10.0.0.1", localPort: 8080 });
  expect(request.connection).toBe(start.socket);
  const address = { family: "IPv4", address: "127.0.0.1", port: 8080 };
  expect(start.server.address()).toEqual(address);
  expect(response.req).toBe(request);
  expect(response).toMatchObject({ statusCode: 201, headersSent: true, writableEnded: true });
  expect(response.getHeader("X-a")).toBe("1");
  expect(response.getHeader("content-type")).toBe("application/json");
  expect(response.getHeader("set-cookie")).toEqual(["a=1", "b=2"]);
  expect(response.hasHeader("etag")).toBe(false);
  expect(response.getHeaderNames()).toEqual(["content-type", "x-a", "set-cookie"]);
});

it("lets subscribers set headers and enter a context that the handler inherits", async () => {
  const storage = new AsyncLocalStorage<string>();
  let ended: unknown;
  watch("http.server.request.start", ({ request, response }) => {
    storage.enterWith(request.url);
    response.setHeader("Server-Timing", "t");
  });
  watch("http.server.response.finish", () => {
    ended = storage.getStore();
  });
  const stores: unknown[] = [];
  await serve({
    loops: 0,
    fetch: async () => {
      stores.push(storage.getStore());
      await new Promise((resolve) => setImmediate(resolve));
      stores.push(storage.getStore());
      return new Response("x");
    },
  });
  fake.batch([{ target: "/1" }, { target: "/2" }]);
  expect((await fake.answer()).headers).toContain("Server-Timing: t\r\n");
  expect(stores.slice().sort()).toEqual(["/1", "/1", "/2", "/2"]);
  expect(ended).toMatch(/^\/[12]$/);
  expect(storage.getStore()).toBeUndefined();
});

it("tells the end in the request's context, wherever it comes from", async () => {
  const storage = new AsyncLocalStorage<string>();
  const seen: unknown[] = [];
  watch("http.server.request.start", ({ request }) => storage.enterWith(request.url));
  watch("http.server.response.finish", () => seen.push(storage.getStore()));
  let end: () => void = () => undefined;
  await serve({
    loops: 0,
    routes: {
      "/": raw((_req, res) => {
        end = () => void res.end();
        res.detach();
      }),
    },
  });
  fake.one({ target: "/1" });
  end();
  expect(seen).toEqual(["/1"]);
});

it("tells of streamed responses at their end, and of broken ones never", async () => {
  const states: unknown[] = [];
  watch("http.server.request.start", ({ response }) => states.push(response.headersSent));
  watch("http.server.response.finish", ({ response }) => {
    states.push(`${response.statusCode} ${response.getHeader("x-a")}`);
  });
  await serve({
    loops: 0,
    log: false,
    routes: {
      "/good": raw((_req, res) => {
        res.header("x-a", "1").write("a");
        states.push("begun");
        res.end();
      }),
      "/bad": raw((_req, res) => {
        res.write("a");
        throw new Error("no");
      }),
    },
  });
  fake.batch([{ route: 0 }, { route: 1 }]);
  expect(states).toEqual([false, "begun", "200 1", false]);
});

it("tells of a WebSocket that it was answered 101, once", async () => {
  const finished: unknown[] = [];
  watch("http.server.response.finish", ({ response }) => {
    finished.push([response.statusCode, response.getHeaders()]);
  });
  await serve({
    loops: 0,
    routes: {
      "/": raw((req, res) => {
        res.header("X-Not-Sent", "1");
        req.upgrade({ headers: { "X-Own": "2" } });
      }),
    },
    websocket: {},
  });
  fake.one({ flags: EVENT_FLAG.upgrade });
  await new Promise(setImmediate);
  const headers = { upgrade: "websocket", connection: "Upgrade", "x-own": "2" };
  expect(finished).toEqual([[101, headers]]);
});

it("says nothing of requests that came before there was a subscriber", async () => {
  const seen: unknown[] = [];
  let end: () => void = () => undefined;
  await serve({
    loops: 0,
    routes: {
      "/": raw((_req, res) => {
        end = () => void res.end();
        res.detach();
      }),
    },
  });
  fake.one({});
  watch("http.server.response.finish", (message) => seen.push(message));
  end();
  expect(seen).toEqual([]);
  fake.one({});
  end();
  expect(seen).toHaveLength(1);
});
