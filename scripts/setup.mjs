#!/usr/bin/env node
// Makes node_modules match package-lock.json, so that one command works on a fresh clone. Does
// nothing when it does.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fail, root, run } from "./steps.mjs";

const [major, minor] = process.versions.node.split(".").map(Number);
if (major < 20 || (major === 20 && minor < 19)) {
  fail(`developing millrace needs Node 20.19 or newer, this is ${process.versions.node}`);
}
if (process.platform === "win32") fail("millrace runs on Linux and macOS; on Windows use WSL 2");
if (!isCurrent()) run("npm", ["ci", "--ignore-scripts", "--no-audit", "--no-fund"]);

/** Compares what is wanted with the list that npm keeps of what is installed. */
function isCurrent() {
  const installedList = join(root, "node_modules", ".package-lock.json");
  if (!existsSync(installedList)) return false;
  const installed = JSON.parse(readFileSync(installedList, "utf8")).packages;
  const wanted = JSON.parse(readFileSync(join(root, "package-lock.json"), "utf8")).packages;
  return Object.entries(wanted)
    .filter(([path, entry]) => path !== "" && !(entry.optional || entry.devOptional || entry.peer))
    .every(
      ([path, entry]) => installed[path]?.version === entry.version && existsSync(join(root, path)),
    );
}
