// Crowds of WebSockets: many that are idle, what order their messages keep, and that what is meant
// for one never reaches another.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import type { Socket } from "../src/index.ts";
import { Child } from "./support/child.ts";
import { FrameReader, texts } from "./support/frame_reader.ts";
import { closeFrame, frame, PING, PONG, TEXT } from "./support/frames.ts";
import { onEachHost, portOf } from "./support/hosts.ts";
import { until } from "./support/until.ts";

const isSanitized = Boolean(process.env["MILLRACE_SANITIZED"]);
const isLinux = process.platform === "linux";
const CROWD = isSanitized ? 2000 : 19_000;
const LEFT_FREE = 500; // descriptors for everything else of a process
const KIB = 1024;
const TURN = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

const program = (name: string): string =>
  fileURLToPath(new URL(`children/${name}.mjs`, import.meta.url));

interface Report {
  readonly rss: number;
  /** Of which V8 holds for new objects: of what was allocated at a time, not of the sockets. */
  readonly young: number;
  readonly heapUsed: number;
  readonly external: number;
  readonly descriptors: number;
  readonly webSockets: number;
  readonly connections: number;
  readonly blocks: number;
  readonly opened: number;
  readonly closed: number;
  readonly messages: number;
}

async function reportOf(port: number): Promise<Report> {
  const headers = { connection: "close" };
  const response = await fetch(`http://127.0.0.1:${port}/report`, { headers });
  return (await response.json()) as Report;
}

/** Waits for what takes a client with thousands of connections its time. */
async function says(child: Child, what: string): Promise<void> {
  const hasSaid = (): boolean => child.output.includes(what) || child.hasExited;
  await until(`a child says "${what}"`, hasSaid, 60_000);
  expect(child.output, child.errors).toContain(what);
}

/** Soft limit of descriptors; Node raises it to the hard one as it starts. */
function descriptorsMax(): number {
  const limit = /^Max open files +(\d+)/m.exec(readFileSync("/proc/self/limits", "latin1"))?.[1];
  return Number(limit ?? Number.MAX_SAFE_INTEGER);
}

