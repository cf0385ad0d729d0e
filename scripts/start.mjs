#!/usr/bin/env node
// Builds what is stale and runs the demo application of examples/demo.
import { spawn } from "node:child_process";
import { join } from "node:path";
import { fail, root, run } from "./steps.mjs";

run("npm", ["run", "--silent", "build"]);
const demo = spawn(
  process.execPath,
  [join("examples", "demo", "server.mjs"), ...process.argv.slice(2)],
  {
    cwd: root,
    stdio: "inherit",
  },
);
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => demo.kill(signal));
demo.on("error", (error) => fail(error.message));
demo.on("exit", (code, signal) => {
  process.exitCode = code ?? (signal === null ? 1 : 0);
});
