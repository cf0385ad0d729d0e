// Runs test/cases/*.case over real sockets, on both hosts: whole, byte by byte, and at some cuts.
// The session alone takes every cut in native/test/cases_test.cpp.
import { fileURLToPath } from "node:url";
import { afterAll, describe, it } from "vitest";
import { type Case, readCases } from "./support/cases.ts";
import { bytesOf, type CaseServer, type Cut, startCaseServer, walkCase } from "./support/walk.ts";

const BYTES_MAX = 300; // larger cases are not sent byte by byte
const CUTS = 5;

const cases = readCases(fileURLToPath(new URL("cases", import.meta.url))).filter((one) =>
  one.levels.has(3),
);

// A small generator, so that a failure comes again.
function cutsOf(one: Case, seed: number): Cut[] {
  const bytes = bytesOf(one);
  const cuts: Cut[] = ["as written"];
  if (bytes <= BYTES_MAX) cuts.push("byte by byte");
  let state = seed;
  for (let i = 0; i < CUTS && bytes > 1; i += 1) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fff_ffff;
    cuts.push(1 + (state % (bytes - 1)));
  }
  return cuts;
}

describe.each([0, 1])("over sockets with loops: %i", (loops) => {
  const servers = new Map<string, CaseServer>();

  async function serverFor(one: Case): Promise<CaseServer> {
    const key = JSON.stringify([one.protocol, one.limits, one.timeouts, one.routes]);
    const known = servers.get(key);
    if (known !== undefined) return known;
    const started = await startCaseServer(one, loops);
    servers.set(key, started);
    return started;
  }

  afterAll(async () => {
    for (const { server } of servers.values()) await server.close({ timeout: 1000 });
  });

  it.each(cases.map((one) => [`${one.file}: ${one.title}`, one] as const))("%s", async (_, one) => {
    const on = await serverFor(one);
    for (const cut of cutsOf(one, one.line + loops)) await walkCase(one, on, cut);
  });
});
