// Topics in JavaScript: what may be one, and an index of the sockets of a server by them, which is
// undefined until somebody asks for it, as the native side has its own.
import { invalidOption } from "../check.ts";
import type { NativeSocket } from "./socket.ts";

/** Subscribers by topic. */
export type TopicIndex = Map<string, Set<NativeSocket>>;

const TOPIC_BYTES_MAX = 1024;

/** @throws {MillraceError} ERR_MILLRACE_INVALID_OPTION */
export function checkTopic(topic: unknown): asserts topic is string {
  const size = typeof topic === "string" ? Buffer.byteLength(topic) : 0;
  if (size >= 1 && size <= TOPIC_BYTES_MAX) return;
  throw invalidOption("topic", `must be a string of 1 to ${TOPIC_BYTES_MAX} bytes`, topic);
}

/** Adds a subscriber. */
export function joinTopic(
  index: TopicIndex | undefined,
  topic: string,
  socket: NativeSocket,
): void {
  if (index === undefined) return;
  const others = index.get(topic);
  if (others === undefined) index.set(topic, new Set([socket]));
  else others.add(socket);
}

/** Takes one out. */
export function leaveTopic(
  index: TopicIndex | undefined,
  topic: string,
  socket: NativeSocket,
): void {
  const others = index?.get(topic);
  others?.delete(socket);
  if (others?.size === 0) index?.delete(topic);
}
