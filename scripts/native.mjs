#!/usr/bin/env node
// Builds and runs what is compiled: one verb per use, each in a build folder of its own.
//   ts [--clean] · addon · core [debug|release|asan|tsan] · test [debug|asan|tsan] [ctest's words]
//   vitest-asan [files] · fuzz <target> [seconds] · clang-tidy [files]
import { existsSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { findNodeDir, includeFolders } from "./headers.mjs";
import { readTable, select } from "./sources.mjs";
import { capture, dropMovedBuild, fail, findProgram, jobs, root, run, tool } from "./steps.mjs";

const flavours = {
  debug: { folder: "build-core", type: "Debug", settings: [] },
  release: { folder: "build-release", type: "Release", settings: [] },
  asan: {
    folder: "build-asan",
    type: "Debug",
    settings: ["-DMILLRACE_SANITIZE=address,undefined"],
  },
  tsan: { folder: "build-tsan", type: "Debug", settings: ["-DMILLRACE_SANITIZE=thread"] },
};

const verbs = { ts, addon, core, test, "vitest-asan": vitestAsan, fuzz, "clang-tidy": clangTidy };
const [verb, ...words] = process.argv.slice(2);
if (!Object.hasOwn(verbs, verb ?? "")) fail(`usage: native.mjs ${Object.keys(verbs).join("|")}`);
verbs[verb](words);

function ts(words) {
  if (words.includes("--clean")) rmSync(join(root, "dist"), { recursive: true, force: true });
  run(process.execPath, [tool("typescript/bin/tsc"), "-p", "tsconfig.build.json"]);
}

function addon() {
  needCompiler();
  ensureHeaders();
  dropMovedBuild(join(root, "build"));
  run(process.execPath, [
    tool("cmake-js/bin/cmake-js"),
    "build",
    ...["--target", "millrace", "--parallel", String(jobs), "--log-level", "warn"],
    ...(werror() ? ["--CDMILLRACE_WERROR=ON"] : []),
  ]);
}

function core(words) {
  cmake(flavourOf(words[0] ?? "debug"), ["-DMILLRACE_ADDON=OFF"]);
}

function test(words) {
  const named = Object.hasOwn(flavours, words[0] ?? "");
  const flavour = flavourOf(named ? words.shift() : "debug");
  cmake(flavour, ["-DMILLRACE_ADDON=OFF"]);
  run("ctest", ["--test-dir", flavour.folder, "--verbose", ...words], {
    env: { ...process.env, UBSAN_OPTIONS: "halt_on_error=1:print_stacktrace=1" },
  });
}

function vitestAsan(words) {
  ensureHeaders();
  const flavour = { ...flavours.asan, folder: "build-asan-addon" };
  cmake(flavour, ["-DMILLRACE_ADDON=ON", "-DMILLRACE_TESTS=OFF"], "millrace");
  const library = capture("g++", ["-print-file-name=libasan.so"])?.trim();
  if (!library?.startsWith("/")) fail("vitest-asan needs g++ with libasan");
  run(process.execPath, [tool("vitest/vitest.mjs"), "run", ...words], {
    env: {
      ...process.env,
      MILLRACE_ADDON: join(root, flavour.folder, "millrace.node"),
      MILLRACE_SANITIZED: "1",
      LD_PRELOAD: library,
      LSAN_OPTIONS: `suppressions=${join(root, "scripts", "lsan.supp")}:print_suppressions=0`,
      UBSAN_OPTIONS: "halt_on_error=1:print_stacktrace=1",
    },
  });
}

function fuzz([target, seconds = "60"]) {
  const compiler = findProgram("clang++-14", "clang++", "clang++-15", "clang++-16");
  if (target === undefined) fail("usage: native.mjs fuzz <target> [seconds]");
  if (!existsSync(join(root, "native", "fuzz", `${target}.cpp`)))
    fail(`native/fuzz/${target}.cpp does not exist`);
  if (compiler === undefined) fail("fuzzing needs clang++ with libFuzzer");
  const flavour = { ...flavours.asan, folder: "build-fuzz" };
  const settings = [
    `-DCMAKE_CXX_COMPILER=${compiler}`,
    "-DMILLRACE_FUZZ=ON",
    "-DMILLRACE_TESTS=OFF",
  ];
  cmake(flavour, [...settings, "-DMILLRACE_ADDON=OFF"], `fuzz_${target}`);
  const found = join(root, flavour.folder, "corpus", target);
  const seeds = join(root, "native", "fuzz", "corpus", target);
  const words = join(root, "native", "fuzz", "http.dict");
  mkdirSync(found, { recursive: true });
  run(join(root, flavour.folder, `fuzz_${target}`), [
    `-max_total_time=${seconds}`,
    ...[
      "-max_len=8192",
      "-timeout=10",
      "-print_final_stats=1",
      `-artifact_prefix=${flavour.folder}/`,
    ],
    ...(existsSync(words) ? [`-dict=${words}`] : []),
    found,
    ...(existsSync(seeds) ? [seeds] : []),
  ]);
}

function clangTidy(words) {
  const program = findProgram("clang-tidy", "clang-tidy-14");
  if (program === undefined) fail("lint:native needs clang-tidy");
  const flavour = { ...flavours.debug, folder: "build-tidy" };
  ensureHeaders();
  configure(flavour, ["-DMILLRACE_ADDON=ON"]);
  const files =
    words.length > 0 ? words : select(readTable("native/sources.txt"), ["core", "addon"]);
  run(program, ["-p", flavour.folder, "--quiet", "--warnings-as-errors=*", ...files]);
}

function cmake(flavour, settings, target) {
  configure(flavour, settings);
  const words = ["--build", flavour.folder, "--parallel", String(jobs)];
  run("cmake", target === undefined ? words : [...words, "--target", target]);
}

function configure(flavour, settings) {
  needCompiler();
  const folder = join(root, flavour.folder);
  dropMovedBuild(folder);
  const generator =
    existsSync(join(folder, "CMakeCache.txt")) || !findProgram("ninja") ? [] : ["-G", "Ninja"];
  run("cmake", [
    ...["-S", ".", "-B", flavour.folder, ...generator, `-DCMAKE_BUILD_TYPE=${flavour.type}`],
    ...[`-DMILLRACE_WERROR=${werror() ? "ON" : "OFF"}`, ...flavour.settings, ...settings],
    ...["--log-level=WARNING"],
  ]);
}

function flavourOf(name) {
  if (!Object.hasOwn(flavours, name))
    fail(`"${name}" is not one of ${Object.keys(flavours).join(", ")}`);
  return flavours[name];
}

/** Warnings are errors in CI only: a newer compiler of a user may have new ones. */
function werror() {
  return Boolean(process.env["CI"]);
}

function needCompiler() {
  if (findProgram("cmake") === undefined)
    fail("cmake (3.20 or newer) is needed; install it, for example with apt-get");
  if (findProgram(process.env["CXX"] ?? "c++", "g++", "clang++") === undefined)
    fail("a C++20 compiler is needed");
}

/** Node's own headers come with most installations of it; node-gyp fetches them for the others. */
function ensureHeaders() {
  if (findNodeDir() === undefined)
    run(process.execPath, [tool("node-gyp/bin/node-gyp.js"), "install"]);
  try {
    includeFolders();
  } catch (error) {
    fail(error.message);
  }
}
