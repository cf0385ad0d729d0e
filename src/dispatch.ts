// Drains a batch: one entry into JavaScript, many requests. The hot path; what looks odd here is
// measured.
import { AsyncResource } from "node:async_hooks";
import { lookAtArrival } from "./client.ts";
import { dispatchConnection, textLength } from "./connection/dispatch.ts";
import { errnoName, MillraceError, sentenceOf } from "./errors.ts";
import { Incoming } from "./incoming.ts";
import { LOG_LEVELS } from "./logging/levels.ts";
import type { Dispatch } from "./native/binding.ts";
import { ERRORS, EVENT, EVENT_FLAG, EVENT_WORD as W } from "./native/tables.ts";
import { follow, isPlain, runObserved, traceEvent } from "./observation.ts";
import { runHandler } from "./outcome.ts";
import { settleDelivery } from "./outgoing.ts";
import { NativeReq } from "./request.ts";
import { NativeRes } from "./response.ts";
import type { OpenExchange, Service, Target } from "./service.ts";
import { dispatchMessage, dispatchSocket } from "./websocket/dispatch.ts";

const FIXED_BYTES = 64;
const FIXED_WORDS = 16;
const MANUAL = { requireManualDestroy: true };

/** The function that the native side calls per batch. `batch` is reused as soon as it returns. */
export function makeDispatch(service: Service, batch: Uint8Array): Dispatch {
  const words = new Int32Array(batch.buffer, batch.byteOffset, batch.byteLength >>> 2);
  const buffer = Buffer.from(batch.buffer, batch.byteOffset, batch.byteLength);
  return (count, text) => {
    const { log, outbox } = service;
    const isTraced = log.threshold <= LOG_LEVELS.trace;
    const isObserved = !isPlain(service);
    let base = 0;
    let at = 0;
    outbox.open();
    try {
      for (let i = 0; i < count; i += 1) {
        const kind = (words[base + W.kind] as number) & 0xffff;
        if (isTraced) traceEvent(log, kind, words[base + W.handle] as number);
        if (kind === EVENT.Message) {
          dispatchMessage(service.sockets, words, batch, buffer, base);
        } else if (kind === EVENT.Request) {
          at = dispatchRequest(service, words, batch, base, text, at, isObserved);
        } else {
          at = dispatchOther(service, words, batch, base, text, at);
        }
        base += (words[base + W.size] as number) >>> 2;
      }
    } finally {
      outbox.close();
    }
  };
}

// Returns where the next request's text begins. Many locals instead of an object: nothing is
// allocated but what stays.
function dispatchRequest(
  service: Service,
  words: Int32Array,
  batch: Uint8Array,
  base: number,
  text: string,
  at: number,
  isObserved: boolean,
): number {
  const flags = (words[base + W.kind] as number) >>> 16;
  const lengths = words[base + W.route] as number;
  const targetLength = words[base + W.targetLength] as number;
  const headerLength = words[base + W.headerLength] as number;
  const peer = words[base + W.peer] as number;
  const paramCount = peer >>> 24;
  const trailerLength = words[base + W.headB] as number;
  let spans: number[] | undefined;
  if (paramCount !== 0) {
    spans = [];
    for (let i = 0; i < paramCount; i += 1) spans.push(words[base + FIXED_WORDS + i] as number);
  }
  const req = new NativeReq(
    service,
    service.targets[lengths & 0xffff] as Target,
    text,
    at,
    lengths,
    targetLength,
    words[base + W.pathLength] as number,
    peer,
    headerLength,
    flags,
    words[base + W.listener] as number,
    spans,
    bodyOf(service, words, batch, base, flags, paramCount),
    trailerLength,
    words[base + W.headA] as number,
  );
  // Every handler call gets a fresh async resource: what it enters into an AsyncLocalStorage is
  // seen by its own continuations and by no other request of this batch or the next.
  const scope = new AsyncResource("MILLRACEREQUEST", MANUAL);
  const handle = words[base + W.handle] as number;
  const generation = (words[base + W.generation] as number) >>> 0;
  const res = new NativeRes(service, req, handle, generation, flags, scope);
  if ((flags & EVENT_FLAG.bodyFollows) !== 0)
    req.incoming = new Incoming(service.native, handle, generation, req.where);
  if (service.connections.hasProxied) req.meet();
  if (service.proxies.arrivals > 0 && !req.isScgi)
    lookAtArrival(service.proxies, req.peerAddress, (name) => req.headers.get(name));
  // What handlers read of a handshake stays in the `data` of its socket, and slices with it.
  if ((flags & EVENT_FLAG.upgrade) !== 0) req.compact(0);
  if (isObserved) follow(service, req);
  scope.runInAsyncScope(isObserved ? runObserved : runHandler, undefined, service, req, res);
  return (
    at + (lengths >>> 24) + targetLength + ((peer >>> 16) & 0xff) + headerLength + trailerLength
  );
}

