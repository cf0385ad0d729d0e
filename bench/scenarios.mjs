// What is measured and what millrace is to reach, as data: one place for the load, the answer that
// every contender must give, and the bounds.

const plain = { type: "text/plain", body: "Hello, World!" };
const jsonHeaders = ["Accept: application/json", "X-Request-Id: 7f3a"];
const jsonBody = '{"name":"rye","sacks":3,"accept":"application/json","id":"7f3a"}';
const sack = "x".repeat(1024);

const load = { path: "/", headers: [], body: "", depth: 1, connections: 64 };

/** Those of one group share processes and rounds, so that their ratios are of one moment. */
export const groups = [
  [
    { ...load, key: "plaintext", title: "Plaintext", answer: plain },
    {
      ...load,
      key: "async",
      title: "Async handler, one await",
      path: "/async",
      answer: plain,
      beside: "plaintext",
    },
    {
      ...load,
      key: "static",
      title: "Static route",
      path: "/static",
      answer: plain,
      beside: "plaintext",
      remark: "node:http and Fastify have none: a handler with a prepared Buffer",
    },
  ],
  [{ ...load, key: "pipeline", title: "16-deep pipeline", depth: 16, answer: plain }],
  [
    {
      ...load,
      key: "json",
      title: "JSON, 2 headers + query",
      path: "/json?name=rye&sacks=3",
      headers: jsonHeaders,
      answer: { type: "application/json", body: jsonBody },
    },
  ],
  [
    {
      ...load,
      key: "echo",
      title: "POST 1 KiB echo",
      path: "/echo",
      headers: ["Content-Type: application/octet-stream"],
      body: sack,
      answer: { type: "application/octet-stream", body: sack },
    },
  ],
  [{ ...load, key: "single", title: "1 connection", connections: 1, answer: plain }],
];

/** Connections that have been answered once and are silent since. */
export const idle = { ...load, key: "idle", title: "Idle connections", answer: plain };

export const scenarioKeys = [...groups.flat().map(({ key }) => key), idle.key];

/** In words, how much is asked at once. */
export function loadOf({ connections, depth }) {
  const many = connections === 1 ? "1 connection" : `${connections} connections`;
  return `${many}, ${depth} in flight on each`;
}

export function scenarioOf(key) {
  return groups.flat().find((scenario) => scenario.key === key);
}

// value: what is compared. against: another contender, or another scenario of the same contender.
const cpu = "cpu_us";
export const targets = [
  { scenario: "plaintext", value: cpu, against: "node:http", most: 0.2 },
  { scenario: "pipeline", value: cpu, against: "node:http", most: 0.05 },
  { scenario: "json", value: cpu, against: "node:http", most: 0.2 },
  { scenario: "plaintext", value: cpu, against: "Bun", most: 0.5 },
  { scenario: "pipeline", value: cpu, against: "Bun", most: 0.08 },
  { scenario: "json", value: cpu, against: "Bun", most: 0.4 },
  { scenario: "static", value: cpu, beside: "plaintext", most: 0.9 },
  { scenario: "async", value: cpu, beside: "plaintext", most: 1.25 },
  { scenario: "single", value: "p50_us", against: "node:http", most: 0.7 },
  { scenario: "idle", value: "user_bytes", most: 1024 },
];
