#!/usr/bin/env node
// Formats what we write: TypeScript, scripts and JSON with biome, C++ with clang-format 14 where it
// is installed. --check writes nothing and fails when something is not formatted.
import { capture, findProgram, root, run, tool } from "./steps.mjs";

const check = process.argv.includes("--check");
run(process.execPath, [tool("@biomejs/biome/bin/biome"), "format", ...(check ? [] : ["--write"])]);

// Versions differ in what they find beautiful, so one is named.
const program = [findProgram("clang-format-14"), findProgram("clang-format")].find(
  (one) => one !== undefined && capture(one, ["--version"])?.includes("version 14."),
);
if (program === undefined) {
  process.stdout.write("clang-format 14 is not installed: C++ was left as it is\n");
} else {
  const listed = capture(
    "git",
    ["ls-files", "--cached", "--others", "--exclude-standard", "native"],
    { cwd: root },
  );
  const files = (listed ?? "").split("\n").filter((file) => /\.(h|cpp)$/.test(file));
  if (files.length > 0) run(program, [...(check ? ["--dry-run", "-Werror"] : ["-i"]), ...files]);
}
