// The response builder of a raw handler: collects a status and header lines, then makes one native
// call, or begins and goes on piece by piece.
import type { AsyncResource } from "node:async_hooks";
import type { Writable } from "node:stream";
import { type AccelOptions, accelLines } from "./accel.ts";
import type { Res, StreamOptions } from "./api.ts";
import { type Bytes, byteLengthOf, checkedBody } from "./body.ts";
import { truth } from "./check.ts";
import type { Choice } from "./compress.ts";
import type { CloseCauseName } from "./connection/api.ts";
import { causeNumber, causeOf, errorNumber } from "./connection/causes.ts";
import { type CookieOptions, cookieLine } from "./cookies.ts";
import type { Diagnosis } from "./diagnostics.ts";
import { type ErrorCode, errnoName, MillraceError, show } from "./errors.ts";
import { EventStream, type EventStreamOptions, eventSettings } from "./events.ts";
import { downloadLine, fileError, type SendFileOptions } from "./files.ts";
import { type Filing, fileTexts } from "./filing.ts";
import type { Incoming } from "./incoming.ts";
import { EVENT_LINES, HeaderLines, type HeadersInit } from "./lines.ts";
import {
  checkBodiless,
  checkEvents,
  checkInformational,
  checkLength,
  checkRedirect,
  checkStatus,
  checkStreamOptions,
  ended,
  fileIsSent,
  hasBegun,
  isBodilessStatus,
} from "./misuse.ts";
import { COMMAND_FLAG, EVENT_FLAG } from "./native/tables.ts";
import {
  type DrainOptions,
  Outgoing,
  orGiveUp,
  sparing,
  watchHalfClosed,
  whenDelivered,
} from "./outgoing.ts";
import type { NativeReq } from "./request.ts";
import type { OpenExchange, Service } from "./service.ts";
import { pump, readerOf, type Source, type SourceReader } from "./sources.ts";
import { encodedLocation } from "./uris.ts";
import { writableOf } from "./writable.ts";
import { ZippedOutgoing } from "./zipped.ts";
import { Zipping } from "./zipping.ts";

const OPEN = 0;
const ENDED = 1;
const ABORTED = 2;
const STREAMING = 3;
const SWITCHING_PROTOCOLS = 101;
const STATES = ["open", "ended", "aborted", "streaming"] as const;
const JSON_TYPE = "Content-Type: application/json\r\n";

/** The one implementation of Res. Made by dispatch.ts, one per request event. */
export class NativeRes implements Res, OpenExchange {
  readonly #service: Service;
  readonly #handle: number;
  readonly #generation: number;
  readonly #flags: number; // of the event
  readonly #scope: AsyncResource;
  readonly req: NativeReq;
  /** Set while somebody watches through diagnostics_channel. */
  diagnosis: Diagnosis | undefined = undefined;
  #head = ""; // what was sent as header lines, while somebody watches
  #state = OPEN;
  #status: number;
  #lines: HeaderLines | undefined = undefined;
  #outgoing: Outgoing | ZippedOutgoing | undefined = undefined;
  #zipping: Zipping | undefined = undefined; // made where the option `compress` is on
  #filing: Filing | undefined = undefined; // the file that is being looked for
  #ending: AbortController | undefined = undefined; // of a source that is being streamed
  #isTracked = false;
  #isDetached = false;
  #isLeft = false; // by its handler
  #failure: unknown = undefined; // what stream() or file() came to

  constructor(
    service: Service,
    req: NativeReq,
    handle: number,
    generation: number,
    flags: number,
    scope: AsyncResource,
  ) {
    this.#service = service;
    this.#handle = handle;
    this.#generation = generation;
    this.#flags = flags;
    this.#scope = scope;
    this.#status = req.target.status;
    this.req = req;
    req.res = this;
  }

