#!/usr/bin/env node
// Fuzzes a target of native/fuzz with libFuzzer under ASan and UBSan:  fuzz.mjs <target> [seconds]
import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { cmake, flavours } from "./cmake.mjs";
import { fail, findProgram, root, run } from "./steps.mjs";

fuzz(process.argv.slice(2));

function fuzz([target, seconds = "60"]) {
  const compiler = findProgram("clang++-14", "clang++", "clang++-15", "clang++-16");
  if (target === undefined) fail("usage: fuzz.mjs <target> [seconds]");
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
