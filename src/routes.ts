// The routes object: its types, and how it becomes the rows of the native route table.
import type { FetchHandler, RawHandler } from "./api.ts";
import { checkRecord, invalidOption, invalidRoute, nearest, oneOf } from "./check.ts";
import { type Compression, type CompressOptions, compressionOf } from "./compress.ts";
import { MillraceError, show } from "./errors.ts";
import { type FileRoute, type FileSource, fileSourceOf } from "./files.ts";
import { HeaderLines } from "./lines.ts";
import type { NativeRefusal, NativeRoute, NativeSocketSettings } from "./native/binding.ts";
import { BODY_MODE, ROUTE_KIND } from "./native/tables.ts";
import { checkPattern, paramsOf } from "./pattern.ts";
import { compileRefusals } from "./refusals.ts";
import type { Target } from "./service.ts";
import type { UpgradedHandler, WebSocketHandler } from "./websocket/api.ts";
import { compileHandler, HANDLER_KEYS, type SocketHandler } from "./websocket/handler.ts";
import { socketRoute } from "./websocket/route.ts";

const RAW: unique symbol = Symbol.for("millrace.raw");

/**
 * A raw handler, marked so that it is told from a fetch handler without looking at its arguments.
 */
export interface RawRoute<P extends string = string> {
  readonly [RAW]: RawHandler<P>;
}

/**
 * Gives the handler as it is: `data` of its sockets is what `upgrade` gives, and the parameters are
 * those of the route's pattern, without writing either down. `upgrade` goes first.
 *
 * @example
 * ```ts
 * import { serve, websocket } from "millrace";
 * await serve({
 *   port: 0,
 *   routes: {
 *     "/rooms/:room": websocket({
 *       upgrade: (_request, ctx) => ({ data: { room: ctx.params.room } }),
 *       open: (ws) => ws.subscribe(ws.data.room),
 *     }),
 *   },
 * });
 * ```
 */
export function websocket<D = unknown, P extends string = string>(
  handler: WebSocketHandler<D, P>,
): WebSocketHandler<D, P> {
  return handler;
}

/**
 * Marks a handler as raw: it gets `(req, res)` and answers through `res`. The fast path.
 *
 * @example
 * ```ts
 * import { raw, serve } from "millrace";
 * await serve({
 *   port: 0,
 *   routes: { "/users/:id": raw((req, res) => void res.json({ id: req.params.id })) },
 * });
 * ```
 */
export function raw<P extends string = string>(handler: RawHandler<P>): RawRoute<P> {
  if (typeof handler !== "function") throw invalidOption("raw()", "takes a function", handler);
  return { [RAW]: handler };
}

/** What one route may have besides handlers. */
export interface RouteOptions {
  /**
   * What happens to request bodies: "buffer" calls the handler when the body is complete, "sized"
   * does that too but refuses bodies of unknown length with 411, "none" calls the handler at once,
   * without the body, which is dropped (`limits.maxDiscardedBody`, with `maxBodySize: 0` 413),
   * "stream" calls the handler at once: the body comes while it is read.
   * @default "buffer"
   */
  readonly body?: "buffer" | "none" | "sized" | "stream";
  /**
   * Whether, or how, answers are compressed; what an object leaves out is as the server has it.
   * @default as the server's `compress`
   */
  readonly compress?: boolean | CompressOptions;
  /**
   * Most bytes of a request body. Beyond: 413.
   * @default limits.maxRequestBodySize; no bound for "none" and "stream", which hold none of it
   */
  readonly maxBodySize?: number;
}

/**
 * What answers: a fixed Response or files (natively, without JavaScript), a fetch handler, or a raw
 * one.
 */
export type RouteAnswer<P extends string = string> =
  | Response
  | FileRoute
  | FetchHandler<P>
  | RawRoute<P>;

/** Answers by method. HEAD comes with GET, OPTIONS and 405 with Allow come by themselves. */
export interface MethodTable<P extends string = string> extends RouteOptions {
  readonly DELETE?: RouteAnswer<P>;
  readonly GET?: RouteAnswer<P> | WebSocketHandler<unknown, P>;
  readonly HEAD?: RouteAnswer<P>;
  readonly OPTIONS?: RouteAnswer<P>;
  readonly PATCH?: RouteAnswer<P>;
  readonly POST?: RouteAnswer<P>;
  readonly PUT?: RouteAnswer<P>;
}

/**
 * What a pattern leads to. A handler alone takes every method, a Response, file() or dir() alone
 * GET and HEAD, a WebSocketHandler nothing but WebSocket handshakes.
 */
