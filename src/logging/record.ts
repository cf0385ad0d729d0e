// What a log is made of: the record, and errors in it. Writes nothing.
import type { CloseCauseName } from "../connection/api.ts";
import type { ErrorCode } from "../errors.ts";
import { stackOf } from "../warnings.ts";
import type { LogLevel } from "./levels.ts";

/** An error in a record, as pino's own serializer has it. */
export interface LogError {
  readonly type: string;
  readonly message: string;
  readonly stack: string;
}

/** What every line of a log says. */
export interface LogLine {
  /** The level's number in `LOG_LEVELS`. */
  readonly level: number;
  readonly levelName: LogLevel;
  /** Milliseconds of Unix time. */
  readonly time: number;
  readonly msg: string;
  readonly err?: LogError;
}

/** One record of a server's log. JSON.stringify() makes a line of it as pino writes them. */
export interface LogRecord extends LogLine {
  /** `server.name`. */
  readonly server: string;
  /** `server.id`. */
  readonly serverId: number;
  /** 0 in the main thread, else the worker's `threadId`. */
  readonly thread: number;
  /** Number of the loop among those of this thread. */
  readonly loop?: number;
  /** `connection.id`. */
  readonly connection?: string;
  /** Why the connection ended. */
  readonly cause?: CloseCauseName;
  /** The code of what went wrong; docs/errors.md explains it. */
  readonly code?: ErrorCode;
}

/** What only some records say. */
export type LogDetails = Pick<LogRecord, "loop" | "connection" | "cause" | "code" | "err">;

/** What a record says of something thrown. Never throws, whatever was. */
export function errOf(error: unknown): LogError {
  const stack = stackOf(error);
  try {
    if (error instanceof Error)
      return { type: String(error.name), message: String(error.message), stack };
    return { type: typeof error, message: stack, stack };
  } catch {
    return { type: "unknown", message: stack, stack };
  }
}
