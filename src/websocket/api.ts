// What users of WebSockets implement and are handed: types only.
import type { Address, Context, MaybePromise } from "../api.ts";
import type { Bytes } from "../body.ts";
import type { Connection } from "../connection/api.ts";
import type { HeadersInit } from "../lines.ts";

/** How one message is sent. */
export interface SendOptions {
  /**
   * Whether the message is compressed where that was agreed on with the peer and it is long enough.
   * @default true
   */
  readonly compress?: boolean;
}

/** How a message is published. */
export interface PublishOptions extends SendOptions {
  /** A socket that does not get it. */
  readonly except?: Socket;
  /**
   * Who gets it: subscribers in this JavaScript thread, in the whole process, or also those of
   * other processes and hosts, which takes the option `sync`.
   * @default "cluster" where `sync` is given, else "process"
   */
  readonly scope?: "cluster" | "process" | "thread";
}

/** How a message is sent to many. */
export interface SendManyOptions extends SendOptions {
  /**
   * Milliseconds within which each peer has to take it, 1 to 86 400 000. The connections of those
   * that do not are cut.
   * @default 10_000
   */
  readonly timeout?: number;
}

/** What became of a message to many. */
export interface SendManyReport {
  /** Sockets whose connection has taken the whole message. */
  readonly delivered: number;
  /** Those that were closed before, died meanwhile, or did not take it in time. */
  readonly failed: Socket[];
}

/** With what a handshake is accepted. */
export interface UpgradeOptions<D = unknown> {
  /** Becomes `data` of the socket. */
  readonly data?: D;
  /** Header fields of the 101 response. */
  readonly headers?: HeadersInit;
  /**
   * The sub-protocol; it must be one that the client offered.
   * @default the first of the client's that is in `protocols`, else none
   */
  readonly protocol?: string;
}

/** How permessage-deflate (RFC 7692) is spoken. */
export interface DeflateOptions {
  /**
   * Whether messages are compressed with the memory of earlier ones. Smaller, for a compressor per
   * socket: 256 KiB at the default settings.
   * @default false
   */
  readonly contextTakeover?: boolean;
  /** 1 is fast, 9 is small. @default 6 */
  readonly level?: number;
  /**
   * Whether the peer may compress with the memory of earlier messages, which costs this end its
   * window, 32 KiB per socket.
   * @default false
   */
  readonly peerContextTakeover?: boolean;
  /** Bytes below which a message goes as it is, 0 to 2^31 - 1. @default 1024 */
  readonly threshold?: number;
  /** Size of the window as a power of two, 9 to 15. @default 15 */
  readonly windowBits?: number;
}

/**
 * What happens on the WebSockets of a route, and what they may do.
 *
 * Per socket `open` comes first, then `message`, `ping` and `pong` in the order in which they
 * arrived, one after the other: when a handler returns a promise, the next one waits for it. What
 * waits is bounded by `maxQueue`; then nothing more is read. At last come `error`, when something
 * went wrong, and `close`, exactly once. A handler that throws harms nothing else: `error` is told,
 * or a warning is given, and the socket stays open.
 *
 * @example
 * ```ts
 * import { serve, websocket } from "millrace";
 * await serve({
 *   port: 0,
 *   routes: {
 *     "/chat/:name": websocket({
 *       upgrade: (_request, ctx) => ({ data: { name: ctx.params.name } }),
 *       open: (ws) => ws.subscribe("chat"),
 *       message: (ws, data) => void ws.publish("chat", `${ws.data.name}: ${data}`),
 *     }),
 *   },
 * });
 * ```
 */
