#!/usr/bin/env node
// Checks what lies in prebuilds/: names, that each file is an addon for its platform, and what it
// asks of the system. --release also wants all six files, and none newer than what Node itself
// promises (glibc 2.28, libstdc++ of GCC 8).
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { capture, fail, findProgram, root } from "./steps.mjs";

const release = process.argv.includes("--release");
const floors = { GLIBC: [2, 28], GLIBCXX: [3, 4, 25], CXXABI: [1, 3, 11] };
const bytes_max = 2 * 1024 * 1024;
const wanted = [
  "linux-x64/millrace.glibc.node",
  "linux-x64/millrace.musl.node",
  "linux-arm64/millrace.glibc.node",
  "linux-arm64/millrace.musl.node",
  "darwin-x64/millrace.node",
  "darwin-arm64/millrace.node",
];

const folder = join(root, "prebuilds");
const found = existsSync(folder)
  ? readdirSync(folder, { recursive: true }).filter((name) => statSync(join(folder, name)).isFile())
  : [];
const problems = found
  .filter((name) => name !== "README.md" && !wanted.includes(name))
  .map((name) => `${name} is not expected`);
const present = wanted.filter((name) => found.includes(name));
if (release)
  problems.push(
    ...wanted.filter((name) => !present.includes(name)).map((name) => `${name} is missing`),
  );
if (present.length === 0) problems.push("prebuilds/ is empty");
for (const name of present) checkFile(name);
for (const problem of problems) process.stderr.write(`prebuilds: ${problem}\n`);
if (problems.length > 0)
  fail(`${problems.length} problem${problems.length === 1 ? "" : "s"} in prebuilds/`);

function checkFile(name) {
  const content = readFileSync(join(folder, name));
  if (content.length > bytes_max)
    problems.push(`${name} has ${content.length} bytes; was it stripped?`);
  if (!content.includes("napi_register_module_v1"))
    problems.push(`${name} has no entry point of an addon`);
  if (name.startsWith("linux-")) checkElf(name, content);
  else if (content.readUInt32LE(0) !== 0xfeedfacf)
    problems.push(`${name} is not a 64-bit Mach-O file`);
  process.stdout.write(`prebuilds: ${name}, ${content.length} bytes\n`);
}

function checkElf(name, content) {
  if (content.toString("latin1", 0, 4) !== "\x7fELF")
    return problems.push(`${name} is not an ELF file`);
  const machine = name.includes("arm64") ? 183 : 62;
  if (content.readUInt16LE(18) !== machine) problems.push(`${name} is for another processor`);
  const readelf = findProgram("readelf");
  if (readelf === undefined)
    return process.stdout.write(`prebuilds: ${name}: versions unchecked, readelf is missing\n`);
  const versions = capture(readelf, ["--version-info", "--wide", join(folder, name)]) ?? "";
  for (const [kind, floor] of Object.entries(floors)) checkFloor(name, versions, kind, floor);
  if (name.includes(".musl.") && /Name: GLIBC_/.test(versions))
    problems.push(`${name} asks for glibc`);
  const dynamic = capture(readelf, ["--dynamic", "--wide", join(folder, name)]) ?? "";
  if (!/NODELETE/.test(dynamic))
    problems.push(`${name} lacks -z nodelete: its threads would outlive its code`);
}

function checkFloor(name, versions, kind, floor) {
  const all = [...versions.matchAll(new RegExp(`Name: ${kind}_([\\d.]+)`, "g"))];
  const newest = all
    .map((match) => match[1].split(".").map(Number))
    .sort(compare)
    .at(-1);
  if (newest === undefined || compare(newest, floor) <= 0) return;
  const text = `${name} needs ${kind}_${newest.join(".")}, newer than ${floor.join(".")}`;
  if (release) problems.push(text);
  else process.stdout.write(`prebuilds: ${text}; fine here, not for a release\n`);
}

function compare(a, b) {
  for (let at = 0; at < Math.max(a.length, b.length); at++) {
    const difference = (a[at] ?? 0) - (b[at] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}
