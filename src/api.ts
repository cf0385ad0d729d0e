// What users implement and what they are handed: types only, so that the parts which make them need
// not know each other.
import type { BodyOptions, Bytes } from "./body.ts";
import type { CookieOptions } from "./cookies.ts";
import type { ReadonlyHeaders } from "./headers.ts";
import type { HeadersInit } from "./lines.ts";
import type { Params } from "./params.ts";

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
 */
export interface Req<P extends string = string> {
  /**
   * Whether the peer has left, or has at least sent its last byte, before the response was
   * complete.
   */
  readonly aborted: boolean;
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
  /** Numeric address of the peer; "" on a unix socket. */
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
  /** The query, parsed. */
  readonly query: URLSearchParams;
  /** The peer's end of the connection. */
  readonly remoteAddress: Address;
  /** The query with its "?", or "". */
  readonly search: string;
  /**
   * Aborted with ERR_MILLRACE_ABORTED when the peer leaves before the response is complete, or
   * closes its side of the connection: nearly always that means it has left, and `res` answers all
   * the same. Made when first read.
   */
  readonly signal: AbortSignal;
  /** The request target, whole, as sent. */
  readonly url: string;

  /**
   * The body. It can be read once, by one of these four.
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
  /** Whether the path begins with `prefix`; makes no string. */
  startsWith(prefix: string): boolean;
  /** The body as UTF-8 text. */
  text(options?: BodyOptions): Promise<string>;
}

/**
 * The response to a raw request. It is owned: legal after `await` and after the peer left.
 *
 * What writes returns false once the peer has left; answering twice throws
 * ERR_MILLRACE_ALREADY_ENDED. Content-Length, Date and Connection are written natively.
 * Content-Type is not guessed.
 */
export interface Res {
  /** "open" until ended; "aborted" when the peer left first. */
  readonly state: "open" | "ended" | "aborted";

  /**
   * Adds a header line and leaves those of the same name. @throws {MillraceError}
   * ERR_MILLRACE_INVALID_HEADER
   */
  append(name: string, value: string | number): this;
  /** Adds a Set-Cookie line. @throws {MillraceError} ERR_MILLRACE_INVALID_HEADER */
  cookie(name: string, value: string, options?: CookieOptions): this;
  /** Keeps the exchange open after the handler has returned; whoever holds `res` answers later. */
  detach(): this;
  /**
   * Sends 103 Early Hints with these Link values ahead of the response. Nothing is sent to HTTP/1.0
   * clients.
   */
  earlyHints(links: string | readonly string[]): this;
  /**
   * Ends the response, with or without a body.
   * @returns false when the peer has left
   * @throws {MillraceError} ERR_MILLRACE_ALREADY_ENDED, ERR_MILLRACE_INVALID_BODY,
   * ERR_MILLRACE_LENGTH_MISMATCH
   */
  end(body?: Bytes): boolean;
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
}

/** A raw handler: answers through `res`, now or later. */
export type RawHandler<P extends string = string> = (req: Req<P>, res: Res) => MaybePromise<void>;

/** What a handler knows besides the Request. Nothing is added to the Request itself. */
export interface Context<P extends string = string> {
  /** Cookies of the request by name. */
  readonly cookies: ReadonlyMap<string, string>;
  /** Whether the connection is encrypted. */
  readonly encrypted: boolean;
  /** X-Request-Id of the request, or one that is made here. */
  readonly id: string;
  /** The address that the server listens on and that the request came through. */
  readonly localAddress: Address;
  /** What the route's parameters and wildcards matched, percent-decoded. */
  readonly params: Params<P>;
  /** How the request came. */
  readonly protocol: "http/1.0" | "http/1.1";
  /** The peer's end of the connection. */
  readonly remoteAddress: Address;
  /** The standard Request. */
  readonly request: Request;
  /** The server that took the request. */
  readonly server: Server;
  /** The same as `request.signal`: aborted when the peer leaves. Made when first read. */
  readonly signal: AbortSignal;

  /** Sends a 1xx response ahead of the final one; HTTP/1.0 clients get none. */
  sendInformational(status: 102 | 103, headers?: HeadersInit): void;
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
 * Makes the answer when a handler threw. Returning nothing leaves the default: the error's 4xx
 * status, or 500.
 */
export type ErrorHandler = (error: unknown, ctx: Context) => MaybePromise<Response | undefined>;

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
  /** Requests per entry into JavaScript. */
  readonly batchSize: { readonly mean: number; readonly max: number };
  /** Bytes received. */
  readonly bytesIn: number;
  /** Bytes handed to the kernel. */
  readonly bytesOut: number;
  /** Open connections. */
  readonly connections: number;
  /**
   * Every counter and gauge of the native side by name, as docs/limits.md and metrics.def have
   * them.
   */
  readonly counters: Readonly<Record<string, number>>;
  /** Open connections without an unanswered request. */
  readonly idle: number;
  /** Requests that have no complete answer yet. */
  readonly inFlight: number;
  /** Requests refused natively, by error code; only what has happened. */
  readonly parseErrors: Readonly<Record<string, number>>;
  /** Milliseconds that requests waited for JavaScript: the event loop's lag as clients feel it. */
  readonly queueDelayMs: { readonly p50: number; readonly p99: number; readonly max: number };
  /** Requests whose head was accepted. */
  readonly requests: number;
  /** Responses by class. */
  readonly responses: Readonly<Record<"1xx" | "2xx" | "3xx" | "4xx" | "5xx", number>>;
  /** Connections or exchanges ended by a timeout, by its name in `timeouts`. */
  readonly timeouts: Readonly<
    Record<"handler" | "headers" | "keepAlive" | "receive" | "write", number>
  >;
}

/** A listening server. */
export interface Server extends AsyncDisposable {
  /** Where it listens; ports are the real ones. */
  readonly addresses: readonly Address[];
  /** Settles when the server has closed, however that came about. */
  readonly closed: Promise<CloseReport>;
  /** Native loop threads; 0 when the loop runs on the JavaScript thread. */
  readonly loops: number;
  /** Numbers, made at each reading. */
  readonly metrics: Metrics;
  /** The kernel interface in use: "epoll", "kqueue". */
  readonly poller: string;
  /** URL of the first address; "unix:/path" for a unix socket. */
  readonly url: string;

  /**
   * Stops listening, closes idle connections, lets what is in flight finish, then cuts what is
   * left. Calling it again gives the same promise.
   * @param options - `timeout`: milliseconds until what is left is cut. @default 10_000
   */
  close(options?: { readonly timeout?: number }): Promise<CloseReport>;
  /** Goes on serving, but says Connection: close and answers the `health.ready` path with 503. */
  drain(): void;
  /** Keeps the process alive while the server is open, as it does from the start. */
  ref(): this;
  /** Lets the process end although the server is open. */
  unref(): this;
}
