// The numbers of a server as JavaScript and as Prometheus read them: counted natively, on every
// kind of host, the same in both.
import { expect, it } from "vitest";
import { MillraceError, raw, type Server, serve } from "../src/index.ts";
import { CAUSES, ERRORS } from "../src/native/tables.ts";
import { onEachHost } from "./support/hosts.ts";
import { until } from "./support/until.ts";
import { wire } from "./support/wire.ts";

const TYPE = "text/plain; version=0.0.4;charset=utf-8";
const SAMPLE = /^(millrace_[a-z0-9_]+)(\{[a-z]+="[^"\\\n]*"\})? (\d+(?:\.\d+)?(?:e[+-]\d+)?)$/;

/** Samples by name and labels; throws at what the format does not allow. */
function samplesOf(text: string): Map<string, number> {
  expect(text.endsWith("\n")).toBe(true);
  const samples = new Map<string, number>();
  let family = "";
  for (const line of text.slice(0, -1).split("\n")) {
    const comment = /^# (?:HELP|TYPE) (\S+) \S/.exec(line);
    if (comment !== null) {
      family = comment[1] as string;
      continue;
    }
    const [, name, labels = "", value] = SAMPLE.exec(line) ?? [];
    if (name === undefined) throw new Error(`no sample: ${line}`);
    expect(name.startsWith(family), line).toBe(true);
    expect(samples.has(name + labels), line).toBe(false);
    samples.set(name + labels, Number(value));
  }
  return samples;
}

function expectSame(server: Server): void {
  const { metrics } = server;
  const samples = samplesOf(server.prometheus());
  const get = (name: string): number | undefined => samples.get(`millrace_${name}`);
  for (const [name, count] of Object.entries(metrics.counters)) {
    if (/^responses|^turns$/.test(name)) continue;
    const snake = name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
    expect(get(snake) ?? get(`${snake}_total`), name).toBe(count);
  }
  for (const [name, count] of Object.entries(metrics.responses))
    expect(get(`responses_total{class="${name}"}`), name).toBe(count);
  for (const [name, count] of Object.entries(metrics.closed))
    expect(get(`connections_closed_total{cause="${name}"}`), name).toBe(count);
  for (const [code, count] of Object.entries(metrics.parseErrors))
    expect(get(`refusals_total{code="${code}"}`), code).toBe(count);
}

onEachHost(({ loops, start }) => {
  it("answers the metrics route without JavaScript, GET and HEAD", async () => {
    const server = await start({ health: { metrics: "/metrics" } });
    const client = await wire(server);
    client.get("/metrics");
    const first = await client.response();
    expect(first.status).toBe(200);
    expect(first.headers.get("content-type")).toBe(TYPE);
    expect(first.headers.get("cache-control")).toBe("no-store");
    const samples = samplesOf(first.body);
    expect(samples.get("millrace_up")).toBe(1);
    expect(samples.get("millrace_loops")).toBe(Math.max(loops, 1));
    expect(samples.get("millrace_connections")).toBe(1);
    expect(samples.get("millrace_requests_total")).toBe(1);
    client.send("HEAD /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
    const head = await client.response(true);
    expect(Number(head.headers.get("content-length"))).toBeGreaterThan(1000);
    client.get("/metrics");
    expect(samplesOf((await client.response()).body).get("millrace_requests_total")).toBe(3);
    expect(server.metrics.batchSize.max, "entries into JavaScript").toBe(0);
  });

  it("says the same to JavaScript and to Prometheus", async () => {
    const server = await start({
      routes: { "/": raw((_req, res) => void res.end("x")), "/fixed": new Response("fixed") },
      health: { metrics: "/metrics" },
    });
    const client = await wire(server);
    for (const target of ["/", "/fixed", "/none", "/metrics", "/"]) {
      client.get(target);
      await client.response();
    }
    const bad = await wire(server);
    bad.send("GET / HTTP/1.1\r\n\r\n");
    expect((await bad.response()).status).toBe(400);
    bad.close();
    await until("one connection is left", () => server.metrics.connections === 1);
    expectSame(server);
    const { batchSize, closed, parseErrors, queueDelayMs, shed } = server.metrics;
    expect(batchSize).toEqual({ mean: 1, max: 1 });
    expect(Object.values(parseErrors)).toEqual([1]);
    expect(Object.values(closed).reduce((sum, count) => sum + count, 0)).toBe(1);
    expect(closed.ProtocolViolated).toBe(1);
    expect(shed).toBe(0);
    expect(queueDelayMs.p50).toBeLessThanOrEqual(queueDelayMs.max);
    const samples = samplesOf(server.prometheus());
    expect(samples.get('millrace_queue_delay_seconds_bucket{le="+Inf"}')).toBe(2);
    expect(samples.get("millrace_queue_delay_seconds_count")).toBe(2);
    expect(samples.get('millrace_batch_size_bucket{le="1"}')).toBe(2);
    expect(samples.get("millrace_batch_size_sum")).toBe(2);
  });

  it("counts each connection once, by why it ended", async () => {
    const server = await start({ routes: { "/": new Response("x") }, timeouts: { keepAlive: 50 } });
    const gone = await wire(server);
    gone.get("/");
    await gone.response();
    gone.close();
    const idle = await wire(server);
    idle.get("/");
    await idle.response();
    await idle.end();
    const last = await wire(server);
    last.get("/", "Connection: close\r\n");
    await last.response();
    await last.end();
    await until("all are gone", () => server.metrics.connections === 0);
    const { closed } = server.metrics;
    expect(Object.keys(closed)).toEqual(CAUSES.map(({ name }) => name));
    expect(closed).toMatchObject({ CloseCalled: 1, ClosedByClient: 1, TimedOut: 1 });
    expect(Object.values(closed).reduce((sum, count) => sum + count, 0)).toBe(3);
  });

  it("says that it drains, and nothing once it has closed", async () => {
    const server = await start({ routes: { "/": new Response("x") } });
    expect(samplesOf(server.prometheus()).get("millrace_draining")).toBe(0);
    server.drain();
    await until("it drains", () => server.prometheus().includes("\nmillrace_draining 1\n"));
    await server.close();
    expect(server.prometheus()).toBe("");
    expect(server.metrics.counters["accepted"]).toBe(0);
  });
});

it("measures how long requests waited for JavaScript that was busy", async () => {
  const server = await serve({ port: 0, loops: 1, handler: (_req, res) => void res.end() });
  const client = await wire(server);
  const end = performance.now() + 300;
  client.get("/");
  // Sent by hand: the event loop does not run meanwhile.
  await new Promise<void>((resolve) => client.socket.write("", () => resolve()));
  while (performance.now() < end);
  await client.response();
  const { max, p50 } = server.metrics.queueDelayMs;
  expect(max).toBeGreaterThan(0);
  expect(p50).toBeGreaterThan(0);
  expect(p50).toBeLessThanOrEqual(max);
  client.close();
  await server.close();
});

it("lists every error that answers a peer, also before it has happened", async () => {
  const server = await serve({ port: 0, loops: 0, handler: (_req, res) => void res.end() });
  const samples = samplesOf(server.prometheus());
  for (const { code, status } of ERRORS)
    expect(samples.has(`millrace_refusals_total{code="${code}"}`), code).toBe(status !== 0);
  await server.close();
});

it("takes a plain path for the metrics, and no other names", async () => {
  const refused = async (health: object): Promise<string> => {
    const server = serve({ port: 0, health } as Parameters<typeof serve>[0]);
    const error: unknown = await server.then(
      () => undefined,
      (cause: unknown) => cause,
    );
    expect(error).toBeInstanceOf(MillraceError);
    return (error as MillraceError).code;
  };
  expect(await refused({ metrics: "/metrics/:id" })).toBe("ERR_MILLRACE_INVALID_ROUTE");
  expect(await refused({ metrics: 1 })).toBe("ERR_MILLRACE_INVALID_OPTION");
  expect(await refused({ metric: "/metrics" })).toBe("ERR_MILLRACE_INVALID_OPTION");
});
