// The one error class and its codes. The codes themselves come from native/core/model/errors.def.
import { createRequire } from "node:module";
import { getSystemErrorName } from "node:util";
import { ERRORS, type ErrorCode } from "./native/tables.ts";

export type { ErrorCode };

/** What a {@link MillraceError} may be given besides code and message. */
export interface MillraceErrorOptions {
  /** The error underneath, when there is one. */
  readonly cause?: unknown;
  /** HTTP status to answer with when a handler lets the error escape; the code's own by default. */
  readonly status?: number;
}

const BY_CODE: ReadonlyMap<string, (typeof ERRORS)[number]> = new Map(
  ERRORS.map((row) => [row.code, row]),
);

/**
 * Every error that millrace makes: a stable `code`, a message with the wrong value and the fix, and
 * where to read on.
 *
 * @example
 * ```ts
 * import { MillraceError, serve } from "millrace";
 * try {
 *   await serve({ port: 80, handler: (_req, res) => void res.end("hi") });
 * } catch (error) {
 *   if (error instanceof MillraceError && error.code === "ERR_MILLRACE_ACCESS_DENIED")
 * console.error(error.message); }
 * ```
 */
export class MillraceError extends Error {
  /** Stable name of what happened. */
  readonly code: ErrorCode;
  /** The HTTP status that fits, when one does. */
  readonly status?: number;
  /** Where this code is explained, relative to the package. */
  readonly docs: string;

  constructor(code: ErrorCode, message: string, options?: MillraceErrorOptions) {
    super(
      message,
      options !== undefined && "cause" in options ? { cause: options.cause } : undefined,
    );
    this.code = code;
    this.docs = docsOf(code);
    const status = options?.status ?? BY_CODE.get(code)?.status ?? 0;
    if (status !== 0) this.status = status;
  }

  override get name(): string {
    return "MillraceError";
  }
}

/** "ENOENT" for 2; "errno 2" where Node does not know it. */
export function errnoName(errno: number): string {
  try {
    return getSystemErrorName(-errno);
  } catch {
    return `errno ${errno}`;
  }
}

/** Where a code is explained, relative to the package. */
export function docsOf(code: ErrorCode): string {
  return `docs/errors.md#${code.toLowerCase()}`;
}

/** The table's sentence about a code. */
export function sentenceOf(code: string): string {
  return BY_CODE.get(code)?.text ?? "";
}

/** Insufficient Storage: an answer to the peer like a 4xx, and news for the operator. */
export const FULL = 507;

/**
 * The 4xx status of an error: one of ours (a MillraceError, or a SyntaxError marked likewise), or
 * an Error whose `status` or `statusCode` says so, as those of http-errors. 507 when there was no
 * room for what the peer sent. 0 for everything else that escapes a handler: the fault of the
 * application, so a 500. Never throws, as what is thrown may be a Proxy or have getters.
 */
export function clientStatusOf(error: unknown): number {
  try {
    if (!(error instanceof Error)) return 0;
    const { status, statusCode } = error as unknown as Partial<Record<string, unknown>>;
    if (isClientStatus(status)) return status;
    if (status === FULL && isOurs(error)) return FULL;
    return isClientStatus(statusCode) ? statusCode : 0;
  } catch {
    return 0;
  }
}

/**
 * What the peer is told of an error with such a status: our own sentence, or the message of a
 * foreign one that allows it (`expose`). Other messages may hold what the peer is not to see.
 */
export function publicTextOf(error: unknown, status: number): string {
  const { code, expose, message } = error as unknown as Partial<Record<string, unknown>>;
  if (isOurs(error)) return `${code}: ${sentenceOf(code as string)}`;
  if (expose === true && typeof message === "string" && message !== "") return message;
  return reasonOf(status) ?? "Client Error";
}

/** Whether an error carries a code of the table. */
export function isOurs(error: unknown): boolean {
  const { code } = error as { readonly code?: unknown };
  return typeof code === "string" && BY_CODE.has(code);
}

// Loaded when first needed: no server needs all of node:http to start.
function reasonOf(status: number): string | undefined {
  const load = createRequire(import.meta.url);
  return (load("node:http") as typeof import("node:http")).STATUS_CODES[status];
}

function isClientStatus(status: unknown): status is number {
  return Number.isInteger(status) && (status as number) >= 400 && (status as number) <= 499;
}

/** A wrong value in a message: short, quoted when it is a string, never with its whole content. */
export function show(value: unknown): string {
  if (typeof value === "string")
    return JSON.stringify(value.length > 80 ? `${value.slice(0, 77)}...` : value);
  if (
    value === null ||
    value === undefined ||
    typeof value === "number" ||
    typeof value === "boolean"
  )
    return `${value}`;
  if (typeof value === "bigint") return `${value}n`;
  if (typeof value === "symbol") return value.toString();
  if (typeof value === "function") return "a function";
  if (Array.isArray(value)) return "an array";
  const name: unknown = (value as { constructor?: { name?: unknown } }).constructor?.name;
  return typeof name === "string" && name !== "" && name !== "Object"
    ? `an instance of ${name}`
    : "an object";
}
