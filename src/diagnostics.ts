// Tells diagnostics_channel of requests and responses under the names that node:http uses, so that
// those who watch applications see them. What they are handed has the members that they read, and
// emits the ends of things; it is no stream. Agents inherit from nothing of ours but wrap what they
// find, so these classes are EventEmitters.
import { channel } from "node:diagnostics_channel";
import { EventEmitter } from "node:events";
import type { Address, Req, Server } from "./api.ts";

const created = channel("http.server.response.created");
const started = channel("http.server.request.start");
const finished = channel("http.server.response.finish");

/** Whether anybody listens; asked once per batch. */
export function isWatched(): boolean {
  return started.hasSubscribers || finished.hasSubscribers || created.hasSubscribers;
}

/** What a diagnosis needs of the response. */
export interface WatchedResponse {
  readonly state: string;
  readonly statusCode: number;
  readonly headerLines: string;
  header(name: string, value: string | number | readonly string[]): unknown;
}

/** One request with its response, as it is told of. Made for requests that came while watched. */
export class Diagnosis {
  readonly #message: Message;
  readonly #failed: (error: unknown) => void;

  /** @param failed - is told what listeners and wrappers of agents throw */
  constructor(req: Req, res: WatchedResponse, failed: (error: unknown) => void) {
    const request = new SeenRequest(req);
    const response = new SeenResponse(request, res);
    const server = seenServer(req.ctx.server);
    this.#message = { request, response, socket: request.socket, server };
    this.#failed = failed;
  }

  /**
   * Calls the handler, by `server.emit("request", …)`: agents replace it, as they do with those of
   * node:http, to run the handler in a context of theirs. It is called once and in this turn,
   * whatever they do. In the async scope of the handler, which inherits what subscribers enter.
   */
  begin(handler: () => void): void {
    const { request, response, server } = this.#message;
    if (created.hasSubscribers) created.publish({ request, response });
    if (started.hasSubscribers) started.publish(this.#message);
    server.due = handler;
    this.#emit(server, "request", request, response);
    server.handle();
  }

  /** The response is complete. */
  finish(): void {
    const { request, response } = this.#message;
    response.seal(true);
    if (finished.hasSubscribers) finished.publish(this.#message);
    this.#emit(request, "end");
    this.#emit(response, "finish");
    this.#close();
  }

  /** The peer did not wait for it: no end, as with Node. */
  abort(): void {
    this.#message.response.seal(false);
    this.#emit(this.#message.request, "aborted");
    this.#close();
  }

  #close(): void {
    const { request, response } = this.#message;
    this.#emit(response, "close");
    this.#emit(request, "close");
  }

  // What an agent throws breaks no request.
  #emit(emitter: EventEmitter, name: string, ...values: readonly unknown[]): void {
    try {
      emitter.emit(name, ...values);
    } catch (error) {
      this.#failed(error);
    }
  }
}

interface Message {
  readonly request: SeenRequest;
  readonly response: SeenResponse;
  readonly socket: SeenSocket;
  readonly server: SeenServer;
}

const servers = new WeakMap<Server, SeenServer>();

// One for all requests of a server: it is wrapped once.
function seenServer(server: Server): SeenServer {
  const known = servers.get(server);
  if (known !== undefined) return known;
  const made = new SeenServer(server);
  servers.set(server, made);
  return made;
}

/** As http.Server says where it listens, and hands requests to its handler. */
class SeenServer extends EventEmitter {
  readonly listening: boolean = true;
  /** The handler of the request that is being emitted. */
  due: (() => void) | undefined = undefined;
  readonly #server: Server;

  constructor(server: Server) {
    super();
    this.#server = server;
    this.on("request", () => this.handle());
  }

  /** Calls the handler, unless it was called. */
  handle(): void {
    const { due } = this;
    this.due = undefined;
    due?.();
  }

  address(): Address | string | null {
    const [first] = this.#server.addresses;
    if (first === undefined) return null;
    return first.family === "unix" ? first.address : first;
  }
}

/** As net.Socket says where it leads. */
class SeenSocket extends EventEmitter {
  readonly encrypted: boolean;
  readonly localAddress: string;
  readonly localPort: number;
  readonly remoteAddress: string;
  readonly remoteFamily: string;
  readonly remotePort: number;

