#!/usr/bin/env node
// Runs the targets of native/fuzz with libFuzzer under ASan and UBSan.
//   fuzz.mjs <target> [seconds]            one target, its output on ours
//   fuzz.mjs smoke [seconds]               every target, two at a time, a line each, always from
//                                          the same seed: what fails once fails again
//   fuzz.mjs merge <target> [folders]      what the runs found, reduced, into native/fuzz/corpus
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { cmake, flavours } from "./cmake.mjs";
import { fail, findProgram, jobs, root, run } from "./steps.mjs";

const USAGE = "usage: fuzz.mjs <target> [seconds] | smoke [seconds] | merge <target> [folders]";
const FLAVOUR = { ...flavours.asan, folder: "build-fuzz" };
const SOURCES = join(root, "native", "fuzz");
const WORDS = join(SOURCES, "http.dict");
const SEED_BYTES_MAX = 4096;
const SEEDS_MAX = 150;
const HASH_NAME = /^[0-9a-f]{40}$/;
// Their inputs are programs, not text: words do not help, and a short one says all.
const PROGRAMS = {
  commands: ["-max_len=1024", "-len_control=10"],
  lane: ["-max_len=2048", "-len_control=10"],
  topics: ["-max_len=2048", "-len_control=10"],
  ws_deflate: ["-max_len=4096"],
};

const [verb, ...words] = process.argv.slice(2);
if (verb === "smoke") await smoke(words);
else if (verb === "merge") merge(words);
else fuzz(verb, words[0]);

function fuzz(target, seconds = "60") {
  build(checked(target));
  run(programOf(target), wordsFor(target, secondsOf(seconds)));
}

async function smoke([seconds = process.env["FUZZ_SECONDS"] ?? "60"]) {
  const limit = secondsOf(seconds);
  const targets = allTargets();
  build(undefined);
  const waiting = [...targets];
  const results = [];
  const runner = async () => {
    for (let target = waiting.shift(); target !== undefined; target = waiting.shift())
      results.push(await smokeOne(target, limit));
  };
  await Promise.all(Array.from({ length: Math.min(2, jobs) }, runner));
  const failed = results.filter((ok) => !ok).length;
  console.log(`${targets.length - failed} passed, ${failed} failed`);
  if (failed > 0) process.exitCode = 1;
}

function smokeOne(target, seconds) {
  const chunks = [];
  const program = programOf(target);
  return new Promise((resolve) => {
    // -timeout ends one input; this ends a fuzzer that hangs beside it.
    const timeout = (seconds + 120) * 1000;
    const given = ["-seed=1", ...wordsFor(target, seconds)];
    const child = spawn(program, given, { cwd: root, timeout });
    child.stdout.on("data", (chunk) => chunks.push(chunk));
    child.stderr.on("data", (chunk) => chunks.push(chunk));
    child.on("error", (error) => chunks.push(Buffer.from(`${error.message}\n`)));
    child.on("close", (code, signal) => {
      const text = Buffer.concat(chunks).toString("latin1");
      writeFileSync(join(root, FLAVOUR.folder, `smoke-${target}.log`), text, "latin1");
      report(target, text, code === 0 ? "ok" : `FAILED (${signal ?? code})`);
      resolve(code === 0);
    });
  });
}

function report(target, text, result) {
  const find = (pattern) => text.match(pattern)?.[1] ?? "?";
  const runs = find(/^stat::number_of_executed_units:\s*(\d+)/m);
  const added = find(/^stat::new_units_added:\s*(\d+)/m);
  const corpus =
    text
      .match(/ corp: \d+/g)
      ?.at(-1)
      ?.slice(7) ?? "?";
  console.log(`${target}: ${runs} runs, ${added} new units, ${corpus} in the corpus, ${result}`);
  if (result === "ok") return;
  const lines = text.trimEnd().split("\n");
  const first = lines.findIndex((line) => /broken invariant|ERROR: |runtime error/.test(line));
  for (const line of lines.slice(Math.max(first, 0)).slice(0, 30)) console.log(`  ${line}`);
  const crash = text.match(/Test unit written to (\S+)/)?.[1];
  if (crash !== undefined) console.log(`  replay: ${FLAVOUR.folder}/fuzz_${target} ${crash}`);
  console.log(`  log: ${FLAVOUR.folder}/smoke-${target}.log`);
}

