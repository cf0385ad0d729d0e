// serve(): validates, listens, and the server that it gives: addresses, metrics, drain, close.
import type { Address, CloseReport, Metrics, Req, Res, Server } from "./api.ts";
import type { Bytes } from "./body.ts";
import { makeDispatch } from "./dispatch.ts";
import { MillraceError } from "./errors.ts";
import { NativeContext } from "./fetch.ts";
import { openError, resolveListener, urlOfAddress } from "./listen.ts";
import { METRIC_VALUES, readMetrics } from "./metrics.ts";
import { type Binding, binding } from "./native/binding.ts";
import { COMMAND, ERRORS, LIMITS } from "./native/tables.ts";
import { closeTimeout, type ServeOptions, type Settings, validate } from "./options.ts";
import { Outbox } from "./outbox.ts";
import type { NativeReq } from "./request.ts";
import type { NativeRes } from "./response.ts";
import { compileRoutes, type RouteTable } from "./routes.ts";
import { makeCounts, type Service } from "./service.ts";
import type { PublishOptions, SendManyOptions, SendManyReport, Socket } from "./websocket/api.ts";
import { joinThread, leaveThread, makeSocketService, startSync } from "./websocket/publish.ts";
import { checkTopic } from "./websocket/socket.ts";
import { viewOf } from "./websocket/sockets.ts";

const BATCH_BYTES = 262_144;
const LOST = ERRORS.findIndex((row) => row.name === "WsLost");
const LOST_CODE = 1006;
const BODY_MAX_ROW = LIMITS.findIndex((row) => row.option === "maxRequestBodySize");

/**
 * Starts a server. The promise resolves when it listens, and rejects when it cannot; after that the
 * same options can be tried again.
 *
 * @throws {MillraceError} ERR_MILLRACE_INVALID_OPTION, ERR_MILLRACE_INVALID_ROUTE,
 * ERR_MILLRACE_ADDR_IN_USE, ERR_MILLRACE_ADDR_NOT_AVAILABLE, ERR_MILLRACE_ACCESS_DENIED,
 * ERR_MILLRACE_LISTEN_FAILED, ERR_MILLRACE_NO_BINARY (all as rejections)
 * @example
 * ```ts
 * import { raw, serve } from "millrace";
 * const server = await serve({
 *   port: 0,
 *   routes: {
 *     "/": new Response("hello"),
 *     "/users/:id": (_request, ctx) => Response.json({ id: ctx.params.id }),
 *     "/fast": raw((req, res) => void res.end(req.ip)),
 *   },
 * });
 * console.log(server.url);
 * await server.close();
 * ```
 */
export async function serve<const R extends string>(options: ServeOptions<R>): Promise<Server> {
  const startedAt = performance.now();
  const settings = validate(options as unknown as ServeOptions);
  if (settings.signal?.aborted === true) {
    throw new MillraceError("ERR_MILLRACE_CLOSED", "signal was aborted before the server started", {
      cause: settings.signal.reason,
    });
  }
  const table = await compileRoutes({
    ...options,
    // A method of the options object may use `this`.
    ...(options.fetch === undefined ? {} : { fetch: options.fetch.bind(options) }),
    ...(options.handler === undefined ? {} : { handler: options.handler.bind(options) }),
  });
  const server = await NativeServer.open(settings, table, options.error?.bind(options));
  if (!settings.silent) announce(server, performance.now() - startedAt);
  return server;
}

/** The one implementation of Server. */
class NativeServer implements Server {
  readonly addresses: readonly Address[];
  readonly closed: Promise<CloseReport>;
  readonly loops: number;
  readonly poller: string;
  readonly sockets: ReadonlySet<Socket>;
  readonly #native: Binding;
  readonly #id: number;
  readonly #service: Service;
  readonly #cleanups: (() => void)[] = [];
  #finish!: (report: CloseReport) => void;
  #draining: Promise<CloseReport> | undefined = undefined;
  #isReleased = false;
  readonly #counters = new Float64Array(METRIC_VALUES);
  #deadline = 0;
  #loopsOpen: number;
  #completed = 0;
  #forced = 0;

  static async open(
    settings: Settings,
    table: RouteTable,
    error: Service["error"],
  ): Promise<NativeServer> {
    const listeners = await Promise.all(settings.listeners.map(resolveListener));
    const native = binding();
    const batch = new Uint8Array(BATCH_BYTES);
    const sockets = makeSocketService(native, settings.topicSpace);
    for (const { rules } of table.handlers) rules.service = sockets;
    let server: NativeServer | undefined;
    const service: Service = {
      native,
      outbox: new Outbox(native),
      targets: table.targets,
      error,
      open: new Map(),
      sockets,
      websocket: table.websocket,
      makeContext: (req: Req, res: Res) => {
        return new NativeContext(
          server as NativeServer,
          service,
          req as unknown as NativeReq,
          res as NativeRes,
        );
      },
      tasks: new Set(),
      bodyMax: settings.limits[BODY_MAX_ROW] as number,
      counts: makeCounts(),
      addresses: [],
      onDrained: (completed, forced) => (server as NativeServer).#loopDrained(completed, forced),
    };
    try {
      const { rows: routes, fallback, methodNotAllowed } = table;
      const { loops, limits, topicSpace } = settings;
      const opened = native.open(
        {
          loops,
          listeners,
          routes,
          fallback,
          methodNotAllowed,
          limits,
          sockets: table.sockets,
          topicSpace,
        },
        batch,
        makeDispatch(service, batch),
      );
      server = new NativeServer(service, settings, opened);
    } catch (cause) {
      throw explain(openError(cause, listeners));
    }
    await server.#startSync(settings);
    server.#closeOn(settings);
    return server;
  }

