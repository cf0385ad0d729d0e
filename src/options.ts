// The options of serve(): their types, and one validation with messages that name the option.
import { availableParallelism, constants } from "node:os";
import type { ErrorHandler, FetchHandler, RawHandler, ShutdownCallback } from "./api.ts";
import { callable, checkRecord, integer, invalidOption, oneOf, text, truth } from "./check.ts";
import type { CompressOptions } from "./compress.ts";
import type { ConnectionHooks, DataOfConnections } from "./connection/api.ts";
import { show } from "./errors.ts";
import type { AccessRecord } from "./logging/access.ts";
import type { LogLevel } from "./logging/levels.ts";
import {
  type AccessLogOptions,
  accessSettings,
  type LogOptions,
  type LogSettings,
  logSettings,
} from "./logging/options.ts";
import { LIMITS } from "./native/tables.ts";
import { compileTrust, type Trust, type TrustProxy } from "./proxies.ts";
import type { Refusals } from "./refusals.ts";
import { type HandoverOptions, type RestartSettings, restartOf } from "./restart/options.ts";
import { systemdLabel } from "./restart/systemd.ts";
import type { HealthPaths, RawRoute, Routes } from "./routes.ts";
import type { SyncAdapter } from "./sync/adapter.ts";
import type { UpgradedHandler } from "./websocket/api.ts";

type LimitRow = (typeof LIMITS)[number];

/**
 * Bounds on what peers may send and hold; each is described in docs/limits.md with its default and
 * range.
 */
export type LimitOptions = {
  readonly [Row in Extract<LimitRow, { group: "limits" }> as Row["option"]]?: number;
};

/**
 * Milliseconds that a peer may owe something (`handler`: the application); each is described in
 * docs/limits.md.
 */
export type TimeoutOptions = {
  readonly [Row in Extract<LimitRow, { group: "timeouts" }> as Row["option"]]?: number;
};

/** One place to listen at: an address and port, a unix socket, or an inherited descriptor. */
export interface ListenOptions {
  /**
   * Connections that the kernel keeps waiting; it may have a lower bound of its own. @default 511
   */
  readonly backlog?: number;
  /** A listening socket that this process was given, as by systemd. */
  readonly fd?: number;
  /**
   * Address, or a name that resolves to one. "0.0.0.0" and "::" mean all interfaces. @default
   * "127.0.0.1"
   */
  readonly hostname?: string;
  /** Permissions of the unix socket, such as 0o660. @default as the umask has it */
  readonly mode?: number;
  /** 0 lets the system choose; `server.addresses` tells. @default 3000, with "scgi" 4000 */
  readonly port?: number;
  /** What is spoken there; the same routes and handlers answer. @default "http" */
  readonly protocol?: "http" | "scgi";
  /**
   * Whether connections may ("accept") or must ("require") begin with a header of the PROXY
   * protocol, version 1 or 2, that names the client. Anybody who reaches the listener can say
   * anything in it. @default false
   */
  readonly proxyProtocol?: false | "accept" | "require";
  /** Lets several processes listen on the port and share its connections. @default false */
  readonly reusePort?: boolean;
  /** Path of a unix socket; a leading "\0" makes it abstract (Linux). */
  readonly unix?: string;
}

/** An entry of `listen`. */
export interface ListenEntry extends ListenOptions {
  /**
   * The sockets that systemd passes to this process: those that FileDescriptorName= calls so, or
   * all (true). There may be several.
   */
  readonly systemd?: boolean | string;
}

/** What to do when the process is asked to stop. */
export interface ShutdownOptions {
  /** Names of this system's, but SIGKILL and SIGSTOP. @default ["SIGTERM", "SIGINT"] */
  readonly signals?: readonly NodeJS.Signals[];
  /** Milliseconds after `wait` until what is in flight is cut. @default 10_000 */
  readonly timeout?: number;
  /** Milliseconds for which idle connections may bring one more request. @default 0 */
  readonly wait?: number;
}

/** Options of `serve()`. */
export interface ServeOptions<
  R extends string = string,
  D extends DataOfConnections = DataOfConnections,
