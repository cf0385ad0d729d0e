// What the tests of examples share: each file of examples/ is run as a program, asked what its text
// promises, and ended by SIGTERM; the exit code has to be 0 and stderr empty.
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { networkInterfaces, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, it } from "vitest";
import { WebSocket as Client } from "ws";
import { Browser, browserPath, type Page } from "./browser.ts";
import { type Child, node } from "./child.ts";
import { programNamed } from "./programs.ts";
import { Wire } from "./wire.ts";

/** A running example. */
export interface Running {
  readonly child: Child;
  /** The first URL it printed, without what stands behind the port. */
  readonly url: string;
  readonly socket: string;
}

export type Check = (running: Running) => Promise<void>;

export interface Answer {
  readonly status: number;
  readonly text: string;
  readonly headers: Headers;
}

export const folder = fileURLToPath(new URL("../../examples", import.meta.url));
export const curl = programNamed("curl");
const hasIPv6 = Object.values(networkInterfaces()).some((each) =>
  each?.some(({ address }) => address === "::1"),
);
// What takes a sanitizer minutes is tried with less.
export const load = process.env["MILLRACE_SANITIZED"]
  ? { CLIENTS: 100, ROUNDS: 10, MULTICASTS: 100, SIZE: 16_777_216 }
  : { CLIENTS: 1000, ROUNDS: 100, MULTICASTS: 10_000, SIZE: 16_777_216 };
export const urlencoded = { "content-type": "application/x-www-form-urlencoded" };

export async function ask(url: string, init: RequestInit = {}): Promise<Answer> {
  const response = await fetch(url, { redirect: "manual", ...init });
  return { status: response.status, text: await response.text(), headers: response.headers };
}

export const send = (url: string, method: string, body: string, headers = {}): Promise<Answer> =>
  ask(url, { method, body, headers });

export async function askSocket(path: string, target: string, lines = ""): Promise<string> {
  const client = new Wire({ path });
  const { body } = await client.get(target, lines).response();
  client.close();
  return body;
}

/** A client of npm's ws on an open connection, and what it hears. */
export async function enter(url: string, protocols: string[] = []): Promise<[Client, string[]]> {
  const heard: string[] = [];
  const client = new Client(url.replace("http", "ws"), protocols);
  client.on("message", (data) => heard.push(String(data)));
  await new Promise((resolve, reject) => client.once("open", resolve).once("error", reject));
  return [client, heard];
}

/** Lets two tabs of a browser look at a page, where there is one. */
export async function inTwoTabs(
  url: string,
  look: (tabs: [Page, Page]) => Promise<void>,
): Promise<void> {
  if (browserPath === undefined) {
    process.stderr.write(`no chromium here: ${url} is checked with npm's ws only\n`);
    return;
  }
  const browser = new Browser();
  try {
    await look([await browser.open(url), await browser.open(url)]);
  } finally {
    await browser.close();
  }
}

/**
 * Declares a test for each example whose path `isMeant` takes. One without a check fails, and so
 * does a check without an example.
 */
export function declareExamples(
  isMeant: (file: string) => boolean,
  checks: Readonly<Record<string, Check>>,
): void {
  const files = readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".mjs") && isMeant(file))
    .sort();
  let tmp = "";

  beforeAll(() => {
    tmp = mkdtempSync(join(tmpdir(), "millrace-examples-"));
  });

  afterAll(() => {
    rmSync(tmp, { recursive: true, force: true });
  });

  it("has a check for every example, and an example for every check", () => {
    expect(Object.keys(checks).sort()).toEqual(files);
  });

  it.for(files)(
    "%s does what it says and ends with code 0",
    { timeout: 60_000 },
    async (file, { skip }) => {
      if (file === "several-doors.mjs" && !hasIPv6) skip("this machine has no IPv6 loopback");
      const socket = join(tmp, `${file.replaceAll("/", "-")}.sock`);
      const child = node(join(folder, file), {
        PORT: "0",
        POST_PORT: "0",
        OTHER_PORT: "0",
        LOG_FILE: `${socket}.log`,
        HANDOVER_PATH: `${socket}.hand`,
        UNIX_PATH: file === "demo/server.mjs" ? "" : socket,
        WORKERS: "2",
        CLIENTS: String(file.endsWith("wsmulticasttest.mjs") ? load.CLIENTS / 5 : load.CLIENTS),
        ROUNDS: String(load.ROUNDS),
        MULTICASTS: String(load.MULTICASTS),
        TICK_MS: "5",
        SIZE: String(load.SIZE),
      });
      try {
        const [, url = ""] = await child.said(/ on ((?:http|scgi):\/\/[^/\s]+|unix:\S+).*\n/);
        await checks[file]?.({ child, url, socket });
      } finally {
        await child.stop();
      }
      expect(child.errors).toBe("");
      expect(await child.exited).toEqual({ code: 0, signal: null });
    },
  );
}
