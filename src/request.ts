// The request as a raw handler sees it: owned, and lazy. Strings are made when asked for, then
// kept.
import type { Address, Context, Req, Res } from "./api.ts";
import { Body, type BodyOptions, limitOf } from "./body.ts";
import { addressOf, clientOf, scgiClientOf } from "./client.ts";
import type { Connection } from "./connection/api.ts";
import type { Beginning, NativeConnection, Place } from "./connection/connection.ts";
import { MillraceError } from "./errors.ts";
import { Form } from "./form.ts";
import { HeaderText, type ReadonlyHeaders } from "./headers.ts";
import {
  chunksOf,
  type Incoming,
  patienceOf,
  type Receipt,
  type ReceiveOptions,
  receiptsOf,
} from "./incoming.ts";
import {
  boundaryOf,
  boundsOf,
  type MultipartOptions,
  type Part,
  partsOf,
  wholeParts,
  wholeSource,
} from "./multipart.ts";
import { EVENT_FLAG, METHODS } from "./native/tables.ts";
import type { Client } from "./proxies.ts";
import { type SavedFile, type SaveOptions, saveFile, writeBytes } from "./saving.ts";
import { variablesOf } from "./scgi/variables.ts";
import type { Service, Target } from "./service.ts";
import type { Socket, UpgradeOptions } from "./websocket/api.ts";
import { upgradeNow } from "./websocket/upgrade.ts";

// Inherits nothing, as a parameter may be called "constructor"; unlike Object.create(null), which
// makes a slow dictionary.
class Parameters {
  [name: string]: string;
}
Object.setPrototypeOf(Parameters.prototype, null);
Reflect.deleteProperty(Parameters.prototype, "constructor");
const NO_SPANS: readonly number[] = [];
const COMPACT_FROM = 16_384;

/** The one implementation of Req. Made by dispatch.ts, one per request event. */
export class NativeReq implements Req {
  readonly #service: Service;
  readonly target: Target;
  readonly #lengths: number; // event word 4: method number and length in the upper half
  readonly #targetLength: number;
  readonly #pathLength: number;
  readonly #peer: number; // event word 9: port, address length
  readonly #headerLength: number;
  readonly #flags: number;
  readonly #origin: number; // event word 11: listener, generation of the connection
  readonly #index: number; // event word 14: of the connection
  readonly #spans: readonly number[];
  readonly #bytes: Uint8Array | undefined;
  readonly #trailerLength: number;
  #text: string; // of the whole batch, until compact()
  #at: number; // where our method begins in it
  /** The other half; set once by its constructor. */
  res: (Res & { readonly handle: number; cut(reason?: MillraceError): void }) | undefined =
    undefined;
  /** The body, when it is streamed. */
  incoming: Incoming | undefined = undefined;
  #isAborted = false;
  #reason: MillraceError | undefined = undefined;
  #url: string | undefined = undefined;
  #headers: HeaderText | undefined = undefined;
  #params: Record<string, string> | undefined = undefined;
  #query: URLSearchParams | undefined = undefined;
  #body: Body | undefined = undefined;
  #controller: AbortController | undefined = undefined;
  #context: Context | undefined = undefined;
  #client: Client | undefined = undefined;
  #connection: NativeConnection | undefined = undefined;
  #variables: ReadonlyMap<string, string> | undefined = undefined;

  constructor(
    service: Service,
    target: Target,
    text: string,
    at: number,
    lengths: number,
    targetLength: number,
    pathLength: number,
    peer: number,
    headerLength: number,
    flags: number,
    origin: number,
    spans: readonly number[] | undefined,
    bytes: Uint8Array | undefined,
    trailerLength: number,
    index: number,
  ) {
    this.#service = service;
    this.target = target;
    this.#text = text;
    this.#at = at;
    this.#lengths = lengths;
    this.#targetLength = targetLength;
    this.#pathLength = pathLength;
    this.#peer = peer;
    this.#headerLength = headerLength;
    this.#flags = flags;
    this.#origin = origin;
    this.#index = index;
    this.#spans = spans ?? NO_SPANS;
    this.#bytes = bytes;
    this.#trailerLength = trailerLength;
  }

  get aborted(): boolean {
    return this.#isAborted;
  }

  get connection(): Connection {
    if (this.#connection === undefined) {
      const { connections } = this.#service;
      this.#connection = connections.of(this.place, () => this.#beginning());
    }
    return this.#connection;
  }

