// Publications through Redis' publish and subscribe, by the official client ("redis"), which the
// application brings. Redis keeps nothing: a host that is not connected misses what is published.
import { checkRecord, invalidOption, text } from "../check.ts";
import type { SyncAdapter, SyncDriver } from "./adapter.ts";
import { encode, receiver } from "./envelope.ts";

/** What is used of a client of the package `redis`. */
export interface RedisClientLike {
  publish(channel: string, message: Buffer): Promise<unknown>;
  duplicate(): RedisSubscriberLike;
  on(event: string, listener: (error: unknown) => void): unknown;
  off(event: string, listener: (error: unknown) => void): unknown;
}

/** What is used of its duplicate. */
export interface RedisSubscriberLike {
  connect(): Promise<unknown>;
  subscribe(
    channel: string,
    listener: (message: Buffer) => void,
    bufferMode: true,
  ): Promise<unknown>;
  destroy(): void;
  on(event: string, listener: (error: unknown) => void): unknown;
}

/** Options of {@link redisSync}. */
export interface RedisSyncOptions {
  /**
   * The channel; servers that name the same one share their topics.
   * @default "millrace"
   */
  readonly channel?: string;
}

/**
 * Carries publications through Redis. The client must be connected by the application and stays its
 * own; a duplicate of it subscribes, because a subscribed connection can do little else.
 *
 * @param client - made by `createClient()` of the package `redis`, version 5 or 6
 * @throws {MillraceError} ERR_MILLRACE_INVALID_OPTION
 * @example
 * ```ts
 * import { serve } from "millrace";
 * import { redisSync } from "millrace/sync/redis";
 * import { createClient } from "redis";
 * const client = createClient({ url: "redis://127.0.0.1:6379" });
 * await client.connect();
 * const server = await serve({ port: 0, sync: redisSync(client) });
 * await server.close();
 * await client.close();
 * ```
 */
export function redisSync(client: RedisClientLike, options: RedisSyncOptions = {}): SyncAdapter {
  if (typeof client?.duplicate !== "function" || typeof client.publish !== "function")
    throw invalidOption("redisSync()'s client", 'must be a client of the package "redis"', client);
  checkRecord("redisSync()'s options", options, ["channel"]);
  const channel = text("redisSync()'s channel", options.channel ?? "millrace");
  return (context) => {
    const lost = new Set<object>();
    let subscriber: RedisSubscriberLike | undefined;
    let isClosed = false;

    const onClientError = (error: unknown): void => down(client, error);
    const onClientReady = (): void => up(client);
    const down = (one: object, error: unknown): void => {
      lost.add(one);
      if (!isClosed) context.onLost?.(error);
    };
    const up = (one: object): void => {
      if (lost.delete(one) && lost.size === 0 && !isClosed) context.onRestored?.();
    };

    const driver: SyncDriver = {
      async subscribe(deliver) {
        client.on("error", onClientError);
        client.on("ready", onClientReady);
        const own = client.duplicate();
        subscriber = own;
        // Stays for good: an error without a listener would end the process.
        own.on("error", (error) => down(own, error));
        own.on("ready", () => up(own));
        const receive = receiver(context.id, `the Redis channel "${channel}"`, deliver);
        try {
          await own.connect(); // tries again as long as the client's own strategy says
          await own.subscribe(channel, receive, true);
        } catch (error) {
          if (!isClosed) throw error;
        }
      },
      async publish(message) {
        await client.publish(channel, encode(context.id, message));
      },
      close() {
        isClosed = true;
        client.off("error", onClientError);
        client.off("ready", onClientReady);
        subscriber?.destroy(); // there is nothing to wait for: it only listens
      },
    };
    return driver;
  };
}
