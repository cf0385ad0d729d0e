// What native.mjs and fuzz.mjs build with: flavours, their folders, the words for cmake.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { findNodeDir, includeFolders } from "./headers.mjs";
import { dropMovedBuild, fail, findProgram, jobs, root, run, tool } from "./steps.mjs";

export const flavours = {
  debug: { folder: "build-core", type: "Debug", settings: [] },
  release: { folder: "build-release", type: "Release", settings: [] },
  asan: {
    folder: "build-asan",
    type: "Debug",
    settings: ["-DMILLRACE_SANITIZE=address,undefined"],
  },
  tsan: { folder: "build-tsan", type: "Debug", settings: ["-DMILLRACE_SANITIZE=thread"] },
};

export function cmake(flavour, settings, target) {
  configure(flavour, settings);
  const words = ["--build", flavour.folder, "--parallel", String(jobs)];
  run("cmake", target === undefined ? words : [...words, "--target", target]);
}

export function configure(flavour, settings) {
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

export function flavourOf(name) {
  if (!Object.hasOwn(flavours, name))
    fail(`"${name}" is not one of ${Object.keys(flavours).join(", ")}`);
  return flavours[name];
}

/** Builds tests or addon with a sanitizer, in one folder, so that the core is built once. */
export function cmakeSanitized(flavour, target) {
  ensureHeaders();
  cmake(flavour, ["-DMILLRACE_ADDON=ON"], target);
}

/** Warnings are errors in CI only: a newer compiler of a user may have new ones. */
export function werror() {
  return Boolean(process.env["CI"]);
}

export function needCompiler() {
  if (findProgram("cmake") === undefined)
    fail("cmake (3.20 or newer) is needed; install it, for example with apt-get");
  if (findProgram(process.env["CXX"] ?? "c++", "g++", "clang++") === undefined)
    fail("a C++20 compiler is needed");
}

/** Node's own headers come with most installations of it; node-gyp fetches them for the others. */
export function ensureHeaders() {
  if (findNodeDir() === undefined)
    run(process.execPath, [tool("node-gyp/bin/node-gyp.js"), "install"]);
  try {
    includeFolders();
  } catch (error) {
    fail(error.message);
  }
}
