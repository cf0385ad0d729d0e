// Declares the native functions and loads the binary. Knows nothing about requests.
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { MillraceError } from "../errors.ts";

/** One row of the native route table. `kind` and `body` are numbers from `tables.ts`. */
export interface NativeRoute {
  readonly method: string; // "" = any
  readonly pattern: string; // "" for fallback and methodNotAllowed
  readonly kind: number; // ROUTE_KIND
  readonly id: number; // 0..65535, comes back in the event
  readonly body: number; // BODY_MODE
  readonly bodyMax: number; // bytes; -1 = the server's limit
  readonly status: number; // static routes
  readonly headers: string; // static routes: "Name: value\r\n" lines, latin1, checked
  readonly content: Uint8Array; // static routes
  readonly file?: NativeFile; // file routes
  readonly socket?: number; // WebSocket routes: index in NativeOptions.sockets
}

/** What the WebSockets of one handler are governed by. */
export interface NativeSocketSettings {
  readonly payloadMax: number; // bytes of a received message
  readonly textMax: number; // likewise of a text
  readonly backlogMax: number; // bytes waiting for the peer
  readonly overflow: number; // 0 close, 1 drop, 2 buffer
  readonly pings: boolean;
  readonly automaticPong: boolean;
  readonly idleTimeout: number; // ms; 0: off
  readonly closeTimeout: number; // ms
  readonly messageTimeout: number; // ms; 0: off
  readonly deflate: {
    readonly level: number; // 1..9
    readonly contextTakeover: boolean;
    readonly peerContextTakeover: boolean;
    readonly windowBits: number; // 9..15
    readonly peerWindowBits: number; // 9..15
    readonly threshold: number; // bytes
  } | null;
}

/** What a file route serves. */
export interface NativeFile {
  readonly path: string;
  readonly isFolder: boolean;
  readonly index: string; // "": none
  readonly type: string; // "": by the name
  readonly dotfiles: number; // ignore, deny, allow
  readonly followLinks: boolean;
  readonly precompressed: boolean;
}

/** What a loop says in place of its own words when it refuses a request. */
export interface NativeRefusal {
  readonly code: number; // index in ERRORS
  readonly status: number;
  readonly headers: string; // "Name: value\r\n" lines, latin1, checked
  readonly content: Uint8Array;
}

export interface NativeListener {
  readonly host: string; // numeric IPv4 or IPv6 address; "" with unix or fd
  readonly port: number;
  readonly unix: string; // path; "\0name" = abstract
  readonly mode: number; // -1 = as umask has it
  readonly fd: number; // -1 = none
  readonly backlog: number;
  readonly reusePort: boolean;
  readonly protocol: string; // "http" or "scgi"
  readonly proxy: number; // PROXY protocol: 0 off, 1 accepted, 2 required
}

export interface NativeOptions {
  readonly loops: number; // 0 = inline host, n = threads
  readonly listeners: readonly NativeListener[];
  readonly routes: readonly NativeRoute[];
  readonly fallback: NativeRoute | null;
  readonly methodNotAllowed: NativeRoute | null;
  readonly refusals?: readonly NativeRefusal[]; // each code once at most
  readonly limits: readonly number[]; // in the order of LIMITS in tables.ts
  readonly sockets?: readonly NativeSocketSettings[]; // at most 1024
  readonly observe?: NativeObservation;
  readonly topicSpace?: string; // "": the one that all servers of the process share
}

/** What requests are matched by. */
export type NativeRouteTable = Pick<NativeOptions, "fallback" | "methodNotAllowed" | "routes">;

/** What loops tell besides what handlers need; nothing when left out. */
export interface NativeObservation {
  readonly connections: boolean; // Connected and Disconnected events of every connection
  readonly access: boolean; // an Access event per answer
  readonly causes: number; // bit by cause: Disconnected events of connections that end so
}

export interface NativeAddress {
  readonly family: "IPv4" | "IPv6" | "unix";
  readonly address: string;
  readonly port: number;
}

/**
 * Called once per batch on the JS thread. `count` events lie in `batch` one behind the other
 * (layout: EVENT in tables.ts; step by the record's size word); `text` holds their texts one behind
 * the other, in the same order.
 */
export type Dispatch = (count: number, text: string) => void;

/** What open() gives: the number for the other calls, and where it listens. */
export interface OpenedServer {
  readonly server: number;
  readonly addresses: readonly NativeAddress[];
  readonly poller: string; // "epoll", …
}

