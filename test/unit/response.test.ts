// What a raw handler sends, over a fake binding.
import { beforeEach, expect, it } from "vitest";
import { type RawHandler, type Res, raw, serve } from "../../src/index.ts";
import { setBinding } from "../../src/native/binding.ts";
import { COMMAND_FLAG, EVENT, EVENT_FLAG } from "../../src/native/tables.ts";
import type { NativeRes } from "../../src/response.ts";
import { type FakeAnswer, FakeBinding, type FakeRequest } from "./fake.ts";

let fake: FakeBinding;
let handler: RawHandler;
let warnings: string[];

beforeEach(async () => {
  fake = new FakeBinding();
  setBinding(fake);
  await serve({ loops: 0, routes: { "/": raw((req, res) => handler(req, res)) } });
  warnings = [];
});

process.on("warning", (warning) => warnings.push(`${(warning as { code?: string }).code}`));

async function answer(act: (res: Res) => void, request: FakeRequest = {}): Promise<FakeAnswer> {
  handler = (_req, res) => act(res);
  fake.one(request);
  return fake.answer();
}

async function failure(act: (res: Res) => void): Promise<unknown> {
  let thrown: unknown;
  await answer((res) => {
    try {
      act(res);
    } catch (error) {
      thrown = error;
    }
    (res as NativeRes).reset();
    res.end();
  });
  return thrown;
}

it("sends status, header lines and body in one call", async () => {
  const sent = await answer(
    (res) => void res.status(201).header("X-A", "1").append("x-b", 2).end("hi"),
  );
  expect(sent).toMatchObject({
    status: 201,
    flags: 0,
    headers: "X-A: 1\r\nx-b: 2\r\n",
    body: "hi",
  });
  expect(await answer((res) => void res.end())).toMatchObject({
    status: 200,
    headers: "",
    body: "",
  });
  expect((await answer((res) => void res.end(new TextEncoder().encode("ü")))).body).toBe("ü");
  expect((await answer((res) => void res.end(new Uint8Array([104, 105]).buffer))).body).toBe("hi");
  const all = await answer((res) => void res.send(202, "x", { a: "1", b: ["2", "3"] }));
  expect(all).toMatchObject({ status: 202, headers: "a: 1\r\nb: 2\r\nb: 3\r\n", body: "x" });
});

it("replaces with header() and adds with append() and cookie()", async () => {
  const sent = await answer((res) => {
    res.header("x-a", "1").header("X-AB", "2").append("x-a", "3").header("X-A", ["4", "5"]);
    res.cookie("a", "b c", { httpOnly: true, maxAge: 5 }).cookie("d", "e", { path: "/x" }).end();
  });
  expect(sent.headers).toBe(
    "X-AB: 2\r\nX-A: 4\r\nX-A: 5\r\nSet-Cookie: a=b%20c; Max-Age=5; Path=/; HttpOnly\r\nSet-Cookie: d=e; Path=/x\r\n",
  );
});

it("takes pairs and Headers, those of one name adding up", async () => {
  const headers = new Headers([
    ["set-cookie", "a=1"],
    ["set-cookie", "b=2"],
  ]);
  const sent = await answer((res) => void res.send(200, undefined, headers));
  expect(sent.headers).toBe("set-cookie: a=1\r\nset-cookie: b=2\r\n");
});

it("sends JSON with its type, unless one is set", async () => {
  const sent = await answer((res) => void res.json({ a: 1 }));
  expect(sent).toMatchObject({ headers: "Content-Type: application/json\r\n", body: '{"a":1}' });
  const own = await answer(
    (res) => void res.header("content-type", "application/problem+json").json(null),
  );
  expect(own).toMatchObject({
    headers: "content-type: application/problem+json\r\n",
    body: "null",
  });
});

it("redirects, percent-encoding what is beyond ASCII", async () => {
  expect(await answer((res) => void res.redirect("/ü?x=1", 308))).toMatchObject({
    status: 308,
    headers: "Location: /%C3%BC?x=1\r\n",
  });
  expect(await failure((res) => void res.redirect("/", 200))).toMatchObject({
    code: "ERR_MILLRACE_INVALID_STATUS",
  });
  expect(await failure((res) => void res.redirect("/a\r\nb: c"))).toMatchObject({
    code: "ERR_MILLRACE_INVALID_HEADER",
  });
});

it("refuses header names and values that would break the message", async () => {
  const code = "ERR_MILLRACE_INVALID_HEADER";
  for (const value of ["a\r\nb: c", "a\nb", "a\rb", "a\0b", "\u0100", "\x7f"]) {
    expect(await failure((res) => void res.header("x", value))).toMatchObject({ code });
  }
  for (const name of ["", "a b", "a:", "ä", "a\r\n"]) {
    expect(await failure((res) => void res.header(name, "x"))).toMatchObject({ code });
  }
  expect(await failure((res) => void res.header("Transfer-Encoding", "chunked"))).toMatchObject({
    code,
  });
  expect(await failure((res) => void res.header("Connection", "upgrade"))).toMatchObject({ code });
  expect((await answer((res) => void res.header("x", "\u00ff\t").end())).headers).toBe(
    "x: \u00ff\t\r\n",
  );
});

it("turns Connection and Date into flags", async () => {
  const close = await answer((res) => void res.header("connection", "close").end());
  expect(close).toMatchObject({ flags: COMMAND_FLAG.close, headers: "" });
  const date = await answer((res) => void res.header("Date", "x").end());
  expect(date).toMatchObject({ flags: COMMAND_FLAG.hasDate, headers: "Date: x\r\n" });
});

