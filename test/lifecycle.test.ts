// A server's life: where it listens, how it ends, and that nothing stays behind.
import { readdirSync, readlinkSync, statSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, it, onTestFinished, vi } from "vitest";
import { type Res, raw, type Server, serve } from "../src/index.ts";
import { Child } from "./support/child.ts";
import { census, onEachHost, portOf } from "./support/hosts.ts";
import { freePort } from "./support/nginx.ts";
import { until } from "./support/until.ts";
import { closeWires, Wire, wire } from "./support/wire.ts";

const servers = fileURLToPath(new URL("children/servers.mjs", import.meta.url));
const hello = raw((_req, res) => void res.end("hello"));
const routes = { "/": hello };

/** Descriptors of this process by what they are: "socket", "anon_inode:[eventpoll]". */
function descriptors(): Readonly<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const fd of readdirSync("/proc/self/fd")) {
    try {
      const kind = readlinkSync(`/proc/self/fd/${fd}`).replace(/:\[\d+\]$/, "");
      if (/^(socket|pipe|anon_inode)/.test(kind)) counts[kind] = (counts[kind] ?? 0) + 1;
    } catch {
      // The one that the listing itself had open.
    }
  }
  return Object.fromEntries(Object.entries(counts).sort());
}

const own = descriptors()["anon_inode:[eventpoll]"]; // of Node itself

/** Waits until the descriptors are those: libuv closes its own, and ours, a turn later. */
async function descriptorsAre(expected: Readonly<Record<string, number>>): Promise<void> {
  const isSame = (): boolean => JSON.stringify(descriptors()) === JSON.stringify(expected);
  await until("the descriptors are as before", isSame).catch(() => undefined);
  expect(descriptors()).toEqual(expected);
}

async function folder(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), "millrace-"));
  onTestFinished(() => rm(path, { recursive: true }));
  return path;
}

async function text(server: Server, at = 0): Promise<string> {
  const client = await wire(server, at);
  return (await client.get("/").response()).body;
}

async function isRefused(port: number): Promise<boolean> {
  const client = new Wire({ port, host: "127.0.0.1" });
  await until("the attempt is over", () => client.error !== "" || !client.socket.connecting);
  return client.error === "ECONNREFUSED";
}

