#!/usr/bin/env node
// Builds and runs what is compiled: one verb per use, each in a build folder of its own.
//   ts [--clean] · addon · core [debug|release|asan|tsan] · benches
//   test [debug|asan|tsan] [ctest's words]        (or MILLRACE_TEST_FLAVOUR says which)
//   vitest-asan [files] · vitest-tsan [files]
//   clang-tidy [files]        (fuzzing: fuzz.mjs)
import { rmSync } from "node:fs";
import { join } from "node:path";
import {
  cmake,
  cmakeSanitized,
  configure,
  ensureHeaders,
  flavourOf,
  flavours,
  needCompiler,
  werror,
} from "./cmake.mjs";
import { vitestUnder } from "./sanitized.mjs";
import { readTable, select } from "./sources.mjs";
import { dropMovedBuild, fail, findProgram, jobs, root, run, tool } from "./steps.mjs";

const verbs = {
  ts,
  addon,
  core,
  benches,
  test,
  "vitest-asan": (words) => vitestUnder("asan", words),
  "vitest-tsan": (words) => vitestUnder("tsan", words),
  "clang-tidy": clangTidy,
};
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

function benches() {
  cmake(flavours.release, ["-DMILLRACE_ADDON=OFF"], "benches");
}

function test(words) {
  const named = Object.hasOwn(flavours, words[0] ?? "");
  const flavour = flavourOf(
    named ? words.shift() : (process.env["MILLRACE_TEST_FLAVOUR"] ?? "debug"),
  );
  if (flavour === flavours.asan || flavour === flavours.tsan) cmakeSanitized(flavour, "tests");
  else cmake(flavour, ["-DMILLRACE_ADDON=OFF"]);
  const how = ["--verbose", "--parallel", String(jobs)];
  run("ctest", ["--test-dir", flavour.folder, ...how, ...words], {
    env: { ...process.env, UBSAN_OPTIONS: "halt_on_error=1:print_stacktrace=1" },
  });
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
