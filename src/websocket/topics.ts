// Topics in JavaScript: what may be one, and an index of the sockets of a server by them, which is
// undefined until somebody asks for it, as the native side has its own.
import { toUSVString } from "node:util";
import { invalidOption } from "../check.ts";
import type { NativeSocket } from "./socket.ts";

/** Subscribers by topic. */
export type TopicIndex = Map<string, Set<NativeSocket>>;

const TOPIC_BYTES_MAX = 1024;

/**
 * The topic as its UTF-8 says it: without unpaired surrogates, so that two that natively are one
 * are one here, too.
 * @throws {MillraceError} ERR_MILLRACE_INVALID_OPTION
 */
export function topicOf(topic: unknown): string {
  if (typeof topic === "string") {
    const size = Buffer.byteLength(topic);
    if (size >= 1 && size <= TOPIC_BYTES_MAX) return toUSVString(topic);
  }
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
