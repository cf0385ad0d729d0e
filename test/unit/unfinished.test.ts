// Which files scripts/sanitized.mjs runs once more when a sanitizer's runtime has given up.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, it, onTestFinished, vi } from "vitest";
import type { Reporter } from "vitest/node";
import config from "../../vitest.config.ts";

it("names files that did not pass, also those whose process ended before it began", () => {
  const folder = mkdtempSync(join(tmpdir(), "millrace-unfinished-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  vi.stubEnv("MILLRACE_UNFINISHED", join(folder, "list"));
  onTestFinished(() => void vi.unstubAllEnvs());
  const root = fileURLToPath(new URL("../..", import.meta.url));
  const states = { passed: "passed", skips: "skipped", fails: "failed", dies: "queued" };
  const modules = Object.entries(states).map(([name, state]) => ({
    moduleId: join(root, "test", `${name}.test.ts`),
    state: () => state,
    children: { allTests: () => [] },
  }));
  const started = [...modules, { moduleId: join(root, "test", "never.test.ts") }];
  const reporters = (config.test?.reporters ?? []) as readonly (Reporter | string)[];
  for (const each of reporters)
    if (typeof each === "object") each.onTestRunStart?.(started as never);
  for (const each of reporters)
    if (typeof each === "object") void each.onTestRunEnd?.(modules as never, [], "failed");
  const names = readFileSync(join(folder, "list"), "utf8");
  expect(names).toBe("test/fails.test.ts\ntest/dies.test.ts\ntest/never.test.ts\n");
});
