// What surrounds a handler call: asynchronous context, the order of ticks, errors that escape it.
import { AsyncLocalStorage } from "node:async_hooks";
import { createServer } from "node:http";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { raw } from "../src/index.ts";
import { Child } from "./support/child.ts";
import { onEachHost } from "./support/hosts.ts";
import { until } from "./support/until.ts";
import { wire } from "./support/wire.ts";

const CONNECTIONS = 50;
const PER_CONNECTION = 200;
const survivor = fileURLToPath(new URL("children/survivor.mjs", import.meta.url));

/** Some way for time to pass; `n` chooses. */
function pause(n: number): Promise<void> {
  switch (n % 5) {
    case 0:
      return Promise.resolve();
    case 1:
      return new Promise((resolve) => setImmediate(resolve));
    case 2:
      return new Promise((resolve) => process.nextTick(resolve));
    case 3:
      return new Promise((resolve) => setTimeout(resolve, n % 4));
    default:
      return new Promise((resolve) => queueMicrotask(resolve));
  }
}

/** What a handler's follow-ups come in, with `end` as its last synchronous act. */
function record(log: string[], end: () => void): void {
  log.push("handler");
  setImmediate(() => log.push("immediate"));
  process.nextTick(() => {
    log.push("tick");
    queueMicrotask(() => log.push("microtask of tick"));
    process.nextTick(() => log.push("tick of tick"));
  });
  void Promise.resolve().then(() => {
    log.push("microtask");
    process.nextTick(() => log.push("tick of microtask"));
  });
  setImmediate(() => {
    log.push("second immediate");
    process.nextTick(() => log.push("tick of immediate"));
  });
  setImmediate(() => log.push("last immediate"));
  end();
  log.push("handler's end");
}

