// A server that is restarted: RESTART_OPTIONS holds options of serve() as JSON. It echoes, says
// what happens to it, and closes on SIGTERM. FATE: what happens between taking sockets over and
// serving: a process is killed ("self" or an id) or stopped ("stop 123"), a file is waited for
// ("wait path"), its signal is aborted ("abort"), or the start fails and is tried again on SIGUSR2
// ("fail"); or onHandedOver throws ("throw"). TIMER: "30000 500" makes 500 ms of 30 s.

import { existsSync, writeSync } from "node:fs";
import { raw, serve } from "millrace";
import { binding, setBinding } from "../../dist/native/binding.js";

const { FATE, RESTART_OPTIONS, TIMER } = process.env;
const say = (...words) => process.stdout.write(`${words.join(" ")}\n`);
const [fate, subject] = FATE?.split(" ") ?? [];
const controller = new AbortController();

function befall() {
  if (/^\d+$/.test(fate)) process.kill(Number(fate), "SIGKILL");
  if (fate === "self") process.kill(process.pid, "SIGKILL");
  if (fate === "stop") process.kill(Number(subject), "SIGSTOP");
  if (fate === "abort") controller.abort();
  if (fate !== "wait") return;
  writeSync(1, "waits\n");
  const cell = new Int32Array(new SharedArrayBuffer(4));
  while (!existsSync(subject)) Atomics.wait(cell, 0, 0, 5);
}

if (fate !== undefined) {
  const native = binding();
  const open = (...values) => {
    befall();
    return native.open(...values);
  };
  setBinding({ ...native, open });
}

if (TIMER !== undefined) {
  const [usual, ms] = TIMER.split(" ").map(Number);
  const { setTimeout } = globalThis;
  globalThis.setTimeout = (call, after, ...values) =>
    setTimeout(call, after === usual ? ms : after, ...values);
}

function handedOver(pid) {
  say("handed over to", pid);
  if (fate === "throw") throw new Error("as it happens");
}

const { close, handover, others = [], ...options } = JSON.parse(RESTART_OPTIONS);
const all = {
  silent: true,
  log: { level: "error" },
  ...options,
  ...(handover && {
    handover: { ...handover, onHandedOver: handedOver },
  }),
  routes: {
    "/pid": raw((_req, res) => void res.end(String(process.pid))),
    // Answered when the process is told to go on.
    "/held": raw(async (_req, res) => {
      say("holds");
      await new Promise((resolve) => process.once("SIGUSR2", resolve));
      res.end("held");
    }),
    "/echo": { POST: raw(async (req, res) => void res.end(await req.text())) },
    "/text/:n": raw((req, res) => void res.end(`text ${req.params.n}`)),
  },
};

if (fate === "fail") {
  const adapter = () => {
    throw new Error("no such hub");
  };
  const going = setInterval(() => {}, 1000);
  const told = new Promise((resolve) => process.once("SIGUSR2", resolve));
  await serve({ ...all, sync: adapter }).catch(({ message }) => say("failed", message));
  await told;
  clearInterval(going);
}
const server = await serve({ ...all, ...(fate === "abort" && { signal: controller.signal }) });
for (const other of others) await serve({ ...all, ...other });
server.closed.then(({ completed, forced }) => say("closed", completed, forced));
process.on("SIGTERM", () => {
  say("closing");
  void server.close(close);
});
say("ready", process.pid, server.addresses.map(({ port }) => port).join(","));
