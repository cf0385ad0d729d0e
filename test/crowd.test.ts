// Crowds of clients from another process: who pipeline and never read, who only keep connections
// open. What the rest of the world gets meanwhile, and what is held for them.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { type RawHandler, type Res, raw } from "../src/index.ts";
import { Child } from "./support/child.ts";
import { unreadInKernel } from "./support/held.ts";
import { onEachHost, portOf } from "./support/hosts.ts";
import { until } from "./support/until.ts";
import { wire } from "./support/wire.ts";

const program = fileURLToPath(new URL("children/crowd.mjs", import.meta.url));
const CLIENTS = 50;
const FRESH = "GET /fresh HTTP/1.1\r\nHost: a\r\n\r\n";
const CROWD = "GET /crowd HTTP/1.1\r\nHost: a\r\n\r\n";
const MIB = 1_048_576;

const crowd = (...words: readonly (string | number)[]): Child =>
  new Child(process.execPath, [program, ...words.map(String)]);

/** Runs `body` with a way to start children; they are gone when it is over. */
async function withCrowds(body: (start: typeof crowd) => Promise<void>): Promise<void> {
  const children: Child[] = [];
  try {
    await body((...words) => {
      const child = crowd(...words);
      children.push(child);
      return child;
    });
  } finally {
    await Promise.all(children.map((child) => child.stop()));
  }
}

/** Waits until a count has grown and then stood still for a while: the crowd gets no more. */
async function standstill(count: () => number): Promise<void> {
  let before = 0;
  let since = performance.now();
  await until("the crowd stands still", () => {
    if (count() !== before || before === 0) {
      before = count();
      since = performance.now();
    }
    return performance.now() - since > 300;
  });
}

/** Waits for what takes a client with thousands of connections its time. */
async function says(child: Child, what: string): Promise<void> {
  const hasSaid = (): boolean => child.output.includes(what) || child.hasExited;
  await until(`a child says "${what}"`, hasSaid, 60_000);
  if (!child.output.includes(what)) throw new Error(`the child ended: ${child.errors}`);
}

/** The times that a probing child says at its end, the shortest first. */
async function timesOf(probe: Child): Promise<readonly number[]> {
  await probe.stop();
  const times = /^times (.*)$/m.exec(probe.output)?.[1];
  if (times === undefined) throw new Error(`no times: ${probe.output}${probe.errors}`);
  return (JSON.parse(times) as number[]).sort((a, b) => a - b);
}

/** The middle one: the machine has few cores and others use them, so the latest says little. */
function median(times: readonly number[]): number {
  return times[times.length >> 1] as number;
}

/** How many connections the limits of this process (Node raises the soft one) leave room for. */
function idleConnections(wanted: number): number {
  if (process.platform !== "linux") return 2000;
  const limit = /^Max open files +(\d+)/m.exec(readFileSync("/proc/self/limits", "latin1"))?.[1];
  return Math.min(wanted, Number(limit ?? 4096) - 500);
}

const deafOnes = [
  { kind: "small answers at once", body: "x".repeat(4000), isLate: false },
  { kind: "large answers later", body: "x".repeat(50_000), isLate: true },
];