  private constructor(service: Service, settings: Settings, opened: ReturnType<Binding["open"]>) {
    this.#native = service.native;
    this.#service = service;
    this.#id = opened.server;
    this.#loopsOpen = Math.max(1, settings.loops);
    this.loops = settings.loops;
    this.poller = opened.poller;
    this.addresses = Object.freeze(opened.addresses.map((each) => Object.freeze({ ...each })));
    service.addresses = this.addresses;
    service.sockets.server = opened.server;
    this.sockets = viewOf(service.sockets);
    joinThread(service.sockets);
    this.closed = new Promise((resolve) => {
      this.#finish = resolve;
    });
  }

  get metrics(): Metrics {
    this.#readCounters();
    return readMetrics(this.#counters, this.#service.counts);
  }

  get url(): string {
    return urlOfAddress(this.addresses[0] as Address);
  }

  close(options?: { readonly timeout?: number }): Promise<CloseReport> {
    const timeout = closeTimeout(options);
    if (this.#draining === undefined) {
      this.#draining = this.closed;
      this.#deadline = performance.now() + timeout;
      for (const cleanup of this.#cleanups.splice(0)) cleanup();
      this.#service.outbox.flush(); // a handler that closes has answered first
      this.#native.control(this.#id, COMMAND.Close, timeout);
    }
    return this.#draining;
  }

  drain(): void {
    if (this.#draining !== undefined) return;
    this.#service.outbox.flush();
    this.#native.control(this.#id, COMMAND.Drain, 0);
  }

  publish(topic: string, data: Bytes, options?: PublishOptions): number {
    return this.#service.sockets.publish(topic, data, options, undefined);
  }

  ref(): this {
    if (!this.#isReleased) this.#native.ref(this.#id, true);
    return this;
  }

  sendMany(
    sockets: Iterable<Socket>,
    data: Bytes,
    options?: SendManyOptions,
  ): Promise<SendManyReport> {
    const own = this.#service.sockets;
    try {
      return own.deliveries.send(own, sockets, data, options);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  subscriberCount(topic: string): number {
    checkTopic(topic);
    return this.#isReleased ? 0 : this.#native.subscriberCount(this.#id, topic);
  }

  unref(): this {
    if (!this.#isReleased) this.#native.ref(this.#id, false);
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #startSync({ sync }: Settings): Promise<void> {
    if (sync === undefined) return;
    try {
      startSync(this.#service.sockets, sync);
    } catch (error) {
      await this.close({ timeout: 0 });
      throw error;
    }
  }

  #closeOn(settings: Settings): void {
    const { signal, shutdown } = settings;
    // Aborted while we were starting: no event will say so any more.
    if (signal?.aborted === true) {
      void this.close();
      return;
    }
    if (signal !== undefined) {
      const onAbort = (): void => void this.close();
      signal.addEventListener("abort", onAbort, { once: true });
      this.#cleanups.push(() => signal.removeEventListener("abort", onAbort));
    }
    if (shutdown === undefined) return;
    // The listeners go when closing begins, so a second signal has its usual effect.
    const onSignal = (): void => void this.close({ timeout: shutdown.timeout });
    for (const name of shutdown.signals) process.once(name, onSignal);
    this.#cleanups.push(() => {
      for (const name of shutdown.signals) process.removeListener(name, onSignal);
    });
  }

  #loopDrained(completed: number, forced: number): void {
    this.#completed += completed;
    this.#forced += forced;
    this.#loopsOpen -= 1;
    // Not at once: this is called from within the native call that release() would take apart.
    if (this.#loopsOpen === 0) setImmediate(() => void this.#release());
  }

  async #release(): Promise<void> {
    const { open, sockets } = this.#service;
    for (const exchange of [...open.values()]) exchange.abort();
    for (const socket of [...sockets.open.values()]) socket.ended(LOST_CODE, LOST);
    await Promise.all([this.#lastDone(), sockets.relay?.close()]);
    this.#readCounters();
    this.#isReleased = true;
    leaveThread(sockets);
    this.#native.release(this.#id);
    this.#finish({ completed: this.#completed, forced: this.#forced });
  }

  // After release() the last numbers stand.
  #readCounters(): void {
    if (!this.#isReleased) this.#native.metrics(this.#id, this.#counters);
  }

  // What waitUntil() was given, and the last handlers of WebSockets, may take as long as close()
  // was allowed to.
  async #lastDone(): Promise<void> {
    const { sockets, tasks } = this.#service;
    if (tasks.size === 0 && sockets.leaving.size === 0) return;
    const closed = new Promise<void>((resolve) => {
      if (sockets.leaving.size === 0) resolve();
      else sockets.onIdle = resolve;
    });
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, Math.max(0, this.#deadline - performance.now()));
    });
    await Promise.race([Promise.all([...tasks, closed]), late]);
    clearTimeout(timer);
  }
}

// What is wrong with a route and only the native side could judge; its sentence names the pattern.
function explain(error: unknown): unknown {
  if (!(error instanceof Error) || error instanceof MillraceError) return error;
  const { code } = error as { readonly code?: unknown };
  if (code !== "ERR_MILLRACE_INVALID_ROUTE") return error;
  return new MillraceError(code, error.message, { cause: error });
}

function announce(server: Server, ms: number): void {
  if (!process.stdout.isTTY || process.env["NODE_ENV"] === "test") return;
  const where = server.addresses.map(urlOfAddress).join("  ");
  const loops =
    server.loops === 0 ? "inline" : `${server.loops} loop${server.loops === 1 ? "" : "s"}`;
  process.stdout.write(`millrace  ${where}  ${loops}  ready in ${Math.round(ms)} ms\n`);
}
