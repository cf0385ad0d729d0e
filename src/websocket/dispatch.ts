// Events of WebSockets, from the batch to their sockets. The hot path of messages.
import type { Binding } from "../native/binding.ts";
import { EVENT, EVENT_FLAG, EVENT_WORD as W } from "../native/tables.ts";
import { MESSAGE, PING, PONG } from "./calls.ts";
import type { SocketService } from "./service.ts";
import { DRAIN_REPORT, type NativeSocket } from "./socket.ts";

const FIXED_BYTES = 64;
const DEFLATE_AGREED = 1; // headB of Opened
const TOO_BIG = 1009;

// Methods that Buffer has and its types lack: no decoder object, no options.
interface Slices {
  latin1Slice(from: number, to: number): string;
  utf8Slice(from: number, to: number): string;
}

/** Gives a Message event to its socket. `buffer` is `batch` once more. */
export function dispatchMessage(
  sockets: SocketService,
  words: Int32Array,
  batch: Uint8Array,
  buffer: Buffer,
  base: number,
): void {
  const socket = sockets.open.get(words[base + W.handle] as number);
  const flags = (words[base + W.kind] as number) >>> 16;
  const isOther = socket?.generation !== (words[base + W.generation] as number) >>> 0;
  // What natively owns memory is taken in any case.
  if ((flags & EVENT_FLAG.bodyIsBlob) !== 0) {
    const data = takeLarge(sockets.native, flags, (words[base + W.blob] as number) >>> 0);
    if (isOther) return;
    // Natively such a text is refused before: only an engine with shorter strings gets here.
    if (data === undefined) socket?.shut(TOO_BIG, "");
    else socket?.arrived(MESSAGE, data);
    return;
  }
  if (isOther || socket === undefined) return;
  const from = (base << 2) + FIXED_BYTES;
  const to = from + (words[base + W.bodyLength] as number);
  socket.arrived(
    MESSAGE,
    (flags & EVENT_FLAG.text) !== 0 ? textOf(buffer, flags, from, to) : batch.slice(from, to),
  );
}

// Not a slice of the batch's text: a message that is kept would keep the whole of it.
function textOf(buffer: Buffer, flags: number, from: number, to: number): string {
  if (from === to) return "";
  const slices = buffer as unknown as Slices;
  return (flags & EVENT_FLAG.ascii) !== 0
    ? slices.latin1Slice(from, to)
    : slices.utf8Slice(from, to);
}

function takeLarge(native: Binding, flags: number, blob: number): string | Uint8Array | undefined {
  if ((flags & EVENT_FLAG.text) !== 0)
    return native.takeText(blob, (flags & EVENT_FLAG.ascii) !== 0);
  const taken = native.takeBody(blob);
  return new Uint8Array(taken.buffer, taken.byteOffset, taken.byteLength);
}

/** Any other event; false when it concerns no WebSocket. `text` is the event's own. */
export function dispatchSocket(
  sockets: SocketService,
  kind: number,
  words: Int32Array,
  batch: Uint8Array,
  base: number,
  text: string,
): boolean {
  const handle = words[base + W.handle] as number;
  const generation = (words[base + W.generation] as number) >>> 0;
  const headA = (words[base + W.headA] as number) >>> 0;
  if (kind === EVENT.Refused) {
    const detail = (words[base + W.headB] as number) >>> 0;
    sockets.onRefused?.(headA, statusOf(words, base), detail, text);
    return true;
  }
  const found = sockets.open.get(handle);
  const socket = found?.generation === generation ? found : undefined;
  if (kind === EVENT.Opened) {
    const opened = socket ?? sockets.onConnected?.(headA, handle, generation, text);
    opened?.wasOpened(((words[base + W.headB] as number) & DEFLATE_AGREED) !== 0);
    return true;
  }
  if (kind === EVENT.Aborted || kind === EVENT.PeerClosed) {
    if (kind === EVENT.Aborted) socket?.aborted();
    return socket !== undefined;
  }
  if (kind < EVENT.Opened) return false;
  if (socket !== undefined) dispatchNews(sockets, socket, kind, words, batch, base);
  return true;
}

function dispatchNews(
  sockets: SocketService,
  socket: NativeSocket,
  kind: number,
  words: Int32Array,
  batch: Uint8Array,
  base: number,
): void {
  const headA = (words[base + W.headA] as number) >>> 0;
  switch (kind) {
    case EVENT.Ping:
      if (socket.rules.ping !== undefined) socket.arrived(PING, payloadOf(words, batch, base));
      return;
    case EVENT.Pong:
      if (socket.rules.pong !== undefined) socket.arrived(PONG, payloadOf(words, batch, base));
      return;
    case EVENT.Ending:
      socket.isEnding(statusOf(words, base), Buffer.from(payloadOf(words, batch, base)).toString());
      return;
    case EVENT.Ended:
      socket.ended(statusOf(words, base), (words[base + W.headB] as number) >>> 0);
      return;
    case EVENT.Sent:
      if (headA === DRAIN_REPORT) socket.reported();
      else sockets.deliveries.sent(headA, socket, statusOf(words, base) === 0);
      return;
    default:
  }
}

function payloadOf(words: Int32Array, batch: Uint8Array, base: number): Uint8Array {
  const length = words[base + W.bodyLength] as number;
  const from = (base << 2) + FIXED_BYTES;
  return batch.slice(from, from + length);
}

function statusOf(words: Int32Array, base: number): number {
  return (words[base + W.listener] as number) >>> 16;
}