export type RouteValue<P extends string = string> =
  | RouteAnswer<P>
  | MethodTable<P>
  | WebSocketHandler<unknown, P>;

/**
 * Patterns and what they lead to. Segments are literal, `:name` (or `@name`), `*` (also `prefix*`,
 * `*suffix`), or `**` for one or more segments. Literal goes before `:name`, then `*`, then `**`,
 * whatever their order here.
 */
export type Routes<R extends string = string> = { readonly [P in R]: RouteValue<P> };

/** Paths that loops answer about the server itself. */
export interface HealthPaths {
  readonly live?: string;
  readonly metrics?: string;
  readonly ready?: string;
}

/** The part of the options that says who answers. */
export interface RouteSources {
  readonly compress?: boolean | CompressOptions;
  readonly fetch?: FetchHandler;
  readonly handler?: RawHandler;
  readonly health?: HealthPaths;
  readonly methodNotAllowed?: FetchHandler | RawRoute;
  readonly notFound?: FetchHandler | RawRoute;
  readonly refusals?: unknown;
  readonly routes?: Readonly<Record<string, unknown>>;
  readonly websocket?: UpgradedHandler;
}

/** What open() takes about routes, and the handlers by route number. */
export interface RouteTable {
  readonly rows: readonly NativeRoute[];
  readonly targets: Target[];
  readonly fallback: NativeRoute | null;
  readonly methodNotAllowed: NativeRoute | null;
  readonly refusals: readonly NativeRefusal[];
  /** What native rows of WebSockets refer to by index. */
  readonly sockets: readonly NativeSocketSettings[];
  /** The handlers of WebSockets, that of the option `websocket` too. */
  readonly handlers: readonly SocketHandler[];
  readonly websocket: SocketHandler | undefined;
}

interface Tables {
  readonly targets: Target[];
  readonly sockets: NativeSocketSettings[];
  readonly handlers: SocketHandler[];
}

const METHOD_KEYS = ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"] as const;
const TABLE_KEYS = [...METHOD_KEYS, "body", "compress", "maxBodySize"] as const;
const BODY_MODES = {
  buffer: BODY_MODE.Buffer,
  none: BODY_MODE.None,
  sized: BODY_MODE.Sized,
  stream: BODY_MODE.Stream,
} as const;
/** Routes of one table, and handlers of all tables that a server has had. */
export const ROUTES_MAX = 65_535;

interface Manner {
  readonly reading: { readonly body: number; readonly bodyMax: number };
  readonly compress: Compression | undefined;
}

const DEFAULT_READING = { body: BODY_MODE.Buffer, bodyMax: -1 };

/**
 * `before`: of the table that this one follows, whose numbers stay.
 * @throws {MillraceError} ERR_MILLRACE_INVALID_ROUTE, ERR_MILLRACE_INVALID_OPTION
 */
export async function compileRoutes(
  sources: RouteSources,
  before?: Pick<RouteTable, "sockets" | "targets">,
): Promise<RouteTable> {
  const rows: NativeRoute[] = [];
  const tables: Tables = {
    targets: [...(before?.targets ?? [])],
    sockets: [...(before?.sockets ?? [])],
    handlers: [],
  };
  const { targets, sockets, handlers } = tables;
  const compress = compressionOf("compress", sources.compress, undefined);
  const manner: Manner = { reading: DEFAULT_READING, compress };
  for (const [pattern, value] of Object.entries(sources.routes ?? {})) {
    checkPattern(pattern);
    for (const [method, answer, own] of answersOf(pattern, value, manner)) {
      const row = await rowOf(tables, method, pattern, answer, own);
      rows.push(row);
      // "/static/**" has a segment or more; the folder itself is "/static/".
      if (row.file?.isFolder === true) rows.push({ ...row, pattern: pattern.slice(0, -2) });
    }
  }
  for (const [kind, path] of Object.entries(sources.health ?? {})) {
    if (path !== undefined) rows.push(healthRow(path as string, kind as keyof HealthPaths));
  }
  const fallback = fallbackOf(targets, sources, manner);
  const refused = sources.methodNotAllowed;
  const methodNotAllowed =
    refused === undefined
      ? null
      : handlerRow(targets, "", "", "(methodNotAllowed)", 405, refused, manner);
  const count = Math.max(rows.length, targets.length - (before?.targets.length ?? 0));
  if (count > ROUTES_MAX)
    throw invalidOption("routes", `has more than ${ROUTES_MAX} entries`, count);
  const websocket = serverSocketOf(tables, sources.websocket);
  const refusals = await compileRefusals(sources.refusals);
  return { rows, targets, fallback, methodNotAllowed, refusals, sockets, handlers, websocket };
}

