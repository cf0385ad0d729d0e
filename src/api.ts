// What users implement and what they are handed: types only, so that the parts which make them need
// not know each other.
import type { Writable } from "node:stream";
import type { AccelOptions } from "./accel.ts";
import type { BodyOptions, Bytes } from "./body.ts";
import type { Connection } from "./connection/api.ts";
import type { CookieOptions } from "./cookies.ts";
import type { EventStream, EventStreamOptions } from "./events.ts";
import type { SendFileOptions } from "./files.ts";
import type { ReadonlyHeaders } from "./headers.ts";
import type { Receipt, ReceiveOptions } from "./incoming.ts";
import type { HeadersInit } from "./lines.ts";
import type { LogLevel } from "./logging/levels.ts";
import type { MultipartOptions, Part } from "./multipart.ts";
import type { CAUSES } from "./native/tables.ts";
import type { DrainOptions } from "./outgoing.ts";
import type { Params } from "./params.ts";
import type { ReloadOptions } from "./reload.ts";
import type { ServerCloseOptions } from "./restart/options.ts";
import type { SavedFile, SaveOptions } from "./saving.ts";
import type { Source } from "./sources.ts";
import type {
  PublishOptions,
  SendManyOptions,
  SendManyReport,
  Socket,
  UpgradeOptions,
} from "./websocket/api.ts";

/** A value or a promise of it. */
export type MaybePromise<T> = T | Promise<T>;

/** An end of a connection, or where a server listens. */
export interface Address {
  /** "unix" for unix-domain sockets. */
  readonly family: "IPv4" | "IPv6" | "unix";
  /** Numeric address, or the path of a unix socket ("" for its anonymous peer). */
  readonly address: string;
  /** 0 for unix sockets. */
  readonly port: number;
}

/**
 * A request as a raw handler gets it. It is owned: legal after `await`, after the peer left, after
 * the response ended.
 *
 * Everything is as the peer sent it unless a member says otherwise.
 *
 * `for await (const chunk of req)` reads the body. On a route with `body: "stream"` it comes while
 * it
 * is read: a slow reader slows the peer down, leaving the loop early drops the rest. It ends with
 * ERR_MILLRACE_ABORTED when the peer leaves, and with the code of what is wrong with the body.
 */
export interface Req<P extends string = string> extends AsyncIterable<Uint8Array> {
  /**
   * Whether the peer has left, or has at least sent its last byte, before the response was
   * complete.
   */
  readonly aborted: boolean;
  /** The connection that the request came on: the same object for all of its requests. */
  readonly connection: Connection;
  /**
   * Content-Length as a number; undefined when the request has none (no body, or a chunked one).
   */
  readonly contentLength: number | undefined;
  /** What a fetch-style handler gets besides the Request. */
  readonly ctx: Context<P>;
  /** Header fields. */
  readonly headers: ReadonlyHeaders;
  /** "1.1" or "1.0". */
  readonly httpVersion: "1.0" | "1.1";
  /**
   * Numeric address of the client: the peer's, or what those that the option trustProxy names say,
   * or REMOTE_ADDR of SCGI; "" for a unix socket.
   */
  readonly ip: string;
  /** Method, exactly as sent: methods are case-sensitive. */
  readonly method: string;
  /**
   * What the route's parameters and wildcards matched, percent-decoded; malformed escapes are left
   * as sent.
   */
  readonly params: Params<P>;
  /** Path without the query, still percent-encoded. */
  readonly path: string;
  /** The other end of the connection, or the source that a header of the PROXY protocol names. */
  readonly peerAddress: Address;
  /** The query, parsed. */
  readonly query: URLSearchParams;
  /** The client's address, as `ip`; port 0 when nobody says. */
  readonly remoteAddress: Address;
  /** The variables of a request by SCGI, by their CGI names; undefined for one by HTTP. */
  readonly scgi: ReadonlyMap<string, string> | undefined;
  /** The query with its "?", or "". */
  readonly search: string;
  /**
   * Aborted with ERR_MILLRACE_ABORTED when the peer leaves before the response is complete, or
   * closes its side of the connection: nearly always that means it has left, and `res` answers all
   * the same. Made when first read.
   */
  readonly signal: AbortSignal;
  /**
   * Trailer fields of a chunked body (RFC 9110 6.5); resolves when the body has come. On a route
   * with `body: "stream"` that takes somebody who reads it to its end: ask when reading has begun,
   * and wait for them behind it. Rejects with ERR_MILLRACE_BODY_USED when nobody has begun, or when
   * the body was left before its end.
   */
  readonly trailers: Promise<ReadonlyHeaders>;
  /** The request target, whole, as sent. */
  readonly url: string;

