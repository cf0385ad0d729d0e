// From a URL to an open socket: the request, names to addresses, TLS, time and signal, and what is
// said when nothing comes of it.
import { randomBytes } from "node:crypto";
import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import { constants } from "node:os";
import { checkRecord, integer, invalidOption, text } from "../check.ts";
import { errnoName, MillraceError, sentenceOf } from "../errors.ts";
import { HeaderText, type ReadonlyHeaders } from "../headers.ts";
import { HeaderLines, type HeadersInit } from "../lines.ts";
import { binding, type NativeSocketSettings } from "../native/binding.ts";
import { ERRORS } from "../native/tables.ts";
import { type Engine, Refusal } from "./engine.ts";
import { protocolsOf } from "./handler.ts";
import type { NativeSocket } from "./socket.ts";
import { type ClientTLSOptions, checkTls, joined, openTunnel, type Tunnel } from "./tls.ts";
import { type Target, targetOf } from "./url.ts";

const OWN_FIELD = /^(sec-websocket-[^:]*|upgrade|connection|content-length|transfer-encoding):/im;
const UPGRADE = "Upgrade: websocket\r\nConnection: Upgrade\r\n";
const TIMEOUT_MS = 10_000;
const TIMEOUT_MS_MAX = 86_400_000;
// The least that an address gets which is not the last: three handshakes across an ocean.
const TURN_MS_MIN = 250;
const KEY = /^[A-Za-z0-9+/]{22}==$/;

/** What a client asks a server for. */
export interface HandshakeOptions {
  /** Header fields of the handshake; Host, too, can be given. */
  readonly headers?: HeadersInit;
  /** The Origin field. @default none, as for anything that is no browser */
  readonly origin?: string;
  /**
   * Sub-protocols, the dearest first. A server that chooses none of them is refused.
   * @default none
   */
  readonly protocols?: string | readonly string[];
  /** What `tls.connect()` takes, for wss:. */
  readonly tls?: ClientTLSOptions;
  /** Path of a unix socket to use instead of the URL's host. */
  readonly unix?: string;
}

/** The names that HandshakeOptions has. */
export const HANDSHAKE_KEYS = ["headers", "origin", "protocols", "tls", "unix"] as const;

/** What is asked for, checked. */
export interface Demand {
  readonly target: Target;
  /** For messages. */
  readonly where: string;
  readonly protocols: ReadonlySet<string>;
  readonly tls: ClientTLSOptions | undefined;
  /** The request up to the key, and behind it. */
  readonly before: string;
  readonly after: string;
}

/** An answer that is good: what its socket is made of. Nothing in it is a slice of a batch. */
export interface Answer {
  readonly handle: number;
  readonly generation: number;
  readonly protocol: string;
  readonly headers: ReadonlyHeaders;
  readonly address: string;
  readonly port: number;
}

/** How long, and until when, it is tried. */
export interface Patience {
  readonly timeout: number;
  readonly signal: AbortSignal | undefined;
  /** A Sec-WebSocket-Key instead of a random one. */
  readonly key?: string;
}

/**
 * Checks and puts together what does not change from attempt to attempt.
 * @throws {MillraceError} ERR_MILLRACE_INVALID_OPTION, ERR_MILLRACE_INVALID_HEADER; with
 * compression also ERR_MILLRACE_NO_BINARY
 */
export function demandOf(
  name: string,
  url: unknown,
  options: HandshakeOptions,
  deflate: NativeSocketSettings["deflate"],
): Demand {
  const target = targetOf(url, options.unix);
  checkTls(`${name} tls`, options.tls);
  const { protocols } = options;
  const list = typeof protocols === "string" ? [protocols] : protocols;
  const asked = protocolsOf(`${name} protocols`, list);
  if (asked.size !== (list?.length ?? 0))
    throw invalidOption(`${name} protocols`, "must differ from each other", list);
  const lines = linesOf(name, options, target);
  const host = lines.take("host")[0] ?? target.host;
  let after = "Sec-WebSocket-Version: 13\r\n";
  if (asked.size > 0) after += `Sec-WebSocket-Protocol: ${[...asked].join(", ")}\r\n`;
  if (deflate !== null && binding().hasZlib())
    after += `Sec-WebSocket-Extensions: ${offerOf(deflate)}\r\n`;
  return {
    target,
    where: `the WebSocket ${target.href}`,
    protocols: asked,
    tls: options.tls,
    before: `GET ${target.path} HTTP/1.1\r\nHost: ${host}\r\n${UPGRADE}`,
    after: `${after}${lines.text}\r\n`,
  };
}

