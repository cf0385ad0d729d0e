// How the TypeScript tests run: each file in a process of its own, so that a native crash ends one
// file only.
import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const sanitized = Boolean(process.env["MILLRACE_SANITIZED"]);

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
    maxWorkers: 2,
    testTimeout: sanitized ? 60_000 : 20_000,
    hookTimeout: sanitized ? 60_000 : 20_000,
    coverage: {
      provider: "v8",
      include: ["src/**/*.ts"],
      reporter: ["text-summary", "json-summary"],
    },
  },
});
