// Watches every server of this process to its end: the last moment at which its numbers can be read
// is inside the release.
import { expect } from "vitest";
import { METRIC_VALUES } from "../../src/metrics.ts";
import { binding, setBinding } from "../../src/native/binding.ts";
import { METRICS } from "../../src/native/tables.ts";

type Gauges = Readonly<Record<string, number>>;

const released: Gauges[] = [];
let isWatching = false;

/** Has the gauges of each server noted at its release, from now on. */
export function watchReleases(): void {
  if (isWatching) return;
  isWatching = true;
  const native = binding();
  setBinding({
    ...native,
    release: (server) => {
      const values = new Float64Array(METRIC_VALUES);
      native.metrics(server, values);
      const gauges = METRICS.map(({ name, kind }, at) => ({ name, kind, value: values[at] ?? 0 }));
      const left = gauges.filter(({ kind }) => kind === "gauge");
      released.push(Object.fromEntries(left.map(({ name, value }) => [name, value])));
      native.release(server);
    },
  });
}

/** Every server released since the last call had all its gauges at zero. */
export function expectReleased(): void {
  for (const gauges of released.splice(0)) {
    expect(gauges, "gauges of a server at its release").toEqual(
      Object.fromEntries(Object.keys(gauges).map((name) => [name, 0])),
    );
  }
}
