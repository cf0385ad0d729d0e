// Causes by name and number, with their levels, and what a Disconnected event says besides.
import { errnoName, type MillraceError, sentenceOf } from "../errors.ts";
import { LOG_LEVELS } from "../logging/levels.ts";
import { CAUSES, ERRORS, type ErrorCode } from "../native/tables.ts";
import type { CloseCauseName } from "./api.ts";

const CAUSE_BITS = 0xff;
const ERROR_SHIFT = 8;
const ERROR_BITS = 0xfff;
const ERRNO_SHIFT = 20;
const CLOSED: ErrorCode = "ERR_MILLRACE_CLOSED";

/** How a connection ended. */
export interface Ending {
  readonly cause: CloseCauseName;
  readonly level: number;
  readonly detail: string;
  readonly code?: ErrorCode;
}

/** The end of what the server has closed by stopping. */
export const SERVER_CLOSED: Ending = {
  cause: "CloseCalled",
  level: LOG_LEVELS.debug,
  detail: "server closed",
};

/** The names, for checks. */
export const CAUSE_NAMES: readonly string[] = CAUSES.map(({ name }) => name);

/** The number of a cause. */
export function causeNumber(name: CloseCauseName): number {
  return CAUSE_NAMES.indexOf(name);
}

/** The cause of the end of an exchange that the application cuts. */
export function causeOf(reason: MillraceError | undefined): CloseCauseName {
  return reason?.code === "ERR_MILLRACE_GAVE_UP" ? "TimedOut" : "CloseCalled";
}

/** The number of a code, as commands have it; 0 for none. */
export function errorNumber(code: ErrorCode | undefined): number {
  return code === undefined ? 0 : ERRORS.findIndex((row) => row.code === code);
}

/** The level at which a cause is logged. */
export function causeLevel(name: CloseCauseName): number {
  return LOG_LEVELS[CAUSES[causeNumber(name)]?.level ?? "debug"];
}

/** The causes that pass a level, as the native side is told: a bit by number. */
export function causesFrom(level: number): number {
  let mask = 0;
  for (const { name, number } of CAUSES) if (causeLevel(name) >= level) mask |= 1 << number;
  return mask;
}

/** Word 15 of a Disconnected event. */
export function endingOf(word: number): Ending {
  const cause = CAUSES[word & CAUSE_BITS]?.name ?? "NetErrored";
  const level = causeLevel(cause);
  const errno = word >>> ERRNO_SHIFT;
  const row = ERRORS[(word >>> ERROR_SHIFT) & ERROR_BITS];
  const code = row?.code ?? "";
  if (errno !== 0) return { cause, level, detail: errnoName(errno) };
  if (code === "") return { cause, level, detail: "" };
  if (code === CLOSED) return { cause, level, detail: SERVER_CLOSED.detail };
  return { cause, level, code, detail: `${code}: ${sentenceOf(code)}` };
}