onEachHost(({ loops, start }) => {
  it("keeps the stores of 10 000 concurrent requests apart", async () => {
    const storage = new AsyncLocalStorage<{ id: string }>();
    const wrong: string[] = [];
    let open = 0;
    let most = 0;
    const follow = async (id: string): Promise<void> => {
      for (let step = 0; step < 4; step += 1) {
        await pause(Number(id) * 7 + step * 3);
        if (storage.getStore()?.id !== id) wrong.push(`${id} saw ${storage.getStore()?.id}`);
      }
    };
    const server = await start({
      limits: { maxPipelined: PER_CONNECTION },
      routes: {
        "/:id": raw(async (req, res) => {
          const { id } = req.params;
          if (storage.getStore() !== undefined) wrong.push(`${id} began with a store`);
          most = Math.max(most, (open += 1));
          if (Number(id) % 2 === 0) {
            await storage.run({ id }, () => follow(id));
            if (storage.getStore() !== undefined) wrong.push(`${id} kept the store of run()`);
          } else {
            storage.enterWith({ id });
            await follow(id);
            if (storage.getStore()?.id !== id) wrong.push(`${id} lost its store`);
          }
          open -= 1;
          res.end(id);
        }),
      },
    });
    const clients = await Promise.all(Array.from({ length: CONNECTIONS }, () => wire(server)));
    const bodies = await Promise.all(
      clients.map(async (client, c) => {
        const ids = Array.from({ length: PER_CONNECTION }, (_, n) => c * PER_CONNECTION + n);
        client.send(ids.map((id) => `GET /${id} HTTP/1.1\r\nHost: a\r\n\r\n`).join(""));
        for (const id of ids) {
          if ((await client.response()).body !== `${id}`) return `a wrong answer for ${id}`;
        }
        return "right";
      }),
    );
    expect(new Set(bodies)).toEqual(new Set(["right"]));
    expect(wrong).toEqual([]);
    expect(most, "handlers at one time").toBeGreaterThan(100);
    expect(server.metrics.batchSize.max, "requests per batch").toBeGreaterThan(10);
  });

  it("lets no enterWith() leak to the next request of a batch, nor to the next batch", async () => {
    const storage = new AsyncLocalStorage<string>();
    const seen: unknown[] = [];
    const later: unknown[] = [];
    const server = await start({
      routes: {
        "/raw/:id": raw((req, res) => {
          seen.push(storage.getStore());
          storage.enterWith(req.params.id);
          setImmediate(() => later.push(storage.getStore() === req.params.id));
          res.end();
        }),
        "/fetch/:id": (_request, ctx) => {
          seen.push(storage.getStore());
          storage.enterWith(ctx.params.id);
          void Promise.resolve().then(() => later.push(storage.getStore() === ctx.params.id));
          return new Response();
        },
      },
    });
    const client = await wire(server);
    for (let round = 0; round < 3; round += 1) {
      for (let i = 0; i < 30; i += 1) client.get(`/${i % 2 === 0 ? "raw" : "fetch"}/${i}`);
      for (let i = 0; i < 30; i += 1) expect((await client.response()).status).toBe(200);
    }
    await until("the follow-ups have run", () => later.length === 90);
    expect(new Set(seen)).toEqual(new Set([undefined]));
    expect(new Set(later)).toEqual(new Set([true]));
  });

  it("keeps the store in the error hook and for abort listeners", async () => {
    const storage = new AsyncLocalStorage<string>();
    const seen: unknown[] = [];
    const server = await start({
      handler: async (req) => {
        storage.enterWith(req.path);
        if (req.is("/abort"))
          await new Promise((resolve) => req.signal.addEventListener("abort", resolve));
        throw new Error("expected");
      },
      error: () => {
        seen.push(storage.getStore());
        return new Response(null, { status: 500 });
      },
    });
    const client = await wire(server);
    expect((await client.get("/throw").response()).status).toBe(500);
    client.get("/abort");
    await until("it is in flight", () => server.metrics.inFlight === 1);
    client.reset();
    await until("both have failed", () => seen.length === 2);
    expect(seen).toEqual(["/throw", "/abort"]);
  });

  it("runs ticks, microtasks and immediates in the order of node:http", async () => {
    const expected: string[] = [];
    const http = createServer((_req, res) => record(expected, () => res.end())).listen(
      0,
      "127.0.0.1",
    );
    await until("node:http listens", () => http.listening);
    await fetch(`http://127.0.0.1:${(http.address() as { port: number }).port}/`);
    await until("all of it has run", () => expected.includes("last immediate"));
    http.close();
    http.closeAllConnections();

    const log: string[] = [];
    const server = await start({ handler: (_req, res) => record(log, () => void res.end()) });
    const client = await wire(server);
    expect((await client.get("/").response()).status).toBe(200);
    await until("all of it has run", () => log.includes("last immediate"));
    expect(log).toEqual(expected);
    expect(log.slice(0, 4)).toEqual(["handler", "handler's end", "tick", "tick of tick"]);
  });

  it("answers from every phase of the event loop without delay", async () => {
    const phases: Readonly<Record<string, (end: () => void) => void>> = {
      sync: (end) => end(),
      tick: (end) => process.nextTick(end),
      microtask: (end) => queueMicrotask(end),
      immediate: (end) => void setImmediate(end),
      timer: (end) => void setTimeout(end, 1),
      "immediate of timer": (end) => void setTimeout(() => setImmediate(end), 1),
    };
    const server = await start({
      routes: {
        "/:phase": raw((req, res) => {
          const { phase } = req.params;
          phases[phase]?.(() => void res.end(phase));
          res.detach();
        }),
      },
    });
    const client = await wire(server);
    for (let round = 0; round < 20; round += 1) {
      for (const phase of Object.keys(phases)) {
        const { body } = await client.get(`/${encodeURIComponent(phase)}`).response();
        expect(body).toBe(phase);
      }
    }
  });

  it("goes on when ticks, timers and promises fail and the process survives it", async () => {
    const child = new Child(process.execPath, [survivor, `${loops}`]);
    expect(await child.exited, child.errors).toEqual({ code: 0, signal: null });
    expect(JSON.parse(child.output)).toEqual({
      isInOrder: true,
      isPrompt: true,
      exceptions: 500,
      rejections: 100,
      forced: 0,
    });
  });
});
