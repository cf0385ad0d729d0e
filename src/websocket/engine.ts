// A native server that listens nowhere: the loops on which client sockets live. One per set of
// settings is shared by connect() and WebSocket, a clientele has its own.
import { AsyncResource } from "node:async_hooks";
import { errnoName, MillraceError } from "../errors.ts";
import { openError } from "../listen.ts";
import {
  type Binding,
  binding,
  type Dispatch,
  type NativeSocketSettings,
} from "../native/binding.ts";
import { COMMAND, ERRORS, EVENT, LIMITS, EVENT_WORD as W } from "../native/tables.ts";
import { warn } from "../warnings.ts";
import { dispatchMessage, dispatchSocket } from "./dispatch.ts";
import { leaveThread, makeSocketService } from "./publish.ts";
import type { SocketService } from "./service.ts";
import type { NativeSocket } from "./socket.ts";

/** Distinct settings that may have open sockets at the same time, besides clienteles. */
export const ENGINES_MAX = 64;
const BATCH_BYTES = 262_144;
const TICKET_MAX = 0xffff_ffff;
const LOST = ERRORS.findIndex((row) => row.name === "WsLost");
const LOST_CODE = 1006;
const MANUAL = { requireManualDestroy: true };

/** Where the native side connects to: an address, a path with port 0, or a connected socket. */
export interface NativeTarget {
  readonly address: string;
  readonly port: number;
  readonly fd: number;
}

/**
 * Makes the socket of an answer that is good natively; what it throws refuses it. `headers` is a
 * slice of the batch's text.
 */
export type Accept = (handle: number, generation: number, headers: string) => NativeSocket;

/** The native side's refusal, before anybody knows what it was about. */
export class Refusal extends Error {
  /** Index in ERRORS. */
  readonly error: number;
  /** errno or HTTP status. */
  readonly detail: number;
  /** Header fields of the answer, or "". */
  readonly headers: string;

  constructor(error: number, detail: number, headers: string) {
    super(ERRORS[error]?.text ?? "refused");
    this.error = error;
    this.detail = detail;
    this.headers = headers;
  }
}

/** One connection that is being made. */
export interface Attempt {
  readonly socket: Promise<NativeSocket>;
  /** Nobody waits any more: when it comes about, or has come about, it is cut. */
  abandon(): void;
}

interface Waiting {
  readonly scope: AsyncResource;
  readonly accept: Accept;
  readonly resolve: (socket: NativeSocket) => void;
  readonly reject: (error: unknown) => void;
}

/** The loops of client sockets. Keeps the process alive while there is anything on them. */
export class Engine {
  readonly service: SocketService;
  readonly settings: NativeSocketSettings;
  readonly #native: Binding;
  readonly #loops: number;
  readonly #onIdle: ((engine: Engine) => void) | undefined;
  readonly #waiting = new Map<number, Waiting>();
  #ticket = 0;
  #loop = 0;
  #holds = 0;
  #keepsAlive = true;
  #isRef = true;
  #loopsOpen: number;
  #closed: Promise<void> | undefined = undefined;
  #finish: () => void = () => undefined;

  /** @throws {MillraceError} ERR_MILLRACE_NO_BINARY, ERR_MILLRACE_SYSTEM */
  constructor(
    settings: NativeSocketSettings,
    loops: number,
    onIdle: ((engine: Engine) => void) | undefined,
  ) {
    const native = binding();
    this.#native = native;
    this.settings = settings;
    this.#onIdle = onIdle;
    this.#loops = Math.max(1, loops);
    this.#loopsOpen = this.#loops;
    this.service = makeSocketService(native);
    this.service.onConnected = (...opened) => this.#opened(...opened);
    this.service.onRefused = (...refused) => this.#refused(...refused);
    this.service.onIdle = () => this.#update();
    const batch = new Uint8Array(BATCH_BYTES);
    const limits = LIMITS.map((row) => row.value);
    const noRoutes = { routes: [], fallback: null, methodNotAllowed: null };
    try {
      const opened = native.open(
        { loops, listeners: [], ...noRoutes, limits, sockets: [settings] },
        batch,
        this.#makeDispatch(batch),
      );
      this.service.server = opened.server;
    } catch (cause) {
      throw openError(cause, []);
    }
    this.#update();
  }

  get isIdle(): boolean {
    return this.#holds === 0 && this.service.open.size === 0 && this.service.leaving.size === 0;
  }

  /** Something is going on for which the process has to live; as often as letGo(). */
  hold(): void {
    this.#holds += 1;
    this.#update();
  }

  letGo(): void {
    this.#holds -= 1;
    this.#update();
  }

  /** Whether it keeps the process alive while it is busy. */
  keepAlive(yes: boolean): void {
    this.#keepsAlive = yes;
    this.#update();
  }