  constructor({ ctx, remoteAddress }: Req) {
    super();
    const { localAddress } = ctx;
    this.encrypted = ctx.encrypted;
    this.localAddress = localAddress.address;
    this.localPort = localAddress.port;
    this.remoteAddress = remoteAddress.address;
    this.remoteFamily = remoteAddress.family;
    this.remotePort = remoteAddress.port;
  }
}

/** As http.IncomingMessage says what was asked. */
class SeenRequest extends EventEmitter {
  readonly complete: boolean = true;
  readonly method: string;
  readonly httpVersion: string;
  readonly httpVersionMajor: number = 1;
  readonly httpVersionMinor: number;
  readonly #req: Req;
  #socket: SeenSocket | undefined = undefined;
  #headers: Record<string, string | string[]> | undefined = undefined;

  constructor(req: Req) {
    super();
    this.#req = req;
    this.method = req.method;
    this.httpVersion = req.httpVersion;
    this.httpVersionMinor = req.httpVersion === "1.0" ? 0 : 1;
  }

  get url(): string {
    return this.#req.url;
  }

  get aborted(): boolean {
    return this.#req.aborted;
  }

  get socket(): SeenSocket {
    return (this.#socket ??= new SeenSocket(this.#req));
  }

  get connection(): SeenSocket {
    return this.socket;
  }

  get headers(): Record<string, string | string[]> {
    return (this.#headers ??= headersOf(this.#req));
  }

  get rawHeaders(): string[] {
    return [...this.#req.headers].flat();
  }
}

/** As http.ServerResponse says what was answered. */
class SeenResponse extends EventEmitter {
  readonly req: SeenRequest;
  readonly #res: WatchedResponse;
  #isOver = false;
  #isClosed = false;

  constructor(req: SeenRequest, res: WatchedResponse) {
    super();
    this.req = req;
    this.#res = res;
  }

  get statusCode(): number {
    return this.#res.statusCode;
  }

  get headersSent(): boolean {
    return this.#res.state !== "open" || this.#isClosed;
  }

  get closed(): boolean {
    return this.#isClosed;
  }

  get destroyed(): boolean {
    return this.#isClosed;
  }

  get socket(): SeenSocket {
    return this.req.socket;
  }

  get connection(): SeenSocket {
    return this.req.socket;
  }

  get finished(): boolean {
    return this.#isOver;
  }

  get writableEnded(): boolean {
    return this.#isOver;
  }

  get writableFinished(): boolean {
    return this.#isOver;
  }

  getHeader(name: string): string | string[] | undefined {
    return this.getHeaders()[name.toLowerCase()];
  }

  getHeaderNames(): string[] {
    return Object.keys(this.getHeaders());
  }

  getHeaders(): Record<string, string | string[]> {
    const found: Record<string, string | string[]> = Object.create(null);
    for (const line of this.#res.headerLines.split("\r\n")) {
      const colon = line.indexOf(":");
      if (colon <= 0) continue;
      const name = line.slice(0, colon).toLowerCase();
      const value = line.slice(colon + 1).trim();
      const before = found[name];
      found[name] = before === undefined ? value : [before, value].flat();
    }
    return found;
  }

  hasHeader(name: string): boolean {
    return this.getHeader(name) !== undefined;
  }

  /** Ineffective once the response has begun. */
  setHeader(name: string, value: string | number | readonly string[]): this {
    if (!this.headersSent) this.#res.header(name, value);
    return this;
  }

  /** The answer is the handler's alone: what agents write goes nowhere. */
  write(): boolean {
    return false;
  }

  /** Likewise. */
  end(): this {
    return this;
  }

  /** Likewise. */
  writeHead(): this {
    return this;
  }

  /** Nothing changes any more. */
  seal(isWhole: boolean): void {
    this.#isOver = isWhole;
    this.#isClosed = true;
  }
}

// As node:http joins them; Set-Cookie is always a list.
function headersOf(req: Req): Record<string, string | string[]> {
  const headers: Record<string, string | string[]> = Object.create(null);
  for (const [name] of req.headers) {
    if (name in headers) continue;
    headers[name] =
      name === "set-cookie" ? req.headers.getAll(name) : (req.headers.get(name) as string);
  }
  return headers;
}
