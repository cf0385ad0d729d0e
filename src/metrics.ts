// The numbers of a server: native counters by name, and what JavaScript counts itself.
import type { Metrics } from "./api.ts";
import { ERRORS, METRICS } from "./native/tables.ts";
import { type Counts, delayAt } from "./service.ts";

/** Numbers that the native metrics() fills in: the counters, then one per error code. */
export const METRIC_VALUES: number = METRICS.length + ERRORS.length;

type CounterName = (typeof METRICS)[number]["name"];

/** What `server.metrics` says. */
export function readMetrics(values: Float64Array, counts: Counts): Metrics {
  const counters: Record<string, number> = {};
  for (const [index, { name }] of METRICS.entries()) counters[name] = values[index] as number;
  const get = (name: CounterName): number => counters[name] as number;
  const refusals = refusalsOf(values);
  return {
    aborted: get("aborted"),
    batchSize: {
      mean: counts.batches === 0 ? 0 : counts.requests / counts.batches,
      max: counts.largest,
    },
    bytesIn: get("bytesIn"),
    bytesOut: get("bytesOut"),
    connections: get("connections"),
    counters,
    idle: get("idle"),
    inFlight: get("inFlight"),
    parseErrors: refusals,
    queueDelayMs: { p50: delayAt(counts, 0.5), p99: delayAt(counts, 0.99), max: counts.delayMax },
    requests: get("requests"),
    responses: {
      "1xx": get("responses1xx"),
      "2xx": get("responses2xx"),
      "3xx": get("responses3xx"),
      "4xx": get("responses4xx"),
      "5xx": get("responses5xx"),
    },
    timeouts: {
      handler: get("handlerTimeouts"),
      headers: refusals["ERR_MILLRACE_HEADERS_TIMEOUT"] ?? 0,
      keepAlive: get("keepAliveTimeouts"),
      receive: refusals["ERR_MILLRACE_RECEIVE_TIMEOUT"] ?? 0,
      write: get("writeTimeouts"),
    },
    webSockets: get("webSockets"),
  };
}

function refusalsOf(values: Float64Array): Readonly<Record<string, number>> {
  const refusals: Record<string, number> = {};
  for (const [index, { code }] of ERRORS.entries()) {
    const count = values[METRICS.length + index] as number;
    if (code !== "" && count > 0) refusals[code] = count;
  }
  return refusals;
}
