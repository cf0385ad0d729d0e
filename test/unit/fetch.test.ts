// The standard style over a fake binding: lazy Request, Context, and how Responses are sent.

import { Response as OtherResponse } from "undici";
import { beforeEach, expect, it } from "vitest";
import { type Context, type FetchHandler, serve } from "../../src/index.ts";
import { setBinding } from "../../src/native/binding.ts";
import { COMMAND_FLAG, EVENT } from "../../src/native/tables.ts";
import { type FakeAnswer, FakeBinding, type FakeRequest } from "./fake.ts";

let fake: FakeBinding;
let handler: FetchHandler;

beforeEach(async () => {
  fake = new FakeBinding();
  setBinding(fake);
  await serve({ loops: 0, routes: { "/": (request, ctx) => handler(request, ctx) } });
});

async function answer(given: FetchHandler, request: FakeRequest = {}): Promise<FakeAnswer> {
  handler = given;
  fake.one(request);
  return fake.answer();
}

async function read<T>(
  act: (request: Request, ctx: Context) => T | Promise<T>,
  given: FakeRequest = {},
): Promise<T> {
  let result: T | undefined;
  let failure: unknown;
  await answer(async (request, ctx) => {
    try {
      result = await act(request, ctx);
    } catch (error) {
      failure = error;
    }
    return new Response(null, { status: 204 });
  }, given);
  if (failure !== undefined) throw failure;
  return result as T;
}

const POST = {
  method: "POST",
  headers: [
    ["host", "a.example"],
    ["content-type", "text/plain"],
    ["x-a", "1"],
  ],
  body: '{"a":1}',
} as const;

it("hands out a Request that is one", async () => {
  await read((request) => {
    expect(request instanceof Request).toBe(true);
    expect(request.constructor).toBe(Request);
    expect(Object.prototype.toString.call(request)).toBe("[object Request]");
    expect([request.method, request.url]).toEqual(["POST", "http://a.example/"]);
    expect([request.headers.get("X-A"), request.headers instanceof Headers]).toEqual(["1", true]);
    expect([request.bodyUsed, request.signal.aborted]).toEqual([false, false]);
    expect([request.redirect, request.duplex]).toEqual(["follow", "half"]);
    expect(request.body instanceof ReadableStream).toBe(true);
  }, POST);
});

it("reads its body in every standard way, once", async () => {
  expect(await read((request) => request.json(), POST)).toEqual({ a: 1 });
  expect(await read((request) => request.text(), POST)).toBe('{"a":1}');
  expect((await read((request) => request.arrayBuffer(), POST)).byteLength).toBe(7);
  expect((await read((request) => request.blob(), POST)).size).toBe(7);
  const form = {
    ...POST,
    headers: [
      ["host", "a"],
      ["content-type", "application/x-www-form-urlencoded"],
    ],
    body: "a=1",
  } as const;
  expect((await read((request) => request.formData(), form)).get("a")).toBe("1");
  expect(await read((request) => request.text(), {})).toBe("");
  const twice = read(async (request) => {
    await request.text();
    expect(request.bodyUsed).toBe(true);
    await request.text();
  }, POST);
  await expect(twice).rejects.toThrow(TypeError);
});

it("can be cloned and copied, before and after its cheap parts were used", async () => {
  const copied = await read(async (request) => {
    expect(request.headers.get("x-a")).toBe("1");
    const clone = request.clone();
    const copy = new Request(request, { headers: { "x-b": "2" } });
    return [await clone.text(), await copy.text(), copy.method, copy.headers.get("x-b"), copy.url];
  }, POST);
  expect(copied).toEqual(['{"a":1}', '{"a":1}', "POST", "2", "http://a.example/"]);
});

it("answers 400 when json() of the Request fails, with a SyntaxError to catch", async () => {
  const bad = { ...POST, body: "{" };
  const sent = await answer(async (request) => Response.json(await request.json()), bad);
  expect(sent.status).toBe(400);
  await expect(read((request) => request.json(), bad)).rejects.toThrow(SyntaxError);
});

it("builds the URL as parsing would serialise it", async () => {
  const url = (target: string, host = "a.example"): Promise<string> =>
    read((request) => request.url, { target, headers: [["host", host]] });
  expect(await url("/a/b?x=1#")).toBe("http://a.example/a/b?x=1#");
  expect(await url("/a/../b")).toBe("http://a.example/b");
  expect(await url("/a/%2e%2E/b")).toBe("http://a.example/b");
  expect(await url('/"')).toBe("http://a.example/%22");
  expect(await url("/", "A.example:80")).toBe("http://a.example/");
  expect(await url("/", "[::1]:8080")).toBe("http://[::1]:8080/");
  expect(await url("//evil.example/")).toBe("http://a.example//evil.example/");
  expect(await url("/", "")).toBe("http://127.0.0.1:8080/");
  expect(await url("http://b.example/x")).toBe("http://b.example/x");
  expect(await url("*")).toBe("http://a.example/");
});

