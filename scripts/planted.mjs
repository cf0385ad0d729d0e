#!/usr/bin/env node
// Shows that the sanitizers see what they are there for: plants one bug of each class in a copy of
// the tree, builds it, runs the check that has to find it, and prints what was found. The copy lies
// in build-planted and is built again only where it changed.   planted.mjs [part of a name]
import { spawnSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { ensureHeaders, flavours, needCompiler } from "./cmake.mjs";
import { runVitest } from "./sanitized.mjs";
import { fail, findProgram, jobs, root, run } from "./steps.mjs";

const tree = join(root, "build-planted", "tree");

const bugs = [
  {
    name: "heap use after free",
    file: "native/core/proto/http1/session_body.cpp",
    text: "      reading.body.grow(static_cast<size_t>(std::max(room, size)));\n",
    bug:
      "      const char* kept = reading.body.data();\n" +
      "      reading.body.grow(static_cast<size_t>(std::max(room, size)));\n" +
      "      if (reading.size > 0) std::memcpy(reading.body.data(), kept, reading.size);\n",
    report: /AddressSanitizer: heap-use-after-free/,
    checks: [core("asan", "every case"), vitest("asan", "test/bodies.test.ts")],
  },
  {
    name: "read past the end in the parser",
    file: "native/core/proto/http1/head.cpp",
    text: "    if (at + 1 == end) return Outcome::NeedMore;\n    if (at[1] != '\\n')",
    bug: "    if (at[1] != '\\n')",
    report: /AddressSanitizer: heap-buffer-overflow/,
    checks: [core("asan", "a head is served"), replay("asan", "head")],
  },
  {
    name: "signed overflow",
    file: "native/core/proto/http1/chunked.cpp",
    text: "left_ = left_ << 4 | static_cast<uint64_t>(digit);",
    bug: "left_ = static_cast<uint64_t>(static_cast<int64_t>(left_) * 16 + digit);",
    report: /runtime error: signed integer overflow/,
    checks: [core("asan", "sizes near the end"), replay("asan", "chunked")],
  },
  {
    name: "misaligned access",
    file: "native/core/lane/lane.cpp",
    text: "    events.pop(event->size);",
    bug:
      "    events.pop(event->size);\n" +
      "    char shifted[sizeof(Event) + 1] = {};\n" +
      "    if (reinterpret_cast<const Event*>(shifted + 1)->size != 0) return;",
    report: /runtime error: member access within misaligned address/,
    checks: [core("asan", "a lane frees the blobs")],
  },
  {
    name: "leak in the core",
    file: "native/core/lane/lane.cpp",
    text: "reinterpret_cast<char*>(event->blob), event->body_length);",
    bug:
      "reinterpret_cast<char*>(event->blob), event->body_length);\n" +
      "      (void)dropped.release();",
    report: /LeakSanitizer: detected memory leaks.*native\/core\//s,
    checks: [core("asan", "a lane frees the blobs")],
  },
  {
    name: "leak in the addon",
    file: "native/addon/bridge.cpp",
    text: "return Napi::Buffer<char>::Copy(env, body.data(), size);",
    bug: "return Napi::Buffer<char>::Copy(env, body.release(), size);",
    report: /LeakSanitizer: detected memory leaks.*native\/core\//s,
    checks: [vitest("asan", "test/bodies.test.ts")],
  },
  {
    name: "data race in a ring",
    file: "native/core/lane/ring.h",
    text: "shared_tail_.store(tail_, std::memory_order_release);",
    bug: "shared_tail_.store(tail_, std::memory_order_relaxed);",
    report: /ThreadSanitizer: data race/,
    checks: [core("tsan", "two threads exchange"), vitest("tsan", "test/http.test.ts")],
  },
  {
    name: "lock not taken",
    file: "native/core/server/listeners.cpp",
    text:
      "  Registry& shared = registry();\n  std::lock_guard lock(shared.mutex);\n" +
      "  auto found = share.key_",
    bug: "  Registry& shared = registry();\n  auto found = share.key_",
    report: /ThreadSanitizer: data race/,
    checks: [vitest("tsan", "test/workers.test.ts", "-t", "two workers serve one port")],
  },
  {
    name: "locks in opposite orders",
    file: "native/core/server/listeners.cpp",
    text: "ListenerShare::~ListenerShare() { release(); }",
    bug:
      "ListenerShare::~ListenerShare() {\n" +
      "  static std::mutex& one = *new std::mutex();\n" +
      "  static std::mutex& other = *new std::mutex();\n" +
      "  {\n" +
      "    std::lock_guard first(one);\n" +
      "    std::lock_guard second(other);\n" +
      "  }\n" +
      "  {\n" +
      "    std::lock_guard first(other);\n" +
      "    std::lock_guard second(one);\n" +
      "  }\n" +
      "  release();\n" +
      "}",
    report: /ThreadSanitizer: lock-order-inversion/,
    checks: [core("tsan", "an inline server"), vitest("tsan", "test/http.test.ts")],
  },
];

main(process.argv[2] ?? "");

function main(wanted) {
  needCompiler();
  ensureHeaders();
  copyTree();
  for (const bug of bugs) plant(bug);
  const found = bugs.filter(({ name }) => name.includes(wanted)).flatMap(tryBug);
  const missed = found.filter((isFound) => !isFound).length;
  process.stdout.write(`${found.length - missed} passed, ${missed} failed\n`);
  if (found.length === 0) fail(`no planted bug is named "${wanted}"`);
  if (missed > 0) process.exit(1);
}

/** What CMake and the tests of the core need; a file that did not change keeps its time. */
function copyTree() {
  mkdirSync(tree, { recursive: true });
  const differs = (from, to) =>
    statSync(from).isDirectory() || !existsSync(to) || !readFileSync(from).equals(readFileSync(to));
  for (const name of ["CMakeLists.txt", "package.json", "native", "scripts", "test"])
    cpSync(join(root, name), join(tree, name), { recursive: true, filter: differs });
  for (const file of readdirSync(join(tree, "native"), { recursive: true }))
    if (!existsSync(join(root, "native", file))) rmSync(join(tree, "native", file));
  if (!existsSync(join(tree, "node_modules")))
    symlinkSync(join(root, "node_modules"), join(tree, "node_modules"));
}

/** The text of a bug's file before and after; a text that is not there once ends everything. */
function plant({ file, text, bug }) {
  const before = readFileSync(join(tree, file), "utf8");
  if (before.split(text).length !== 2) fail(`planted.mjs: ${file} has not once: ${text}`);
  return { before, after: before.replace(text, () => bug) };
}

/** For each of its checks, whether it found the bug. */
function tryBug(planted) {
  const { name, file, report, checks } = planted;
  const path = join(tree, file);
  const { before, after } = plant(planted);
  writeFileSync(path, after);
  try {
    return checks.map(({ tool, find }) => {
      const isFound = find(report);
      const columns = [name.padEnd(31), file.padEnd(44), tool.padEnd(48)];
      process.stdout.write(`${columns.join(" ")} ${isFound ? "found" : "NOT FOUND"}\n`);
      return isFound;
    });
  } finally {
    writeFileSync(path, before);
  }
}

function build(kind, target) {
  const folder = `build-${kind}`;
  const generator = findProgram("ninja") && !existsSync(join(tree, folder)) ? ["-G", "Ninja"] : [];
  const settings = [...flavours[kind].settings, "-DMILLRACE_ADDON=ON", "--log-level=WARNING"];
  const options = { cwd: tree, stdio: ["ignore", "ignore", "inherit"] };
  run("cmake", ["-B", folder, ...generator, "-DCMAKE_BUILD_TYPE=Debug", ...settings], options);
  const words = ["--build", folder, "--parallel", String(jobs), "--target", target];
  run("cmake", words, options);
  return join(tree, folder);
}

/** The tests of the core whose title holds these words. */
function core(kind, title) {
  return program(kind, "millrace_tests", [title], `${kind}: millrace_tests "${title}"`);
}

/** A fuzz target over its corpus. */
function replay(kind, target) {
  const words = [`native/fuzz/corpus/${target}`];
  return program(kind, `${target}_replay`, words, `${kind}: ${target}_replay`);
}

function program(kind, target, words, tool) {
  const find = (report) => {
    const folder = build(kind, target);
    const env = { ...process.env, UBSAN_OPTIONS: "print_stacktrace=1" };
    const { status, stdout, stderr } = spawnSync(join(folder, target), words, {
      cwd: tree,
      encoding: "utf8",
      env,
    });
    return status !== 0 && report.test(stdout + stderr);
  };
  return { tool, find };
}

/** Test files on Node, with what their workers and children report. */
function vitest(kind, ...words) {
  const find = (report) => {
    const folder = build(kind, "millrace");
    const { ours } = runVitest(kind, join(folder, "millrace.node"), words, "ignore");
    return ours.some((text) => report.test(text));
  };
  return { tool: `${kind}: vitest ${words.join(" ")}`, find };
}
