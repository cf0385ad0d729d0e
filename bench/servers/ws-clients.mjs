// Many WebSocket clients in one process, which is what is measured: each sends a message, waits for
// its echo, and goes on until it had so many. Words: whose clients ("ws", "millrace", or "bun" for
// the WebSocket of the runtime), the port of an echo server, clients, round trips, native loops.
import { createRequire } from "node:module";
import { announce } from "./control.mjs";

const [which, port, clientCount, tripCount, loops = "0"] = process.argv.slice(2);
const count = Number(clientCount);
const trips = Number(tripCount);
const url = `ws://127.0.0.1:${port}/echo`;
const makers = { ws: npmClients, millrace: millraceClients, bun: runtimeClients };

const sent = new Array(count).fill("");
const left = new Array(count).fill(0);
let runs = 0;
let wrong = 0;
let finished = 0;
let finish;

const { send, version } = await makers[which]();
announce(0, version, undefined, { run });

/** One round of all clients at a time; nothing is lost, or it never ends. */
function run() {
  const began = performance.now();
  runs += 1;
  wrong = 0;
  finished = 0;
  return new Promise((resolve) => {
    finish = () => resolve({ messages: count * trips, wrong, ms: performance.now() - began });
    for (let i = 0; i < count; i += 1) {
      left[i] = trips;
      next(i);
    }
  });
}

// 64 bytes that nobody else sends.
function next(i) {
  send(i, (sent[i] = `client ${i} run ${runs} message ${left[i]} `.padEnd(64, "~")));
}

function received(i, text) {
  if (text !== sent[i] || left[i] === 0) wrong += 1;
  left[i] -= 1;
  if (left[i] > 0) next(i);
  else if ((finished += 1) === count) finish();
}

async function npmClients() {
  const { WebSocket } = await import("ws");
  const open = (i) =>
    new Promise((resolve, reject) => {
      const socket = new WebSocket(url, { perMessageDeflate: false });
      socket.on("message", (data) => received(i, data.toString()));
      socket.on("open", () => resolve(socket));
      socket.on("error", reject);
    });
  const sockets = await openAll(open);
  const { version } = createRequire(import.meta.url)("ws/package.json");
  return { send: (i, text) => sockets[i].send(text), version };
}

async function runtimeClients() {
  const open = (i) =>
    new Promise((resolve, reject) => {
      const socket = new WebSocket(url);
      socket.onmessage = ({ data }) => received(i, data);
      socket.onopen = () => resolve(socket);
      socket.onerror = reject;
    });
  const sockets = await openAll(open);
  return { send: (i, text) => sockets[i].send(text), version: globalThis.Bun?.version ?? "" };
}

async function millraceClients() {
  const { clientele } = await import("../../dist/index.js");
  const all = clientele({
    loops: Number(loops),
    message: (client, text) => received(client.data, text),
    error: (_client, error) => fail(error),
  });
  const clients = await openAll(async (i) => {
    const client = all.client(url, { data: i });
    if (!(await client.connect())) throw new Error(`client ${i} could not connect`);
    return client;
  });
  return { send: (i, text) => void clients[i].send(text), version: "" };
}

// Fewer at a time than a listen backlog holds.
async function openAll(open) {
  const sockets = [];
  while (sockets.length < count) {
    const length = Math.min(100, count - sockets.length);
    const first = sockets.length;
    sockets.push(...(await Promise.all(Array.from({ length }, (_, k) => open(first + k)))));
  }
  return sockets;
}

function fail(error) {
  process.stderr.write(`${error.stack}\n`);
  process.exit(1);
}