it("tells everything else through the context", async () => {
  const headers = [
    ["host", "a"],
    ["cookie", "a=1; b=x%20y; a=2"],
    ["x-request-id", "r-1"],
  ] as const;
  await read(
    (request, ctx) => {
      expect(ctx.request).toBe(request);
      expect(ctx.signal).toBe(request.signal);
      expect([...ctx.cookies]).toEqual([
        ["a", "1"],
        ["b", "x y"],
      ]);
      expect([ctx.id, ctx.protocol, ctx.encrypted]).toEqual(["r-1", "http/1.1", false]);
      expect(ctx.remoteAddress).toEqual({ family: "IPv4", address: "10.0.0.1", port: 40_000 });
      expect(ctx.localAddress).toEqual({ family: "IPv4", address: "127.0.0.1", port: 8080 });
      expect(ctx.server.poller).toBe("fake");
      ctx.sendInformational(103, { link: "</a>" });
    },
    { headers },
  );
  const ids = [await read((_request, ctx) => ctx.id), await read((_request, ctx) => ctx.id)];
  expect(new Set(ids).size).toBe(2);
  expect(fake.informationals).toEqual([{ status: 103, headers: "link: </a>\r\n" }]);
});

it("sends what Responses of every kind have", async () => {
  const type = "content-type: text/plain;charset=UTF-8\r\n";
  expect(await answer(() => new Response("hi", { status: 201 }))).toMatchObject({
    status: 201,
    headers: type,
    body: "hi",
  });
  expect(await answer(() => new Response(null, { status: 204 }))).toMatchObject({
    status: 204,
    body: "",
  });
  expect(await answer(() => new Response(new Uint8Array([104])))).toMatchObject({
    headers: "",
    body: "h",
  });
  expect((await answer(async () => new Response(new Blob(["a", "b"])))).body).toBe("ab");
  expect((await answer(() => new Response(new URLSearchParams({ a: "1" })))).body).toBe("a=1");
  expect((await answer(() => new OtherResponse("other") as unknown as Response)).body).toBe(
    "other",
  );
  const cookies = new Headers([
    ["set-cookie", "a=1"],
    ["set-cookie", "b=2"],
  ]);
  expect((await answer(() => new Response(null, { headers: cookies }))).headers).toBe(
    "set-cookie: a=1\r\nset-cookie: b=2\r\n",
  );
});

it("collects a streamed body", async () => {
  const chunks = (...given: unknown[]): ReadableStream =>
    new ReadableStream({
      start(controller) {
        for (const chunk of given) controller.enqueue(chunk);
        controller.close();
      },
    });
  const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
  expect((await answer(() => new Response(chunks(bytes("a"), bytes("b"))))).body).toBe("ab");
  expect((await answer(() => new Response(chunks()))).body).toBe("");
  expect((await answer(() => new Response(chunks("text")))).status).toBe(500);
});

it("keeps what a proxied Response says about another hop to itself", async () => {
  const headers = {
    "transfer-encoding": "chunked",
    connection: "keep-alive",
    "keep-alive": "timeout=5",
    "x-a": "1",
  };
  expect((await answer(() => new Response(null, { headers }))).headers).toBe("x-a: 1\r\n");
  const close = await answer(() => new Response(null, { headers: { connection: "close" } }));
  expect(close.flags).toBe(COMMAND_FLAG.close);
});

it("answers HEAD with the length that a Response announces", async () => {
  const headers = { "content-length": "12" };
  const sent = await answer(() => new Response("hello world!", { headers }), { method: "HEAD" });
  expect(sent).toMatchObject({ flags: COMMAND_FLAG.hasLength, body: "" });
  expect(sent.headers).toContain("Content-Length: 12\r\n");
});

it("answers 500 for what is no Response, and for one that was sent before", async () => {
  expect((await answer((() => "text") as unknown as FetchHandler)).status).toBe(500);
  expect((await answer((() => undefined) as unknown as FetchHandler)).status).toBe(500);
  const used = new Response("x");
  await used.text();
  expect((await answer(() => used)).status).toBe(500);
});

it("asks the error hook, and falls back to 500 when that fails or says nothing", async () => {
  const seen: unknown[] = [];
  let reply: () => Response | Promise<Response> | undefined = () => undefined;
  await serve({
    loops: 0,
    fetch: () => {
      throw new Error("no");
    },
    error(error, ctx) {
      seen.push(error, ctx.request.url);
      return reply();
    },
  });
  const route = { route: 0 };
  fake.one(route);
  expect((await fake.answer()).status).toBe(500);
  reply = () => new Response("mine", { status: 418 });
  fake.one(route);
  expect(await fake.answer()).toMatchObject({ status: 418, body: "mine" });
  reply = async () => new Response("later", { status: 503 });
  fake.one(route);
  expect(await fake.answer()).toMatchObject({ status: 503, body: "later" });
  reply = () => Promise.reject(new Error("again"));
  fake.one(route);
  expect((await fake.answer()).status).toBe(500);
  expect(seen[0]).toMatchObject({ message: "no" });
  expect(seen[1]).toBe("http://a.example/");
});

it("is quiet about a handler that gives up because its peer left", async () => {
  const warnings: unknown[] = [];
  const listen = (warning: Error): void => void warnings.push(warning);
  process.on("warning", listen);
  handler = (request) =>
    new Promise((_resolve, reject) => {
      request.signal.addEventListener("abort", () => reject(request.signal.reason));
    });
  const handle = fake.one({});
  fake.event(EVENT.Aborted, handle, handle + 100, [0, 0]);
  await new Promise((resolve) => setTimeout(resolve, 5));
  process.removeListener("warning", listen);
  expect(fake.answers).toEqual([]);
  expect(warnings).toEqual([]);
});
