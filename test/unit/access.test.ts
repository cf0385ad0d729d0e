// Access records over a fake binding, their lines, and traceparent.
import { beforeEach, expect, it } from "vitest";
import { type AccessRecord, accessLine, raw, type ServeOptions, serve } from "../../src/index.ts";
import { setBinding } from "../../src/native/binding.ts";
import { EVENT, EVENT_FLAG } from "../../src/native/tables.ts";
import { traceparentOf } from "../../src/trace.ts";
import { FakeBinding } from "./fake.ts";

let fake: FakeBinding;
const TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

beforeEach(() => {
  fake = new FakeBinding();
  setBinding(fake);
});

interface Answer {
  readonly method?: string;
  readonly target?: string;
  readonly peer?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly flags?: number;
  readonly figures?: readonly number[];
  readonly route?: number;
}

function answered(answer: Answer = {}): void {
  const { method = "GET", target = "/a?b=1", peer = "10.0.0.1", headers = {}, flags = 0 } = answer;
  const { figures = [1_700_000_000_123, 12.5, 3.25, 100, 2000], route = 0 } = answer;
  const head = `\n${Object.entries(headers)
    .map(([name, value]) => `${name}\0${value}\n`)
    .join("")}`;
  const values = {
    1: flags,
    4: route | (method.length << 24),
    5: target.length,
    7: head.length,
    9: 40_000 | (peer.length << 16),
    11: 3 << 16,
    14: 7,
    15: 206,
  };
  const body = new Uint8Array(Float64Array.from(figures).buffer);
  fake.emit(EVENT.Access, values, method + target + peer + head, body);
}

async function start(more: Partial<ServeOptions> = {}): Promise<AccessRecord[]> {
  const records: AccessRecord[] = [];
  await serve({
    loops: 0,
    routes: { "/a": raw((_req, res) => void res.end()) },
    accessLog: (batch) => void records.push(...batch),
    ...more,
  });
  expect(fake.options?.observe?.access).toBe(true);
  return records;
}

async function turn(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
}

it("tells an answer with all that is known of it", async () => {
  const records = await start();
  answered({
    headers: {
      "user-agent": 'curl "8"',
      referer: "http://b.example/",
      traceparent: TRACE,
      "x-request-id": "r-1",
    },
  });
  expect(records).toEqual([]);
  await turn();
  expect(records).toEqual([
    {
      time: 1_700_000_000_123,
      method: "GET",
      path: "/a",
      search: "?b=1",
      target: "/a?b=1",
      route: "/a",
      status: 206,
      bytesIn: 100,
      bytesOut: 2000,
      durationMs: 12.5,
      queueMs: 3.25,
      ip: "10.0.0.1",
      connection: "0.7.3",
      loop: 0,
      protocol: "http/1.1",
      aborted: false,
      userAgent: 'curl "8"',
      referer: "http://b.example/",
      traceparent: TRACE,
      requestId: "r-1",
    },
  ]);
});

it("tells of answers without JavaScript, by other protocols, and broken ones", async () => {
  const records = await start();
  answered({ figures: [1, 1, -1, 1, 1], target: "/health", peer: "" });
  answered({ flags: EVENT_FLAG.http10 | EVENT_FLAG.aborted });
  answered({ flags: EVENT_FLAG.scgi, headers: { traceparent: "not one" } });
  await turn();
  expect(records[0]).toMatchObject({ route: "", queueMs: -1, search: "", ip: "" });
  expect(records[1]).toMatchObject({ protocol: "http/1.0", aborted: true });
  expect(records[2]).toMatchObject({ protocol: "scgi", traceparent: undefined });
});

it("looks at Forwarded only where req.ip would", async () => {
  const records = await start({ trustProxy: ["10.0.0.0/8"] });
  const forwarded = "for=6.6.6.6";
  const classic = ["x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "x-real-ip"];
  for (const name of classic) answered({ headers: { forwarded, [name]: "" } });
  answered({ headers: { forwarded } });
  await turn();
  expect(records.map(({ ip }) => ip)).toEqual([...classic.map(() => "10.0.0.1"), "6.6.6.6"]);
});

it("names the client that trustProxy lets the proxies name", async () => {
  const headers = { "x-forwarded-for": "203.0.113.5, 10.9.9.9" };
  const untrusted = await start();
  answered({ headers });
  await turn();
  expect(untrusted[0]?.ip).toBe("10.0.0.1");
  fake = new FakeBinding();
  setBinding(fake);
  const trusted = await start({ trustProxy: ["10.0.0.0/8"] });
  answered({ headers });
  await turn();
  expect(trusted[0]?.ip).toBe("203.0.113.5");
});

it("hands records over in batches of at most 256, and drops what has no room", async () => {
  const sizes: number[] = [];
  const server = await serve({
    loops: 0,
    fetch: () => new Response("x"),
    accessLog: { size: 600, write: (batch) => void sizes.push(batch.length) },
  });
  for (let count = 0; count < 700; count += 1) answered();
  expect(server.metrics.accessDropped).toBe(100);
  await server.close();
  expect(sizes).toEqual([256, 256, 88]);
});

it("makes lines of the combined log format, in which nothing can be faked", async () => {
  const records = await start();
  answered({ headers: { "user-agent": 'a" "b\\', referer: "http://b.example/" } });
  answered({ peer: "", target: "/\x7f\xe9", flags: EVENT_FLAG.http10 });
  await turn();
  expect(records.map(accessLine)).toEqual([
    '10.0.0.1 - - [14/Nov/2023:22:13:20 +0000] "GET /a?b=1 HTTP/1.1" 206 2000 ' +
      '"http://b.example/" "a\\x22 \\x22b\\x5c"',
    'unix: - - [14/Nov/2023:22:13:20 +0000] "GET /\\x7f\\xe9 HTTP/1.0" 206 2000 "-" "-"',
  ]);
});

it("refuses what is no access log", async () => {
  const fetch = (): Response => new Response("x");
  const wrong: [unknown, string][] = [
    [true, "accessLog must be an object"],
    [{}, "accessLog.write must be a function"],
    [{ write: fetch, size: 0 }, "accessLog.size must be an integer from 1 to"],
    [{ write: fetch, capacity: 5 }, 'accessLog has no option "capacity"'],
  ];
  for (const [accessLog, message] of wrong)
    await expect(serve({ fetch, accessLog } as unknown as ServeOptions)).rejects.toThrow(message);
});

it("takes a traceparent as W3C Trace Context has it, and no other", async () => {
  const zeros = "0".repeat(32);
  const valid = [TRACE, TRACE.replace(/01$/, "00"), `01${TRACE.slice(2)}-what.comes`];
  const invalid = [
    "",
    TRACE.toUpperCase(),
    `ff${TRACE.slice(2)}`,
    `${TRACE}-more`,
    `${TRACE} `,
    `00-${zeros}-b7ad6b7169203331-01`,
    `00-0af7651916cd43dd8448eb211c80319c-${zeros.slice(16)}-01`,
    TRACE.slice(0, -1),
    `${TRACE}, ${TRACE}`,
  ];
  for (const value of valid) expect(traceparentOf(value)).toBe(value);
  for (const value of [...invalid, null]) expect(traceparentOf(value)).toBeUndefined();
  const seen: unknown[] = [];
  await serve({
    loops: 0,
    fetch: (_request, ctx) => {
      seen.push(ctx.traceparent);
      return new Response("x");
    },
  });
  fake.one({ headers: [["traceparent", TRACE]] });
  fake.one({ headers: [["traceparent", "x"]] });
  expect(seen).toEqual([TRACE, undefined]);
});