function linesOf(name: string, options: HandshakeOptions, target: Target): HeaderLines {
  const lines = new HeaderLines();
  if (options.headers !== undefined) lines.setAll(options.headers);
  const own = OWN_FIELD.exec(lines.text)?.[1];
  if (own !== undefined || lines.flags !== 0 || lines.length >= 0) {
    const what = own ?? "Connection, Content-Length and Date";
    const message = `${name}: ${what} cannot be set, it is written for you`;
    throw new MillraceError("ERR_MILLRACE_INVALID_HEADER", message);
  }
  if (options.origin !== undefined) lines.set("Origin", text(`${name} origin`, options.origin));
  if (target.authorization !== "" && !lines.has("authorization"))
    lines.set("Authorization", target.authorization);
  return lines;
}

// What the native side judges the answer by (RFC 7692 7.1).
function offerOf(deflate: NonNullable<NativeSocketSettings["deflate"]>): string {
  let offer = "permessage-deflate";
  if (!deflate.peerContextTakeover) offer += "; server_no_context_takeover";
  if (!deflate.contextTakeover) offer += "; client_no_context_takeover";
  if (deflate.peerWindowBits < 15) offer += `; server_max_window_bits=${deflate.peerWindowBits}`;
  offer += "; client_max_window_bits";
  return deflate.windowBits < 15 ? `${offer}=${deflate.windowBits}` : offer;
}

/** @throws {MillraceError} ERR_MILLRACE_INVALID_OPTION */
export function patienceOf(name: string, options: unknown, keys: readonly string[]): Patience {
  if (options !== undefined) checkRecord(name, options, keys);
  const { key, signal, timeout } = (options ?? {}) as Record<string, unknown>;
  if (signal !== undefined && !(signal instanceof AbortSignal))
    throw invalidOption(`${name} signal`, "must be an AbortSignal", signal);
  if (key !== undefined && !(typeof key === "string" && KEY.test(key)))
    throw invalidOption(`${name} key`, "must be 16 bytes in base64", key);
  return {
    timeout:
      timeout === undefined
        ? TIMEOUT_MS
        : integer(`${name} timeout`, timeout, 1, TIMEOUT_MS_MAX, "milliseconds"),
    signal,
    ...(key === undefined ? {} : { key: key as string }),
  };
}

/**
 * Connects: all addresses of a name in their order, until one of them takes the connection. Each
 * but the last has its share of the time only, so that one that says nothing leaves some to the
 * others. `make` makes the socket of a good answer.
 * @throws {MillraceError} ERR_MILLRACE_WS_CONNECT, ERR_MILLRACE_WS_REJECTED,
 * ERR_MILLRACE_WS_TIMEOUT; or the reason of the signal
 */
export async function dial(
  engine: Engine,
  demand: Demand,
  patience: Patience,
  make: (answer: Answer) => NativeSocket,
): Promise<NativeSocket> {
  const { target, where } = demand;
  const limit = new Limit(patience.timeout, patience.signal, () => timedOut(where));
  engine.hold();
  try {
    limit.check();
    const failures: MillraceError[] = [];
    const addresses = await limit.race(addressesOf(demand));
    for (const [index, address] of addresses.entries()) {
      const others = addresses.length - index;
      const turn = others === 1 ? limit : limit.turn(others, () => silent(where, address, target));
      try {
        return await reach(engine, demand, patience.key, address, turn, make);
      } catch (error) {
        if (!isConnectFailure(error)) throw error;
        failures.push(error);
      } finally {
        turn.end();
      }
    }
    throw allFailed(where, failures);
  } finally {
    limit.end();
    engine.letGo();
  }
}