  /**
   * The body, whole. It can be read once, in one way. On a route with `body: "stream"` at most
   * limits.maxRequestBodySize bytes are collected.
   * @throws {MillraceError} ERR_MILLRACE_BODY_USED, ERR_MILLRACE_BODY_TOO_LARGE (as rejections)
   */
  bytes(options?: BodyOptions): Promise<Uint8Array>;
  /**
   * The body as application/x-www-form-urlencoded.
   * @throws {MillraceError} ERR_MILLRACE_UNSUPPORTED_MEDIA_TYPE when Content-Type says
   * something else
   */
  form(options?: BodyOptions): Promise<URLSearchParams>;
  /** Whether the path is exactly `path`; makes no string. */
  is(path: string): boolean;
  /** Whether the method is exactly `method`; makes no string. */
  isMethod(method: string): boolean;
  /**
   * The body as JSON.
   * @throws {MillraceError} ERR_MILLRACE_BAD_JSON; when a handler lets it escape, the answer is 400
   */
  json<T = unknown>(options?: BodyOptions): Promise<T>;
  /**
   * The parts of a multipart/form-data body (RFC 7578), one after the other:
   * `for await (const part of req.multipart())`. On a route with `body: "stream"` they come while
   * they
   * are read; leaving the loop drops the rest. What is wrong with the body ends the loop with a
   * coded
   * error, so does a peer that leaves or stalls.
   * @throws {MillraceError} ERR_MILLRACE_UNSUPPORTED_MEDIA_TYPE (415), ERR_MILLRACE_BAD_MULTIPART,
   * ERR_MILLRACE_MULTIPART_LIMIT, ERR_MILLRACE_PART_HEADERS_TOO_LARGE, ERR_MILLRACE_INVALID_OPTION
   */
  multipart(options?: MultipartOptions): AsyncIterableIterator<Part>;
  /**
   * Writes the body into a file: into a temporary one beside it, renamed at the end, removed when
   * anything fails. On a route with `body: "stream"` native threads write and no byte passes
   * JavaScript.
   * @throws {MillraceError} ERR_MILLRACE_SAVE_FAILED (507 when the disk is full, 409 when what is
   * there may not be replaced; `cause.code` names the system's reason), ERR_MILLRACE_ABORTED,
   * ERR_MILLRACE_BODY_USED, ERR_MILLRACE_BODY_TOO_LARGE, ERR_MILLRACE_GAVE_UP (as rejections)
   */
  saveTo(path: string, options?: SaveOptions): Promise<SavedFile>;
  /**
   * The body by states: "progress" with a chunk, "try-again" when nothing came for `waitMs`, then
   * once
   * "complete" or "fail". Does not throw for the peer's sake; when nothing comes for `giveUpMs`, or
   * the whole not within `totalMs`, the connection is cut.
   * @throws {MillraceError} ERR_MILLRACE_INVALID_OPTION
   */
  receive(options?: ReceiveOptions): AsyncIterableIterator<Receipt>;
  /** Whether the path begins with `prefix`; makes no string. */
  startsWith(prefix: string): boolean;
  /** The body as UTF-8 text. */
  text(options?: BodyOptions): Promise<string>;
  /**
   * Answers a WebSocket handshake with 101. What is sent at once goes out behind it; when the
   * client has left before, `opened` rejects and no handler hears of it. Takes the option
   * `websocket`.
   * @throws {MillraceError} ERR_MILLRACE_WS_HANDSHAKE when it is none, ERR_MILLRACE_WS_ORIGIN,
   * ERR_MILLRACE_INVALID_OPTION, ERR_MILLRACE_INVALID_HEADER, ERR_MILLRACE_ALREADY_ENDED
   */
  upgrade<D = unknown>(options?: UpgradeOptions<D>): Socket<D>;
}

