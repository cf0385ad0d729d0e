// What `fds` makes of systems that the machine of the tests is not.
import { readdirSync } from "node:fs";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { fds } from "../../src/index.ts";
import { setBinding } from "../../src/native/binding.ts";
import { FakeBinding } from "./fake.ts";

vi.mock("node:fs", { spy: true });

const set: number[] = [];

beforeEach(() => {
  const fake = new FakeBinding();
  setBinding(fake);
  vi.spyOn(fake, "fdLimit").mockReturnValue({ soft: 256, hard: Number.POSITIVE_INFINITY });
  vi.spyOn(fake, "setFdLimit").mockImplementation((soft?: number) => {
    set.push(soft as number);
    return "";
  });
});

afterEach(() => void vi.restoreAllMocks());

it("raises to what is exact, or to no limit at all", () => {
  expect(() => fds.raise(1e300)).toThrow(/takes an integer from 1 to Infinity, the hard limit/);
  fds.raise(Number.MAX_SAFE_INTEGER);
  fds.raise();
  expect(set).toEqual([Number.MAX_SAFE_INTEGER, Number.POSITIVE_INFINITY]);
});

it("counts none where the system has no folder of them", () => {
  const cause = Object.assign(new Error("ENOENT: no such file or directory"), { code: "ENOENT" });
  vi.mocked(readdirSync).mockImplementation(() => {
    throw cause;
  });
  expect(() => fds.open).toThrow(
    expect.objectContaining({ code: "ERR_MILLRACE_SYSTEM", cause }) as Error,
  );
});
