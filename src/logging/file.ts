// FileLogger: lines into a file by a native thread, in order, with errors in the file at once.
import { formatWithOptions } from "node:util";
import { checkRecord, integer, invalidOption, oneOf } from "../check.ts";
import { errnoName, MillraceError, show } from "../errors.ts";
import { atExit } from "../exits.ts";
import { type Binding, binding } from "../native/binding.ts";
import { warn } from "../warnings.ts";
import { LOG_LEVELS, type LogLevel, levelName, levelOf } from "./levels.ts";
import { lineOf, type Printable, wholeText } from "./printer.ts";
import { errOf, type LogLine } from "./record.ts";

const CAPACITY = 8_388_608;
const CAPACITY_MIN = 4096;
const CAPACITY_MAX = 1_073_741_824;
const FLUSH_MS = 1000;
const CODE = "ERR_MILLRACE_LOG_FAILED";
const PLAIN = { colors: false };

/** How a `FileLogger` writes. */
export interface FileLoggerOptions {
  /**
   * Bytes that may wait for the disk, 4096 to 2^30; lines beyond are dropped and counted.
   * @default 8_388_608
   */
  readonly capacity?: number;
  /** JSON as pino writes it, or text for people. Both have one line per record. @default "json" */
  readonly format?: "json" | "text";
}

/**
 * Appends lines to a file. A native thread writes them, so that no disk holds JavaScript up; the
 * order is always kept. Lines of several loggers, workers or processes in one file stay whole.
 *
 * Errors and worse are with the system when the call returns (or after a second, when the disk does
 * not answer): what comes to the process then does not lose them.
 *
 * @example
 * ```ts
 * import { FileLogger, serve } from "millrace";
 * const file = new FileLogger("server.log");
 * process.on("SIGHUP", () => void file.reopen()); // a failure is a warning
 * const log = { level: "info", write: file.write } as const;
 * await serve({ port: 0, fetch: () => new Response("hi"), log });
 * file.info("listening");
 * ```
 */
export class FileLogger implements AsyncDisposable {
  /** Writes a record: what the option `log` takes, `log: { write: file.write }`. */
  readonly write: (record: LogLine) => void;
  readonly #native: Binding;
  readonly #name: string;
  readonly #isText: boolean;
  readonly #log: number;
  readonly #stay: () => void;
  #lost = 0;
  /** Bytes that wait, when the disk did not answer in time: as long as they do, nobody waits. */
  #stuck = 0;
  #isClosed = false;
  #closing: Promise<void> | undefined = undefined;

  /**
   * @param target - a path, or a descriptor, which is duplicated
   * @throws {MillraceError} ERR_MILLRACE_LOG_FAILED, ERR_MILLRACE_INVALID_OPTION
   */
  constructor(target: string | number, options: FileLoggerOptions = {}) {
    checkRecord("FileLogger", options, ["capacity", "format"]);
    const { capacity = CAPACITY, format = "json" } = options;
    oneOf("FileLogger format", format, ["json", "text"]);
    integer("FileLogger capacity", capacity, CAPACITY_MIN, CAPACITY_MAX, "bytes");
    const isPath = typeof target === "string" && target !== "" && !target.includes("\0");
    if (!isPath && !(Number.isInteger(target) && (target as number) >= 0))
      throw invalidOption("FileLogger", "takes a path or a descriptor", target);
    this.#native = binding();
    this.#isText = format === "text";
    this.#name = isPath ? show(target) : `descriptor ${target}`;
    this.#log = this.#open(isPath ? target : "", isPath ? -1 : (target as number), capacity);
    this.#stay = atExit(() => this.#flush());
    this.write = (record) => this.#write(record);
  }

  /** Lines that were dropped: more than `capacity` waited, or the logger was closed. */
  get dropped(): number {
    return this.#lost + (this.#isClosed ? 0 : this.#native.logState(this.#log).dropped);
  }

  /**
   * Writes a line. The arguments are put together as `console.log` does it; an Error among them
   * goes with its stack.
   */
  log(level: LogLevel, ...args: readonly unknown[]): void {
    const number = levelOf("log()", level);
    if (number === LOG_LEVELS.silent) return;
    this.#write({ level: number, levelName: levelName(number), time: Date.now(), ...saidBy(args) });
  }

  trace(...args: readonly unknown[]): void {
    this.log("trace", ...args);
  }

  debug(...args: readonly unknown[]): void {
    this.log("debug", ...args);
  }

  info(...args: readonly unknown[]): void {
    this.log("info", ...args);
  }

  notice(...args: readonly unknown[]): void {
    this.log("notice", ...args);
  }

  warn(...args: readonly unknown[]): void {
    this.log("warn", ...args);
  }

  /** As the others; the line is with the system when this returns. */
  error(...args: readonly unknown[]): void {
    this.log("error", ...args);
  }

