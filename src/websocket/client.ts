// connect(): one client socket, as a promise.
import { callable, checkRecord, integer } from "../check.ts";
import type { ReadonlyHeaders } from "../headers.ts";
import type { NativeSocketSettings } from "../native/binding.ts";
import type { Socket, WebSocketHandler } from "./api.ts";
import { demandOf, dial, HANDSHAKE_KEYS, type HandshakeOptions, patienceOf } from "./dial.ts";
import { sharedEngine } from "./engine.ts";
import { rulesOf, settingsOf } from "./handler.ts";
import { NativeSocket } from "./socket.ts";
import { explained } from "./tls.ts";

const CALLBACKS = ["message", "drain", "close", "error", "ping", "pong"] as const;
const SETTINGS = [
  "automaticPong",
  "backpressureLimit",
  "closeTimeout",
  "idleTimeout",
  "maxPayloadLength",
  "maxQueue",
  "messageTimeout",
  "onBackpressure",
  "perMessageDeflate",
  "sendPings",
] as const;
const QUEUE = 64;
const QUEUE_MAX = 65_536;

/** The names that ClientSettings has. */
export const SETTING_KEYS: readonly string[] = SETTINGS;

/** What a client's socket may do; as on a server. */
export type ClientSettings = Pick<WebSocketHandler, (typeof SETTINGS)[number]>;

/** What happens on a client's socket; as on a server. */
export type ClientHandler<D = unknown> = Pick<WebSocketHandler<D>, (typeof CALLBACKS)[number]>;

/** How `connect()` connects. */
export interface ConnectOptions<D = unknown> extends ClientSettings, HandshakeOptions {
  /** Becomes `data` of the socket. */
  readonly data?: D;
  /**
   * What is called. Without a `message` in it, messages wait for whoever iterates, and reading
   * stops while `maxQueue` of them or 256 KiB wait; with one, the first may come before the promise
   * resolves.
   */
  readonly handler?: ClientHandler<D>;
  /** Ends the attempt; the promise rejects with its reason. The open socket it does not concern. */
  readonly signal?: AbortSignal;
  /**
   * Milliseconds for everything: name, connection, TLS and handshake; 1 to 86 400 000.
   * @default 10_000
   */
  readonly timeout?: number;
}

/** How a socket was closed. */
export interface SocketClose {
  /** The peer's close code; 1005 without one, 1006 without a closing handshake. */
  readonly code: number;
  readonly reason: string;
}

/** What `connect()` gives. `await using` closes it at the end of its block. */
export interface ClientSocket<D = unknown> extends Socket<D>, AsyncDisposable {
  /**
   * Resolves when the socket is over: behind the last call of `message`, and once `close` of the
   * handler was called. Messages that wait for whoever iterates can still be taken then. When
   * nobody takes them and reading has stopped, the peer's end goes unseen: `closed` then waits
   * until room is made, or until our own `close()` or a lost connection ends it.
   */
  readonly closed: Promise<SocketClose>;
  /** Header fields of the server's answer. */
  readonly headers: ReadonlyHeaders;
}

/**
 * Connects a WebSocket. The promise resolves when it is open.
 *
 * All addresses of a name are tried in their order, until one takes the connection. `wss:` goes
 * through Node's own TLS: a `tls.TLSSocket` does the encryption on the JavaScript thread and is
 * joined to a pair of sockets, the other end of which the loop has as its connection; so `tls` is
 * what `tls.connect()` takes, and back-pressure goes all the way. Everything else is on the loop.
 *
 * @param url - ws:, wss:, http:, https:, or `ws+unix:/path/to.sock:/path`
 * @throws {MillraceError} ERR_MILLRACE_WS_CONNECT with the system's error as its cause,
 * ERR_MILLRACE_WS_REJECTED with `{ status, headers }` of the answer as its cause where it was HTTP
 * (`headers.get("www-authenticate")`), ERR_MILLRACE_WS_TIMEOUT, ERR_MILLRACE_INVALID_OPTION,
 * ERR_MILLRACE_INVALID_HEADER; or the reason of the signal (all as rejections)
 * @example
 * ```ts
 * import { connect } from "millrace";
 * await using ws = await connect("ws://127.0.0.1:3000/chat", { protocols: "chat" });
 * ws.send("hello");
 * for await (const message of ws) console.log(message);
 * ```
 */
export async function connect<D = undefined>(
  url: string | URL,
  options: ConnectOptions<D> = {},
): Promise<ClientSocket<D>> {
  const given = options as ConnectOptions & Readonly<Record<string, unknown>>;
  const keys = [...SETTINGS, ...HANDSHAKE_KEYS, "data", "handler", "signal", "timeout"];
  const patience = patienceOf("connect()", given, keys);
  const handler = given.handler ?? {};
  checkCallbacks("connect() handler", handler, CALLBACKS);
  const settings = clientSettings("connect()", given);
  const demand = demandOf("connect()", url, given, settings.deflate);
  let headers: ReadonlyHeaders | undefined;
  let closed: (how: SocketClose) => void = () => undefined;
  const end = new Promise<SocketClose>((resolve) => {
    closed = resolve;
  });
  const close = (ws: Socket, code: number, reason: string): unknown => {
    queueMicrotask(() => closed({ code, reason }));
    return handler.close?.(ws, code, reason);
  };
  const error = (ws: Socket, why: Error): unknown => handler.error?.(ws, explained(ws, why));
  const told = handler.error === undefined ? { close } : { close, error };
  const own = { ...boundTo(handler), ...told } as WebSocketHandler;
  const keeps = handler.message === undefined;
  const rules = rulesOf(own, demand.where, settings, 0, given.maxQueue ?? QUEUE, keeps);
  const engine = sharedEngine(settings);
  rules.service = engine.service;
  try {
    const socket = await dial(engine, demand, patience, (answer) => {
      const { handle, generation, protocol, address, port } = answer;
      headers = answer.headers;
      return new NativeSocket(rules, handle, generation, given.data, protocol, address, port);
    });
    const dispose = async (): Promise<void> => {
      socket.close();
      await end;
    };
    return Object.defineProperties(socket, {
      closed: { value: end },
      headers: { value: headers },
      [Symbol.asyncDispose]: { value: dispose },
    }) as unknown as ClientSocket<D>;
  } finally {
    engine.letGo();
  }
}

/** The native settings of a client, every default filled in. */
export function clientSettings(
  name: string,
  given: ClientSettings & Readonly<Record<string, unknown>>,
): NativeSocketSettings {
  if (given.maxQueue !== undefined)
    integer(`${name} maxQueue`, given.maxQueue, 1, QUEUE_MAX, "messages");
  return settingsOf(name, given);
}

/** @throws {MillraceError} ERR_MILLRACE_INVALID_OPTION */
export function checkCallbacks(name: string, value: unknown, names: readonly string[]): void {
  checkRecord(name, value, names);
  for (const key of names) {
    const callback = (value as Readonly<Record<string, unknown>>)[key];
    if (callback !== undefined) callable(`${name}.${key}`, callback);
  }
}

function boundTo(handler: ClientHandler): ClientHandler {
  const bound = CALLBACKS.filter((name) => handler[name] !== undefined).map((name) => [
    name,
    (handler[name] as (...args: readonly unknown[]) => unknown).bind(handler),
  ]);
  return Object.fromEntries(bound) as ClientHandler;
}
