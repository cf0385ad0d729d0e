// Checks of what sockets are told.
import { checkRecord, invalidOption, truth } from "../check.ts";
import type { SendOptions } from "./api.ts";

const REASON_BYTES_MAX = 123;

/** @throws {MillraceError} ERR_MILLRACE_INVALID_OPTION */
export function checkClose(code: unknown, reason: unknown): void {
  const isCode =
    typeof code === "number" &&
    Number.isInteger(code) &&
    ((code >= 1000 && code <= 1014 && (code < 1004 || code > 1006)) ||
      (code >= 3000 && code <= 4999));
  if (!isCode) {
    const what = "takes a code of 1000 to 1003, 1007 to 1014 or 3000 to 4999";
    throw invalidOption("close()", what, code);
  }
  if (typeof reason !== "string")
    throw invalidOption("close()", "takes a string for reason", reason);
  const size = Buffer.byteLength(reason);
  if (size <= REASON_BYTES_MAX) return;
  throw invalidOption("close()", `takes a reason of at most ${REASON_BYTES_MAX} bytes`, size);
}

/**
 * Whether a message may be compressed by what came with it.
 * @throws {MillraceError} ERR_MILLRACE_INVALID_OPTION, also for the callback, the boolean and the
 * `binary` that other servers take
 */
export function mayCompress(options: unknown): boolean {
  const name = "the options of send()";
  checkRecord(name, options, ["compress"]);
  const { compress } = options as SendOptions;
  return compress === undefined || truth(`${name}: compress`, compress);
}
