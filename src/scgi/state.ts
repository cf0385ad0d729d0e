// The classic loop: open, take requests one by one, close. Behind it is a server as any other, so
// that malformed and slow clients never get here.
import type { Address, Req, Res, Server } from "../api.ts";
import { callable, checkRecord, integer, truth } from "../check.ts";
import type { LimitOptions, ListenOptions, ServeOptions, TimeoutOptions } from "../options.ts";
import { serve } from "../server.ts";
import { asScgiError, ScgiError } from "./error.ts";
import { ScgiRequest, type Settle } from "./request.ts";

/** Where and within which bounds to take requests. */
export interface ScgiOptions {
  /** @default "127.0.0.1" */
  readonly address?: string;
  /** A listening socket that this process was given. */
  readonly fd?: number;
  /**
   * As for `serve()`. `maxInFlight` bounds the requests that wait for next(), per loop: the clients
   * of others wait. @default maxInFlight: 1024
   */
  readonly limits?: LimitOptions;
  /** As for `serve()`. */
  readonly loops?: number | "auto";
  /** Permissions of the unix socket. */
  readonly mode?: number;
  /** 0 lets the system choose. @default 4000 */
  readonly port?: number;
  /** Nothing to switch on: an address can be used again at once in any case. */
  readonly reuseAddr?: boolean;
  /** Several processes may listen on the port. @default false */
  readonly reusePort?: boolean;
  /** Closes when aborted: what was taken may finish, what was not is answered with 503. */
  readonly signal?: AbortSignal;
  /** As for `serve()`. */
  readonly timeouts?: TimeoutOptions;
  /** Path of a unix socket, instead of address and port. */
  readonly unix?: string;
}

/** Handles one request; true, or a promise of it, ends the loop. */
export type ScgiHandler = (request: ScgiRequest) => unknown;

const KEYS = [
  ...["address", "fd", "limits", "loops", "mode", "port", "reuseAddr", "reusePort", "signal"],
  ...["timeouts", "unix"],
];
const WAITING_MAX = 1024;
const TIMEOUT_MAX = 0x7fff_ffff;

interface Waiter {
  readonly resolve: (request: ScgiRequest | null) => void;
  readonly reject: (error: unknown) => void;
}

/** A run() at work. */
interface Run {
  /** A handler has returned true. */
  isOver: boolean;
  /** Its call of next(), while it waits. */
  waiter: Waiter | undefined;
}

/** An open door. */
export class ScgiState {
  readonly #waiting: ScgiRequest[] = []; // requests that nobody has taken
  readonly #waiters: Waiter[] = []; // calls of next() that wait for one
  #server!: Server;
  #run: Run | undefined = undefined;
  #isClosed = false;

  /**
   * Listens.
   * @throws {ScgiError} ERR_MILLRACE_INVALID_OPTION, ERR_MILLRACE_ADDR_IN_USE, and what else
   * `serve()` rejects with
   */
  static async open(options: ScgiOptions = {}): Promise<ScgiState> {
    try {
      checkRecord("scgi.open()", options, KEYS);
      const state = new ScgiState();
      state.#server = await serve(serveOptions(options, (req, res) => state.#arrived(req, res)));
      state.#endOn(options.signal);
      return state;
    } catch (error) {
      throw asScgiError(error);
    }
  }

  private constructor() {}

  /** Where it listens. */
  get address(): Address {
    return this.#server.addresses[0] as Address;
  }

  /** The server behind it, with its metrics. */
  get server(): Server {
    return this.#server;
  }

  /** Requests that nobody has taken and whose clients still wait. */
  get waiting(): number {
    return this.#waiting.filter((request) => !request.closed).length;
  }

  /** As "scgi://127.0.0.1:4000". */
  get url(): string {
    return this.#server.url;
  }

