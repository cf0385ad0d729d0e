// Many who read slowly or not at all, who reset in the middle of uploads, who stop, who vanish:
// what is held for them, what stays of them, and that everybody else is served meanwhile.
import { createHash, randomBytes } from "node:crypto";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from "vitest";
import { file, type Req, type Res, raw, type Server } from "../src/index.ts";
import { Child } from "./support/child.ts";
import { openFile, partHead, postHead, sha256Of } from "./support/forms.ts";
import { onEachHost, portOf } from "./support/hosts.ts";
import { programNamed } from "./support/programs.ts";
import { codeOf, endless, KIB, MIB } from "./support/streaming.ts";
import { until } from "./support/until.ts";
import { Wire, wire } from "./support/wire.ts";

const isLinux = process.platform === "linux";
const isSanitized = Boolean(process.env["MILLRACE_SANITIZED"]);
const READERS = isSanitized ? 200 : 1000;
const RESETS = 1000;
const WAVE = 40;
const STREAM_BYTES = 10 * MIB;
const CHUNK = Buffer.alloc(64 * KIB, "grain ");
const DEAF = 50;
const ANSWER = Buffer.alloc(300_000, "x");
const curl = programNamed("curl");

const children: Child[] = [];
const child = (name: string, ...words: readonly (string | number)[]): Child => {
  const program = fileURLToPath(new URL(`children/${name}.mjs`, import.meta.url));
  const started = new Child(process.execPath, [program, ...words.map(String)]);
  children.push(started);
  return started;
};

/** Before the servers close: after a failure, too, no peer of theirs may be left. */
async function stopChildren(): Promise<void> {
  await Promise.all(children.splice(0).map((each) => each.stop("SIGKILL")));
}

/** How many bytes a slow child says it has read. */
const readBy = (slow: Child): number => Number(/read (\d+)\n$/.exec(slow.output)?.[1] ?? 0);

let folder = "";
let idleBytes = 0; // resident, before anything is served
beforeAll(() => {
  idleBytes = process.memoryUsage.rss();
  folder = fs.mkdtempSync(join(tmpdir(), "millrace-flood-"));
});
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));
beforeEach(() => {
  for (const name of fs.readdirSync(folder)) fs.rmSync(join(folder, name));
});

function* tenMebibytes(): Generator<Buffer> {
  for (let sent = 0; sent < STREAM_BYTES; sent += CHUNK.length) yield CHUNK;
}

/** Waits until a count has grown and then stood still for a while. */
async function standstill(count: () => number): Promise<void> {
  let before = 0;
  let since = performance.now();
  await until(
    "nothing moves",
    () => {
      if (count() !== before || before === 0) {
        before = count();
        since = performance.now();
      }
      return performance.now() - since > 300;
    },
    30_000,
  );
}

/**
 * Asks for /fresh on new connections from another process, for as long as `body` takes. The bound
 * is that of the issue; the median, as the machine has few cores and others use them.
 */
async function answersMeanwhile(server: Server, body: () => Promise<void>): Promise<void> {
  const probe = child("crowd", "probe", portOf(server), "/fresh");
  await probe.said(/probing/);
  await body();
  await probe.stop();
  const times = JSON.parse(/^times (.*)$/m.exec(probe.output)?.[1] ?? "[]") as number[];
  expect(times.length, "fresh requests").toBeGreaterThan(3);
  times.sort((a, b) => a - b);
  expect(times[times.length >> 1], "milliseconds of a fresh request").toBeLessThan(100);
}

const fresh = raw((_req, res) => void res.end("fresh"));

async function expectService(server: Server): Promise<void> {
  const client = await wire(server);
  expect((await client.get("/fresh").response()).body).toBe("fresh");
  client.close();
}

