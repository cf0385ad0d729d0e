// The units of examples/systemd, their lines taken as they stand, with this checkout's paths in
// place of those of a machine that it is installed on. The test is systemd, which accepts
// descriptors from 3 on; and systemd's own program is, where it is there.
import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server as NetServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, it, onTestFinished } from "vitest";
import { Child } from "./support/child.ts";
import { programNamed } from "./support/programs.ts";
import { hasManager, startManager } from "./support/service_manager.ts";
import { until } from "./support/until.ts";
import { Wire } from "./support/wire.ts";

const folder = fileURLToPath(new URL("../examples/systemd/", import.meta.url));
const analyze = programNamed("systemd-analyze");
const activate = programNamed("systemd-socket-activate");

let tmp = "";
beforeAll(() => {
  tmp = mkdtempSync(join(tmpdir(), "millrace-units-"));
});
afterAll(() => rmSync(tmp, { recursive: true, force: true }));

/** The values of a unit file by "Section.Name=", in their order. */
function unit(name: string): (key: string) => readonly string[] {
  const values = new Map<string, string[]>();
  let section = "";
  for (const line of readFileSync(join(folder, name), "utf8").split("\n")) {
    const [, header] = /^\[(\w+)\]$/.exec(line) ?? [];
    const [, key, value = ""] = /^(\w+)=(.*)$/.exec(line) ?? [];
    if (header !== undefined) section = header;
    else if (key !== undefined)
      values.set(`${section}.${key}`, [...(values.get(`${section}.${key}`) ?? []), value]);
    else expect(line).toMatch(/^(#.*)?$/);
  }
  return (key) => values.get(key) ?? [];
}

const service = unit("app.service");
const socket = unit("app.socket");

function only(values: readonly string[]): string {
  expect(values).toHaveLength(1);
  return values[0] as string;
}

/** ExecStart= with the paths of this machine. */
function command(): readonly string[] {
  const words = only(service("Service.ExecStart")).split(" ");
  const home = `${only(service("Service.WorkingDirectory"))}/`;
  expect([words.length, words[0], words[1]?.startsWith(home)]).toEqual([2, "/usr/bin/node", true]);
  return [process.execPath, join(folder, (words[1] as string).slice(home.length))];
}

/** Environment= as systemd sets it. */
function environment(): Record<string, string> {
  return Object.fromEntries(
    service("Service.Environment").map((line) => {
      const [name = "", value = ""] = line.split("=");
      return [name, value];
    }),
  );
}

/** A listening socket at `path`, which stays when Node's own end is closed. */
async function listenAt(path: string): Promise<NetServer> {
  const server = createServer().listen(`${path}.node`);
  onTestFinished(() => void server.close());
  await until("it listens", () => server.listening);
  renameSync(`${path}.node`, path); // Node removes the path that it knows
  return server;
}

async function ask(path: string): Promise<unknown> {
  const client = new Wire({ path });
  const lines = "X-Forwarded-For: 203.0.113.9\r\nConnection: close\r\n";
  const { body } = await client.get("/", lines).response();
  client.close();
  return JSON.parse(body);
}

it.runIf(hasManager)("is started, watched and stopped as the units say", async () => {
  const path = join(tmp, only(socket("Socket.ListenStream")).slice("/run/".length));
  const listener = await listenAt(path);
  const notify = join(tmp, "notify");
  const manager = await startManager(notify);
  onTestFinished(async () => void (await manager.stop("SIGKILL")));
  expect(only(service("Service.Type"))).toBe("notify");
  const seconds = Number(only(service("Service.WatchdogSec")));
  const env = {
    ...environment(),
    LISTEN_FDS: "1",
    LISTEN_FDNAMES: only(socket("Socket.FileDescriptorName")),
    NOTIFY_SOCKET: notify,
    WATCHDOG_USEC: String(seconds * 1_000_000),
    NODE_PRELOAD: process.env["LD_PRELOAD"] ?? "", // of a sanitizer, for node alone
  };
  const fd = (listener as unknown as { _handle: { fd: number } })._handle.fd;
  const words = ["-c", 'LD_PRELOAD=$NODE_PRELOAD LISTEN_PID=$$ exec "$@"', "sh", ...command()];
  const child = new Child("/bin/sh", words, env, [fd]);
  onTestFinished(async () => void (await child.stop("SIGKILL")));
  await child.said(/^app on unix:/m);
  listener.close();
  await manager.said(/^READY=1\nWATCHDOG=1$/m);
  expect(await ask(path)).toEqual({ client: "203.0.113.9", mode: "production" });
  expect(await child.stop("SIGTERM")).toEqual({ code: 0, signal: null });
  await manager.said(/^STOPPING=1$/m);
  expect(child.errors).toBe("");
  // What is in flight has the time that the program gives it before systemd kills it.
  expect(Number(only(service("Service.TimeoutStopSec")))).toBeGreaterThan(20);
});

const canActivate = activate !== undefined && !process.env["MILLRACE_SANITIZED"];

it.runIf(canActivate)("is started by systemd-socket-activate", async () => {
  const path = join(tmp, "activated.sock");
  const name = only(socket("Socket.FileDescriptorName"));
  const words = [`--listen=${path}`, `--fdname=${name}`, "-E", "NODE_ENV=production"];
  const addon = process.env["MILLRACE_ADDON"];
  if (addon !== undefined) words.push("-E", `MILLRACE_ADDON=${addon}`);
  const child = new Child(activate as string, [...words, ...command()]);
  onTestFinished(async () => void (await child.stop("SIGKILL")));
  await until("it listens", () => child.errors.includes("Listening on") || child.hasExited);
  // It starts the service when somebody comes, who waits meanwhile.
  expect(await ask(path)).toEqual({ client: "203.0.113.9", mode: "production" });
  expect(await ask(path)).toEqual({ client: "203.0.113.9", mode: "production" });
  expect(child.output).toMatch(/^app on unix:/);
  expect(await child.stop("SIGTERM")).toEqual({ code: 0, signal: null });
});

it.runIf(analyze !== undefined)("has units that systemd finds nothing wrong with", async () => {
  const [node = "", app = ""] = command();
  const paths = ["app.service", "app.socket"].map((name) => {
    const text = readFileSync(join(folder, name), "utf8");
    const own = text
      .replace(/^ExecStart=.*$/m, `ExecStart="${node}" "${app}"`)
      .replace(/^WorkingDirectory=.*$/m, `WorkingDirectory=${folder}`);
    writeFileSync(join(tmp, name), own);
    return join(tmp, name);
  });
  const child = new Child(analyze as string, ["verify", "--man=no", ...paths]);
  const { code } = await child.exited;
  expect([code, child.output, child.errors]).toEqual([0, "", ""]);
});