  /**
   * The next request.
   * @param timeoutMs - how long to wait for one; -1: for ever, 0: not at all
   * @returns null when there was none in time
   * @throws {ScgiError} ERR_MILLRACE_CLOSED after close(), also for those that wait,
   * ERR_MILLRACE_INVALID_OPTION (as rejections)
   */
  async next(timeoutMs = -1): Promise<ScgiRequest | null> {
    try {
      integer("next() timeoutMs", timeoutMs, -1, TIMEOUT_MAX, "milliseconds");
    } catch (error) {
      throw asScgiError(error);
    }
    // One pass of the event loop, so that asking again and again lets others run.
    if (timeoutMs === 0) await new Promise(setImmediate);
    if (this.#isClosed) throw closed();
    const request = this.#take();
    if (request !== undefined || timeoutMs === 0) return request ?? null;
    return this.#wait(timeoutMs);
  }

  /**
   * Calls the handler with one request after the other and closes each behind it, until it returns
   * true. While a response waits for its client in `drained()`, the next request is taken, so that
   * a client that reads slowly holds nobody up. A handler that throws is answered for with 500 and
   * a warning.
   * @throws {ScgiError} ERR_MILLRACE_CLOSED when it is closed meanwhile,
   * ERR_MILLRACE_INVALID_OPTION for a handler that is no function and while another run() is at
   * work (as rejections)
   */
  async run(handler: ScgiHandler): Promise<void> {
    checkHandler("run()", handler);
    if (this.#run !== undefined) {
      const message = "another run() of this state is at work; await it, or open() another";
      throw new ScgiError("ERR_MILLRACE_INVALID_OPTION", message);
    }
    const run: Run = { isOver: false, waiter: undefined };
    this.#run = run;
    try {
      while (!run.isOver) {
        const request = await this.#nextOf(run);
        if (request !== null) await this.#handle(run, request, handler);
      }
    } finally {
      this.#run = undefined;
    }
  }

  /**
   * Stops listening, lets what was taken finish within `timeout` milliseconds, and answers what was
   * not with 503.
   */
  async close(options?: { readonly timeout?: number }): Promise<void> {
    this.#end();
    await this.#server.close(options);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  // What nobody has taken is answered at once: the server would wait for it.
  #endOn(signal: AbortSignal | undefined): void {
    const end = (): void => this.#end();
    signal?.addEventListener("abort", end, { once: true });
    if (signal?.aborted === true) end();
    void this.#server.closed.then(() => {
      signal?.removeEventListener("abort", end);
      end();
    });
  }

  async #arrived(req: Req, res: Res): Promise<void> {
    const bytes = await req.bytes();
    await new Promise<void>((done, fail) => this.#queue(req, res, bytes, { done, fail }));
  }

  // Null when a handler that was waiting for its client has returned true meanwhile.
  async #nextOf(run: Run): Promise<ScgiRequest | null> {
    if (this.#isClosed) throw closed();
    return this.#take() ?? this.#wait(-1, run);
  }

  // Until the handler has returned, or waits for its client.
  #handle(run: Run, request: ScgiRequest, handler: ScgiHandler): Promise<void> {
    return new Promise((goOn) => {
      request.onDraining = goOn;
      void handled(request, handler).then((isLast) => {
        if (isLast) this.#endRun(run);
        goOn();
      });
    });
  }

  #endRun(run: Run): void {
    run.isOver = true;
    if (run.waiter !== undefined) this.#giveUp(run.waiter);
  }

  #queue(req: Req, res: Res, bytes: Uint8Array, settle: Settle): void {
    if (this.#isClosed) {
      res.send(503);
      settle.done();
      return;
    }
    const request = new ScgiRequest(req, res, bytes, settle);
    const waiter = this.#waiters.shift();
    if (waiter === undefined) this.#waiting.push(request);
    else waiter.resolve(request);
  }

  // Without those whose clients have not waited.
  #take(): ScgiRequest | undefined {
    for (;;) {
      const request = this.#waiting.shift();
      if (request === undefined || !request.closed) return request;
      request.close();
    }
  }

  #wait(timeoutMs: number, run?: Run): Promise<ScgiRequest | null> {
    return new Promise((resolve, reject) => {
      let timer: NodeJS.Timeout | undefined;
      const settle =
        <T>(settled: (value: T) => void) =>
        (value: T): void => {
          clearTimeout(timer);
          settled(value);
        };
      const waiter: Waiter = { resolve: settle(resolve), reject: settle(reject) };
      if (run !== undefined) run.waiter = waiter;
      this.#waiters.push(waiter);
      if (timeoutMs > 0) timer = setTimeout(() => this.#giveUp(waiter), timeoutMs);
    });
  }

  #giveUp(waiter: Waiter): void {
    const at = this.#waiters.indexOf(waiter);
    if (at < 0) return; // it has a request
    this.#waiters.splice(at, 1);
    waiter.resolve(null);
  }

  #end(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    for (const waiter of this.#waiters.splice(0)) waiter.reject(closed());
    for (const request of this.#waiting.splice(0)) request.refuse();
  }
}

async function handled(request: ScgiRequest, handler: ScgiHandler): Promise<boolean> {
  let isLast = false;
  try {
    isLast = (await handler(request)) === true;
    if (!request.closed) request.close();
  } catch (error) {
    request.fail(error);
  }
  return isLast;
}

function checkHandler(name: string, handler: unknown): void {
  try {
    callable(`${name} handler`, handler);
  } catch (error) {
    throw asScgiError(error);
  }
}

function closed(): ScgiError {
  return new ScgiError("ERR_MILLRACE_CLOSED", "the SCGI door is closed; open() another");
}

function serveOptions(
  options: ScgiOptions,
  handler: (req: Req, res: Res) => Promise<void>,
): ServeOptions {
  const { address, fd, limits, loops, mode, port, reusePort, signal, timeouts, unix } = options;
  if (options.reuseAddr !== undefined) truth("reuseAddr", options.reuseAddr);
  const door: Record<string, unknown> = { protocol: "scgi", fd, mode, port, reusePort, unix };
  door["hostname"] = address;
  for (const name of Object.keys(door)) if (door[name] === undefined) delete door[name];
  return {
    handler,
    listen: [door as ListenOptions],
    silent: true,
    systemd: false, // doors come and go while the service lives
    limits: { maxInFlight: WAITING_MAX, ...limits },
    ...(loops === undefined ? {} : { loops }),
    ...(signal === undefined ? {} : { signal }),
    ...(timeouts === undefined ? {} : { timeouts }),
  };
}

/** `ScgiState.open()`. */
export function open(options?: ScgiOptions): Promise<ScgiState> {
  return ScgiState.open(options);
}

/**
 * Opens, calls the handler with one request after the other until it returns true, and closes.
 * @throws {ScgiError} as open() (as rejections); ends without one when `signal` is aborted
 * @example
 * ```ts
 * import { scgi } from "millrace";
 * let count = 0;
 * await scgi.run((request) => {
 *   count += 1;
 *   request.writeStatusOkTextContent("text/plain");
 *   request.write(`Hello for the ${count}th time.\r\n`);
 * });
 * ```
 */
export async function run(handler: ScgiHandler, options?: ScgiOptions): Promise<void> {
  checkHandler("scgi.run()", handler);
  let state: ScgiState | undefined;
  try {
    state = await open(options);
    await state.run(handler);
  } catch (error) {
    const isAsked = options?.signal?.aborted === true;
    if (!(isAsked && error instanceof ScgiError && error.code === "ERR_MILLRACE_CLOSED"))
      throw error;
  } finally {
    await state?.close();
  }
}
