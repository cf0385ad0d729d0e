// The servers that are compared: how each is installed, started, asked and stopped. One that cannot
// be installed or run is left out with its reason.
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const here = fileURLToPath(new URL(".", import.meta.url));
const modules = join(here, "node_modules");
const floor = join(here, "..", "build-release", "bench_floor");
/** A fixed handshake, recv(), unmasking and send(): what the kernel alone costs. */
export const socketFloor = join(here, "..", "build-release", "bench_ws_floor");
const ANSWER_MS = 30_000;
const INSTALL_MS = 300_000;

// A fixed answer behind recv() and send(), in C++, parsing nothing: what the kernel alone costs.
const isFixedAnswer = ({ answer, key }) => answer.body === "Hello, World!" && key !== "idle";

/**
 * In the order in which the tables name them. `ours` are judged by the targets; `serves` says which
 * scenarios one can take part in, all without it.
 */
export const contenders = [
  { name: "recv + send", runs: () => [floor, "--bare"], serves: isFixedAnswer },
  { name: "node:http", runs: () => node("node-http.mjs") },
  { name: "Fastify", runs: () => node(needing("fastify", "fastify.mjs")) },
  { name: "Bun", runs: () => [bunProgram(), join(here, "servers", "bun.mjs")] },
  { name: "millrace inline", runs: () => node("millrace.mjs", "0"), ours: true },
  { name: "millrace 1 loop", runs: () => node("millrace.mjs", "1"), ours: true },
];

// With gc() at hand, so that memory is read when what is garbage has gone.
function node(file, ...words) {
  return [process.execPath, "--expose-gc", join(here, "servers", file), ...words];
}

function needing(name, file) {
  if (!existsSync(join(modules, name))) throw new Error(`the ${name} package is not installed`);
  return file;
}

/** A program of servers/ under "node" or "bun". */
export function runOf(runtime, file, ...words) {
  if (runtime === "node") return node(file, ...words);
  return [bunProgram(), join(here, "servers", file), ...words];
}

export function npmSockets(file, ...words) {
  return node(needing("ws", file), ...words);
}

/** Installs what package-lock.json of this folder names; undefined, or why it could not. */
export function install() {
  if (isInstalled()) return undefined;
  process.stderr.write("bench: installing fastify, bun, busboy and ws into bench/node_modules\n");
  const quiet = ["--no-audit", "--no-fund", "--loglevel=error", "--fetch-retries=1"];
  // No install scripts: Bun's would only move the program that bunProgram() finds by itself.
  const words = ["ci", "--prefix", here, "--ignore-scripts", "--prefer-offline", ...quiet];
  const result = spawnSync("npm", words, { cwd: here, encoding: "utf8", timeout: INSTALL_MS });
  if (result.status === 0) return undefined;
  const said = (result.error?.message ?? result.stderr).trim().split("\n");
  return `npm ci in bench/ failed: ${said[0]}`;
}

function isInstalled() {
  const packages = (file) => JSON.parse(readFileSync(file, "utf8")).packages;
  const list = join(modules, ".package-lock.json");
  if (!existsSync(list)) return false;
  const installed = packages(list);
  return Object.entries(packages(join(here, "package-lock.json"))).every(
    ([path, { optional, version }]) =>
      path === "" || optional === true || installed[path]?.version === version,
  );
}

// The bun package brings one package per platform, and npm may install several (glibc, musl): the
// first that runs here is taken.
let foundBun;
function bunProgram() {
  const scope = join(modules, "@oven");
  const platforms = existsSync(scope) ? readdirSync(scope).sort() : [];
  const programs = platforms.map((name) => join(scope, name, "bin", "bun"));
  programs.push(join(modules, ".bin", "bun"));
  foundBun ??= programs.find(
    (program) => spawnSync(program, ["--version"], { timeout: ANSWER_MS }).status === 0,
  );
  if (foundBun === undefined) throw new Error("no program of the bun package runs here");
  return foundBun;
}

/** Starts one server, with `more` for who takes words; resolves when it listens. */
export async function start(contender, more) {
  const [program, ...words] = contender.runs(more);
  const child = spawn(program, words, {
    stdio: ["pipe", "pipe", "inherit"],
    env: { ...process.env, NODE_ENV: "production", NODE_OPTIONS: "" },
  });
  const server = new RunningServer(contender, child);
  return server.describe(await server.answer());
}

class RunningServer {
  #child;
  #lines;
  #ended;

  constructor({ name, ours = false }, child) {
    this.name = name;
    this.ours = ours;
    this.#child = child;
    this.#ended = new Promise((resolve) => child.once("close", resolve));
    child.once("error", () => {}); // the closed output says it too
    child.stdin.on("error", () => {});
    this.#lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  }

  describe({ port, version }) {
    this.port = port;
    this.version = version;
    return this;
  }

  /** The next line that the server says. One that says nothing for too long is ended. */
  async answer() {
    const timer = setTimeout(() => this.#child.kill("SIGKILL"), ANSWER_MS);
    const { value, done } = await this.#lines.next();
    clearTimeout(timer);
    if (!done) return JSON.parse(value);
    await this.#ended;
    throw new Error(`the server ended (${this.#child.signalCode ?? this.#child.exitCode})`);
  }

  /** "cpu" or "memory" of servers/control.mjs. */
  async ask(what) {
    this.#child.stdin.write(`${what}\n`);
    const { user_us: user, system_us: system, ...said } = await this.answer();
    return user === undefined ? said : { user, system }; // as native/bench/floor.cpp says it
  }

  /** Kilobytes by name from /proc, as VmRSS and RssAnon. */
  memory() {
    const status = readFileSync(`/proc/${this.#child.pid}/status`, "utf8");
    const sizes = status.matchAll(/^(VmRSS|RssAnon):\s+(\d+) kB$/gm);
    return Object.fromEntries([...sizes].map(([, name, size]) => [name, Number(size)]));
  }

  async stop() {
    this.#child.stdin.end();
    const timer = setTimeout(() => this.#child.kill("SIGKILL"), 5_000);
    await this.#ended;
    clearTimeout(timer);
  }
}

/** The commit of millrace, and whether its files differ from it; results do not count. */
export function commitOf() {
  const git = (...words) =>
    execFileSync("git", words, { cwd: here, encoding: "utf8", stdio: "pipe" }).trim();
  try {
    const changed = git(
      "status",
      "--porcelain",
      "--",
      ":/",
      ":!/bench/results",
      ":!/docs/bench.svg",
    );
    return { commit: git("rev-parse", "HEAD"), dirty: changed !== "" };
  } catch {
    return { commit: "unknown", dirty: true };
  }
}
