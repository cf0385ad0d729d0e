#!/usr/bin/env node
// Prints the rows of native/sources.txt for the named targets, or of native/flags.txt with --flags.
// Usage: sources.mjs [--platform name] core addon · sources.mjs --flags [--platform name] compile
import { readFileSync, realpathSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");

/**
 * All rows of a three-column table: target, platforms, value. Comments and blank lines are
 * skipped.
 */
export function readTable(file) {
  const rows = [];
  for (const [index, line] of readFileSync(join(root, file), "utf8").split(/\r?\n/).entries()) {
    if (/^\s*(#|$)/.test(line)) continue;
    const columns = line.trim().split(/[ \t]+/);
    if (columns.length !== 3 || !/^[a-z]+$/.test(columns[0]) || !/^[a-z0-9,]+$/.test(columns[1])) {
      throw new Error(`${file}:${index + 1}: expected "target where value", found "${line}"`);
    }
    rows.push({ target: columns[0], where: columns[1].split(","), value: columns[2] });
  }
  return rows;
}

/** The values of the named targets that apply to the platform, in the order of the table. */
export function select(rows, targets, platform = process.platform) {
  return rows
    .filter((row) => targets.includes(row.target))
    .filter((row) => row.where.includes("all") || row.where.includes(platform))
    .map((row) => row.value);
}

function main(words) {
  let platform = process.platform;
  let file = "native/sources.txt";
  const targets = [];
  while (words.length > 0) {
    const word = words.shift();
    if (word === "--platform") platform = words.shift();
    else if (word === "--flags") file = "native/flags.txt";
    else targets.push(word);
  }
  process.stdout.write(`${select(readTable(file), targets, platform).join("\n")}\n`);
}

if (process.argv[1] && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  main(process.argv.slice(2));
}
