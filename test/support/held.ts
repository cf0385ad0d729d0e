// What the kernel holds of the connections to a port of this machine: bytes that one end has
// written and the other has not read yet. Linux only.
import { readFileSync } from "node:fs";

const LISTENING = "0A";
const READINGS_MAX = 20;

/**
 * Bytes written by the server on `port` of 127.0.0.1 that its clients have not read. Nothing must
 * move meanwhile. The table is not read at one moment, and rows can be missing: so until it says
 * the same twice.
 */
export function unreadInKernel(port: number): number {
  let before = readOnce(port);
  for (let reading = 0; reading < READINGS_MAX; reading += 1) {
    const bytes = readOnce(port);
    if (bytes === before) return bytes;
    before = bytes;
  }
  throw new Error("the queues of the kernel do not stand still");
}

function readOnce(port: number): number {
  const server = `0100007F:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  // By connection, as a row can come twice too.
  const sending = new Map<string, number>();
  const received = new Map<string, number>();
  for (const line of readFileSync("/proc/net/tcp", "latin1").split("\n").slice(1)) {
    const [, local = "", remote = "", state, queues = ""] = line.trim().split(/\s+/);
    if (state === LISTENING) continue;
    const [tx = "0", rx = "0"] = queues.split(":");
    if (local === server) sending.set(remote, Number.parseInt(tx, 16));
    if (remote === server) received.set(local, Number.parseInt(rx, 16));
  }
  return [...sending.values(), ...received.values()].reduce((sum, bytes) => sum + bytes, 0);
}