export interface WebSocketHandler<D = unknown, P extends string = string> {
  /**
   * Asked before a handshake is accepted: give `data`, `protocol` and `headers` of the 101, nothing
   * (or null or true) to accept as it is, false for a 400, or a Response that is sent instead. When
   * it throws, the answer is that of a fetch handler that throws. Routes have it; of the option
   * `websocket` of serve() it would never be asked.
   */
  upgrade?(
    request: Request,
    ctx: Context<P>,
    // biome-ignore lint/suspicious/noConfusingVoidType: a function without return is meant.
  ): MaybePromise<UpgradeOptions<D> | Response | boolean | null | undefined | void>;
  /** The socket is open; what it sends here goes before anything else. */
  open?(ws: Socket<D>): MaybePromise<void>;
  /** A message, whole: text as a string, a binary one as bytes that are the receiver's own. */
  message?(ws: Socket<D>, data: string | Uint8Array): MaybePromise<void>;
  /** After `send()` gave -1 or dropped a message: there is room again. Waits for nothing. */
  drain?(ws: Socket<D>): MaybePromise<void>;
  /**
   * The socket is over; nothing comes after this.
   * @param code - the peer's close code; 1005 without one, 1006 without a closing handshake
   */
  close?(ws: Socket<D>, code: number, reason: string): MaybePromise<void>;
  /**
   * A handler threw, or the connection failed: then `close` follows.
   * @param error - a MillraceError when it is not one of a handler's own
   */
  error?(ws: Socket<D>, error: Error): MaybePromise<void>;
  /** A ping came; it is answered already unless `automaticPong` is off. */
  ping?(ws: Socket<D>, data: Uint8Array): MaybePromise<void>;
  /** A pong came. */
  pong?(ws: Socket<D>, data: Uint8Array): MaybePromise<void>;

  /**
   * Origins from which browsers may connect, as "https://app.example"; "*" for any; "same-origin",
   * also among others, for that of the request itself: its host and port as `request.url` has them,
   * and its scheme where a trusted proxy tells it. Others get 403. Whoever sends no Origin is no
   * browser and passes: it could send any. By default pages of every site may connect, and browsers
   * send the user's cookies along.
   * @default any
   */
  readonly allowedOrigins?: readonly string[] | "*" | "same-origin";
  /** Whether pings are answered with a pong, ahead of what waits. @default true */
  readonly automaticPong?: boolean;
  /**
   * Bytes that may wait for a peer, 1024 to 2^30; what is beyond is for `onBackpressure`. What the
   * kernel takes at once does not wait, however much is sent in one turn.
   * @default 16_777_216
   */
  readonly backpressureLimit?: number;
  /**
   * Milliseconds from our close frame to the end of the connection, 1 to 86 400 000.
   * @default 10_000
   */
  readonly closeTimeout?: number;
  /**
   * Milliseconds without a byte from the peer until it is given up; 0: never.
   * @default 120_000
   */
  readonly idleTimeout?: number;
  /** Whether `request` of the socket is kept; it costs memory per socket. @default false */
  readonly keepRequest?: boolean;
  /**
   * Bytes of one received message, decompressed, 0 to 2^31 - 1. Beyond: close code 1009. A text has
   * 2^29 - 24 bytes at most, as no string is longer (`buffer.constants.MAX_STRING_LENGTH`).
   * @default 1_048_576
   */
  readonly maxPayloadLength?: number;
  /**
   * Messages that wait for a handler before reading stops, 1 to 65 536; 256 KiB of them do so too.
   * @default 64
   */
  readonly maxQueue?: number;
  /**
   * Topics of one socket, 1 to 1 048 576: beyond, `subscribe()` throws. Peers may choose topics.
   * @default 1024
   */
  readonly maxTopics?: number;
  /**
   * Milliseconds from the first byte of a message to its last, 0 to 86 400 000; one that comes at
   * `timeouts.minReceiveRate` (a client: 256 bytes per second) on average has as long as it needs.
   * Beyond, the peer is given up as after `idleTimeout`. 0: no limit.
   * @default 120_000
   */
  readonly messageTimeout?: number;
  /**
   * What becomes of a message for a peer that has more than `backpressureLimit` waiting: "close"
   * ends the socket with 1013, "drop" drops it, "buffer" keeps it up to 16 times the limit.
   * @default "close"
   */
  readonly onBackpressure?: "buffer" | "close" | "drop";
  /** Whether, or how, messages are compressed. @default false */
  readonly perMessageDeflate?: boolean | DeflateOptions;
  /** Sub-protocols spoken here: the first of the client's that is among them is chosen. */
  readonly protocols?: readonly string[];
  /**
   * Whether a peer that is silent is asked with a ping, when a quarter to half of `idleTimeout` has
   * passed: each socket at a moment of its own, so that pings are spread. @default true
   */
  readonly sendPings?: boolean;
}