onEachHost(({ start }) => {
  // The bytes the kernel holds are read from /proc.
  it.runIf(process.platform === "linux").each(deafOnes)(
    "holds a mebibyte at most for each of fifty who never read $kind",
    async ({ body, isLate }) => {
      let calls = 0;
      let ended = 0;
      const answer = (res: Res): void => {
        ended += 1;
        res.end(body);
      };
      const handler: RawHandler = (_req, res) => {
        calls += 1;
        if (!isLate) return answer(res);
        return new Promise((resolve) => setImmediate(resolve)).then(() => answer(res));
      };
      const server = await start({
        routes: { "/crowd": raw(handler), "/fresh": raw((_req, res) => void res.end("fresh")) },
      });
      const sample = await (await wire(server)).get("/crowd").response();
      const answerBytes = sample.head.length + 4 + sample.body.length;
      calls = ended = 0;
      const before = server.metrics;

      await withCrowds(async (begin) => {
        const probe = begin("probe", portOf(server), "/fresh");
        await probe.said(/probing/);
        const deaf = begin("deaf", portOf(server), CLIENTS, 3000, "/crowd");
        await deaf.said(/all sent/);
        await standstill(() => calls + ended);
        // The bound is that of the issue; as it says: a fresh connection, while the others stall.
        expect(median(await timesOf(probe)), "milliseconds of a fresh request").toBeLessThan(100);

        // Held are answers made that the kernel has not taken, and requests read and not begun.
        const { bytesIn, requests } = server.metrics;
        const fresh = requests - before.requests - calls;
        const unread = bytesIn - before.bytesIn - fresh * FRESH.length - calls * CROWD.length;
        const unsent = calls * answerBytes - unreadInKernel(portOf(server));
        expect(ended).toBe(calls);
        expect(calls, "requests that were begun").toBeLessThan(CLIENTS * 3000);
        expect(unread).toBeGreaterThanOrEqual(0);
        expect(unsent, "a queue has formed").toBeGreaterThan(0);
        const mib = { unread: unread / CLIENTS / MIB, unsent: unsent / CLIENTS / MIB };
        expect(mib.unread + mib.unsent, JSON.stringify(mib)).toBeLessThanOrEqual(1);
      });
      expect((await (await wire(server)).get("/fresh").response()).body).toBe("fresh");
      await until("the crowd is gone", () => server.metrics.connections <= 2);
    },
  );

  // Counted in calls and not in time: whoever waits for a turn of the event loop (a timer, another
  // server, a new connection on an inline host) waits for these handlers.
  it("lets the event loop turn between the requests of fifty who pipeline thousands", async () => {
    let calls = 0;
    let longest = 0;
    let atTurn = 0;
    const server = await start({
      routes: {
        "/crowd": raw((_req, res) => {
          calls += 1;
          res.end("small");
        }),
        "/fresh": raw((_req, res) => void res.end("fresh")),
      },
    });
    let isOver = false;
    const turn = (): void => {
      longest = Math.max(longest, calls - atTurn);
      atTurn = calls;
      if (!isOver) setImmediate(turn);
    };
    turn();
    try {
      await withCrowds(async (begin) => {
        const probe = begin("probe", portOf(server), "/fresh");
        await probe.said(/probing/);
        begin("deaf", portOf(server), CLIENTS, 4000, "/crowd");
        await until("all are answered", () => calls === CLIENTS * 4000);
        expect(median(await timesOf(probe)), "milliseconds of a fresh request").toBeLessThan(100);
      });
    } finally {
      isOver = true;
    }
    // Two rounds of what everybody may have in flight (limits.maxPipelined).
    expect(longest, "handlers called in one turn").toBeLessThanOrEqual(2 * CLIENTS * 64);
  });
});

onEachHost(
  ({ start }) => {
    const count = idleConnections(19_000);
    it(`keeps ${count} idle connections, all of which are answered again`, async () => {
      const server = await start({
        listen: Array.from({ length: 4 }, () => ({ port: 0, hostname: "127.0.0.1" })),
        routes: { "/": raw((_req, res) => void res.end("here")) },
      });
      const [first = 0, ...others] = server.addresses.map(({ port }) => port);
      await withCrowds(async (begin) => {
        const idle = begin("idle", first, count, ...others);
        await says(idle, "idle");
        expect(server.metrics.idle).toBe(count);
        expect(server.metrics.counters["blocks"], "blocks of idle connections").toBe(0);
        const other = await wire(server);
        expect((await other.get("/").response()).body).toBe("here");
        idle.process.kill("SIGUSR2");
        await says(idle, "answered again");
        expect(idle.output, "none was closed").not.toContain("closed");
        expect(server.metrics.requests).toBe(2 * count + 1);
        expect(server.metrics.counters["accepted"]).toBe(count + 1);
      });
      await until("they are gone", () => server.metrics.connections <= 1);
      expect((await (await wire(server)).get("/").response()).body).toBe("here");
    }, 120_000);
  },
  [0, 2],
);
