// What a request costs an upstream server behind nginx: millrace by HTTP and by SCGI beside
// node:http behind the same nginx, all on unix sockets. Interleaved rounds, medians; the CPU time
// is the upstream's own, the requests are those that nginx answers.
//   npm run bench:nginx -- [--quick] [--rounds 5] [--seconds 1.25] [--only plaintext,echo]
//                          [--contenders "node:http,millrace HTTP inline"] [--json FILE]
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { cpus, release, tmpdir, totalmem } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { commitOf, runOf, start } from "./contenders.mjs";
import { checkAnswer, isBlastBuilt, slice } from "./measure.mjs";
import { jsonText, medianOf, ratioOf, record, table } from "./results.mjs";
import { loadOf, scenarioOf } from "./scenarios.mjs";

const BASE = "node:http";
const UNKEPT = "node:http unkept"; // a connection for each request, as SCGI has it
const RATIO_MAX = 0.35; // of the upstream's CPU time to that of node:http
const WARM_REQUESTS = 10_000;
const WARM_SLICES = 5;
const NGINX_MS = 10_000;

const folder = mkdtempSync(join(tmpdir(), "millrace-bench-"));
const socketOf = (at) => join(folder, `${at}.sock`);
const nodeHttp = (path) => runOf("node", "node-http.mjs", path);
const millrace = (loops, protocol) => ({
  runs: (path) =>
    runOf("node", "millrace.mjs", loops, path, ...(protocol === "http" ? [] : [protocol])),
  protocol,
  base: protocol === "http" ? BASE : UNKEPT,
});
// `base`: whom a target of ours is set against.
const everyone = [
  { name: BASE, runs: nodeHttp, protocol: "http" },
  { name: UNKEPT, runs: nodeHttp, protocol: "http", isUnkept: true },
  { name: "millrace HTTP inline", ...millrace("0", "http") },
  { name: "millrace HTTP 1 loop", ...millrace("1", "http") },
  { name: "millrace SCGI inline", ...millrace("0", "scgi") },
  { name: "millrace SCGI 1 loop", ...millrace("1", "scgi") },
];

const options = readOptions();
const contenders = everyone.filter(({ name }) => options.names.includes(name));
if (!isBlastBuilt()) {
  process.stderr.write('no load maker; run "node scripts/native.mjs benches"\n');
  process.exit(1);
}
const result = describe();
const servers = [];
let nginx;
try {
  for (const [at, contender] of contenders.entries())
    servers.push(await start(contender, socketOf(at)));
  nginx = await startNginx();
  await measure();
} finally {
  nginx?.kill("SIGTERM");
  for (const server of servers) await server.stop();
  rmSync(folder, { recursive: true, force: true });
}
for (const { key } of options.scenarios) {
  result.ratios[key] = Object.fromEntries(
    contenders.map(({ name }) => [name, ratiosOf(key, name)]),
  );
}
process.stdout.write(`${options.scenarios.map(tableOf).join("\n\n")}\n`);
if (options.file !== undefined) writeFileSync(options.file, `${jsonText(result)}\n`);

function readOptions() {
  const { values } = parseArgs({
    options: {
      quick: { type: "boolean", default: false },
      rounds: { type: "string" },
      seconds: { type: "string" },
      only: { type: "string", default: "plaintext,echo" },
      contenders: { type: "string", default: everyone.map(({ name }) => name).join(",") },
      json: { type: "string" },
    },
  });
  const { quick, rounds = quick ? "2" : "5", seconds = quick ? "0.5" : "1.25" } = values;
  return {
    rounds: Number(rounds),
    seconds: Number(seconds),
    scenarios: values.only.split(",").map(scenarioOf),
    names: [BASE, UNKEPT, ...values.contenders.split(",")],
    file: values.json,
  };
}

function describe() {
  return {
    made: new Date().toISOString(),
    commit: commitOf(),
    machine: {
      cpu: (cpus()[0]?.model ?? "unknown").trim(),
      cores: cpus().length,
      kernel: release(),
      memory_mib: Math.round(totalmem() / 2 ** 20),
    },
    node: process.version,
    settings: { rounds: options.rounds, seconds: options.seconds, ratio_max: RATIO_MAX },
    ratios: {},
    rounds: {},
  };
}

