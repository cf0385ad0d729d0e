// Reads a buffered request body: bytes, text, json, form, each at most once and with a limit of its
// own.
import { docsOf, MillraceError, show } from "./errors.ts";

/** How a body is read. */
export interface BodyOptions {
  /**
   * Most bytes to accept; more rejects with ERR_MILLRACE_BODY_TOO_LARGE. The route's and server's
   * limits go first.
   */
  readonly limit?: number;
}

/**
 * What can be sent as a body. Strings go as UTF-8; bytes are copied, so they may be changed
 * afterwards.
 */
export type Bytes = string | Uint8Array | ArrayBuffer;

const NOTHING: Uint8Array = new Uint8Array(0);
// Malformed UTF-8 becomes U+FFFD and a byte order mark goes, as fetch has it.
const utf8 = new TextDecoder();

/** A limit that was given, or none. @throws {MillraceError} ERR_MILLRACE_INVALID_OPTION */
export function limitOf(options: { readonly limit?: number } | undefined): number {
  const limit = options?.limit ?? Infinity;
  if (typeof limit === "number" && limit >= 0) return limit;
  const message = `limit must be a number of bytes, got ${show(limit)}`;
  throw new MillraceError("ERR_MILLRACE_INVALID_OPTION", message);
}

/** The body of one request. Empty when there was none. */
export class Body {
  readonly #where: string;
  #bytes: Uint8Array | undefined;
  #used = false;

  /** `where` names the request in messages: "POST /users/:id". */
  constructor(bytes: Uint8Array | undefined, where: string) {
    this.#bytes = bytes;
    this.#where = where;
  }

  get used(): boolean {
    return this.#used;
  }

  /**
   * The bytes, once. @throws {MillraceError} ERR_MILLRACE_BODY_USED, ERR_MILLRACE_BODY_TOO_LARGE
   */
  take(options: BodyOptions | undefined): Uint8Array {
    if (this.#used)
      throw new MillraceError(
        "ERR_MILLRACE_BODY_USED",
        `the body of ${this.#where} has been read already; keep the first result`,
      );
    const bytes = this.#bytes ?? NOTHING;
    if (options?.limit !== undefined) {
      const limit = limitOf(options);
      if (bytes.length > limit) {
        throw new MillraceError(
          "ERR_MILLRACE_BODY_TOO_LARGE",
          `the body of ${this.#where} has ${bytes.length} bytes, the limit given is ${limit}`,
        );
      }
    }
    this.#used = true;
    this.#bytes = undefined;
    return bytes;
  }

  text(options: BodyOptions | undefined): string {
    const bytes = this.take(options);
    return bytes.length === 0 ? "" : utf8.decode(bytes);
  }

  /** @throws {MillraceError} ERR_MILLRACE_BAD_JSON with status 400 */
  json(options: BodyOptions | undefined): unknown {
    const text = this.text(options);
    try {
      return JSON.parse(text);
    } catch (cause) {
      throw new MillraceError("ERR_MILLRACE_BAD_JSON", this.#badJson(text, cause), { cause });
    }
  }

  /**
   * As `json`, with the SyntaxError that a standard Request has; it carries our code and status.
   */
  standardJson(): unknown {
    const text = this.text(undefined);
    try {
      return JSON.parse(text);
    } catch (cause) {
      throw markBadJson(cause, this.#badJson(text, cause));
    }
  }

  form(contentType: string | null, options: BodyOptions | undefined): URLSearchParams {
    const essence =
      contentType === null ? "" : (contentType.split(";", 1)[0] as string).trim().toLowerCase();
    if (essence !== "" && essence !== "application/x-www-form-urlencoded") {
      const form = "form() reads application/x-www-form-urlencoded";
      const message = `the body of ${this.#where} is ${show(essence)}; ${form}`;
      throw new MillraceError("ERR_MILLRACE_UNSUPPORTED_MEDIA_TYPE", message, { status: 415 });
    }
    return new URLSearchParams(this.text(options));
  }

  #badJson(text: string, cause: unknown): string {
    if (text === "") return `the body of ${this.#where} is empty, not JSON`;
    const reason = cause instanceof Error ? cause.message : String(cause);
    return `the body of ${this.#where} is not valid JSON: ${reason}`;
  }
}

/** Gives a SyntaxError the code and status with which an escaping one is answered: 400, not 500. */
export function markBadJson(cause: unknown, message: string): SyntaxError {
  const error = new SyntaxError(message, { cause });
  return Object.assign(error, {
    code: "ERR_MILLRACE_BAD_JSON" as const,
    docs: docsOf("ERR_MILLRACE_BAD_JSON"),
    status: 400,
  });
}

/** What goes down to the native side, or a coded error. */
export function checkedBody(body: unknown): string | Uint8Array | undefined {
  if (body === undefined || typeof body === "string" || body instanceof Uint8Array) return body;
  if (body instanceof ArrayBuffer) return new Uint8Array(body);
  const hint =
    typeof body === "object" && body !== null && !ArrayBuffer.isView(body)
      ? "; res.json() sends objects"
      : "";
  throw new MillraceError(
    "ERR_MILLRACE_INVALID_BODY",
    `a body must be a string, Uint8Array or ArrayBuffer, got ${show(body)}${hint}`,
  );
}

/** Bytes that `body` has on the wire. */
export function byteLengthOf(body: string | Uint8Array | undefined): number {
  if (body === undefined) return 0;
  return typeof body === "string" ? Buffer.byteLength(body) : body.byteLength;
}