/**
 * The response to a raw request. It is owned: legal after `await` and after the peer left.
 *
 * What writes returns false once the peer has left; answering twice throws
 * ERR_MILLRACE_ALREADY_ENDED. Content-Length, Date and Connection are written natively.
 * Content-Type is not guessed.
 */
export interface Res {
  /**
   * True once all of the response is with the kernel, its last byte too; false when the peer, or
   * the server, has ended the connection before, or the loop has answered in place of the handler
   * (`timeouts.handler`). Ask before the response ends: `const { delivered } = res`. It says
   * nothing of what the peer has read. Never rejects.
   * @throws {MillraceError} ERR_MILLRACE_ALREADY_ENDED when it is first read after the end
   */
  readonly delivered: Promise<boolean>;
  /**
   * "open" until something of the response was sent, "streaming" until it has ended; "aborted" when
   * the peer left first.
   */
  readonly state: "open" | "streaming" | "ended" | "aborted";
  /** Bytes written that the kernel has not taken yet. */
  readonly writableLength: number;

  /**
   * Ends the response and leaves the body to the front end: nginx answers from an internal location
   * (X-Accel-Redirect), Apache and lighttpd from a file (option `header`).
   * @param uri - begins with "/"; spaces and characters beyond ASCII are percent-encoded, escapes
   * stay
   * @throws {MillraceError} ERR_MILLRACE_INVALID_OPTION
   */
  accel(uri: string, options?: AccelOptions): boolean;
  /**
   * Adds a header line and leaves those of the same name. @throws {MillraceError}
   * ERR_MILLRACE_INVALID_HEADER
   */
  append(name: string, value: string | number): this;
  /**
   * Whether this response is compressed where the option `compress` is on: false, never; true, also
   * when its type or length says otherwise. Nothing else changes: it takes a client that accepts
   * it.
   * @throws {MillraceError} ERR_MILLRACE_INVALID_OPTION
   */
  compress(isOn: boolean): this;
  /** Adds a Set-Cookie line. @throws {MillraceError} ERR_MILLRACE_INVALID_HEADER */
  cookie(name: string, value: string, options?: CookieOptions): this;
  /**
   * Resolves when the peer has taken so much that it is worth writing on; at once when nothing
   * waits.
   * @throws {MillraceError} ERR_MILLRACE_ABORTED, ERR_MILLRACE_GAVE_UP (as rejections)
   */
  drained(options?: DrainOptions): Promise<void>;
  /** Keeps the exchange open after the handler has returned; whoever holds `res` answers later. */
  detach(): this;
  /**
   * Sends 103 Early Hints with these Link values ahead of the response. Nothing is sent to HTTP/1.0
   * clients.
   */
  earlyHints(links: string | readonly string[]): this;
  /**
   * Ends the response, with or without a body; of one that has begun, with or without last bytes.
   * What is unread of a streamed request body is dropped.
   * @param trailers - fields behind a chunked body (RFC 9110 6.5); HTTP/1.0 clients get none
   * @returns false when the peer has left
   * @throws {MillraceError} ERR_MILLRACE_ALREADY_ENDED, ERR_MILLRACE_INVALID_BODY,
   * ERR_MILLRACE_LENGTH_MISMATCH
   */
  end(body?: Bytes, trailers?: HeadersInit): boolean;
  /**
   * Begins a stream of server-sent events, with the headers that it takes unless they are set. It
   * stays open after the handler has returned, until it is closed or the peer leaves.
   * @throws {MillraceError} ERR_MILLRACE_INVALID_OPTION, ERR_MILLRACE_HEADERS_SENT,
   * ERR_MILLRACE_ALREADY_ENDED, ERR_MILLRACE_INVALID_HEADER, ERR_MILLRACE_INVALID_STATUS (204, 205
   * and 304 have no body)
   */
  events(options?: EventStreamOptions): EventStream;
  /**
   * Ends the response with a file: found, judged and sent natively, with ETag, Last-Modified,
   * conditional requests, ranges, and the precompressed file beside it. Resolves when it is on its
   * way. With another status than 200 the file goes whole, whatever the request says. Where
   * Content-Encoding is set, the file is what it says, and none beside it is looked for. A failure
   * that nobody waits for is answered by its status once the handler has returned, unless
   * `detach()` was called.
   * @param path - of the file; below `root` when that is given, which nothing in the path can leave
   * @throws {MillraceError} ERR_MILLRACE_FILE_NOT_FOUND (404), ERR_MILLRACE_FILE_FAILED (403, 500,
   * 503): nothing has been sent then, another answer is possible; ERR_MILLRACE_ABORTED (as
   * rejections)
   */
  file(path: string, options?: SendFileOptions): Promise<void>;
  /**
   * Replaces the header lines of that name; an array makes several. @throws {MillraceError}
   * ERR_MILLRACE_INVALID_HEADER
   */
  header(name: string, value: string | number | readonly string[]): this;
  /**
   * Sends a 1xx response ahead of the final one; HTTP/1.0 clients get none.
   * @param status - 100, or 102 to 199
   * @returns false when nothing was sent
   */
  informational(status: number, headers?: HeadersInit): boolean;
  /** Ends with JSON; Content-Type becomes application/json unless it is set. */
  json(value: unknown): boolean;
  /**
   * Ends with a redirect.
   * @param to - a path or URL; characters beyond ASCII are percent-encoded
   * @param status - 301, 302, 303, 307 or 308. @default 302
   */
  redirect(to: string, status?: number): boolean;
  /** Status, body and headers in one call. */
  send(status: number, body?: Bytes, headers?: HeadersInit): boolean;
  /**
   * Sets the status.
   * @param code - 200 to 599
   * @throws {MillraceError} ERR_MILLRACE_INVALID_STATUS
   */
  status(code: number): this;
  /**
   * Sends what `source` gives, as fast as the peer takes it, and ends the response. Status and
   * headers go with the first bytes: until then a source that fails leaves the answer open. The
   * source is let go (cancelled, destroyed, returned) when the peer leaves, and at once for HEAD. A
   * failure that nobody waits for is answered with 500 and told of, as that of a handler is, unless
   * `detach()` was called.
   * @throws {MillraceError} ERR_MILLRACE_ABORTED, ERR_MILLRACE_GAVE_UP, ERR_MILLRACE_SOURCE_FAILED,
   * ERR_MILLRACE_LENGTH_MISMATCH, ERR_MILLRACE_HEADERS_SENT (as rejections)
   */
  stream(source: Source, options?: StreamOptions): Promise<void>;
  /**
   * Sends bytes; the first call sends status and headers too. Without a Content-Length the body is
   * chunked, or for HTTP/1.0 clients ends with the connection.
   * @returns false when more than 128 KiB wait for the peer: go on after `drained()`; or it has
   * left
   * @throws {MillraceError} ERR_MILLRACE_ALREADY_ENDED, ERR_MILLRACE_INVALID_BODY,
   * ERR_MILLRACE_LENGTH_MISMATCH, ERR_MILLRACE_BUFFER_FULL
   */
  write(chunk: Bytes): boolean;
  /**
   * The response as a Node Writable: what is written to it is sent as by `write()`, at the peer's
   * pace, and its end ends the response. It is destroyed with ERR_MILLRACE_ABORTED or
   * ERR_MILLRACE_GAVE_UP when the peer leaves or is given up. Destroying it is a failure as that of
   * a source of `stream()`: until the first byte the answer stays open, then the connection is cut.
   * HEAD: what is written is dropped.
   * @throws {MillraceError} ERR_MILLRACE_INVALID_OPTION, ERR_MILLRACE_INVALID_HEADER,
   * ERR_MILLRACE_HEADERS_SENT, ERR_MILLRACE_ALREADY_ENDED
   */
  writable(options?: StreamOptions): Writable;
}

