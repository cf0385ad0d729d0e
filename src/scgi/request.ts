// A request of the classic loop: variables, input, and a response that is written as a CGI program
// writes its own, header block first.
import type { Address, Req, Res } from "../api.ts";
import { show } from "../errors.ts";
import type { DrainOptions } from "../outgoing.ts";
import { CgiHeadReader, missingHead } from "./cgi.ts";
import { asScgiError, ScgiError } from "./error.ts";

const STATUS_OK = "Status: 200 OK\r\n";

/** Settles the handler behind it. */
export interface Settle {
  readonly done: () => void;
  readonly fail: (error: unknown) => void;
}

/** What `next()` gives and `run()` calls its handler with. */
export class ScgiRequest {
  /** The variables, by their CGI names: REQUEST_METHOD, REQUEST_URI, HTTP_COOKIE, … */
  readonly headers: ReadonlyMap<string, string>;
  /** The body as it came. */
  readonly bytes: Uint8Array;
  readonly #req: Req;
  readonly #res: Res;
  readonly #settle: Settle;
  /** Called when the handler waits for the client. */
  onDraining: (() => void) | undefined = undefined;
  #head: CgiHeadReader | undefined = new CgiHeadReader();
  #isOver = false;

  constructor(req: Req, res: Res, bytes: Uint8Array, settle: Settle) {
    this.headers = req.scgi ?? new Map();
    this.bytes = bytes;
    this.#req = req;
    this.#res = res;
    this.#settle = settle;
  }

  /** Whether the client has left, or the response has ended. */
  get closed(): boolean {
    return this.#isOver || this.#res.state === "aborted";
  }

  /** The body as UTF-8 text. */
  get input(): string {
    return Buffer.from(this.bytes.buffer, this.bytes.byteOffset, this.bytes.length).toString();
  }

  /** REQUEST_METHOD. */
  get method(): string {
    return this.#req.method;
  }

  /** The client's address, as `req.remoteAddress`. */
  get remoteAddress(): Address {
    return this.#req.remoteAddress;
  }

  /** Aborted when the client leaves. */
  get signal(): AbortSignal {
    return this.#req.signal;
  }

  /** The request target with its query: REQUEST_URI, or what the other variables make of it. */
  get uri(): string {
    return this.#req.url;
  }

  /**
   * Writes a part of the response. It begins with the header block: Status, when it is not 200,
   * and fields, up to an empty line. Without one the answer is 500.
   * @returns false when the client has left, or more should wait for drained()
   * @throws {ScgiError} ERR_MILLRACE_INVALID_HEADER, ERR_MILLRACE_INVALID_STATUS,
   * ERR_MILLRACE_ALREADY_ENDED, ERR_MILLRACE_LENGTH_MISMATCH, ERR_MILLRACE_BUFFER_FULL
   */
  write(data: string | Uint8Array): boolean {
    if (this.#isOver) {
      const message = `the response to ${this.method} ${this.uri} has ended; write before close()`;
      throw new ScgiError("ERR_MILLRACE_ALREADY_ENDED", message);
    }
    try {
      return this.#head === undefined ? this.#res.write(data) : this.#writeHead(this.#head, data);
    } catch (error) {
      throw this.#fail(error);
    }
  }

  /**
   * Writes `Status: 200 OK`, the Content-Type and the empty line, and nothing else.
   * @throws {ScgiError} as write(); ERR_MILLRACE_INVALID_HEADER for a type with control characters:
   * the answer is 500
   */
  writeStatusOkTextContent(contentType = "text/html"): void {
    if (typeof contentType !== "string" || /\p{Cc}/u.test(contentType)) {
      const what = "a Content-Type is a text without control characters";
      const message = `${what}, got ${show(contentType)}`;
      throw this.#fail(new ScgiError("ERR_MILLRACE_INVALID_HEADER", message));
    }
    this.write(`${STATUS_OK}Content-Type: ${contentType}\r\n\r\n`);
  }

  /** Resolves when so much has left that it is worth writing on. */
  drained(options?: DrainOptions): Promise<void> {
    const drained = this.#res.drained(options);
    if (this.#res.writableLength > 0) this.onDraining?.();
    return drained;
  }

  /**
   * Ends the response; the connection closes when all that was written has left. Nothing the second
   * time.
   * @returns false when the client has left
   * @throws {ScgiError} ERR_MILLRACE_INVALID_HEADER when no header block was written: the answer is
   * 500; ERR_MILLRACE_LENGTH_MISMATCH
   */
  close(): boolean {
    if (this.closed) {
      this.#settle.done();
      return false;
    }
    try {
      if (this.#head !== undefined) throw missingHead(this.#head.hasBegun);
      const isSent = this.#res.end();
      this.#isOver = true;
      this.#settle.done();
      return isSent;
    } catch (error) {
      throw this.#fail(error);
    }
  }

  /** The same as close(). */
  end(): boolean {
    return this.close();
  }

  /** Gives up: 500 when nothing was sent yet, else the connection is cut. */
  fail(error: unknown): void {
    if (this.closed) return;
    this.#isOver = true;
    this.#settle.fail(error);
  }

  /** Answers 503: nobody will take it. */
  refuse(): void {
    if (this.closed) return;
    this.#isOver = true;
    this.#res.send(503);
    this.#settle.done();
  }

  #writeHead(reader: CgiHeadReader, data: string | Uint8Array): boolean {
    const bytes = typeof data === "string" ? Buffer.from(data) : data;
    const head = reader.push(bytes);
    if (head === undefined) return this.#res.state !== "aborted";
    this.#head = undefined;
    this.#res.status(head.status);
    for (const [name, value] of head.fields) this.#res.append(name, value);
    return this.#res.write(head.rest); // sends the head, also without a byte behind it
  }

  // The default answer follows: 500, or a cut.
  #fail(error: unknown): unknown {
    const own = asScgiError(error);
    this.fail(own);
    return own;
  }
}
