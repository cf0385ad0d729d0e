// The response builder of a raw handler: collects a status and header lines, then makes one native
// call.
import type { AsyncResource } from "node:async_hooks";
import type { Res } from "./api.ts";
import { type Bytes, byteLengthOf, checkedBody } from "./body.ts";
import { type CookieOptions, cookieLine } from "./cookies.ts";
import { MillraceError, show } from "./errors.ts";
import { HeaderLines, type HeadersInit } from "./lines.ts";
import { COMMAND_FLAG, EVENT_FLAG } from "./native/tables.ts";
import type { NativeReq } from "./request.ts";
import type { OpenExchange, Service } from "./service.ts";

const OPEN = 0;
const ENDED = 1;
const ABORTED = 2;
const STATES = ["open", "ended", "aborted"] as const;
const JSON_TYPE = "Content-Type: application/json\r\n";
const REDIRECTS: readonly number[] = [301, 302, 303, 307, 308];

/** The one implementation of Res. Made by dispatch.ts, one per request event. */
export class NativeRes implements Res, OpenExchange {
  readonly #service: Service;
  readonly #handle: number;
  readonly #generation: number;
  readonly #flags: number; // of the event
  readonly #scope: AsyncResource;
  readonly req: NativeReq;
  #state = OPEN;
  #status: number;
  #lines: HeaderLines | undefined = undefined;
  #isTracked = false;
  #isDetached = false;

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

  get state(): "open" | "ended" | "aborted" {
    return STATES[this.#state] as "open" | "ended" | "aborted";
  }

  get isOpen(): boolean {
    return this.#state === OPEN;
  }

  get isAborted(): boolean {
    return this.#state === ABORTED;
  }

  get isDetached(): boolean {
    return this.#isDetached;
  }

  /** Whether the client asked with HEAD: the body's length counts, its bytes are not sent. */
  get isHead(): boolean {
    return (this.#flags & EVENT_FLAG.head) !== 0;
  }

  get generation(): number {
    return this.#generation;
  }

  append(name: string, value: string | number): this {
    if (this.#isWritable()) this.#ownLines().append(name, value);
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

  end(body?: Bytes): boolean {
    if (!this.#isWritable()) return false;
    return this.#finish(checkedBody(body));
  }

  header(name: string, value: string | number | readonly string[]): this {
    if (this.#isWritable()) this.#ownLines().set(name, value);
    return this;
  }

  informational(status: number, headers?: HeadersInit): boolean {
    if (!Number.isInteger(status) || status < 100 || status > 199 || status === 101) {
      throw new MillraceError(
        "ERR_MILLRACE_INVALID_STATUS",
        `an informational status is 100 or 102 to 199, got ${show(status)}`,
      );
    }
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
    if (!REDIRECTS.includes(status)) {
      throw new MillraceError(
        "ERR_MILLRACE_INVALID_STATUS",
        `a redirect has status ${REDIRECTS.join(", ")}, got ${show(status)}`,
      );
    }
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
    if (!Number.isInteger(code) || code < 200 || code > 599) {
      throw new MillraceError(
        "ERR_MILLRACE_INVALID_STATUS",
        `a status is an integer from 200 to 599, got ${show(code)}`,
      );
    }
    if (this.#isWritable()) this.#status = code;
    return this;
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
    if (this.#state === OPEN) this.req.peerLeft();
  }

  /** The peer has left, or the server was closed by force. */
  abort(): void {
    if (this.#state !== OPEN) return;
    this.#over(ABORTED);
    this.req.peerLeft();
  }

  /** Resets the connection: the answer cannot be completed and must not look as if it were. */
  cut(): void {
    if (this.#state !== OPEN) return;
    this.#service.native.cut(this.#handle, this.#generation);
    this.abort();
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
    if (status < 206 || status === 304) this.#checkBodiless(status, body);
    if (lines !== undefined && lines.length >= 0) {
      if (this.#checkLength(lines.length, body)) {
        flags |= COMMAND_FLAG.hasLength;
        text += `Content-Length: ${lines.length}\r\n`;
      }
    }
    const isSent = this.#respond(status | (flags << 16), text, body);
    if (isSent) {
      this.#over(ENDED);
    } else {
      this.abort();
    }
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

  #checkBodiless(status: number, body: string | Uint8Array | undefined): void {
    if (status !== 204 && status !== 205 && status !== 304) return;
    if (body === undefined || body.length === 0) return;
    throw new MillraceError(
      "ERR_MILLRACE_INVALID_BODY",
      `${this.req.where}: status ${status} has no body, got ${byteLengthOf(body)} bytes`,
    );
  }

  // True when the field is to be sent as said: it announces a body that this response does not
  // carry.
  #checkLength(said: number, body: string | Uint8Array | undefined): boolean {
    const has = byteLengthOf(body);
    if (has === 0 && (this.isHead || this.#status === 304)) return true;
    if (said === has) return false;
    const message =
      `${this.req.where}: Content-Length says ${said}, the body has ${has} bytes; ` +
      "leave the field out, it is written for you";
    throw new MillraceError("ERR_MILLRACE_LENGTH_MISMATCH", message);
  }

  #over(state: number): void {
    this.#state = state;
    if (this.#isTracked) {
      this.#isTracked = false;
      this.#service.open.delete(this.#handle);
    }
    this.#lines = undefined;
    this.#scope.emitDestroy();
  }

  #ownLines(): HeaderLines {
    return (this.#lines ??= new HeaderLines());
  }

  // False when the peer has left; what cannot be done any more is then no error.
  #isWritable(): boolean {
    if (this.#state === OPEN) return true;
    if (this.#state === ABORTED) return false;
    const fix = "answer once, and return after answering";
    const message = `the response to ${this.req.where} has been ended; ${fix}`;
    throw new MillraceError("ERR_MILLRACE_ALREADY_ENDED", message);
  }
}

function encodedLocation(to: string): string {
  if (typeof to !== "string")
    throw new MillraceError(
      "ERR_MILLRACE_INVALID_HEADER",
      `redirect() takes a string, got ${show(to)}`,
    );
  try {
    return to.replace(/[\u0080-\uffff]+/g, encodeURIComponent);
  } catch (cause) {
    const message = `the redirect to ${show(to)} holds half a surrogate pair`;
    throw new MillraceError("ERR_MILLRACE_INVALID_HEADER", message, { cause });
  }
}
