// Publishing: natively to the process, over the index by topic to the sockets of this thread, and
// through a relay to other hosts.
import { createHash } from "node:crypto";
import { readFileSync, readlinkSync } from "node:fs";
import { hostname } from "node:os";
import { checkedBody } from "../body.ts";
import { checkRecord, oneOf, truth } from "../check.ts";
import { COMMAND_FLAG } from "../native/tables.ts";
import type { SyncAdapter } from "../sync/adapter.ts";
import { Relay } from "../sync/relay.ts";
import type { PublishOptions } from "./api.ts";
import { Deliveries, ownSocket } from "./deliveries.ts";
import type { SocketService } from "./service.ts";
import type { NativeSocket } from "./socket.ts";
import { joinTopic, type TopicIndex, topicOf } from "./topics.ts";

const TEXT = 1;
const BINARY = 2;
const COMPRESS = COMMAND_FLAG.compress << 16;
const NOBODY = -1;
const RELEASED = -1;
const SCOPES = ["cluster", "process", "thread"] as const;

// The servers of this JavaScript thread.
const services = new Set<SocketService>();
let made = 0;

/**
 * What the sockets of a native server share, before the server is open. `topicSpace` as it is given
 * natively.
 */
export function makeSocketService(native: SocketService["native"], topicSpace = ""): SocketService {
  made += 1;
  const service: SocketService = {
    native,
    server: 0,
    number: made,
    connections: undefined,
    log: undefined,
    topicSpace,
    open: new Map(),
    openCount: 0,
    leaving: new Set(),
    deliveries: new Deliveries(),
    byTopic: undefined,
    relay: undefined,
    publish: (topic, data, options, except) => publish(service, topic, data, options, except),
    onConnected: undefined,
    onRefused: undefined,
    onIdle: undefined,
  };
  return service;
}

/** The server is open: what is published in its thread reaches it. */
export function joinThread(service: SocketService): void {
  services.add(service);
}

/** The server is released. */
export function leaveThread(service: SocketService): void {
  services.delete(service);
  service.server = RELEASED;
}

/**
 * One message to the subscribers of a topic.
 * @returns how many there are in the process, or in the thread with that scope
 * @throws {MillraceError} ERR_MILLRACE_INVALID_OPTION, ERR_MILLRACE_INVALID_BODY
 */
export function publish(
  service: SocketService,
  name: unknown,
  data: unknown,
  options: unknown,
  publisher: NativeSocket | undefined,
): number {
  const topic = topicOf(name);
  const body = checkedBody(data ?? null) as string | Uint8Array;
  const given: PublishOptions = options === undefined ? {} : checked(options, publisher);
  const except = publisher ?? exceptOf(service, given);
  const opcode = typeof body === "string" ? TEXT : BINARY;
  const flags = given.compress === false ? opcode : opcode | COMPRESS;
  const scope = given.scope ?? "cluster";
  const { native, server } = service;
  if (server === RELEASED) return 0;
  if (scope === "thread") return publishInThread(service, topic, flags, body, except);
  const handle = except === undefined ? NOBODY : except.handle;
  const generation = except === undefined ? 0 : except.generation;
  const count = native.publish(server, topic, flags, body, handle, generation);
  if (scope === "cluster") service.relay?.publish(topic, body);
  return except?.isSubscribed(topic) === true ? count - 1 : count;
}

/** Connects a server with those of other hosts. Throws what the adapter throws. */
export function startSync(service: SocketService, adapter: SyncAdapter): void {
  service.relay = Relay.open({
    adapter,
    id: processId(),
    namespace: service.topicSpace,
    // What other hosts send is looked at as closely as what the application gives.
    deliver: (name, data) => {
      const topic = topicOf(name);
      const body = checkedBody(data ?? null) as string | Uint8Array;
      const flags = (typeof body === "string" ? TEXT : BINARY) | COMPRESS;
      publishTo(service, topic, flags, body, undefined);
    },
  });
}

// The same in all threads of the process, and no other process's.
function processId(): string {
  const hash = createHash("sha256").update(`${hostname()} ${process.pid}`);
  // Containers may share both, and begin at the same tick of their kernels.
  const stat = textOrNone(() => readFileSync("/proc/self/stat", "latin1"));
  const began = stat.slice(stat.lastIndexOf(")")).split(" ")[20] ?? "";
  const boot = textOrNone(() => readFileSync("/proc/sys/kernel/random/boot_id", "latin1"));
  const space = textOrNone(() => readlinkSync("/proc/self/ns/pid"));
  return hash.update(`${began} ${boot} ${space}`).digest("hex").slice(0, 16);
}

// What only Linux has, and not in every container.
function textOrNone(read: () => string): string {
  try {
    return read();
  } catch {
    return "";
  }
}

function checked(options: unknown, publisher: NativeSocket | undefined): PublishOptions {
  const keys = ["compress", "scope"];
  checkRecord("publish()", options, publisher === undefined ? [...keys, "except"] : keys);
  const given = options as PublishOptions;
  if (given.compress !== undefined) truth("publish() compress", given.compress);
  if (given.scope !== undefined) oneOf("publish() scope", given.scope, SCOPES);
  return given;
}

// One that is over gets nothing anyway, and its handle may be another's by now.
function exceptOf(service: SocketService, given: PublishOptions): NativeSocket | undefined {
  if (given.except === undefined) return undefined;
  const socket = ownSocket(service, given.except);
  return socket.readyState === 3 ? undefined : socket;
}

function publishInThread(
  { topicSpace }: SocketService,
  topic: string,
  flags: number,
  body: string | Uint8Array,
  except: NativeSocket | undefined,
): number {
  let count = 0;
  for (const service of services)
    if (service.topicSpace === topicSpace) count += publishTo(service, topic, flags, body, except);
  return count;
}

function publishTo(
  service: SocketService,
  topic: string,
  flags: number,
  body: string | Uint8Array,
  except: NativeSocket | undefined,
): number {
  const subscribers = (service.byTopic ??= indexOf(service)).get(topic);
  if (subscribers === undefined) return 0;
  const words = new Int32Array(subscribers.size * 2);
  let count = 0;
  for (const socket of subscribers) {
    if (socket === except) continue;
    words[count * 2] = socket.handle;
    words[count * 2 + 1] = socket.generation;
    count += 1;
  }
  if (count > 0) service.native.sendMany(words, count, flags, body, 0);
  return count;
}

function indexOf(service: SocketService): TopicIndex {
  const byTopic: TopicIndex = new Map();
  for (const socket of service.open.values())
    for (const topic of socket.ownTopics) joinTopic(byTopic, topic, socket);
  return byTopic;
}
