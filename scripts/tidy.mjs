#!/usr/bin/env node
// Checks the shape of the repository: layers, fences, the list of sources, sizes, generated files,
// changelog. Never writes. Rules that a compiler, biome or clang-format check better are not here.
import { readFileSync } from "node:fs";
import { dirname, join, posix } from "node:path";
import { fences, nativeLayers, scriptLayers, scriptOutside } from "./layers.mjs";
import { readTable } from "./sources.mjs";
import { capture, fail, root } from "./steps.mjs";

const lines_wall = 700;
const lines_wish = 300;
const columns_max = 100;
const generated = new Set([
  "src/native/tables.ts",
  "docs/errors.md",
  "docs/limits.md",
  "package-lock.json",
]);

const files = trackedFiles();
const texts = new Map();
const problems = [];
const notes = [];

for (const file of files.filter((name) => /^native\/.*\.(h|cpp)$/.test(name)))
  checkNativeImports(file);
for (const file of files.filter((name) => /^src\/.*\.ts$/.test(name))) checkScriptImports(file);
checkScriptCircles();
checkSourceList();
for (const file of files) checkText(file);
checkChangelog();
checkLock();
checkGenerated();

for (const note of notes) process.stdout.write(`note: ${note}\n`);
for (const problem of problems) process.stdout.write(`${problem}\n`);
if (problems.length > 0)
  fail(`tidy found ${problems.length} problem${problems.length === 1 ? "" : "s"}`);
process.stdout.write(`tidy: ${files.length} files checked\n`);

/** Everything that is or will be committed. */
function trackedFiles() {
  const listed = capture("git", ["ls-files", "--cached", "--others", "--exclude-standard"]);
  if (listed === undefined) fail("tidy needs git and a checkout");
  return listed.split("\n").filter((file) => file !== "" && text(file) !== undefined);
}

/** The text of a file; undefined for one that git lists but that is gone. */
function text(file) {
  try {
    return readFileSync(join(root, file), "utf8");
  } catch {
    return undefined;
  }
}

function textOf(file) {
  if (!texts.has(file)) texts.set(file, text(file));
  return texts.get(file);
}

function report(file, line, message) {
  problems.push(`${file}:${line}: ${message}`);
}

function folderOf(path, folders) {
  const fits = folders.filter((folder) => path === folder || path.startsWith(`${folder}/`));
  return fits.sort((a, b) => b.length - a.length)[0];
}

function checkNativeImports(file) {
  const path = file.slice("native/".length);
  const folder = folderOf(path, Object.keys(nativeLayers));
  if (folder === undefined) return report(file, 1, "stands in no folder of scripts/layers.mjs");
  for (const [index, line] of textOf(file).split("\n").entries()) {
    const ours = /^\s*#\s*include\s+"([^"]+)"/.exec(line)?.[1];
    const system = /^\s*#\s*include\s+<([^>]+)>/.exec(line)?.[1];
    if (ours !== undefined) checkLayer(file, index + 1, folder, ours);
    if (system !== undefined) checkFences(file, index + 1, path, system);
  }
}

function checkLayer(file, line, folder, imported) {
  if (!files.includes(`native/${imported}`)) {
    return report(file, line, `"${imported}" is no file below native/`);
  }
  const home = folderOf(imported, Object.keys(nativeLayers));
  const allowed = nativeLayers[folder].some((name) =>
    name.endsWith(".h")
      ? imported === name
      : home === name || (name === "core" && home.startsWith("core/")),
  );
  if (home !== folder && !allowed)
    report(file, line, `${folder} may not import "${imported}" (scripts/layers.mjs)`);
}

function checkFences(file, line, path, header) {
  for (const fence of fences.filter((one) => one.headers.test(header))) {
    if (folderOf(path, fence.folders) !== undefined) continue;
    const owners = fence.folders.length === 0 ? "nobody" : fence.folders.join(", ");
    report(file, line, `<${header}> belongs to ${owners} (scripts/layers.mjs)`);
  }
}

