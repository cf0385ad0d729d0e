#!/usr/bin/env node
// Makes prebuilds/<platform>-<arch>/millrace[.<libc>].node with prebuildify, then checks the file.
// Works in a folder of its own, because node-gyp empties build/, which is cmake-js's.
import { cpSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { findNodeDir } from "./headers.mjs";
import { root, run, tool } from "./steps.mjs";

const stage = join(root, "build-prebuild");
rmSync(stage, { recursive: true, force: true });
mkdirSync(join(stage, "native"), { recursive: true });
const inputs = ["package.json", "binding.gyp", "scripts/sources.mjs"];
for (const name of [
  ...inputs,
  "native/sources.txt",
  "native/flags.txt",
  "native/core",
  "native/addon",
]) {
  cpSync(join(root, name), join(stage, name), { recursive: true });
}

const nodeDir = findNodeDir();
process.report.excludeNetwork = true;
const musl = process.platform === "linux" && !process.report.getReport().header.glibcVersionRuntime;
run(
  process.execPath,
  [
    tool("prebuildify/bin.js"),
    ...["--cwd", stage, "--out", root, "--name", "millrace", "--napi", "--strip"],
    ...["--target", process.versions.node],
    ...(process.platform === "linux" ? ["--tag-libc"] : []),
    ...process.argv.slice(2),
  ],
  {
    env: {
      ...process.env,
      PREBUILD_NODE_GYP: tool(".bin/node-gyp"),
      // Not in flags.txt: a user's compiler may lack the linker plugin that it needs.
      CXXFLAGS: `${process.env["CXXFLAGS"] ?? ""} -flto`,
      LDFLAGS: `${process.env["LDFLAGS"] ?? ""} -flto`,
      ...(nodeDir === undefined ? {} : { npm_config_nodedir: nodeDir }),
      ...(musl ? { PREBUILD_LIBC: "musl" } : {}),
    },
  },
);
rmSync(stage, { recursive: true, force: true });
run(process.execPath, [join("scripts", "check-prebuilds.mjs")]);
