// One slice of load on one server, and what its idle connections cost. The load is made by
// native/bench/blast.cpp; CPU time is the server's own getrusage, all threads.
import { execFile, spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import http from "node:http";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const blast = fileURLToPath(new URL("../build-release/bench_blast", import.meta.url));
const ATTEMPTS = 3;

export function isBlastBuilt() {
  return existsSync(blast);
}

/** Connections of the wanted that one process may hold here; Node raises its limit by itself. */
export function affordableConnections(wanted) {
  const limit = /^Max open files\s+\S+\s+(\d+)/m.exec(readFileSync("/proc/self/limits", "utf8"));
  return limit === null ? wanted : Math.min(wanted, Number(limit[1]) - 200);
}

/** Throws unless the server gives the answer of the scenario. */
export async function checkAnswer(server, scenario) {
  const { answer } = scenario;
  const got = await request(server.port, scenario);
  const differs =
    got.status !== 200
      ? `status ${got.status}`
      : got.type !== answer.type
        ? `media type ${got.type}`
        : got.body !== answer.body
          ? `body ${JSON.stringify(got.body.slice(0, 80))}`
          : undefined;
  if (differs !== undefined) throw new Error(`answers otherwise than agreed: ${differs}`);
}

function request(port, { path, headers, body }) {
  const lines = headers.map((line) => line.split(": "));
  const options = {
    port,
    path,
    host: "127.0.0.1",
    method: body === "" ? "GET" : "POST",
    headers: Object.fromEntries(lines),
    agent: false,
  };
  return new Promise((resolve, reject) => {
    const sent = http.request(options, async (response) => {
      const parts = await response.toArray();
      resolve({
        status: response.statusCode,
        type: (response.headers["content-type"] ?? "").split(";")[0],
        body: Buffer.concat(parts).toString(),
      });
    });
    sent.on("error", reject).end(body);
  });
}

/** What blast is told about a scenario. */
export function wordsOf({ port }, { path, headers, body, depth, connections, words: more = [] }) {
  const words = ["--port", port, "--path", path, "--connections", connections, "--depth", depth];
  if (body !== "") words.push("--body-bytes", body.length);
  return [...words.map(String), ...headers.flatMap((line) => ["--header", line]), ...more];
}

/** Loads the server for some seconds; throws when an answer was wrong or a connection broke. */
export async function slice(server, scenario, seconds) {
  const words = [...wordsOf(server, scenario), "--seconds", String(seconds)];
  // A short slice on a busy machine may end before the first answer: that is nobody's fault.
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    const before = await server.ask("cpu");
    const load = await runBlast(words, seconds);
    const after = await server.ask("cpu");
    if (load.wrong + load.broken > 0) {
      throw new Error(`${load.wrong} wrong answers, ${load.broken} broken connections`);
    }
    if (load.requests > 0) return figuresOf(load, before, after, server.memory());
  }
  throw new Error(`no answer in ${ATTEMPTS} times ${seconds} s`);
}

function figuresOf({ requests, rps, p50_us, p99_us }, before, after, memory) {
  const user = after.user - before.user;
  const system = after.system - before.system;
  return {
    requests,
    rps,
    cpu_us: rounded((user + system) / requests),
    user_us: rounded(user / requests),
    system_us: rounded(system / requests),
    p50_us,
    p99_us,
    rss_kib: memory.VmRSS,
  };
}

// It fails with its figures on standard output, or with a reason on the other one.
function runBlast(words, seconds) {
  const timeout = (seconds + 30) * 1000;
  return new Promise((resolve, reject) => {
    execFile(blast, words, { timeout }, (error, stdout, stderr) => {
      if (stdout.startsWith("{")) resolve(JSON.parse(stdout));
      else reject(new Error(stderr.trim().split("\n")[0] || error?.message));
    });
  });
}

/**
 * Has blast open its WebSockets, calls `atBegin`, has it load the server, calls `atEnd`, and has it
 * leave. Resolves with what it reports, wrong or right.
 */
export async function runGated(words, { seconds, atBegin, atEnd }) {
  const child = spawn(blast, [...words, "--gated"], { stdio: ["pipe", "pipe", "inherit"] });
  const ended = new Promise((resolve) => child.once("close", resolve));
  child.once("error", () => {});
  child.stdin.on("error", () => {});
  const timer = setTimeout(() => child.kill("SIGKILL"), (seconds + 60) * 1000);
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const report = async () => {
    const { value, done } = await lines.next();
    if (done) throw new Error(`blast ${words.join(" ")} ended early`);
    return JSON.parse(value);
  };
  try {
    await report();
    await atBegin();
    child.stdin.write("\n");
    const load = await report();
    await atEnd();
    return load;
  } finally {
    child.stdin.end();
    await ended;
    clearTimeout(timer);
  }
}

/** Opens connections that are answered once, reads what they cost, and asks each again. */
export async function holdIdle(server, scenario, count) {
  const before = await settledMemory(server);
  const held = await openIdle(server, scenario, count);
  const after = await settledMemory(server);
  await held.close();
  return growth(before, after, count);
}

/** Opens connections that are answered once; `close()` asks each again, and leaves. */
export async function openIdle(server, scenario, count) {
  const words = [...wordsOf(server, scenario), "--idle", String(count)];
  const child = spawn(blast, words, { stdio: ["pipe", "pipe", "inherit"] });
  child.once("error", () => {});
  child.stdin.on("error", () => {});
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const report = async () => {
    const { value, done } = await lines.next();
    if (done) throw new Error(`blast --idle ${count} ended early`);
    return JSON.parse(value);
  };
  const close = async () => {
    child.stdin.end();
    const { again, wrong, broken } = await report();
    if (again !== count || wrong !== 0 || broken !== 0) {
      throw new Error(`of ${count} idle connections ${again} answered again, ${wrong} wrongly`);
    }
  };
  try {
    await report();
  } catch (error) {
    child.stdin.end();
    throw error;
  }
  return { close };
}

async function settledMemory(server) {
  const statistics = await server.ask("memory");
  return { ...server.memory(), ...statistics };
}

// User memory is what the process has to itself: pages of files it maps are not of connections.
// `young_bytes` of it are V8's young generation.
function growth(before, after, connections) {
  const each = (name) => Math.round(((after[name] - before[name]) * 1024) / connections);
  const blocks = after.blocks === undefined ? {} : { blocks: after.blocks - before.blocks };
  const young = after.young_kib === undefined ? {} : { young_bytes: each("young_kib") };
  return {
    rss_bytes: each("VmRSS"),
    user_bytes: each("RssAnon"),
    ...young,
    rss_kib_before: before.VmRSS,
    rss_kib_after: after.VmRSS,
    ...blocks,
  };
}

function rounded(number) {
  return Math.round(number * 1000) / 1000;
}