  get state(): "open" | "streaming" | "ended" | "aborted" {
    return STATES[this.#state] as (typeof STATES)[number];
  }

  /** Nothing of the response has been sent. */
  get isOpen(): boolean {
    return this.#state === OPEN;
  }

  get writableLength(): number {
    return this.#outgoing?.waitingBytes ?? 0;
  }

  get delivered(): Promise<boolean> {
    return whenDelivered(this.#service, this);
  }

  get incoming(): Incoming | undefined {
    return this.req.incoming;
  }

  get isAborted(): boolean {
    return this.#state === ABORTED;
  }

  /** Why there is no answer, when one was begun that failed. */
  get failure(): unknown {
    return this.#failure;
  }

  /** The handler is done. False when there is neither an answer nor anybody who might give it. */
  leave(): boolean {
    this.#isLeft = true;
    return this.#state !== OPEN || this.#isDetached || this.#ending !== undefined;
  }

  /** Whether the client asked with HEAD: the body's length counts, its bytes are not sent. */
  get isHead(): boolean {
    return (this.#flags & EVENT_FLAG.head) !== 0;
  }

  get generation(): number {
    return this.#generation;
  }

  get handle(): number {
    return this.#handle;
  }

  /** For those who watch. */
  get statusCode(): number {
    return this.#status;
  }

  /** For those who watch: "Name: value\r\n" per field. */
  get headerLines(): string {
    return this.#lines?.text ?? this.#head;
  }

  accel(uri: string, options?: AccelOptions): boolean {
    const lines = accelLines(uri, options);
    if (!this.#isWritable()) return false;
    this.#ownLines().setAll(lines);
    return this.#finish(undefined);
  }

  append(name: string, value: string | number): this {
    if (this.#isWritable()) this.#ownLines().append(name, value);
    return this;
  }

  compress(isOn: boolean): this {
    truth("compress()", isOn);
    if (this.#isWritable()) this.#ownZipping().isOn = isOn;
    return this;
  }

  cookie(name: string, value: string, options?: CookieOptions): this {
    if (this.#isWritable()) this.#ownLines().append("Set-Cookie", cookieLine(name, value, options));
    return this;
  }

  detach(): this {
    this.#isDetached = true;
    return this;
  }

  earlyHints(links: string | readonly string[]): this {
    this.informational(103, { link: typeof links === "string" ? [links] : links });
    return this;
  }

  /** @throws {MillraceError} ERR_MILLRACE_GAVE_UP, ERR_MILLRACE_ABORTED */
  drained(options?: DrainOptions): Promise<void> {
    if (this.#state === ABORTED) return Promise.reject(this.req.abortReason());
    const begin = (): Promise<void> => this.#outgoing?.drained() ?? Promise.resolve();
    return orGiveUp(begin, options, (error) => this.cut(error));
  }

  end(body?: Bytes, trailers?: HeadersInit): boolean {
    if (this.#outgoing !== undefined && this.#state === STREAMING)
      return this.#endStream(checkedBody(body), trailers);
    if (!this.#isWritable()) return false;
    if (trailers !== undefined)
      return this.#begin() && this.#endStream(checkedBody(body), trailers);
    return this.#finish(checkedBody(body));
  }

  events(options?: EventStreamOptions): EventStream {
    const settings = eventSettings(options);
    if (this.#isWritable()) {
      const lines = this.#ownLines();
      checkEvents(this.req.where, this.#status, lines);
      for (const [name, value] of EVENT_LINES)
        if (!lines.has(name.toLowerCase())) lines.set(name, value);
      this.#begin();
    }
    const last = Buffer.from(this.req.headers.get("last-event-id") ?? "", "latin1").toString();
    const stream = new EventStream(this, this.req.signal, last, settings);
    // Nobody takes its events; who has called can listen first.
    if (this.isHead) queueMicrotask(() => stream.close());
    if (settings.endsOnShutdown) this.#service.shutdown.endAlso(stream);
    return stream;
  }

  header(name: string, value: string | number | readonly string[]): this {
    if (this.#isWritable()) this.#ownLines().set(name, value);
    return this;
  }

  informational(status: number, headers?: HeadersInit): boolean {
    checkInformational(status);
    if (!this.#isWritable()) return false;
    const lines = new HeaderLines();
    if (headers !== undefined) lines.setAll(headers);
    if ((this.#flags & EVENT_FLAG.http10) !== 0) return false;
    return this.#service.native.informational(this.#handle, this.#generation, status, lines.text);
  }

  json(value: unknown): boolean {
    if (!this.#isWritable()) return false;
    const text: string | undefined = JSON.stringify(value);
    if (text === undefined)
      throw new MillraceError("ERR_MILLRACE_INVALID_BODY", `${show(value)} has no JSON form`);
    // Nearly always there is no other header: then nothing has to be put together.
    if (this.#lines === undefined) return this.#finish(text, JSON_TYPE);
    return this.#finish(text, this.#lines.has("content-type") ? "" : JSON_TYPE);
  }

  redirect(to: string, status = 302): boolean {
    checkRedirect(status);
    if (!this.#isWritable()) return false;
    this.#ownLines().set("Location", encodedLocation(to));
    this.#status = status;
    return this.#finish(undefined);
  }

  send(status: number, body?: Bytes, headers?: HeadersInit): boolean {
    if (!this.#isWritable()) return false;
    this.status(status);
    if (headers !== undefined) this.#ownLines().setAll(headers);
    return this.#finish(checkedBody(body));
  }

  status(code: number): this {
    checkStatus(code);
    if (this.#isWritable()) this.#status = code;
    return this;
  }

  stream(source: Source, options?: StreamOptions): Promise<void> {
    return this.#spared(this.#stream(source, options));
  }

  async #stream(source: Source, options: StreamOptions | undefined): Promise<void> {
    let reader: SourceReader | undefined;
    try {
      reader = readerOf(source);
      if (options !== undefined) checkStreamOptions("stream()", options);
      this.#checkFree();
      if (options?.length !== undefined) this.header("Content-Length", options.length);
    } catch (error) {
      reader?.cancel(error);
      if (this.#isFree) this.#came(error);
      throw error;
    }
    const begin = (): Promise<void> => this.pumpFrom(reader, options);
    await orGiveUp(begin, options, (error) => this.cut(error));
  }

  writable(options?: StreamOptions): Writable {
    if (options !== undefined) checkStreamOptions("writable()", options);
    if (this.#state !== ABORTED) {
      this.#checkFree();
      if (options?.length !== undefined) this.header("Content-Length", options.length);
    }
    return writableOf({
      signal: this.#fed(),
      write: (chunk) => this.write(chunk),
      drained: () => this.drained(options),
      end: () => {
        if (!this.end(undefined, options?.trailers?.())) throw this.req.abortReason();
      },
      fail: (error) => void this.#sourceFailed(error),
    });
  }

  write(chunk: Bytes): boolean {
    const bytes = checkedBody(chunk) ?? "";
    checkBodiless(this.req.where, this.#status, bytes);
    if (this.#state === OPEN && !this.#begin()) return false;
    if (this.#state !== STREAMING || this.#outgoing === undefined) return this.#isWritable();
    const outgoing = this.#outgoing as Outgoing | ZippedOutgoing;
    try {
      return outgoing.write(bytes);
    } catch (error) {
      // More than was announced: the peer must not take it for whole.
      if (error instanceof MillraceError && error.code === "ERR_MILLRACE_LENGTH_MISMATCH")
        this.cut(undefined, "Excepted", error.code);
      throw error;
    }
  }

  /** Begins with what a standard Response says; its body follows by write(). */
  beginStandard(response: Response): boolean {
    if (!this.#isWritable()) return false;
    this.status(response.status);
    this.#ownLines().takeFrom(response, true);
    return this.#begin();
  }

  /** The loop has handed bytes to the kernel. */
  written(bytes: number): void {
    this.#outgoing?.acknowledge(bytes);
  }

  file(path: string, options?: SendFileOptions): Promise<void> {
    return this.#spared(this.#file(path, options));
  }

  async #file(path: string, options: SendFileOptions | undefined): Promise<void> {
    try {
      this.#sendFile(path, options);
    } catch (error) {
      if (this.#isFree) this.#came(error);
      throw error;
    }
    await new Promise<void>((resolve, reject) => {
      this.#filing = { path, resolve, reject };
    });
  }

  #sendFile(path: string, options: SendFileOptions | undefined): void {
    if (!this.#isWritable()) throw this.req.abortReason();
    checkBodiless(this.req.where, this.#status, "a file");
    const lines = this.#lines;
    const texts = fileTexts(this.req, this.isHead, lines, path, options);
    const { native } = this.#service;
    const status = this.#status | ((lines?.flags ?? 0) << 16);
    const text = (lines?.text ?? "") + downloadLine(path, options, lines);
    if (!native.sendFile(this.#handle, this.#generation, status, text, texts)) {
      this.abort();
      throw this.req.abortReason();
    }
    this.#state = STREAMING;
    if (!this.#isTracked) this.track();
  }

  /** What became of file(). */
  filed(errno: number): void {
    const filing = this.#filing;
    this.#filing = undefined;
    if (filing === undefined) return;
    if (errno === 0) {
      this.#over(ENDED);
      filing.resolve();
      return;
    }
    // Nothing has been sent: the handler can answer something else.
    this.#state = OPEN;
    const error = fileError(filing.path, errnoName(errno));
    this.#came(error);
    filing.reject(error);
  }

  /** Drops what the handler has set so far: an error answer must not carry its headers. */
  reset(): void {
    this.#lines = undefined;
    this.#status = 200;
  }

  /** Sends a standard Response whose body has been read. */
  sendStandard(response: Response, body: Uint8Array | string | undefined): boolean {
    if (!this.#isWritable()) return false;
    this.status(response.status);
    const isForLength = body === undefined && (this.isHead || response.status === 304);
    this.#ownLines().takeFrom(response, isForLength);
    return this.#finish(body);
  }

  /**
   * The handler has returned and the answer is yet to come: from now on we can be told that the
   * peer left.
   */
  track(): void {
    this.#isTracked = true;
    this.#service.open.set(this.#handle, this);
    this.req.compact();
  }

  /** The peer has sent its last byte: it may be gone, or wait for the answer. */
  peerClosed(): void {
    if (this.#state !== OPEN && this.#state !== STREAMING) return;
    this.req.peerLeft();
    if (this.#ending !== undefined) this.#watchHalfClosed();
  }

  /** The peer has left, or the server was closed by force. */
  abort(): void {
    this.#zipping?.letGo();
    if (this.#state !== OPEN && this.#state !== STREAMING) return;
    this.#over(ABORTED);
    this.req.peerLeft();
    this.#outgoing?.fail(this.req.abortReason());
    this.#filing?.reject(this.req.abortReason());
    this.#filing = undefined;
  }

  /** Answers with 101: handle and generation are a WebSocket's from now on. */
  upgrade(lines: string, settings: number): boolean {
    if (!this.#isWritable()) return false;
    const { native } = this.#service;
    const isSent = native.upgrade(this.#handle, this.#generation, lines, settings);
    if (this.diagnosis !== undefined) {
      this.#status = SWITCHING_PROTOCOLS;
      this.#lines = undefined; // they are not sent
      this.#head = `Upgrade: websocket\r\nConnection: Upgrade\r\n${lines}`;
    }
    if (isSent) this.#over(ENDED);
    else this.abort();
    return isSent;
  }

  /** Resets the connection: the answer cannot be completed and must not look as if it were. */
  cut(reason?: MillraceError, cause: CloseCauseName = causeOf(reason), code?: ErrorCode): void {
    if (this.#state !== OPEN && this.#state !== STREAMING) return;
    if (reason !== undefined) this.req.blame(reason);
    const { native } = this.#service;
    const number = errorNumber(code ?? reason?.code);
    native.cut(this.#handle, this.#generation, causeNumber(cause), number);
    this.abort();
  }

  // Sends the head. False when the peer has left.
  #begin(): boolean {
    const status = this.#status;
    const lines = this.#lines;
    const length = lines?.length ?? -1;
    let flags = lines?.flags ?? 0;
    let text = lines?.text ?? "";
    const isChosen = this.req.target.compress !== undefined;
    const choice = isChosen ? this.#ownZipping().choose(status, text, length) : undefined;
    if (choice !== undefined) text = choice.lines;
    // What is compressed has another length.
    if (length >= 0 && choice?.encoding === undefined) {
      flags |= COMMAND_FLAG.hasLength;
      text += `Content-Length: ${length}\r\n`;
    }
    if (this.diagnosis !== undefined) this.#head = text;
    const { native } = this.#service;
    const isSent = native.begin(this.#handle, this.#generation, status | (flags << 16), text);
    if (!isSent) {
      this.abort();
      return false;
    }
    const { where } = this.req;
    const isBodiless = this.#isBodiless();
    const zipped = isBodiless || choice?.encoding === undefined ? undefined : choice;
    this.#state = STREAMING;
    const outgoing = new Outgoing(
      native,
      this.#handle,
      this.#generation,
      where,
      zipped === undefined ? length : -1,
      isBodiless,
    );
    this.#outgoing =
      zipped === undefined ? outgoing : this.#ownZipping().wrap(outgoing, zipped, length);
    // While a batch is dispatched the loop's news about us are still to come.
    this.track();
    return true;
  }

  // What was begun has failed. Who waits for it may answer otherwise. When the handler has left and
  // nobody does, it is answered, and told of, as if the handler had thrown it.
  #came(error: unknown): void {
    if (this.#isDetached) return;
    this.#failure = error;
    if (!this.#isLeft) return;
    const wasOpen = this.isOpen;
    setImmediate(() => {
      if (wasOpen && !this.#isFree) return;
      this.#scope.runInAsyncScope(this.#service.fail, undefined, this.req, this, error);
    });
  }

  #spared(sending: Promise<void>): Promise<void> {
    return sparing(sending, (error) => error === this.#failure);
  }

  // Nothing has been sent, and nothing is about to be.
  get #isFree(): boolean {
    return this.#state === OPEN && this.#ending === undefined;
  }

  #checkFree(): void {
    if (!this.#isWritable()) throw this.req.abortReason();
    if (this.#ending !== undefined) throw hasBegun(this.req.where);
  }

  #watchHalfClosed(): void {
    const isOver = (): boolean => this.#ending === undefined || this.#state === ENDED;
    const cut = (): void => this.cut();
    watchHalfClosed(() => this.#outgoing, isOver, cut, this.#ending?.signal);
  }

  #endStream(body: string | Uint8Array | undefined, trailers: HeadersInit | undefined): boolean {
    const outgoing = this.#outgoing as Outgoing | ZippedOutgoing;
    const lines = new HeaderLines();
    if (trailers !== undefined) lines.setAll(trailers);
    if (body !== undefined) this.write(body);
    try {
      outgoing.checkComplete();
    } catch (error) {
      this.cut(undefined, "Excepted", "ERR_MILLRACE_LENGTH_MISMATCH");
      throw error;
    }
    const isSent = outgoing.end(lines.text);
    if (!isSent) this.abort();
    else this.#over(ENDED);
    if (isSent && outgoing instanceof ZippedOutgoing) this.#zipping?.keep(outgoing);
    return isSent;
  }

  /** Streams a response, or the rest of one that has begun. */
  async pumpFrom(reader: SourceReader, options: StreamOptions | undefined): Promise<void> {
    if (this.#isBodiless()) {
      // Nobody takes it, so that an endless one would go on for ever.
      reader.cancel(undefined);
      if (this.#state === OPEN) this.#begin();
      if (this.#state === STREAMING) this.end();
      return;
    }
    const signal = this.#fed();
    try {
      await pump(reader, {
        signal,
        write: (chunk) => this.write(chunk),
        drained: () => this.drained(),
      });
      this.end(undefined, options?.trailers?.());
    } catch (error) {
      throw this.#sourceFailed(error);
    }
  }

  // Somebody feeds the response from now on; the signal aborts when that leads nowhere any more.
  #fed(): AbortSignal {
    const over = new AbortController();
    this.#ending = over;
    if (this.#state === ABORTED) over.abort(this.req.abortReason());
    else if (this.req.aborted) this.#watchHalfClosed();
    return over.signal;
  }

  // Gives the error that tells of it.
  #sourceFailed(cause: unknown): unknown {
    const wasStreaming = this.#state === STREAMING;
    let error = cause;
    if (wasStreaming || this.#state === OPEN) {
      this.#ending = undefined;
      const isOurs = cause instanceof MillraceError;
      const code = isOurs ? cause.code : "ERR_MILLRACE_SOURCE_FAILED";
      if (wasStreaming) this.cut(undefined, "Excepted", code);
      if (!isOurs) {
        const ending = wasStreaming ? "the connection was cut" : "500 was sent";
        const message = `${this.req.where}: the source of the response failed; ${ending}`;
        error = new MillraceError(code, message, { cause });
      }
    }
    this.#came(error);
    return error;
  }

  #finish(body: string | Uint8Array | undefined, type = ""): boolean {
    const status = this.#status;
    const lines = this.#lines;
    let flags = 0;
    let text = type;
    if (lines !== undefined) {
      flags = lines.flags;
      text += lines.text;
    }
    if (status < 206 || status === 304) checkBodiless(this.req.where, status, body);
    const said = lines === undefined ? -1 : lines.length;
    const isSaid = said >= 0 && this.#isLengthSaid(said, body);
    if (this.req.target.compress !== undefined) {
      const size = byteLengthOf(body);
      const length = this.isHead && size === 0 ? said : size;
      const choice = this.#ownZipping().choose(status, text, length);
      if (choice?.encoding !== undefined) return this.#finishZipped(choice, flags, body ?? "");
      if (choice !== undefined) text = choice.lines;
    }
    if (isSaid) {
      flags |= COMMAND_FLAG.hasLength;
      text += `Content-Length: ${said}\r\n`;
    }
    if (this.diagnosis !== undefined) this.#head = text;
    const isSent = this.#respond(status | (flags << 16), text, body);
    if (isSent) {
      this.#over(ENDED);
    } else {
      this.abort();
    }
    return isSent;
  }

  #finishZipped(choice: Choice, flags: number, body: string | Uint8Array): boolean {
    const statusFlags = this.#status | (flags << 16);
    const zipping = this.#ownZipping();
    const isSent = !this.isHead || zipping.sendHead(statusFlags, choice.lines);
    if (isSent) this.#over(ENDED);
    else this.abort();
    if (!this.isHead) zipping.sendWhole(statusFlags, choice, body);
    return isSent;
  }

  #respond(statusFlags: number, headers: string, body: string | Uint8Array | undefined): boolean {
    const { native, outbox } = this.#service;
    // Two functions: the native side would have to ask what it was given.
    if (typeof body === "object")
      return native.respondBytes(this.#handle, this.#generation, statusFlags, headers, body);
    const text = body ?? "";
    return (
      outbox.add(this.#handle, this.#generation, statusFlags, headers, text) ||
      native.respond(this.#handle, this.#generation, statusFlags, headers, text)
    );
  }

  #isBodiless(): boolean {
    return this.isHead || isBodilessStatus(this.#status);
  }

  // True when the field is to be sent as said: it announces a body that this response does not
  // carry.
  #isLengthSaid(said: number, body: string | Uint8Array | undefined): boolean {
    const has = byteLengthOf(body);
    if (has === 0 && (this.isHead || this.#status === 304)) return true;
    checkLength(this.req.where, said, has);
    return false;
  }

  #over(state: number): void {
    this.#state = state;
    if (this.req.incoming !== undefined) this.req.over(state === ABORTED);
    if (state === ABORTED) this.#ending?.abort(this.req.abortReason());
    else this.#outgoing?.settle();
    if (this.#isTracked) {
      this.#isTracked = false;
      this.#service.open.delete(this.#handle);
    }
    if (this.diagnosis !== undefined) this.#tellWatchers(this.diagnosis, state);
    this.#lines = undefined;
    this.#scope.emitDestroy();
  }

  #tellWatchers(diagnosis: Diagnosis, state: number): void {
    this.#head ||= this.#lines?.text ?? "";
    this.diagnosis = undefined;
    const tell = state === ENDED ? diagnosis.finish : diagnosis.abort;
    this.#scope.runInAsyncScope(tell, diagnosis);
  }

  #ownZipping(): Zipping {
    return (this.#zipping ??= new Zipping(this.#service, this.req, this.#handle, this.#generation));
  }

  #ownLines(): HeaderLines {
    return (this.#lines ??= new HeaderLines());
  }

  // False when the peer has left; what cannot be done any more is then no error.
  #isWritable(): boolean {
    if (this.#state === OPEN) return true;
    if (this.#state === ABORTED) return false;
    if (this.#filing !== undefined) throw fileIsSent(this.req.where);
    if (this.#state === STREAMING) throw hasBegun(this.req.where);
    throw ended(this.req.where);
  }
}
