// Servers in worker threads, and every way in which a thread or process ends while they are busy:
// the exit code is the expected one, never a signal; nothing hangs, and the port is free again.
import { describe, it } from "vitest";
import { runScenario, SCENARIOS } from "./support/scenarios.ts";

const ROUNDS = process.env["MILLRACE_SANITIZED"] === undefined ? 6 : 2; // an even number

describe.each([0, 1])("loops: %i", (loops) => {
  for (const scenario of SCENARIOS) {
    it(`survives ${ROUNDS} rounds of: ${scenario.title}`, { timeout: 60_000 }, async () => {
      await runScenario(process.execPath, scenario, loops, ROUNDS);
    });
  }
});
