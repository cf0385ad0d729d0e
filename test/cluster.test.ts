// cluster(): threads that start together, are replaced, and are closed together, in processes of
// their own.
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { cluster } from "../src/cluster/cluster.ts";
import { Child } from "./support/child.ts";
import { until } from "./support/until.ts";

const program = fileURLToPath(new URL("children/cluster.mjs", import.meta.url));

interface Line {
  readonly [key: string]: unknown;
  readonly code?: string;
  readonly counts?: readonly number[];
  readonly message?: string;
  readonly url?: string;
}

class Run extends Child {
  constructor(mode: string, loops: number) {
    super(process.execPath, [program, mode, `${loops}`]);
  }
  get lines(): Line[] {
    const lines = this.output.split("\n").filter((line) => line.startsWith("{"));
    return lines.map((line) => JSON.parse(line) as Line);
  }
  get last(): Line | undefined {
    return this.lines.at(-1);
  }
  async url(): Promise<string> {
    return (await this.said(/"url":"([^"]+)"/))[1] ?? "";
  }
  /** Its thread that answers, over a connection of its own. */
  async ask(url: string, path = "/"): Promise<{ index: number; port: number; threadId: number }> {
    const answer = await fetch(url + path, { headers: { connection: "close" } });
    return (await answer.json()) as { index: number; port: number; threadId: number };
  }
  async succeeds(): Promise<void> {
    expect(await this.exited, this.output + this.errors).toEqual({ code: 0, signal: null });
  }
}

describe.each([0, 1])("a cluster, loops: %i", (loops) => {
  // What only the threads themselves do is the same with every host.
  const itOnce = it.runIf(loops === 0);

  it("starts its threads on one port, and closes and disposes each once", async () => {
    const run = new Run("plain", loops);
    const url = await run.url();
    expect(run.last?.["ready"]).toEqual([
      [0, true, 0],
      [1, true, 0],
    ]);
    const { port } = new URL(url);
    const indices = new Set<number>();
    const ports = new Set<number>();
    await until("both threads have answered", async () => {
      // Several at a time, as one that waits alone always gets them else.
      for (const each of await Promise.all(Array.from({ length: 16 }, () => run.ask(url)))) {
        indices.add(each.index);
        ports.add(each.port);
      }
      return indices.size === 2;
    });
    expect([...ports].sort((a, b) => a - b)).toEqual([0, Number(port)]);
    await run.stop();
    await run.succeeds();
    expect(run.last).toEqual({
      ends: { completed: expect.any(Number), forced: 0, terminated: 0 },
      isSame: true,
      counts: [2, 2, 2, 0],
      restarts: [0, 0],
    });
    expect(run.errors).toBe("");
  });

  it("replaces a thread that ends by an error, or by itself", async () => {
    const run = new Run("plain", loops);
    const url = await run.url();
    for (const [path, sentence] of [
      ["/throw", /^thread \d was ended by an error; another takes its place/],
      ["/exit", /^thread \d ended with code 5; another takes its place/],
    ] as const) {
      const before = run.lines.length;
      await expect(run.ask(url, path)).rejects.toThrow();
      await until("the end is told", () => run.lines.length > before);
      expect(run.last?.code).toBe("ERR_MILLRACE_CLUSTER");
      expect(run.last?.message).toMatch(sentence);
      if (path === "/throw") expect(run.last?.["detail"]).toContain("thrown on purpose");
    }
    const seen = new Set<number>();
    await until("new threads answer", async () => {
      const asked = Array.from({ length: 16 }, () => run.ask(url).catch(() => undefined));
      for (const each of await Promise.all(asked)) if (each !== undefined) seen.add(each.index);
      return seen.size === 2;
    });
    await run.stop();
    await run.succeeds();
    const restarts = run.last?.["restarts"] as readonly number[];
    expect((restarts[0] ?? 0) + (restarts[1] ?? 0)).toBe(2);
    expect(run.last?.counts).toEqual([4, 2, 2, 0]);
  });

  itOnce("tries again when a replacement does not start", async () => {
    const run = new Run("failsOnce", loops);
    const url = await run.url();
    await expect(run.ask(url, "/exit")).rejects.toThrow();
    await run.said(/failed to start: failed once on purpose/);
    const seen = new Set<number>();
    await until("both answer again", async () => {
      const asked = Array.from({ length: 16 }, () => run.ask(url).catch(() => undefined));
      for (const each of await Promise.all(asked)) if (each !== undefined) seen.add(each.index);
      return seen.size === 2;
    });
    await run.stop();
    await run.succeeds();
    expect(run.last?.counts).toEqual([4, 2, 2, 0]);
  });

  it("answers what is in flight when a signal closes it", async () => {
    const run = new Run("signal", loops);
    const slow = fetch(`${await run.url()}/slow`);
    await run.said(/slow has come/);
    run.process.kill("SIGTERM");
    expect(await (await slow).text()).toBe("slow");
    await run.succeeds();
    expect(run.last).toEqual({
      ends: { completed: 1, forced: 0, terminated: 0 },
      counts: [2, 2, 2, 0],
    });
  });

  itOnce("terminates a thread that does not answer any more", async () => {
    const run = new Run("blocked", loops);
    await run.succeeds();
    expect(run.last).toEqual({
      ends: { completed: 0, forced: 0, terminated: 1 },
      counts: [2, 1, 1, 1],
    });
  });

  itOnce("is over with its last thread when none is replaced", async () => {
    const run = new Run("noRespawn", loops);
    const url = await run.url();
    const ended = new Set<string | undefined>();
    await until("both have been ended", async () => {
      await run.ask(url, "/exit").catch(() => undefined);
      for (const line of run.lines) if (line.code !== undefined) ended.add(line.message);
      return ended.size === 2 || run.hasExited;
    });
    await run.succeeds();
    expect(run.last?.["ends"]).toEqual({ completed: 0, forced: 0, terminated: 0 });
  });

  itOnce("tells of a dispose() that throws, and of timers that are left, and ends", async () => {
    for (const mode of ["disposeThrows", "timers"]) {
      const run = new Run(mode, loops);
      await run.url();
      await run.stop();
      await run.succeeds();
      expect(run.lines.at(-1)?.counts).toEqual([2, 2, 2, 0]);
      if (mode === "timers") continue;
      const warning = run.lines.find((line) => line.code === "ERR_MILLRACE_CLUSTER");
      expect(warning?.message).toMatch(/^dispose\(\) of thread 0 threw/);
    }
  });
});

