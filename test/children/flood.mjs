// Clients that read slowly, in a process of their own:
// node flood.mjs PORT COUNT TARGET BYTES MS: COUNT connections ask for TARGET and take BYTES every
// MS milliseconds each. Says "asked", then every MS how much has come, and "closed" when one is
// lost.
import { once } from "node:events";
import { connect } from "node:net";

const [port, count, target, bytes, ms] = process.argv.slice(2);
const STEPS = 10; // the reads of an interval, spread over it
const sockets = [];
let read = 0;
let isOver = false;

for (let i = 0; i < Number(count); i += 1) {
  // The buffer bounds what one read takes from the kernel; false stops until the next resume().
  const callback = (length) => {
    read += length;
    return false;
  };
  const onread = { buffer: Buffer.alloc(Number(bytes)), callback };
  const socket = connect({ port: Number(port), host: "127.0.0.1", onread });
  await once(socket, "connect");
  socket.on("error", () => undefined);
  socket.on("close", () => {
    if (!isOver) console.log("closed");
  });
  socket.write(`GET ${target} HTTP/1.1\r\nHost: a\r\n\r\n`);
  sockets.push(socket);
}
console.log("asked");

let step = 0;
setInterval(() => {
  for (let i = step; i < sockets.length; i += STEPS) sockets[i].resume();
  step = (step + 1) % STEPS;
  if (step === 0) console.log("read", read);
}, Number(ms) / STEPS);
// With resets, so that no port stays taken for a minute.
process.once("SIGTERM", () => {
  isOver = true;
  for (const socket of sockets) socket.resetAndDestroy();
  setImmediate(() => process.exit());
});
