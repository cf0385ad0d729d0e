// Runs a group of tests on the inline host, on one native loop and on two, and sees to it that
// every server leaves nothing behind: its gauges are zero at its release, and so is the census.
import { afterEach, beforeAll, describe, expect } from "vitest";
import { type ServeOptions, type Server, serve } from "../../src/index.ts";
import { binding } from "../../src/native/binding.ts";
import { expectReleased, watchReleases } from "./releases.ts";
import { closeWires } from "./wire.ts";

/** What a test gets of the host it runs on. */
export interface Host {
  /** 0 is the inline host, else the number of native loops. */
  readonly loops: number;
  /** serve() on port 0 of 127.0.0.1 unless told otherwise; closed after the test. */
  readonly start: <const R extends string>(options: ServeOptions<R>) => Promise<Server>;
}

const open = new Set<Server>();

/** Declares the tests that `declare` holds once per host. */
export function onEachHost(
  declare: (host: Host) => void,
  hosts: readonly number[] = [0, 1, 2],
): void {
  describe.each(hosts)("loops: %i", (loops) => {
    beforeAll(watchReleases);
    afterEach(settle);
    declare({ loops, start: (options) => start(loops, options) });
  });
}

/** The native functions as they are, behind what this file puts around them. */
export function census(): { servers: number; lanes: number; blobs: number } {
  return binding().census();
}

/** The host and port of a server's first address, as a client writes them. */
export function portOf(server: Server): number {
  return (server.addresses[0] as { port: number }).port;
}

async function start<const R extends string>(
  loops: number,
  options: ServeOptions<R>,
): Promise<Server> {
  const listens = ["fd", "listen", "port", "unix"].some((name) => name in options);
  const server = await serve({ loops, silent: true, ...(listens ? {} : { port: 0 }), ...options });
  open.add(server);
  return server;
}

async function settle(): Promise<void> {
  closeWires();
  const servers = [...open];
  open.clear();
  const began = performance.now();
  await Promise.all(servers.map((server) => server.close({ timeout: 10_000 })));
  expect(performance.now() - began, "milliseconds to close, not by the timeout").toBeLessThan(5000);
  expectReleased();
  expect(census()).toEqual({ servers: 0, lanes: 0, blobs: 0 });
}