it("takes a Content-Length only when it is true, or announces what HEAD leaves out", async () => {
  const right = await answer((res) => void res.header("content-length", 2).end("ü"));
  expect(right).toMatchObject({ flags: 0, headers: "" });
  const wrong = await failure((res) => void res.header("content-length", 3).end("ü"));
  expect(wrong).toMatchObject({ code: "ERR_MILLRACE_LENGTH_MISMATCH" });
  const head = await answer((res) => void res.header("content-length", "7").end(), {
    method: "HEAD",
  });
  expect(head).toMatchObject({ flags: COMMAND_FLAG.hasLength, headers: "Content-Length: 7\r\n" });
  expect(await failure((res) => void res.header("content-length", "1e3"))).toMatchObject({
    code: "ERR_MILLRACE_INVALID_HEADER",
  });
});

it("refuses statuses and bodies that cannot be sent", async () => {
  for (const status of [199, 600, 200.5, Number.NaN]) {
    expect(await failure((res) => void res.status(status))).toMatchObject({
      code: "ERR_MILLRACE_INVALID_STATUS",
    });
  }
  for (const status of [204, 205, 304]) {
    expect(await failure((res) => void res.status(status).end("x"))).toMatchObject({
      code: "ERR_MILLRACE_INVALID_BODY",
    });
    expect((await answer((res) => void res.status(status).end(""))).status).toBe(status);
  }
  const object = await failure((res) => void res.end({} as unknown as string));
  expect(object).toMatchObject({ code: "ERR_MILLRACE_INVALID_BODY" });
  expect(String(object)).toContain("res.json()");
  expect(await failure((res) => void res.json(undefined))).toMatchObject({
    code: "ERR_MILLRACE_INVALID_BODY",
  });
});

it("throws at the second answer, and only there", async () => {
  let second: unknown;
  await answer((res) => {
    res.end("1");
    expect(res.state).toBe("ended");
    try {
      res.end("2");
    } catch (error) {
      second = error;
    }
  });
  expect(second).toMatchObject({ code: "ERR_MILLRACE_ALREADY_ENDED" });
  expect(fake.answers).toHaveLength(0);
});

it("returns false instead of sending once the peer has left", () => {
  let kept: Res | undefined;
  handler = (_req, res) => {
    kept = res.detach();
  };
  const handle = fake.one({});
  fake.event(EVENT.Aborted, handle, handle + 100, [0, 0]);
  expect(kept?.state).toBe("aborted");
  expect(kept?.header("x", "1").status(201).end("x")).toBe(false);
  expect(kept?.json({})).toBe(false);
  expect(kept?.informational(103)).toBe(false);
  expect(fake.answers).toHaveLength(0);
});

it("counts as aborted when the native side does not take the answer", async () => {
  fake.accepts = false;
  let result: boolean | undefined;
  let kept: Res | undefined;
  handler = (_req, res) => {
    kept = res.detach();
  };
  fake.one({});
  result = kept?.end("x");
  expect([result, kept?.state]).toEqual([false, "aborted"]);
  // Bytes cross at once, inside a dispatch too.
  handler = (_req, res) => {
    kept = res;
    result = res.end(new Uint8Array(1));
  };
  fake.one({});
  expect([result, kept?.state]).toEqual([false, "aborted"]);
});

it("can still answer a peer that has only closed its side", () => {
  let kept: Res | undefined;
  handler = (_req, res) => {
    kept = res.detach();
  };
  const handle = fake.one({});
  fake.event(EVENT.PeerClosed, handle, handle + 100, [0, 0]);
  expect(kept?.state).toBe("open");
  expect(kept?.end("x")).toBe(true);
});

it("sends informational responses, but not to HTTP/1.0 clients", async () => {
  await answer((res) => void res.earlyHints(["</a>; rel=preload", "</b>"]).end());
  expect(fake.informationals).toEqual([
    { status: 103, headers: "link: </a>; rel=preload\r\nlink: </b>\r\n" },
  ]);
  await answer((res) => void res.earlyHints("</a>").end(), { flags: EVENT_FLAG.http10 });
  expect(fake.informationals).toHaveLength(1);
  expect(await failure((res) => void res.informational(101))).toMatchObject({
    code: "ERR_MILLRACE_INVALID_STATUS",
  });
});

it("answers 500 and warns when a handler throws, rejects, or does not answer", async () => {
  const bad: RawHandler[] = [
    () => {
      throw new Error("no");
    },
    () => Promise.reject(undefined),
    (_req, res) => {
      res.header("x-secret", "1");
    },
    async () => {},
  ];
  for (handler of bad) {
    fake.one({});
    expect(await fake.answer()).toMatchObject({ status: 500, body: "Internal Server Error\n" });
  }
  await new Promise((resolve) => setImmediate(resolve));
  const failed = "ERR_MILLRACE_HANDLER_FAILED";
  const silent = "ERR_MILLRACE_NO_REPLY";
  expect(warnings).toEqual([failed, failed, silent, silent]);
});

it("answers with the 4xx status of our own errors, without a warning", async () => {
  handler = async (req, res) => void res.json(await req.json());
  fake.one({ method: "POST", body: "{" });
  const sent = await fake.answer();
  expect(sent).toMatchObject({
    status: 400,
    body: "ERR_MILLRACE_BAD_JSON: The request body is not valid JSON.\n",
  });
  await new Promise((resolve) => setImmediate(resolve));
  expect(warnings).toEqual([]);
});

it("leaves a detached exchange open", async () => {
  let kept: Res | undefined;
  handler = async (_req, res) => {
    kept = res.detach();
  };
  fake.one({});
  await new Promise((resolve) => setImmediate(resolve));
  expect(fake.answers).toHaveLength(0);
  expect(kept?.end("late")).toBe(true);
});
