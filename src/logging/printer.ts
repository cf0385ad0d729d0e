// The default way out of a log: lines on standard error, by a native thread, so that a terminal or
// a pipe that does not take them holds nobody up.
import { isatty } from "node:tty";
import type { Binding } from "../native/binding.ts";
import type { LogLine, LogRecord } from "./record.ts";

const STDERR = 2;
const WAITING_BYTES_MAX = 1_048_576;
const FLUSH_MS = 1000;
const LONG = 200;
const KEPT = 50;
const NAME_WIDTH = 6;
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
const CONTROL = /[\x00-\x1f\x7f-\x9f]/g;
const COLOURS: readonly (readonly [level: number, code: string])[] = [
  [60, "41;37"],
  [50, "31"],
  [40, "33"],
  [35, "36"],
  [30, "32"],
  [0, "2"],
];

/** What is printed: a record of a server, or a line of a FileLogger. */
export type Printable = LogLine & Partial<Pick<LogRecord, "server" | "loop">>;

/** Long texts by their ends; no character that could begin a line or steer a terminal. */
export function shortened(text: string): string {
  if (text.length < LONG) return escaped(text);
  const omitted = text.length - 2 * KEPT;
  const [first, last] = [text.slice(0, KEPT), text.slice(-KEPT)];
  return `${escaped(first)} ... (${omitted} chars omitted) ... ${escaped(last)}`;
}

/** One line: time, level, server, loop, message. */
export function lineOf(record: Printable, text: string): string {
  const { levelName, server = "-", loop = "-" } = record;
  const name = levelName.toUpperCase().padEnd(NAME_WIDTH);
  return `${new Date(record.time).toISOString()} ${name} ${server} ${loop} ${text}`;
}

/** The message with what was thrown, in full, on one line. */
export function wholeText({ msg, err }: LogLine): string {
  return escaped(err === undefined ? msg : `${msg}: ${err.stack}`);
}

/** As a person reads it: coloured, with the stack beneath; else one short line. */
export function printed(record: Printable, isColoured: boolean): string {
  const { msg, err } = record;
  const isShown = err === undefined || msg.includes(err.message);
  const said = shortened(isShown ? msg : `${msg}: ${err.type}: ${err.message}`);
  if (!isColoured) {
    const frame = err === undefined ? undefined : frameOf(err.stack);
    return `${lineOf(record, frame === undefined ? said : `${said} (${frame})`)}\n`;
  }
  const code = COLOURS.find(([level]) => level <= record.level)?.[1] ?? "0";
  const stack = err === undefined ? "" : `\n${indented(err.stack)}`;
  return `\x1b[${code}m${lineOf(record, said)}\x1b[0m${stack}\n`;
}

/** Standard error as a place for records. Opened at the first of them. */
export class Printer {
  /** Lines that were dropped because nobody took those before them. */
  dropped = 0;
  readonly #native: Binding;
  readonly #isColoured: boolean;
  #log: number | undefined = undefined;
  #isClosed = false;

  constructor(native: Binding) {
    this.#native = native;
    this.#isColoured = isatty(STDERR) && (process.env["NO_COLOR"] ?? "") === "";
  }

  print(record: Printable): void {
    const log = this.#open();
    if (log !== undefined && this.#native.writeLog(log, printed(record, this.#isColoured))) return;
    this.dropped += 1;
  }

  /** Returns when what was printed is with the system, or after a second. */
  flush(): void {
    if (this.#log !== undefined && !this.#isClosed) this.#native.flushLog(this.#log, FLUSH_MS);
  }

  close(): Promise<void> {
    const log = this.#log;
    if (log === undefined || this.#isClosed) return Promise.resolve();
    this.#isClosed = true;
    return new Promise((resolve) => this.#native.closeLog(log, () => resolve()));
  }

  // A process without standard error has nobody who reads it.
  #open(): number | undefined {
    if (this.#isClosed) return undefined;
    try {
      this.#log ??= this.#native.openLog("", STDERR, WAITING_BYTES_MAX);
      return this.#log;
    } catch {
      this.#isClosed = true;
      return undefined;
    }
  }
}

function escaped(text: string): string {
  return text.replace(CONTROL, (found) => {
    if (found === "\n") return "\\n ";
    return `\\x${found.charCodeAt(0).toString(16).padStart(2, "0")}`;
  });
}

function frameOf(stack: string): string | undefined {
  const frame = /\n\s+at (.*)/.exec(stack)?.[1];
  return frame === undefined ? undefined : escaped(frame);
}

function indented(stack: string): string {
  return stack
    .split("\n")
    .map((line) => `    ${escaped(line)}`)
    .join("\n");
}