  /** Whether its handler has closed the connection: then nobody waits for an answer. */
  get isGivenUp(): boolean {
    return this.#connection?.isClosing === true;
  }

  /** Where its connection is natively. */
  get place(): Place {
    const handle = this.res?.handle ?? 0;
    return { handle, index: this.#index >>> 0, generation: this.#origin >>> 16 };
  }

  get contentLength(): number | undefined {
    const value = this.headers.get("content-length");
    return value === null ? undefined : Number(value);
  }

  get ctx(): Context {
    return (this.#context ??= this.#service.makeContext(this, this.res as Res));
  }

  get headers(): HeaderText {
    if (this.#headers !== undefined) return this.#headers;
    const from = this.#peerAt() + ((this.#peer >>> 16) & 0xff);
    // Cut out first: a search for an absent field must not run on into the other requests of the
    // batch.
    this.#headers = new HeaderText(this.#text.slice(from, from + this.#headerLength));
    return this.#headers;
  }

  /** Whether it is a valid WebSocket handshake. */
  get isHandshake(): boolean {
    return (this.#flags & EVENT_FLAG.upgrade) !== 0;
  }

  get httpVersion(): "1.0" | "1.1" {
    if (this.isScgi) return this.scgi?.get("SERVER_PROTOCOL") === "HTTP/1.0" ? "1.0" : "1.1";
    return (this.#flags & EVENT_FLAG.http10) === 0 ? "1.1" : "1.0";
  }

  get ip(): string {
    return this.client.address;
  }

  /** Whether it came by SCGI. */
  get isScgi(): boolean {
    return (this.#flags & EVENT_FLAG.scgi) !== 0;
  }

  /** Who made the request, as far as is known; `scheme` and `host` when somebody else tells. */
  get client(): Client {
    if (this.#client !== undefined) return this.#client;
    const { proxies } = this.#service;
    const peer = this.peerAddress;
    const get = (name: string): string | null => this.headers.get(name);
    const { scgi } = this;
    const passed = this.known?.proxy === undefined ? 0 : 1;
    const said =
      scgi === undefined
        ? clientOf(proxies, peer, get, passed)
        : scgiClientOf(proxies, peer, scgi, get, passed);
    const isSecured = said.scheme === undefined && this.isSecured;
    this.#client = isSecured ? { ...said, scheme: "https" } : said;
    return this.#client;
  }

  /** Whether a header of the PROXY protocol says that the client speaks TLS. */
  get isSecured(): boolean {
    return this.known?.proxy?.ssl?.isEncrypted === true;
  }

  /** Keeps its connection, if that is known: a PROXY header counts also behind its end. */
  meet(): void {
    this.#connection ??= this.#service.connections.find(this.place);
  }

  /** Its connection, if somebody knows it. */
  get known(): NativeConnection | undefined {
    return this.#connection ?? this.#service.connections.find(this.place);
  }

  /** Index of the listener that accepted the connection. */
  get listener(): number {
    return this.#origin & 0xffff;
  }

  get method(): string {
    const number = (this.#lengths >>> 16) & 0xff;
    if (number !== 0) return METHODS[number] as string;
    return this.#text.slice(this.#at, this.#at + (this.#lengths >>> 24));
  }

  get params(): Record<string, string> {
    return (this.#params ??= this.#readParams());
  }

  get path(): string {
    const from = this.#targetAt();
    const path = this.#text.slice(from, from + this.#pathLength);
    return path.startsWith("/") ? path : pathOfAbsolute(path);
  }

  get query(): URLSearchParams {
    return (this.#query ??= new URLSearchParams(this.search));
  }

  get peerAddress(): Address {
    const from = this.#peerAt();
    const address = this.#text.slice(from, from + ((this.#peer >>> 16) & 0xff));
    if (address === "") return { family: "unix", address, port: 0 };
    return { family: address.includes(":") ? "IPv6" : "IPv4", address, port: this.#peer & 0xffff };
  }

  get remoteAddress(): Address {
    return addressOf(this.client);
  }

  get scgi(): ReadonlyMap<string, string> | undefined {
    if (!this.isScgi) return undefined;
    return (this.#variables ??= variablesOf(this.#tail()));
  }

  get search(): string {
    const from = this.#targetAt();
    return this.#text.slice(from + this.#pathLength, from + this.#targetLength);
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.aborted) this.#controller.abort(this.abortReason());
    }
    return this.#controller.signal;
  }

  get trailers(): Promise<ReadonlyHeaders> {
    if (this.incoming !== undefined) return this.incoming.trailers();
    return Promise.resolve(new HeaderText(this.isScgi ? "" : this.#tail()));
  }

  get url(): string {
    const from = this.#targetAt();
    return (this.#url ??= this.#text.slice(from, from + this.#targetLength));
  }

  /** The body for fetch.ts, which shares the "once" with us. */
  get body(): Body {
    return (this.#body ??= new Body(this.#bytes, this.where));
  }

  /** Whether the request came with at least one byte of body. */
  get hasBody(): boolean {
    return this.#bytes !== undefined || this.incoming !== undefined;
  }

  /** Whether somebody has read the body, or begun to. */
  get bodyUsed(): boolean {
    return this.incoming === undefined ? this.body.used : this.incoming.isUsed;
  }

  [Symbol.asyncIterator](): AsyncIterator<Uint8Array, void, undefined> {
    return this.incoming === undefined ? onlyChunk(this.body) : chunksOf(this.incoming);
  }

  multipart(options?: MultipartOptions): AsyncIterableIterator<Part> {
    const { native } = this.#service;
    const bounds = boundsOf(options);
    const boundary = boundaryOf(native, this.headers.get("content-type"), this.where);
    const { incoming } = this;
    if (incoming === undefined) {
      const bytes = this.body.take(undefined);
      return partsOf(wholeSource(wholeParts(native, bytes, boundary, bounds.limits)));
    }
    incoming.use();
    const form = new Form(incoming, boundary, bounds, (error) => this.res?.cut(error));
    incoming.readAs(form);
    return partsOf(form);
  }

  saveTo(path: string, options?: SaveOptions): Promise<SavedFile> {
    if (this.incoming !== undefined)
      return this.incoming.saveTo(path, options, (error) => this.res?.cut(error));
    return saveFile(path, options, (file, digest, limit) =>
      writeBytes(path, file, digest, limit, [this.body.take(undefined)]),
    );
  }

  receive(options?: ReceiveOptions): AsyncIterableIterator<Receipt> {
    const patience = patienceOf(options);
    if (this.incoming === undefined) return onlyReceipt(this.body);
    return receiptsOf(this.incoming, patience, (error) => this.res?.cut(error));
  }

  /**
   * For messages: "POST /users/:id". The pattern and not the path, because the path is the peer's.
   */
  get where(): string {
    return `${this.method} ${this.target.pattern}`;
  }

  bytes(options?: BodyOptions): Promise<Uint8Array> {
    if (this.incoming !== undefined)
      return this.#collected(options).then((body) => body.take(options));
    try {
      return Promise.resolve(this.body.take(options));
    } catch (error) {
      return Promise.reject(error);
    }
  }

  form(options?: BodyOptions): Promise<URLSearchParams> {
    if (this.incoming !== undefined) {
      const type = this.headers.get("content-type");
      return this.#collected(options).then((body) => body.form(type, options));
    }
    try {
      return Promise.resolve(this.body.form(this.headers.get("content-type"), options));
    } catch (error) {
      return Promise.reject(error);
    }
  }

  is(path: string): boolean {
    if (this.#text.charCodeAt(this.#targetAt()) !== 0x2f) return this.path === path;
    return path.length === this.#pathLength && this.#text.startsWith(path, this.#targetAt());
  }

  isMethod(method: string): boolean {
    return method.length === this.#lengths >>> 24 && this.#text.startsWith(method, this.#at);
  }

  json<T = unknown>(options?: BodyOptions): Promise<T> {
    if (this.incoming !== undefined)
      return this.#collected(options).then((body) => body.json(options) as T);
    try {
      return Promise.resolve(this.body.json(options) as T);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  startsWith(prefix: string): boolean {
    if (this.#text.charCodeAt(this.#targetAt()) !== 0x2f) return this.path.startsWith(prefix);
    return prefix.length <= this.#pathLength && this.#text.startsWith(prefix, this.#targetAt());
  }

  text(options?: BodyOptions): Promise<string> {
    if (this.incoming !== undefined)
      return this.#collected(options).then((body) => body.text(options));
    try {
      return Promise.resolve(this.body.text(options));
    } catch (error) {
      return Promise.reject(error);
    }
  }

  upgrade<D = unknown>(options?: UpgradeOptions<D>): Socket<D> {
    return upgradeNow(this.#service, this, options) as Socket<D>;
  }

  /**
   * Lets go of the batch's text: called when the exchange outlives the batch, else one slow request
   * keeps it all. `from` is the length of a text that is worth it.
   */
  compact(from: number = COMPACT_FROM): void {
    if (this.#text.length < from) return;
    const length = this.#ownLength();
    if (length * 2 >= this.#text.length) return;
    // A slice would refer to the whole text; going through bytes really copies.
    this.#text = Buffer.from(this.#text.slice(this.#at, this.#at + length), "latin1").toString(
      "latin1",
    );
    this.#at = 0;
    this.#headers = undefined;
    this.#url = undefined;
  }

  /**
   * The peer has left, or has sent its last byte; the response knows whether it can still be
   * answered.
   */
  peerLeft(): void {
    if (this.#isAborted) return;
    this.#isAborted = true;
    this.#controller?.abort(this.abortReason());
  }

  /** The exchange is over: nothing more comes of a body that is still read. */
  over(isAborted: boolean): void {
    const { incoming } = this;
    if (incoming === undefined || incoming.hasEnded) return;
    incoming.fail(isAborted ? this.abortReason() : this.#leftBehind());
  }

  #leftBehind(): MillraceError {
    const message = `the response to ${this.where} ended before its body was read; read it first`;
    return new MillraceError("ERR_MILLRACE_BODY_USED", message);
  }

  async #collected(options: BodyOptions | undefined): Promise<Body> {
    const limit = Math.min(limitOf(options), this.#service.bodyMax);
    return new Body(await (this.incoming as Incoming).collect(limit), this.where);
  }

  /** What abortReason() says when it was our side that gave the exchange up. */
  blame(error: MillraceError): void {
    this.#reason ??= error;
  }

  /** The same at every call: who catches it can tell it from other errors. */
  abortReason(): MillraceError {
    return (this.#reason ??= new MillraceError(
      "ERR_MILLRACE_ABORTED",
      `the peer of ${this.where} left before the response was complete`,
    ));
  }

  #beginning(): Beginning {
    const { address, port } = this.peerAddress;
    // A slice would keep the text of the whole batch.
    const peer = Buffer.from(address, "latin1").toString("latin1");
    return { listener: this.listener, peer, port, proxy: undefined };
  }

  #targetAt(): number {
    return this.#at + (this.#lengths >>> 24);
  }

  #peerAt(): number {
    return this.#at + (this.#lengths >>> 24) + this.#targetLength;
  }

  // The trailer fields, or the variables of SCGI.
  #tail(): string {
    const end = this.#at + this.#ownLength();
    return this.#text.slice(end - this.#trailerLength, end);
  }

  #ownLength(): number {
    return (
      (this.#lengths >>> 24) +
      this.#targetLength +
      ((this.#peer >>> 16) & 0xff) +
      this.#headerLength +
      this.#trailerLength
    );
  }

  #readParams(): Record<string, string> {
    const from = this.#targetAt();
    const names = this.target.params;
    const params = new Parameters();
    for (let i = 0; i < names.length && i < this.#spans.length; i += 1) {
      const span = this.#spans[i] as number;
      const start = from + (span & 0xffff);
      params[names[i] as string] = decoded(this.#text.slice(start, start + (span >>> 16)));
    }
    return params;
  }
}

async function* onlyChunk(body: Body): AsyncGenerator<Uint8Array, void, undefined> {
  const bytes = body.take(undefined);
  if (bytes.length > 0) yield bytes;
}

async function* onlyReceipt(body: Body): AsyncGenerator<Receipt, void, undefined> {
  const chunk = body.take(undefined);
  if (chunk.length > 0) yield { state: "progress", chunk };
  yield { state: "complete", chunk: chunk.subarray(0, 0) };
}

function decoded(text: string): string {
  if (!text.includes("%")) return text;
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

// RFC 9112 3.2: "http://host/path" is what a client sends to a proxy, "*" belongs to OPTIONS.
function pathOfAbsolute(target: string): string {
  const authority = target.indexOf("://");
  if (authority < 0) return target;
  const slash = target.indexOf("/", authority + 3);
  return slash < 0 ? "/" : target.slice(slash);
}
