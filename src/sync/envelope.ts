// How a message travels through Redis and NATS: one version byte, one kind byte, the length of the
// id (one byte), of the namespace (two) and of the topic (four, big endian), then these three in
// UTF-8, then the data.
import { warn } from "../warnings.ts";
import type { SyncMessage } from "./adapter.ts";

const VERSION = 1;
const TEXT = 0;
const BINARY = 1;
const HEAD = 9; // bytes
const ID_MAX = 0xff;
const NAMESPACE_MAX = 0xffff;

/** The bytes of a message of the process with this id; nothing of `message` is kept. */
export function encode(id: string, message: SyncMessage): Buffer {
  const { namespace, topic, data } = message;
  const idLength = Buffer.byteLength(id);
  const namespaceLength = Buffer.byteLength(namespace);
  if (idLength > ID_MAX) throw new RangeError(`an id of ${idLength} bytes; at most ${ID_MAX}`);
  if (namespaceLength > NAMESPACE_MAX)
    throw new RangeError(`a namespace of ${namespaceLength} bytes; at most ${NAMESPACE_MAX}`);
  const topicLength = Buffer.byteLength(topic);
  const dataAt = HEAD + idLength + namespaceLength + topicLength;
  const bytes = Buffer.allocUnsafe(dataAt + Buffer.byteLength(data));
  bytes[0] = VERSION;
  bytes[1] = typeof data === "string" ? TEXT : BINARY;
  bytes[2] = idLength;
  bytes.writeUInt16BE(namespaceLength, 3);
  bytes.writeUInt32BE(topicLength, 5);
  bytes.write(id, HEAD);
  bytes.write(namespace, HEAD + idLength);
  bytes.write(topic, HEAD + idLength + namespaceLength);
  if (typeof data === "string") bytes.write(data, dataAt);
  else bytes.set(data, dataAt);
  return bytes;
}

/** A message with the id of the process that it comes from; undefined for other bytes. */
export function decode(
  raw: Uint8Array,
): { readonly id: string; readonly message: SyncMessage } | undefined {
  const bytes = Buffer.from(raw.buffer, raw.byteOffset, raw.byteLength);
  const kind = bytes[1];
  if (bytes.length < HEAD || bytes[0] !== VERSION || (kind !== TEXT && kind !== BINARY)) return;
  const namespaceAt = HEAD + (bytes[2] as number);
  const topicAt = namespaceAt + bytes.readUInt16BE(3);
  const dataAt = topicAt + bytes.readUInt32BE(5);
  if (dataAt > bytes.length) return;
  return {
    id: bytes.toString("utf8", HEAD, namespaceAt),
    message: {
      namespace: bytes.toString("utf8", namespaceAt, topicAt),
      topic: bytes.toString("utf8", topicAt, dataAt),
      // A plain array, as the server gives for messages of its own clients.
      data: kind === TEXT ? bytes.toString("utf8", dataAt) : new Uint8Array(bytes.subarray(dataAt)),
    },
  };
}

/** What takes the bytes of a channel: leaves out our own, and warns once of what is no message. */
export function receiver(
  id: string,
  where: string,
  deliver: (message: SyncMessage) => void,
): (bytes: Uint8Array) => void {
  let hasWarned = false;
  return (bytes) => {
    const found = decode(bytes);
    if (found !== undefined) {
      if (found.id !== id) deliver(found.message);
      return;
    }
    if (hasWarned) return;
    hasWarned = true;
    warn("ERR_MILLRACE_SYNC", `sync: something else publishes on ${where}; it is ignored`);
  };
}
