// Programs that a test starts, listens to and ends: always by their own process id.
import { type ChildProcess, spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { until } from "./until.ts";

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

const root = fileURLToPath(new URL("../..", import.meta.url));

/** A running program with what it has said so far. */
export class Child {
  readonly process: ChildProcess;
  readonly exited: Promise<Exit>;
  output = "";
  errors = "";
  #exit: Exit | undefined;

  constructor(
    command: string,
    words: readonly string[],
    env: Readonly<Record<string, string>> = {},
    descriptors: readonly number[] = [], // of ours that the program gets as 3, 4, …
  ) {
    // What sanitizers preload is meant for node and breaks others.
    const { LD_PRELOAD: preload, ...rest } = process.env;
    const isNode = command === process.execPath && preload !== undefined;
    this.process = spawn(command, words, {
      cwd: root,
      env: { ...rest, ...(isNode ? { LD_PRELOAD: preload } : {}), ...env },
      stdio: ["ignore", "pipe", "pipe", ...descriptors],
    });
    this.process.stdout?.setEncoding("utf8").on("data", (text: string) => {
      this.output += text;
    });
    this.process.stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.errors += text;
    });
    this.exited = new Promise((resolve, reject) => {
      this.process.once("error", reject);
      this.process.once("close", (code, signal) => {
        this.#exit = { code, signal };
        resolve(this.#exit);
      });
    });
    this.exited.catch(() => undefined); // whoever waits for it is told
  }

  get hasExited(): boolean {
    return this.#exit !== undefined;
  }

  /** Waits until the program has printed what matches; throws when it ends without. */
  async said(pattern: RegExp): Promise<RegExpExecArray> {
    let found: RegExpExecArray | null = null;
    await until(`the program prints ${pattern}`, () => {
      found = pattern.exec(this.output);
      return found !== null || this.hasExited;
    });
    if (found !== null) return found;
    throw new Error(`the program ended without printing ${pattern}:\n${this.output}${this.errors}`);
  }

  /** Asks the program to end, insists when it does not, and tells how it ended. */
  async stop(signal: NodeJS.Signals = "SIGTERM", patience = 10_000): Promise<Exit> {
    if (!this.hasExited) this.process.kill(signal);
    const insist = setTimeout(() => this.process.kill("SIGKILL"), patience);
    try {
      return await this.exited;
    } finally {
      clearTimeout(insist);
    }
  }
}

/** Runs node on a file. */
export function node(file: string, env: Readonly<Record<string, string>> = {}): Child {
  return new Child(process.execPath, [file], env);
}

/** What a program prints when it runs to its end; throws when it fails. */
export async function outputOf(command: string, ...words: readonly string[]): Promise<string> {
  const child = new Child(command, words);
  const { code } = await child.exited;
  if (code === 0) return child.output;
  throw new Error(`${command} ${words.join(" ")} ended with ${code}: ${child.errors}`);
}