onEachHost(({ start, loops }) => {
  afterEach(stopChildren);

  const ways: readonly (readonly [string, (res: Res) => Promise<void> | void])[] = [
    ["res.stream()", (res) => res.stream(tenMebibytes())],
    [
      "write() and drained()",
      async (res) => {
        for (const chunk of tenMebibytes()) if (!res.write(chunk)) await res.drained();
        res.end();
      },
    ],
  ];

  // Held is what the process has grown by since it was idle, and nothing in it but these servers
  // grows meanwhile: what JavaScript, the loop and the queues between them have of each response,
  // with all that allocators add and keep. (The kernel's own buffers are not the process's.) A
  // sanitizer keeps what is freed, so there only the bytes that wait are counted.
  it.runIf(isLinux).each(ways.filter((_, at) => loops === 1 || loops === 2 * at))(
    `holds 256 KiB at most for each of ${READERS} who read 1 KiB/s, by %s`,
    async (_name, answer) => {
      const open = new Set<Res>();
      const server = await start({
        routes: {
          "/fresh": fresh,
          "/slow": raw(async (_req, res) => {
            open.add(res);
            try {
              await answer(res);
            } catch (error) {
              expect(codeOf(error)).toBe("ERR_MILLRACE_ABORTED");
            }
          }),
        },
      });
      await expectService(server);
      const slow = child("flood", portOf(server), READERS, "/slow", KIB, 1000);
      await slow.said(/asked/);
      await until("all are answered", () => open.size === READERS);
      await answersMeanwhile(server, async () => {
        await standstill(() => Math.round(server.metrics.bytesOut / MIB));
        const first = readBy(slow);
        await until("they have read on", () => readBy(slow) > first + READERS * KIB);
      });
      const waiting = [...open].reduce((sum, res) => sum + res.writableLength, 0);
      const held = process.memoryUsage.rss() - idleBytes;
      expect(waiting, "bytes that wait").toBeGreaterThan(0);
      expect(waiting / READERS, "bytes that wait for each").toBeLessThanOrEqual(192 * KIB);
      if (!isSanitized) expect(held / READERS / KIB, "KiB held").toBeLessThanOrEqual(256);
      expect(slow.output).not.toContain("closed");
      await slow.stop();
      await until("all are gone", () => server.metrics.connections === 0);
      await until("all know", () => [...open].every(({ state }) => state === "aborted"));
      await expectService(server);
    },
    60_000,
  );
});