onEachHost(({ loops, start }) => {
  it("rejects when the address is in use, and can be tried again", async () => {
    const first = await start({ routes });
    const options = { port: portOf(first), routes };
    const failure = {
      code: "ERR_MILLRACE_ADDR_IN_USE",
      cause: { code: "EADDRINUSE" },
      message: expect.stringContaining(`127.0.0.1:${options.port}`) as string,
    };
    await expect(start(options)).rejects.toMatchObject(failure);
    expect(await text(first)).toBe("hello");
    const foreign = createServer().listen(0, "127.0.0.1");
    await until("it listens", () => foreign.listening);
    const { port } = foreign.address() as { port: number };
    await expect(start({ port, routes })).rejects.toMatchObject({ code: failure.code });
    foreign.close();
    await first.close();
    const second = await start(options);
    expect(portOf(second)).toBe(options.port);
    expect(await text(second)).toBe("hello");
  });

  it("says what is wrong with an address, and keeps nothing of a half-made server", async () => {
    await until("earlier servers are gone", () => descriptors()["anon_inode:[eventpoll]"] === own);
    const before = descriptors();
    const away = { listen: [{ port: 0 }, { hostname: "192.0.2.1", port: 0 }], routes };
    await expect(start(away)).rejects.toMatchObject({ code: "ERR_MILLRACE_ADDR_NOT_AVAILABLE" });
    const nowhere = { unix: "/nonexistent/x.sock", routes };
    await expect(start(nowhere)).rejects.toMatchObject({ code: "ERR_MILLRACE_LISTEN_FAILED" });
    const file = join(await folder(), "file");
    writeFileSync(file, "precious");
    await expect(start({ unix: file, routes })).rejects.toThrow(/EEXIST|EADDRINUSE/);
    expect(statSync(file).size).toBe(8);
    await expect(start({ fd: 0, routes })).rejects.toMatchObject({
      code: "ERR_MILLRACE_LISTEN_FAILED",
    });
    expect(census()).toEqual({ servers: 0, lanes: 0, blobs: 0 });
    await descriptorsAre(before);
  });

  it("listens on IPv4, IPv6 and a unix socket with a mode at once", async () => {
    const unix = join(await folder(), "m.sock");
    const ctx: unknown[] = [];
    const server = await start({
      listen: [{ port: 0 }, { hostname: "::1", port: 0 }, { unix, mode: 0o640 }],
      routes: {
        "/": (_request, { localAddress, remoteAddress }) => {
          ctx.push([localAddress.family, remoteAddress.family, remoteAddress.address]);
          return new Response("hello");
        },
      },
    });
    expect(server.addresses.map(({ family }) => family)).toEqual(["IPv4", "IPv6", "unix"]);
    expect(server.addresses[2]).toEqual({ family: "unix", address: unix, port: 0 });
    expect(server.url).toBe(`http://127.0.0.1:${portOf(server)}`);
    expect(statSync(unix).mode & 0o777).toBe(0o640);
    for (const at of [0, 1, 2]) expect(await text(server, at)).toBe("hello");
    expect(ctx).toEqual([
      ["IPv4", "IPv4", "127.0.0.1"],
      ["IPv6", "IPv6", "::1"],
      ["unix", "unix", ""],
    ]);
    await server.close();
    expect(() => statSync(unix)).toThrow("ENOENT");
  });

  it("serves on an inherited descriptor", async () => {
    const parent = createServer().listen(0, "127.0.0.1");
    await until("it listens", () => parent.listening);
    const { fd } = (parent as unknown as { _handle: { fd: number } })._handle;
    const { port } = parent.address() as { port: number };
    const child = new Child(process.execPath, [servers, "inherited", `${loops}`, `${3}`], {}, [fd]);
    try {
      await child.said(/listening .*"port":(\d+)/);
      parent.close();
      const client = new Wire({ port, host: "127.0.0.1" });
      expect((await client.get("/").response()).body).toBe("hello");
      client.close();
    } finally {
      expect(await child.stop()).toEqual({ code: 0, signal: null });
    }
    expect(child.output).toContain("closed");
    expect(await isRefused(port)).toBe(true);
  });

  it("keeps the process alive until unref()", async () => {
    const leaving = new Child(process.execPath, [servers, "unref", `${loops}`]);
    expect(await leaving.exited).toEqual({ code: 0, signal: null });
    expect(leaving.output).toContain("unref http://127.0.0.1:");
    const staying = new Child(process.execPath, [servers, "ref", `${loops}`]);
    const [, url] = await staying.said(/listening (\S+)/);
    expect(await (await fetch(url as string)).text()).toBe("hello");
    expect(staying.hasExited).toBe(false);
    expect(await staying.stop()).toEqual({ code: null, signal: "SIGTERM" });
  });

  it("closes: no new connections, idle ones cut, what is in flight finished", async () => {
    const held: Res[] = [];
    const server = await start({
      routes: { "/": hello, "/slow": raw((_req, res) => void held.push(res.detach())) },
    });
    const idle = await wire(server);
    expect((await idle.get("/").response()).headers.get("connection")).toBeUndefined();
    const busy = await wire(server);
    busy.get("/slow");
    await until("the slow one is in flight", () => held.length === 1);
    let isClosed = false;
    const closing = server.close({ timeout: 20_000 }).finally(() => (isClosed = true));
    expect(server.close(), "the same promise").toBe(server.closed);
    await idle.end();
    expect(idle.buffer).toBe("");
    // Each loop lets go of the listening socket in its own next turn.
    await until("no loop listens any more", () => isRefused(portOf(server)));
    expect(isClosed).toBe(false);
    expect(held[0]?.end("done")).toBe(true);
    const answer = await busy.response();
    expect(answer).toMatchObject({ status: 200, body: "done" });
    expect(answer.headers.get("connection")).toBe("close");
    await busy.end();
    busy.close();
    expect(await closing).toEqual({ completed: 1, forced: 0 });
    expect(await server.closed).toEqual({ completed: 1, forced: 0 });
    expect(await server.close({ timeout: 0 })).toEqual({ completed: 1, forced: 0 });
  });

  it("cuts what is in flight when close()'s timeout is over, and tells the handlers", async () => {
    const held: Res[] = [];
    const signals: AbortSignal[] = [];
    const server = await start({
      handler: (req, res) => {
        signals.push(req.signal);
        held.push(res.detach());
      },
    });
    const clients = await Promise.all([wire(server), wire(server), wire(server)]);
    for (const client of clients) client.get("/");
    await until("all are in flight", () => held.length === 3);
    const before = performance.now();
    expect(await server.close({ timeout: 100 })).toEqual({ completed: 0, forced: 3 });
    expect(performance.now() - before).toBeLessThan(5000);
    for (const client of clients) {
      await client.end();
      expect(client.buffer).toBe("");
    }
    expect(signals.map(({ aborted }) => aborted)).toEqual([true, true, true]);
    expect(held.map((res) => [res.state, res.end("late")])).toEqual(
      Array(3).fill(["aborted", false]),
    );
  });

  it("waits for what waitUntil() was given", async () => {
    let isDone = false;
    const server = await start({
      routes: {
        "/": (_request, ctx) => {
          ctx.waitUntil(
            new Promise((resolve) => setTimeout(resolve, 30)).then(() => (isDone = true)),
          );
          return new Response("at once");
        },
      },
    });
    expect(await text(server)).toBe("at once");
    await server.close();
    expect(isDone).toBe(true);
  });

  it("goes on serving after drain(), one more answer per connection", async () => {
    const server = await start({ routes, health: { ready: "/ready" } });
    const held = await wire(server);
    held.send("GET / HTTP/1.1\r\n");
    await until("half a head is there", () => server.metrics.bytesIn > 0);
    server.drain();
    await until("it drains", async () => {
      const client = await wire(server);
      return (
        (
          await client
            .get("/ready")
            .response()
            .catch(() => undefined)
        )?.status === 503
      );
    });
    held.send("Host: a\r\n\r\n");
    expect((await held.response()).headers.get("connection")).toBe("close");
    const late = await wire(server);
    expect((await late.get("/").response()).headers.get("connection")).toBe("close");
    await late.end();
  });

  it("closes by await using, and by an AbortSignal", async () => {
    let url = "";
    {
      await using server = await start({ routes });
      ({ url } = server);
      expect(await text(server)).toBe("hello");
    }
    expect(await isRefused(Number(new URL(url).port))).toBe(true);
    const controller = new AbortController();
    const server = await start({ routes, signal: controller.signal });
    controller.abort();
    expect(await server.closed).toEqual({ completed: 0, forced: 0 });
    const never = serve({ port: 0, loops, routes, signal: AbortSignal.abort() });
    await expect(never).rejects.toMatchObject({ code: "ERR_MILLRACE_CLOSED" });
  });

  it("closes at once when its AbortSignal was aborted while it started", async () => {
    const controller = new AbortController();
    const starting = start({ routes, signal: controller.signal });
    controller.abort();
    const server = await starting;
    expect(await server.closed).toEqual({ completed: 0, forced: 0 });
    await until("nobody listens", () => isRefused(portOf(server)));
  });

  it("finishes what is in flight on SIGTERM, and the process ends by itself", async () => {
    const child = new Child(process.execPath, [servers, "graceful", `${loops}`]);
    const [, url] = await child.said(/listening (\S+)/);
    const answer = fetch(`${url}/slow`).then((response) => response.text());
    await child.said(/slow is there/);
    expect(await child.stop("SIGTERM")).toEqual({ code: 0, signal: null });
    expect(await answer).toBe("slow but sure");
    expect(child.output).toContain('closed {"completed":1,"forced":0}');
  });

  it("has one listener for a signal, however many servers it closes", async () => {
    const before = process.listenerCount("SIGUSR2");
    const signals: NodeJS.Signals[] = ["SIGUSR2"];
    const gracefulShutdown = { signals, timeout: 0, wait: 0 };
    const many = await Promise.all(
      Array.from({ length: 12 }, () => start({ routes, gracefulShutdown })),
    );
    expect(process.listenerCount("SIGUSR2")).toBe(before + 1);
    await many.pop()?.close();
    expect(process.listenerCount("SIGUSR2")).toBe(before + 1);
    process.emit("SIGUSR2");
    expect(process.listenerCount("SIGUSR2")).toBe(before);
    await Promise.all(many.map(({ closed }) => closed));
    const last = await start({ routes, gracefulShutdown });
    expect(process.listenerCount("SIGUSR2")).toBe(before + 1);
    await last.close();
    expect(process.listenerCount("SIGUSR2")).toBe(before);
  });

  it("is closed again when it cannot listen to a signal", async () => {
    const on = vi.spyOn(process, "on").mockImplementation((name, listener) => {
      if (name === "SIGUSR2") throw new Error("uv_signal_start EINVAL");
      return process.addListener(name as "exit", listener);
    });
    onTestFinished(() => void on.mockRestore());
    const port = await freePort();
    const gracefulShutdown = { signals: ["SIGUSR2" as const], timeout: 0, wait: 0 };
    await expect(start({ port, routes, gracefulShutdown })).rejects.toThrow("uv_signal_start");
    expect(await isRefused(port)).toBe(true);
    expect(census()).toEqual({ servers: 0, lanes: 0, blobs: 0 });
  });

  it("closes in no more time than the last close() gives", async () => {
    const never = new Promise<never>(() => undefined);
    const server = await start({
      log: { level: "debug", write: () => never }, // hangs with the first record
      routes: {
        "/": (_request, ctx) => {
          ctx.waitUntil(never);
          return new Response("at once");
        },
      },
    });
    expect(await text(server)).toBe("at once");
    closeWires();
    const closing = server.close({ timeout: 600_000 });
    await until("nobody listens", () => isRefused(portOf(server)));
    await until("no connection is left", () => server.metrics.connections === 0);
    // Only what was given to waitUntil() is left to wait for.
    for (let turn = 0; turn < 100; turn += 1) await new Promise(setImmediate);
    void server.close({ timeout: 0 });
    await closing;
  });

  it("runs forty servers in one process", async () => {
    const many = await Promise.all(
      Array.from({ length: 40 }, (_, n) =>
        start({ routes: { "/": raw((_req, res) => void res.end(`${n}`)) } }),
      ),
    );
    expect(census()).toMatchObject({ servers: 40, lanes: 40 * Math.max(1, loops) });
    // Some in the middle go, and their places are taken again.
    await Promise.all(many.splice(10, 5).map((server) => server.close()));
    many.push(await start({ routes: { "/": raw((_req, res) => void res.end("39")) } }));
    const texts = await Promise.all(many.map((server) => text(server)));
    expect(new Set(texts).size).toBe(35);
  });

  it("starts and closes two hundred times and leaks nothing", async () => {
    const cycle = async (): Promise<void> => {
      const server = await start({ routes });
      expect(await text(server)).toBe("hello");
      await server.close();
    };
    await cycle();
    const before = descriptors();
    for (let i = 0; i < 200; i += 1) await cycle();
    expect(census()).toEqual({ servers: 0, lanes: 0, blobs: 0 });
    await descriptorsAre(before);
  });
});
