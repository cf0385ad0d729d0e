// Restarts in which something goes wrong: neither process may take away what the other serves.
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { createServer, Server as NetServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import { type HandoverOptions, type ServeOptions, serve } from "../src/index.ts";
import { Child, node } from "./support/child.ts";
import { freePort } from "./support/nginx.ts";
import { until } from "./support/until.ts";
import { closeWires, Wire } from "./support/wire.ts";

interface Options extends Omit<ServeOptions, "handover" | "log"> {
  readonly handover?: HandoverOptions;
  readonly log?: { readonly level: "warn" };
  readonly others?: readonly Options[];
}

const program = "test/children/restart.mjs";

function spawn(options: Options, env: Readonly<Record<string, string>> = {}): Child {
  const child = node(program, { RESTART_OPTIONS: JSON.stringify(options), ...env });
  onTestFinished(async () => void (await child.stop("SIGKILL")));
  return child;
}

async function start(options: Options, env?: Readonly<Record<string, string>>): Promise<Child> {
  const child = spawn(options, env);
  await child.said(/^ready /m);
  return child;
}

function portsOf(child: Child): string {
  return (/^ready \d+ (.*)$/m.exec(child.output) as RegExpExecArray)[1] as string;
}

async function pidAt(where: string | number): Promise<number> {
  const at = typeof where === "string" ? { path: where } : { port: where, host: "127.0.0.1" };
  const client = new Wire(at);
  const { body } = await client.get("/pid").response();
  client.close();
  return Number(body);
}

/** How many descriptors the process has of each socket that listens on the port. */
function listening(pid: number, port: number): readonly [socket: string, count: number][] {
  const hex = port.toString(16).toUpperCase().padStart(4, "0");
  const rows = readFileSync(`/proc/${pid}/net/tcp`, "latin1").split("\n");
  const inodes = rows
    .map((row) => row.trim().split(/\s+/))
    .filter((row) => row[1]?.endsWith(`:${hex}`) && row[3] === "0A")
    .map((row) => `socket:[${row[9]}]`);
  const open = readdirSync(`/proc/${pid}/fd`).map((fd) => {
    try {
      return readlinkSync(`/proc/${pid}/fd/${fd}`);
    } catch {
      return "";
    }
  });
  return inodes
    .sort()
    .map((inode): [string, number] => [inode, open.filter((each) => each === inode).length]);
}

let tmp = "";
let last = 0;
const at = (name: string): string => join(tmp, `${(last += 1)}-${name}`);
beforeAll(() => {
  tmp = mkdtempSync(join(tmpdir(), "millrace-restart-"));
});
afterAll(() => rmSync(tmp, { recursive: true, force: true }));
afterEach(closeWires);

describe("a start that fails behind the taking over", () => {
  it("leaves the old process and its path alone, and can be tried again", async () => {
    const unix = at("app");
    const options: Options = { unix, handover: { path: at("hand"), wait: 0 } };
    const old = await start(options);
    const next = spawn(options, { FATE: "fail" });
    await next.said(/^failed no such hub$/m);
    expect(await pidAt(unix)).toBe(old.process.pid);
    next.process.kill("SIGUSR2");
    await next.said(/^ready /m);
    expect((await old.exited).code).toBe(0);
    expect(await pidAt(unix)).toBe(next.process.pid);
  });

  it("does so when it is aborted", async () => {
    const unix = at("app");
    const options: Options = { unix, handover: { path: at("hand"), wait: 0 } };
    const old = await start(options);
    const aborted = spawn(options, { FATE: "abort" });
    await aborted.said(/^closed /m);
    expect((await aborted.exited).code).toBe(0);
    expect(await pidAt(unix)).toBe(old.process.pid);
    expect(old.output).not.toContain("handed over");
    const next = await start(options);
    expect((await old.exited).code).toBe(0);
    expect(await pidAt(unix)).toBe(next.process.pid);
  });
});

describe("an old process", () => {
  it("that is told to end while it hands over leaves the path to the new one", async () => {
    const unix = at("app");
    const path = at("hand");
    const go = at("go");
    const options: Options = { unix, handover: { path, wait: 0 } };
    const old = await start(options);
    const next = spawn(options, { FATE: `wait ${go}` });
    await next.said(/^waits$/m);
    expect((await old.stop("SIGTERM")).code).toBe(0);
    writeFileSync(go, "");
    await next.said(/^ready /m);
    expect(await pidAt(unix)).toBe(next.process.pid);
    const third = await start(options);
    expect((await next.exited).code).toBe(0);
    expect(await pidAt(unix)).toBe(third.process.pid);
  });

  it("that did not wait for the new one is asked again", async () => {
    const unix = at("app");
    const go = at("go");
    const handover = { path: at("hand"), wait: 0 };
    const options: Options = { unix, handover, log: { level: "warn" } };
    const old = await start(options, { TIMER: "30000 500" });
    const next = spawn(options, { FATE: `wait ${go}` });
    await next.said(/^waits$/m);
    await until("it waits no longer", () => old.errors.includes("nobody has taken over"));
    expect(await pidAt(unix)).toBe(old.process.pid);
    writeFileSync(go, "");
    await next.said(/^ready /m);
    expect((await old.exited).code).toBe(0);
    expect(old.output).toContain(`handed over to ${next.process.pid}`);
    const third = await start(options);
    expect((await next.exited).code).toBe(0);
    expect(await pidAt(unix)).toBe(third.process.pid);
  });

  it("that hangs does not keep the new one from ending", async () => {
    const options: Options = { port: await freePort(), handover: { path: at("hand") } };
    const old = await start(options);
    const env = { FATE: `stop ${old.process.pid}`, TIMER: "10000 100" };
    const next = await start(options, env);
    expect(await next.stop("SIGTERM")).toEqual({ code: 0, signal: null });
  });

  it("whose onHandedOver throws logs that and leaves", async () => {
    const handover = { path: at("hand"), wait: 0 };
    const options: Options = { port: await freePort(), handover, log: { level: "warn" } };
    const old = await start(options, { FATE: "throw" });
    await start(options);
    expect(await old.exited).toEqual({ code: 0, signal: null });
    expect(old.errors).toContain("handover.onHandedOver threw: Error: as it happens");
  });

  it("ends by itself only behind all its servers", async () => {
    const [first, second] = [await freePort(), await freePort()];
    const one = { port: first, handover: { path: at("one"), wait: 0, exit: true } };
    const other = { port: second, handover: { path: at("other"), wait: 0, exit: true } };
    const old = await start({ ...one, others: [other] });
    await start(one);
    await old.said(/^closed /m);
    expect(await pidAt(second)).toBe(old.process.pid);
    await start(other);
    expect((await old.exited).code).toBe(0);
  });
});

describe("several listeners", () => {
  it("on port 0 keep their ports and their order", async () => {
    const listen = [{ port: 0 }, { port: 0 }];
    const options: Options = { listen, handover: { path: at("hand"), wait: 0 } };
    const old = await start(options);
    const next = await start(options);
    expect(portsOf(next)).toBe(portsOf(old));
    expect(portsOf(await start(options))).toBe(portsOf(old));
  });

  it.runIf(process.platform === "linux")("on one port go over all, and none leaks", async () => {
    const port = await freePort();
    const both = { port, reusePort: true };
    const handover = { path: at("hand"), wait: 0 };
    const old = await start({ loops: 1, listen: [both, both], handover });
    const before = listening(old.process.pid as number, port);
    expect(before).toHaveLength(2);
    const next = await start({ loops: 1, listen: [both, both], handover });
    expect((await old.exited).code).toBe(0);
    expect(listening(next.process.pid as number, port)).toEqual(before);
    const third = await start({ loops: 1, listen: [both], handover });
    expect((await next.exited).code).toBe(0);
    expect(listening(third.process.pid as number, port)).toHaveLength(1);
  });

  it("of inherited descriptors go over again and again", async () => {
    const parent = createServer().listen(0, "127.0.0.1");
    await until("it listens", () => parent.listening);
    const { fd } = (parent as unknown as { _handle: { fd: number } })._handle;
    const { port } = parent.address() as { port: number };
    const options: Options = { fd: 3, handover: { path: at("hand"), wait: 0 } };
    const env = { RESTART_OPTIONS: JSON.stringify(options) };
    const old = new Child(process.execPath, [program], env, [fd]);
    onTestFinished(async () => void (await old.stop("SIGKILL")));
    await old.said(/^ready /m);
    parent.close();
    const next = await start(options);
    const third = await start(options);
    for (const each of [old, next]) expect((await each.exited).code).toBe(0);
    expect(await pidAt(port)).toBe(third.process.pid);
  });
});

describe("the path", () => {
  const handler = (): undefined => undefined;

  it("belongs to one server of a process", async () => {
    const handover = at("hand");
    const first = await serve({ port: 0, handover, silent: true, handler });
    onTestFinished(async () => void (await first.close()));
    const failure = {
      code: "ERR_MILLRACE_HAND_OVER",
      message: expect.stringContaining("another server of this process") as string,
    };
    const again = serve({ port: 0, handover, silent: true, handler });
    await expect(again).rejects.toMatchObject(failure);
    const path = at("hand");
    const both = [1, 2].map(() => serve({ port: 0, handover: path, silent: true, handler }));
    const results = await Promise.allSettled(both);
    expect(results.map(({ status }) => status).sort()).toEqual(["fulfilled", "rejected"]);
    for (const result of results) {
      if (result.status === "fulfilled") await result.value.close();
      else expect(result.reason).toMatchObject({ code: "ERR_MILLRACE_HAND_OVER" });
    }
    expect(existsSync(path)).toBe(false);
    expect(existsSync(handover)).toBe(true);
  });

  it("is nobody else's at any time", async () => {
    const path = at("hand");
    const listen = vi.spyOn(NetServer.prototype, "listen");
    onTestFinished(() => listen.mockRestore());
    const modes: number[] = [];
    listen.mockImplementationOnce(function (this: NetServer, ...values: unknown[]): NetServer {
      const [made] = values as [{ path: string }];
      modes.push(statSync(dirname(made.path)).mode & 0o777);
      return this.listen(...(values as []));
    });
    const server = await serve({ port: 0, handover: path, silent: true, handler });
    expect(modes).toEqual([0o700]);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(readdirSync(tmp).filter((name) => name.startsWith(".h"))).toEqual([]);
    await server.close();
    expect(existsSync(path)).toBe(false);
  });
});