> extends ListenOptions,
    ConnectionHooks<D> {
  /**
   * Takes a record per answer, also of those that are given without JavaScript. In batches, outside
   * of handlers; what it throws harms nothing, and of what it does not take in time records are
   * dropped.
   */
  readonly accessLog?: ((records: readonly AccessRecord[]) => unknown) | AccessLogOptions;
  /**
   * Compresses what handlers answer, for clients that accept it; docs/compression.md says what and
   * what that means for secrets in it. A Response as a route's value goes as it is.
   * @default false
   */
  readonly compress?: boolean | CompressOptions;
  /**
   * Makes the answer when a handler threw. Without it: 4xx where `status` or `statusCode` of the
   * Error says so, with its message where it has `expose: true`; else 500 and a warning.
   */
  readonly error?: ErrorHandler;
  /** Answers what no route matches, the standard way. Not together with `handler` or `notFound`. */
  readonly fetch?: FetchHandler;
  /** Closes the server on these signals; a second one has its usual effect. @default false */
  readonly gracefulShutdown?: boolean | ShutdownOptions;
  /** Answers what no route matches, the raw way. Not together with `fetch` or `notFound`. */
  readonly handler?: RawHandler;
  /**
   * Takes the listening sockets over from the process that offers them at this path of a unix
   * socket, and offers its own there in turn, for restarts during which nobody is refused. Where
   * nobody offers any, it listens as usual.
   */
  readonly handover?: string | HandoverOptions;
  /**
   * Paths answered natively with 200, also while JavaScript is busy; `ready` says 503 while
   * draining, `metrics` has what `server.prometheus()` says.
   */
  readonly health?: HealthPaths;
  /** Bounds on what peers may send and hold. */
  readonly limits?: LimitOptions;
  /**
   * What is logged and where: a level, an object, or false for nothing. With this option failures
   * of handlers are records of it, without it they are process warnings.
   * @default "warn", on standard error
   */
  readonly log?: false | LogLevel | LogOptions;
  /** Several places to listen at, instead of the one above. */
  readonly listen?: "systemd" | readonly ListenEntry[];
  /**
   * Native loop threads; 0 runs the loop on the JavaScript thread. "auto" is 0 up to two CPUs,
   * where a second thread would only take turns with the first, else a quarter of them, at most 4.
   * @default "auto"
   */
  readonly loops?: number | "auto";
  /** Answers when the path has routes but none for the method. @default 405, natively */
  readonly methodNotAllowed?: FetchHandler | RawRoute;
  /** What log records call the server. @default "HTTP-" and its number */
  readonly name?: string;
  /**
   * Answers what no route matches, with status 404 unless it sets another. @default 404, natively
   */
  readonly notFound?: FetchHandler | RawRoute;
  /** As `server.onShutdown()`, from the start on and before those that are given there. */
  readonly onShutdown?: ShutdownCallback;
  /**
   * What loops answer, without JavaScript, to requests that they refuse: a Response by status, such
   * as 413, or by error code (docs/errors.md), which goes before its status. The status stays, and
   * so do the end of the connection and a Retry-After of 503; 64 KiB at most.
   * @default the error's code and sentence as text/plain
   */
  readonly refusals?: Refusals;
  /** Patterns and what they lead to. */
  readonly routes?: Routes<R>;
  /** Closes the server when aborted. */
  readonly signal?: AbortSignal;
  /** Says nothing on the terminal when listening begins. @default false */
  readonly silent?: boolean;
  /**
   * Tells systemd (NOTIFY_SOCKET) that the service is ready and that it stops, and feeds its
   * watchdog from the JavaScript thread.
   * @default true
   */
  readonly systemd?: boolean;
  /** Carries publications to other processes and hosts, as `redisSync()` and `natsSync()` do. */
  readonly sync?: SyncAdapter;
  /** How long peers, and handlers, may take. */
  readonly timeouts?: TimeoutOptions;
  /**
   * Servers of the process with the same one share their topics, those with another do not; with
   * `sync` other hosts, too. 1 to 1024 bytes.
   * @default the one of all servers that give none
   */
  readonly topicSpace?: string;
  /**
   * Whose X-Forwarded-For, -Proto, -Host and -Port, X-Real-IP or Forwarded say who the client is:
   * nobody's, everybody's (true), those of so many hops, of peers on this machine ("loopback"), on
   * unix sockets ("unix"), or an array of addresses, networks like "10.0.0.0/8" and the words
   * "loopback", "unix", "linklocal", "private". Who is trusted has to replace or remove every one
   * of these fields that a client sends.
   * @default false, with a warning when such fields come; [] is the same without
   */
  readonly trustProxy?: TrustProxy;
  /**
   * What `ctx.upgrade()` and `req.upgrade()` make of handshakes on any route. It has no hook
   * `upgrade`: the handlers that call them decide.
   */
  readonly websocket?: UpgradedHandler;
}