onEachHost(({ start }) => {
  afterEach(stopChildren);

  /** Takes uploads in four ways; `ends` has how each ended. */
  async function taking(timeouts = {}): Promise<{ server: Server; ends: string[] }> {
    const ends: string[] = [];
    let number = 0;
    const path = (): string => {
      number += 1;
      return join(folder, `saved-${number}`);
    };
    const route = (take: (req: Req) => Promise<void>): object => ({
      POST: raw(async (req, res) => {
        try {
          await take(req);
          ends.push("whole");
          res.end("taken");
        } catch (error) {
          ends.push(codeOf(error));
          throw error;
        }
      }),
      body: "stream",
      maxBodySize: 64 * MIB,
    });
    const server = await start({
      timeouts,
      error: () => undefined,
      routes: {
        "/fresh": fresh,
        "/raw": route(async (req) => {
          for await (const _chunk of req);
        }),
        "/field": route(async (req) => {
          for await (const part of req.multipart({ fieldSize: MIB })) await part.text();
        }),
        "/part": route(async (req) => {
          for await (const part of req.multipart()) await part.saveTo(path(), { sha256: true });
        }),
        "/save": route(async (req) => void (await req.saveTo(path()))),
      },
    });
    return { server, ends };
  }

  const field = `--q1\r\n${partHead({ name: "a", content: "" })}`;
  const uploads: readonly (readonly [path: string, type: string | undefined, body: string])[] = [
    ["/raw", "text/plain", "x".repeat(600_000)],
    ["/field", undefined, field + "x".repeat(600_000)],
    ["/part", undefined, openFile(600_000)],
    ["/save", "text/plain", "x".repeat(600_000)],
  ];
  const descriptors = (): number => fs.readdirSync("/proc/self/fd").length;

  it.runIf(isLinux)(
    `survives ${RESETS} resets in the middle of uploads of four kinds`,
    async () => {
      const { server, ends } = await taking();
      // Once through everything, so that what is opened once is open.
      for (const [path, type, body] of uploads) {
        const client = await wire(server);
        const end = type === undefined ? "\r\n--q1--" : "";
        const whole = body.slice(0, 2000) + end;
        client.send(postHead(path, whole.length, type) + whole);
        expect([path, (await client.response()).status]).toEqual([path, 200]);
        client.close();
      }
      for (const name of fs.readdirSync(folder)) fs.rmSync(join(folder, name));
      await until("nobody is there", () => server.metrics.connections === 0);
      const before = descriptors();
      const requests = server.metrics.requests;
      ends.length = 0;
      let seed = 7;
      for (let sent = 0; sent < RESETS; sent += WAVE) {
        const isPatient = (sent / WAVE) % 2 === 0;
        const { bytesIn } = server.metrics;
        let size = 0;
        const clients = await Promise.all(Array.from({ length: WAVE }, () => wire(server)));
        for (const [at, client] of clients.entries()) {
          const [path, type, body] = uploads[at % uploads.length] as (typeof uploads)[number];
          seed = (seed * 48_271) % 2_147_483_647;
          const most = at % 8 < 4 ? 2000 : body.length - 1;
          const text = postHead(path, body.length + 1000, type) + body.slice(0, seed % most);
          size += text.length;
          client.send(text);
        }
        // Every other wave is reset where all has come, the others wherever they are.
        if (isPatient) await until("all has come", () => server.metrics.bytesIn === bytesIn + size);
        for (const client of clients) client.reset();
        await until("all were accepted", () => {
          return server.metrics.counters["accepted"] === uploads.length + sent + WAVE;
        });
        await until("all are gone", () => server.metrics.connections === 0);
      }
      await until("every handler knows", () => {
        return ends.length === server.metrics.requests - requests;
      });
      expect(new Set(ends)).toEqual(new Set(["ERR_MILLRACE_ABORTED"]));
      expect(ends.length).toBeGreaterThanOrEqual(RESETS / 2);
      await until("no file is left", () => fs.readdirSync(folder).length === 0);
      await until("no descriptor is left", () => descriptors() <= before);
      const { inFlight, counters } = server.metrics;
      expect([inFlight, counters["blocks"], counters["deadlines"]]).toEqual([0, 0, 0]);
      await expectService(server);
    },
    60_000,
  );

  it("cuts uploads whose peers vanish at timeouts.receive, and keeps nothing of them", async () => {
    const { server, ends } = await taking({ receive: 200, linger: 100 });
    for (const [path, type, body] of uploads) {
      // It reads nothing and never sends its end: what a peer without power looks like.
      for (let i = 0; i < 5; i += 1) {
        const peer = new Wire({ port: portOf(server), host: "127.0.0.1", allowHalfOpen: true });
        peer.socket.pause();
        peer.send(postHead(path, body.length, type) + body.slice(0, i * 20_000));
      }
    }
    await until("all were taken", () => ends.length === 20);
    expect(new Set(ends)).toEqual(new Set(["ERR_MILLRACE_RECEIVE_TIMEOUT"]));
    await until("all are gone", () => server.metrics.connections === 0);
    expect(server.metrics.timeouts.receive).toBe(20);
    expect(fs.readdirSync(folder)).toEqual([]);
    await expectService(server);
  });

  it.skipIf(curl === undefined).each(["file", "stream"])(
    "waits for a reader that is stopped, and sends it the whole %s when it goes on",
    async (kind) => {
      const content = randomBytes(32 * MIB);
      const path = join(folder, "large.bin");
      fs.writeFileSync(path, content);
      const pieces = function* (): Generator<Buffer> {
        for (let at = 0; at < content.length; at += CHUNK.length)
          yield content.subarray(at, at + CHUNK.length);
      };
      const server = await start({
        routes: {
          "/fresh": fresh,
          "/file": file(path),
          "/stream": raw((_req, res) => res.stream(pieces())),
        },
      });
      const out = join(folder, "out");
      const words = ["-s", "--limit-rate", "60M", "-o", out];
      const reader = new Child(curl ?? "", [...words, `${server.url}/${kind}`]);
      children.push(reader);
      await until("it reads", () => fs.existsSync(out) && fs.statSync(out).size > MIB);
      reader.process.kill("SIGSTOP");
      await standstill(() => server.metrics.bytesOut);
      expect(server.metrics.bytesOut).toBeLessThan(content.length);
      for (let i = 0; i < 20; i += 1) await expectService(server);
      expect(fs.statSync(out).size).toBeLessThan(content.length);
      reader.process.kill("SIGCONT");
      expect(await reader.exited).toEqual({ code: 0, signal: null });
      const hash = createHash("sha256").update(fs.readFileSync(out)).digest("hex");
      expect(hash).toBe(sha256Of(content));
    },
  );

  // The kernel tells of room only when a third of a send buffer is free. A peer that takes
  // bytes all the time but slowly is no peer that takes none.
  it("does not cut a slow reader by timeouts.write", async () => {
    const tell = { over: false };
    const server = await start({
      timeouts: { write: 1500 },
      routes: { "/": raw((_req, res) => res.stream(endless(tell)).catch(() => undefined)) },
    });
    const slow = child("flood", portOf(server), 1, "/", 2 * KIB, 10);
    await slow.said(/asked/);
    await until("it is being sent", () => server.metrics.bytesOut > 0);
    await until("it has read for two timeouts", () => {
      return readBy(slow) > 700 * KIB || server.metrics.timeouts.write > 0;
    });
    expect(server.metrics.timeouts.write).toBe(0);
    expect(slow.output).not.toContain("closed");
  });

  // Held is what was answered and is not with the kernel (a partly sent piece counts whole, as it
  // is held whole), and the resident memory, as above.
  it.runIf(isLinux).each(["whole", "streamed"])(
    "holds 1 MiB at most for each of fifty who pipeline and never read, %s",
    async (way) => {
      let written = 0;
      const open: Res[] = [];
      const pieces = function* (): Generator<Buffer> {
        for (let at = 0; at < ANSWER.length; at += 30_000) {
          written += 30_000;
          yield ANSWER.subarray(at, at + 30_000);
        }
      };
      const server = await start({
        routes: {
          "/fresh": fresh,
          "/deaf": raw(async (_req, res) => {
            open.push(res);
            if (way === "whole") {
              written += ANSWER.length;
              res.end(ANSWER);
            } else {
              await res.stream(pieces()).catch(() => undefined);
            }
          }),
        },
      });
      await expectService(server);
      const before = process.memoryUsage.rss();
      const { bytesOut } = server.metrics;
      const deaf = child("crowd", "deaf", portOf(server), DEAF, 200, "/deaf");
      await answersMeanwhile(server, async () => {
        await deaf.said(/all sent/);
        await standstill(() => written + open.length);
      });
      const held = process.memoryUsage.rss() - before;
      const waiting = written - (server.metrics.bytesOut - bytesOut);
      expect(open.length, "requests that were begun").toBeLessThan(DEAF * 200);
      expect(waiting / DEAF / MIB, "MiB that wait for each").toBeLessThanOrEqual(1);
      if (!isSanitized) expect(held / DEAF / MIB, "MiB held").toBeLessThanOrEqual(1);
      await deaf.stop();
      await until("they are gone", () => server.metrics.connections === 0);
      await until("nothing is open", () => open.every(({ state }) => state !== "streaming"));
      await expectService(server);
    },
    60_000,
  );

  it("holds two descriptors at most for a client that pipelines requests for files", async () => {
    const path = join(folder, "large.bin");
    fs.writeFileSync(path, Buffer.alloc(16 * MIB));
    const server = await start({
      routes: { "/fresh": fresh, "/file": file(path), "/hand": raw((_req, res) => res.file(path)) },
    });
    for (const target of ["/file", "/hand"]) {
      const { requests } = server.metrics;
      const deaf = await wire(server);
      deaf.socket.pause();
      for (let i = 0; i < 64; i += 1) deaf.get(target);
      await until("it is read", () => server.metrics.requests > requests);
      await standstill(() => server.metrics.bytesOut + (server.metrics.counters["files"] ?? 0));
      expect(server.metrics.counters["files"], target).toBeLessThanOrEqual(2);
      deaf.reset();
      await until("it is gone", () => server.metrics.connections === 0);
    }
    await expectService(server);
  });
});