/**
 * How `res.stream()` and `res.writable()` send. `giveUpMs` bounds the whole of the former, from the
 * call to the last byte, and each wait for the peer of the latter.
 */
export interface StreamOptions extends DrainOptions {
  /**
   * Bytes of the whole, for Content-Length; the connection is cut when the source has more or less.
   */
  readonly length?: number;
  /** Called at the end; the fields follow a chunked body (RFC 9110 6.5). */
  readonly trailers?: () => HeadersInit;
}

/** What a raw handler may return: anything, and nobody looks at it, but a Response or a promise. */
export type RawResult =
  // biome-ignore lint/suspicious/noConfusingVoidType: a function without return is meant, too.
  | void
  | (bigint | boolean | null | number | string | symbol | undefined)
  | (object & { readonly bodyUsed?: never; readonly then?: never });

/** A raw handler: answers through `res`, now or later. It is over when its promise is. */
export type RawHandler<P extends string = string> = (
  req: Req<P>,
  res: Res,
) => MaybePromise<RawResult>;

/** What a handler knows besides the Request. Nothing is added to the Request itself. */
export interface Context<P extends string = string> {
  /** As `req.connection`. */
  readonly connection: Connection;
  /** As `res.delivered`: of the Response, to be asked for before the handler returns it. */
  readonly delivered: Promise<boolean>;
  /** Cookies of the request by name. */
  readonly cookies: ReadonlyMap<string, string>;
  /** Whether the client's connection is encrypted, as those that are trusted say. */
  readonly encrypted: boolean;
  /** X-Request-Id of the request, or one that is made here. */
  readonly id: string;
  /** The address that the server listens on and that the request came through. */
  readonly localAddress: Address;
  /** What the route's parameters and wildcards matched, percent-decoded. */
  readonly params: Params<P>;
  /** How the request came. */
  readonly protocol: "http/1.0" | "http/1.1" | "scgi";
  /** The client's address, as `req.remoteAddress`. */
  readonly remoteAddress: Address;
  /** The standard Request. */
  readonly request: Request;
  /** The server that took the request. */
  readonly server: Server;
  /** The same as `request.signal`: aborted when the peer leaves. Made when first read. */
  readonly signal: AbortSignal;
  /** The field traceparent (W3C Trace Context) of the request, when it is valid. */
  readonly traceparent: string | undefined;

