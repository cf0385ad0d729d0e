// What a server logs, where it goes, and that no logger harms it.
import { closeSync, openSync, readFileSync, renameSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it, onTestFinished } from "vitest";
import { FileLogger, type LogRecord, raw, type Server } from "../src/index.ts";
import { Child } from "./support/child.ts";
import { onEachHost, portOf } from "./support/hosts.ts";
import { gate, until } from "./support/until.ts";
import { wire } from "./support/wire.ts";

const program = fileURLToPath(new URL("children/logging.mjs", import.meta.url));

async function folder(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), "millrace-"));
  onTestFinished(() => rm(path, { recursive: true }));
  return path;
}

function linesOf(path: string): string[] {
  return readFileSync(path, "utf8").split("\n").slice(0, -1);
}

async function get(server: Server, target = "/"): Promise<number> {
  const client = await wire(server);
  const { status } = await client.get(target).response();
  client.close();
  return status;
}

const broken = raw(() => {
  throw new TypeError("thrown on purpose");
});

onEachHost(({ loops, start }) => {
  it("logs its life, requests and failures with what they belong to", async () => {
    const records: LogRecord[] = [];
    const server = await start({
      name: "shop",
      log: { level: "debug", write: (record) => void records.push(record) },
      routes: { "/": raw((_req, res) => void res.end("x")), "/broken": broken },
    });
    expect([server.name, server.logLevel]).toEqual(["shop", "debug"]);
    expect(await get(server, "/?q=1")).toBe(200);
    expect(await get(server, "/broken")).toBe(500);
    await until("both ends are logged", () => records.filter(({ cause }) => cause).length === 2);
    await server.close();
    const url = `http://127.0.0.1:${portOf(server)}`;
    const count = loops === 1 ? "1 loop" : `${loops || "no"} loops`;
    const said = records.map(({ levelName, msg }) => `${levelName} ${msg}`);
    expect(said[0]).toBe(`info listening at ${url} with ${count} (${server.poller})`);
    expect(said.at(-1)).toBe("info stopped: 0 answered while closing, 0 cut");
    expect(said).toContainEqual(
      expect.stringMatching(/^debug \d+\.\d+\.\d+: GET \/\?q=1 HTTP\/1\.1$/),
    );
    expect(said).toContainEqual(
      expect.stringMatching(/^debug connection \d+\.\d+\.\d+ ClosedByClient/),
    );
    const failure = records.find(({ levelName }) => levelName === "error");
    expect(failure).toMatchObject({
      msg: "GET /broken: the handler threw; 500 was sent",
      code: "ERR_MILLRACE_HANDLER_FAILED",
      server: "shop",
      serverId: server.id,
      err: { type: "TypeError", message: "thrown on purpose" },
    });
    const ids = records.flatMap(({ msg, connection }) =>
      msg.includes("GET /?q") ? connection : [],
    );
    expect(records.some(({ connection, cause }) => connection === ids[0] && cause)).toBe(true);
  });

  it("says with fatal why it did not start, before the promise is rejected", async () => {
    const records: LogRecord[] = [];
    const options = {
      name: "shop",
      log: { level: "fatal", write: (record: LogRecord) => void records.push(record) },
      routes: { "/": broken },
    } as const;
    const first = await start({ routes: { "/": broken } });
    await expect(start({ ...options, port: portOf(first) })).rejects.toThrow("EADDRINUSE");
    expect(records).toMatchObject([
      {
        levelName: "fatal",
        code: "ERR_MILLRACE_ADDR_IN_USE",
        msg: expect.stringContaining(`127.0.0.1:${portOf(first)}`) as string,
        server: "shop",
        serverId: first.id + 1,
        err: { type: "MillraceError" },
      },
    ]);
    const sync = (): never => {
      throw new RangeError("no such broker");
    };
    await expect(start({ ...options, sync })).rejects.toThrow("no such broker");
    expect(records[1]).toMatchObject({ levelName: "fatal", err: { type: "RangeError" } });
    expect(records).toHaveLength(2);
  });

  it("numbers servers and names them by their numbers", async () => {
    const first = await start({ routes: { "/": broken } });
    const second = await start({ routes: { "/": broken } });
    expect(second.id).toBe(first.id + 1);
    expect(second.name).toBe(`HTTP-${second.id}`);
    expect(second.logLevel).toBe("warn");
  });

  it("says how many exchanges were cut at the end", async () => {
    const records: LogRecord[] = [];
    const server = await start({
      log: { level: "notice", write: (record) => void records.push(record) },
      routes: { "/": raw((_req, res) => void res.detach()) },
    });
    (await wire(server)).get("/");
    await until("the request is there", () => server.metrics.inFlight === 1);
    await server.close({ timeout: 0 });
    const said = records.map(({ levelName, msg }) => `${levelName} ${msg}`);
    expect(said).toEqual(["notice 1 exchange was cut when the time to close was over"]);
  });

  it("answers while its logger throws, hangs or is slow, and closes all the same", async () => {
    const stuck = gate();
    const loggers: (() => unknown)[] = [
      () => {
        throw new Error("logger");
      },
      () => Promise.reject(new Error("logger")),
      () => stuck.promise,
    ];
    for (const write of loggers) {
      const server = await start({
        log: { level: "debug", capacity: 8, write },
        routes: { "/": raw((_req, res) => void res.end("x")), "/broken": broken },
      });
      const client = await wire(server);
      for (let i = 0; i < 50; i += 1) expect((await client.get("/").response()).status).toBe(200);
      expect((await client.get("/broken").response()).status).toBe(500);
      client.close();
      if (write === loggers[2]) expect(server.metrics.logDropped).toBeGreaterThan(30);
      await server.close({ timeout: 0 });
    }
    stuck.open();
  });

  it("changes its level while it runs", async () => {
    const records: LogRecord[] = [];
    const server = await start({
      log: { level: "silent", write: (record) => void records.push(record) },
      routes: { "/": raw((_req, res) => void res.end("x")), "/broken": broken },
    });
    await get(server, "/broken");
    server.logLevel = "trace";
    await get(server);
    await until("it is told", () => records.some(({ cause }) => cause === "ClosedByClient"));
    expect(records.some(({ levelName }) => levelName === "error")).toBe(false);
    expect(records.map(({ msg }) => msg)).toContainEqual(
      expect.stringMatching(/^event Request of exchange \d+$/),
    );
    server.logLevel = "silent";
    const { length } = records;
    await get(server, "/broken");
    expect(records).toHaveLength(length);
  });

  it("writes its log into a file, errors at once", async () => {
    const path = join(await folder(), "server.log");
    await using file = new FileLogger(path);
    const server = await start({
      log: { level: "info", write: file.write },
      routes: { "/broken": broken },
    });
    await get(server, "/broken");
    await until("the error is there", () => linesOf(path).length > 1);
    await server.close();
    await file.close();
    const records = linesOf(path).map((line) => JSON.parse(line) as LogRecord);
    expect(records.map(({ levelName }) => levelName)).toEqual(["info", "error", "info"]);
  });
});

