// serve(): validates, listens, and the server that it gives: addresses, metrics, drain, close.
import { isMainThread, threadId } from "node:worker_threads";
import type { Address, CloseReport, Metrics, Req, Res, Server, ShutdownCallback } from "./api.ts";
import type { Bytes } from "./body.ts";
import { callable } from "./check.ts";
import { makeProxies } from "./client.ts";
import { noteOpen } from "./cluster/open.ts";
import type { Connection, DataOfConnections } from "./connection/api.ts";
import { Connections } from "./connection/connections.ts";
import { makeDispatch } from "./dispatch.ts";
import { MillraceError } from "./errors.ts";
import { atExit } from "./exits.ts";
import { NativeContext } from "./fetch.ts";
import { openError, resolveListener, urlOfAddress } from "./listen.ts";
import { AccessLog } from "./logging/access.ts";
import { LOG_LEVELS, type LogLevel } from "./logging/levels.ts";
import { Log } from "./logging/logger.ts";
import { errOf } from "./logging/record.ts";
import { METRIC_VALUES, readMetrics } from "./metrics.ts";
import { type Binding, binding } from "./native/binding.ts";
import { COMMAND, ERRORS, LIMITS } from "./native/tables.ts";
import { type ServeOptions, type Settings, validate } from "./options.ts";
import { Outbox } from "./outbox.ts";
import { fail } from "./outcome.ts";
import { endDeliveries } from "./outgoing.ts";
import type { Reload, Reloading, ReloadOptions } from "./reload.ts";
import type { NativeReq } from "./request.ts";
import type { NativeRes } from "./response.ts";
import { closeOf, type ServerCloseOptions } from "./restart/options.ts";
import type { Restart } from "./restart/restart.ts";
import { compileRoutes, type RouteTable, routeError } from "./routes.ts";
import type { Service } from "./service.ts";
import { Shutdown } from "./shutdown.ts";
import { atSignal } from "./signals.ts";
import type { PublishOptions, SendManyOptions, SendManyReport, Socket } from "./websocket/api.ts";
import { joinThread, leaveThread, makeSocketService, startSync } from "./websocket/publish.ts";
import { viewOf } from "./websocket/sockets.ts";
import { topicOf } from "./websocket/topics.ts";
import { warnWithoutZlib } from "./websocket/zlib.ts";

const BATCH_BYTES = 262_144;
const LOG_CLOSE_MS = 1000;
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
export async function serve<
  const R extends string,
  D extends DataOfConnections = DataOfConnections,
>(options: ServeOptions<R, D>): Promise<Server> {
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
  if (!settings.silent) announce(server, settings, performance.now() - startedAt);
  return server;
}

let made = 0;

/** The one implementation of Server. */
class NativeServer implements Server {
  readonly addresses: readonly Address[];
  readonly closed: Promise<CloseReport>;
  readonly loops: number;
  readonly id: number;
  readonly name: string;
  readonly poller: string;
  readonly sockets: ReadonlySet<Socket>;
  readonly #native: Binding;
  readonly #id: number;
  readonly #service: Service;
  readonly #scheme: "http" | "scgi";
  readonly #reloading: Reloading;
  #reload!: Reload;
  readonly #restart: Restart;
  readonly #cleanups: (() => void)[] = [];
  readonly #stay: () => void;
  #finish!: (report: CloseReport) => void;
  #draining: Promise<CloseReport> | undefined = undefined;
  #isReleased = false;
  readonly #counters = new Float64Array(METRIC_VALUES);
  #deadline = 0;
  #hurry: (() => void) | undefined = undefined; // the deadline is another one
  #loopsOpen: number;
  #completed = 0;
  #forced = 0;

