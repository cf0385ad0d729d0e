// As a service of systemd: sockets that it passes, and what it is told. The test is systemd: it
// passes descriptors from 3 on and listens on the socket of NOTIFY_SOCKET.
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server as NetServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { fillIn, passedSockets, watchdogMs } from "../src/restart/systemd.ts";
import { Child } from "./support/child.ts";
import { hasManager, startManager } from "./support/service_manager.ts";
import { until } from "./support/until.ts";
import { closeWires, Wire } from "./support/wire.ts";

let tmp = "";
beforeAll(() => {
  tmp = mkdtempSync(join(tmpdir(), "millrace-systemd-"));
});
afterAll(() => rmSync(tmp, { recursive: true, force: true }));
afterEach(closeWires);

async function listening(): Promise<NetServer> {
  const server = createServer().listen(0, "127.0.0.1");
  onTestFinished(() => void server.close());
  await until("it listens", () => server.listening);
  return server;
}

function fdOf(server: NetServer): number {
  return (server as unknown as { _handle: { fd: number } })._handle.fd;
}

function portOf(server: NetServer): number {
  return (server.address() as { port: number }).port;
}

/** Starts the service as systemd does: LISTEN_PID is the process that node becomes. */
async function service(
  options: object,
  sockets: readonly NetServer[] = [],
  env: Readonly<Record<string, string>> = {},
): Promise<Child> {
  const listen = sockets.length > 0 ? `LISTEN_PID=$$ LISTEN_FDS=${sockets.length}` : "";
  const run = `exec ${process.execPath} test/children/systemd.mjs`;
  const script = `LD_PRELOAD=$NODE_PRELOAD ${listen} ${run}`;
  const child = new Child(
    "sh",
    ["-c", script],
    {
      SYSTEMD_OPTIONS: JSON.stringify(options),
      NODE_PRELOAD: process.env["LD_PRELOAD"] ?? "", // of a sanitizer, for node alone
      ...env,
    },
    sockets.map(fdOf),
  );
  onTestFinished(async () => void (await child.stop("SIGKILL")));
  await child.said(/^(ready|failed) .*$/m);
  // Unlike systemd, Node would take connections itself.
  for (const each of sockets) each.close();
  return child;
}

async function manager(name: string): Promise<Child> {
  const child = await startManager(name);
  onTestFinished(async () => void (await child.stop("SIGKILL")));
  return child;
}

async function answerAt(port: number): Promise<string> {
  return (await new Wire({ port, host: "127.0.0.1" }).get("/").response()).body;
}

describe.each([0, 1])("sockets that systemd passes, %i loops", (loops) => {
  it("are all listened on with listen: systemd", async () => {
    const sockets = [await listening(), await listening()];
    const ports = sockets.map(portOf);
    const child = await service({ loops, listen: "systemd" }, sockets);
    expect(child.output).toBe(`ready ${ports.join(",")}\n`);
    for (const port of ports) expect(await answerAt(port)).toBe(String(child.process.pid));
    expect((await child.stop()).code).toBe(0);
  });

  it("are chosen by name, next to others", async () => {
    const first = await listening();
    const second = await listening();
    const env = { LISTEN_FDNAMES: "admin:web" };
    const options = { loops, listen: [{ port: 0 }, { systemd: "web" }] };
    const port = portOf(second);
    const child = await service(options, [first, second], env);
    expect(child.output).toMatch(new RegExp(`^ready \\d+,${port}$`, "m"));
    expect(await answerAt(port)).toBe(String(child.process.pid));
  });
});