/** nginx with one server for each upstream; the servers' ports become those of nginx. */
async function startNginx() {
  for (const server of servers) server.port = await freePort();
  const file = join(folder, "nginx.conf");
  writeFileSync(file, configuration());
  const child = spawn("nginx", ["-p", folder, "-e", "stderr", "-c", file], {
    stdio: ["ignore", "ignore", "inherit"],
  });
  let ended = false;
  for (const event of ["error", "exit"]) child.once(event, () => (ended = true));
  const deadline = performance.now() + NGINX_MS;
  for (;;) {
    try {
      await checkAnswer(servers.at(-1), options.scenarios[0]);
      return child;
    } catch (error) {
      if (ended || performance.now() > deadline)
        throw new Error(`nginx does not answer: ${error.message}`, { cause: error });
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

function configuration() {
  const temp = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
  return [
    process.getuid?.() === 0 ? "user root;" : "",
    `daemon off; worker_processes 1; pid ${folder}/nginx.pid; error_log stderr warn;`,
    "events { worker_connections 1024; }",
    "http { access_log off; keepalive_requests 1000000000; keepalive_timeout 240s;",
    ...temp.map((name) => `${name}_temp_path ${folder}/${name};`),
    ...servers.map(serverBlock),
    "}",
  ].join("\n");
}

function serverBlock({ port }, at) {
  const { protocol, isUnkept } = contenders[at];
  const header = `proxy_set_header Connection "${isUnkept ? "close" : ""}";`;
  const pass =
    protocol === "scgi"
      ? `${scgiParams()} scgi_pass up${at};`
      : `proxy_http_version 1.1; ${header} proxy_pass http://up${at};`;
  // nginx closes its connections to SCGI servers after each request: there is nothing to keep.
  const keeps = protocol === "http" && !isUnkept;
  const keep = keeps ? "keepalive 64; keepalive_requests 1000000000;" : "";
  return `upstream up${at} { server unix:${socketOf(at)} max_fails=0; ${keep} }
    server { listen 127.0.0.1:${port} backlog=1024; location / { ${pass} } }`;
}

// Those that distributions put into scgi_params.
function scgiParams() {
  const params = {
    REQUEST_METHOD: "$request_method",
    REQUEST_URI: "$request_uri",
    QUERY_STRING: "$query_string",
    CONTENT_TYPE: "$content_type",
    DOCUMENT_URI: "$document_uri",
    DOCUMENT_ROOT: "$document_root",
    SCGI: "1",
    SERVER_PROTOCOL: "$server_protocol",
    REQUEST_SCHEME: "$scheme",
    REMOTE_ADDR: "$remote_addr",
    REMOTE_PORT: "$remote_port",
    SERVER_PORT: "$server_port",
    SERVER_NAME: "$server_name",
  };
  return Object.entries(params)
    .map(([name, value]) => `scgi_param ${name} ${value};`)
    .join(" ");
}

function freePort() {
  const probe = createServer();
  return new Promise((resolve, reject) => {
    probe.once("error", reject);
    probe.listen(0, "127.0.0.1", () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
  });
}

async function measure() {
  for (const scenario of options.scenarios) {
    for (const server of servers) {
      await checkAnswer(server, scenario);
      await warmUp(server, scenario);
    }
  }
  for (let round = 0; round < options.rounds; round += 1) {
    for (const scenario of options.scenarios) {
      // Nobody is always the first or always behind the same one.
      const from = round % servers.length;
      for (const server of [...servers.slice(from), ...servers.slice(0, from)])
        record(result, scenario.key, server.name, await slice(server, scenario, options.seconds));
    }
  }
}

async function warmUp(server, scenario) {
  let requests = 0;
  for (let i = 0; i < WARM_SLICES && requests < WARM_REQUESTS; i += 1)
    requests += (await slice(server, scenario, options.seconds)).requests;
}

function tableOf(scenario) {
  const { key, title } = scenario;
  const rows = contenders.map(({ name, base }) => {
    const of = (value) => medianOf(result, key, name, value);
    const ratios = ratiosOf(key, name);
    const verdict = base === undefined ? "" : ratios[base] <= RATIO_MAX ? "yes" : "NO";
    return [
      name,
      of("cpu_us").toFixed(2),
      ...Object.values(ratios).map((ratio) => ratio.toFixed(3)),
      verdict,
      of("rps").toFixed(0),
      of("p50_us").toFixed(0),
      of("p99_us").toFixed(0),
    ];
  });
  const ratios = [`to ${BASE}`, `to ${UNKEPT}`, `at most ${RATIO_MAX}`];
  const head = ["upstream", "CPU µs/request", ...ratios, "requests/s", "p50 µs", "p99 µs"];
  return `${title} behind nginx: ${loadOf(scenario)}\n\n${table(head, rows)}`;
}

/** Of the CPU time of a contender to that of each base. */
function ratiosOf(key, name) {
  const to = (base) =>
    Math.round(ratioOf(result, [key, name], [key, base], "cpu_us") * 1000) / 1000;
  return { [BASE]: to(BASE), [UNKEPT]: to(UNKEPT) };
}