/** A part of a whole body. */
export interface NativePart {
  readonly name: string;
  readonly filename: string | null;
  readonly headers: string;
  readonly begin: number;
  readonly end: number;
}

/** The functions of the addon. */
export interface Binding {
  /**
   * Binds, listens, starts. Throws an Error with `code` (an errno name), `errno`, `syscall` and
   * `listener` (index) when the system refuses, or `code: "ERR_MILLRACE_INVALID_ROUTE"` with
   * `route` (index). `batch` is where events are written; at least 256 KiB.
   */
  open(options: NativeOptions, batch: Uint8Array, dispatch: Dispatch): OpenedServer;
  /**
   * The whole response. `handle` and `generation` are words 2 and 3 of the request event.
   * `statusFlags` is status | COMMAND_FLAG bits << 16. `headers` are latin1 lines "Name:
   * value\r\n". True when it was queued.
   */
  respond(
    handle: number,
    generation: number,
    statusFlags: number,
    headers: string,
    body: string,
  ): boolean;
  /** The same with bytes for a body. */
  respondBytes(
    handle: number,
    generation: number,
    statusFlags: number,
    headers: string,
    body: Uint8Array,
  ): boolean;
  /**
   * `count` responses with short texts. Per response five words: handle, generation, statusFlags,
   * length of its headers, length of its body; `text` holds the headers and the body of each.
   * One whose server was released is dropped.
   */
  respondMany(words: Int32Array, count: number, text: string): void;
  /** A 1xx response ahead of the final one. */
  informational(handle: number, generation: number, status: number, headers: string): boolean;
  /**
   * One Left event follows: when the answer has left, or never will. False when the server has been
   * released.
   */
  tell(handle: number, generation: number): boolean;
  /** The head of a response whose body follows; arguments as for respond(). */
  begin(handle: number, generation: number, statusFlags: number, headers: string): boolean;
  /** Bytes of a response that has begun; a Written event says when they have left. */
  write(handle: number, generation: number, chunk: string): boolean;
  /** The same with bytes, which are copied. */
  writeBytes(handle: number, generation: number, chunk: Uint8Array): boolean;
  /** The end of a response that has begun. `trailers` are lines like headers. */
  finish(handle: number, generation: number, trailers: string): boolean;
  /**
   * Reads a streamed body as a form from now on, with so many bytes of credit. `limits` has parts,
   * fields, files, bytes of a field, of a file, of all, of a part's head, and header fields of it.
   */
  parts(
    handle: number,
    generation: number,
    bytes: number,
    boundary: string,
    limits: Float64Array,
  ): void;
  /** What becomes of a part; one with a filename waits for it. */
  takePart(handle: number, generation: number, number: number, skip: boolean): void;
  /**
   * The whole streamed body, or the part that waits, goes into an open file; a Saved event follows.
   * False when the descriptor could not be duplicated.
   */
  save(
    handle: number,
    generation: number,
    descriptor: number,
    digest: boolean,
    limit: number,
  ): boolean;
  /** The boundary of a Content-Type, or the number of the error in ERRORS. */
  multipartBoundary(contentType: string): string | number;
  /** The parts of a whole body, or the number of the error in ERRORS. Texts are bytes as latin1. */
  decodeParts(bytes: Uint8Array, boundary: string, limits: Float64Array): NativePart[] | number;
  /** So many more bytes of a streamed request body may come as Body events. */
  read(handle: number, generation: number, bytes: number): void;
  /** A file as the response; a File event follows. `texts` as sendFileText() makes them. */
  sendFile(
    handle: number,
    generation: number,
    statusFlags: number,
    headers: string,
    texts: string,
  ): boolean;
  /**
   * Answers a request whose flags have EVENT_FLAG.upgrade with 101; its handle and generation are
   * the socket's from now on. An Opened event follows, then Message, Ping, Pong, Ending events, at
   * last one Ended event (or only Aborted, when the peer left before). What is sent meanwhile
   * goes out behind the 101. `headers` are lines as in respond().
   */
  upgrade(handle: number, generation: number, headers: string, settings: number): boolean;
  /**
   * One frame. `flags`: the opcode (1 text, 2 binary, 9 ping, 10 pong) | COMMAND_FLAG.compress <<
   * 16. Nothing is sent when more than `limit` bytes wait already: then -1. Otherwise the bytes
   * that wait for the peer, this message included. -2: the server was released.
   */
  sendText(handle: number, generation: number, flags: number, limit: number, text: string): number;
  /** The same with bytes, which are copied. */
  sendBytes(
    handle: number,
    generation: number,
    flags: number,
    limit: number,
    bytes: Uint8Array,
  ): number;
  /** Bytes that wait for the peer of a socket, payloads of messages without their heads. */
  buffered(handle: number, generation: number): number;
  /** A Sent event with `number` follows when at most `low` bytes of all sent before still wait. */
  report(handle: number, generation: number, low: number, number: number): void;
  /** Begins the closing handshake behind what was sent. `code` 1005: a close frame without one. */
  closeSocket(handle: number, generation: number, code: number, reason: string): void;
  /** Stops (true) and goes on (false) reading messages; a few may be on their way. */
  hold(handle: number, generation: number, on: boolean): void;
  /** As cut(), for a peer that did not take in time what it was sent. */
  expire(handle: number, generation: number): void;
  /** The socket gets what is published on the topic. Each pair is called once; see publish(). */
  subscribe(handle: number, generation: number, topic: string): void;
  /** Also called for each topic of a socket that is over. */
  unsubscribe(handle: number, generation: number, topic: string): void;
  /**
   * One message to all subscribers in the process, in order with what this thread sends.
   * `flags` as for sendText(). `handle` -1: no socket is left out. Returns how many subscribers
   * there are, the one left out counted too if it is one.
   */
  publish(
    server: number,
    topic: string,
    flags: number,
    data: string | Uint8Array,
    handle: number,
    generation: number,
  ): number;
  /** Subscribers of the topic in the process. */
  subscriberCount(server: number, topic: string): number;
  /**
   * One message to `count` sockets: `words` holds handle and generation of each. With `number` not
   * 0 a Sent event with it follows for each socket when the message has left, or with status 1 at
   * once when it was dropped.
   */
  sendMany(
    words: Int32Array,
    count: number,
    flags: number,
    data: string | Uint8Array,
    number: number,
  ): void;
  /**
   * Connects a WebSocket client on one of the server's loops. `address` is numeric, or a path with
   * `port` 0; or "" with `fd`, a connected socket that is taken over. `request` is the whole
   * handshake, `key` its Sec-WebSocket-Key. An Opened or Refused event with `ticket` follows within
   * `timeoutMs`. False when the descriptor could not be duplicated.
   */
  connect(
    server: number,
    loop: number,
    ticket: number,
    settings: number,
    target: { readonly address: string; readonly port: number; readonly fd: number },
    timeoutMs: number,
    key: string,
    request: string,
  ): boolean;
  /** As takeBody(), for a large text message; undefined when no string can be so long. */
  takeText(blob: number, isAscii: boolean): string | undefined;
  /** Whether there is a zlib: without one, nothing is compressed. */
  hasZlib(): boolean;
  /** Two connected sockets of this process, as descriptors that the caller owns. */
  socketPair(): readonly [number, number];
  /** Resets the exchange's connection. `cause`: a number of CAUSES; `code`: a row of ERRORS. */
  cut(handle: number, generation: number, cause?: number, code?: number): void;
  /**
   * `handle` is any event's of the connection; `index` and `generation` are words 14 and (upper
   * half) 11 of its Request or Connected event. A Disconnected event follows when it is over, at
   * once if it is.
   */
  watchConnection(handle: number, index: number, generation: number): void;
  /** Ends the connection behind what is written, or with a reset. */
  closeConnection(
    handle: number,
    index: number,
    generation: number,
    cause: number,
    reset: boolean,
  ): void;
  /**
   * During dispatch only: the large body of the event whose flags have BODY_IS_BLOB; `blob` is its
   * word 12.
   */
  takeBody(blob: number): Uint8Array;
  /**
   * kind: COMMAND.Drain or COMMAND.Close. After Close every loop sends one Drained event (word 1
   * kind, handle = loop). Of Close: `waitMs` until what is left is cut, `idleMs` until idle
   * connections are ended; until then they may bring one more request. Again: that takes time away.
   * `keepPaths`: files of unix sockets stay, because another process listens there.
   */
  control(server: number, kind: number, waitMs: number, idleMs?: number, keepPaths?: boolean): void;
  /**
   * Requests are matched by other routes from now on; every loop says so by one Rerouted event.
   * Throws as open() does for routes. What was matched before keeps its route, so that the former
   * ones stay in memory.
   */
  reroute(server: number, table: NativeRouteTable): void;
  /**
   * Fills `into` with METRICS.length sums over the loops, counts by ERRORS and by CAUSES, then what
   * src/metrics.ts says of batches and delays; it has room for exactly those.
   */
  metrics(server: number, into: Float64Array): void;
  /** The numbers of the server in Prometheus' text format 0.0.4. "" after release(). */
  prometheus(server: number): string;
  /**
   * Opens a file for appending, or duplicates a descriptor (`path` ""). Lines go to it from a
   * thread of its own; what waits is bounded by `bytesMax`. Returns its number; throws an Error
   * with `code` (an errno name) and `syscall`.
   */
  openLog(path: string, fd: number, bytesMax: number): number;
  /** False: no room, the text was dropped and counted. Order is kept. */
  writeLog(log: number, text: string): boolean;
  /** Returns when all that was written before is with the system, after `ms` at the latest. */
  flushLog(log: number, ms: number): boolean;
  /** Opens the path anew, behind what was written before; `done(errno)` on this thread. */
  reopenLog(log: number, done: (errno: number) => void): void;
  /** Writes all, then closes; `done(errno)` on this thread. The number is dead from here on. */
  closeLog(log: number, done: (errno: number) => void): void;
  /** Texts dropped, bytes that wait, the last errno. */
  logState(log: number): { dropped: number; waiting: number; errno: number };
  /** Descriptors that the process may have; Infinity: unlimited. */
  fdLimit(): { soft: number; hard: number };
  /** Sets the soft limit, Infinity for the highest that the system takes; an errno name, or "". */
  setFdLimit(soft: number): string;
  /** One datagram to a unix socket, as to NOTIFY_SOCKET; an errno name, or "" . */
  sendDatagram(path: string, text: string): string;
  /** Sends duplicates of the server's listening sockets over a connected unix socket. */
  sendListeners(server: number, fd: number, text: string): string;
  /**
   * Connects to a unix socket, sends `greeting` and waits on a pool thread for descriptors and the
   * text that comes with them. `done` on this thread; `fd` is the connection, which goes on.
   */
  receiveListeners(
    path: string,
    greeting: string,
    timeoutMs: number,
    done: (error: string, fds: number[], text: string, fd: number) => void,
  ): void;
  /** Whether the server keeps the process alive. */
  ref(server: number, alive: boolean): void;
  /**
   * After the last Drained event: joins the threads and frees everything. Open servers are released
   * at exit by themselves.
   */
  release(server: number): void;
  /** What this environment holds natively: servers, lanes, undelivered blobs. For leak tests. */
  census(): { servers: number; lanes: number; blobs: number };
}

