// The end-to-end benchmark: all contenders up, rounds interleaved, medians and targets printed, raw
// values written as JSON and drawn.
//   npm run bench -- [--quick] [--rounds 5] [--seconds 1.25] [--only plaintext,json]
//                    [--contenders "node:http,millrace inline"] [--json FILE]
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { cpus, release, totalmem } from "node:os";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { commitOf, contenders, install, start } from "./contenders.mjs";
import { drawing } from "./draw.mjs";
import { affordableConnections, checkAnswer, holdIdle, isBlastBuilt, slice } from "./measure.mjs";
import { jsonText, record, tablesOf, targetsOf } from "./results.mjs";
import { groups, idle, scenarioKeys } from "./scenarios.mjs";

const WARM_REQUESTS = 20_000;
const WARM_SLICES = 5;
const WARM_SECONDS = 1;

const options = readOptions();
if (!isBlastBuilt()) fail('no load maker; run "node scripts/native.mjs benches"');
const troubleInstalling = install();
if (troubleInstalling !== undefined) note(troubleInstalling);

const result = describe();
for (const group of groups) {
  const wanted = group.filter(({ key }) => options.scenarios.includes(key));
  if (wanted.length > 0) await measureGroup(wanted);
}
if (options.scenarios.includes(idle.key)) await measureIdle();
process.stdout.write(`${heading()}\n\n${tablesOf(result)}\n`);
write();

function readOptions() {
  const text = (fallback) => ({ type: "string", default: fallback });
  const names = contenders.map(({ name }) => name);
  const { values } = parseArgs({
    options: {
      quick: { type: "boolean", default: false },
      rounds: { type: "string" },
      seconds: { type: "string" },
      only: text(scenarioKeys.join(",")),
      contenders: text(names.join(",")),
      json: { type: "string" },
    },
  });
  const { quick } = values;
  return {
    rounds: positive("rounds", values.rounds ?? (quick ? 2 : 5)),
    seconds: positive("seconds", values.seconds ?? (quick ? 0.3 : 1.25)),
    scenarios: chosen("only", values.only, scenarioKeys),
    names: chosen("contenders", values.contenders, names),
    connections: affordableConnections(quick ? 1000 : 10_000),
    // A quick look leaves nothing behind unless it is told where.
    file: values.json ?? (quick ? undefined : defaultFile()),
  };
}

function positive(name, value) {
  if (!(Number(value) > 0)) fail(`--${name} must be a positive number, got ${value}`);
  return Number(value);
}

function chosen(name, value, known) {
  const words = value.split(",").map((word) => word.trim());
  const odd = words.find((word) => !known.includes(word));
  if (odd !== undefined) fail(`--${name} does not know "${odd}"; it knows ${known.join(", ")}`);
  return words;
}

function defaultFile() {
  const day = new Date().toISOString().slice(0, 10);
  const name = `./results/${day}-${commitOf().commit.slice(0, 7)}.json`;
  return fileURLToPath(new URL(name, import.meta.url));
}

function describe() {
  return {
    date: new Date().toISOString(),
    command: commandOf(process.argv.slice(2)),
    millrace: commitOf(),
    machine: {
      cpu: (cpus()[0]?.model ?? "unknown").trim(),
      cores: cpus().length,
      kernel: release(),
      memory_mib: Math.round(totalmem() / 2 ** 20),
    },
    node: process.version,
    settings: { rounds: options.rounds, seconds: options.seconds, idle: options.connections },
    contenders: [],
    left_out: [],
    rounds: {},
  };
}

// Without --json: where somebody kept the figures does not change them.
function commandOf(given) {
  const words = given.filter((word, i) => !/^--json(=|$)/.test(word) && given[i - 1] !== "--json");
  const quoted = words.map((word) => (/^[\w.:,-]+$/.test(word) ? word : JSON.stringify(word)));
  return ["npm run bench", ...(quoted.length > 0 ? ["--"] : []), ...quoted].join(" ");
}

function wantedFor(scenarios) {
  return contenders.filter(
    ({ name, serves }) =>
      options.names.includes(name) && scenarios.every((scenario) => serves?.(scenario) ?? true),
  );
}

/** Starts the wanted contenders and keeps those that answer every scenario as agreed. */
async function startAll(scenarios) {
  const servers = [];
  for (const contender of wantedFor(scenarios)) {
    let server;
    try {
      server = await start(contender);
      for (const scenario of scenarios) await checkAnswer(server, scenario);
      servers.push(server);
      introduce(server);
    } catch (error) {
      await leaveOut(contender.name, scenarios, error, server);
    }
  }
  return servers;
}

