// WebSockets end to end: CPU time of the server per message and of a process of clients per round
// trip, and what idle sockets cost. Interleaved rounds, medians, ratios taken within a round.
//   npm run bench:ws -- [--quick] [--rounds 5] [--seconds 1.25] [--only text,broadcast,...]
//                       [--contenders "ws;millrace inline"] [--idle 10000] [--json FILE]
import { writeFileSync } from "node:fs";
import { cpus, release, totalmem } from "node:os";
import { parseArgs } from "node:util";
import { commitOf, install, start } from "./contenders.mjs";
import {
  affordableConnections,
  holdIdle,
  isBlastBuilt,
  openIdle,
  runGated,
  wordsOf,
} from "./measure.mjs";
import { jsonText, record } from "./results.mjs";
import { clients, groups, idles, keys, names } from "./sockets.mjs";
import { tablesOf, targetsOf } from "./websocket-results.mjs";

const WARM_SECONDS = 1;
const WARM_SLICES = 3;
const IDLE_ROUNDS_MAX = 3;
const WARM_SOCKETS = 1000;

const options = readOptions();
if (!isBlastBuilt()) fail('no load maker; run "node scripts/native.mjs benches"');
const trouble = install();
if (trouble !== undefined) note(trouble);

const result = {
  date: new Date().toISOString(),
  millrace: commitOf(),
  machine: {
    cpu: (cpus()[0]?.model ?? "unknown").trim(),
    cores: cpus().length,
    kernel: release(),
    memory_mib: Math.round(totalmem() / 2 ** 20),
  },
  node: process.version,
  settings: { rounds: options.rounds, seconds: options.seconds, idle: options.idle },
  versions: {},
  left_out: [],
  rounds: {},
};
for (const group of groups) {
  const scenarios = group.scenarios.filter(({ key }) => options.only.includes(key));
  if (scenarios.length > 0) await measureGroup(group, scenarios);
}
for (const idle of idles) if (options.only.includes(idle.key)) await measureIdle(idle);
if (options.only.includes(clients.key)) await measureClients();
for (const rounds of Object.values(result.rounds)) {
  for (const [name, values] of Object.entries(rounds))
    if (Object.keys(values).length === 0) delete rounds[name];
}
process.stdout.write(`${tablesOf(result)}\n`);
if (options.json !== undefined)
  writeFileSync(options.json, `${jsonText({ ...result, targets: targetsOf(result) })}\n`);

function readOptions() {
  const text = (fallback) => ({ type: "string", default: fallback });
  const { values } = parseArgs({
    options: {
      quick: { type: "boolean", default: false },
      rounds: { type: "string" },
      seconds: { type: "string" },
      idle: { type: "string" },
      only: text(keys.join(",")),
      contenders: text(names.join(";")),
      json: { type: "string" },
    },
  });
  const { quick, json } = values;
  return {
    rounds: positive("rounds", values.rounds ?? (quick ? 2 : 5)),
    seconds: positive("seconds", values.seconds ?? (quick ? 0.3 : 1.25)),
    idle: affordableIdle(positive("idle", values.idle ?? (quick ? 500 : 10_000))),
    only: chosen("only", values.only, ",", keys),
    names: chosen("contenders", values.contenders, ";", names),
    json,
  };
}

// The server holds the warm ones besides.
function affordableIdle(wanted) {
  return affordableConnections(wanted + WARM_SOCKETS) - WARM_SOCKETS;
}

function positive(name, value) {
  if (!(Number(value) > 0)) fail(`--${name} must be a positive number, got ${value}`);
  return Number(value);
}

// Names of contenders have commas in them.
function chosen(name, value, separator, known) {
  const words = value.split(separator).map((word) => word.trim());
  const odd = words.find((word) => !known.includes(word));
  if (odd !== undefined)
    fail(`--${name} does not know "${odd}"; it knows ${known.join(separator)}`);
  return words;
}

async function startAll(contenders, scenarioKeys, words) {
  const running = [];
  for (const contender of contenders.filter(({ name }) => options.names.includes(name))) {
    try {
      const one = await start(contender, words);
      result.versions[one.name] =
        one.version === "" ? result.millrace.commit : (one.version ?? null);
      running.push(one);
    } catch (error) {
      leaveOut(contender, scenarioKeys, error);
    }
  }
  return running;
}

/** Who answers wrongly, or loses something, has no figures. */
function leaveOut({ name, ours = false }, scenarioKeys, error) {
  for (const key of scenarioKeys) delete result.rounds[key]?.[name];
  result.left_out.push({ name, scenarios: scenarioKeys.join(", "), reason: error.message });
  if (ours) process.exitCode = 1;
  note(`${name} is left out of ${scenarioKeys.join(", ")}: ${error.message}`);
}