/** A WebSocketHandler for what other handlers have decided to accept. */
export type UpgradedHandler<D = unknown> = Omit<WebSocketHandler<D>, "upgrade">;

/**
 * A WebSocket, of a server or a client. It is owned: legal at any time, and never another peer's.
 *
 * `for await (const message of ws)` takes the messages instead of the handler, as fast as the loop
 * goes; it ends when the socket does.
 */
export interface Socket<D = unknown> extends AsyncIterable<string | Uint8Array> {
  /** Whatever belongs to the socket; what the handshake was accepted with. */
  data: D;
  /** Bytes of messages that wait for the peer. */
  readonly bufferedAmount: number;
  /** The connection that it came on, as `req.connection`; clients have none. */
  readonly connection: Connection | undefined;
  /** The extensions agreed on: "permessage-deflate" or "". */
  readonly extensions: string;
  /** A name that no other socket has or had. */
  readonly id: string;
  /**
   * Resolves when the socket is open.
   * @throws {MillraceError} ERR_MILLRACE_ABORTED when the client left before (as a rejection)
   */
  readonly opened: Promise<void>;
  /** The sub-protocol agreed on, or "". */
  readonly protocol: string;
  /** 0 connecting, 1 open, 2 closing, 3 closed. */
  readonly readyState: 0 | 1 | 2 | 3;
  /** The peer's end of the connection. */
  readonly remoteAddress: Address;
  /** The handshake request, where the handler has `keepRequest`. */
  readonly request: Request | undefined;
  /** The topics subscribed to, as they are now; in `close` those that it had. */
  readonly topics: ReadonlySet<string>;

  /**
   * Begins the closing handshake behind what was sent. What has come, or still comes, is not handed
   * over any more.
   * @param code - 1000, 1001 to 1014 without 1004 to 1006, or 3000 to 4999. @default 1000
   * @param reason - at most 123 bytes of UTF-8
   * @throws {MillraceError} ERR_MILLRACE_INVALID_OPTION
   */
  close(code?: number, reason?: string): void;
  /** Calls `run` and gives its result: what is sent within one turn goes out together anyway. */
  cork<T>(run: () => T): T;
  /**
   * Resolves when the peer has taken so much that it is worth sending on.
   * @throws {MillraceError} ERR_MILLRACE_WS_CLOSED (as a rejection)
   */
  drained(): Promise<void>;
  /**
   * Stops taking messages; the peer feels it. Those that came already wait for `resume()`, or the
   * end.
   */
  pause(): void;
  /**
   * Sends a ping.
   * @param data - at most 125 bytes
   * @returns as `send()`
   */
  ping(data?: Bytes): number;
  /** Sends an unasked pong, or the answer to a ping where `automaticPong` is off. */
  pong(data?: Bytes): number;
  /**
   * Publishes to the subscribers of a topic except this socket.
   * @returns how many subscribers there are, those of other hosts not counted
   */
  publish(topic: string, data: Bytes, options?: Omit<PublishOptions, "except">): number;
  /** Goes on after `pause()`. */
  resume(): void;
  /**
   * Sends a message: strings as text, bytes as a binary one.
   * @returns above 0: the bytes that were sent or wait; -1: it waits, and so much does that one
   * should wait for `drained()` or `drain`; 0: dropped, because the socket is closed or too much
   * waits
   * @throws {MillraceError} ERR_MILLRACE_INVALID_BODY, ERR_MILLRACE_INVALID_OPTION
   */
  send(data: Bytes, options?: SendOptions): number;
  /**
   * Gets what is published on the topic.
   * @param topic - 1 to 1024 bytes; an unpaired surrogate in it becomes U+FFFD
   * @throws {MillraceError} ERR_MILLRACE_INVALID_OPTION, also beyond `maxTopics`
   */
  subscribe(topic: string): void;
  /** Ends the connection at once, without a closing handshake. */
  terminate(): void;
  /** Gets it no longer. */
  unsubscribe(topic: string): void;
}
