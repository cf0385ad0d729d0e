// The options of serve(): their types, and one validation with messages that name the option.
import { availableParallelism } from "node:os";
import type { ErrorHandler, FetchHandler, RawHandler } from "./api.ts";
import { callable, checkRecord, integer, invalidOption, text, truth } from "./check.ts";
import type { CompressOptions } from "./compress.ts";
import { show } from "./errors.ts";
import { LIMITS } from "./native/tables.ts";
import type { RawRoute, Routes } from "./routes.ts";
import type { SyncAdapter } from "./sync/adapter.ts";
import type { WebSocketHandler } from "./websocket/api.ts";

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
  /** 0 lets the system choose; `server.addresses` tells. @default 3000 */
  readonly port?: number;
  /** Lets several processes listen on the port and share its connections. @default false */
  readonly reusePort?: boolean;
  /** Path of a unix socket; a leading "\0" makes it abstract (Linux). */
  readonly unix?: string;
}

/** What to do when the process is asked to stop. */
export interface ShutdownOptions {
  /** @default ["SIGTERM", "SIGINT"] */
  readonly signals?: readonly NodeJS.Signals[];
  /** Milliseconds until what is in flight is cut. @default 10_000 */
  readonly timeout?: number;
}

/** Options of `serve()`. */
export interface ServeOptions<R extends string = string> extends ListenOptions {
  /**
   * Compresses what handlers answer, for clients that accept it; docs/compression.md says what and
   * what that means for secrets in it. A Response as a route's value goes as it is.
   * @default false
   */
  readonly compress?: boolean | CompressOptions;
  /**
   * Makes the answer when a handler threw. Without it: the error's 4xx status, else 500 and a
   * warning.
   */
  readonly error?: ErrorHandler;
  /** Answers what no route matches, the standard way. Not together with `handler` or `notFound`. */
  readonly fetch?: FetchHandler;
  /** Closes the server on these signals; a second one has its usual effect. @default false */
  readonly gracefulShutdown?: boolean | ShutdownOptions;
  /** Answers what no route matches, the raw way. Not together with `fetch` or `notFound`. */
  readonly handler?: RawHandler;
  /**
   * Paths answered natively with 200, also while JavaScript is busy; `ready` says 503 while
   * draining.
   */
  readonly health?: { readonly live?: string; readonly ready?: string };
  /** Bounds on what peers may send and hold. */
  readonly limits?: LimitOptions;
  /** Several places to listen at, instead of the one above. */
  readonly listen?: readonly ListenOptions[];
  /**
   * Native loop threads; 0 runs the loop on the JavaScript thread. "auto" is 0 up to two CPUs,
   * where a second thread would only take turns with the first, else a quarter of them, at most 4.
   * @default "auto"
   */
  readonly loops?: number | "auto";
  /** Answers when the path has routes but none for the method. @default 405, natively */
  readonly methodNotAllowed?: FetchHandler | RawRoute;
  /**
   * Answers what no route matches, with status 404 unless it sets another. @default 404, natively
   */
  readonly notFound?: FetchHandler | RawRoute;
  /** Patterns and what they lead to. */
  readonly routes?: Routes<R>;
  /** Closes the server when aborted. */
  readonly signal?: AbortSignal;
  /** Says nothing on the terminal when listening begins. @default false */
  readonly silent?: boolean;
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
  /** What `ctx.upgrade()` and `req.upgrade()` make of handshakes on any route. */
  readonly websocket?: WebSocketHandler;
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
}

/** The validated options that are not about routes. */
export interface Settings {
  readonly listeners: readonly ListenSettings[];
  readonly loops: number;
  readonly limits: readonly number[]; // in the order of LIMITS
  readonly shutdown: Required<ShutdownOptions> | undefined;
  readonly signal: AbortSignal | undefined;
  readonly silent: boolean;
  readonly sync: SyncAdapter | undefined;
  readonly topicSpace: string; // "": that of all servers that give none
}

const LISTEN_KEYS = ["backlog", "fd", "hostname", "mode", "port", "reusePort", "unix"] as const;
const SERVE_KEYS = [
  ...LISTEN_KEYS,
  ...[
    "compress",
    "error",
    "fetch",
    "gracefulShutdown",
    "handler",
    "health",
    "limits",
    "listen",
    "loops",
    "methodNotAllowed",
  ],
  ...["notFound", "routes", "signal", "silent", "sync", "timeouts", "topicSpace", "websocket"],
] as const;
const LOOPS_MAX = 64;
const SHUTDOWN_MS_MAX = 86_400_000;
const TOPIC_SPACE_BYTES_MAX = 1024;
// What sockaddr_un holds, less the final NUL.
const UNIX_BYTES_MAX = process.platform === "linux" ? 107 : 103;

