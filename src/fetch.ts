// The standard style: what a handler gets besides the Request, and how its Response is read.
import { randomBytes } from "node:crypto";
import type { Address, Context, Server } from "./api.ts";
import type { Connection } from "./connection/api.ts";
import { parseCookies } from "./cookies.ts";
import { MillraceError, show } from "./errors.ts";
import { type HeadersInit, isDecoded } from "./lines.ts";
import { LOG_LEVELS } from "./logging/levels.ts";
import type { MultipartOptions, Part } from "./multipart.ts";
import type { NativeReq } from "./request.ts";
import type { NativeRes } from "./response.ts";
import type { Service } from "./service.ts";
import { discard, readerOf, type SourceReader, type Step } from "./sources.ts";
import { standardRequest } from "./standard.ts";
import { traceparentOf } from "./trace.ts";
import type { UpgradeOptions } from "./websocket/api.ts";
import { acceptMarked, upgradeResponse } from "./websocket/upgrade.ts";

// A body that comes at once and is no longer than this is sent whole, with its length.
const SHORT_BYTES_MAX = 65_536;

const ID_PREFIX = randomBytes(6).toString("hex");
let idCount = 0;

/** The one implementation of Context. Made when a handler first asks for it. */
export class NativeContext implements Context {
  readonly server: Server;
  readonly #service: Service;
  readonly #req: NativeReq;
  readonly #res: NativeRes;
  #request: Request | undefined = undefined;
  #cookies: ReadonlyMap<string, string> | undefined = undefined;
  #id: string | undefined = undefined;

  constructor(server: Server, service: Service, req: NativeReq, res: NativeRes) {
    this.server = server;
    this.#service = service;
    this.#req = req;
    this.#res = res;
  }

  get connection(): Connection {
    return this.#req.connection;
  }