describe("FileLogger", () => {
  it("appends whole lines in order, and has written all when close() resolves", async () => {
    const path = join(await folder(), "a.log");
    const first = new FileLogger(path);
    for (let i = 0; i < 2000; i += 1) first[i % 100 === 99 ? "error" : "info"](`line ${i}`);
    expect(first.dropped).toBe(0);
    await first.close();
    const second = new FileLogger(path, { format: "text" });
    second.info("more");
    await second.close();
    const lines = linesOf(path);
    expect(lines).toHaveLength(2001);
    const texts = lines.slice(0, -1).map((line) => (JSON.parse(line) as LogRecord).msg);
    expect(texts).toEqual(Array.from({ length: 2000 }, (_, index) => `line ${index}`));
    expect(lines.at(-1)).toMatch(/INFO {3}- - more$/);
  });

  it("has an error in the file when the call returns, behind what came before", async () => {
    const path = join(await folder(), "a.log");
    await using file = new FileLogger(path);
    file.info("before");
    file.error("now");
    expect(linesOf(path).map((line) => (JSON.parse(line) as LogRecord).msg)).toEqual([
      "before",
      "now",
    ]);
  });

  it("goes on in a new file after reopen(), as logrotate needs it", async () => {
    const path = join(await folder(), "a.log");
    await using file = new FileLogger(path);
    for (let i = 0; i < 100; i += 1) file.info(`old ${i}`);
    renameSync(path, `${path}.1`);
    file.info("still old");
    await file.reopen();
    file.info("new");
    await file.close();
    expect(linesOf(`${path}.1`)).toHaveLength(101);
    expect(linesOf(path)).toHaveLength(1);
  });

  it("keeps the old file when reopen() fails", async () => {
    const path = join(await folder(), "a.log");
    await using file = new FileLogger(path);
    renameSync(join(path, ".."), join(path, "..", "..", `${path.split("/").at(-2)}-away`));
    const away = `${path.split("/").slice(0, -1).join("/")}-away`;
    onTestFinished(() => rm(away, { recursive: true, force: true }));
    await expect(file.reopen()).rejects.toMatchObject({ code: "ERR_MILLRACE_LOG_FAILED" });
    file.error("still");
    expect(linesOf(join(away, "a.log"))).toHaveLength(1);
    await file.close();
    renameSync(away, join(path, ".."));
  });

  it("takes a descriptor, which stays the caller's, and refuses what it cannot open", async () => {
    const path = join(await folder(), "a.log");
    const fd = openSync(path, "a");
    const file = new FileLogger(fd);
    closeSync(fd);
    file.warn("kept");
    await file.close();
    expect(linesOf(path)).toHaveLength(1);
    expect(() => new FileLogger("/nonexistent/a.log")).toThrow("open: ENOENT");
    expect(() => new FileLogger(99_999)).toThrow("EBADF");
  });

  it("keeps 10 000 lines of four workers in one file whole", { timeout: 60_000 }, async () => {
    const path = join(await folder(), "a.log");
    const child = new Child(process.execPath, [program, "workers", path]);
    expect(await child.exited, child.errors).toEqual({ code: 0, signal: null });
    const seen = new Map<string, number>();
    for (const line of linesOf(path)) {
      const { msg } = JSON.parse(line) as LogRecord;
      const [worker = "", number] = msg.split(" ");
      expect(Number(number)).toBe(seen.get(worker) ?? 0);
      seen.set(worker, Number(number) + 1);
    }
    expect([...seen.values()]).toEqual([2500, 2500, 2500, 2500]);
  });

  it("loses no error to SIGKILL right behind the call", async () => {
    for (let round = 0; round < 5; round += 1) {
      const path = join(await folder(), "a.log");
      const child = new Child(process.execPath, [program, "kill", path]);
      expect((await child.exited).signal).toBe("SIGKILL");
      const texts = linesOf(path).map((line) => (JSON.parse(line) as LogRecord).msg);
      expect(texts).toEqual([...Array.from({ length: 500 }, (_, at) => `line ${at}`), "last"]);
    }
  });

  it("writes what waits when the process ends", async () => {
    const path = join(await folder(), "a.log");
    const child = new Child(process.execPath, [program, "exit", path]);
    expect(await child.exited, child.errors).toEqual({ code: 0, signal: null });
    expect(linesOf(path)).toHaveLength(5000);
  });
});