async function reach(
  engine: Engine,
  demand: Demand,
  givenKey: string | undefined,
  address: string,
  limit: Limit,
  make: (answer: Answer) => NativeSocket,
): Promise<NativeSocket> {
  const { target } = demand;
  let tunnel: Tunnel | undefined;
  if (target.isSecure) tunnel = await secured(demand, address, limit);
  const key = givenKey ?? randomBytes(16).toString("base64");
  const request = `${demand.before}Sec-WebSocket-Key: ${key}\r\n${demand.after}`;
  const to =
    tunnel === undefined
      ? { address, port: target.port, fd: -1 }
      : { address: "", port: 0, fd: tunnel.fd };
  const peer = tunnel?.address || address;
  const attempt = engine.dial(to, limit.left(), key, request, (handle, generation, head) => {
    // Given up in this very batch: nobody may hear of it.
    limit.check();
    const headers = new HeaderText(copyOf(head));
    const protocol = protocolIn(demand, headers);
    const { port } = target;
    const socket = make({ handle, generation, protocol, headers, address: peer, port });
    if (tunnel !== undefined) joined(socket, tunnel);
    return socket;
  });
  tunnel?.discard();
  try {
    return await limit.race(attempt.socket);
  } catch (error) {
    attempt.abandon();
    tunnel?.destroy();
    throw error instanceof Refusal ? explained(demand.where, to, error, limit) : error;
  }
}

async function secured(demand: Demand, address: string, limit: Limit): Promise<Tunnel> {
  const opening = openTunnel(binding(), demand.target, address, demand.tls);
  try {
    return await limit.race(opening.ready);
  } catch (cause) {
    opening.destroy();
    if (limit.isOver) throw cause;
    throw notConnected(demand.where, cause);
  }
}

async function addressesOf({ target, where }: Demand): Promise<readonly string[]> {
  const { hostname } = target;
  if (hostname === "") return [target.unix];
  if (isIP(hostname) !== 0) return [hostname];
  try {
    return (await lookup(hostname, { all: true })).map(({ address }) => address);
  } catch (cause) {
    throw notConnected(where, cause);
  }
}

// RFC 6455 4.1: nothing that was not asked for; and who asks for some speaks nothing else.
function protocolIn(demand: Demand, headers: ReadonlyHeaders): string {
  const { protocols, where } = demand;
  const chosen = headers.get("sec-websocket-protocol");
  if (chosen === null && protocols.size === 0) return "";
  if (chosen !== null && protocols.has(chosen)) return chosen;
  const what =
    chosen === null ? "none of the sub-protocols" : "a sub-protocol that was not asked for";
  throw rejected(where, `the server chose ${what}`, 101, headers);
}

// --- errors ---

function explained(
  where: string,
  to: { readonly address: string; readonly port: number },
  { error, detail, headers }: Refusal,
  limit: Limit,
): Error {
  const row = ERRORS[error];
  switch (row?.name) {
    case "WsTimeout":
      return limit.late();
    case "WsConnect":
      return notConnected(where, systemError(detail, to));
    case "WsRejected": {
      const status =
        detail === 0
          ? "it closed the connection, or its answer is no HTTP"
          : detail === 101
            ? "its answer is not valid"
            : `it answered ${detail}`;
      const fields = headers === "" ? undefined : new HeaderText(copyOf(headers));
      return rejected(where, `the server refused the handshake: ${status}`, detail, fields);
    }
    default: {
      const code = row === undefined || row.code === "" ? "ERR_MILLRACE_WS_CONNECT" : row.code;
      return new MillraceError(code, `${where}: ${sentenceOf(code)}`);
    }
  }
}

function rejected(
  where: string,
  what: string,
  status: number,
  headers: ReadonlyHeaders | undefined,
): MillraceError {
  const answer = Object.assign(new Error(status === 0 ? what : `the server answered ${status}`), {
    ...(status === 0 ? {} : { status }),
    ...(headers === undefined ? {} : { headers }),
  });
  return new MillraceError("ERR_MILLRACE_WS_REJECTED", `${where}: ${what}`, { cause: answer });
}

