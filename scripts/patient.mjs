// Preloaded by sanitized.mjs into vitest and its workers, so that a worker ends as a program does
// and what looks at a process at its end (for leaks above all) sees nothing but what is left. By
// itself vitest ends a worker with SIGTERM, and half a second later with SIGKILL.
import { ChildProcess } from "node:child_process";
import { isMainThread } from "node:worker_threads";

const WORKER_PATIENCE_MS = 10_000;
const PATIENCE_MS = 60_000;

if (isMainThread && process.argv[1]?.endsWith("vitest.mjs")) {
  // vitest itself runs without the sanitizer: its bundler is not ours to judge.
  process.env["LD_PRELOAD"] = process.env["MILLRACE_PRELOAD"];
  delayKills();
} else if (isMainThread) {
  endByItself();
  // TSan's first words are for workers alone: tests read what their programs print.
  const options = process.env["TSAN_OPTIONS"];
  if (options !== undefined) process.env["TSAN_OPTIONS"] = options.replace(":verbosity=1", "");
}

// Not by exit(): it leaves V8's heap standing, and all that only the heap points to looks lost.
function endByItself() {
  const exit = process.exit.bind(process); // tests run with another one in its place
  process.on("SIGTERM", () => {
    if (process.connected) process.disconnect();
    setTimeout(() => {
      process.stderr.write("millrace: something keeps a worker alive; it exits\n");
      exit();
    }, WORKER_PATIENCE_MS).unref();
  });
}

function delayKills() {
  const kill = ChildProcess.prototype.kill;
  ChildProcess.prototype.kill = function (signal) {
    if (signal !== "SIGKILL") return kill.call(this, signal);
    setTimeout(() => {
      if (this.exitCode !== null || this.signalCode !== null) return;
      process.stderr.write(`millrace: process ${this.pid} does not end; it is killed\n`);
      process.exitCode = 1;
      kill.call(this, "SIGKILL");
    }, PATIENCE_MS).unref();
    return true;
  };
}