  /** As `req.multipart()`; not together with reading the Request's body. */
  multipart(options?: MultipartOptions): AsyncIterableIterator<Part>;
  /** Sends a 1xx response ahead of the final one; HTTP/1.0 clients get none. */
  sendInformational(status: 102 | 103, headers?: HeadersInit): void;
  /**
   * Makes the Response that, when the handler returns it, answers a WebSocket handshake with 101.
   * Takes the option `websocket`.
   * @throws {MillraceError} ERR_MILLRACE_WS_HANDSHAKE when it is none, ERR_MILLRACE_WS_ORIGIN,
   * ERR_MILLRACE_INVALID_OPTION, ERR_MILLRACE_INVALID_HEADER
   */
  upgrade<D = unknown>(options?: UpgradeOptions<D>): Response;
  /**
   * Keeps `server.close()` waiting for `promise`, within its timeout; a rejection becomes a
   * warning.
   */
  waitUntil(promise: Promise<unknown>): void;
}

/** A standard handler: Request in, Response out. */
export type FetchHandler<P extends string = string> = (
  request: Request,
  ctx: Context<P>,
) => MaybePromise<Response>;

/**
 * Makes the answer when a handler threw. Returning nothing leaves the default: 4xx where `status`
 * or `statusCode` of the Error says so, else 500. Its message is sent where it has `expose: true`.
 */