/** What only the native side could judge of a route; its sentence names the pattern. */
export function routeError(error: unknown): unknown {
  if (!(error instanceof Error) || error instanceof MillraceError) return error;
  const { code } = error as { readonly code?: unknown };
  if (code !== "ERR_MILLRACE_INVALID_ROUTE") return error;
  return new MillraceError(code, error.message, { cause: error });
}

function fallbackOf(targets: Target[], sources: RouteSources, manner: Manner): NativeRoute | null {
  const { fetch, handler, notFound } = sources;
  if (fetch !== undefined) return handlerRow(targets, "", "", "(fetch)", 200, fetch, manner);
  if (handler !== undefined)
    return handlerRow(targets, "", "", "(handler)", 200, raw(handler), manner);
  if (notFound !== undefined)
    return handlerRow(targets, "", "", "(notFound)", 404, notFound, manner);
  return null;
}

type Answer = readonly [method: string, answer: unknown, manner: Manner];

function answersOf(pattern: string, value: unknown, manner: Manner): readonly Answer[] {
  if (value instanceof Response || fileSourceOf(value) !== undefined)
    return [["GET", value, manner]];
  if (typeof value === "function" || isRaw(value)) return [["", value, manner]];
  if (isSocketHandler(value)) return [["GET", value, manner]];
  const name = `routes[${show(pattern)}]`;
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw invalidRoute(
      pattern,
      `must be a Response, file(), dir(), a function, raw(...), a method table or a WebSocketHandler, got ${show(value)}`,
    );
  }
  checkRecord(name, value, TABLE_KEYS);
  const table = value as Readonly<Record<string, unknown>>;
  const own: Manner = {
    reading: readingOf(name, table),
    compress: compressionOf(`${name}.compress`, table["compress"], manner.compress),
  };
  const answers = METHOD_KEYS.filter((method) => table[method] !== undefined).map(
    (method): Answer => [method, table[method], own],
  );
  if (answers.length === 0)
    throw invalidRoute(pattern, `has no method; add one of ${METHOD_KEYS.join(", ")}`);
  return answers;
}

function readingOf(name: string, table: Readonly<Record<string, unknown>>): Manner["reading"] {
  const mode = table["body"] ?? "buffer";
  oneOf(`${name}.body`, mode, Object.keys(BODY_MODES));
  const size = table["maxBodySize"];
  if (
    size !== undefined &&
    !(typeof size === "number" && Number.isSafeInteger(size) && size >= 0)
  ) {
    throw invalidOption(`${name}.maxBodySize`, "must be a whole number of bytes, 0 or more", size);
  }
  return {
    body: BODY_MODES[mode as keyof typeof BODY_MODES],
    bodyMax: (size as number | undefined) ?? (mode === "stream" ? Number.MAX_SAFE_INTEGER : -1),
  };
}

async function rowOf(
  tables: Tables,
  method: string,
  pattern: string,
  answer: unknown,
  manner: Manner,
): Promise<NativeRoute> {
  if (answer instanceof Response) return staticRow(method, pattern, answer, manner);
  const source = fileSourceOf(answer);
  if (source !== undefined) return fileRow(method, pattern, source, manner);
  if (method === "GET" && isSocketHandler(answer)) return socketRow(tables, pattern, answer);
  if (typeof answer === "function" || isRaw(answer)) {
    return handlerRow(
      tables.targets,
      method,
      pattern,
      pattern,
      200,
      answer as FetchHandler | RawRoute,
      manner,
    );
  }
  throw invalidRoute(
    pattern,
    `${method} must be a Response, a function or raw(...), got ${show(answer)}`,
  );
}

function handlerRow(
  targets: Target[],
  method: string,
  pattern: string,
  label: string,
  status: number,
  answer: FetchHandler | RawRoute,
  manner: Manner,
): NativeRoute {
  if (typeof answer !== "function" && !isRaw(answer))
    throw invalidOption(label, "must be a function or raw(...)", answer);
  const id = targets.length;
  targets.push({
    pattern: label,
    params: paramsOf(pattern),
    status,
    compress: manner.compress,
    raw: isRaw(answer) ? answer[RAW] : undefined,
    fetch: isRaw(answer) ? undefined : answer,
  });
  return { ...EMPTY_ROW, method, pattern, kind: ROUTE_KIND.Handler, id, ...manner.reading };
}