function bodyOf(
  service: Service,
  words: Int32Array,
  batch: Uint8Array,
  base: number,
  flags: number,
  paramCount: number,
): Uint8Array | undefined {
  const length = words[base + W.bodyLength] as number;
  if (length === 0) return undefined;
  if ((flags & EVENT_FLAG.bodyIsBlob) !== 0) {
    const taken = service.native.takeBody((words[base + W.blob] as number) >>> 0);
    // A Buffer by birth; small bodies are plain arrays, and the two should not differ.
    return new Uint8Array(taken.buffer, taken.byteOffset, taken.byteLength);
  }
  const from = (base << 2) + FIXED_BYTES + (paramCount << 2);
  return batch.slice(from, from + length);
}

// Returns where the next event's text begins.
function dispatchOther(
  service: Service,
  words: Int32Array,
  batch: Uint8Array,
  base: number,
  text: string,
  at: number,
): number {
  const kind = (words[base + W.kind] as number) & 0xffff;
  switch (kind) {
    case EVENT.Drained:
      service.onDrained(
        (words[base + W.headA] as number) >>> 0,
        (words[base + W.headB] as number) >>> 0,
      );
      return at;
    case EVENT.Left:
      settleDelivery(
        service,
        words[base + W.handle] as number,
        (words[base + W.generation] as number) >>> 0,
        (words[base + W.listener] as number) >>> 16 === 1,
      );
      return at;
    case EVENT.Rerouted:
      service.onRerouted();
      return at;
    case EVENT.Problem:
      warnOfProblem(service, (words[base + W.listener] as number) >>> 16);
      return at;
    case EVENT.Access:
    case EVENT.Connected:
    case EVENT.Disconnected: {
      const end = at + textLength(words, base);
      const own = text.slice(at, end);
      if (kind === EVENT.Access) service.access?.take(service.connections, words, batch, base, own);
      else dispatchConnection(service.connections, words, batch, base, own);
      return end;
    }
    default:
  }
  const length =
    (words[base + W.targetLength] as number) + (words[base + W.headerLength] as number);
  const own = length === 0 ? "" : text.slice(at, at + length);
  // Also of an exchange that has ended for JavaScript, whose answer came too late for the loop.
  if (kind === EVENT.Aborted) {
    const generation = (words[base + W.generation] as number) >>> 0;
    settleDelivery(service, words[base + W.handle] as number, generation, false);
  }
  if (dispatchSocket(service.sockets, kind, words, batch, base, own)) return at + length;
  const exchange = service.open.get(words[base + W.handle] as number);
  // Another generation: the answer went out before the news came in, and the handle is in use
  // again.
  if (exchange?.generation === (words[base + W.generation] as number) >>> 0) {
    dispatchNews(service, exchange, kind, words, batch, base, own);
  }
  return at + length;
}

function dispatchNews(
  service: Service,
  exchange: OpenExchange,
  kind: number,
  words: Int32Array,
  batch: Uint8Array,
  base: number,
  texts: string,
): void {
  switch (kind) {
    case EVENT.Aborted:
      exchange.abort();
      return;
    case EVENT.PeerClosed:
      exchange.peerClosed();
      return;
    case EVENT.Written:
      exchange.written((words[base + W.headA] as number) >>> 0);
      return;
    case EVENT.Body: {
      const flags = (words[base + W.kind] as number) >>> 16;
      const bytes = bodyOf(service, words, batch, base, flags, 0);
      if (bytes !== undefined) exchange.incoming?.push(bytes);
      return;
    }
    case EVENT.Part: {
      const flags = (words[base + W.kind] as number) >>> 16;
      const named = words[base + W.pathLength] as number;
      const both = words[base + W.targetLength] as number;
      const isFile = (flags & EVENT_FLAG.hasFilename) !== 0;
      exchange.incoming?.form?.begin(
        texts.slice(0, named),
        isFile ? texts.slice(named, both) : null,
        texts.slice(both),
        (words[base + W.headA] as number) >>> 0,
      );
      return;
    }
    case EVENT.PartEnd:
      exchange.incoming?.form?.endPart();
      return;
    case EVENT.Saved: {
      const low = (words[base + W.headA] as number) >>> 0;
      const size = low + ((words[base + W.headB] as number) >>> 0) * 0x1_0000_0000;
      const digest = bodyOf(service, words, batch, base, 0, 0);
      exchange.incoming?.saved({
        errno: (words[base + W.listener] as number) >>> 16,
        size,
        ...(digest === undefined ? {} : { sha256: Buffer.from(digest).toString("hex") }),
      });
      return;
    }
    case EVENT.File:
      exchange.filed((words[base + W.listener] as number) >>> 16);
      return;
    case EVENT.BodyEnd:
      exchange.incoming?.end(texts);
      return;
    case EVENT.BodyFailed: {
      const row = ERRORS[(words[base + W.listener] as number) >>> 16];
      if (row === undefined || row.code === "") return;
      exchange.incoming?.fail(new MillraceError(row.code, sentenceOf(row.code)));
      return;
    }
    default:
  }
}

function warnOfProblem({ log }: Service, errno: number): void {
  const what = `a native loop had trouble with the system: ${errnoName(errno)}`;
  log.failed(LOG_LEVELS.warn, "ERR_MILLRACE_SYSTEM", what);
}
