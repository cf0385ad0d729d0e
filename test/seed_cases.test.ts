// The raw exchanges of test/cases/seed_http.json over sockets, on both hosts, with a handler that
// echoes. native/test/seed_cases_test.cpp does the same against the session alone.
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Req, Res, Server } from "../src/api.ts";
import { serve } from "../src/index.ts";
import { RawClient } from "./support/raw.ts";

interface Segment {
  readonly text?: string;
  readonly times?: number;
  readonly more?: boolean;
  readonly bytewise?: boolean;
  readonly wait_ms?: number;
  readonly half_close?: boolean;
}

interface Wanted {
  readonly statuses: readonly number[];
  readonly closed?: boolean;
}

interface Echo {
  readonly method: string;
  readonly uri: string;
  readonly body: string;
}

interface Seed {
  readonly id: string;
  readonly limits?: Readonly<Record<string, number>>;
  readonly send?: readonly Segment[];
  readonly require: {
    readonly any_of: readonly Wanted[];
    readonly preferred?: Wanted;
    readonly handler_calls?: number;
    readonly forbid_uris?: readonly string[];
    readonly echo?: readonly Echo[];
    readonly in_order?: boolean;
    readonly max_responses?: number;
    readonly request_header?: readonly [string, string];
    readonly response_header?: readonly [string, string];
  };
  readonly lengths?: Numbers;
  readonly chunk_sizes?: Numbers;
}

interface Numbers {
  readonly accept: readonly string[];
  readonly reject: readonly string[];
  readonly zeros: readonly string[];
}

interface SeedFile {
  readonly limits: Readonly<Record<string, number>>;
  readonly cases: readonly Seed[];
}

interface Answer {
  readonly status: number;
  readonly headers: ReadonlyMap<string, string>;
  readonly body: string;
  readonly whole: boolean;
}

const CLOSED_WITHIN = 2000;
const file = new URL("cases/seed_http.json", import.meta.url);
const seeds = JSON.parse(readFileSync(file, "utf8")) as SeedFile;
const exchanges = seeds.cases.filter((seed) => seed.send !== undefined);
const numbers = seeds.cases.flatMap((seed) => {
  const values = seed.lengths ?? seed.chunk_sizes;
  return values === undefined ? [] : [{ id: seed.id, values, chunked: seed.lengths === undefined }];
});

describe.each([0, 1])("seed exchanges with loops: %i", (loops) => {
  const servers = new Map<string, Promise<Server>>();
  let calls: { method: string; url: string; echo: string; headers: Req["headers"] }[] = [];

  async function echo(req: Req, res: Res): Promise<void> {
    const body = Buffer.from(await req.bytes()).toString("latin1");
    const text = `${req.method} ${req.url} [${body}]`;
    calls.push({ method: req.method, url: req.url, echo: text, headers: req.headers });
    const ms = Number(req.query.get("ms") ?? 0);
    if (ms > 0) await sleep(ms);
    res.send(200, Buffer.from(text, "latin1"), { "Content-Type": "text/plain" });
  }

  async function portFor(limits: Readonly<Record<string, number>>): Promise<number> {
    const all = { ...seeds.limits, ...limits };
    const key = JSON.stringify(all);
    let server = servers.get(key);
    if (server === undefined) {
      server = serve({ port: 0, loops, silent: true, limits: all, handler: echo });
      servers.set(key, server);
    }
    return (await server).addresses[0]?.port as number;
  }

  beforeAll(async () => {
    await portFor({});
  });

  afterAll(async () => {
    for (const server of servers.values()) await (await server).close({ timeout: 500 });
  });

  it.each(exchanges.map((seed) => [seed.id, seed] as const))("%s", async (_, seed) => {
    calls = [];
    const client = await RawClient.open(await portFor(seed.limits ?? {}));
    await sendAll(client, seed.send as readonly Segment[]);
    const methods = (): string[] => calls.map((call) => call.method);
    const answers = await settle(client, methods, seed.require.any_of);
    const closed = client.ended;
    const seen = calls.slice();
    if (!closed) await expectOpen(client);
    await client.close();
    check(seed, answers, closed, seen);
  });

  it.each(numbers)("$id", async ({ values, chunked }) => {
    const port = await portFor({});
    const statusOf = async (number: string): Promise<number> => {
      const client = await RawClient.open(port);
      await client.write(chunked ? withChunk(number) : withLength(number));
      await client.until(() => client.received.includes("\r\n\r\n") || client.ended);
      const [answer] = parse(client.received, []);
      await client.close();
      return answer?.status ?? 0;
    };
    for (const number of [...values.accept, ...values.zeros])
      expect([number, await statusOf(number)]).toEqual([number, number.length > 9 ? 413 : 200]);
    for (const number of values.reject) expect([400, 413]).toContain(await statusOf(number));
  });

  function check(seed: Seed, answers: Answer[], closed: boolean, seen: typeof calls): void {
    const { require } = seed;
    const outcome = { statuses: answers.map((answer) => answer.status), closed };
    const fits = (wanted: Wanted): boolean =>
      JSON.stringify(wanted.statuses) === JSON.stringify(outcome.statuses) &&
      (wanted.closed ?? closed) === closed;
    expect(require.any_of.some(fits), JSON.stringify(outcome)).toBe(true);
    if (require.preferred !== undefined) expect(outcome).toEqual(require.preferred);
    if (require.handler_calls !== undefined) expect(seen).toHaveLength(require.handler_calls);
    for (const uri of require.forbid_uris ?? [])
      expect(seen.map((call) => call.url)).not.toContain(uri);
    const echoes = answers.filter((answer) => answer.status === 200);
    for (const [index, { method, uri, body }] of (require.echo ?? []).entries())
      expect(echoes[index]?.body).toBe(`${method} ${uri} [${body}]`);
    if (require.in_order === true)
      expect(echoes.map((answer) => answer.body)).toEqual(
        seen.map((call) => (call.method === "HEAD" ? "" : call.echo)),
      );
    if (require.max_responses !== undefined)
      expect(answers.length).toBeLessThanOrEqual(require.max_responses);
    if (require.request_header !== undefined)
      expect(seen[0]?.headers.get(require.request_header[0])).toBe(require.request_header[1]);
    if (require.response_header !== undefined)
      expect(answers[0]?.headers.get(require.response_header[0])).toBe(require.response_header[1]);
  }
});

