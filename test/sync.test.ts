// What joins topics of several hosts: the drivers against a real Redis and a real NATS server, with
// hosts that are a relay each and no server, so that only the way between them is tested.
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Relay, type RelayOptions, WAITING_BYTES_MAX, WAITING_MAX } from "../src/sync/relay.ts";
import { BROKERS, type Broker, type Client, NATS_PAYLOAD_MAX } from "./support/brokers.ts";
import { until } from "./support/until.ts";

const MIB = 1_048_576;
const TOPICS = ["news", "", "a.b.>", "*", "with space\r\n\0", "тема/文字/😀", "x".repeat(70_000)];

interface Host {
  readonly relay: Relay;
  readonly got: [topic: string, data: string | Uint8Array][];
}

const cleanups: (() => unknown)[] = [];
let warnings: (Error & { code?: string })[] = [];
const collect = (warning: Error): void => void warnings.push(warning);

beforeEach(() => {
  warnings = [];
  process.on("warning", collect);
});

afterEach(async () => {
  process.off("warning", collect);
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const ofSync = (): number => warnings.filter((one) => one.code === "ERR_MILLRACE_SYNC").length;

async function clientOf(broker: Broker): Promise<Client> {
  const client = await broker.connect();
  cleanups.push(() => client.close());
  return client;
}

let ids = 0;

/** A process with its own connection; resolves when it is subscribed. */
async function host(
  broker: Broker,
  options: Partial<RelayOptions> & { readonly channel?: string; readonly client?: Client } = {},
): Promise<Host> {
  const client = options.client ?? (await clientOf(broker));
  const channel = options.channel ?? "millrace";
  const before = await broker.subscribers(channel);
  const got: Host["got"] = [];
  const relay = Relay.open({
    adapter: client.sync(options.channel),
    id: options.id ?? `host ${ids++}`,
    namespace: options.namespace ?? "",
    deliver: (topic, data) => void got.push([topic, data]),
  });
  cleanups.push(() => relay.close());
  await until("it is subscribed", async () => (await broker.subscribers(channel)) > before);
  return { relay, got };
}

for (const kind of BROKERS) {
  const suite = kind.program === undefined ? describe.skip : describe;
  const title = kind.program === undefined ? `${kind.name} (its server is not here)` : kind.name;
  suite(title, () => {
    let broker: Broker;

    beforeEach(async () => {
      broker = await kind.start();
      cleanups.push(() => broker.stop());
    });

    it("carries texts and bytes to other hosts, in order, and not back", async () => {
      const [one, two, three] = [await host(broker), await host(broker), await host(broker)];
      const bytes = Uint8Array.from({ length: 256 }, (_, n) => n);
      const sent: Host["got"] = TOPICS.flatMap((topic): Host["got"] => [
        [topic, "text ümläut 文字 😀"],
        [topic, ""],
        [topic, bytes],
        [topic, new Uint8Array(0)],
      ]);
      for (const [topic, data] of sent) one.relay.publish(topic, data);
      await until("the others have all", () => {
        return two.got.length === sent.length && three.got.length === sent.length;
      });
      expect(two.got).toEqual(sent);
      expect(three.got).toEqual(sent);
      // What comes back to `one` would have come before this.
      two.relay.publish("last", "words");
      await until("the answer has come", () => one.got.length > 0);
      expect(one.got).toEqual([["last", "words"]]);
      expect(one.relay.counts).toEqual({ sent: sent.length, received: 1, dropped: 0, failed: 0 });
      expect(ofSync()).toBe(0);
    });

    it("carries messages of 1 MiB", async () => {
      const [one, two] = [await host(broker), await host(broker)];
      const bytes = Uint8Array.from({ length: MIB }, (_, n) => n * 7 + (n >> 8));
      one.relay.publish("binary", bytes);
      one.relay.publish("text", "ü".repeat(MIB / 2));
      await until("both have come", () => two.got.length === 2);
      expect(Buffer.compare(two.got[0]?.[1] as Uint8Array, bytes)).toBe(0);
      expect(two.got[1]?.[1] === "ü".repeat(MIB / 2)).toBe(true);
    });

    it("takes bytes before publish() returns", async () => {
      const [one, two] = [await host(broker), await host(broker)];
      const bytes = Uint8Array.of(1, 2, 3);
      one.relay.publish("t", bytes);
      bytes.fill(9);
      await until("it has come", () => two.got.length === 1);
      expect(two.got).toEqual([["t", Uint8Array.of(1, 2, 3)]]);
    });

    it("keeps threads of one process, namespaces and channels apart", async () => {
      const id = "one process";
      const sender = await host(broker, { id });
      const thread = await host(broker, { id });
      const other = await host(broker, { namespace: "other" });
      const elsewhere = await host(broker, { channel: "elsewhere" });
      const listener = await host(broker);
      sender.relay.publish("t", "from one");
      await until("it has come", () => listener.got.length === 1);
      // Each of these would have come before what follows on its channel.
      const marks = [await host(broker, { namespace: "other" }), await host(broker)];
      marks[0]?.relay.publish("mark", "");
      marks[1]?.relay.publish("mark", "");
      (await host(broker, { channel: "elsewhere" })).relay.publish("mark", "");
      await until("the marks have come", () => {
        return [thread, other, elsewhere].every(({ got }) => got.length > 0);
      });
      for (const { got } of [thread, other, elsewhere]) expect(got).toEqual([["mark", ""]]);
    });

    it("reports a lost connection once, goes on publishing here, and recovers", async () => {
      const [one, two] = [await host(broker), await host(broker)];
      for (let outage = 1; outage <= 2; outage += 1) {
        await broker.down();
        await until("both have warned", () => ofSync() === 2 * outage);
        const before = one.relay.counts;
        for (let n = 0; n < 10; n += 1) one.relay.publish("while", "it is away");
        await broker.up();
        two.got.length = 0;
        await until("messages arrive again", () => {
          one.relay.publish("again", `${outage}`);
          return two.got.some(([topic, data]) => topic === "again" && data === `${outage}`);
        });
        await until("the other way, too", () => {
          two.relay.publish("back", `${outage}`);
          return one.got.some(([topic, data]) => topic === "back" && data === `${outage}`);
        });
        // The client of Redis queues by itself; when it has noticed, the test cannot know.
        if (kind.name === "nats")
          expect(one.relay.counts.sent - before.sent).toBeGreaterThanOrEqual(10);
        expect(ofSync()).toBe(2 * outage);
      }
    });

    it("drops the newest of more than may wait, says so once, and keeps the order", async () => {
      const [one, two] = [await host(broker), await host(broker)];
      broker.freeze();
      const more = 100;
      for (let n = 0; n < WAITING_MAX + more; n += 1) one.relay.publish("n", `${n}`);
      expect(one.relay.counts).toEqual({ sent: 0, received: 0, dropped: more, failed: 0 });
      broker.thaw();
      await until("what was kept has left", () => one.relay.counts.sent === WAITING_MAX);
      one.relay.publish("n", "next");
      await until("the last has come", () => two.got.at(-1)?.[1] === "next");
      const expected = Array.from({ length: WAITING_MAX }, (_, n) => ["n", `${n}`]);
      expect(two.got).toEqual([...expected, ["n", "next"]]);
      expect(ofSync()).toBe(1);
    });

    it("drops what would make more bytes wait than may", async () => {
      const one = await host(broker);
      broker.freeze();
      const count = WAITING_BYTES_MAX / MIB;
      for (let n = 0; n < count; n += 1) one.relay.publish("n", new Uint8Array(MIB));
      expect(one.relay.counts.dropped).toBe(0);
      one.relay.publish("n", "x");
      expect(one.relay.counts.dropped).toBe(1);
      broker.thaw();
      await until("what was kept has left", () => one.relay.counts.sent === count);
    });

    it("ends its subscription with close(), and leaves the application's connection", async () => {
      const client = await clientOf(broker);
      const [one, two] = [await host(broker, { client }), await host(broker)];
      await one.relay.close();
      await until("it is not subscribed", async () => (await broker.subscribers("millrace")) === 1);
      two.relay.publish("late", "");
      one.relay.publish("late", "");
      await client.publish("elsewhere", "still open");
      await until("it has left", () => two.relay.counts.sent === 1);
      expect(one.got).toEqual([]);
      expect(one.relay.counts.sent).toBe(0);
      expect(await one.relay.close()).toBeUndefined();
    });

    it("closes while the broker hangs or is away", async () => {
      const [one, two] = [await host(broker), await host(broker)];
      broker.freeze();
      one.relay.publish("t", "");
      await one.relay.close();
      await broker.down();
      await until("the other has noticed", () => ofSync() > 0);
      two.relay.publish("t", "");
      await two.relay.close();
    });

    it("ignores what something else publishes on the channel, with one warning", async () => {
      const [one, client] = [await host(broker), await clientOf(broker)];
      for (const text of ["", "junk", "{}", '{"id":"x","msg":{}}', "\u0001\u0000 \uffff cut"])
        await client.publish("millrace", text);
      (await host(broker)).relay.publish("t", "after");
      await until("the message has come", () => one.got.length > 0);
      expect(one.got).toEqual([["t", "after"]]);
      expect(ofSync()).toBe(1);
    });

    if (kind.name !== "nats") return;

    it("reports a message above max_payload, and sends the next one", async () => {
      const [one, two] = [await host(broker), await host(broker)];
      one.relay.publish("large", new Uint8Array(NATS_PAYLOAD_MAX));
      one.relay.publish("small", "");
      await until("the small one has come", () => two.got.length > 0);
      expect(two.got).toEqual([["small", ""]]);
      expect(one.relay.counts).toMatchObject({ sent: 1, failed: 1 });
      expect(warnings.map(({ message }) => message).join()).toMatch(/max_payload/);
    });

    it("fails what waits when the connection is closed by the application", async () => {
      const client = await clientOf(broker);
      const one = await host(broker, { client });
      await broker.down();
      await until("it has noticed", () => ofSync() === 1);
      one.relay.publish("t", "waits");
      expect(one.relay.counts.failed).toBe(0);
      await client.close();
      await until("it was given up", () => one.relay.counts.failed === 1);
    });
  });
}
