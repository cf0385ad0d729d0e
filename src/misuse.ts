// What a response refuses: each with its code, and a message that says what to do instead.
import type { StreamOptions } from "./api.ts";
import { byteLengthOf } from "./body.ts";
import { callable, checkRecord, milliseconds } from "./check.ts";
import { MillraceError, show } from "./errors.ts";
import type { HeaderLines } from "./lines.ts";

const REDIRECTS: readonly number[] = [301, 302, 303, 307, 308];

/** Whether answers with that status never have a body (RFC 9110 15.3.5, 15.3.6, 15.4.5). */
export function isBodilessStatus(status: number): boolean {
  return status === 204 || status === 205 || status === 304;
}

/** @throws {MillraceError} ERR_MILLRACE_INVALID_STATUS */
export function checkStatus(status: number): void {
  if (Number.isInteger(status) && status >= 200 && status <= 599) return;
  const message = `a status is an integer from 200 to 599, got ${show(status)}`;
  throw new MillraceError("ERR_MILLRACE_INVALID_STATUS", message);
}

/** @throws {MillraceError} ERR_MILLRACE_INVALID_STATUS */
export function checkInformational(status: number): void {
  if (Number.isInteger(status) && status >= 100 && status <= 199 && status !== 101) return;
  const message = `an informational status is 100 or 102 to 199, got ${show(status)}`;
  throw new MillraceError("ERR_MILLRACE_INVALID_STATUS", message);
}

/** @throws {MillraceError} ERR_MILLRACE_INVALID_STATUS */
export function checkRedirect(status: number): void {
  if (REDIRECTS.includes(status)) return;
  const message = `a redirect has status ${REDIRECTS.join(", ")}, got ${show(status)}`;
  throw new MillraceError("ERR_MILLRACE_INVALID_STATUS", message);
}

/** @throws {MillraceError} ERR_MILLRACE_INVALID_BODY */
export function checkBodiless(
  where: string,
  status: number,
  body: string | Uint8Array | undefined,
): void {
  if (!isBodilessStatus(status) || body === undefined || body.length === 0) return;
  const message = `${where}: status ${status} has no body, got ${byteLengthOf(body)} bytes`;
  throw new MillraceError("ERR_MILLRACE_INVALID_BODY", message);
}

/** @throws {MillraceError} ERR_MILLRACE_INVALID_STATUS, ERR_MILLRACE_INVALID_HEADER */
export function checkEvents(where: string, status: number, lines: HeaderLines): void {
  if (isBodilessStatus(status)) {
    const message = `${where}: status ${status} has no body, and so no events; call res.end()`;
    throw new MillraceError("ERR_MILLRACE_INVALID_STATUS", message);
  }
  if (lines.length < 0) return;
  const message = `${where}: an event stream has no Content-Length; leave it out`;
  throw new MillraceError("ERR_MILLRACE_INVALID_HEADER", message);
}

/** @throws {MillraceError} ERR_MILLRACE_LENGTH_MISMATCH */
export function checkLength(where: string, said: number, has: number): void {
  if (said === has) return;
  const fix = "leave the field out, it is written for you";
  const message = `${where}: Content-Length says ${said}, the body has ${has} bytes; ${fix}`;
  throw new MillraceError("ERR_MILLRACE_LENGTH_MISMATCH", message);
}

/**
 * How a body is streamed, but for its length, which the header lines judge.
 * @throws {MillraceError} ERR_MILLRACE_INVALID_OPTION
 */
export function checkStreamOptions(name: string, options: StreamOptions): void {
  checkRecord(name, options, ["giveUpMs", "length", "trailers"]);
  if (options.giveUpMs !== undefined) milliseconds("giveUpMs", options.giveUpMs, 0);
  if (options.trailers !== undefined) callable(`${name} trailers`, options.trailers);
}

/** For who sets what has been sent. */
export function hasBegun(where: string): MillraceError {
  const fix = "set status and headers before the first write()";
  const message = `the response to ${where} has begun; ${fix}`;
  return new MillraceError("ERR_MILLRACE_HEADERS_SENT", message);
}

/** For who answers twice. */
export function ended(where: string): MillraceError {
  const fix = "answer once, and return after answering";
  const message = `the response to ${where} has been ended; ${fix}`;
  return new MillraceError("ERR_MILLRACE_ALREADY_ENDED", message);
}

/** For who answers while res.file() looks for its file. */
export function fileIsSent(where: string): MillraceError {
  const fix = "await res.file() before anything else";
  const message = `the response to ${where} is a file; ${fix}`;
  return new MillraceError("ERR_MILLRACE_ALREADY_ENDED", message);
}