function introduce({ name, version, ours }) {
  if (result.contenders.some((known) => known.name === name)) return;
  result.contenders.push({ name, version: (ours ? ownVersion() : version) ?? null, ours });
}

function ownVersion() {
  return JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8")).version;
}

/** A contender without a right answer has no figures: what it has so far goes too. */
async function leaveOut(name, scenarios, error, server) {
  for (const { key } of scenarios) delete result.rounds[key]?.[name];
  const keys = scenarios.map(({ key }) => key).join(", ");
  result.left_out.push({ name, scenarios: keys, reason: error.message });
  if (contenders.find((one) => one.name === name).ours) process.exitCode = 1;
  note(`${name} is left out of ${keys}: ${error.message}`);
  await server?.stop();
}

async function measureGroup(scenarios) {
  let servers = await startAll(scenarios);
  for (const { key } of scenarios) {
    result.rounds[key] = Object.fromEntries(servers.map(({ name }) => [name, {}])); // in our order
  }
  const keys = scenarios.map(({ key }) => key).join(", ");
  const each = async (round, measureOne) => {
    progress(`${keys}: ${round < 0 ? "warming up" : `round ${round + 1}/${options.rounds}`}`);
    for (const server of rotated(servers, round)) {
      try {
        for (const scenario of rotated(scenarios, round)) await measureOne(server, scenario);
      } catch (error) {
        servers = servers.filter((other) => other !== server);
        await leaveOut(server.name, scenarios, error, server);
      }
    }
  };
  await each(-1, warmUp);
  for (let round = 0; round < options.rounds; round += 1) {
    await each(round, async (server, scenario) => {
      record(result, scenario.key, server.name, await slice(server, scenario, options.seconds));
    });
  }
  progress("");
  for (const server of servers) await server.stop();
}

// Counted in requests, because compilers count so: on a busy machine a second alone would leave
// the slow ones cold. The slices are bounded all the same.
async function warmUp(server, scenario) {
  let requests = 0;
  for (let i = 0; i < WARM_SLICES && requests < WARM_REQUESTS; i += 1) {
    requests += (await slice(server, scenario, WARM_SECONDS)).requests;
  }
}

// Nobody is always the first or always behind the same one.
function rotated(list, round) {
  const from = (round + 1) % list.length;
  return [...list.slice(from), ...list.slice(0, from)];
}

/** One server at a time and a fresh one each round: memory does not depend on the others. */
async function measureIdle() {
  const rounds = Math.min(options.rounds, 3);
  result.rounds[idle.key] = {};
  for (const contender of wantedFor([idle])) {
    for (let round = 0; round < rounds; round += 1) {
      progress(`idle: ${contender.name}, round ${round + 1}/${rounds}`);
      let server;
      try {
        server = await start(contender);
        introduce(server);
        await checkAnswer(server, idle);
        await warmUp(server, idle);
        const figures = await holdIdle(server, idle, options.connections);
        record(result, idle.key, contender.name, figures);
        await server.stop();
      } catch (error) {
        await leaveOut(contender.name, [idle], error, server);
        break;
      }
    }
  }
  progress("");
}

function heading() {
  const { machine, millrace, node, settings } = result;
  const others = result.contenders.filter(
    ({ name, ours, version }) => !ours && version !== null && name !== "node:http",
  );
  const versions = others.map(({ name, version }) => `, ${name} ${version}`).join("");
  const commit = `millrace ${millrace.commit.slice(0, 7)}${millrace.dirty ? " and changes" : ""}`;
  return [
    `Node ${node}${versions}, ${commit};`,
    `${machine.cores} x ${machine.cpu}, Linux ${machine.kernel}, ${result.date.slice(0, 10)}.`,
    `Medians of ${settings.rounds} interleaved rounds of ${settings.seconds} s, ` +
      "ratios within a round:",
    `  ${result.command}`,
  ].join("\n");
}

function write() {
  if (options.file === undefined) return;
  mkdirSync(dirname(options.file), { recursive: true });
  writeFileSync(options.file, `${jsonText({ ...result, targets: targetsOf(result) })}\n`);
  writeFileSync(options.file.replace(/(\.json)?$/, ".svg"), drawing(result));
  note("wrote the raw values and, beside them, the drawing");
}

function note(text) {
  process.stderr.write(`bench: ${text}\n`);
}

function progress(text) {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`);
}

function fail(message) {
  note(message);
  process.exit(1);
}
