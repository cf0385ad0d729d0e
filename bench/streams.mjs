// Streams end to end: what a megabyte of upload or download costs the server in CPU time, how much
// memory the process grows by, and how long its event loop is kept. Interleaved rounds, medians.
//   npm run bench:streams -- [--rounds 5] [--mib 256] [--only raw,form,save,save-part,chunks,file]
//                            [--json FILE]
import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { cpus, tmpdir, totalmem } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { commitOf, install } from "./contenders.mjs";
import { jsonText } from "./results.mjs";
import { ask, download, upload } from "./transfers.mjs";

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "5" },
    mib: { type: "string", default: "256" },
    only: { type: "string", default: "raw,form,save,save-part,chunks,file,eight" },
    json: { type: "string" },
  },
});
const rounds = Number(values.rounds);
const mib = Number(values.mib);
const program = fileURLToPath(new URL("servers/streams.mjs", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "millrace-bench-"));
const TICKS_MS = 1000 / Number(execFileSync("getconf", ["CLK_TCK"], { encoding: "utf8" }));

const trouble = install();
if (trouble !== undefined) process.stderr.write(`${trouble}\n`);

// What each scenario does, and the ratio that is wished for, of our best to the first of the
// others.
const scenarios = {
  raw: { run: ({ port }) => upload(port, "/raw", mib, false), target: 0.3 },
  form: { run: ({ port }) => upload(port, "/form", mib, true), target: 0.2 },
  save: { run: ({ port }) => upload(port, "/save", mib, false) },
  "save-part": { run: ({ port }) => upload(port, "/save-part", mib, true) },
  chunks: { run: ({ port }) => download(port, `/chunks?chunks=${mib * 16}`, mib), target: 0.55 },
  file: { run: ({ port }) => download(port, "/files/large.bin", mib), target: 1.1 },
  eight: {
    run: ({ port }) => {
      const each = Math.ceil(mib / 8);
      return Promise.all(Array.from({ length: 8 }, () => upload(port, "/raw", each, false)));
    },
  },
};

const servers = [
  await startNode("node:http", ["node"]),
  await startNode("millrace inline", ["millrace", "0"]),
  await startNode("millrace 1 loop", ["millrace", "1"]),
  await startNginx(),
].filter((server) => server !== undefined);

const result = { made: new Date().toISOString(), commit: commitOf(), mib, rounds, figures: {} };
result.machine = { cpus: cpus().length, model: cpus()[0]?.model, memory: totalmem() };
result.node = process.version;
fill("large.bin", mib);
try {
  for (const key of values.only.split(",")) await measure(key, scenarios[key]);
} finally {
  for (const { child } of servers) child.kill("SIGTERM");
  rmSync(folder, { recursive: true });
}
if (values.json !== undefined) writeFileSync(values.json, `${jsonText(result)}\n`);

async function measure(key, { run, target }) {
  // nginx serves files here and nothing else, node:http everything else.
  const able = servers.filter(({ name }) => {
    if (name === "nginx") return key === "file";
    return name !== "node:http" || key !== "file";
  });
  const seen = new Map(able.map(({ name }) => [name, []]));
  for (let round = 0; round < rounds; round += 1) {
    for (const server of able) {
      if (server.name !== "nginx") await ask(server.port, "/report");
      const before = cpuOf(server.pid);
      const began = performance.now();
      const peak = watchMemory(server.pid);
      await run(server);
      const seconds = (performance.now() - began) / 1000;
      const after = cpuOf(server.pid);
      const rest = server.name === "nginx" ? {} : JSON.parse(await ask(server.port, "/report"));
      seen.get(server.name).push({
        cpu_ms_per_mib: (after.all - before.all) / mib,
        js_share: (after.main - before.main) / (seconds * 1000),
        mib_per_s: mib / seconds,
        rss_above_idle_mib: (peak() - server.idle) / 1024,
        delay_p99_ms: rest.p99,
      });
    }
  }
  const figures = {};
  for (const [name, rows] of seen) {
    const middle = (field) => {
      const sorted = rows.map((row) => row[field]).filter((value) => value !== undefined);
      return sorted.sort((a, b) => a - b)[Math.floor(sorted.length / 2)];
    };
    figures[name] = Object.fromEntries(Object.keys(rows[0]).map((field) => [field, middle(field)]));
  }
  result.figures[key] = { target, medians: figures, rows: Object.fromEntries(seen) };
  print(key, figures, target);
}

