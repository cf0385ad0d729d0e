// Drives a headless Chromium over its debugging pipe: messages are JSON texts, each with a NUL
// behind it, on descriptors 3 (to it) and 4 (from it).
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable, Writable } from "node:stream";
import { programNamed } from "./programs.ts";
import { until } from "./until.ts";

export const browserPath: string | undefined = programNamed(
  "chromium",
  "chromium-browser",
  "google-chrome",
);

const FLAGS = [
  ...["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"],
  ...["--disable-background-networking", "--disable-component-update", "--disable-sync"],
  ...["--no-proxy-server", "--remote-debugging-pipe"],
];

type Reply = { id?: number; result?: unknown; error?: { message: string } };

interface Pending {
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: Error) => void;
}

export class Browser {
  readonly #process: ChildProcess;
  readonly #profile: string;
  readonly #pending = new Map<number, Pending>();
  readonly #exited: Promise<void>;
  #isOver = false;
  #lastId = 0;
  #unread = "";

  constructor() {
    this.#profile = mkdtempSync(join(tmpdir(), "millrace-browser-"));
    const { LD_PRELOAD: _preload, ...env } = process.env;
    const flags = [...FLAGS, `--user-data-dir=${this.#profile}`, "about:blank"];
    this.#process = spawn(browserPath ?? "chromium", flags, {
      env,
      stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"],
    });
    (this.#process.stdio[4] as Readable).setEncoding("utf8").on("data", (text: string) => {
      const texts = (this.#unread + text).split("\0");
      this.#unread = texts.pop() as string;
      for (const each of texts) this.#take(JSON.parse(each) as Reply);
    });
    (this.#process.stdio[3] as Writable).on("error", () => undefined); // its end is told below
    this.#exited = new Promise((resolve) => {
      const over = (): void => {
        this.#isOver = true;
        for (const { reject } of this.#pending.values()) reject(new Error("the browser ended"));
        resolve();
      };
      this.#process.once("close", over).once("error", over);
    });
  }

  /** Opens a tab. */
  async open(url: string): Promise<Page> {
    const { targetId } = (await this.call("Target.createTarget", { url })) as { targetId: string };
    const { sessionId } = (await this.call("Target.attachToTarget", {
      targetId,
      flatten: true,
    })) as { sessionId: string };
    return new Page(this, targetId, sessionId);
  }

  call(method: string, params: object = {}, sessionId?: string): Promise<unknown> {
    if (this.#isOver) return Promise.reject(new Error("the browser has ended"));
    this.#lastId += 1;
    const id = this.#lastId;
    const text = JSON.stringify({ id, method, params, ...(sessionId ? { sessionId } : {}) });
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { resolve, reject });
      (this.#process.stdio[3] as Writable).write(`${text}\0`);
    });
  }

  async close(): Promise<void> {
    const insist = setTimeout(() => this.#process.kill("SIGKILL"), 10_000);
    await this.call("Browser.close").catch(() => undefined); // the answer may not get through
    await this.#exited;
    clearTimeout(insist);
    rmSync(this.#profile, { recursive: true, force: true, maxRetries: 5 });
  }

  #take({ id, result, error }: Reply): void {
    const waiting = this.#pending.get(id ?? 0);
    if (waiting === undefined) return; // an event
    this.#pending.delete(id as number);
    if (error === undefined) waiting.resolve(result);
    else waiting.reject(new Error(error.message));
  }
}

export class Page {
  readonly #browser: Browser;
  readonly #target: string;
  readonly #session: string;

  constructor(browser: Browser, target: string, session: string) {
    this.#browser = browser;
    this.#target = target;
    this.#session = session;
  }

  /** Closes the tab. */
  async close(): Promise<void> {
    await this.#browser.call("Target.closeTarget", { targetId: this.#target });
  }

  /** The value of a JavaScript expression in the page, once its promise has settled. */
  async value(expression: string): Promise<unknown> {
    const { result, exceptionDetails } = (await this.#browser.call(
      "Runtime.evaluate",
      { expression, awaitPromise: true, returnByValue: true },
      this.#session,
    )) as { result: { value?: unknown }; exceptionDetails?: { text: string } };
    if (exceptionDetails !== undefined) throw new Error(`${expression}: ${exceptionDetails.text}`);
    return result.value;
  }

  /** Waits until an expression is true in the page; none is while the page is changing. */
  shows(what: string, expression: string): Promise<void> {
    const isTrue = async (): Promise<boolean> =>
      (await this.value(expression).catch(() => false)) === true;
    return until(what, isTrue, 15_000);
  }
}
