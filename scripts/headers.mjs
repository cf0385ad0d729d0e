#!/usr/bin/env node
// Finds the headers that the addon needs: node_api.h, napi.h and Node's own uv.h. Prints them
// joined by ";". Downloads nothing; scripts/native.mjs asks node-gyp for the headers when Node came
// without them.
import { existsSync, realpathSync } from "node:fs";
import { createRequire } from "node:module";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const require = createRequire(import.meta.url);

/** Where Node's headers may lie, best first. */
function candidates() {
  const version = process.versions.node;
  const caches =
    process.platform === "darwin"
      ? join(homedir(), "Library", "Caches")
      : (process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"));
  const folders = [
    process.env["npm_config_nodedir"],
    resolve(process.execPath, "..", ".."),
    resolve(realpathSync(process.execPath), "..", ".."),
    process.env["npm_config_devdir"] && join(process.env["npm_config_devdir"], version),
    join(caches, "node-gyp", version),
  ];
  return [...new Set(folders)].filter((folder) => folder !== undefined && folder !== "");
}

/**
 * The folder that holds include/node/uv.h, as node-gyp's nodedir wants it; undefined when there is
 * none.
 */
export function findNodeDir() {
  return candidates().find((folder) => existsSync(join(folder, "include", "node", "uv.h")));
}

/**
 * Include folders in the order in which they must be searched. Throws with the folders it looked
 * in.
 */
export function includeFolders() {
  const nodeDir = findNodeDir();
  if (nodeDir === undefined) {
    const looked = candidates().map((folder) => `  ${join(folder, "include", "node")}`);
    throw new Error(
      `uv.h, one of Node's own headers, was not found; looked in\n${looked.join("\n")}\n` +
        `run "npx node-gyp install" to fetch the headers of Node ${process.versions.node}, ` +
        "or set npm_config_nodedir to a folder that holds include/node/uv.h",
    );
  }
  const folders = [resolve(require("node-addon-api").include_dir)];
  try {
    folders.unshift(resolve(require("node-api-headers").include_dir));
  } catch {
    // An installed package has no node-api-headers; Node's own node_api.h does as well.
  }
  return [...folders, join(nodeDir, "include", "node")];
}

if (process.argv[1] && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  try {
    process.stdout.write(includeFolders().join(";"));
  } catch (error) {
    process.stderr.write(`${error.message}\n`);
    process.exitCode = 1;
  }
}
