// Two processes with one broker between them, one of them with two threads: what is published on
// any of their servers reaches every subscriber of both once, and in order.
import { fileURLToPath } from "node:url";
import { WebSocket } from "undici";
import { afterEach, describe, expect, it } from "vitest";
import { BROKERS } from "./support/brokers.ts";
import { Child } from "./support/child.ts";
import { until } from "./support/until.ts";

const program = fileURLToPath(new URL("children/sync.mjs", import.meta.url));
const TOPIC = "тема/文字 😀";
const COUNT = 200;
const MIB = 1_048_576;

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

interface Client {
  readonly socket: WebSocket;
  readonly got: (string | Uint8Array)[];
}

async function clientOf(port: number): Promise<Client> {
  const topics = [TOPIC, "bytes", "mark"].map((topic) => `topic=${encodeURIComponent(topic)}`);
  const socket = new WebSocket(`ws://127.0.0.1:${port}/?${topics.join("&")}`);
  socket.binaryType = "arraybuffer";
  const got: Client["got"] = [];
  socket.addEventListener("message", ({ data }) => {
    got.push(typeof data === "string" ? data : new Uint8Array(data));
  });
  cleanups.push(async () => {
    socket.close();
    await until("the socket is closed", () => socket.readyState === WebSocket.CLOSED);
  });
  await until("the socket is open", () => got.length === 1);
  got.length = 0;
  return { socket, got };
}

/** Two clients of each thread of a host. */
async function hostOf(kind: string, address: string, loops: number, threads: number) {
  const words = [program, kind, address, `${loops}`, `${threads}`];
  const child = new Child(process.execPath, words);
  cleanups.push(() => child.stop("SIGKILL"));
  const [, ports] = await child.said(/ports ([\d ]+);/);
  const clients: Client[][] = [];
  for (const port of (ports as string).split(" ").map(Number))
    clients.push([await clientOf(port), await clientOf(port)]);
  return clients;
}

/** A mark from every host to everyone; what came before it stays in `got`. */
async function mark(from: readonly Client[], all: readonly Client[], name: string): Promise<void> {
  for (const [n, client] of from.entries()) client.socket.send(`mark\n${name} ${n}`);
  const marks = from.map((_, n) => `${name} ${n}`);
  await until(`all have got ${name}`, () => {
    return all.every(({ got }) => marks.every((text) => got.includes(text)));
  });
  for (const { got } of all) {
    const kept = got.filter((one) => !marks.includes(one as string));
    expect(got.length - kept.length, "marks that came").toBe(marks.length);
    got.splice(0, got.length, ...kept);
  }
}

for (const kind of BROKERS) {
  const suite = kind.program === undefined ? describe.skip : describe;
  suite(`hosts joined by ${kind.name}`, () => {
    it.each([0, 1])("reach each other's subscribers once, loops: %i", async (loops) => {
      const broker = await kind.start();
      cleanups.push(() => broker.stop());
      const threads = [
        ...(await hostOf(kind.name, broker.address, loops, 1)),
        ...(await hostOf(kind.name, broker.address, loops, 2)),
      ];
      const all = threads.flat();
      const senders = threads.map(([client]) => client as Client);
      // Subscriptions at the broker are made in their own time.
      await until("everyone hears everyone", () => {
        for (const [n, { socket }] of senders.entries()) socket.send(`mark\nhello ${n}`);
        return all.every(({ got }) => senders.every((_, n) => got.includes(`hello ${n}`)));
      });
      await mark(senders, all, "ready");
      for (const { got } of all) got.length = 0;

      for (const sender of senders) {
        const texts = Array.from({ length: COUNT }, (_, n) => `${n} ü 文 😀`);
        for (const text of texts) sender.socket.send(`${TOPIC}\n${text}`);
        await mark([sender], all, "sent");
        await mark(senders, all, "after");
        for (const { got } of all) expect(got.splice(0)).toEqual(texts);
      }
      for (const data of [new Uint8Array(0), new Uint8Array(MIB).fill(0xab)]) {
        senders[0]?.socket.send(data);
        await mark(senders.slice(0, 1), all, "bytes");
        for (const { got } of all) {
          expect(got.length).toBe(1);
          expect(Buffer.compare(got.splice(0)[0] as Uint8Array, data)).toBe(0);
        }
      }
    });
  });
}
