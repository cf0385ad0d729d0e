// The standard style: what a handler gets besides the Request, and how its Response is read.
import { randomBytes } from "node:crypto";
import type { Address, Context, Server } from "./api.ts";
import { parseCookies } from "./cookies.ts";
import { MillraceError, show } from "./errors.ts";
import { type HeadersInit, isDecoded } from "./lines.ts";
import type { NativeReq } from "./request.ts";
import type { NativeRes } from "./response.ts";
import type { Service } from "./service.ts";
import { standardRequest } from "./standard.ts";
import { stackOf, warn } from "./warnings.ts";

/** Most bytes of a Response body that comes as a stream; it is collected before it is sent. */
export const COLLECT_BYTES_MAX = 67_108_864;

// How long a stream may go on for a peer that has sent its last byte. Mostly it is gone; what
// waits for the answer is a client that half-closes.
const HALF_CLOSED_MS = 1000;

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

  get cookies(): ReadonlyMap<string, string> {
    return (this.#cookies ??= parseCookies(this.#req.headers.get("cookie")));
  }

  get encrypted(): boolean {
    return false;
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

  get protocol(): "http/1.0" | "http/1.1" {
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

  sendInformational(status: 102 | 103, headers?: HeadersInit): void {
    this.#res.informational(status, headers);
  }

  waitUntil(promise: Promise<unknown>): void {
    const { tasks } = this.#service;
    const { where } = this.#req;
    const task = Promise.resolve(promise)
      .catch((error: unknown) => {
        const message = `a promise given to waitUntil() by ${where} was rejected`;
        warn("ERR_MILLRACE_HANDLER_FAILED", message, stackOf(error));
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
    const message = `${req.where} returned ${show(value)}, not a Response; 500 was sent`;
    throw new MillraceError("ERR_MILLRACE_NO_REPLY", message);
  }
  if (!res.isOpen) {
    cancelBody(value);
    return undefined;
  }
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
  return collectAndSend(req, res, value);
}

// The peer's leaving ends a read that may never end by itself.
async function collectAndSend(req: NativeReq, res: NativeRes, response: Response): Promise<void> {
  const reader = (response.body as ReadableStream<unknown>).getReader();
  const { signal } = req;
  let timer: NodeJS.Timeout | undefined;
  let isLeft = false;
  const leave = (): void => {
    isLeft = true;
    cancelReader(reader, signal.reason);
  };
  const onAbort = (): void => {
    if (res.isOpen) timer = setTimeout(leave, HALF_CLOSED_MS);
    else leave();
  };
  if (signal.aborted) onAbort();
  else signal.addEventListener("abort", onAbort, { once: true });
  try {
    const body = await collect(req, res, reader);
    if (isLeft) throw signal.reason;
    if (res.isOpen) res.sendStandard(response, body);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", onAbort);
  }
}

// Gives nothing when the exchange is over meanwhile.
async function collect(
  req: NativeReq,
  res: NativeRes,
  reader: ReadableStreamDefaultReader<unknown>,
): Promise<Uint8Array | undefined> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return chunks.length === 1 ? chunks[0] : Buffer.concat(chunks, size);
    let problem: string | undefined;
    if (!(value instanceof Uint8Array)) {
      problem = `has a chunk that is ${show(value)}, not a Uint8Array`;
    } else {
      chunks.push(value);
      size += value.length;
      if (size > COLLECT_BYTES_MAX) problem = `is larger than ${COLLECT_BYTES_MAX} bytes`;
    }
    if (problem === undefined && res.isOpen) continue;
    cancelReader(reader, problem);
    if (problem === undefined) return undefined;
    const why = "bodies are collected before they are sent";
    const message = `the body of the Response of ${req.where} ${problem}; ${why}`;
    throw new MillraceError("ERR_MILLRACE_INVALID_BODY", message);
  }
}

// Not awaited: a source may take forever over it, and what it says concerns nobody any more.
function cancelReader(reader: ReadableStreamDefaultReader<unknown>, reason: unknown): void {
  reader.cancel(reason).catch(() => undefined);
}

function cancelBody(response: Response): void {
  if (response.body === null || response.bodyUsed || response.body.locked) return;
  // What a source says while it is cancelled concerns nobody any more.
  response.body.cancel().catch(() => undefined);
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