  /** Connects on the next loop. The async context of this call is that of the socket's handlers. */
  dial(
    target: NativeTarget,
    timeoutMs: number,
    key: string,
    request: string,
    accept: Accept,
  ): Attempt {
    if (this.#closed !== undefined)
      return { socket: Promise.reject(closedError()), abandon: () => undefined };
    const ticket = this.#nextTicket();
    const scope = new AsyncResource("MILLRACECONNECT", MANUAL);
    const { server } = this.service;
    const loop = (this.#loop = (this.#loop + 1) % this.#loops);
    let made: NativeSocket | undefined;
    const keeping: Accept = (...opened) => (made = accept(...opened));
    const socket = new Promise<NativeSocket>((resolve, reject) => {
      this.#waiting.set(ticket, { scope, accept: keeping, resolve, reject });
      try {
        if (this.#native.connect(server, loop, ticket, 0, target, timeoutMs, key, request)) return;
        this.#take(ticket);
        reject(new MillraceError("ERR_MILLRACE_SYSTEM", "a descriptor could not be duplicated"));
      } catch (cause) {
        this.#take(ticket);
        const message = "the request of the handshake is too long";
        reject(new MillraceError("ERR_MILLRACE_INVALID_HEADER", message, { cause }));
      }
    });
    socket.catch(() => undefined); // Whoever abandons it need not know.
    const abandon = (): void => {
      if (this.#take(ticket) === undefined) made?.terminate();
    };
    return { socket, abandon };
  }

  /**
   * Closes what is open within `timeoutMs`, then frees everything. Until then the process lives,
   * whatever keepAlive() says: who waits for the end has to hear of it.
   */
  close(timeoutMs: number): Promise<void> {
    if (this.#closed === undefined) {
      this.#closed = new Promise((resolve) => {
        this.#finish = resolve;
      });
      this.#update();
      this.#native.control(this.service.server, COMMAND.Close, timeoutMs);
    }
    return this.#closed;
  }

  #opened(
    ticket: number,
    handle: number,
    generation: number,
    headers: string,
  ): NativeSocket | undefined {
    const waiting = this.#take(ticket);
    if (waiting === undefined) {
      this.#native.cut(handle, generation);
      return undefined;
    }
    const { accept, scope, resolve, reject } = waiting;
    try {
      const socket = scope.runInAsyncScope(accept, undefined, handle, generation, headers);
      resolve(socket.register());
      return socket;
    } catch (error) {
      this.#native.cut(handle, generation);
      reject(error);
      return undefined;
    }
  }

  #refused(ticket: number, error: number, detail: number, headers: string): void {
    this.#take(ticket)?.reject(new Refusal(error, detail, headers));
  }

  #take(ticket: number): Waiting | undefined {
    const waiting = this.#waiting.get(ticket);
    if (waiting === undefined) return undefined;
    this.#waiting.delete(ticket);
    waiting.scope.emitDestroy();
    return waiting;
  }

  #nextTicket(): number {
    do {
      this.#ticket = this.#ticket >= TICKET_MAX ? 1 : this.#ticket + 1;
    } while (this.#waiting.has(this.#ticket));
    return this.#ticket;
  }

  #update(): void {
    if (this.#loopsOpen === 0) return;
    const { isIdle } = this;
    const isRef = this.#closed !== undefined || (this.#keepsAlive && !isIdle);
    if (isRef !== this.#isRef) {
      this.#isRef = isRef;
      this.#native.ref(this.service.server, isRef);
    }
    if (isIdle) this.#onIdle?.(this);
  }

  #makeDispatch(batch: Uint8Array): Dispatch {
    const { service } = this;
    const words = new Int32Array(batch.buffer, batch.byteOffset, batch.byteLength >>> 2);
    const buffer = Buffer.from(batch.buffer, batch.byteOffset, batch.byteLength);
    return (count, text) => {
      let base = 0;
      let at = 0;
      for (let i = 0; i < count; i += 1) {
        const kind = (words[base + W.kind] as number) & 0xffff;
        if (kind === EVENT.Message) dispatchMessage(service, words, batch, buffer, base);
        else if (kind === EVENT.Drained) this.#loopDrained();
        else if (kind === EVENT.Problem) warnOfProblem((words[base + W.listener] as number) >>> 16);
        else {
          const length =
            (words[base + W.targetLength] as number) + (words[base + W.headerLength] as number);
          const own = length === 0 ? "" : text.slice(at, at + length);
          dispatchSocket(service, kind, words, batch, base, own);
          at += length;
        }
        base += (words[base + W.size] as number) >>> 2;
      }
    };
  }

  // Not at once: this is called from within the native call that release() would take apart.
  #loopDrained(): void {
    this.#loopsOpen -= 1;
    if (this.#loopsOpen === 0) setImmediate(() => this.#release());
  }

  #release(): void {
    for (const ticket of [...this.#waiting.keys()]) this.#take(ticket)?.reject(closedError());
    for (const socket of [...this.service.open.values()]) socket.ended(LOST_CODE, LOST);
    this.#native.release(this.service.server);
    leaveThread(this.service);
    this.#finish();
  }
}

function closedError(): MillraceError {
  return new MillraceError("ERR_MILLRACE_CLOSED", "the loops of these sockets are closed");
}

function warnOfProblem(errno: number): void {
  warn("ERR_MILLRACE_SYSTEM", `a native loop had trouble with the system: ${errnoName(errno)}`);
}

const shared = new Map<string, Engine>();

/**
 * The inline engine for these settings, held: letGo() is due. Freed as soon as nothing is on it, as
 * settings are fixed natively and there is no other bound to how many there are.
 * @throws {MillraceError} ERR_MILLRACE_INVALID_OPTION when too many kinds of settings are in use
 */
export function sharedEngine(settings: NativeSocketSettings): Engine {
  const name = JSON.stringify(settings);
  let engine = shared.get(name);
  if (engine === undefined) {
    if (shared.size >= ENGINES_MAX) {
      const message = `sockets with ${ENGINES_MAX} different settings are open already; use fewer`;
      throw new MillraceError("ERR_MILLRACE_INVALID_OPTION", message);
    }
    engine = new Engine(settings, 0, (idle) => freeSoon(name, idle));
    shared.set(name, engine);
  }
  engine.hold();
  return engine;
}

function freeSoon(name: string, engine: Engine): void {
  setImmediate(() => {
    if (!engine.isIdle || shared.get(name) !== engine) return;
    shared.delete(name);
    void engine.close(0);
  });
}
