// CPU time per request of millrace against node:http, interleaved in one run.
// Servers are child processes that report process.cpuUsage(); native/bench/blast.cpp loads them.
//   node bench/compare.mjs [--rounds 5] [--seconds 2]        (npm run bench)
import { execFile, fork } from "node:child_process";
import { cpus } from "node:os";
import { fileURLToPath } from "node:url";
import { parseArgs, promisify } from "node:util";

const run = promisify(execFile);
const blast = fileURLToPath(new URL("../build-release/bench_blast", import.meta.url));
const { values } = parseArgs({
  options: { rounds: { type: "string", default: "5" }, seconds: { type: "string", default: "2" } },
});

const servers = ["node:http", "millrace inline", "millrace 1 loop"];
const jsonHeaders = ["--header", "Accept: application/json", "--header", "X-Request-Id: 7f3a"];
const scenarios = {
  plaintext: ["--path", "/"],
  "16-deep pipeline": ["--path", "/", "--depth", "16"],
  "JSON, 2 headers + query": ["--path", "/json?name=rye&sacks=3", ...jsonHeaders],
};

async function start(name) {
  const child = fork(fileURLToPath(new URL("./server.mjs", import.meta.url)), [name]);
  const ask = (what) =>
    new Promise((resolve) => {
      child.once("message", resolve);
      if (what) child.send(what);
    });
  return { child, ask, port: await ask() };
}

async function measure(server, words) {
  const before = await server.ask("cpu");
  const load = ["--port", String(server.port), "--seconds", values.seconds, ...words];
  const { stdout } = await run(blast, load);
  const after = await server.ask("cpu");
  const result = JSON.parse(stdout);
  return { ...result, cpu_us: (after - before) / result.requests };
}

function median(numbers) {
  const sorted = numbers.toSorted((a, b) => a - b);
  return sorted[sorted.length >> 1];
}

console.log(
  `node ${process.version}, ${cpus().length} x ${cpus()[0]?.model.trim()}, 64 connections,`,
);
console.log(`${values.rounds} interleaved rounds of ${values.seconds} s, medians\n`);
console.log("| scenario | server | CPU µs/request | ratio | requests/s | p50 µs | p99 µs |");
console.log("|---|---|---|---|---|---|---|");
for (const [scenario, words] of Object.entries(scenarios)) {
  const running = new Map();
  for (const name of servers) running.set(name, await start(name));
  const results = new Map(servers.map((name) => [name, []]));
  for (const server of running.values()) await measure(server, words); // warm-up
  for (let round = 0; round < Number(values.rounds); round += 1) {
    for (const name of servers) results.get(name).push(await measure(running.get(name), words));
  }
  for (const name of servers) {
    const of = (key) => median(results.get(name).map((result) => result[key]));
    // The ratio is taken within each round, where the machine was the same for both.
    const base = results.get("node:http");
    const ratio = median(results.get(name).map((one, i) => one.cpu_us / base[i].cpu_us));
    const cells = [
      of("cpu_us").toFixed(2),
      ratio.toFixed(3),
      of("rps"),
      of("p50_us"),
      of("p99_us"),
    ];
    console.log(`| ${scenario} | ${name} | ${cells.join(" | ")} |`);
  }
  for (const { child } of running.values()) child.disconnect();
}
