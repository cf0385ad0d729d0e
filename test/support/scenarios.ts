// The scenarios of children/workers.mjs, with what each must end with, on any node binary.
import { createServer } from "node:net";
import { fileURLToPath } from "node:url";
import { expect } from "vitest";
import { Child } from "./child.ts";
import { until } from "./until.ts";

export interface Scenario {
  readonly name: string;
  /** A sentence about it. */
  readonly title: string;
  readonly code: number;
  /** Whether the process ends by it: then each round is a process of its own. */
  readonly ends: boolean;
}

export const SCENARIOS: readonly Scenario[] = [
  { name: "serve", title: "two workers serve one port and close", code: 0, ends: false },
  { name: "terminate", title: "worker.terminate() under load", code: 0, ends: false },
  { name: "workerExit", title: "process.exit() in a worker's handler", code: 0, ends: false },
  { name: "workerThrow", title: "an uncaught exception in a worker", code: 0, ends: false },
  { name: "exit", title: "process.exit() in a handler", code: 7, ends: true },
  { name: "exitLater", title: "process.exit() in a handler after await", code: 7, ends: true },
  { name: "throw", title: "an uncaught exception in a handler's timer", code: 1, ends: true },
  { name: "exitInFlight", title: "process.exit() with requests in flight", code: 7, ends: true },
  { name: "exitWithWorkers", title: "process.exit() while workers serve", code: 7, ends: true },
  { name: "endInFlight", title: "the end of an unref'd process", code: 7, ends: true },
];

const program = fileURLToPath(new URL("../children/workers.mjs", import.meta.url));
const AT_ONCE = 3;

/** Runs a scenario `rounds` times; every end must be the expected one, and leave its port free. */
export async function runScenario(
  node: string,
  { name, code, ends }: Scenario,
  loops: number,
  rounds: number,
): Promise<void> {
  let left = ends ? rounds : 1;
  const runner = async (): Promise<void> => {
    while (left > 0) {
      left -= 1;
      // A process that exits frees nothing; only what happens before that is of interest then.
      const env: Record<string, string> = ends ? { ASAN_OPTIONS: "detect_leaks=0" } : {};
      const child = new Child(node, [program, name, `${loops}`, `${rounds}`], env);
      const exit = await child.exited;
      expect(exit, `${child.errors}${child.output}`).toEqual({ code, signal: null });
      if (name === "throw") expect(child.errors).toContain("thrown on purpose");
      else expect(child.errors).toBe("");
      if (ends) await expectFree(Number(/^port (\d+)$/m.exec(child.output)?.[1]));
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, runner));
}

async function expectFree(port: number): Promise<void> {
  const probe = createServer();
  let error: Error | undefined;
  probe.on("error", (cause) => (error = cause));
  probe.listen(port, "127.0.0.1");
  await until("the port is tried", () => probe.listening || error !== undefined);
  expect(error).toBeUndefined();
  probe.close();
}