describe("a cluster that does not start", () => {
  it.each([
    ["throws", /^thread 1 of the cluster failed to start: init threw on purpose/, [2, 1, 1, 0]],
    ["hangs", /^thread 0 of the cluster was not ready within 500 ms/, undefined],
    [
      "nested",
      /^thread 0 of the cluster failed to start: .*in a thread of a cluster/,
      [1, 0, 0, 0],
    ],
  ])("rejects and leaves no thread behind: %s", async (mode, message, counts) => {
    const run = new Run(mode, 0);
    await run.succeeds();
    expect(run.lines).toHaveLength(1);
    expect(run.last?.code).toBe("ERR_MILLRACE_CLUSTER");
    expect(run.last?.message).toMatch(message);
    if (mode === "throws") expect(run.last?.["cause"]).toBe("init threw on purpose");
    if (counts !== undefined) expect(run.last?.counts).toEqual(counts);
  });

  it("refuses wrong options and modules", async () => {
    for (const [module, options] of [
      [1, {}],
      ["", {}],
      [new URL("http://a/b.mjs"), {}],
      ["a.mjs", { threads: 0 }],
      ["a.mjs", { port: -1 }],
      ["a.mjs", { respawn: 1 }],
      ["a.mjs", { startTimeout: 0 }],
      ["a.mjs", { worker: null }],
      ["a.mjs", { gracefulShutdown: { signals: [] } }],
      ["a.mjs", { thread: 2 }],
    ] as const)
      await expect(cluster(module as string, options as object)).rejects.toMatchObject({
        code: "ERR_MILLRACE_INVALID_OPTION",
      });
  });
});
