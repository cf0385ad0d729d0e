// What tests of streamed responses share: a server that answers everything with one handler,
// sources, and looking at how a connection ended.
import { afterAll, beforeAll, beforeEach, expect } from "vitest";
import { type MillraceError, type RawHandler, raw, type Server } from "../../src/index.ts";
import type { Host } from "./hosts.ts";
import { type Wire, wire } from "./wire.ts";

export const KIB = 1024;
export const MIB: number = KIB * KIB;
/** Bytes that may wait for the peer before write() says false. */
export const HIGH_WATER: number = 128 * KIB;

export const codeOf = (error: unknown): string => (error as MillraceError).code;

/** The warnings of the test that is running. */
export function watchWarnings(): NodeJS.ErrnoException[] {
  const warnings: NodeJS.ErrnoException[] = [];
  const onWarning = (warning: Error): void => void warnings.push(warning);
  beforeAll(() => void process.on("warning", onWarning));
  afterAll(() => void process.off("warning", onWarning));
  beforeEach(() => {
    warnings.length = 0;
  });
  return warnings;
}

/** What would have ended the process during the test that is running. */
export function watchUncaught(): readonly unknown[] {
  const uncaught: unknown[] = [];
  const onUncaught = (error: unknown): void => void uncaught.push(error);
  beforeAll(() => {
    process.on("uncaughtExceptionMonitor", onUncaught).on("unhandledRejection", onUncaught);
  });
  afterAll(() => {
    process.off("uncaughtExceptionMonitor", onUncaught).off("unhandledRejection", onUncaught);
  });
  beforeEach(() => {
    uncaught.length = 0;
  });
  return uncaught;
}

/** Answers "/now" at once and everything else by `handler`. */
export function serving(start: Host["start"], handler: RawHandler): Promise<Server> {
  return start({ routes: { "/now": raw((_req, res) => void res.end("now")) }, handler });
}

/** One server, one connection that has asked for "/". */
export async function ask(
  start: Host["start"],
  handler: RawHandler,
): Promise<{ server: Server; client: Wire }> {
  const server = await serving(start, handler);
  const client = await wire(server);
  client.get("/");
  return { server, client };
}

/** What the connection held when it ended. */
export async function untilClosed(client: Wire): Promise<{ head: string; body: string }> {
  await client.end();
  const at = client.buffer.indexOf("\r\n\r\n");
  return { head: client.buffer.slice(0, at), body: client.buffer.slice(at + 4) };
}

/** Requests on another connection, each through loop and JavaScript: what is due happens. */
export async function laps(server: Server, count = 20): Promise<void> {
  const other = await wire(server);
  for (let i = 0; i < count; i += 1) {
    other.get("/now");
    expect((await other.response()).body).toBe("now");
  }
  other.close();
}

/** A source of endless bytes that tells when it was let go. */
export async function* endless(tell: { over: boolean }): AsyncGenerator<Uint8Array> {
  try {
    for (;;) yield new Uint8Array(64 * KIB);
  } finally {
    tell.over = true;
  }
}