/** One listener with every default filled in; `hostname` is still a name. */
export interface ListenSettings {
  readonly hostname: string; // "" with unix or fd
  readonly port: number;
  readonly unix: string;
  readonly mode: number;
  readonly fd: number;
  readonly backlog: number;
  readonly reusePort: boolean;
  readonly protocol: "http" | "scgi";
  readonly proxy: 0 | 1 | 2; // PROXY protocol: off, accepted, required
  readonly label: string; // "": known by its address; else what systemdLabel() makes
}

/** The validated options that are not about routes. */
export interface Settings {
  readonly listeners: readonly ListenSettings[];
  readonly loops: number;
  readonly restart: RestartSettings;
  readonly limits: readonly number[]; // in the order of LIMITS
  readonly onShutdown: ShutdownCallback | undefined;
  readonly shutdown: Required<ShutdownOptions> | undefined;
  readonly signal: AbortSignal | undefined;
  readonly silent: boolean;
  readonly log: LogSettings;
  readonly accessLog: Required<AccessLogOptions> | undefined;
  readonly hooks: ConnectionHooks;
  readonly name: string; // "": by its number
  readonly sync: SyncAdapter | undefined;
  readonly topicSpace: string; // "": that of all servers that give none
  readonly trust: Trust;
}

const LISTEN_KEYS = [
  ...["backlog", "fd", "hostname", "mode", "port", "protocol", "proxyProtocol"],
  ...["reusePort", "unix"],
] as readonly (keyof ListenOptions)[];
const SERVE_KEYS = [
  ...LISTEN_KEYS,
  ...["accessLog", "connectionData", "log", "name", "onClose", "onConnect", "onShutdown"],
  ...[
    "compress",
    "error",
    "fetch",
    "gracefulShutdown",
    "handler",
    "handover",
    "health",
    "limits",
    "listen",
    "loops",
    "methodNotAllowed",
  ],
  ...[
    "notFound",
    "refusals",
    "routes",
    "signal",
    "silent",
    "sync",
    "systemd",
    "timeouts",
    "topicSpace",
  ],
  ...["trustProxy", "websocket"],
] as const;
const LOOPS_MAX = 64;
const UNCATCHABLE: readonly string[] = ["SIGKILL", "SIGSTOP"];
const SHUTDOWN_MS_MAX = 86_400_000;
const TOPIC_SPACE_BYTES_MAX = 1024;
// What sockaddr_un holds, less the final NUL.
const UNIX_BYTES_MAX = process.platform === "linux" ? 107 : 103;

/** @throws {MillraceError} ERR_MILLRACE_INVALID_OPTION */
export function validate(options: ServeOptions): Settings {
  checkRecord("serve()", options, SERVE_KEYS);
  checkAnswerers("serve()", options);
  if (options.signal !== undefined && !(options.signal instanceof AbortSignal)) {
    throw invalidOption("signal", "must be an AbortSignal", options.signal);
  }
  if (options.error !== undefined) callable("error", options.error);
  if (options.sync !== undefined) callable("sync", options.sync);
  return {
    listeners: listenersOf(options),
    loops: loopsOf(options.loops),
    restart: restartOf(options.handover, options.systemd),
    limits: limitsOf(options),
    onShutdown: onShutdownOf(options),
    shutdown: shutdownOf(options.gracefulShutdown),
    signal: options.signal,
    silent: options.silent === undefined ? false : truth("silent", options.silent),
    log: logSettings(options.log),
    accessLog: accessSettings(options.accessLog),
    hooks: hooksOf(options),
    name: options.name === undefined ? "" : text("name", options.name),
    sync: options.sync,
    topicSpace: topicSpaceOf(options.topicSpace),
    trust: compileTrust(options.trustProxy),
  };
}

// A method of the options object may use `this`.
function hooksOf(options: ServeOptions): ConnectionHooks {
  const { connectionData, onClose, onConnect } = options;
  if (connectionData !== undefined) callable("connectionData", connectionData);
  if (onClose !== undefined) callable("onClose", onClose);
  if (onConnect !== undefined) callable("onConnect", onConnect);
  return {
    ...(connectionData === undefined ? {} : { connectionData: connectionData.bind(options) }),
    ...(onClose === undefined ? {} : { onClose: onClose.bind(options) }),
    ...(onConnect === undefined ? {} : { onConnect: onConnect.bind(options) }),
  };
}