let loaded: Binding | undefined;

/** The native functions; loads the binary at the first call. */
export function binding(): Binding {
  loaded ??= load();
  return loaded;
}

/**
 * Puts other functions in place of the binary: unit tests drive the TypeScript side alone with it.
 */
export function setBinding(other: Binding): void {
  loaded = other;
}

function load(): Binding {
  const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
  const require = createRequire(import.meta.url);
  if (process.platform !== "linux" && process.platform !== "darwin") {
    throw new MillraceError(
      "ERR_MILLRACE_UNSUPPORTED_PLATFORM",
      `millrace runs on Linux and macOS, this is ${process.platform}; on Windows use WSL 2`,
    );
  }
  try {
    const explicit = process.env["MILLRACE_ADDON"];
    return (explicit ? require(explicit) : findPrebuilt(require, root)) as Binding;
  } catch (cause) {
    const found = `${process.platform}-${process.arch}, ${libc() || "no libc variants"}`;
    const message =
      `no native binary for this platform (${found}) in ${join(root, "prebuilds")} or ` +
      `${join(root, "build", "Release")}; run "npx millrace-build" (needs a C++20 compiler and Python)`;
    throw new MillraceError("ERR_MILLRACE_NO_BINARY", message, { cause });
  }
}

// node-gyp-build knows musl only where it is Alpine's; the variable it reads helps it on others.
function findPrebuilt(require: NodeJS.Require, root: string): unknown {
  const before = process.env["LIBC"];
  if (before === undefined && libc() === "musl") process.env["LIBC"] = "musl";
  try {
    return require("node-gyp-build")(root);
  } finally {
    if (before === undefined) delete process.env["LIBC"];
  }
}

function libc(): "glibc" | "musl" | "" {
  if (process.platform !== "linux") return "";
  // Without the network part, which may look names up (Node 22 and newer know the switch).
  const report = process.report as { excludeNetwork?: boolean; getReport(): object };
  const before = report.excludeNetwork;
  report.excludeNetwork = true;
  const { header } = report.getReport() as { header: { glibcVersionRuntime?: string } };
  if (before !== undefined) report.excludeNetwork = before;
  return header.glibcVersionRuntime === undefined ? "musl" : "glibc";
}