export type ErrorHandler = (error: unknown, ctx: Context) => MaybePromise<Response | undefined>;

/**
 * Is told that a server has begun to stop: by `close()`, `drain()`, a signal of `gracefulShutdown`,
 * the option `signal`, or because it was handed over. `close()` waits for its promise, within its
 * timeout; what it throws, or rejects with, is logged (ERR_MILLRACE_HANDLER_FAILED).
 */
export type ShutdownCallback = (server: Server) => unknown;

/** What `server.close()` did. */
export interface CloseReport {
  /** Exchanges that were answered after closing began. */
  readonly completed: number;
  /** Exchanges that were cut at the deadline. */
  readonly forced: number;
}

/** Numbers of one server, at the time of reading. Counters begin with the server. */
export interface Metrics {
  /** Exchanges whose peer left before the answer was complete. */
  readonly aborted: number;
  /** Records of the access log that were dropped because nobody took them in time. */
  readonly accessDropped: number;
  /** Requests per entry into JavaScript. */
  readonly batchSize: { readonly mean: number; readonly max: number };
  /** Bytes received. */
  readonly bytesIn: number;
  /** Bytes handed to the kernel. */
  readonly bytesOut: number;
  /** Connections that are over, by why. */
  readonly closed: Readonly<Record<(typeof CAUSES)[number]["name"], number>>;
  /** Open connections. */
  readonly connections: number;
  /**
   * Every counter and gauge of the native side by name; docs/operations.md has them as Prometheus
   * spells them.
   */
  readonly counters: Readonly<Record<string, number>>;
  /** Open connections without an unanswered request. */
  readonly idle: number;
  /** Requests that have no complete answer yet. */
  readonly inFlight: number;
  /** Records of the log that were dropped because nobody took them in time. */
  readonly logDropped: number;
  /** Requests refused natively, by error code; only what has happened. */
  readonly parseErrors: Readonly<Record<string, number>>;
  /** Milliseconds that requests waited for JavaScript: the event loop's lag as clients feel it. */
  readonly queueDelayMs: { readonly p50: number; readonly p99: number; readonly max: number };
  /** Requests whose head was accepted. */
  readonly requests: number;
  /** Responses by class. */
  readonly responses: Readonly<Record<"1xx" | "2xx" | "3xx" | "4xx" | "5xx", number>>;
  /** Requests answered with 503 because JavaScript did not keep up (`limits.maxQueueDelay`). */
  readonly shed: number;
  /** Connections or exchanges ended by a timeout, by its name in `timeouts`. */
  readonly timeouts: Readonly<
    Record<"handler" | "headers" | "keepAlive" | "receive" | "write", number>
  >;
  /** Open WebSockets. */
  readonly webSockets: number;
}

