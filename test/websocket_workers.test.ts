// WebSocket servers in worker threads that share a port and topics, two servers of one thread, and
// every way in which a thread or process ends while sockets are busy: the exit code is the
// expected one, never a signal; nothing hangs, and no subscription is left.
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import type { Socket } from "../src/index.ts";
import { Child } from "./support/child.ts";
import { onEachHost } from "./support/hosts.ts";
import { peer } from "./support/peers.ts";
import { until } from "./support/until.ts";

const program = fileURLToPath(new URL("children/ws-workers.mjs", import.meta.url));
const ROUNDS = process.env["MILLRACE_SANITIZED"] === undefined ? 2 : 1;
const SETTLED: ReadonlySet<string> = new Set(["topics", "clientsEnd"]); // end without exit()

const scenarios = [
  { name: "topics", title: "topics reach all threads, in order, once each", code: 0 },
  { name: "terminate", title: "worker.terminate() while all publish", code: 0 },
  { name: "workerExit", title: "process.exit() in a worker's message handler", code: 0 },
  { name: "workerExitInClose", title: "process.exit() in a worker's close handler", code: 0 },
  { name: "workerThrow", title: "an uncaught exception in a worker", code: 0 },
  { name: "clientsEnd", title: "worker.terminate() with clients of ours", code: 0 },
  { name: "exit", title: "process.exit() in a message handler", code: 7 },
  { name: "exitLater", title: "process.exit() in a message handler after await", code: 7 },
  { name: "exitInClose", title: "process.exit() in a close handler", code: 7 },
  { name: "throw", title: "an uncaught exception in a message handler's timer", code: 1 },
  { name: "exitWhileClosing", title: "process.exit() while a server closes", code: 7 },
  { name: "exitWithWorkers", title: "process.exit() while workers serve and publish", code: 7 },
  { name: "exitWithClients", title: "process.exit() while clients of ours send", code: 7 },
];

describe.each([0, 1, 2])("loops: %i", (loops) => {
  it.concurrent.each(scenarios)("survives $title", { timeout: 60_000 }, async (scenario) => {
    const { name, code } = scenario;
    // A process that exits by itself frees nothing, nor do threads that still run then; only what
    // happens before that is of interest.
    const env: Record<string, string> = SETTLED.has(name) ? {} : { ASAN_OPTIONS: "detect_leaks=0" };
    const words = [program, name, `${loops}`, `${ROUNDS}`];
    const rounds = code === 0 ? 1 : ROUNDS;
    for (let round = 0; round < rounds; round += 1) {
      const child = new Child(process.execPath, words, env);
      const exit = await child.exited;
      expect(exit, `${child.errors}${child.output}`).toEqual({ code, signal: null });
      if (name === "throw") expect(child.errors).toContain("thrown on purpose");
      else expect(child.errors).toBe("");
    }
  });
});

onEachHost(({ start }) => {
  it("shares topics between two servers of a thread, until one of them closes", async () => {
    const sockets = new Map<string, Socket>();
    const handler = {
      open: (ws: Socket) => {
        sockets.set(`${sockets.size}`, ws);
        ws.subscribe("t");
      },
    };
    const [one, two] = [
      await start({ routes: { "/": handler } }),
      await start({ routes: { "/": handler } }),
    ];
    const a = await peer(one);
    const b = await peer(two);
    await until("both are subscribed", () => one.subscriberCount("t") === 2);
    expect(two.subscriberCount("t")).toBe(2);
    expect([one.publish("t", "1"), two.publish("t", "2")]).toEqual([2, 2]);
    expect(one.publish("t", "3", { scope: "thread" })).toBe(2);
    const ofOne = sockets.get("0") as Socket;
    expect(ofOne.publish("t", "4")).toBe(1);
    expect((await b.got(4)).slice(0, 4).sort()).toEqual(["1", "2", "3", "4"]);
    expect((await a.got(3)).slice(0, 3).sort()).toEqual(["1", "2", "3"]);
    const isOther = /another's/;
    expect(() => two.publish("t", "x", { except: ofOne })).toThrow(isOther);
    await expect(two.sendMany([ofOne], "x")).rejects.toThrow(isOther);
    const closed = one.close();
    expect(await a.over()).toEqual([1001, ""]);
    expect((await closed).forced).toBe(0);
    expect([one.publish("t", "5"), two.publish("t", "6")]).toEqual([0, 1]);
    expect([ofOne.send("x"), ofOne.publish("t", "x"), ofOne.readyState]).toEqual([0, 0, 3]);
    await until("the last has come", () => b.messages.includes("6"));
    expect(b.messages).not.toContain("5");
    b.ws.close();
    await b.over();
    await until("nobody is left", () => two.subscriberCount("t") === 0);
  });
});