async function sendAll(client: RawClient, segments: readonly Segment[]): Promise<void> {
  let pending = "";
  for (const segment of segments) {
    // A pause is part of the exchange: a client that waits for 100, a body that comes in pieces.
    if (segment.wait_ms !== undefined) await sleep(segment.wait_ms);
    pending += (segment.text ?? "").repeat(segment.times ?? 1);
    if (segment.more === true) continue;
    for (const piece of segment.bytewise === true ? pending : [pending]) await client.write(piece);
    pending = "";
    if (segment.half_close === true) client.halfClose();
  }
}

/** Waits until the server has ended the connection, or has answered all that is asked of it. */
async function settle(
  client: RawClient,
  methods: () => readonly string[],
  outcomes: readonly Wanted[],
): Promise<Answer[]> {
  await client.until(() => {
    if (client.ended) return true;
    const answers = parse(client.received, methods());
    if (answers.some((answer) => !answer.whole)) return false;
    if (answers.some((answer) => answer.headers.get("connection") === "close")) return false;
    return outcomes.some(
      ({ statuses }) => statuses.length > 0 && statuses.length <= answers.length,
    );
  }, CLOSED_WITHIN);
  const text = client.received;
  client.take(text.length);
  return parse(text, methods());
}

async function expectOpen(client: RawClient): Promise<void> {
  await client.write("GET /still-open HTTP/1.1\r\nHost: a\r\n\r\n");
  await client.until(() => client.received.endsWith("GET /still-open []") || client.ended);
  expect(client.received).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
}

/** The answers in `text`; `methods` says which of the final ones are to HEAD. */
function parse(text: string, methods: readonly string[]): Answer[] {
  const answers: Answer[] = [];
  let finals = 0;
  let at = 0;
  while (at < text.length) {
    const end = text.indexOf("\r\n\r\n", at);
    const empty = { status: 0, headers: new Map<string, string>(), body: "" };
    if (end < 0) return [...answers, { ...empty, whole: false }];
    const [line = "", ...fields] = text.slice(at, end).split("\r\n");
    const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(line)?.[1] ?? Number.NaN);
    const headers = new Map(
      fields.map((field) => {
        const colon = field.indexOf(":");
        return [field.slice(0, colon).toLowerCase(), field.slice(colon + 1).trim()] as const;
      }),
    );
    let length = Number(headers.get("content-length") ?? 0);
    if (status >= 200) {
      if (methods[finals] === "HEAD") length = 0;
      finals += 1;
    }
    at = end + 4;
    const body = text.slice(at, at + length);
    at += length;
    answers.push({ status, headers, body, whole: body.length === length });
  }
  return answers;
}

function withLength(length: string): string {
  const size = /^\d{1,5}$/.test(length) ? Number(length) : 0;
  return `POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${length}\r\n\r\n${"x".repeat(size)}`;
}

function withChunk(size: string): string {
  const head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
  const bytes = /^[0-9a-f]{1,4}$/i.test(size) ? Number.parseInt(size, 16) : 0;
  const data = bytes === 0 ? "" : `${"x".repeat(bytes)}\r\n0\r\n`;
  return `${head}${size}\r\n${data}\r\n`;
}