/** Numbers that are the same at each run. */
function random(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

describe.each([0, 1, 2])("loops: %i", (loops) => {
  const isRoomy = isLinux && descriptorsMax() >= CROWD + LEFT_FREE;
  const why = isRoomy ? "" : `, skipped: it takes ${CROWD + LEFT_FREE} descriptors (ulimit -n)`;

  it.skipIf(!isRoomy)(
    `keeps ${CROWD} idle sockets that all answer${why}`,
    async () => {
      const words = ["--expose-gc", program("ws-server"), "echo", `${loops}`];
      const server = new Child(process.execPath, words);
      const children = [server];
      try {
        const [first = "", ...others] = (await server.said(/^ports (.*);$/m))[1]?.split(" ") ?? [];
        const port = Number(first);
        const before = await reportOf(port);
        const half = CROWD / 2;
        const crowd = async (): Promise<Child> => {
          const own = ["idle", first, `${half}`, ...others];
          const idle = new Child(process.execPath, [program("ws-peers"), ...own]);
          children.push(idle);
          await says(idle, `idle ${half}`);
          return idle;
        };
        const both = [await crowd()];
        both.push(await crowd());
        // A loop has sent the last 101 before its open() is called.
        let held = before;
        await until("all are told", async () => {
          held = await reportOf(port);
          return held.opened === CROWD;
        });
        expect(held).toMatchObject({ webSockets: CROWD, opened: CROWD, closed: 0, blocks: 0 });
        for (const { process } of both) process.kill("SIGUSR2");
        for (const idle of both) await says(idle, `answered ${half}`);
        const after = await reportOf(port);
        expect(after).toMatchObject({ webSockets: CROWD, messages: CROWD, closed: 0, blocks: 0 });
        const old = ({ rss, young }: Report): number => rss - young;
        const js = ({ heapUsed, external }: Report): number => heapUsed + external;
        const each = (of: (report: Report) => number): number =>
          Math.round((of(held) - of(before)) / CROWD);
        const used = Math.round((old(after) - old(before)) / CROWD);
        console.info(
          `loops ${loops}: an idle socket takes ${each(old)} bytes resident, of which ` +
            `${each(js)} are JavaScript's, and ${used} when each has echoed a message`,
        );
        // A sanitizer keeps what is freed and adds to each piece.
        if (!isSanitized) expect(each(old)).toBeLessThan(1.5 * KIB);
        for (const { process } of both) process.kill("SIGUSR2");
        for (const idle of both) {
          await says(idle, `handshakes done ${half}`);
          await says(idle, `all closed ${half}`);
          expect(idle.output + idle.errors).not.toContain("surprise");
        }
        let last = await reportOf(port);
        await until("they are gone", async () => {
          last = await reportOf(port);
          return last.connections <= 1;
        });
        expect(last).toMatchObject({ webSockets: 0, closed: CROWD, blocks: before.blocks });
        expect(last.descriptors).toBe(before.descriptors);
      } finally {
        await Promise.all(children.map((child) => child.stop()));
      }
    },
    120_000,
  );
});

/** Numbered texts in frames that are cut at random, with pings between them. */
function numberedFrames(count: number, below: (limit: number) => number): [Buffer, number] {
  const parts: Buffer[] = [];
  let pings = 0;
  for (let n = 0; n < count; n += 1) {
    const text = `${n}:${"x".repeat(below(200))}`;
    const cuts = [
      0,
      ...Array.from({ length: below(4) }, () => below(text.length + 1)),
      text.length,
    ];
    cuts.sort((a, b) => a - b);
    for (let i = 1; i < cuts.length; i += 1) {
      const fin = i === cuts.length - 1;
      parts.push(frame(i === 1 ? TEXT : 0, text.slice(cuts[i - 1], cuts[i]), { fin }));
      if (below(10) > 0) continue;
      parts.push(frame(PING, `${pings}`));
      pings += 1;
    }
  }
  return [Buffer.concat(parts), pings];
}

onEachHost(({ start }) => {
  const SOCKETS = isSanitized ? 10 : 50;
  const MESSAGES = isSanitized ? 200 : 1000;

  it(`W15 keeps the order of ${SOCKETS} x ${MESSAGES} messages, however cut, once`, async () => {
    const below = random(5);
    const running = new Set<Socket>();
    let together = 0;
    const server = await start({
      routes: {
        "/": {
          message: async (ws, data) => {
            expect(running.has(ws), "the one before has ended").toBe(false);
            running.add(ws);
            together = Math.max(together, running.size);
            const kind = below(20);
            if (kind === 0) await new Promise((done) => setTimeout(done, below(4)));
            else if (kind < 8) await TURN();
            else if (kind < 14) await null;
            running.delete(ws);
            ws.send(`${data}`.slice(0, `${data}`.indexOf(":")));
          },
        },
      },
    });
    const clients = Array.from({ length: SOCKETS }, () => {
      const got: string[] = [];
      const pongs: string[] = [];
      const keep = texts(got);
      const [bytes, pings] = numberedFrames(MESSAGES, below);
      const reader = new FrameReader(portOf(server), (opcode, payload) => {
        if (opcode === PONG) pongs.push(payload.toString());
        else keep(opcode, payload);
      });
      return { reader, got, pongs, bytes, pings };
    });
    await Promise.all(
      clients.map(async ({ reader, bytes }) => {
        for (let at = 0; at < bytes.length; ) {
          const size = below(8) === 0 ? 1 + below(9) : 1 + below(20_000);
          await reader.write(bytes.subarray(at, at + size));
          at += size;
        }
      }),
    );
    const isDone = (): boolean => clients.every(({ got }) => got.length >= MESSAGES);
    await until("all is answered", isDone, 60_000);
    const all = Array.from({ length: MESSAGES }, (_, n) => `${n}`);
    for (const { reader, got, pongs, pings } of clients) {
      expect(got).toEqual(all);
      expect(pongs).toEqual(Array.from({ length: pings }, (_, n) => `${n}`));
      reader.socket.destroy();
    }
    expect(together, "handlers of different sockets at a time").toBeGreaterThan(1);
  }, 60_000);

  it("keeps the order of each publisher at every subscriber, once each", async () => {
    const [PUBLISHERS, SUBSCRIBERS, EACH] = [5, 20, isSanitized ? 50 : 300];
    const server = await start({
      routes: {
        "/publish": {
          message: async (ws, data) => {
            for (let n = 0; n < EACH; n += 1) {
              ws.publish("news", `${data} ${n}`);
              if (n % 7 === 0) await TURN();
            }
          },
        },
        "/listen": { open: (ws) => ws.subscribe("news") },
      },
    });
    const got: string[][] = Array.from({ length: SUBSCRIBERS }, () => []);
    const readers = await Promise.all(
      got.map((into) => FrameReader.open(portOf(server), texts(into), "/listen")),
    );
    await until("all listen", () => server.subscriberCount("news") === SUBSCRIBERS);
    for (let each = 0; each < PUBLISHERS; each += 1) {
      const publisher = await FrameReader.open(portOf(server), () => undefined, "/publish");
      void publisher.write(frame(TEXT, `${each}`));
      readers.push(publisher);
    }
    await until("all have come", () => got.every((each) => each.length >= PUBLISHERS * EACH));
    const expected = Array.from({ length: EACH }, (_, n) => `${n}`);
    for (const each of got) {
      expect(each.length).toBe(PUBLISHERS * EACH);
      for (let who = 0; who < PUBLISHERS; who += 1) {
        const own = each.filter((text) => text.startsWith(`${who} `));
        expect(own.map((text) => text.slice(2))).toEqual(expected);
      }
    }
    expect(server.metrics.counters["droppedMessages"]).toBe(0);
    for (const reader of readers) reader.socket.destroy();
    await until("nobody listens", () => server.subscriberCount("news") === 0);
  });

  // Every send, report and publication names a slot that by then may be another's.
  it("W24 gives nothing that is meant for one socket to another on its slot", async () => {
    const ROUNDS = isSanitized ? 300 : 3000;
    const AT_ONCE = 8;
    const known: Socket<string>[] = [];
    const ended = new Map<Socket<string>, number>();
    let late = 0;
    const server = await start({
      routes: {
        "/:name": {
          upgrade: (_request, ctx) => ({ data: ctx.params["name"] as string }),
          open: (ws) => {
            known.push(ws as Socket<string>);
            if (known.length > 64) known.shift();
            ws.subscribe(ws.data as string);
            ws.send(ws.data as string);
          },
          close: (ws) => {
            const own = ws as Socket<string>;
            ended.set(own, (ended.get(own) ?? 0) + 1);
            late += ws.send("ghost") + ws.ping("ghost");
            ws.subscribe("everybody");
          },
        },
      },
    });
    let isOver = false;
    let failures = 0;
    const haunt = (async (): Promise<void> => {
      for (let turn = 0; !isOver; turn += 1) {
        for (const ws of known) {
          if (ws.readyState === 3) late += ws.send(ws.data) + ws.ping(ws.data);
          else ws.send(ws.data);
          server.publish(ws.data, ws.data);
        }
        if (turn % 16 === 0) {
          const victim = known[turn % known.length];
          if (victim !== undefined && turn % 32 === 0) victim.terminate();
          else victim?.close(4000, victim.data);
          void server.sendMany(known, "many").then((report) => {
            failures += report.failed.length;
          });
        }
        await TURN();
      }
    })();
    let next = 0;
    const wrong: string[] = [];
    let opened = 0;
    const runner = async (): Promise<void> => {
      while (next < ROUNDS) {
        const name = `n${next}`;
        next += 1;
        let frames = 0;
        const reader = new FrameReader(
          portOf(server),
          (opcode, payload) => {
            frames += 1;
            const text = payload.toString(opcode === 8 ? "latin1" : "utf8");
            // Its own close frame comes back with 1000 and no reason.
            const isOwn = [name, "many", `\x0f\xa0${name}`, "\x03\xe8"].includes(text);
            if (!isOwn) wrong.push(`${name} got ${opcode} ${text}`);
          },
          `/${name}`,
        );
        await until("its first frame is there", () => frames > 0 || reader.isOver);
        if (frames > 0) opened += 1;
        const way = next % 3;
        if (way === 0) reader.socket.resetAndDestroy();
        else if (way === 1) reader.socket.end(closeFrame(1000));
        else reader.socket.destroy();
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, runner));
    await until("all are gone", () => server.metrics.connections === 0);
    isOver = true;
    await haunt;
    await until("all were told", () => server.sockets.size === 0 && ended.size >= opened);
    expect(wrong.slice(0, 5)).toEqual([]);
    expect(late, "bytes that ended sockets said they had sent").toBe(0);
    expect(
      [...ended.values()].every((times) => times === 1),
      "close is called once",
    ).toBe(true);
    expect(ended.size).toBeLessThanOrEqual(ROUNDS);
    expect(failures).toBeGreaterThan(0);
    expect(server.subscriberCount("everybody")).toBe(0);
    expect(server.metrics.counters["subscriptions"]).toBe(0);
  }, 60_000);
});
