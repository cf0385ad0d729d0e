// The options `log` and `accessLog` of serve(): their types, and their validation.
import { callable, checkRecord, integer, invalidOption } from "../check.ts";
import type { AccessRecord } from "./access.ts";
import { LOG_LEVELS, type LogLevel, levelOf } from "./levels.ts";
import type { LogRecord } from "./record.ts";

/** How a server logs. */
export interface LogOptions {
  /** Records that may wait for `write`, 2 to 1 048 576; what is beyond is dropped. @default 1024 */
  readonly capacity?: number;
  /** The lowest level that is logged. @default "warn" */
  readonly level?: LogLevel;
  /**
   * Takes the records, one after the other and outside of handlers: `write` of a `FileLogger`,
   * `(record) => void stream.write(JSON.stringify(record) + "\n")` for lines as pino's, or
   * `({ levelName, msg }) => handler(levelName, msg)` for who has a handler of level and text. When
   * it gives a promise, the next record waits for it. What it throws harms nothing.
   * @default lines on standard error
   */
  readonly write?: (record: LogRecord) => unknown;
}

/** How answers are logged. */
export interface AccessLogOptions {
  /** Records that may wait for `write`, 1 to 1 048 576. @default 16_384 */
  readonly size?: number;
  /** Takes records in batches; when it gives a promise, the next batch waits for it. */
  readonly write: (records: readonly AccessRecord[]) => unknown;
}

/** The option `log`, validated. */
export interface LogSettings {
  readonly level: number;
  readonly write: ((record: LogRecord) => unknown) | undefined;
  readonly capacity: number;
  /** Whether the application has chosen; otherwise failures of handlers are process warnings. */
  readonly isGiven: boolean;
}

const CAPACITY = 1024;
const ACCESS_CAPACITY = 16_384;
const CAPACITY_MAX = 1_048_576;

/** @throws {MillraceError} ERR_MILLRACE_INVALID_OPTION */
export function logSettings(value: unknown): LogSettings {
  const defaults = { level: LOG_LEVELS.warn, write: undefined, capacity: CAPACITY };
  if (value === undefined) return { ...defaults, isGiven: false };
  if (value === false) return { ...defaults, level: LOG_LEVELS.silent, isGiven: true };
  if (typeof value === "string")
    return { ...defaults, level: levelOf("log", value), isGiven: true };
  if (typeof value !== "object")
    throw invalidOption("log", "must be false, a level or an object", value);
  checkRecord("log", value, ["capacity", "level", "write"]);
  const given = value as LogOptions;
  if (given.write !== undefined) callable("log.write", given.write);
  const { capacity = CAPACITY, level } = given;
  return {
    level: level === undefined ? defaults.level : levelOf("log.level", level),
    write: given.write?.bind(given),
    // Of two places, one is for saying that records were dropped.
    capacity: integer("log.capacity", capacity, 2, CAPACITY_MAX, "records"),
    isGiven: true,
  };
}

/** @throws {MillraceError} ERR_MILLRACE_INVALID_OPTION */
export function accessSettings(value: unknown): Required<AccessLogOptions> | undefined {
  if (value === undefined) return undefined;
  if (typeof value === "function")
    return { size: ACCESS_CAPACITY, write: value as AccessLogOptions["write"] };
  checkRecord("accessLog", value, ["size", "write"]);
  const given = value as AccessLogOptions;
  callable("accessLog.write", given.write);
  const { size = ACCESS_CAPACITY } = given;
  return {
    size: integer("accessLog.size", size, 1, CAPACITY_MAX, "records"),
    write: given.write.bind(given),
  };
}