  static async open(
    settings: Settings,
    table: RouteTable,
    error: Service["error"],
  ): Promise<NativeServer> {
    const native = binding();
    let server: NativeServer | undefined;
    try {
      const wanted = await Promise.all(settings.listeners.map(resolveListener));
      // Not with the others: a process may have few descriptors to load them with at once.
      const { Restart } = await import("./restart/restart.ts");
      // Nor when it is asked for: there may be none left, and what has failed to load stays so.
      const { Reload } = await import("./reload.ts");
      const restart = await Restart.begin(native, settings.restart, wanted);
      server = NativeServer.#listen(native, settings, table, error, restart);
      server.#reload = new Reload(server.#reloading);
      if (settings.sync !== undefined) startSync(server.#service.sockets, settings.sync);
      server.#closeOn(settings);
      await server.#sayReady();
      server.#sayListening(settings);
      noteOpen(server);
      return server;
    } catch (cause) {
      const log = server === undefined ? logOf(settings, native) : server.#service.log;
      sayFailed(log, cause);
      if (server === undefined) await log.close(LOG_CLOSE_MS);
      else await server.close({ timeout: 0 });
      throw cause;
    }
  }

  static #listen(
    native: Binding,
    settings: Settings,
    table: RouteTable,
    error: Service["error"],
    restart: Restart,
  ): NativeServer {
    const { listeners } = restart;
    let server: NativeServer | undefined;
    try {
      const batch = new Uint8Array(BATCH_BYTES);
      const sockets = makeSocketService(native, settings.topicSpace);
      for (const { rules } of table.handlers) rules.service = sockets;
      const observers = observersOf(settings, table, native);
      const { access, connections, log } = observers;
      sockets.connections = connections;
      sockets.log = log;
      const tasks = new Set<Promise<unknown>>();
      const shutdown = new Shutdown({ log, tasks, server: () => server as NativeServer });
      if (settings.onShutdown !== undefined) shutdown.add(settings.onShutdown);
      const service: Service = {
        native,
        ...observers,
        targets: table.targets,
        error,
        open: new Map(),
        sockets,
        proxies: makeProxies(settings.trust),
        websocket: table.websocket,
        makeContext: (req: Req, res: Res) => {
          return new NativeContext(
            server as NativeServer,
            service,
            req as unknown as NativeReq,
            res as NativeRes,
          );
        },
        fail: (req: Req, res: Res, error: unknown) => {
          void fail(service, req as unknown as NativeReq, res as NativeRes, error);
        },
        shutdown,
        tasks,
        deliveries: new Map(),
        bodyMax: settings.limits[BODY_MAX_ROW] as number,
        addresses: [],
        onDrained: (completed, forced) => (server as NativeServer).#loopDrained(completed, forced),
        onRerouted: () => (server as NativeServer).#reload.rerouted(),
      };
      const { rows: routes, fallback, methodNotAllowed, refusals } = table;
      const { loops, limits, topicSpace } = settings;
      const opened = native.open(
        {
          loops,
          listeners,
          routes,
          fallback,
          methodNotAllowed,
          refusals,
          limits,
          sockets: table.sockets,
          topicSpace,
          observe: { ...connections.observed, access: access !== undefined },
        },
        batch,
        makeDispatch(service, batch),
      );
      server = new NativeServer(service, settings, opened, restart, table);
      warnWithoutZlib(native, table.sockets);
      made = log.serverId;
      return server;
    } catch (cause) {
      restart.abandon();
      throw routeError(openError(cause, listeners));
    }
  }

