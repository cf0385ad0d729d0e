// For every test file: what millrace holds natively is back at nothing when the file ends, and the
// process has no descriptor that it did not have when the file began.
import { readdirSync, readlinkSync } from "node:fs";
import { afterAll, expect } from "vitest";
import { binding } from "../../src/native/binding.ts";
import { expectReleased, watchReleases } from "./releases.ts";
import { until } from "./until.ts";

const native = binding(); // unit tests put another in its place
watchReleases();
const before = descriptors();

afterAll(async () => {
  expectReleased();
  expect(native.census()).toEqual({ servers: 0, lanes: 0, blobs: 0 });
  if (process.platform !== "linux") return;
  // Sockets of clients close in their own time.
  await until("no descriptor is left", () => left().length === 0, 5000).catch(() => undefined);
  expect(left(), "descriptors that the file has left open").toEqual([]);
});

/** Open descriptors of this process with what they are: numbers are used again. */
function descriptors(): readonly string[] {
  if (process.platform !== "linux") return [];
  return readdirSync("/proc/self/fd").flatMap((fd) => {
    try {
      const target = readlinkSync(`/proc/self/fd/${fd}`);
      return [`${fd} ${target}`];
    } catch {
      return []; // the one that read the folder
    }
  });
}

function left(): readonly string[] {
  return descriptors().filter((one) => !before.includes(one));
}
