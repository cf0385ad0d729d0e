// What bench/websocket.mjs measures, as data: who takes part, the load, and the bounds.
import { npmSockets, runOf, socketFloor } from "./contenders.mjs";

/** Where all servers echo, and where they take subscribers and what is for them. */
const echo = { path: "/echo", headers: [], body: "", connections: 64, depth: 1 };
const broadcast = { ...echo, path: "/subscribe", connections: 1000 };

const plain = [
  { name: "recv + send", runs: () => [socketFloor] },
  { name: "ws", runs: () => npmSockets("ws-npm.mjs") },
  { name: "Bun", runs: () => runOf("bun", "ws-bun.mjs") },
  { name: "millrace inline", runs: () => runOf("node", "ws-millrace.mjs", "0"), ours: true },
  { name: "millrace 1 loop", runs: () => runOf("node", "ws-millrace.mjs", "1"), ours: true },
];

// Each with its own defaults: ws remembers earlier messages, Bun and millrace do not.
const deflating = [
  { name: "ws", runs: () => npmSockets("ws-npm.mjs", "deflate") },
  { name: "ws, no takeover", runs: () => npmSockets("ws-npm.mjs", "forget") },
  { name: "Bun", runs: () => runOf("bun", "ws-bun.mjs", "deflate") },
  {
    name: "millrace inline",
    runs: () => runOf("node", "ws-millrace.mjs", "0", "deflate"),
    ours: true,
  },
  {
    name: "millrace 1 loop",
    runs: () => runOf("node", "ws-millrace.mjs", "1", "deflate"),
    ours: true,
  },
  {
    name: "millrace inline, takeover",
    runs: () => runOf("node", "ws-millrace.mjs", "0", "deflate", "takeover"),
  },
];

const json = ["--ws", "echo", "--size", "1024", "--json", "--deflate"];

/** Scenarios of one group share processes and rounds, so that their ratios are of one moment. */
export const groups = [
  {
    contenders: plain,
    scenarios: [
      {
        ...echo,
        key: "text",
        title: "Echo, 64 bytes of text",
        words: ["--ws", "echo", "--size", "64"],
      },
      {
        ...echo,
        key: "text-16",
        title: "Echo, 64 bytes of text",
        depth: 16,
        words: ["--ws", "echo", "--size", "64"],
      },
      {
        ...echo,
        key: "binary",
        title: "Echo, 16 KiB of bytes",
        words: ["--ws", "echo", "--size", "16384", "--binary"],
      },
      {
        ...broadcast,
        key: "broadcast",
        title: "Broadcast, 64 bytes of text",
        words: ["--ws", "broadcast", "--size", "64"],
      },
      {
        ...broadcast,
        key: "broadcast-8",
        title: "Broadcast, 64 bytes of text",
        depth: 8,
        words: ["--ws", "broadcast", "--size", "64"],
      },
    ],
  },
  {
    contenders: deflating,
    scenarios: [
      {
        ...echo,
        key: "deflate",
        title: "Echo, 1 KiB of JSON, permessage-deflate",
        words: json,
        compresses: true,
      },
    ],
  },
];

/** Sockets that have been answered once and are silent since; `most` of them, or as told. */
export const idles = [
  {
    ...echo,
    key: "idle",
    title: "Idle sockets",
    contenders: plain.slice(1),
    most: Number.POSITIVE_INFINITY,
    words: ["--ws", "echo", "--size", "64"],
  },
  {
    ...echo,
    key: "idle-deflate",
    title: "Idle sockets, permessage-deflate",
    contenders: deflating,
    most: 1000,
    words: json,
    compresses: true,
  },
];

/** Many clients in one process, which is the one that is measured. */
export const clients = {
  key: "clients",
  title: "1000 clients of one process, 100 round trips each, 64 bytes of text",
  count: 1000,
  trips: 100,
  server: plain.at(-1),
  contenders: [
    { name: "ws", runs: (words) => npmSockets("ws-clients.mjs", "ws", ...words) },
    { name: "Bun", runs: (words) => runOf("bun", "ws-clients.mjs", "bun", ...words) },
    { name: "millrace inline", runs: (words) => ourClients(words, "0"), ours: true },
    { name: "millrace 1 loop", runs: (words) => ourClients(words, "1"), ours: true },
  ],
};

function ourClients(words, loops) {
  return runOf("node", "ws-clients.mjs", "millrace", ...words, loops);
}

export const keys = [
  ...groups.flatMap(({ scenarios }) => scenarios.map(({ key }) => key)),
  ...idles.map(({ key }) => key),
  clients.key,
];

export const names = [...new Set([...plain, ...deflating].map(({ name }) => name))];

const cpu = "cpu_us";
/** value: what is compared; against: another contender, or nobody for a bound by itself. */
export const targets = [
  { scenario: "text", value: cpu, against: "ws", most: 0.28 },
  { scenario: "text", value: cpu, against: "Bun", most: 0.95 },
  { scenario: "binary", value: cpu, against: "ws", most: 0.5 },
  { scenario: "broadcast", value: cpu, against: "ws", most: 0.12 },
  { scenario: "broadcast", value: cpu, against: "Bun", most: 0.6 },
  { scenario: "broadcast-8", value: cpu, against: "ws", most: 0.12 },
  { scenario: "broadcast-8", value: cpu, against: "Bun", most: 0.6 },
  { scenario: "deflate", value: cpu, against: "ws", most: 0.7 },
  { scenario: "idle-deflate", value: "user_bytes", against: "ws", most: 0.5 },
  { scenario: "idle", value: "user_bytes", most: 1024 },
  { scenario: "clients", value: cpu, against: "ws", most: 0.4 },
];