  private constructor(
    service: Service,
    settings: Settings,
    opened: ReturnType<Binding["open"]>,
    restart: Restart,
    table: RouteTable,
  ) {
    this.#native = service.native;
    this.#restart = restart;
    this.#service = service;
    this.#id = opened.server;
    this.#loopsOpen = Math.max(1, settings.loops);
    this.loops = settings.loops;
    this.poller = opened.poller;
    this.#scheme = schemeOf(settings, 0);
    this.addresses = Object.freeze(opened.addresses.map((each) => Object.freeze({ ...each })));
    service.addresses = this.addresses;
    service.connections.addresses = this.addresses;
    this.id = service.log.serverId;
    this.name = service.log.server;
    this.#stay = atExit(() => this.#atExit());
    service.sockets.server = opened.server;
    this.#reloading = {
      server: opened.server,
      loops: this.#loopsOpen,
      service,
      table,
      isClosing: () => this.#draining !== undefined,
    };
    this.sockets = viewOf(service.sockets);
    joinThread(service.sockets);
    this.closed = new Promise((resolve) => {
      this.#finish = resolve;
    });
  }

  get metrics(): Metrics {
    this.#readCounters();
    const { access, log } = this.#service;
    return readMetrics(this.#counters, { log: log.dropped, access: access?.dropped ?? 0 });
  }

  get connections(): Iterable<Connection> {
    return this.#service.connections;
  }

  get logLevel(): LogLevel {
    return this.#service.log.level;
  }

  set logLevel(level: LogLevel) {
    this.#service.log.level = level;
  }

  get signal(): AbortSignal {
    return this.#service.shutdown.signal;
  }

  get stopping(): boolean {
    return this.signal.aborted;
  }

  get url(): string {
    return urlOfAddress(this.addresses[0] as Address, this.#scheme);
  }

  close(options?: ServerCloseOptions): Promise<CloseReport> {
    const { timeout, wait } = closeOf(options);
    for (const cleanup of this.#cleanups.splice(0)) cleanup();
    return this.#close(timeout, wait, false);
  }

  // Again: that only takes time away.
  #close(timeout: number, wait: number, isHandedOver: boolean): Promise<CloseReport> {
    const { outbox, shutdown } = this.#service;
    shutdown.begin(); // one of its callbacks may close, too
    const deadline = performance.now() + wait + timeout;
    const isFirst = this.#draining === undefined;
    if (isFirst || (deadline < this.#deadline && !this.#isReleased)) {
      this.#draining = this.closed;
      this.#deadline = deadline;
      const keepsPaths = this.#restart.closing(isHandedOver);
      outbox.flush(); // a handler that closes has answered first
      this.#native.control(this.#id, COMMAND.Close, wait + timeout, wait, keepsPaths);
      this.#hurry?.();
    }
    shutdown.endStreams(true);
    return this.closed;
  }

  drain(): void {
    const { outbox, shutdown } = this.#service;
    shutdown.begin();
    if (this.#draining === undefined) {
      outbox.flush();
      this.#native.control(this.#id, COMMAND.Drain, 0);
    }
    shutdown.endStreams(false);
  }

  onShutdown(callback: ShutdownCallback): () => void {
    callable("onShutdown() callback", callback);
    return this.#service.shutdown.add(callback);
  }

  prometheus(): string {
    return this.#isReleased ? "" : this.#native.prometheus(this.#id);
  }

  publish(topic: string, data: Bytes, options?: PublishOptions): number {
    return this.#service.sockets.publish(topic, data, options, undefined);
  }

  ref(): this {
    if (!this.#isReleased) this.#native.ref(this.#id, true);
    return this;
  }

  reload(options: ReloadOptions): Promise<void> {
    return this.#reload.run(options);
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
    const own = topicOf(topic);
    return this.#isReleased ? 0 : this.#native.subscriberCount(this.#id, own);
  }

  unref(): this {
    if (!this.#isReleased) this.#native.ref(this.#id, false);
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #sayReady(): Promise<void> {
    return this.#restart.opened({
      number: this.#id,
      closed: this.closed,
      // Signals still shorten what may take long.
      handedOver: (timeout, wait) => void this.#close(timeout, wait, true),
      warn: (message) => this.#service.log.add(LOG_LEVELS.warn, message),
    });
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
    const { timeout, wait } = shutdown;
    const onSignal = (): void => void this.close({ timeout, wait });
    for (const name of shutdown.signals) this.#cleanups.push(atSignal(name, onSignal));
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
    endDeliveries(this.#service);
    this.#service.connections.endAll();
    this.#sayClosed();
    this.#readCounters();
    this.#isReleased = true;
    for (const cleanup of this.#cleanups.splice(0)) cleanup();
    leaveThread(sockets);
    this.#native.release(this.#id);
    await this.#closeLogs();
    this.#stay();
    this.#finish({ completed: this.#completed, forced: this.#forced });
  }

  #sayListening(settings: Settings): void {
    const where = this.addresses.map((each, at) => urlOfAddress(each, schemeOf(settings, at)));
    const loops = this.loops === 1 ? "1 loop" : `${this.loops || "no"} loops`;
    const what = `listening at ${where.join(", ")} with ${loops} (${this.poller})`;
    this.#service.log.add(LOG_LEVELS.info, what);
  }

  #sayClosed(): void {
    const { log } = this.#service;
    const [completed, forced] = [this.#completed, this.#forced];
    if (forced > 0) {
      const what = forced === 1 ? "1 exchange was" : `${forced} exchanges were`;
      log.add(LOG_LEVELS.notice, `${what} cut when the time to close was over`);
    }
    log.add(LOG_LEVELS.info, `stopped: ${completed} answered while closing, ${forced} cut`);
  }

  // Whatever time close() was given: that is for clients, and a logger may hang.
  async #closeLogs(): Promise<void> {
    const { access, log } = this.#service;
    await Promise.all([access?.close(LOG_CLOSE_MS), log.close(LOG_CLOSE_MS)]);
  }

  // Nothing asynchronous happens any more.
  #atExit(): void {
    const { access, connections, log } = this.#service;
    connections.endAll();
    access?.flush();
    log.flush();
  }

  // After release() the last numbers stand.
  #readCounters(): void {
    if (!this.#isReleased) this.#native.metrics(this.#id, this.#counters);
  }

  // What waitUntil() and onShutdown() were given, and the last handlers of WebSockets, may take as
  // long as close() was allowed to.
  async #lastDone(): Promise<void> {
    const { sockets, tasks } = this.#service;
    if (tasks.size === 0 && sockets.leaving.size === 0) return;
    const closed = new Promise<void>((resolve) => {
      if (sockets.leaving.size === 0) resolve();
      else sockets.onIdle = resolve;
    });
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      this.#hurry = () => {
        clearTimeout(timer);
        timer = setTimeout(resolve, Math.max(0, this.#deadline - performance.now()));
      };
      this.#hurry();
    });
    await Promise.race([Promise.all([...tasks, closed]), late]);
    this.#hurry = undefined;
    clearTimeout(timer);
  }
}

