// The numbers of a server: all of them are counted natively, and named here.
import type { Metrics } from "./api.ts";
import { CAUSES, ERRORS, METRICS } from "./native/tables.ts";

// As native/core/lane/queue_meter.h has them: requests by how long they waited, 0 to 127 ms by the
// millisecond, then 8 steps per factor of two.
const DELAYS = 256;
const FINE_DELAYS = 128;

// Where the native metrics() puts what.
const REFUSALS_AT = METRICS.length;
const CLOSES_AT = REFUSALS_AT + ERRORS.length;
const BATCHES_AT = CLOSES_AT + CAUSES.length;
const TAKEN_AT = BATCHES_AT + 1;
const LARGEST_AT = BATCHES_AT + 2;
const DELAY_MAX_AT = BATCHES_AT + 3;
const DELAYS_AT = BATCHES_AT + 4;

/** Numbers that the native metrics() fills in. */
export const METRIC_VALUES: number = DELAYS_AT + DELAYS;

type CounterName = (typeof METRICS)[number]["name"];

/** What `server.metrics` says. */
export function readMetrics(
  values: Float64Array,
  dropped: { readonly log: number; readonly access: number },
): Metrics {
  const counters: Record<string, number> = {};
  for (const [index, { name }] of METRICS.entries()) counters[name] = values[index] as number;
  const get = (name: CounterName): number => counters[name] as number;
  const at = (index: number): number => values[index] as number;
  const refusals = refusalsOf(values);
  return {
    aborted: get("aborted"),
    accessDropped: get("accessDropped") + dropped.access,
    batchSize: {
      mean: at(BATCHES_AT) === 0 ? 0 : at(TAKEN_AT) / at(BATCHES_AT),
      max: at(LARGEST_AT),
    },
    bytesIn: get("bytesIn"),
    bytesOut: get("bytesOut"),
    closed: closesOf(values),
    connections: get("connections"),
    counters,
    idle: get("idle"),
    inFlight: get("inFlight"),
    logDropped: dropped.log,
    parseErrors: refusals,
    queueDelayMs: {
      p50: delayAt(values, 0.5),
      p99: delayAt(values, 0.99),
      max: at(DELAY_MAX_AT),
    },
    requests: get("requests"),
    responses: {
      "1xx": get("responses1xx"),
      "2xx": get("responses2xx"),
      "3xx": get("responses3xx"),
      "4xx": get("responses4xx"),
      "5xx": get("responses5xx"),
    },
    shed: get("shed"),
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
    const count = values[REFUSALS_AT + index] as number;
    if (code !== "" && count > 0) refusals[code] = count;
  }
  return refusals;
}

function closesOf(values: Float64Array): Metrics["closed"] {
  const closes: Record<string, number> = {};
  for (const { name, number } of CAUSES) closes[name] = values[CLOSES_AT + number] as number;
  return closes as Metrics["closed"];
}

// The delay in milliseconds that `share` (0 to 1) of all requests did not exceed; within a tenth
// above 127 ms.
function delayAt(values: Float64Array, share: number): number {
  const delays = values.subarray(DELAYS_AT, DELAYS_AT + DELAYS);
  const max = values[DELAY_MAX_AT] as number;
  let left = delays.reduce((sum, count) => sum + count, 0) * share;
  if (left === 0) return 0;
  for (let at = 0; at < DELAYS; at += 1) {
    left -= delays[at] as number;
    if (left <= 0) return Math.min(max, at < FINE_DELAYS ? at : boundOf(at));
  }
  return max;
}

function boundOf(bin: number): number {
  return Math.round(FINE_DELAYS * 2 ** ((bin - FINE_DELAYS + 1) / 8));
}
