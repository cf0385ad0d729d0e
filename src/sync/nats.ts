// Publications through NATS, by the official client ("@nats-io/transport-node"), which the
// application brings. Core NATS keeps nothing: who is not connected misses what is published.
import { checkRecord, invalidOption, text } from "../check.ts";
import type { SyncAdapter, SyncContext, SyncDriver } from "./adapter.ts";
import { encode, receiver } from "./envelope.ts";

/** What is used of a connection of `@nats-io/transport-node`. */
export interface NatsConnectionLike {
  publish(subject: string, payload: Uint8Array): void;
  subscribe(
    subject: string,
    options: {
      callback: (error: Error | null, message: { readonly data: Uint8Array }) => void;
    },
  ): { unsubscribe(): void };
  flush(): Promise<void>;
  status(): AsyncIterable<{ readonly type: string }>;
  isClosed(): boolean;
}

/** Options of {@link natsSync}. */
export interface NatsSyncOptions {
  /**
   * The subject; servers that name the same one share their topics.
   * @default "millrace"
   */
  readonly subject?: string;
}

/**
 * Carries publications through NATS. The connection stays the application's own; give it
 * `maxReconnectAttempts: -1`, or it closes itself after a while without a server. The server's
 * `max_payload` (1 MiB unless configured) bounds what can be published.
 *
 * @param connection - made by `connect()` of `@nats-io/transport-node`, version 3
 * @throws {MillraceError} ERR_MILLRACE_INVALID_OPTION
 * @example
 * ```ts
 * import { connect } from "@nats-io/transport-node";
 * import { serve } from "millrace";
 * import { natsSync } from "millrace/sync/nats";
 * const connection = await connect({ servers: "127.0.0.1:4222", maxReconnectAttempts: -1 });
 * const server = await serve({ port: 0, sync: natsSync(connection) });
 * await server.close();
 * await connection.close();
 * ```
 */
export function natsSync(
  connection: NatsConnectionLike,
  options: NatsSyncOptions = {},
): SyncAdapter {
  if (typeof connection?.flush !== "function" || typeof connection.status !== "function") {
    const what = 'must be a connection of the package "@nats-io/transport-node"';
    throw invalidOption("natsSync()'s connection", what, connection);
  }
  checkRecord("natsSync()'s options", options, ["subject"]);
  const subject = subjectOf(options.subject ?? "millrace");
  return (context) => new NatsDriver(connection, subject, context);
}

/** Tokens between dots, without the wildcards that only subscribers may use. */
function subjectOf(value: unknown): string {
  const subject = text("natsSync()'s subject", value);
  const isPlain = subject.split(".").every((token) => /^[^\s*>]+$/.test(token));
  if (isPlain) return subject;
  throw invalidOption("natsSync()'s subject", "must be tokens between dots, no wildcards", subject);
}

/** A message that waits for the connection to come back. */
interface Held {
  readonly bytes: Uint8Array;
  readonly resolve: (sent: Promise<void>) => void;
  readonly reject: (error: Error) => void;
}

/** The client forgets what it is given while it is not connected, so that waits here. */
class NatsDriver implements SyncDriver {
  readonly #connection: NatsConnectionLike;
  readonly #subject: string;
  readonly #context: SyncContext;
  #subscription: { unsubscribe(): void } | undefined = undefined;
  #statuses: AsyncIterable<{ readonly type: string }> | undefined = undefined;
  #held: Held[] = [];
  #isLost = false;
  #isClosed = false;
  #flushing: Promise<void> = Promise.resolve();
  #next: Promise<void> | undefined = undefined;

  constructor(connection: NatsConnectionLike, subject: string, context: SyncContext) {
    this.#connection = connection;
    this.#subject = subject;
    this.#context = context;
  }

  subscribe(deliver: Parameters<SyncDriver["subscribe"]>[0]): void {
    const { id } = this.#context;
    const receive = receiver(id, `the NATS subject "${this.#subject}"`, deliver);
    this.#subscription = this.#connection.subscribe(this.#subject, {
      callback: (error, message) => {
        if (error === null) receive(message.data);
        else if (!this.#isClosed) this.#context.onLost?.(error);
      },
    });
    this.#statuses = this.#connection.status();
    this.#watch(this.#statuses).catch((error: Error) => this.#giveUp(error));
  }

  publish(message: Parameters<SyncDriver["publish"]>[0]): Promise<void> {
    const bytes = encode(this.#context.id, message);
    if (!this.#isLost) return this.#send(bytes);
    return new Promise((resolve, reject) => {
      this.#held.push({ bytes, resolve, reject });
    });
  }

  close(): void {
    this.#isClosed = true;
    if (!this.#connection.isClosed()) this.#subscription?.unsubscribe();
    // Returning from the iteration would wait for the next status.
    (this.#statuses as { stop?: () => void } | undefined)?.stop?.();
    this.#giveUp(new Error("the server was closed"));
  }

  #send(bytes: Uint8Array): Promise<void> {
    try {
      this.#connection.publish(this.#subject, bytes);
    } catch (error) {
      return Promise.reject(error);
    }
    return this.#flushed();
  }

  /** Everything published so far is with the server. One flush at a time serves all that wait. */
  #flushed(): Promise<void> {
    this.#next ??= this.#flushing.then(() => {
      this.#next = undefined;
      const flush = this.#connection.flush();
      this.#flushing = flush.catch(() => undefined);
      return flush;
    });
    return this.#next;
  }

  async #watch(statuses: AsyncIterable<{ readonly type: string }>): Promise<void> {
    for await (const { type } of statuses) {
      if (this.#isClosed) break;
      if (type === "disconnect") {
        this.#isLost = true;
        this.#context.onLost?.(new Error("the connection to the NATS server was lost"));
      } else if (type === "reconnect") this.#restored();
    }
    // The client has closed the connection, by itself or because it was told to.
    this.#isLost = false; // publish() says from now on that it is closed
    this.#giveUp(new Error("the NATS connection was closed"));
  }

  #restored(): void {
    this.#isLost = false;
    this.#context.onRestored?.();
    for (const { bytes, resolve } of this.#held.splice(0)) resolve(this.#send(bytes));
  }

  #giveUp(error: Error): void {
    for (const { reject } of this.#held.splice(0)) reject(error);
  }
}