  /** As `error()`. */
  fatal(...args: readonly unknown[]): void {
    this.log("fatal", ...args);
  }

  /**
   * Opens the path anew, behind what was written before: for logrotate, which has renamed the file.
   * When that fails, the old file is written on, and a process warning says so: who does not look
   * at the promise need not catch anything.
   * @throws {MillraceError} ERR_MILLRACE_LOG_FAILED (as a rejection)
   */
  reopen(): Promise<void> {
    const reopened = new Promise<void>((resolve, reject) => {
      if (this.#isClosed) {
        reject(this.#failure("it is closed"));
        return;
      }
      this.#native.reopenLog(this.#log, (errno) => {
        if (errno === 0) resolve();
        else reject(this.#failure(`open: ${errnoName(errno)}`));
      });
    });
    reopened.catch(({ message }: Error) => warn(CODE, `${message}; reopen() changed nothing`));
    return reopened;
  }

  /**
   * Writes what waits, then closes the file. Calling it again gives the same promise.
   * @throws {MillraceError} ERR_MILLRACE_LOG_FAILED (as a rejection) when a line could not be
   * written
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #open(path: string, fd: number, capacity: number): number {
    try {
      return this.#native.openLog(path, fd, capacity);
    } catch (cause) {
      const { code, syscall } = cause as NodeJS.ErrnoException;
      throw this.#failure(`${syscall ?? "open"}: ${code ?? "unknown"}`, cause);
    }
  }

  #write(record: LogLine): void {
    const line = this.#isText ? lineOf(record as Printable, wholeText(record)) : json(record);
    if (this.#isClosed) {
      this.#lost += 1;
      return;
    }
    if (record.level >= LOG_LEVELS.error) this.#writeGrave(`${line}\n`);
    else this.#put(`${line}\n`);
  }

  // Waits until it is with the system: for a second in all, and not for what does not move.
  #writeGrave(line: string): void {
    const end = performance.now() + FLUSH_MS;
    if (!this.#put(line)) {
      if (!this.#flush(FLUSH_MS)) return;
      this.#lost -= 1; // it was counted in vain, or is again
      if (!this.#put(line)) return;
    }
    this.#flush(Math.max(0, Math.ceil(end - performance.now())));
  }

  #put(line: string): boolean {
    const isTaken = this.#native.writeLog(this.#log, line);
    if (isTaken && this.#stuck > 0) this.#stuck += Buffer.byteLength(line);
    return isTaken;
  }

  // False when something waits on.
  #flush(ms: number = FLUSH_MS): boolean {
    if (this.#isClosed) return true;
    if (this.#stuck > 0 && this.#native.logState(this.#log).waiting >= this.#stuck) return false;
    this.#stuck = 0;
    if (this.#native.flushLog(this.#log, ms)) return true;
    this.#stuck = this.#native.logState(this.#log).waiting;
    return this.#stuck === 0;
  }

  #close(): Promise<void> {
    this.#lost = this.dropped;
    this.#isClosed = true;
    this.#stay();
    return new Promise((resolve, reject) => {
      this.#native.closeLog(this.#log, (errno) => {
        if (errno === 0) resolve();
        else reject(this.#failure(errnoName(errno)));
      });
    });
  }

  #failure(why: string, cause?: unknown): MillraceError {
    const message = `the log ${this.#name} failed (${why})`;
    return new MillraceError(CODE, message, cause === undefined ? undefined : { cause });
  }
}

// Put together as console.log does it. The first Error goes with its stack in `err`; in the message
// it has its place if a placeholder gives it one.
function saidBy(args: readonly unknown[]): Pick<LogLine, "msg" | "err"> {
  const at = args.findIndex((each) => each instanceof Error);
  if (at < 0) return { msg: formatWithOptions(PLAIN, ...args) };
  const err = errOf(args[at]);
  if (args.length === 1) return { msg: err.message, err };
  if (at > 0 && at <= placeholdersOf(args[0])) {
    const said = args.map((each, index) => (index === at ? `${err.type}: ${err.message}` : each));
    return { msg: formatWithOptions(PLAIN, ...said), err };
  }
  const rest = args.filter((_each, index) => index !== at);
  // What stands behind the Error is no format.
  const said = at === 0 && typeof rest[0] === "string" ? ["%s", ...rest] : rest;
  return { msg: formatWithOptions(PLAIN, ...said), err };
}

function placeholdersOf(format: unknown): number {
  if (typeof format !== "string") return 0;
  return format.match(/%[%cdfijoOs]/g)?.filter((each) => each !== "%%").length ?? 0;
}

// What has no JSON form must not take the line with it.
function json(record: LogLine): string {
  try {
    return JSON.stringify(record);
  } catch {
    const { level, levelName: name, time, msg } = record;
    return JSON.stringify({ level, levelName: name, time, msg: String(msg) });
  }
}
