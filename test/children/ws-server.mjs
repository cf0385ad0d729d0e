// WebSocket servers in a process of their own: node --expose-gc ws-server.mjs NAME LOOPS. Each has
// what it holds at GET /report.
import { readdirSync } from "node:fs";
import { getHeapSpaceStatistics } from "node:v8";
import { raw, serve } from "millrace";

const [name, loopsText] = process.argv.slice(2);
const BLOCK_MS = 1500;

function report(server) {
  globalThis.gc();
  const { rss, heapUsed, external } = process.memoryUsage();
  const isYoung = ({ space_name }) => space_name.startsWith("new_");
  const young = getHeapSpaceStatistics().filter(isYoung);
  const { webSockets, connections, counters } = server.metrics;
  const descriptors = process.platform === "linux" ? readdirSync("/proc/self/fd").length : 0;
  const { blocks, subscriptions } = counters;
  return {
    rss,
    young: young.reduce((sum, { physical_space_size }) => sum + physical_space_size, 0),
    heapUsed,
    external,
    descriptors,
    webSockets,
    connections,
    blocks,
    subscriptions,
    ...seen,
  };
}

const seen = { opened: 0, closed: 0, messages: 0, rssMost: 0, isOrdered: true };
const last = new Map();

const echo = {
  open: () => void (seen.opened += 1),
  message(ws, data) {
    seen.messages += 1;
    ws.send(data);
  },
  close: () => void (seen.closed += 1),
};

// Counts, and looks whether each socket's numbers come one after the other.
const numbered = {
  maxPayloadLength: 1_048_576,
  open: () => void (seen.opened += 1),
  message(ws, data) {
    seen.messages += 1;
    const number =
      data.readUInt32BE?.(0) ?? Buffer.from(data.buffer, data.byteOffset).readUInt32BE(0);
    if (number !== (last.get(ws) ?? -1) + 1) seen.isOrdered = false;
    last.set(ws, number);
    const { rss } = process.memoryUsage;
    if (seen.messages % 64 === 0) seen.rssMost = Math.max(seen.rssMost, rss());
  },
  close: () => void (seen.closed += 1),
};

const server = await serve({
  listen: Array.from({ length: 4 }, () => ({ port: 0, hostname: "127.0.0.1" })),
  loops: Number(loopsText),
  silent: true,
  routes: {
    "/": name === "echo" ? echo : numbered,
    "/report": raw((_req, res) => void res.end(JSON.stringify(report(server)))),
    "/block": raw((_req, res) => {
      res.end("blocking");
      setTimeout(() => {
        const end = performance.now() + BLOCK_MS;
        console.log("blocked");
        while (performance.now() < end);
        seen.rssMost = process.memoryUsage.rss();
        console.log("unblocked", seen.rssMost);
      }, 10);
    }),
  },
});
console.log(`ports ${server.addresses.map(({ port }) => port).join(" ")};`);