/** What a file imports; of types too, or only what is left of it at run time. */
function importsOf(file, withTypes) {
  const found = textOf(file).matchAll(
    /^(?:import|export)\b(?:[^"'`;=]*\bfrom)?\s*["']([^"']+)["']/gm,
  );
  const kept = [...found].filter(
    (match) => withTypes || !/^(import|export)\s+type\b/.test(match[0]),
  );
  return kept.map((match) => match[1]);
}

function checkScriptImports(file) {
  const unit = file.slice("src/".length).replace(/\.ts$/, "");
  for (const imported of importsOf(file, true)) {
    if (!imported.startsWith(".")) {
      if (!scriptOutside.test(imported)) report(file, 1, `src may not import "${imported}"`);
      continue;
    }
    const target = posix.join(dirname(unit), imported).replace(/\.ts$/, "");
    if (!files.includes(`src/${target}.ts`))
      report(file, 1, `"${imported}" is no file; imports carry .ts`);
    const allowed = scriptLayers[unit];
    if (allowed !== undefined && !allowed.includes(target)) {
      report(file, 1, `src/${unit} may not import "${target}" (scripts/layers.mjs)`);
    }
  }
}

function checkScriptCircles() {
  const edges = new Map();
  for (const file of files.filter((name) => /^src\/.*\.ts$/.test(name))) {
    const targets = importsOf(file, false).filter((name) => name.startsWith("."));
    edges.set(
      file,
      targets.map((name) => posix.join(dirname(file), name)),
    );
  }
  const done = new Set();
  const visit = (file, path) => {
    if (path.includes(file))
      return report(file, 1, `imports itself through ${[...path, file].join(" → ")}`);
    if (done.has(file)) return;
    for (const target of edges.get(file) ?? []) visit(target, [...path, file]);
    done.add(file);
  };
  for (const file of edges.keys()) visit(file, []);
}

/**
 * Every .cpp is in native/sources.txt once; native/test and native/fuzz are taken by their folder
 * instead.
 */
function checkSourceList() {
  const counts = new Map();
  for (const { value } of readTable("native/sources.txt"))
    counts.set(value, (counts.get(value) ?? 0) + 1);
  for (const [file, count] of counts) {
    if (count > 1) report("native/sources.txt", 1, `lists ${file} ${count} times`);
    if (!files.includes(file))
      report("native/sources.txt", 1, `lists ${file}, which does not exist`);
    if (/^native\/(test|fuzz)\//.test(file))
      report("native/sources.txt", 1, `${file} is found by its folder; do not list it`);
  }
  for (const file of files.filter((name) => /^native\/.*\.cpp$/.test(name))) {
    if (!/^native\/(test|fuzz)\//.test(file) && !counts.has(file))
      report(file, 1, "is missing in native/sources.txt");
  }
}

function checkText(file) {
  const content = textOf(file);
  if (content.includes("\0") || /\.(png|case|json|txt|dict|bin)$/.test(file) || generated.has(file))
    return;
  if (/^native\/fuzz\/corpus\//.test(file)) return;
  const lines = content.split("\n");
  const code = /\.(h|cpp|ts|mjs)$/.test(file);
  if (content !== "" && !content.endsWith("\n"))
    report(file, lines.length, "does not end with a line feed");
  if (content.includes("\r")) report(file, 1, "has carriage returns; lines end with a line feed");
  if (code && lines.length - 1 > lines_wall)
    report(file, 1, `has ${lines.length - 1} lines; the wall is ${lines_wall}`);
  else if (code && lines.length - 1 > lines_wish)
    notes.push(`${file} has ${lines.length - 1} lines`);
  if (code && !/^(#!.*\n)?(\/\/|\/\*)/.test(content) && !/\.cpp$/.test(file)) {
    report(file, 1, "does not open with a comment that says what it is");
  }
  for (const [index, line] of lines.entries()) {
    if (/[ \t]$/.test(line) && !file.endsWith(".md"))
      report(file, index + 1, "ends with white space");
    if (/\t/.test(line) && code) report(file, index + 1, "has a tab");
    if (code && [...line].length > columns_max && !isLongText(line)) {
      report(file, index + 1, `has ${[...line].length} columns; ${columns_max} are allowed`);
    }
    if (/TODO\(now\)/.test(line) && file !== "scripts/tidy.mjs" && !file.endsWith(".md")) {
      report(file, index + 1, "is to be done now");
    }
  }
}

/** One string or address that cannot be broken well. */
function isLongText(line) {
  return /https?:\/\//.test(line) || /^\s*[\w.]*\s*\(?["'`].*["'`][,);]*$/.test(line);
}

/**
 * Keep a Changelog: an Unreleased section first, then versions, sections of a fixed set of kinds.
 */
function checkChangelog() {
  const file = "CHANGELOG.md";
  const lines = (textOf(file) ?? "").split("\n");
  const kinds = [
    "Breaking",
    "Added",
    "Changed",
    "Deprecated",
    "Removed",
    "Fixed",
    "Performance",
    "Security",
  ];
  if (lines[0] !== "# Changelog") report(file, 1, 'does not begin with "# Changelog"');
  const versions = lines.filter((line) => line.startsWith("## "));
  if (versions[0] !== "## [Unreleased]")
    report(file, 1, 'its first version is not "## [Unreleased]"');
  for (const [index, line] of lines.entries()) {
    if (line.startsWith("### ") && !kinds.includes(line.slice(4))) {
      report(file, index + 1, `"${line.slice(4)}" is not one of ${kinds.join(", ")}`);
    }
    if (
      /^## /.test(line) &&
      !/^## \[(Unreleased|\d+\.\d+\.\d+)\]( - \d{4}-\d\d-\d\d)?$/.test(line)
    ) {
      report(file, index + 1, "is not ## [version] - date");
    }
  }
}

/** The locks name versions and checksums, never the registry that someone happened to use. */
function checkLock() {
  for (const lock of ["package-lock.json", "bench/package-lock.json"]) {
    if (/"resolved": "http/.test(textOf(lock) ?? "")) {
      report(lock, 1, "names a registry; run npm with omit-lockfile-registry-resolved=true");
    }
  }
}

function checkGenerated() {
  if (capture(process.execPath, [join("scripts", "gen.mjs"), "--check"]) === undefined) {
    report("src/native/tables.ts", 1, 'is stale, or docs are; run "npm run gen"');
  }
}
