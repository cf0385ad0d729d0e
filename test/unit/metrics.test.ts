// What server.metrics makes of the native numbers.
import { expect, it } from "vitest";
import type { Metrics } from "../../src/index.ts";
import { METRIC_VALUES, readMetrics } from "../../src/metrics.ts";
import { CAUSES, ERRORS, METRICS } from "../../src/native/tables.ts";

const BATCHES_AT = METRICS.length + ERRORS.length + CAUSES.length;
const DELAYS_AT = BATCHES_AT + 4;

function numbers(delays: Readonly<Record<number, number>>, max: number): Float64Array {
  const values = new Float64Array(METRIC_VALUES);
  values.set([4, 10, 7, max], BATCHES_AT);
  for (const [bin, count] of Object.entries(delays)) values[DELAYS_AT + Number(bin)] = count;
  return values;
}

function read(values: Float64Array): Metrics {
  return readMetrics(values, { access: 0, log: 0 });
}

it("says nothing of a server that has seen nothing", () => {
  const { batchSize, closed, queueDelayMs } = read(new Float64Array(METRIC_VALUES));
  expect(batchSize).toEqual({ mean: 0, max: 0 });
  expect(queueDelayMs).toEqual({ p50: 0, p99: 0, max: 0 });
  expect(Object.values(closed)).toEqual(CAUSES.map(() => 0));
});

it("finds delays by the millisecond, and within a tenth above 127", () => {
  expect(read(numbers({ 0: 60, 5: 40 }, 5)).queueDelayMs).toEqual({
    p50: 0,
    p99: 5,
    max: 5,
  });
  const late = read(numbers({ 127: 1, 128: 1, 136: 98 }, 270)).queueDelayMs;
  expect(late).toEqual({ p50: 270, p99: 270, max: 270 });
  expect(read(numbers({ 128: 100 }, 10_000)).queueDelayMs.p50).toBe(140);
  expect(read(numbers({ 255: 100 }, 9_000_000)).queueDelayMs.p99).toBe(128 * 2 ** 16);
});

it("gives batches, causes and what was shed their names", () => {
  const values = numbers({}, 0);
  values[METRICS.findIndex(({ name }) => name === "shed")] = 3;
  for (const { number } of CAUSES) values[METRICS.length + ERRORS.length + number] = number + 1;
  const { batchSize, closed, shed } = read(values);
  expect(batchSize).toEqual({ mean: 2.5, max: 7 });
  expect(shed).toBe(3);
  expect(closed).toEqual(Object.fromEntries(CAUSES.map(({ name, number }) => [name, number + 1])));
});