function onShutdownOf(options: ServeOptions): ShutdownCallback | undefined {
  const { onShutdown } = options;
  if (onShutdown === undefined) return undefined;
  callable("onShutdown", onShutdown);
  return onShutdown.bind(options);
}

function topicSpaceOf(value: unknown): string {
  if (value === undefined) return "";
  const name = text("topicSpace", value);
  if (Buffer.byteLength(name) <= TOPIC_SPACE_BYTES_MAX) return name;
  const what = `must have at most ${TOPIC_SPACE_BYTES_MAX} bytes`;
  throw invalidOption("topicSpace", what, name);
}

/** Who answers is said, and only once; `name` is who wants to know. */
export function checkAnswerers(name: string, options: ServeOptions): void {
  if (options.fetch !== undefined) callable("fetch", options.fetch);
  if (options.handler !== undefined) callable("handler", options.handler);
  const fallbacks = (["fetch", "handler", "notFound"] as const).filter(
    (each) => options[each] !== undefined,
  );
  if (fallbacks.length > 1) {
    throw invalidOption(
      fallbacks.join(" and "),
      "both answer what no route matches; give one of them",
      "both",
    );
  }
  if (options.health !== undefined) {
    const names = ["live", "metrics", "ready"] as const;
    checkRecord("health", options.health, names);
    for (const each of names) {
      const path = options.health[each];
      if (path !== undefined) text(`health.${each}`, path);
    }
  }
  if (options.routes !== undefined) {
    const isPlain =
      typeof options.routes === "object" &&
      options.routes !== null &&
      !Array.isArray(options.routes);
    if (!isPlain) throw invalidOption("routes", "must be an object of patterns", options.routes);
  }
  const answers =
    fallbacks.length > 0 || options.health !== undefined || options.routes !== undefined;
  if (!answers)
    throw invalidOption(name, "needs one of routes, fetch, handler or notFound", undefined);
}

function listenersOf(options: ServeOptions): readonly ListenSettings[] {
  if (options.listen === undefined) return [listenerOf("", options)];
  const { listen } = options;
  if (listen === "systemd") return listenersOf({ ...options, listen: [{ systemd: true }] });
  if (!Array.isArray(listen) || listen.length === 0)
    throw invalidOption("listen", "must be an array with an entry or more", listen);
  const extra = LISTEN_KEYS.find((key) => options[key] !== undefined);
  if (extra !== undefined)
    throw invalidOption(
      extra,
      "belongs into an entry of listen when listen is given",
      options[extra],
    );
  return listen.map((each: ListenEntry, index) => {
    checkRecord(`listen[${index}]`, each, [...LISTEN_KEYS, "systemd"]);
    const label = systemdOf(`listen[${index}].systemd`, each.systemd);
    return listenerOf(`listen[${index}].`, each, label);
  });
}

function listenerOf(prefix: string, options: ListenOptions, label = ""): ListenSettings {
  const { fd, hostname, mode, port, unix } = options;
  const ways = [
    ...(label === "" ? [] : ["systemd"]),
    ...(fd === undefined ? [] : ["fd"]),
    ...(unix === undefined ? [] : ["unix"]),
    ...(port === undefined && hostname === undefined
      ? []
      : [port === undefined ? "hostname" : "port"]),
  ];
  if (ways.length > 1) {
    throw invalidOption(
      `${prefix}${ways[0]}`,
      `cannot go with ${ways.slice(1).join(" and ")}; use listen: [...] for both`,
      options[ways[0] as "fd"],
    );
  }
  if (mode !== undefined && unix === undefined)
    throw invalidOption(`${prefix}mode`, "goes with unix only", mode);
  const isInternet = fd === undefined && unix === undefined && label === "";
  const protocol = protocolOf(`${prefix}protocol`, options.protocol);
  const usual = protocol === "scgi" ? 4000 : 3000;
  return {
    hostname: isInternet
      ? hostname === undefined
        ? "127.0.0.1"
        : text(`${prefix}hostname`, hostname)
      : "",
    port: isInternet ? (port === undefined ? usual : integer(`${prefix}port`, port, 0, 65_535)) : 0,
    unix: unix === undefined ? "" : unixPath(`${prefix}unix`, unix),
    mode: mode === undefined ? -1 : integer(`${prefix}mode`, mode, 0, 0o777),
    fd: fd === undefined ? -1 : integer(`${prefix}fd`, fd, 0, 0x7fff_ffff),
    backlog:
      options.backlog === undefined ? 511 : integer(`${prefix}backlog`, options.backlog, 1, 65_535),
    reusePort:
      options.reusePort === undefined ? false : truth(`${prefix}reusePort`, options.reusePort),
    protocol,
    proxy: proxyModeOf(`${prefix}proxyProtocol`, options.proxyProtocol),
    label,
  };
}

