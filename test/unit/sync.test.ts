// The seam for other hosts without any broker: drivers that misbehave, bytes that are no message,
// and that an adapter written for crossws serves here and the other way round.
import { afterEach, beforeEach, describe, expect, expectTypeOf, it, vi } from "vitest";
import type { SyncAdapter, SyncDriver, SyncMessage } from "../../src/sync/adapter.ts";
import { decode, encode } from "../../src/sync/envelope.ts";
import { type NatsConnectionLike, natsSync } from "../../src/sync/nats.ts";
import { type RedisClientLike, redisSync } from "../../src/sync/redis.ts";
import { Relay } from "../../src/sync/relay.ts";
import { until } from "../support/until.ts";

/** crossws' interfaces as its version 0.4 has them. */
interface CrosswsMessage {
  namespace: string;
  topic: string;
  data: string | Uint8Array;
}
interface CrosswsDriver {
  subscribe(deliver: (message: CrosswsMessage) => void): void | Promise<void>;
  publish(message: CrosswsMessage): void | Promise<void>;
  close?(): void | Promise<void>;
}
type CrosswsAdapter = (context: { id: string }) => CrosswsDriver;

let warnings: Error[] = [];
const collect = (warning: Error): void => void warnings.push(warning);
const texts = (): string => warnings.map(({ message }) => message).join("\n");

beforeEach(() => {
  warnings = [];
  process.on("warning", collect);
});

afterEach(() => {
  process.off("warning", collect);
  vi.useRealTimers();
});

function open(
  driver: Partial<SyncDriver>,
  deliver: (topic: string, data: string | Uint8Array) => void = () => undefined,
): Relay {
  const whole = { subscribe: () => undefined, publish: () => undefined, ...driver };
  return Relay.open({ adapter: () => whole, id: "x", namespace: "", deliver });
}

describe("a relay", () => {
  it("takes an adapter of crossws, and crossws takes one of ours", async () => {
    expectTypeOf<CrosswsAdapter>().toExtend<SyncAdapter>();
    expectTypeOf<SyncAdapter>().toExtend<CrosswsAdapter>();
    const bus = new Set<{ id: string; deliver: (message: CrosswsMessage) => void }>();
    const adapter: CrosswsAdapter = ({ id }) => ({
      subscribe: (deliver) => void bus.add({ id, deliver }),
      publish: (message) => {
        for (const one of bus) if (one.id !== id) one.deliver(message);
      },
    });
    const got: unknown[] = [];
    const deliver = (topic: string, data: unknown): void => void got.push([topic, data]);
    const one = Relay.open({ adapter, id: "1", namespace: "", deliver });
    const two = Relay.open({ adapter, id: "2", namespace: "", deliver: () => undefined });
    two.publish("t", "text");
    two.publish("t", Uint8Array.of(1));
    expect(got).toEqual([
      ["t", "text"],
      ["t", Uint8Array.of(1)],
    ]);
    expect(two.counts).toEqual({ sent: 2, received: 0, dropped: 0, failed: 0 });
    await Promise.all([one.close(), two.close()]);
  });

  it("survives a driver that throws and rejects, and warns once until it works again", async () => {
    let next: () => void | Promise<void> = () => {
      throw new Error("thrown");
    };
    const relay = open({ publish: () => next() });
    relay.publish("t", "");
    relay.publish("t", "");
    next = () => Promise.reject(new Error("rejected"));
    relay.publish("t", "");
    await until("all have failed", () => relay.counts.failed === 3);
    expect(texts()).toMatch(/^sync: a publication does not reach other hosts: thrown/);
    expect(warnings.length).toBe(1);
    next = () => undefined;
    relay.publish("t", "");
    next = () => Promise.reject("a string");
    relay.publish("t", "");
    await until("it has warned again", () => warnings.length === 2);
    expect(relay.counts).toEqual({ sent: 1, received: 0, dropped: 0, failed: 4 });
  });

  it("survives promises whose then() throws, and messages that are none", async () => {
    const hostile = {
      // biome-ignore lint/suspicious/noThenProperty: that is what is tested.
      then() {
        throw new Error("then");
      },
    };
    let deliver: (message: never) => void = () => undefined;
    const relay = open({
      subscribe: (take) => {
        deliver = take;
      },
      publish: () => hostile as unknown as Promise<void>,
    });
    for (let i = 0; i < 1100; i += 1) {
      relay.publish("t", "x");
      await null;
      await null;
    }
    deliver(null as never);
    await until("all have failed", () => relay.counts.failed === 1100);
    expect(relay.counts).toEqual({ sent: 0, received: 0, dropped: 0, failed: 1100 });
    await relay.close();
    await until("both have warned", () => warnings.length === 2);
    expect(texts()).toMatch(/does not reach.*then.*could not be delivered/s);
  });

  it("reports a subscription that fails, at once or later", async () => {
    open({
      subscribe: () => {
        throw new Error("at once");
      },
    });
    open({ subscribe: () => Promise.reject(new Error("later")) });
    await until("both have warned", () => warnings.length === 2);
    expect(texts()).toMatch(/at once.*later/s);
  });

  it("reports a delivery that throws, and nothing reaches the driver", async () => {
    let deliver!: (message: SyncMessage) => void;
    const relay = open({ subscribe: (given) => void (deliver = given) }, () => {
      throw new Error("closed");
    });
    deliver({ namespace: "", topic: "t", data: "" });
    await until("it has warned", () => warnings.length === 1);
    expect(relay.counts.received).toBe(0);
  });

  it("delivers and publishes nothing after close()", async () => {
    let deliver!: (message: SyncMessage) => void;
    const got: string[] = [];
    const sent: string[] = [];
    const driver: SyncDriver = {
      subscribe: (given) => void (deliver = given),
      publish: ({ topic }) => void sent.push(topic),
    };
    const relay = open(driver, (topic) => void got.push(topic));
    deliver({ namespace: "", topic: "before", data: "" });
    relay.publish("before", "");
    await relay.close();
    deliver({ namespace: "", topic: "after", data: "" });
    relay.publish("after", "");
    expect(got).toEqual(["before"]);
    expect(sent).toEqual(["before"]);
  });

  it("refuses an adapter that makes no driver", () => {
    const adapter = (() => ({})) as unknown as SyncAdapter;
    const options = { adapter, id: "x", namespace: "", deliver: () => undefined };
    expect(() => Relay.open(options)).toThrow(
      expect.objectContaining({ code: "ERR_MILLRACE_INVALID_OPTION" }),
    );
  });

  it("closes in two seconds when the driver does not, and when that fails", async () => {
    vi.useFakeTimers();
    const never = open({ close: () => new Promise(() => undefined) });
    const closing = never.close();
    await vi.advanceTimersByTimeAsync(1999);
    await expect(Promise.race([closing.then(() => 1), Promise.resolve(0)])).resolves.toBe(0);
    await vi.advanceTimersByTimeAsync(1);
    await closing;
    vi.useRealTimers();
    await open({ close: () => Promise.reject(new Error("no")) }).close();
    await until("it has warned", () => warnings.length === 1);
  });
});