function print(key, figures, target) {
  const base = figures[key === "file" ? "nginx" : "node:http"]?.cpu_ms_per_mib;
  const wish = target === undefined ? "" : ` (at most ${target})`;
  process.stdout.write(`\n${key}${wish}\n`);
  for (const [name, row] of Object.entries(figures)) {
    const ratio = base === undefined ? "" : (row.cpu_ms_per_mib / base).toFixed(3);
    const cells = [
      name.padEnd(16),
      `${row.cpu_ms_per_mib.toFixed(3)} ms/MiB`,
      ratio.padStart(6),
      `${row.mib_per_s.toFixed(0)} MiB/s`.padStart(11),
      `JS thread ${(row.js_share * 100).toFixed(1)} %`,
      `+${row.rss_above_idle_mib.toFixed(0)} MiB`,
      row.delay_p99_ms === undefined ? "" : `delay p99 ${row.delay_p99_ms.toFixed(1)} ms`,
    ];
    process.stdout.write(`  ${cells.join("  ")}\n`);
  }
}

async function startNode(name, words) {
  const [which, loops = "0"] = words;
  const child = spawn(process.execPath, [program, which, loops, folder], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let line = "";
  for await (line of createInterface({ input: child.stdout })) break;
  if (line === "") return undefined;
  const port = Number(line);
  // What modules and compiled code take is not of the streams.
  await upload(port, "/raw", 1, false);
  await upload(port, "/form", 1, true);
  await download(port, "/chunks?chunks=16", 1);
  return { name, child, pid: child.pid, port, idle: memoryOf(child.pid) };
}

async function startNginx() {
  const port = 20_000 + (process.pid % 20_000);
  const file = join(folder, "nginx.conf");
  writeFileSync(
    file,
    `daemon off; master_process off; error_log stderr; pid ${folder}/pid;
events { worker_connections 64; }
http { access_log off; sendfile on; tcp_nopush on;
  client_body_temp_path ${folder}/b; proxy_temp_path ${folder}/p; fastcgi_temp_path ${folder}/f;
  uwsgi_temp_path ${folder}/u; scgi_temp_path ${folder}/s;
  server { listen 127.0.0.1:${port}; location /files/ { alias ${folder}/; } } }\n`,
  );
  const child = spawn("nginx", ["-c", file, "-p", folder], { stdio: "ignore" });
  let isGone = false;
  child.once("error", () => (isGone = true));
  child.once("exit", () => (isGone = true));
  for (let i = 0; i < 100 && !isGone; i += 1) {
    try {
      await ask(port, "/");
      return {
        name: "nginx",
        child,
        pid: child.pid,
        port,
        idle: memoryOf(child.pid),
      };
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
  process.stderr.write("nginx is not here: the file scenario has no base\n");
  return undefined;
}

// CPU time in milliseconds: of the whole process, and of its first thread, which runs JavaScript.
function cpuOf(pid) {
  const of = (path) => {
    const fields = readFileSync(path, "latin1").split(") ")[1].split(" ");
    return (Number(fields[11]) + Number(fields[12])) * TICKS_MS;
  };
  return { all: of(`/proc/${pid}/stat`), main: of(`/proc/${pid}/task/${pid}/stat`) };
}

function memoryOf(pid) {
  return Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "latin1"))?.[1]);
}

function watchMemory(pid) {
  let peak = memoryOf(pid);
  const timer = setInterval(() => (peak = Math.max(peak, memoryOf(pid))), 10);
  return () => {
    clearInterval(timer);
    return Math.max(peak, memoryOf(pid));
  };
}

// Bytes that are really there: a hole would cost the kernel less.
function fill(name, size) {
  const block = Buffer.alloc(1_048_576, "f");
  for (let i = 0; i < size; i += 1) writeFileSync(join(folder, name), block, { flag: "a" });
}