/** Calls `one` for each contender and each thing, in an order that rotates, round by round. */
async function interleave(running, things, keysOf, one) {
  let able = running;
  for (let round = -1; round < options.rounds; round += 1) {
    progress(`${keysOf.join(", ")}: ${round < 0 ? "warming up" : `round ${round + 1}`}`);
    for (const server of rotated(able, round)) {
      try {
        for (const thing of rotated(things, round)) await one(server, thing, round < 0);
      } catch (error) {
        able = able.filter((other) => other !== server);
        leaveOut(server, keysOf, error);
        await server.stop();
      }
    }
  }
  progress("");
  for (const server of able) await server.stop();
}

// Nobody is always the first or always behind the same one.
function rotated(list, round) {
  const from = list.length === 0 ? 0 : (round + 1) % list.length;
  return [...list.slice(from), ...list.slice(0, from)];
}

async function measureGroup({ contenders }, scenarios) {
  const keysOf = scenarios.map(({ key }) => key);
  inOrder(contenders, keysOf);
  const servers = await startAll(contenders, keysOf);
  await interleave(servers, scenarios, keysOf, async (server, scenario, isWarming) => {
    if (!isWarming) {
      record(result, scenario.key, server.name, await slice(server, scenario, options.seconds));
      return;
    }
    for (let i = 0; i < WARM_SLICES; i += 1)
      await slice(server, scenario, Math.min(WARM_SECONDS, options.seconds));
  });
}

/** Loads the server for some seconds; throws unless every message came, once and unharmed. */
async function slice(server, scenario, seconds) {
  let before;
  let after;
  // Without what opening and closing the connections costs.
  const load = await runGated([...wordsOf(server, scenario), "--seconds", `${seconds}`], {
    seconds,
    atBegin: async () => (before = await server.ask("cpu")),
    atEnd: async () => (after = await server.ask("cpu")),
  });
  const { messages, wrong, broken, lost, compressed } = load;
  if (wrong + broken + lost > 0)
    throw new Error(`${wrong} wrong messages, ${lost} lost, ${broken} broken connections`);
  if (messages === 0) throw new Error(`no message in ${seconds} s`);
  const wanted = scenario.compresses ? messages : 0;
  if (compressed !== wanted)
    throw new Error(`${compressed} of ${messages} messages came compressed`);
  return {
    messages,
    messages_per_s: load.messages_per_s,
    ...cpuOf(before, after, messages),
    p50_us: load.p50_us,
    p99_us: load.p99_us,
    rss_kib: server.memory().VmRSS,
  };
}

function cpuOf(before, after, messages) {
  const user = after.user - before.user;
  const system = after.system - before.system;
  return {
    cpu_us: rounded((user + system) / messages),
    user_us: rounded(user / messages),
    system_us: rounded(system / messages),
  };
}

/** One server at a time and a fresh one each round: memory does not depend on the others. */
async function measureIdle(idle) {
  const count = Math.min(options.idle, idle.most);
  inOrder(idle.contenders, [idle.key]);
  for (let round = 0; round < Math.min(options.rounds, IDLE_ROUNDS_MAX); round += 1) {
    progress(`${idle.key}: round ${round + 1}`);
    for (const contender of idle.contenders) {
      if (result.left_out.some(isAbout(contender, idle.key))) continue;
      const [server] = await startAll([contender], [idle.key]);
      if (server === undefined) continue;
      try {
        // What modules, compiled code and first buffers take is not of the sockets. These stay:
        // what closed ones leave, and what a load does, would take in those that are counted.
        const warm = await openIdle(server, idle, Math.min(WARM_SOCKETS, count));
        const figures = await holdIdle(server, idle, count);
        await warm.close();
        const user_bytes = figures.user_bytes - figures.young_bytes;
        record(result, idle.key, server.name, { ...figures, user_bytes });
      } catch (error) {
        leaveOut(contender, [idle.key], error);
      }
      await server.stop();
    }
  }
  progress("");
}

// The tables name them so, whatever the order of the rounds.
function inOrder(contenders, scenarioKeys) {
  for (const key of scenarioKeys)
    result.rounds[key] = Object.fromEntries(contenders.map(({ name }) => [name, {}]));
}

function isAbout({ name }, key) {
  return (one) => one.name === name && one.scenarios === key;
}

async function measureClients() {
  inOrder(clients.contenders, [clients.key]);
  const server = await start(clients.server);
  const words = [server.port, clients.count, clients.trips].map(String);
  const processes = await startAll(clients.contenders, [clients.key], words);
  await interleave(processes, [clients], [clients.key], async (process, { key }, isWarming) => {
    const before = await process.ask("cpu");
    const { messages, wrong, ms } = await process.ask("run");
    const after = await process.ask("cpu");
    if (wrong > 0) throw new Error(`${wrong} wrong messages`);
    if (isWarming) return;
    record(result, key, process.name, {
      messages,
      messages_per_s: Math.round((messages / ms) * 1000),
      ...cpuOf(before, after, messages),
      rss_kib: process.memory().VmRSS,
    });
  });
  await server.stop();
}

function rounded(number) {
  return Math.round(number * 1000) / 1000;
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
