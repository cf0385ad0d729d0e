// Levels of a log: their names and numbers, and the check of one that was given.
import { oneOf } from "../check.ts";

/** Levels by name: pino's numbers, and notice between info and warn. "silent" lets nothing pass. */
export const LOG_LEVELS = {
  trace: 10,
  debug: 20,
  info: 30,
  notice: 35,
  warn: 40,
  error: 50,
  fatal: 60,
  silent: 100,
} as const;

/** The name of a level. */
export type LogLevel = keyof typeof LOG_LEVELS;

const NAMES = Object.keys(LOG_LEVELS) as readonly LogLevel[];

/**
 * The number of a level.
 * @throws {MillraceError} ERR_MILLRACE_INVALID_OPTION
 */
export function levelOf(name: string, value: unknown): number {
  oneOf(name, value, NAMES);
  return LOG_LEVELS[value as LogLevel];
}

/** The name of a level's number: that of the next lower level where it lies between two. */
export function levelName(level: number): LogLevel {
  let found: LogLevel = "trace";
  for (const name of NAMES) if (LOG_LEVELS[name] <= level) found = name;
  return found;
}