function socketRow(tables: Tables, pattern: string, value: unknown): NativeRoute {
  const name = `routes[${show(pattern)}]`;
  const handler = handlerOf(tables, name, `the WebSocket ${pattern}`, value);
  const answer = raw(socketRoute(handler));
  const manner = { reading: { body: BODY_MODE.None, bodyMax: 0 }, compress: undefined };
  const row = handlerRow(tables.targets, "GET", pattern, pattern, 200, answer, manner);
  return { ...row, socket: handler.rules.settings };
}

// Whoever calls upgrade() decides; a hook that is never asked would be a check that is not made.
function serverSocketOf(tables: Tables, value: unknown): SocketHandler | undefined {
  if (value === undefined) return undefined;
  const handler = handlerOf(tables, "websocket", "the WebSocket", value);
  if (handler.upgrade === undefined) return handler;
  const what = "is for routes: decide in the handler that calls ctx.upgrade() or req.upgrade()";
  throw invalidOption("websocket.upgrade", what, handler.upgrade);
}

function handlerOf(tables: Tables, name: string, where: string, value: unknown): SocketHandler {
  const handler = compileHandler(name, value, where, tables.sockets);
  tables.handlers.push(handler);
  return handler;
}

// A method table has none of its names, and it none of a method table's.
function isSocketHandler(value: unknown): boolean {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return false;
  if (TABLE_KEYS.some((key) => key in value)) return false;
  if (HANDLER_KEYS.some((key) => key in value)) return true;
  return Object.keys(value).some((key) => nearest(key, HANDLER_KEYS) !== undefined);
}

// The Response stays unread, so that the same options object can be used again, also after a
// failure.
async function staticRow(
  method: string,
  pattern: string,
  response: Response,
  manner: Manner,
): Promise<NativeRoute> {
  if (response.bodyUsed)
    throw invalidRoute(pattern, "has a Response whose body has been read; make a new one");
  if (response.status < 200)
    throw invalidRoute(pattern, `has a Response with status ${response.status}`);
  const content = new Uint8Array(await response.clone().arrayBuffer());
  const lines = new HeaderLines();
  lines.takeFrom(response, false);
  if (lines.flags !== 0)
    throw invalidRoute(pattern, "has a Response with Date or Connection; they are written for you");
  if (lines.length >= 0 && lines.length !== content.length) {
    throw invalidRoute(
      pattern,
      `has a Response of ${content.length} bytes whose Content-Length says ${lines.length}`,
    );
  }
  const { status } = response;
  return {
    ...EMPTY_ROW,
    method,
    pattern,
    kind: ROUTE_KIND.Static,
    status,
    headers: lines.text,
    content,
    ...manner.reading,
  };
}

function fileRow(method: string, pattern: string, source: FileSource, manner: Manner): NativeRoute {
  if (method !== "GET" && method !== "HEAD")
    throw invalidRoute(pattern, `${method} cannot be answered with a file`);
  if (source.isFolder && !pattern.endsWith("/**"))
    throw invalidRoute(pattern, 'has dir(), which needs a pattern that ends with "/**"');
  const { headers, ...file } = source;
  return { ...EMPTY_ROW, method, pattern, kind: ROUTE_KIND.File, headers, file, ...manner.reading };
}

const HEALTH_KINDS: Readonly<Record<keyof HealthPaths, number>> = {
  live: ROUTE_KIND.Static,
  metrics: ROUTE_KIND.Metrics,
  ready: ROUTE_KIND.Ready,
};

function healthRow(path: string, what: keyof HealthPaths): NativeRoute {
  checkPattern(path);
  if (paramsOf(path).length > 0)
    throw invalidRoute(path, "must be a plain path, it is one of health");
  const headers = "Content-Type: text/plain\r\nCache-Control: no-store\r\n";
  return {
    ...EMPTY_ROW,
    method: "GET",
    pattern: path,
    kind: HEALTH_KINDS[what],
    headers,
    content: new Uint8Array(Buffer.from("ok\n")),
  };
}

const EMPTY_ROW: NativeRoute = {
  method: "",
  pattern: "",
  kind: ROUTE_KIND.Handler,
  id: 0,
  body: BODY_MODE.Buffer,
  bodyMax: -1,
  status: 200,
  headers: "",
  content: new Uint8Array(0),
};

function isRaw(value: unknown): value is RawRoute {
  return typeof value === "object" && value !== null && RAW in value;
}