/** @throws {MillraceError} ERR_MILLRACE_INVALID_OPTION */
export function validate(options: ServeOptions): Settings {
  checkRecord("serve()", options, SERVE_KEYS);
  checkAnswerers(options);
  if (options.signal !== undefined && !(options.signal instanceof AbortSignal)) {
    throw invalidOption("signal", "must be an AbortSignal", options.signal);
  }
  return {
    listeners: listenersOf(options),
    loops: loopsOf(options.loops),
    limits: limitsOf(options),
    shutdown: shutdownOf(options.gracefulShutdown),
    signal: options.signal,
    silent: options.silent === undefined ? false : truth("silent", options.silent),
    sync: options.sync,
    topicSpace: topicSpaceOf(options.topicSpace),
  };
}

function topicSpaceOf(value: unknown): string {
  if (value === undefined) return "";
  const name = text("topicSpace", value);
  if (Buffer.byteLength(name) <= TOPIC_SPACE_BYTES_MAX) return name;
  const what = `must have at most ${TOPIC_SPACE_BYTES_MAX} bytes`;
  throw invalidOption("topicSpace", what, name);
}

function checkAnswerers(options: ServeOptions): void {
  if (options.error !== undefined) callable("error", options.error);
  if (options.sync !== undefined) callable("sync", options.sync);
  if (options.fetch !== undefined) callable("fetch", options.fetch);
  if (options.handler !== undefined) callable("handler", options.handler);
  const fallbacks = (["fetch", "handler", "notFound"] as const).filter(
    (name) => options[name] !== undefined,
  );
  if (fallbacks.length > 1) {
    throw invalidOption(
      fallbacks.join(" and "),
      "both answer what no route matches; give one of them",
      "both",
    );
  }
  if (options.health !== undefined) {
    checkRecord("health", options.health, ["live", "ready"]);
    if (options.health.live !== undefined) text("health.live", options.health.live);
    if (options.health.ready !== undefined) text("health.ready", options.health.ready);
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
    throw invalidOption("serve()", "needs one of routes, fetch, handler or notFound", undefined);
}

function listenersOf(options: ServeOptions): readonly ListenSettings[] {
  if (options.listen === undefined) return [listenerOf("", options)];
  const { listen } = options;
  if (!Array.isArray(listen) || listen.length === 0)
    throw invalidOption("listen", "must be an array with an entry or more", listen);
  const extra = LISTEN_KEYS.find((key) => options[key] !== undefined);
  if (extra !== undefined)
    throw invalidOption(
      extra,
      "belongs into an entry of listen when listen is given",
      options[extra],
    );
  return listen.map((each: ListenOptions, index) => {
    checkRecord(`listen[${index}]`, each, LISTEN_KEYS);
    return listenerOf(`listen[${index}].`, each);
  });
}

function listenerOf(prefix: string, options: ListenOptions): ListenSettings {
  const { fd, hostname, mode, port, unix } = options;
  const ways = [
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
  const isInternet = fd === undefined && unix === undefined;
  return {
    hostname: isInternet
      ? hostname === undefined
        ? "127.0.0.1"
        : text(`${prefix}hostname`, hostname)
      : "",
    port: isInternet ? (port === undefined ? 3000 : integer(`${prefix}port`, port, 0, 65_535)) : 0,
    unix: unix === undefined ? "" : unixPath(`${prefix}unix`, unix),
    mode: mode === undefined ? -1 : integer(`${prefix}mode`, mode, 0, 0o777),
    fd: fd === undefined ? -1 : integer(`${prefix}fd`, fd, 0, 0x7fff_ffff),
    backlog:
      options.backlog === undefined ? 511 : integer(`${prefix}backlog`, options.backlog, 1, 65_535),
    reusePort:
      options.reusePort === undefined ? false : truth(`${prefix}reusePort`, options.reusePort),
  };
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

function shutdownOf(value: unknown): Required<ShutdownOptions> | undefined {
  if (value === undefined || value === false) return undefined;
  const defaults: Required<ShutdownOptions> = { signals: ["SIGTERM", "SIGINT"], timeout: 10_000 };
  if (value === true) return defaults;
  checkRecord("gracefulShutdown", value, ["signals", "timeout"]);
  const { signals = defaults.signals, timeout = defaults.timeout } = value as ShutdownOptions;
  if (!Array.isArray(signals) || signals.length === 0) {
    throw invalidOption("gracefulShutdown.signals", "must be an array of signal names", signals);
  }
  for (const signal of signals as readonly unknown[]) {
    if (typeof signal !== "string" || !/^SIG[A-Z0-9]+$/.test(signal)) {
      throw invalidOption(
        "gracefulShutdown.signals",
        `holds ${show(signal)}; use names like "SIGTERM"`,
        signals,
      );
    }
  }
  return {
    signals: [...signals],
    timeout: integer("gracefulShutdown.timeout", timeout, 0, SHUTDOWN_MS_MAX, "milliseconds"),
  };
}

/** The timeout of close(). */
export function closeTimeout(options: { readonly timeout?: number } | undefined): number {
  if (options === undefined) return 10_000;
  checkRecord("close()", options, ["timeout"]);
  return options.timeout === undefined
    ? 10_000
    : integer("close() timeout", options.timeout, 0, SHUTDOWN_MS_MAX, "milliseconds");
}
