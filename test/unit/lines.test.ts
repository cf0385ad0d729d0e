// What header lines keep from one response to the next.
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { expect, it } from "vitest";
import { HeaderLines } from "../../src/lines.ts";

function lineOf(name: string, value: string): string {
  const lines = new HeaderLines();
  lines.set(name, value);
  return lines.text;
}

it("gives a field the value of now, however often it had another", () => {
  for (let i = 0; i < 100; i += 1) {
    expect(lineOf("x-changing", `${i >> 1}`)).toBe(`x-changing: ${i >> 1}\r\n`);
    expect(lineOf("X-Changing", "other")).toBe("X-Changing: other\r\n");
  }
});

it("keeps values, not the texts that they were cut from", () => {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  const heap = (): number => {
    collect();
    return process.memoryUsage().heapUsed;
  };
  const before = heap();
  for (let i = 0; i < 100; i += 1) {
    const text = Buffer.alloc(256 * 1024, 97 + (i % 26)).toString("latin1");
    lineOf(`x-kept-${i}`, text.slice(1000, 1100));
  }
  expect(heap() - before).toBeLessThan(5_000_000);
});