describe("a service", () => {
  it("fails with a code when systemd has passed nothing, or not that", async () => {
    const none = await service({ listen: "systemd" });
    expect(none.output).toContain("ERR_MILLRACE_LISTEN_FAILED");
    expect(none.output).toContain("LISTEN_PID is not set");
    const other = await listening();
    const env = { LISTEN_FDNAMES: "admin" };
    const wrong = await service({ listen: [{ systemd: "web" }] }, [other], env);
    expect(wrong.output).toContain('no socket called "web"');
    expect(wrong.output).toContain('"admin"');
  });

  it.runIf(hasManager).each(["path", "abstract name"])(
    "tells a manager at a %s that it is ready, lives and stops",
    async (kind) => {
      const name = kind === "path" ? join(tmp, "notify") : `@millrace-${process.pid}`;
      const listener = await manager(name);
      const env = { NOTIFY_SOCKET: name, WATCHDOG_USEC: "100000" };
      const child = await service({ port: 0 }, [], env);
      await listener.said(/^READY=1$/m);
      await listener.said(/(WATCHDOG=1\n){3}/);
      const exit = await child.stop();
      expect(exit.code).toBe(0);
      await listener.said(/^STOPPING=1$/m);
      expect(listener.output.match(/READY=1/g)).toHaveLength(1);
    },
  );

  it.runIf(hasManager)("says nothing with systemd: false", async () => {
    const name = join(tmp, "silent");
    const listener = await manager(name);
    const child = await service({ port: 0, systemd: false }, [], { NOTIFY_SOCKET: name });
    expect((await child.stop()).code).toBe(0);
    expect(listener.output).toBe("listens\n");
  });

  it.runIf(hasManager).each(["servers", "child"])(
    "stops with the last of its servers, whatever other %s do",
    async (BESIDES) => {
      const name = join(tmp, BESIDES);
      const listener = await manager(name);
      const child = await service({ port: 0 }, [], { NOTIFY_SOCKET: name, BESIDES });
      expect(listener.output).not.toContain("STOPPING=1");
      expect((await child.stop()).code).toBe(0);
      await listener.said(/^STOPPING=1$/m);
      expect(listener.output.match(/STOPPING=1/g)).toHaveLength(1);
      expect(listener.output.match(/READY=1/g)).toHaveLength(BESIDES === "servers" ? 2 : 1);
    },
  );

  it("hands over all sockets of one name", async () => {
    const sockets = [await listening(), await listening()];
    const ports = sockets.map(portOf).join(",");
    const handover = { path: join(tmp, "named"), wait: 0 };
    const options = { listen: [{ systemd: "web" }], handover };
    const old = await service(options, sockets, { LISTEN_FDNAMES: "web:web" });
    for (const listen of [options.listen, "systemd"]) {
      const next = await service({ ...options, listen });
      expect(next.output).toBe(`ready ${ports}\n`);
    }
    expect((await old.exited).code).toBe(0);
  });

  it.runIf(hasManager)("tells whom to watch after a hand-over", async () => {
    const name = join(tmp, "main");
    const listener = await manager(name);
    const handover = { path: join(tmp, "hand"), wait: 0 };
    const env = { NOTIFY_SOCKET: name };
    const options = { port: 0, handover };
    const old = await service(options, [], env);
    const next = await service(options, [], env);
    expect((await old.exited).code).toBe(0);
    await listener.said(new RegExp(`^MAINPID=${next.process.pid} READY=1$`, "m"));
    const said = listener.output.split("\n").filter((line) => line !== "");
    expect(said[1]).toBe("READY=1");
    expect(said[2]).toMatch(/^RELOADING=1 MONOTONIC_USEC=\d+$/);
    expect(said.filter((line) => line.includes("STOPPING"))).toEqual([]);
  });
});

describe("the environment of systemd", () => {
  it("is another process's unless LISTEN_PID is ours", () => {
    const env = { LISTEN_PID: "7", LISTEN_FDS: "2", LISTEN_FDNAMES: "a" };
    expect(passedSockets(env, 8)).toEqual([]);
    expect(passedSockets(env, 7)).toEqual([
      { fd: 3, name: "a" },
      { fd: 4, name: "unknown" },
    ]);
    for (const LISTEN_FDS of ["", "0", "-1", "1.5", "x", "100000"])
      expect(passedSockets({ LISTEN_PID: "7", LISTEN_FDS }, 7)).toEqual([]);
  });

  it("gives every socket of a name, and keeps other listeners", () => {
    const passed = [
      { fd: 3, name: "a" },
      { fd: 4, name: "b" },
      { fd: 5, name: "a" },
    ];
    const plain = { fd: -1, label: "", port: 1 };
    const named = { fd: -1, label: "systemd:a", port: 0 };
    expect(fillIn([plain, named], passed).map(({ fd }) => fd)).toEqual([-1, 3, 5]);
    const all = { fd: -1, label: "systemd:*", port: 0 };
    expect(fillIn([all], passed).map(({ fd, label }) => [fd, label])).toEqual([
      [3, "systemd:a"],
      [4, "systemd:b"],
      [5, "systemd:a"],
    ]);
  });

  it("has the watchdog fed twice per period, by the process it was meant for", () => {
    expect(watchdogMs({ WATCHDOG_USEC: "3000000" }, false)).toBe(1500);
    expect(watchdogMs({ WATCHDOG_USEC: "3000000", WATCHDOG_PID: "7" }, false, 7)).toBe(1500);
    expect(watchdogMs({ WATCHDOG_USEC: "3000000", WATCHDOG_PID: "8" }, false, 7)).toBe(0);
    expect(watchdogMs({ WATCHDOG_USEC: "3000000", WATCHDOG_PID: "8" }, true, 7)).toBe(1500);
    for (const WATCHDOG_USEC of ["", "0", "x", "100"])
      expect(watchdogMs({ WATCHDOG_USEC }, false)).toBe(0);
  });
});
