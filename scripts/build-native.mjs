#!/usr/bin/env node
// npx millrace-build: compiles the addon inside the installed package, where no prebuilt one fits
// the machine. Needs a C++20 compiler, make and python3. Uses the node-gyp of the project, of npm,
// or fetches it through npx.
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { findNodeDir } from "./headers.mjs";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");

function findNodeGyp() {
  const npm = process.env["npm_execpath"];
  const places = [
    process.env["npm_config_node_gyp"],
    npm && resolve(npm, "..", "..", "node_modules", "node-gyp", "bin", "node-gyp.js"),
    resolve(process.execPath, "../../lib/node_modules/npm/node_modules/node-gyp/bin/node-gyp.js"),
  ];
  try {
    return createRequire(import.meta.url).resolve("node-gyp/bin/node-gyp.js");
  } catch {
    return places.find((place) => place !== undefined && existsSync(place));
  }
}

const nodeGyp = findNodeGyp();
const nodeDir = findNodeDir();
const [program, words] =
  nodeGyp === undefined ? ["npx", ["--yes", "node-gyp@12"]] : [process.execPath, [nodeGyp]];
const result = spawnSync(program, [...words, "rebuild", "--release"], {
  cwd: root,
  stdio: "inherit",
  env: nodeDir === undefined ? process.env : { ...process.env, npm_config_nodedir: nodeDir },
});
if (result.status === 0) {
  process.stdout.write(`millrace: built ${join(root, "build", "Release", "millrace.node")}\n`);
} else {
  process.stderr.write(
    "millrace: the addon was not built; it needs a C++20 compiler (GCC 12, clang 14 or newer), make and python3\n",
  );
  process.exitCode = result.status ?? 1;
}
