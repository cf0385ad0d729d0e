// The log of one server: what passes its level becomes a record and goes to the application, or to
// standard error.
import { threadId } from "node:worker_threads";
import type { ErrorCode } from "../errors.ts";
import type { Binding } from "../native/binding.ts";
import { stackOf, warn } from "../warnings.ts";
import { Delivery } from "./delivery.ts";
import { LOG_LEVELS, type LogLevel, levelName, levelOf } from "./levels.ts";
import type { LogSettings } from "./options.ts";
import { Printer } from "./printer.ts";
import { errOf, type LogDetails, type LogRecord } from "./record.ts";

/** One per server. */
export class Log {
  /** What is below is not logged. Read on the hot path. */
  threshold: number;
  /** Called when the level has changed. */
  onLevel: (() => void) | undefined = undefined;
  /** Whether the application asked for a log: else failures of handlers are process warnings. */
  readonly isGiven: boolean;
  readonly server: string;
  readonly serverId: number;
  readonly #delivery: Delivery<LogRecord>;
  readonly #printer: Printer | undefined;

  constructor(settings: LogSettings, server: string, serverId: number, native: Binding) {
    const { write } = settings;
    this.threshold = settings.level;
    this.server = server;
    this.serverId = serverId;
    this.isGiven = settings.isGiven;
    const printer = write === undefined ? new Printer(native) : undefined;
    this.#printer = printer;
    this.#delivery = new Delivery<LogRecord>({
      name: "log.write()",
      capacity: settings.capacity,
      size: 1,
      write: ([record]) => {
        if (record === undefined) return undefined;
        if (write !== undefined) return write(record);
        printer?.print(record);
        return undefined;
      },
      gap: (dropped) => this.#gap(dropped),
    });
  }

  /** Records that were dropped. */
  get dropped(): number {
    return this.#delivery.dropped + (this.#printer?.dropped ?? 0);
  }

  get level(): LogLevel {
    return levelName(this.threshold);
  }

  /** @throws {MillraceError} ERR_MILLRACE_INVALID_OPTION */
  set level(name: LogLevel) {
    this.threshold = levelOf("logLevel", name);
    this.onLevel?.();
  }

  /** Notes a record if its level passes. */
  add(level: number, msg: string, details?: LogDetails): void {
    if (level < this.threshold) return;
    this.#delivery.push(this.#record(level, msg, details));
  }

  /**
   * Something of the application, or of the system, has failed. Where no log was asked for it is a
   * process warning, so that it is told once.
   */
  failed(level: number, code: ErrorCode, msg: string, ...thrown: readonly unknown[]): void {
    if (!this.isGiven) {
      warn(code, msg, thrown.length === 0 ? undefined : stackOf(thrown[0]));
      return;
    }
    if (level < this.threshold) return;
    this.add(level, msg, thrown.length === 0 ? { code } : { code, err: errOf(thrown[0]) });
  }

  /** The process ends: what waits is delivered at once. */
  flush(): void {
    this.#delivery.flush();
    this.#printer?.flush();
  }

  /** Waits until what was noted has been delivered, for at most `ms`. */
  async close(ms: number): Promise<void> {
    const end = performance.now() + ms;
    await this.#delivery.settle(ms);
    const printer = this.#printer;
    if (printer === undefined) return;
    // Nobody may read standard error, ever.
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, Math.max(0, end - performance.now()));
    });
    await Promise.race([printer.close(), late]);
    clearTimeout(timer);
  }

  #record(level: number, msg: string, details: LogDetails | undefined): LogRecord {
    return {
      level,
      levelName: levelName(level),
      time: Date.now(),
      msg,
      server: this.server,
      serverId: this.serverId,
      thread: threadId,
      ...details,
    };
  }

  #gap(dropped: number): LogRecord {
    const what = dropped === 1 ? "1 record was" : `${dropped} records were`;
    const code = "ERR_MILLRACE_LOG_FAILED";
    return this.#record(LOG_LEVELS.warn, `${what} dropped: the log does not keep up`, { code });
  }
}
