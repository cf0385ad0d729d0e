// What the scripts share: where the project is, and running a program so that its failure ends
// ours.
import { spawnSync } from "node:child_process";
import { accessSync, constants, existsSync, readFileSync, rmSync } from "node:fs";
import { availableParallelism, totalmem } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export const root = join(dirname(fileURLToPath(import.meta.url)), "..");

/** Compilers at once: one per processor, and one per GiB, because each may take that much. */
export const jobs = Math.max(
  1,
  Math.min(availableParallelism(), Math.floor(totalmem() / 2 ** 30), 16),
);

/** The full path of a program in PATH, undefined when there is none. */
export function findProgram(...names) {
  for (const name of names) {
    for (const folder of (process.env["PATH"] ?? "").split(delimiter)) {
      try {
        accessSync(join(folder, name), constants.X_OK);
        return join(folder, name);
      } catch {
        // Not in this folder.
      }
    }
  }
  return undefined;
}

/** Ends the process with one line that says what is wrong and what to do. */
export function fail(message) {
  process.stderr.write(`millrace: ${message}\n`);
  process.exit(1);
}

/** Runs a program with our own output; a failure ends this process with the same exit code. */
export function run(program, words, options = {}) {
  const result = spawnSync(program, words, { cwd: root, stdio: "inherit", ...options });
  if (result.error) fail(`${program} cannot be run: ${result.error.message}`);
  if (result.status !== 0) {
    process.stderr.write(
      `millrace: failed (${result.signal ?? result.status}): ${program} ${words.join(" ")}\n`,
    );
    process.exit(result.status ?? 1);
  }
}

/** Runs a program and returns what it printed; undefined when it failed. */
export function capture(program, words, options = {}) {
  const result = spawnSync(program, words, {
    cwd: root,
    encoding: "utf8",
    maxBuffer: 2 ** 28,
    ...options,
  });
  return result.status === 0 ? result.stdout : undefined;
}

/** The entry script of an installed development tool. */
export function tool(path) {
  const file = join(root, "node_modules", path);
  if (!existsSync(file)) fail(`node_modules/${path} is missing; run "node scripts/setup.mjs"`);
  return file;
}

/** Removes a CMake folder that was made in another place: CMake refuses to use it. */
export function dropMovedBuild(folder) {
  const cache = join(folder, "CMakeCache.txt");
  if (!existsSync(cache)) return;
  const home = /^CMAKE_HOME_DIRECTORY:INTERNAL=(.*)$/m.exec(readFileSync(cache, "utf8"))?.[1];
  if (home !== root.replace(/\/$/, "")) rmSync(folder, { recursive: true, force: true });
}
