// What a raw handler reads from its request, over a fake binding.
import { readFileSync } from "node:fs";
import { beforeEach, expect, it } from "vitest";
import { type Req, raw, serve } from "../../src/index.ts";
import { setBinding } from "../../src/native/binding.ts";
import { EVENT, EVENT_FLAG } from "../../src/native/tables.ts";
import { FakeBinding, type FakeRequest } from "./fake.ts";

let fake: FakeBinding;
let seen: Req[];

beforeEach(async () => {
  fake = new FakeBinding();
  seen = [];
  setBinding(fake);
  await serve({
    loops: 0,
    routes: {
      "/users/:id/**": raw((req, res) => {
        seen.push(req);
        res.detach();
      }),
    },
  });
});

function request(given: FakeRequest): Req {
  fake.one(given);
  return seen.at(-1) as Req;
}

it("splits the target into path and search, both as sent", () => {
  const req = request({ target: "/users/7%2F/a?x=1&x=2&y=a%20b" });
  expect([req.url, req.path, req.search]).toEqual([
    "/users/7%2F/a?x=1&x=2&y=a%20b",
    "/users/7%2F/a",
    "?x=1&x=2&y=a%20b",
  ]);
  expect(req.query.getAll("x")).toEqual(["1", "2"]);
  expect(req.query.get("y")).toBe("a b");
});

it("takes the path out of an absolute target", () => {
  const req = request({ target: "http://a.example/users/7?x" });
  expect([req.path, req.search]).toEqual(["/users/7", "?x"]);
  expect(req.is("/users/7")).toBe(true);
  expect(req.startsWith("/users/")).toBe(true);
  expect(request({ target: "http://a.example" }).path).toBe("/");
  expect(request({ method: "OPTIONS", target: "*" }).path).toBe("*");
});

// Case tok-01 of test/cases/seed_http.json, and what is not in it.
it("finds a token in a list of header fields", () => {
  const file = new URL("../cases/seed_http.json", import.meta.url);
  const { cases } = JSON.parse(readFileSync(file, "utf8")) as {
    cases: { id: string; headers: Record<string, string>; checks: [string, string, boolean][] }[];
  };
  const seed = cases.find(({ id }) => id === "tok-01") as (typeof cases)[number];
  const { headers } = request({ headers: Object.entries(seed.headers) });
  const found = seed.checks.map(([name, token]) => [name, token, headers.hasToken(name, token)]);
  expect(found).toEqual(seed.checks);
  const more = request({
    headers: [
      ["connection", "keep-alive"],
      ["connection", "\tUpgrade\t,x"],
      ["spaces", `a,${" ".repeat(60_000)}b${" ".repeat(60_000)}c`],
      ["other", "\u00a0close"],
    ],
  }).headers;
  expect(
    ["Keep-Alive", "upgrade", "x", "close"].map((t) => more.hasToken("Connection", t)),
  ).toEqual([true, true, true, false]);
  expect([more.hasToken("spaces", "a"), more.hasToken("spaces", "c")]).toEqual([true, false]);
  expect([more.hasToken("other", "close"), more.hasToken("none", "close")]).toEqual([false, false]);
});

it("compares without making strings", () => {
  const req = request({ method: "POST", target: "/users/7?x=1" });
  expect([req.is("/users/7"), req.is("/users/7?x=1"), req.is("/users")]).toEqual([
    true,
    false,
    false,
  ]);
  expect([req.startsWith("/users/"), req.startsWith("/users/7?")]).toEqual([true, false]);
  expect([req.isMethod("POST"), req.isMethod("POS"), req.isMethod("post")]).toEqual([
    true,
    false,
    false,
  ]);
});

it("decodes parameters, and leaves malformed escapes as sent", () => {
  const target = "/users/a%20b/x/%zz";
  const params = [
    [7, 5],
    [13, 5],
  ] as const;
  expect(request({ target, params }).params).toEqual({ id: "a b", "*": "x/%zz" });
});

it("names unknown methods as sent and known ones by number", () => {
  expect(request({ method: "FROB" }).method).toBe("FROB");
  expect(request({ method: "PATCH" }).method).toBe("PATCH");
});