describe("the envelope", () => {
  const message: SyncMessage = { namespace: "n", topic: "тема 😀", data: "data ü" };

  it("keeps what it is given", () => {
    const bytes = { ...message, data: Uint8Array.of(0, 255) };
    expect(decode(encode("id", message))).toEqual({ id: "id", message });
    expect(decode(encode("", bytes))).toEqual({ id: "", message: bytes });
  });

  it("gives bytes that are an array of their own", () => {
    const sent = encode("id", { ...message, data: Uint8Array.of(7) });
    const data = decode(sent)?.message.data;
    sent.fill(0);
    expect(data).toEqual(Uint8Array.of(7));
    expect((data as Uint8Array).constructor).toBe(Uint8Array);
  });

  it("is refused when it is cut before its data, at every byte", () => {
    const whole = encode("id", { ...message, data: "" });
    for (let length = 0; length < whole.length; length += 1)
      expect(decode(whole.subarray(0, length)), `${length} bytes`).toBeUndefined();
    expect(decode(whole)).toBeDefined();
  });

  it("is refused with another version or kind", () => {
    const other = encode("id", message);
    other[0] = 2;
    expect(decode(other)).toBeUndefined();
    other[0] = 1;
    other[1] = 2;
    expect(decode(other)).toBeUndefined();
  });

  it("refuses an id or a namespace whose length has no room", () => {
    expect(decode(encode("x".repeat(255), message))?.id).toHaveLength(255);
    expect(() => encode("x".repeat(256), message)).toThrow(RangeError);
    const namespace = "x".repeat(65_535);
    expect(decode(encode("", { ...message, namespace }))?.message.namespace).toBe(namespace);
    expect(() => encode("", { ...message, namespace: `${namespace}x` })).toThrow(RangeError);
  });
});

it("refuses clients and options that cannot be used", () => {
  const client = { duplicate() {}, publish() {} } as unknown as RedisClientLike;
  const connection = { flush() {}, status() {} } as unknown as NatsConnectionLike;
  const wrong = [
    () => redisSync({} as RedisClientLike),
    () => redisSync(undefined as unknown as RedisClientLike),
    () => redisSync(client, { channel: "" }),
    () => redisSync(client, { subject: "x" } as object),
    () => natsSync({} as NatsConnectionLike),
    () => natsSync(connection, { channel: "x" } as object),
    ...["", "a b", "a.*", ">", "a..b", "a.>"].map((subject) => () => {
      return natsSync(connection, { subject });
    }),
  ];
  for (const make of wrong)
    expect(make).toThrow(expect.objectContaining({ code: "ERR_MILLRACE_INVALID_OPTION" }));
  expect(natsSync(connection, { subject: "a.b" })).toBeTypeOf("function");
});