describe("standard error", () => {
  it("gets short plain lines, also of what came right before the end", async () => {
    const child = new Child(process.execPath, [program, "stderr", "0"]);
    expect(await child.exited).toEqual({ code: 0, signal: null });
    const lines = child.errors.split("\n");
    expect(lines.slice(0, 3)).toEqual([
      expect.stringMatching(/^\S+Z INFO {3}shop - listening at http:\/\/127\.0\.0\.1:\d+ with no/),
      expect.stringMatching(/^\S+Z ERROR {2}shop - GET \/broken: .* Error: two\\n lines \(.*\)$/),
      expect.stringMatching(
        /WARN {3}shop \d connection \S+ Security\w+: x+ \.\.\. \(\d+ chars omitted\) \.\.\. x{50}$/,
      ),
    ]);
    expect(child.errors).not.toContain("MillraceWarning");
  });

  it("holds nobody up when nobody reads it", async () => {
    const child = new Child(process.execPath, [program, "stuck", "0"]);
    child.process.stderr?.pause();
    await child.said(/^answered$/m);
    child.process.stderr?.removeAllListeners("data");
    await child.said(/^closed, dropped: true$/m);
    child.process.stderr?.destroy();
    expect(await child.exited).toEqual({ code: 0, signal: null });
  });

  it("says failures once, as process warnings, where no log is asked for", async () => {
    const child = new Child(process.execPath, [program, "usual", "0"]);
    expect(await child.exited).toEqual({ code: 0, signal: null });
    expect(child.errors.match(/thrown on purpose/g)).toHaveLength(1);
    expect(child.errors).toContain("[ERR_MILLRACE_HANDLER_FAILED] MillraceWarning");
  });
});