/** A listening server. */
export interface Server extends AsyncDisposable {
  /** Where it listens; ports are the real ones. */
  readonly addresses: readonly Address[];
  /**
   * The open connections that are known: all where there is `onConnect` or `onClose`, else those
   * that somebody has asked for.
   */
  readonly connections: Iterable<Connection>;
  /** Settles when the server has closed, however that came about. */
  readonly closed: Promise<CloseReport>;
  /** Its number among the servers of this thread, from 1 on. */
  readonly id: number;
  /**
   * The lowest level that is logged. What the level of the start did not let pass of the ends of
   * connections is told, when the level goes down, of those that bring a request from then on.
   */
  logLevel: LogLevel;
  /** The option `name`. */
  readonly name: string;
  /** Native loop threads; 0 when the loop runs on the JavaScript thread. */
  readonly loops: number;
  /** Numbers, made at each reading. */
  readonly metrics: Metrics;
  /** The kernel interface in use: "epoll", "kqueue". */
  readonly poller: string;
  /**
   * Aborted with ERR_MILLRACE_CLOSED when the server has begun to stop, however that came about:
   * for what would not end by itself, as streams, long polls and timers.
   */
  readonly signal: AbortSignal;
  /** The WebSockets whose readyState is 1; a live view. */
  readonly sockets: ReadonlySet<Socket>;
  /** Whether it has begun to stop: `signal` is aborted. */
  readonly stopping: boolean;
  /** URL of the first address; "unix:/path" for a unix socket. */
  readonly url: string;

  /**
   * Stops listening, closes idle connections, lets what is in flight finish, then cuts what is
   * left. Calling it again gives the same promise.
   * @param options - `timeout`: milliseconds until what is left is cut. @default 10_000
   */
  close(options?: ServerCloseOptions): Promise<CloseReport>;
  /** Goes on serving, but says Connection: close and answers the `health.ready` path with 503. */
  drain(): void;
  /**
   * Calls `callback` once, when the server has begun to stop: at once after `signal`, in the order
   * of registration, none waiting for another; soon, when it has begun already. It must not wait
   * for `closed`, which waits for it.
   * @returns a function that takes it back
   * @throws {MillraceError} ERR_MILLRACE_INVALID_OPTION
   */
  onShutdown(callback: ShutdownCallback): () => void;
  /**
   * The numbers in Prometheus' text format 0.0.4; "" once the server has closed. The option
   * `health.metrics` answers with the same, without JavaScript.
   */
  prometheus(): string;
  /**
   * Sends a message to all WebSockets that have subscribed to a topic, in all threads of the
   * process.
   * @returns how many subscribers there are, those of other hosts not counted
   * @throws {MillraceError} ERR_MILLRACE_INVALID_OPTION, ERR_MILLRACE_INVALID_BODY
   */
  publish(topic: string, data: Bytes, options?: PublishOptions): number;
  /** Keeps the process alive while the server is open, as it does from the start. */
  ref(): this;
  /**
   * Exchanges routes and handlers, all of them, while connections stay: requests whose head comes
   * after it has resolved get the new ones, those that were matched before keep theirs, and so do
   * open WebSockets. The options are those of `serve()`; what is left out is gone, and everything
   * else is as it was. Former routes stay in memory until the server closes.
   * @throws {MillraceError} ERR_MILLRACE_INVALID_OPTION, also for a WebSocketHandler with limits,
   * timeouts or compression that none of `serve()` had, its option `websocket` among them, and for
   * more than 65 535 handlers in all, ERR_MILLRACE_INVALID_ROUTE, ERR_MILLRACE_CLOSED: nothing has
   * changed then (as rejections)
   */
  reload<const R extends string>(options: ReloadOptions<R>): Promise<void>;
  /**
   * Sends one message to many WebSockets of this server, each of them once: slow ones do not delay
   * the others. Resolves when each has taken it or failed.
   * @throws {MillraceError} ERR_MILLRACE_INVALID_OPTION for what is no socket of this server,
   * ERR_MILLRACE_INVALID_BODY
   */
  sendMany(
    sockets: Iterable<Socket>,
    data: Bytes,
    options?: SendManyOptions,
  ): Promise<SendManyReport>;
  /** Subscribers of a topic in all threads of the process. */
  subscriberCount(topic: string): number;
  /** Lets the process end although the server is open. */
  unref(): this;
}