// Who is told of what goes on besides handlers.
function observersOf(
  settings: Settings,
  { targets }: RouteTable,
  native: Binding,
): Pick<Service, "access" | "connections" | "log" | "outbox"> {
  const log = logOf(settings, native);
  const outbox = new Outbox(native);
  const connections = new Connections({
    native,
    log,
    hooks: settings.hooks,
    flush: () => outbox.flush(),
  });
  const { accessLog, trust } = settings;
  const access = accessLog && new AccessLog({ ...accessLog, trust, targets });
  return { access, connections, log, outbox };
}

// Under the number that the next server has.
function logOf(settings: Settings, native: Binding): Log {
  const id = made + 1;
  const name =
    settings.name === "" ? `HTTP-${isMainThread ? "" : `${threadId}-`}${id}` : settings.name;
  return new Log(settings.log, name, id, native);
}

// Where no log was asked for the rejection says enough.
function sayFailed(log: Log, error: unknown): void {
  if (!log.isGiven) return;
  const err = errOf(error);
  const code = error instanceof MillraceError ? { code: error.code } : {};
  log.add(LOG_LEVELS.fatal, `the server did not start: ${err.message}`, { ...code, err });
}

function schemeOf(settings: Settings, listener: number): "http" | "scgi" {
  return settings.listeners[listener]?.protocol ?? "http";
}

function announce(server: Server, settings: Settings, ms: number): void {
  if (!process.stdout.isTTY || process.env["NODE_ENV"] === "test") return;
  const where = server.addresses
    .map((address, at) => urlOfAddress(address, schemeOf(settings, at)))
    .join("  ");
  const loops =
    server.loops === 0 ? "inline" : `${server.loops} loop${server.loops === 1 ? "" : "s"}`;
  process.stdout.write(`millrace  ${where}  ${loops}  ready in ${Math.round(ms)} ms\n`);
}