  get cookies(): ReadonlyMap<string, string> {
    return (this.#cookies ??= parseCookies(this.#req.headers.get("cookie")));
  }

  get delivered(): Promise<boolean> {
    return this.#res.delivered;
  }

  get encrypted(): boolean {
    return this.#req.client.scheme === "https";
  }

  get id(): string {
    if (this.#id === undefined) {
      idCount += 1;
      this.#id = this.#req.headers.get("x-request-id") || `${ID_PREFIX}-${idCount.toString(36)}`;
    }
    return this.#id;
  }

  get localAddress(): Address {
    return this.#service.addresses[this.#req.listener] as Address;
  }

  get params(): Readonly<Record<string, string>> {
    return this.#req.params;
  }

  get protocol(): "http/1.0" | "http/1.1" | "scgi" {
    if (this.#req.isScgi) return "scgi";
    return this.#req.httpVersion === "1.0" ? "http/1.0" : "http/1.1";
  }

  get remoteAddress(): Address {
    return this.#req.remoteAddress;
  }

  get request(): Request {
    return (this.#request ??= standardRequest(this.#req, this.#service));
  }

  get signal(): AbortSignal {
    return this.#req.signal;
  }

  get traceparent(): string | undefined {
    return traceparentOf(this.#req.headers.get("traceparent"));
  }

  multipart(options?: MultipartOptions): AsyncIterableIterator<Part> {
    return this.#req.multipart(options);
  }

  sendInformational(status: 102 | 103, headers?: HeadersInit): void {
    this.#res.informational(status, headers);
  }

  upgrade<D = unknown>(options?: UpgradeOptions<D>): Response {
    return upgradeResponse(this.#service, this.#req, options);
  }

  waitUntil(promise: Promise<unknown>): void {
    const { log, tasks } = this.#service;
    const { where } = this.#req;
    const task = Promise.resolve(promise)
      .catch((error: unknown) => {
        const message = `a promise given to waitUntil() by ${where} was rejected`;
        log.failed(LOG_LEVELS.error, "ERR_MILLRACE_HANDLER_FAILED", message, error);
      })
      .finally(() => tasks.delete(task));
    tasks.add(task);
  }
}

/**
 * Whether a handler's result can be sent; Responses of another undici than Node's own count too.
 */
export function isResponse(value: unknown): value is Response {
  if (value instanceof Response) return true;
  if (typeof value !== "object" || value === null) return false;
  const { status, headers, arrayBuffer } = value as Partial<Response>;
  return (
    typeof status === "number" && typeof headers === "object" && typeof arrayBuffer === "function"
  );
}

/**
 * Sends what a handler returned. Returns a promise only when the body has to be waited for.
 * @throws {MillraceError} ERR_MILLRACE_NO_REPLY, ERR_MILLRACE_BODY_USED and what NativeRes throws
 */
export function sendResponse(
  req: NativeReq,
  res: NativeRes,
  value: unknown,
): Promise<void> | undefined {
  if (!isResponse(value)) {
    if (value === undefined && req.isGivenUp) return undefined;
    const message = `${req.where} returned ${show(value)}, not a Response; 500 was sent`;
    throw new MillraceError("ERR_MILLRACE_NO_REPLY", message);
  }
  if (!res.isOpen) {
    cancelBody(value);
    return undefined;
  }
  if (req.isHandshake && acceptMarked(req, res, value)) return undefined;
  if (value.bodyUsed || sent.has(value)) {
    const fix = "make a new one per request";
    const message = `the Response of ${req.where} has been read or sent already; ${fix}`;
    throw new MillraceError("ERR_MILLRACE_BODY_USED", message);
  }
  if (value.body === null) {
    res.sendStandard(value, undefined);
    return undefined;
  }
  if (res.isHead && value.headers.has("content-length") && !isDecoded(value)) {
    cancelBody(value);
    res.sendStandard(value, undefined);
    return undefined;
  }
  const source = sourceOf(value);
  if (source !== undefined) {
    sent.add(value);
    res.sendStandard(value, source);
    return undefined;
  }
  return sendBody(req, res, value);
}

const LATER: unique symbol = Symbol("later");

// What is there at once goes as one answer; from the first wait on it is a stream.
async function sendBody(req: NativeReq, res: NativeRes, response: Response): Promise<void> {
  const reader = bytesOf(req, response);
  const early: Promise<Step>[] = [];
  const chunks: Uint8Array[] = [];
  let size = 0;
  for (;;) {
    const coming = reader.next();
    early.push(coming);
    const step = await orLater(coming);
    if (step === LATER || size > SHORT_BYTES_MAX || !res.isOpen) break;
    if (step.done === true) {
      res.sendStandard(response, Buffer.concat(chunks, size));
      return;
    }
    chunks.push(step.value as Uint8Array);
    size += (step.value as Uint8Array).length;
  }
  for (const each of early) each.catch(() => undefined); // the pump will look at it
  if (!res.isOpen || !res.beginStandard(response)) {
    reader.cancel(req.abortReason());
    throw req.abortReason();
  }
  const next = async (): Promise<Step> => early.shift() ?? reader.next();
  await res.pumpFrom({ next, cancel: (reason) => reader.cancel(reason) }, undefined);
}

function bytesOf(req: NativeReq, response: Response): SourceReader {
  const reader = readerOf(response.body);
  const next = async (): Promise<Step> => {
    const step = await reader.next();
    if (step.done === true || step.value instanceof Uint8Array) return step;
    const what = `has a chunk that is ${show(step.value)}, not a Uint8Array`;
    reader.cancel(what);
    const message = `the body of the Response of ${req.where} ${what}`;
    throw new MillraceError("ERR_MILLRACE_INVALID_BODY", message);
  };
  return { next, cancel: (reason) => reader.cancel(reason) };
}

async function orLater(step: Promise<Step>): Promise<Step | typeof LATER> {
  const later = new Promise<typeof LATER>((resolve) => {
    setImmediate(resolve, LATER);
  });
  return Promise.race([step, later]);
}

function cancelBody(response: Response): void {
  if (response.body === null || response.bodyUsed || response.body.locked) return;
  discard(response.body);
}

// Those whose body was sent without being read: they would not tell of it themselves.
const sent = new WeakSet<Response>();
let stateSymbol: symbol | null | undefined;

// Where Node keeps what a Response was made from (until private fields hid it), reading that spares
// the way through a stream, which costs more than twice the rest of a small request.
function sourceOf(response: Response): string | Uint8Array | undefined {
  if (stateSymbol === undefined) stateSymbol = findStateSymbol();
  if (stateSymbol === null) return undefined;
  return sourceAt(response, stateSymbol);
}

function sourceAt(response: Response, symbol: symbol): string | Uint8Array | undefined {
  const state = Reflect.get(response, symbol) as { body?: { source?: unknown } } | undefined;
  const source = state?.body?.source;
  return typeof source === "string" || source instanceof Uint8Array ? source : undefined;
}

function findStateSymbol(): symbol | null {
  const probe = new Response("probe");
  const symbols = Object.getOwnPropertySymbols(probe);
  return symbols.find((symbol) => sourceAt(probe, symbol) === "probe") ?? null;
}
