// How the TypeScript tests run: each file in a process of its own, so that a native crash ends one
// file only.
import { writeFileSync } from "node:fs";
import { relative } from "node:path";
import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";
import { BaseSequencer, type Reporter, type TestModule, type TestSpecification } from "vitest/node";

const root = fileURLToPath(new URL(".", import.meta.url));
const isCI = Boolean(process.env["CI"]);
const sanitized = Boolean(process.env["MILLRACE_SANITIZED"]);

/** Says which tests passed only when they were tried again, and what had failed. */
const retried: Reporter = {
  onTestRunEnd(modules: readonly TestModule[]): void {
    for (const module of modules) {
      for (const test of module.children.allTests()) {
        if (test.diagnostic()?.flaky !== true) continue;
        console.log(`RETRIED ${module.relativeModuleId} > ${test.fullName}`);
        for (const { message, stacks } of test.result().errors ?? []) {
          const at = stacks?.[0];
          console.log(`  ${message.split("\n", 1)[0]} (${at?.file}:${at?.line})`);
        }
      }
    }
  },
};

// Names the files that did not pass, in the file that scripts/sanitized.mjs asks for. Those whose
// process ended before it began with them are not among the modules of the run's end.
const left = new Set<string>();
const unfinished: Reporter = {
  onTestRunStart(specifications: readonly TestSpecification[]): void {
    for (const { moduleId } of specifications) left.add(moduleId);
  },
  onTestRunEnd(modules: readonly TestModule[]): void {
    const file = process.env["MILLRACE_UNFINISHED"];
    if (file === undefined) return;
    for (const module of modules)
      if (["passed", "skipped"].includes(module.state())) left.delete(module.moduleId);
    writeFileSync(file, [...left].map((id) => `${relative(root, id)}\n`).join(""));
  },
};

/** Begins with what takes longest, which would run alone at the end: its files are short. */
class LongestFirst extends BaseSequencer {
  static readonly names = [
    // Those that compute beside those that wait, and Chromium, which does both, with the latter.
    ...["workers", "websocket_nginx", "restart", "websocket_workers", "clients", "websocket_ends"],
    ...["browser_websocket", "flood", "cluster", "websocket_faults", "websocket_crowd"],
  ];
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId }: TestSpecification): number => {
      const name = moduleId.slice(moduleId.lastIndexOf("/") + 1, -".test.ts".length);
      const place = LongestFirst.names.indexOf(name);
      return place === -1 ? LongestFirst.names.length : place;
    };
    return (await super.sort(files)).sort((a, b) => rank(a) - rank(b));
  }
}

export default defineConfig({
  resolve: {
    alias: {
      "millrace/sync": fileURLToPath(new URL("src/sync", import.meta.url)), // the longer one first
      millrace: fileURLToPath(new URL("src/index.ts", import.meta.url)),
    },
  },
  test: {
    include: ["test/**/*.test.ts"],
    setupFiles: ["test/support/leaks.ts"],
    pool: "forks",
    // Most of a file's time is waiting; sanitized ones compute.
    maxWorkers: isCI ? (sanitized ? 3 : 4) : 2,
    // CI's machine stands still at times: .ci/run lists what passed at the second try.
    retry: isCI ? 1 : 0,
    sequence: { sequencer: LongestFirst },
    reporters: ["default", retried, unfinished],
    testTimeout: sanitized ? 60_000 : 20_000,
    hookTimeout: sanitized ? 60_000 : 20_000,
    coverage: {
      provider: "v8",
      include: ["src/**/*.ts"],
      reporter: ["text-summary", "json-summary"],
    },
  },
});
