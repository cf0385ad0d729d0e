// A real Redis and a real NATS server of a test's own, on a socket or port of 127.0.0.1 that nobody
// else has, with their folders; and clients of them as an application makes them.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect } from "@nats-io/transport-node";
import { createClient } from "redis";
import type { SyncAdapter } from "../../src/sync/adapter.ts";
import { natsSync } from "../../src/sync/nats.ts";
import { redisSync } from "../../src/sync/redis.ts";
import { Child } from "./child.ts";
import { programNamed } from "./programs.ts";
import { until } from "./until.ts";

export const NATS_PAYLOAD_MAX = 2_097_152; // bytes

/** A connection of an application to the broker. */
export interface Client {
  /** The adapter of millrace over this connection. */
  readonly sync: (channel?: string) => SyncAdapter;
  /** Publishes something that is not millrace's. */
  readonly publish: (channel: string, text: string) => Promise<void>;
  readonly close: () => Promise<void>;
}

export interface Broker {
  /** What children are told to find it: a path or an address. */
  readonly address: string;
  readonly connect: () => Promise<Client>;
  /** Ends the server, and starts another in its place. */
  readonly down: () => Promise<void>;
  readonly up: () => Promise<void>;
  /** Stops the process, so that connections stay and nothing answers; and lets it go on. */
  readonly freeze: () => void;
  readonly thaw: () => void;
  /** How many subscribers the channel has. */
  readonly subscribers: (channel: string) => Promise<number>;
  readonly stop: () => Promise<void>;
}

/** The brokers by the driver's name; `start` is missing where the program is. */
export interface BrokerKind {
  readonly name: "redis" | "nats";
  readonly program: string | undefined;
  readonly start: () => Promise<Broker>;
}

const redisServer = programNamed("redis-server");
const natsServer = programNamed("nats-server");

export const BROKERS: readonly BrokerKind[] = [
  { name: "redis", program: redisServer, start: startRedis },
  { name: "nats", program: natsServer, start: startNats },
];

async function startRedis(): Promise<Broker> {
  const folder = mkdtempSync(join(tmpdir(), "millrace-redis-"));
  const path = join(folder, "redis.sock");
  const words = ["--port", "0", "--unixsocket", path, "--dir", folder, "--save", ""];
  const { broker, child } = await brokerOf(folder, async () => {
    const started = new Child(redisServer as string, [...words, "--appendonly", "no"]);
    await ready(started, () => /ready to accept connections/i.test(started.output));
    return started;
  });
  const open = async () => {
    const client = createClient({
      socket: { path, reconnectStrategy: (retries) => Math.min(2 ** retries, 50) },
    });
    client.on("error", () => undefined); // as every application has to
    await client.connect();
    return client;
  };
  return {
    ...broker,
    address: path,
    connect: async () => {
      const client = await open();
      return {
        sync: (channel) => redisSync(client, channel === undefined ? {} : { channel }),
        publish: async (channel, text) => void (await client.publish(channel, text)),
        close: async () => client.destroy(),
      };
    },
    subscribers: async (channel) => {
      const client = await open();
      const count = (await client.pubSubNumSub(channel))[channel] ?? 0;
      client.destroy();
      return count;
    },
    freeze: () => void child().process.kill("SIGSTOP"),
    thaw: () => void child().process.kill("SIGCONT"),
  };
}

async function startNats(): Promise<Broker> {
  const folder = mkdtempSync(join(tmpdir(), "millrace-nats-"));
  const config = join(folder, "nats.conf");
  let port = -1; // any free one at first, the same afterwards
  const { broker, child } = await brokerOf(folder, async () => {
    // The monitoring port tells about subscriptions.
    const lines = [`listen: "127.0.0.1:${port}"`, `max_payload: ${NATS_PAYLOAD_MAX}`];
    writeFileSync(config, [...lines, 'http: "127.0.0.1:-1"', ""].join("\n"));
    const started = new Child(natsServer as string, ["-c", config]);
    await ready(started, () => started.errors.includes("Server is ready"));
    port = portIn(started.errors, /client connections on 127\.0\.0\.1:(\d+)/);
    return started;
  });
  const servers = `127.0.0.1:${port}`;
  return {
    ...broker,
    address: servers,
    connect: async () => {
      const connection = await connect({
        servers,
        maxReconnectAttempts: -1,
        reconnectDelayHandler: () => 10,
      });
      return {
        sync: (subject) => natsSync(connection, subject === undefined ? {} : { subject }),
        publish: async (subject, text) => {
          connection.publish(subject, text);
          await connection.flush();
        },
        close: () => connection.close(),
      };
    },
    subscribers: async (subject) => {
      const monitor = portIn(child().errors, /http monitor on 127\.0\.0\.1:(\d+)/);
      const answer = await fetch(`http://127.0.0.1:${monitor}/subsz?subs=1&test=${subject}`, {
        headers: { connection: "close" },
      });
      const found = (await answer.json()) as { subscriptions_list?: readonly unknown[] };
      return found.subscriptions_list?.length ?? 0;
    },
    freeze: () => void child().process.kill("SIGSTOP"),
    thaw: () => void child().process.kill("SIGCONT"),
  };
}

/** What both have in common: a process that ends and is started again. */
async function brokerOf(folder: string, start: () => Promise<Child>) {
  const remove = (): void => rmSync(folder, { recursive: true, force: true });
  let child: Child;
  try {
    child = await start();
  } catch (error) {
    remove();
    throw error;
  }
  const down = async (): Promise<void> => {
    child.process.kill("SIGCONT");
    await child.stop("SIGKILL");
  };
  const broker = {
    down,
    up: async () => {
      child = await start();
    },
    stop: async () => {
      await down();
      remove();
    },
  };
  return { broker, child: () => child };
}

async function ready(child: Child, isReady: () => boolean): Promise<void> {
  try {
    await until("the broker takes connections", () => {
      if (child.hasExited) throw new Error(`it ended: ${child.output}${child.errors}`);
      return isReady();
    });
  } catch (error) {
    await child.stop("SIGKILL");
    throw error;
  }
}

function portIn(log: string, pattern: RegExp): number {
  const found = pattern.exec(log);
  if (found === null) throw new Error(`no port in ${log}`);
  return Number(found[1]);
}
