// clientele(): thousands of clients on loops of their own, with one set of callbacks.

import type { Bytes } from "../body.ts";
import { checkRecord, integer, truth } from "../check.ts";
import { MillraceError } from "../errors.ts";
import type { HeadersInit } from "../lines.ts";
import type { NativeSocketSettings } from "../native/binding.ts";
import { stackOf, warn } from "../warnings.ts";
import type { SendOptions, Socket, WebSocketHandler } from "./api.ts";
import { type ClientSettings, checkCallbacks, clientSettings, SETTING_KEYS } from "./client.ts";
import {
  type Demand,
  demandOf,
  dial,
  HANDSHAKE_KEYS,
  type HandshakeOptions,
  type Patience,
  patienceOf,
} from "./dial.ts";
import { Engine } from "./engine.ts";
import { rulesOf } from "./handler.ts";
import type { SocketRules } from "./service.ts";
import { NativeSocket } from "./socket.ts";
import { explained } from "./tls.ts";

const CALLBACKS = ["open", "message", "drain", "close", "error"] as const;
const LOOPS_MAX = 64;
const QUEUE = 64;
const SEND_MS = 10_000;
const CLOSE_MS = 10_000;
const DAY_MS = 86_400_000;
const YES: Promise<boolean> = Promise.resolve(true);
const NO: Promise<boolean> = Promise.resolve(false);
const PLAIN = { compress: false } as const;

/** What happens on the clients, and what they may do. */
export interface ClienteleOptions<D = unknown> extends ClientSettings {
  /** A client is connected; what it sends here goes before anything else. */
  open?(client: Client<D>): unknown;
  /** A message, whole. The next one of this client waits for a returned promise. */
  message?(client: Client<D>, data: string | Uint8Array): unknown;
  /** There is room again for a client that had too much waiting. */
  drain?(client: Client<D>): unknown;
  /** A connection is over, exactly once for each that was open. */
  close?(client: Client<D>, code: number, reason: string): unknown;
  /** A callback threw, a connection failed, or none came about. */
  error?(client: Client<D>, error: Error): unknown;
  /** Native threads for the clients; 0 runs them on the JavaScript thread. @default 0 */
  readonly loops?: number;
}

/** What a client is, besides its URL. */
export interface ClientOptions<D = unknown> extends HandshakeOptions {
  /** Becomes `data` of the client. */
  readonly data?: D;
}

/** How a client connects. */
export interface ClientConnectOptions {
  /** Header fields of the handshake, instead of those of the client. */
  readonly headers?: HeadersInit;
  /** The Sec-WebSocket-Key, 16 bytes in base64. @default random */
  readonly key?: string;
  /** Sub-protocols, instead of those of the client. */
  readonly protocols?: string | readonly string[];
  /** Ends the attempt. */
  readonly signal?: AbortSignal;
  /** Milliseconds for everything, 1 to 86 400 000. @default 10_000 */
  readonly timeout?: number;
}

/** How a client sends. */
export interface ClientSendOptions extends SendOptions {
  /** Milliseconds within which the peer has to take it, 1 to 86 400 000. @default 10_000 */
  readonly timeout?: number;
}

/**
 * Makes a clientele: many clients that share their callbacks and their loops.
 *
 * @throws {MillraceError} ERR_MILLRACE_INVALID_OPTION
 * @example
 * ```ts
 * import { clientele } from "millrace";
 * const clients = clientele({ message: (client, data) => console.log(client.id, data) });
 * for (let i = 0; i < 1000; i += 1) clients.client("ws://127.0.0.1:3000/");
 * await Promise.all([...clients.clients.values()].map((client) => client.connect()));
 * for (const client of clients.connected()) client.send("hello");
 * await clients.close();
 * ```
 */
export function clientele<D = undefined>(options: ClienteleOptions<D> = {}): Clientele<D> {
  return new Clientele<D>(options);
}

/** Many clients. Keeps the process alive while one of them is connected or connecting. */
export class Clientele<D = unknown> implements AsyncDisposable {
  /** All clients by their ids, connected or not. */
  readonly clients: ReadonlyMap<number, Client<D>>;
  readonly #clients = new Map<number, Client<D>>();
  readonly #settings: NativeSocketSettings;
  readonly #rules: SocketRules;
  readonly #error: ClienteleOptions<D>["error"];
  readonly #loops: number;
  #engine: Engine | undefined = undefined;
  #closing: Promise<void> | undefined = undefined;
  #keepsAlive = true;
  #last = 0;

