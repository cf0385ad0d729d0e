// The C-level benchmarks: parse and lane once, and the floors (what a request costs without Node)
// under blast, interleaved. The figure is the servers' CPU time per request, which they report
// themselves; medians of the rounds.
//   node bench/native.mjs [--rounds 5] [--seconds 1] [--json FILE]        (npm run bench:native)
import { execFile, execFileSync, spawn } from "node:child_process";
import { existsSync, writeFileSync } from "node:fs";
import { cpus, release, totalmem } from "node:os";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { parseArgs, promisify } from "node:util";
import { jsonText } from "./results.mjs";

const run = promisify(execFile);
const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "5" },
    seconds: { type: "string", default: "1" },
    json: { type: "string" },
    binaries: { type: "string", default: "build-release" },
  },
});
const rounds = Number(values.rounds);
const seconds = Number(values.seconds);
const root = fileURLToPath(new URL("..", import.meta.url));

const servers = {
  bare: ["--bare"],
  static: ["--static"],
  threaded: [],
  inline: ["--inline"],
};
const loads = {
  "1-deep, 64 connections": ["--connections", "64", "--depth", "1"],
  "16-deep, 64 connections": ["--connections", "64", "--depth", "16"],
  "1-deep, 1 connection": ["--connections", "1", "--depth", "1"],
};
const figures = {
  cpu_us: 2,
  user_us: 2,
  system_us: 2,
  rps: 0,
  p50_us: 1,
  p99_us: 1,
  requests_per_turn: 1,
  events_per_batch: 1,
};

function program(name) {
  const path = fileURLToPath(new URL(`../${values.binaries}/bench_${name}`, import.meta.url));
  if (!existsSync(path)) fail(`${path} is missing: node scripts/native.mjs benches`);
  return path;
}

function fail(sentence) {
  console.error(`bench: ${sentence}`);
  process.exit(2);
}

function commit() {
  const git = (...words) => execFileSync("git", words, { cwd: root, encoding: "utf8" }).trim();
  try {
    const changed = git("status", "--porcelain", "native", "bench", "CMakeLists.txt") !== "";
    return git("rev-parse", "HEAD") + (changed ? " with changes" : "");
  } catch {
    return "unknown";
  }
}

function machine() {
  return {
    cpu: cpus()[0]?.model.trim() ?? "unknown",
    cores: cpus().length,
    memory_gib: Math.round(totalmem() / 2 ** 30),
    kernel: `${process.platform} ${release()}`,
    node: process.version,
  };
}

async function start(name) {
  const child = spawn(program("floor"), servers[name], { stdio: ["pipe", "pipe", "inherit"] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const line = async () => {
    const { value, done } = await lines.next();
    if (done) fail(`the ${name} floor has ended`);
    return JSON.parse(value);
  };
  const { port } = await line();
  const counters = () => {
    child.stdin.write("cpu\n");
    return line();
  };
  const stop = async () => {
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.stdin.end();
    await ended;
  };
  return { port, counters, stop };
}

async function measure(server, words, span) {
  const before = await server.counters();
  const load = ["--port", String(server.port), "--seconds", String(span), ...words];
  const { stdout } = await run(program("blast"), load).catch((error) =>
    fail(`blast failed: ${error.stderr}${error.stdout}`),
  );
  const after = await server.counters();
  const counted = (key) => after[key] - before[key];
  const requests = counted("requests");
  return {
    ...JSON.parse(stdout),
    user_us: counted("user_us") / requests,
    system_us: counted("system_us") / requests,
    cpu_us: (counted("user_us") + counted("system_us")) / requests,
    requests_per_turn: requests / counted("turns"),
    events_per_batch: counted("batches") === 0 ? null : counted("events") / counted("batches"),
    switches_per_request: counted("switches") / requests,
  };
}

function median(numbers) {
  const sorted = numbers.toSorted((a, b) => a - b);
  return sorted[sorted.length >> 1];
}

async function measureFloors() {
  const names = Object.keys(servers);
  const running = new Map();
  for (const name of names) running.set(name, await start(name));
  const rows = [];
  for (const [load, words] of Object.entries(loads)) {
    const slices = new Map(names.map((name) => [name, []]));
    for (const server of running.values()) await measure(server, words, 0.2); // warm-up
    for (let round = 0; round < rounds; round += 1) {
      // Each round begins with another server, so that none is always first.
      for (let i = 0; i < names.length; i += 1) {
        const name = names[(round + i) % names.length];
        slices.get(name).push(await measure(running.get(name), words, seconds));
      }
    }
    for (const name of names) rows.push(rowOf(load, name, slices));
  }
  for (const server of running.values()) await server.stop();
  return rows;
}

function rowOf(load, server, slices) {
  const mine = slices.get(server);
  const bare = slices.get("bare");
  const row = { load, server };
  for (const key of Object.keys(figures)) {
    row[key] = mine[0][key] === null ? null : median(mine.map((slice) => slice[key]));
  }
  // Taken within each round, where the machine was the same for both.
  row.to_bare = median(mine.map((slice, i) => slice.cpu_us / bare[i].cpu_us));
  row.rounds_cpu_us = mine.map((slice) => Number(slice.cpu_us.toFixed(3)));
  return row;
}

async function once(name, words) {
  const { stdout } = await run(program(name), words);
  return JSON.parse(stdout).rows;
}

function table(head, rows) {
  console.log(`\n| ${head.join(" | ")} |\n|${head.map(() => "---").join("|")}|`);
  for (const row of rows) console.log(`| ${row.join(" | ")} |`);
}

function printParse(rows) {
  table(
    ["parse", "bytes", "ns", "MB/s"],
    rows.map((row) => [row.name, row.bytes, row.ns.toFixed(1), row.mb_per_s]),
  );
}

function printLane(rows) {
  const us = (nanoseconds) => (nanoseconds / 1000).toFixed(2);
  table(
    ["lane", "seen p50 µs", "p99", "and back p50 µs", "p99", "per second", "per batch"],
    rows.map((row) => [
      ...[row.name, us(row.seen.p50), us(row.seen.p99)],
      ...[us(row.round_trip.p50), us(row.round_trip.p99)],
      ...[row.per_second, row.items_per_batch],
    ]),
  );
}

function printFloors(rows) {
  table(
    ["load", "floor", ...Object.keys(figures), "CPU to bare"],
    rows.map((row) => [
      ...[row.load, row.server],
      ...Object.entries(figures).map(([key, digits]) => row[key]?.toFixed(digits) ?? ""),
      row.to_bare.toFixed(2),
    ]),
  );
}

if (!(rounds >= 1) || !(seconds > 0)) fail("--rounds and --seconds must be positive");
const result = {
  benchmark: "native",
  date: new Date().toISOString(),
  commit: commit(),
  machine: machine(),
  rounds,
  seconds,
};
const { cpu, cores, kernel } = result.machine;
console.log(`${cores} x ${cpu}, ${kernel}; ${rounds} interleaved rounds of ${seconds} s, medians`);
result.parse = await once("parse", []);
printParse(result.parse);
result.lane = await once("lane", []);
printLane(result.lane);
result.floors = await measureFloors();
console.log("\nFigures of the servers are per request; load and servers share the cores.");
printFloors(result.floors);
if (values.json) writeFileSync(values.json, `${jsonText(result)}\n`);
