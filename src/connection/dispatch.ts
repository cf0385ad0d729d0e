// Events of connections, from the batch to their connections.
import type { Address } from "../api.ts";
import { EVENT, EVENT_WORD as W } from "../native/tables.ts";
import type { Connections } from "./connections.ts";
import { proxyOf } from "./proxy.ts";

const FIXED_BYTES = 64;

/** Bytes of the text of an event that has texts as a Request, without trailers. */
export function textLength(words: Int32Array, base: number): number {
  const method = (words[base + W.route] as number) >>> 24;
  const peer = ((words[base + W.peer] as number) >>> 16) & 0xff;
  const target = words[base + W.targetLength] as number;
  return method + target + peer + (words[base + W.headerLength] as number);
}

/** Takes a Connected or Disconnected event. `text` is the event's own. */
export function dispatchConnection(
  connections: Connections,
  words: Int32Array,
  batch: Uint8Array,
  base: number,
  text: string,
): void {
  const listener = words[base + W.listener] as number;
  const place = {
    handle: words[base + W.handle] as number,
    index: (words[base + W.headA] as number) >>> 0,
    generation: listener >>> 16,
  };
  if (((words[base + W.kind] as number) & 0xffff) === EVENT.Disconnected) {
    connections.disconnected(place, (words[base + W.headB] as number) >>> 0);
    return;
  }
  const own = connections.addresses[listener & 0xffff] as Address;
  const length = words[base + W.bodyLength] as number;
  const from = (base << 2) + FIXED_BYTES;
  connections.connected(place, {
    listener: listener & 0xffff,
    // A slice would keep the text of the whole batch.
    peer: Buffer.from(text, "latin1").toString("latin1"),
    port: (words[base + W.peer] as number) & 0xffff,
    proxy: length === 0 ? undefined : proxyOf(batch.slice(from, from + length), own),
  });
}
