// Tells diagnostics_channel of requests and responses under the names that node:http uses, so that
// those who watch applications see them. What they are handed has the members that they read, and
// is no stream.
import { channel } from "node:diagnostics_channel";
import type { Req, Server } from "./api.ts";

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

  constructor(req: Req, res: WatchedResponse) {
    const request = new SeenRequest(req);
    const response = new SeenResponse(request, res);
    const { server } = req.ctx;
    this.#message = { request, response, socket: request.socket, server };
  }

  /** Called in the async scope of the handler, which inherits what subscribers enter. */
  begin(): void {
    const { request, response } = this.#message;
    if (created.hasSubscribers) created.publish({ request, response });
    if (started.hasSubscribers) started.publish(this.#message);
  }

  /** The response is complete. Those that the peer did not wait for have no end, as with Node. */
  finish(): void {
    this.#message.response.seal();
    if (finished.hasSubscribers) finished.publish(this.#message);
  }
}

interface Message {
  readonly request: SeenRequest;
  readonly response: SeenResponse;
  readonly socket: SeenSocket;
  readonly server: Server;
}

/** As net.Socket says where it leads. */
class SeenSocket {
  readonly encrypted: boolean;
  readonly localAddress: string;
  readonly localPort: number;
  readonly remoteAddress: string;
  readonly remoteFamily: string;
  readonly remotePort: number;

  constructor({ ctx, remoteAddress }: Req) {
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
class SeenRequest {
  readonly complete: boolean = true;
  readonly method: string;
  readonly httpVersion: string;
  readonly httpVersionMajor: number = 1;
  readonly httpVersionMinor: number;
  readonly #req: Req;
  #socket: SeenSocket | undefined = undefined;
  #headers: Record<string, string | string[]> | undefined = undefined;

  constructor(req: Req) {
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
class SeenResponse {
  readonly req: SeenRequest;
  readonly #res: WatchedResponse;
  #isOver = false;

  constructor(req: SeenRequest, res: WatchedResponse) {
    this.req = req;
    this.#res = res;
  }

  get statusCode(): number {
    return this.#res.statusCode;
  }

  get headersSent(): boolean {
    return this.#res.state !== "open" || this.#isOver;
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

  seal(): void {
    this.#isOver = true;
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