  /** @internal */
  constructor(options: ClienteleOptions<D>) {
    const name = "clientele()";
    checkRecord(name, options, [...CALLBACKS, ...SETTING_KEYS, "loops"]);
    const given = options as ClienteleOptions<D> & Readonly<Record<string, unknown>>;
    checkCallbacks(
      name,
      Object.fromEntries(CALLBACKS.map((each) => [each, given[each]])),
      CALLBACKS,
    );
    this.#settings = clientSettings(name, given);
    this.#loops =
      given.loops === undefined
        ? 0
        : integer(`${name} loops`, given.loops, 0, LOOPS_MAX, "threads");
    const handler = handlerOf(options);
    const queueMax = given.maxQueue ?? QUEUE;
    this.#rules = rulesOf(handler, "a WebSocket client", this.#settings, 0, queueMax, false);
    this.#error = options.error?.bind(options);
    this.clients = this.#clients;
  }

  /** Makes a client; its id is one above the last one's, from 1 on. */
  client(url: string | URL, options: ClientOptions<D> = {}): Client<D> {
    checkRecord("client()", options, [...HANDSHAKE_KEYS, "data"]);
    const client = new Client<D>(this, this.#last + 1, url, options);
    this.#last += 1;
    this.#clients.set(client.id, client);
    return client;
  }

  /** The clients that are connected. */
  *connected(): IterableIterator<Client<D>> {
    for (const client of this.#clients.values()) if (client.isConnected) yield client;
  }

  /**
   * Starts the loops; connecting a client does so, too.
   * @throws {MillraceError} ERR_MILLRACE_NO_BINARY, ERR_MILLRACE_SYSTEM (as rejections)
   */
  async start(): Promise<void> {
    await this.#closing;
    this.engine();
  }

  /**
   * Closes every connection with 1000 and frees the loops. After that it can start again.
   * @param options - timeout: milliseconds for closing handshakes, 0 to 86 400 000. @default 10_000
   */
  close(options: { readonly timeout?: number } = {}): Promise<void> {
    checkRecord("close()", options, ["timeout"]);
    const timeout = integer("close() timeout", options.timeout ?? CLOSE_MS, 0, DAY_MS, "ms");
    if (this.#closing === undefined) {
      const closing = this.#close(timeout);
      this.#closing = closing;
      // Not within #close(), which may be over before it is assigned.
      const end = (): void => {
        this.#closing = undefined;
      };
      closing.then(end, end);
    }
    return this.#closing;
  }

  /** Keeps the process alive while clients are connected, which is the default. */
  ref(): this {
    this.#keepsAlive = true;
    this.#engine?.keepAlive(true);
    return this;
  }

  /** Lets the process end although clients are connected. */
  unref(): this {
    this.#keepsAlive = false;
    this.#engine?.keepAlive(false);
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** @internal */
  engine(): Engine {
    if (this.#engine !== undefined) return this.#engine;
    this.#engine = new Engine(this.#settings, this.#loops, undefined);
    this.#rules.service = this.#engine.service;
    this.#engine.keepAlive(this.#keepsAlive);
    return this.#engine;
  }

  /** @internal */
  get rules(): SocketRules {
    return this.#rules;
  }

  /** @internal @throws {MillraceError} ERR_MILLRACE_CLOSED while it closes, or for one removed */
  checkOpen(client: Client<D>, where: string): void {
    const isOurs = this.#clients.get(client.id) === client;
    if (isOurs && this.#closing === undefined) return;
    const what = isOurs ? "the clientele is closing" : "the client was removed";
    throw new MillraceError("ERR_MILLRACE_CLOSED", `${where}: ${what}`);
  }

  /** @internal */
  demandOf(url: string | URL, options: HandshakeOptions): Demand {
    return demandOf("client()", url, options, this.#settings.deflate);
  }

  /** @internal A client could not connect. Never rejects. */
  async tell(client: Client<D>, reason: unknown): Promise<void> {
    try {
      await this.#error?.(client, reason instanceof Error ? reason : givenUp(client.url, reason));
    } catch (second) {
      const what = `the WebSocket ${client.url}: error() threw`;
      warn("ERR_MILLRACE_HANDLER_FAILED", what, stackOf(second));
    }
  }

  /** @internal */
  forget(client: Client<D>): void {
    this.#clients.delete(client.id);
  }

  async #close(timeout: number): Promise<void> {
    const engine = this.#engine;
    if (engine !== undefined) {
      const all = [...this.#clients.values()].map((client) => client.close());
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise<void>((resolve) => {
        timer = setTimeout(resolve, timeout);
      });
      await Promise.race([Promise.all(all), late]);
      clearTimeout(timer);
      await engine.close(0);
      this.#engine = undefined;
    }
  }
}

/** One client of a clientele: it may connect, be closed, and connect again. */
export class Client<D = unknown> {
  /** From 1 on; never used again within its clientele. */
  readonly id: number;
  readonly clientele: Clientele<D>;
  readonly url: string;
  /** Whatever belongs to the client. */
  data: D;
  readonly #given: string | URL;
  readonly #options: HandshakeOptions;
  readonly #demand: Demand;
  #socket: NativeSocket | undefined = undefined;
  #connecting: Promise<boolean> | undefined = undefined;
  #attempt: AbortController | undefined = undefined;
  #waiters: (() => void)[] | undefined = undefined;

  /** @internal */
  constructor(clientele: Clientele<D>, id: number, url: string | URL, options: ClientOptions<D>) {
    const { data, ...request } = options;
    this.clientele = clientele;
    this.id = id;
    this.#given = url;
    this.#options = request;
    this.#demand = clientele.demandOf(url, request);
    this.url = this.#demand.target.href;
    this.data = data as D;
  }

  /** Whether messages can be sent. */
  get isConnected(): boolean {
    return this.#socket?.readyState === 1;
  }

  /** Its socket, while there is one: topics, pings and all the rest. */
  get socket(): Socket | undefined {
    return this.#socket;
  }

  /** The sub-protocol agreed on, or "". */
  get protocol(): string {
    return this.#socket?.protocol ?? "";
  }

  /** Bytes of messages that wait for the peer. */
  get bufferedAmount(): number {
    return this.#socket?.bufferedAmount ?? 0;
  }

  /**
   * Connects; resolves with false when nothing comes of it, and `error` of the clientele is told
   * why. While it is connected or connecting that is all there is to it.
   * @throws {MillraceError} ERR_MILLRACE_INVALID_OPTION, ERR_MILLRACE_INVALID_HEADER
   */
  connect(options?: ClientConnectOptions): Promise<boolean> {
    if (this.isConnected) return YES;
    const before = this.#connecting;
    if (before !== undefined && this.#attempt?.signal.aborted !== true) return before;
    const keys = ["headers", "key", "protocols", "signal", "timeout"];
    const patience = patienceOf("connect()", options, keys);
    let demand = this.#demand;
    if (options?.headers !== undefined || options?.protocols !== undefined) {
      const { headers = this.#options.headers, protocols = this.#options.protocols } = options;
      const request = { headers, protocols };
      demand = this.clientele.demandOf(this.#given, {
        ...this.#options,
        ...(request as HandshakeOptions),
      });
    }
    // One that was given up is not ours to wait for, but has to be over first.
    const attempt = new AbortController();
    this.#attempt = attempt;
    const connecting = this.#connect(demand, patience, attempt.signal, before);
    this.#connecting = connecting;
    const end = (): void => {
      if (this.#connecting !== connecting) return;
      this.#connecting = undefined;
      this.#attempt = undefined;
    };
    connecting.then(end, end);
    return connecting;
  }

  /**
   * Sends a message.
   * @returns true when it is on its way, and when too much waited, as soon as there is room again;
   * false when the client is not connected, when the message was dropped, and when the peer took
   * too long: then the connection is cut
   * @throws {MillraceError} ERR_MILLRACE_INVALID_BODY, ERR_MILLRACE_INVALID_OPTION
   */
  send(data: Bytes, options?: ClientSendOptions): Promise<boolean> {
    const timeout = options === undefined ? SEND_MS : sendTimeoutOf(options);
    const socket = this.#socket;
    if (socket === undefined) return NO;
    const sent = socket.send(data, options?.compress === false ? PLAIN : undefined);
    if (sent > 0) return YES;
    return sent === 0 ? NO : this.#drained(socket, timeout);
  }

  /**
   * Closes the connection, or gives the attempt up.
   * @param handshake - false cuts it: the server sees 1006
   * @returns resolves when it is over
   */
  close(handshake = true): Promise<void> {
    this.#attempt?.abort(new DOMException("the client was closed", "AbortError"));
    const socket = this.#socket;
    if (socket === undefined) return (this.#connecting ?? NO).then(() => undefined);
    if (handshake) socket.close();
    else socket.terminate();
    return this.#ended();
  }

  /**
   * Takes the client out of its clientele, and closes it. It cannot connect again: `connect()`
   * gives false, and `error` is told ERR_MILLRACE_CLOSED.
   */
  remove(): Promise<void> {
    this.clientele.forget(this);
    return this.close();
  }

  /** @internal The connection is over. */
  left(socket: Socket): void {
    if (this.#socket === socket) this.#socket = undefined;
    for (const resolve of this.#waiters?.splice(0) ?? []) resolve();
  }

  #ended(): Promise<void> {
    return new Promise((resolve) => {
      this.#waiters ??= [];
      this.#waiters.push(resolve);
    });
  }

  // Never rejects. It may be over before its first await, so the caller clears what it has set.
  async #connect(
    demand: Demand,
    patience: Patience,
    signal: AbortSignal,
    before: Promise<boolean> | undefined,
  ): Promise<boolean> {
    const { clientele } = this;
    const both =
      patience.signal === undefined ? signal : AbortSignal.any([signal, patience.signal]);
    try {
      clientele.checkOpen(this, demand.where);
      if (before !== undefined) await before;
      // One that is still closing has to be over first.
      if (this.#socket !== undefined) await this.#ended();
      both.throwIfAborted();
      clientele.checkOpen(this, demand.where);
      await dial(clientele.engine(), demand, { ...patience, signal: both }, (answer) => {
        const { handle, generation, protocol, address, port } = answer;
        const { rules } = clientele;
        const made = new NativeSocket<unknown>(
          rules,
          handle,
          generation,
          this,
          protocol,
          address,
          port,
        );
        owners.set(made, this as Client);
        return (this.#socket = made);
      });
      return true;
    } catch (error) {
      // Who has closed it knows.
      if (!signal.aborted) void clientele.tell(this, error);
      return false;
    }
  }

  async #drained(socket: NativeSocket, timeout: number): Promise<boolean> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<boolean>((resolve) => {
      timer = setTimeout(() => resolve(false), timeout);
    });
    const drained = socket.drained().then(
      () => true,
      () => false,
    );
    const isDrained = await Promise.race([drained, late]);
    clearTimeout(timer);
    if (!isDrained) socket.terminate();
    return isDrained;
  }
}

function sendTimeoutOf(options: ClientSendOptions): number {
  checkRecord("send()", options, ["compress", "timeout"]);
  if (options.compress !== undefined) truth("send() compress", options.compress);
  if (options.timeout === undefined) return SEND_MS;
  return integer("send() timeout", options.timeout, 1, DAY_MS, "milliseconds");
}

// A signal may be aborted with anything.
function givenUp(url: string, cause: unknown): MillraceError {
  const message = `the WebSocket ${url}: its signal was aborted with something that is no Error`;
  return new MillraceError("ERR_MILLRACE_ABORTED", message, { cause });
}

// Not `data` of the socket, which is the application's.
const owners = new WeakMap<Socket, Client>();

function ownerOf<D>(ws: Socket): Client<D> {
  return owners.get(ws) as Client<D>;
}

function handlerOf<D>(options: ClienteleOptions<D>): WebSocketHandler {
  const { open, message, drain, error } = options;
  const optional = {
    ...(open === undefined ? {} : { open: (ws: Socket) => open.call(options, ownerOf<D>(ws)) }),
    ...(drain === undefined ? {} : { drain: (ws: Socket) => drain.call(options, ownerOf<D>(ws)) }),
    ...(message === undefined
      ? {}
      : {
          message: (ws: Socket, data: string | Uint8Array) =>
            message.call(options, ownerOf<D>(ws), data),
        }),
    ...(error === undefined
      ? {}
      : {
          error: (ws: Socket, why: Error) =>
            error.call(options, ownerOf<D>(ws), explained(ws, why)),
        }),
    close: (ws: Socket, code: number, reason: string) => {
      const client = ownerOf<D>(ws);
      client.left(ws);
      return options.close?.(client, code, reason);
    },
  };
  return optional as WebSocketHandler;
}