it("finds header fields in any case and joins repeated ones", () => {
  const req = request({
    headers: [
      ["host", "h"],
      ["accept", "a"],
      ["x-host", "no"],
      ["accept", "b"],
      ["cookie", "a=1"],
      ["cookie", "b=2"],
      ["content-length", "12"],
    ],
  });
  expect(req.headers.get("HOST")).toBe("h");
  expect(req.headers.get("accept")).toBe("a, b");
  expect(req.headers.getAll("accept")).toEqual(["a", "b"]);
  expect(req.headers.get("cookie")).toBe("a=1; b=2");
  expect(req.headers.get("ost")).toBeNull();
  expect(req.headers.get("x\0y\nz")).toBeNull();
  expect([req.headers.has("X-Host"), req.headers.has("y")]).toEqual([true, false]);
  expect([...req.headers].map(([name]) => name)).toEqual([
    "host",
    "accept",
    "x-host",
    "accept",
    "cookie",
    "cookie",
    "content-length",
  ]);
  expect(req.contentLength).toBe(12);
});

it("keeps the requests of one batch apart, and owned after it", async () => {
  const big = "x".repeat(20_000);
  fake.batch([
    { target: "/users/1", headers: [["a", "1"]], body: "one" },
    { target: "/users/2", headers: [["b", big]] },
    { target: "/users/3", headers: [["a", "3"]], body: "three", asBlob: true },
  ]);
  fake.batch([{ target: "/other" }]);
  const [first, second, third] = seen as [Req, Req, Req];
  expect([first.path, second.path, third.path]).toEqual(["/users/1", "/users/2", "/users/3"]);
  expect([first.headers.get("b"), second.headers.get("a")]).toEqual([null, null]);
  expect(second.headers.get("b")).toBe(big);
  expect(await first.text()).toBe("one");
  expect(await second.text()).toBe("");
  expect(await third.text()).toBe("three");
});

it("says where the peer is", () => {
  expect(request({ peer: "10.0.0.7" }).remoteAddress).toEqual({
    family: "IPv4",
    address: "10.0.0.7",
    port: 40_000,
  });
  expect(request({ peer: "::1" }).remoteAddress.family).toBe("IPv6");
  expect(request({ peer: "" }).remoteAddress).toEqual({ family: "unix", address: "", port: 0 });
  expect(request({}).httpVersion).toBe("1.1");
  expect(request({ flags: EVENT_FLAG.http10 }).httpVersion).toBe("1.0");
});

it("reads a body once, as bytes, text, JSON or form", async () => {
  expect([...(await request({ body: "ab" }).bytes())]).toEqual([97, 98]);
  expect(await request({ body: "\uFEFFä" }).text()).toBe("ä");
  expect(await request({ body: '{"a":[1]}' }).json()).toEqual({ a: [1] });
  const form = await request({ body: "a=1&b=x+y" }).form();
  expect(form.get("b")).toBe("x y");
  const twice = request({ body: "ab" });
  await twice.text();
  await expect(twice.bytes()).rejects.toMatchObject({ code: "ERR_MILLRACE_BODY_USED" });
});

it("refuses bodies above the limit given, and takes them at it", async () => {
  const req = request({ method: "POST", body: "abcd" });
  const error = { code: "ERR_MILLRACE_BODY_TOO_LARGE", status: 413 };
  await expect(req.bytes({ limit: 3 })).rejects.toMatchObject(error);
  expect((await req.bytes({ limit: 4 })).length).toBe(4);
});

it("rejects what is not JSON with status 400, and a form of another type with 415", async () => {
  const error = {
    code: "ERR_MILLRACE_BAD_JSON",
    status: 400,
    docs: "docs/errors.md#err_millrace_bad_json",
  };
  await expect(request({ body: "{" }).json()).rejects.toMatchObject(error);
  await expect(request({}).json()).rejects.toThrow("the body of GET /users/:id/** is empty");
  const headers = [["content-type", "multipart/form-data; boundary=x"]] as const;
  await expect(request({ headers, body: "x" }).form()).rejects.toMatchObject({ status: 415 });
});

it("aborts the signal with a coded reason when the peer leaves", () => {
  const handle = fake.one({});
  const req = seen[0] as Req;
  const { signal } = req;
  fake.event(EVENT.Aborted, handle, handle + 99, [0, 0]);
  expect([req.aborted, signal.aborted]).toEqual([false, false]);
  fake.event(EVENT.Aborted, handle, handle + 100, [0, 0]);
  expect([req.aborted, signal.aborted]).toEqual([true, true]);
  expect(signal.reason).toMatchObject({ code: "ERR_MILLRACE_ABORTED" });
});

it("gives an aborted signal to those who ask late", () => {
  const handle = fake.one({});
  fake.event(EVENT.Aborted, handle, handle + 100, [0, 0]);
  expect((seen[0] as Req).signal.aborted).toBe(true);
});