function systemdOf(name: string, value: unknown): string {
  if (value === undefined || value === false) return "";
  return systemdLabel(value === true ? undefined : text(name, value));
}

function protocolOf(name: string, value: unknown): "http" | "scgi" {
  if (value === undefined) return "http";
  oneOf(name, value, ["http", "scgi"]);
  return value as "http" | "scgi";
}

function proxyModeOf(name: string, value: unknown): 0 | 1 | 2 {
  if (value === undefined || value === false) return 0;
  if (value === "accept") return 1;
  if (value === "require") return 2;
  throw invalidOption(name, 'must be false, "accept" or "require"', value);
}

function unixPath(name: string, value: unknown): string {
  const path = text(name, value);
  if (Buffer.byteLength(path) > UNIX_BYTES_MAX)
    throw invalidOption(name, `must have at most ${UNIX_BYTES_MAX} bytes`, path);
  if (path.indexOf("\0", 1) >= 0 || path === "\0") throw invalidOption(name, "holds NUL", path);
  if (path.startsWith("\0") && process.platform !== "linux")
    throw invalidOption(name, "is abstract, which only Linux has", path);
  return path;
}

function loopsOf(loops: unknown): number {
  if (loops !== undefined && loops !== "auto")
    return integer("loops", loops, 0, LOOPS_MAX, 'or "auto"');
  const cpus = availableParallelism();
  return cpus <= 2 ? 0 : Math.max(1, Math.min(4, Math.floor(cpus / 4)));
}

function limitsOf(options: ServeOptions): readonly number[] {
  for (const group of ["limits", "timeouts"] as const) {
    const names = LIMITS.filter((row) => row.group === group).map((row) => row.option);
    if (options[group] !== undefined) checkRecord(group, options[group], names);
  }
  return LIMITS.map((row) => {
    const given = (options[row.group] as Readonly<Record<string, unknown>> | undefined)?.[
      row.option
    ];
    return given === undefined
      ? row.value
      : integer(`${row.group}.${row.option}`, given, row.floor, row.ceiling, row.unit);
  });
}

/** @throws {MillraceError} ERR_MILLRACE_INVALID_OPTION */
export function shutdownOf(value: unknown): Required<ShutdownOptions> | undefined {
  if (value === undefined || value === false) return undefined;
  const defaults: Required<ShutdownOptions> = {
    signals: ["SIGTERM", "SIGINT"],
    timeout: 10_000,
    wait: 0,
  };
  if (value === true) return defaults;
  checkRecord("gracefulShutdown", value, ["signals", "timeout", "wait"]);
  const { signals, timeout, wait } = { ...defaults, ...(value as ShutdownOptions) };
  if (!Array.isArray(signals) || signals.length === 0) {
    throw invalidOption("gracefulShutdown.signals", "must be an array of signal names", signals);
  }
  for (const signal of signals as readonly unknown[]) {
    if (typeof signal !== "string" || !Object.hasOwn(constants.signals, signal)) {
      const what = `holds ${show(signal)}; use names of this system's signals, like "SIGTERM"`;
      throw invalidOption("gracefulShutdown.signals", what, signals);
    }
    if (UNCATCHABLE.includes(signal)) {
      const what = `holds ${signal}, which no process can listen to`;
      throw invalidOption("gracefulShutdown.signals", what, signals);
    }
  }
  return {
    signals: [...signals],
    timeout: integer("gracefulShutdown.timeout", timeout, 0, SHUTDOWN_MS_MAX, "milliseconds"),
    wait: integer("gracefulShutdown.wait", wait, 0, SHUTDOWN_MS_MAX, "milliseconds"),
  };
}