// Seeds that somebody has named stay; those named by their content are chosen anew.
function merge([target, ...folders]) {
  build(checked(target));
  const seeds = join(SOURCES, "corpus", target);
  const scratch = join(root, FLAVOUR.folder, "merge");
  const [pool, chosen] = [join(scratch, "pool"), join(scratch, "chosen")];
  rmSync(scratch, { recursive: true, force: true });
  for (const folder of [seeds, pool, chosen]) mkdirSync(folder, { recursive: true });
  for (const folder of [seeds, join(root, FLAVOUR.folder, "corpus", target), ...folders])
    copySmall(folder, pool);
  const named = readdirSync(seeds).filter((name) => !HASH_NAME.test(name));
  for (const name of named) copyFileSync(join(seeds, name), join(chosen, name));
  // By the edges they reach and not by how often, which would keep ten times as many.
  const how = ["-set_cover_merge=1", "-use_counters=0", "-timeout=10", "-rss_limit_mb=4096"];
  run(programOf(target), [...how, chosen, pool], { stdio: "ignore" });
  const found = readdirSync(chosen).filter((name) => !named.includes(name));
  const size = (name) => statSync(join(chosen, name)).size;
  found.sort((a, b) => size(a) - size(b));
  const kept = found.slice(0, Math.max(0, SEEDS_MAX - named.length));
  for (const name of readdirSync(seeds)) if (HASH_NAME.test(name)) rmSync(join(seeds, name));
  for (const name of kept) copyFileSync(join(chosen, name), join(seeds, name));
  const bytes = readdirSync(seeds).reduce((sum, name) => sum + statSync(join(seeds, name)).size, 0);
  const from = readdirSync(pool).length;
  console.log(
    `${target}: ${named.length} named, ${kept.length} of ${from} found, ${bytes} bytes, ` +
      `${found.length - kept.length} left out as too many`,
  );
}

function copySmall(from, to) {
  if (!existsSync(from)) return;
  for (const name of readdirSync(from)) {
    const file = join(from, name);
    if (statSync(file).size > SEED_BYTES_MAX) continue;
    const bytes = readFileSync(file);
    writeFileSync(join(to, createHash("sha1").update(bytes).digest("hex")), bytes);
  }
}

// ── what all of them need ──

function build(target) {
  const compiler = findProgram("clang++-14", "clang++", "clang++-15", "clang++-16");
  if (compiler === undefined) fail("fuzzing needs clang++ with libFuzzer");
  const settings = [`-DCMAKE_CXX_COMPILER=${compiler}`, "-DMILLRACE_FUZZ=ON"];
  const parts = ["-DMILLRACE_TESTS=OFF", "-DMILLRACE_ADDON=OFF"];
  cmake(FLAVOUR, [...settings, ...parts], target === undefined ? undefined : `fuzz_${target}`);
}

function wordsFor(target, seconds) {
  const found = join(root, FLAVOUR.folder, "corpus", target);
  const seeds = join(SOURCES, "corpus", target);
  mkdirSync(found, { recursive: true });
  const shape = PROGRAMS[target] ?? ["-max_len=8192", `-dict=${WORDS}`];
  return [
    ...[`-max_total_time=${seconds}`, "-timeout=10", "-print_final_stats=1"],
    ...[`-artifact_prefix=${FLAVOUR.folder}/${target}-`, ...shape, found],
    ...(existsSync(seeds) ? [seeds] : []),
  ];
}

function programOf(target) {
  return join(root, FLAVOUR.folder, `fuzz_${target}`);
}

function allTargets() {
  const files = readdirSync(SOURCES).filter((file) => file.endsWith(".cpp"));
  return files.map((file) => file.slice(0, -4)).filter((name) => name !== "replay");
}

function checked(target) {
  if (target === undefined) fail(USAGE);
  if (!allTargets().includes(target))
    fail(`"${target}" is not one of ${allTargets().join(", ")}; ${USAGE}`);
  return target;
}

function secondsOf(text) {
  if (!/^[1-9]\d{0,5}$/.test(text)) fail(`the time is in whole seconds, got "${text}"`);
  return Number(text);
}