function notConnected(where: string, cause: unknown): MillraceError {
  const { code, message } = cause as NodeJS.ErrnoException;
  const reason = message === "" ? (code ?? "unknown") : message;
  const text = `${where}: the connection could not be established (${reason})`;
  return new MillraceError("ERR_MILLRACE_WS_CONNECT", text, { cause });
}

function allFailed(where: string, failures: readonly MillraceError[]): MillraceError {
  const [first] = failures;
  if (first !== undefined && failures.length === 1) return first;
  const causes = failures.map(({ cause }) => cause);
  const { code } = (first?.cause ?? {}) as NodeJS.ErrnoException;
  const all = causes.map((each) => (each as Error).message).join("; ");
  return notConnected(where, Object.assign(new AggregateError(causes, all), { code }));
}

function isConnectFailure(error: unknown): error is MillraceError {
  return error instanceof MillraceError && error.code === "ERR_MILLRACE_WS_CONNECT";
}

function timedOut(where: string): MillraceError {
  return new MillraceError(
    "ERR_MILLRACE_WS_TIMEOUT",
    `${where}: it was not open within the timeout`,
  );
}

function silent(where: string, address: string, { port }: Target): MillraceError {
  return notConnected(where, systemError(constants.errno.ETIMEDOUT, { address, port }));
}

// As node:net has it.
function systemError(
  errno: number,
  to: { readonly address: string; readonly port: number },
): Error {
  const where = to.address === "" ? {} : to.port === 0 ? { path: to.address } : to;
  const at = to.port === 0 ? to.address : `${to.address}:${to.port}`;
  if (errno === 0) return new Error(`connection lost ${at}`.trim());
  const code = errnoName(errno);
  const { address, port, path } = where as { address?: string; port?: number; path?: string };
  const place = path === undefined ? { address, port } : { address: path };
  const message = `connect ${code} ${at}`.trim();
  return Object.assign(new Error(message), { errno: -errno, code, syscall: "connect", ...place });
}

// --- time and signal ---

class Limit {
  /** What to say when the time is over. */
  readonly late: () => Error;
  readonly #end: number;
  readonly #signal: AbortSignal | undefined;
  readonly #whole: Limit | undefined;
  readonly #over: Promise<never>;
  readonly #timer: NodeJS.Timeout;
  #error: { readonly reason: unknown } | undefined = undefined;
  #reject: (error: unknown) => void = () => undefined;
  readonly #onAbort = (): void => this.#stop(this.#signal?.reason);

  /** `whole` ends it, too. */
  constructor(timeout: number, signal: AbortSignal | undefined, late: () => Error, whole?: Limit) {
    this.late = late;
    this.#signal = signal;
    this.#whole = whole;
    this.#end = performance.now() + timeout;
    this.#over = new Promise((_, reject) => {
      this.#reject = reject;
    });
    this.#over.catch(() => undefined);
    this.#timer = setTimeout(() => this.#stop(late()), timeout);
    signal?.addEventListener("abort", this.#onAbort, { once: true });
  }

  get isOver(): boolean {
    return this.#error !== undefined || this.#whole?.isOver === true;
  }

  /** Throws why it is over when it is; also before it began. */
  check(): void {
    this.#whole?.check();
    if (this.#signal?.aborted === true) throw this.#signal.reason;
    if (this.#error !== undefined) throw this.#error.reason;
  }

  left(): number {
    return Math.max(1, Math.ceil(this.#end - performance.now()));
  }

  /** An equal share of what is left. */
  turn(shares: number, late: () => Error): Limit {
    return new Limit(Math.max(TURN_MS_MIN, this.left() / shares), undefined, late, this);
  }

  race<T>(work: Promise<T>): Promise<T> {
    const own = Promise.race([work, this.#over]);
    return this.#whole === undefined ? own : this.#whole.race(own);
  }

  end(): void {
    clearTimeout(this.#timer);
    this.#signal?.removeEventListener("abort", this.#onAbort);
  }

  #stop(reason: unknown): void {
    this.#error ??= { reason };
    this.#reject(reason);
  }
}

// A slice would keep the text of its whole batch.
function copyOf(latin1: string): string {
  return Buffer.from(latin1, "latin1").toString("latin1");
}
