// One WebSocket, of a server or a client: sends, and calls the handlers in order. What comes from
// the loop arrives through dispatch.ts.
import { AsyncResource } from "node:async_hooks";
import { randomBytes } from "node:crypto";
import type { Address } from "../api.ts";
import { type Bytes, checkedBody } from "../body.ts";
import { invalidOption } from "../check.ts";
import type { Connection } from "../connection/api.ts";
import type { Beginning, Place } from "../connection/connection.ts";
import { MillraceError, sentenceOf } from "../errors.ts";
import { LOG_LEVELS } from "../logging/levels.ts";
import { COMMAND_FLAG, ERRORS } from "../native/tables.ts";
import { stackOf, warn } from "../warnings.ts";
import type { PublishOptions, SendOptions, Socket } from "./api.ts";
import {
  callClose,
  callDrain,
  callError,
  callHandler,
  callOpen,
  errorOf,
  MESSAGE,
  settled,
} from "./calls.ts";
import { checkClose, mayCompress } from "./checks.ts";
import { DONE, deferred, type Ending, RareState, type Result } from "./rare.ts";
import type { SocketRules } from "./service.ts";
import { joinTopic, leaveTopic, topicOf } from "./topics.ts";

/** The number of a native report that belongs to the socket itself. */
export const DRAIN_REPORT = 1;

const CONNECTING = 0;
const OPEN = 1;
const CLOSING = 2;
const CLOSED = 3;
// Bits of #bits; the lowest two are the state, so that 2 is set when nothing can be sent any more.
const STATE = 3;
const BUSY = 4; // a handler's promise has not settled
const PAUSED = 8; // by the application
const PULLED = 16; // messages go to iterators
const CALLING = 32; // the queue is being worked off
const FULL = 64; // the queue is; reading has stopped
const REPORTING = 128; // a native report is under way
const WANTS_DRAIN = 256; // the handler is to be told of room
const TERMINATED = 512;
const DEFLATES = 1024;
const WAS_OPENED = 2048;
const DEAF = 4096; // our own end has closed it: what still comes is dropped
const ASIDE = 8192; // while iterating: a ping's or pong's handler is called or has not settled
const LAST = 16_384; // the last handlers are called: error of the connection, close
const QUEUES = BUSY | PAUSED | PULLED | CALLING | DEAF | ASIDE;
const HELD = PAUSED | FULL;
const PORT_SHIFT = 16;
const NO_INDEX = -1;

const QUEUE_BYTES_MAX = 262_144;
const CONTROL_BYTES_MAX = 125;
const PING_FRAME = 9;
const PONG_FRAME = 10;
const LOST = 1006;
const TRY_AGAIN_LATER = 1013;
const COMPRESS = COMMAND_FLAG.compress << 16;
const MANUAL = { requireManualDestroy: true };
const NO_TOPICS: ReadonlySet<string> = new Set();

let prefix: string | undefined;

/** The one implementation of Socket. Small while it is idle: see rare.ts. */
export class NativeSocket<D = unknown> implements Socket<D> {
  data: D;
  readonly rules: SocketRules;
  readonly handle: number;
  readonly generation: number;
  readonly protocol: string;
  readonly #peer: string;
  readonly #scope: AsyncResource;
  #bits: number;
  #rare: RareState | undefined = undefined;
  readonly #index: number; // of its connection; -1 for a client
  readonly #origin: number; // generation and listener of its connection

  /**
   * Begins as connecting; register() follows when there is something native behind it. `protocol`
   * and `peer` are kept: they must not be slices of a batch's text.
   */
  constructor(
    rules: SocketRules,
    handle: number,
    generation: number,
    data: D,
    protocol: string,
    peer: string,
    port: number,
    place?: Place,
    listener = 0,
  ) {
    this.rules = rules;
    this.handle = handle;
    this.generation = generation;
    this.data = data;
    this.protocol = protocol;
    this.#peer = peer;
    this.#bits = CONNECTING | (port << PORT_SHIFT);
    this.#scope = new AsyncResource("MILLRACESOCKET", MANUAL);
    this.#index = place === undefined ? NO_INDEX : place.index | 0;
    this.#origin = place === undefined ? 0 : (place.generation << 16) | listener;
  }

  get bufferedAmount(): number {
    if ((this.#bits & STATE) === CLOSED) return 0;
    return this.rules.service.native.buffered(this.handle, this.generation);
  }

  get connection(): Connection | undefined {
    const { connections } = this.rules.service;
    if (this.#index === NO_INDEX || connections === undefined) return undefined;
    const rare = this.#ownRare();
    return (rare.connection ??= connections.of(this.#place(), () => this.#beginning()));
  }

  get extensions(): string {
    return (this.#bits & DEFLATES) === 0 ? "" : "permessage-deflate";
  }

  get id(): string {
    prefix ??= randomBytes(6).toString("hex");
    const own = `${this.handle.toString(36)}-${this.generation.toString(36)}`;
    return `${prefix}-${this.rules.service.number.toString(36)}-${own}`;
  }

  get opened(): Promise<void> {
    const rare = this.#ownRare();
    if (rare.opened === undefined) {
      rare.opened = deferred();
      if ((this.#bits & WAS_OPENED) !== 0) rare.opened.resolve();
      else if ((this.#bits & STATE) === CLOSED) rare.opened.reject(this.#neverOpened());
    }
    return rare.opened.promise;
  }

  get readyState(): 0 | 1 | 2 | 3 {
    return (this.#bits & STATE) as 0 | 1 | 2 | 3;
  }

  get remoteAddress(): Address {
    const address = this.#peer;
    const port = this.#bits >>> PORT_SHIFT;
    if (/^(?:$|[/\0])/.test(address)) return { family: "unix", address, port: 0 };
    return { family: address.includes(":") ? "IPv6" : "IPv4", address, port };
  }

  get request(): Request | undefined {
    return this.#rare?.request;
  }

  get topics(): ReadonlySet<string> {
    return new Set(this.#rare?.topics);
  }

  close(code = 1000, reason = ""): void {
    checkClose(code, reason);
    this.shut(code, reason);
  }

  cork<T>(run: () => T): T {
    return run();
  }

  drained(): Promise<void> {
    const { rules } = this;
    if ((this.#bits & STATE) === CLOSED) return Promise.reject(this.#isOver());
    if (rules.service.native.buffered(this.handle, this.generation) <= rules.lowMark)
      return Promise.resolve();
    return new Promise((resolve, reject) => {
      this.#ownRare().drains.push({ resolve, reject });
      this.#report();
    });
  }

  pause(): void {
    // What is left is for the last handlers; nothing would call resume() for them.
    if ((this.#bits & STATE) === CLOSED || (this.#bits & DEAF) !== 0) return;
    this.#setHeld(this.#bits | PAUSED);
  }

  ping(data: Bytes = ""): number {
    return this.#control(PING_FRAME, "ping()", data);
  }

  pong(data: Bytes = ""): number {
    return this.#control(PONG_FRAME, "pong()", data);
  }

  publish(topic: string, data: Bytes, options?: Omit<PublishOptions, "except">): number {
    return this.rules.service.publish(topic, data, options, this as NativeSocket);
  }

  resume(): void {
    this.#setHeld(this.#bits & ~PAUSED);
    this.#workOff();
  }

  send(data: Bytes, options?: SendOptions): number {
    const isPlain = options !== undefined && !mayCompress(options);
    if ((this.#bits & CLOSING) !== 0) return 0;
    const { rules } = this;
    const { native } = rules.service;
    if (typeof data === "string") {
      const flags = isPlain ? rules.textFlags & ~COMPRESS : rules.textFlags;
      const limit = rules.backlogMax;
      const waiting = native.sendText(this.handle, this.generation, flags, limit, data);
      if (waiting < 0 || waiting > rules.highMark) return this.#fellBehind(waiting);
      // Nearly always it is ASCII and all that waits: then nothing has to be measured.
      return (waiting === data.length ? waiting : Buffer.byteLength(data)) || 1;
    }
    const flags = isPlain ? rules.binaryFlags & ~COMPRESS : rules.binaryFlags;
    const bytes = checkedBody(data ?? null) as Uint8Array;
    const limit = rules.backlogMax;
    const waiting = native.sendBytes(this.handle, this.generation, flags, limit, bytes);
    if (waiting >= 0 && waiting <= rules.highMark) return bytes.byteLength || 1;
    return this.#fellBehind(waiting);
  }

  subscribe(name: string): void {
    const topic = topicOf(name);
    if ((this.#bits & CLOSING) !== 0) return;
    const rare = this.#ownRare();
    rare.topics ??= new Set();
    if (rare.topics.has(topic)) return;
    const { service, topicsMax } = this.rules;
    if (rare.topics.size >= topicsMax) {
      const what = `takes at most ${topicsMax} topics of one socket (maxTopics)`;
      throw invalidOption("subscribe()", what, topic);
    }
    rare.topics.add(topic);
    joinTopic(service.byTopic, topic, this as NativeSocket);
    service.native.subscribe(this.handle, this.generation, topic);
  }

  terminate(): void {
    if ((this.#bits & STATE) === CLOSED || (this.#bits & TERMINATED) !== 0) return;
    this.#bits |= TERMINATED | DEAF;
    this.#setState(CLOSING);
    this.#rare?.clear();
    this.rules.service.native.cut(this.handle, this.generation);
  }

  unsubscribe(name: string): void {
    const topic = topicOf(name);
    if (this.#rare?.topics?.delete(topic) !== true) return;
    // All were left when it ended.
    if ((this.#bits & STATE) !== CLOSED) this.#leaveTopic(topic);
  }

  [Symbol.asyncIterator](): AsyncIterableIterator<string | Uint8Array> {
    const rare = this.#ownRare();
    rare.iterators += 1;
    this.#bits |= PULLED;
    let isOver = false;
    const leave = (): void => {
      if (isOver) return;
      isOver = true;
      rare.endPulls(iterator);
      this.#leaveIterator();
    };
    const next = async (): Promise<Result> => {
      const result = isOver ? DONE : await this.#pull(iterator);
      if (result.done === true) leave();
      return result;
    };
    const end = async (): Promise<Result> => {
      leave();
      return DONE;
    };
    const iterator: AsyncIterableIterator<string | Uint8Array> = {
      next,
      return: end,
      [Symbol.asyncIterator]: () => iterator,
    };
    return iterator;
  }

  /** Whether it gets what is published on the topic; `topics` stay until `close` is over. */
  isSubscribed(topic: string): boolean {
    return (this.#bits & STATE) !== CLOSED && this.#rare?.topics?.has(topic) === true;
  }

  /** As `topics`, without a copy. */
  get ownTopics(): ReadonlySet<string> {
    return this.#rare?.topics ?? NO_TOPICS;
  }

  /** close(), unchecked: 1005 is a close frame without a code. */
  shut(code: number, reason: string): void {
    this.#turnDeaf();
    if ((this.#bits & CLOSING) !== 0) return;
    this.#setState(CLOSING);
    this.rules.service.native.closeSocket(this.handle, this.generation, code, reason);
  }

  /** From now on its events find it. */
  register(): this {
    this.rules.service.open.set(this.handle, this as NativeSocket);
    return this;
  }

  /** What `connection` gives from now on. */
  belongsTo(to: Connection | undefined): void {
    if (to !== undefined) this.#ownRare().connection ??= to;
  }

  /** Puts the request with it. */
  keep(request: Request): void {
    this.#ownRare().request = request;
  }

  /** The loop has opened it. */
  wasOpened(deflates: boolean): void {
    this.#bits |= WAS_OPENED | (deflates ? DEFLATES : 0);
    if ((this.#bits & STATE) === CONNECTING) this.#setState(OPEN);
    this.#rare?.opened?.resolve();
    const { open } = this.rules;
    if (open !== undefined) this.#scope.runInAsyncScope(callOpen, undefined, this);
  }

  /** The peer left before it was opened: nobody has heard of it, so nobody hears of its end. */
  aborted(): void {
    const { open } = this.rules.service;
    if (open.get(this.handle) === (this as NativeSocket)) open.delete(this.handle);
    this.#tellConnection(0);
    this.#setState(CLOSED);
    this.#rare?.opened?.reject(this.#neverOpened());
    this.#letGo();
    this.#rare?.endPulls();
    this.#scope.emitDestroy();
  }

  /**
   * MESSAGE, PING or PONG. The hot path: a synchronous handler costs neither promise nor closure.
   */
  arrived(kind: number, data: string | Uint8Array): void {
    const bits = this.#bits;
    if ((bits & QUEUES) === 0 && (kind !== MESSAGE || !this.rules.keepsMessages)) {
      this.#scope.runInAsyncScope(callHandler, undefined, this, kind, data);
      return;
    }
    if ((bits & DEAF) !== 0) return;
    this.#queue(kind, data);
  }

  /**
   * The peer's close frame, or its mistake. Our close frame waits for the answers to what came
   * before; natively no longer than closeTimeout.
   */
  isEnding(code: number, reason: string): void {
    const rare = this.#ownRare();
    rare.reason = reason;
    rare.farewell = code;
    this.#sayFarewell(rare);
  }

  #sayFarewell(rare: RareState): void {
    const bits = this.#bits;
    if (rare.farewell === undefined || (bits & (CALLING | ASIDE)) !== 0) return;
    // Who iterates is done with the last message when it asks for another; within a handler, that
    // one's promise is pending all along.
    const isDone = (bits & PULLED) !== 0 ? rare.pulls.length > 0 : (bits & BUSY) === 0;
    const isKept = this.rules.keepsMessages && (bits & PULLED) === 0; // for whom, nobody knows
    if (!isKept && (!isDone || rare.waiting > 0)) return;
    const { farewell, reason } = rare;
    rare.farewell = undefined;
    if ((bits & CLOSING) !== 0) return;
    this.#setState(CLOSING);
    this.rules.service.native.closeSocket(this.handle, this.generation, farewell, reason);
  }

  /** Natively it is over; `error` is an index in ERRORS. The last handlers may yet have to wait. */
  ended(code: number, error: number): void {
    const { service } = this.rules;
    service.open.delete(this.handle);
    if ((this.#bits & WAS_OPENED) === 0) {
      this.aborted();
      return;
    }
    const rare = this.#ownRare();
    this.#tellConnection(code);
    this.#setState(CLOSED);
    this.#bits &= ~HELD;
    rare.farewell = undefined;
    const failure = rare.failure ?? this.#failureOf(error);
    const isBacklog = failure?.code === "ERR_MILLRACE_WS_BACKLOG";
    const own = code === 0 ? LOST : code;
    rare.ending = { code: isBacklog ? TRY_AGAIN_LATER : own, reason: rare.reason, error: failure };
    this.#letGo();
    service.leaving.add(this as NativeSocket);
    this.#workOff();
  }

  /** What the drain report asked about has left. */
  reported(): void {
    const { rules } = this;
    this.#bits &= ~REPORTING;
    if ((this.#bits & STATE) === CLOSED) return;
    // Sent since then, and again too much.
    if (rules.service.native.buffered(this.handle, this.generation) > rules.highMark) {
      this.#report();
      return;
    }
    for (const { resolve } of this.#rare?.drains.splice(0) ?? []) resolve();
    if ((this.#bits & WANTS_DRAIN) === 0) return;
    this.#bits &= ~WANTS_DRAIN;
    if (rules.drain !== undefined) this.#scope.runInAsyncScope(callDrain, undefined, this);
  }

  /** A handler's promise: what comes next waits for it. */
  waitFor(pending: PromiseLike<unknown>, name: string): void {
    // Set before a handler is called aside, and only then.
    const bit = (this.#bits & ASIDE) === 0 ? BUSY : ASIDE;
    this.#bits |= bit;
    void this.#settle(pending, name, bit);
  }

  /** Something thrown by a handler. Never throws. */
  failed(name: string, error: unknown): void {
    const { rules } = this;
    const isOver = (this.#bits & LAST) !== 0;
    if (rules.error !== undefined && name !== "error" && !isOver) {
      this.#scope.runInAsyncScope(callError, undefined, this, errorOf(rules.where, name, error));
      return;
    }
    const goes = isOver ? "the socket is over" : "the socket goes on";
    const what = `${rules.where}: ${name}() threw; ${goes}`;
    const { log } = rules.service;
    if (log === undefined) warn("ERR_MILLRACE_HANDLER_FAILED", what, stackOf(error));
    else log.failed(LOG_LEVELS.error, "ERR_MILLRACE_HANDLER_FAILED", what, error);
  }

  async #settle(pending: PromiseLike<unknown>, name: string, bit: number): Promise<void> {
    try {
      await pending;
    } catch (error) {
      this.failed(name, error);
    } finally {
      this.#bits &= ~bit;
      this.#workOff();
    }
  }

  #queue(kind: number, data: string | Uint8Array): void {
    const rare = this.#ownRare();
    rare.put(kind, data);
    if ((this.#bits & PULLED) !== 0) this.#workOff();
    if (rare.waiting >= this.rules.queueMax || rare.waitingBytes >= QUEUE_BYTES_MAX)
      this.#setHeld(this.#bits | FULL);
  }

  // Gives away what waits, one after the other, until something has to be waited for.
  #workOff(): void {
    const rare = this.#rare;
    if (rare === undefined || (this.#bits & CALLING) !== 0) return;
    this.#bits |= CALLING;
    while (this.#step(rare));
    this.#bits &= ~CALLING;
    this.#roomAgain(rare);
    this.#sayFarewell(rare);
    if (rare.ending === undefined) return;
    // At once: a handler that iterates is what the end waits for.
    if (rare.waiting === 0) rare.endPulls();
    // What is for an iterator stays there for it.
    const isPulled = (this.#bits & PULLED) !== 0 || this.rules.keepsMessages;
    const isIdle = (this.#bits & (BUSY | ASIDE)) === 0;
    if (isIdle && (rare.waiting === 0 || isPulled)) this.#finish(rare);
  }

  // The first that waits, to an iterator or a handler; false when it has to wait on. Those who
  // iterate may do so within a handler: only that one's promise does not hold them up.
  #step(rare: RareState): boolean {
    const { first } = rare;
    if (first === undefined || (this.#bits & ASIDE) !== 0) return false;
    const { kind, data } = first;
    const isPulled = (this.#bits & PULLED) !== 0;
    if (kind === MESSAGE && (isPulled || this.rules.keepsMessages)) {
      const pull = rare.pulls.shift();
      if (pull === undefined) return false;
      rare.take();
      pull.resolve({ done: false, value: data });
      return true;
    }
    if (!isPulled && (this.#bits & (BUSY | PAUSED)) !== 0) return false;
    rare.take();
    if (isPulled) this.#callAside(kind, data);
    else this.#scope.runInAsyncScope(callHandler, undefined, this, kind, data);
    return true;
  }

  #callAside(kind: number, data: string | Uint8Array): void {
    this.#bits |= ASIDE;
    const isPending = this.#scope.runInAsyncScope(callHandler, undefined, this, kind, data);
    if (!isPending) this.#bits &= ~ASIDE;
  }

  #roomAgain(rare: RareState): void {
    if ((this.#bits & FULL) === 0) return;
    if (rare.waiting * 2 > this.rules.queueMax || rare.waitingBytes * 2 > QUEUE_BYTES_MAX) return;
    this.#setHeld(this.#bits & ~FULL);
  }

  // The last of it: error, then close, once.
  #finish(rare: RareState): void {
    const { ending } = rare;
    if (ending === undefined || (this.#bits & CALLING) !== 0) return;
    this.#bits |= CALLING | LAST; // For good: nothing comes any more.
    void this.#callLast(rare, ending);
  }

  async #callLast(rare: RareState, { code, reason, error }: Ending): Promise<void> {
    if (error !== undefined) {
      const pending = this.#scope.runInAsyncScope(callError, undefined, this, error);
      if (pending !== undefined) await settled(this, pending, "error");
    }
    const pending = this.#scope.runInAsyncScope(callClose, undefined, this, code, reason);
    if (pending !== undefined) await settled(this, pending, "close");
    const { service } = this.rules;
    rare.topics = undefined;
    service.leaving.delete(this as NativeSocket);
    this.#scope.emitDestroy();
    if (service.leaving.size === 0) service.onIdle?.();
  }

  #pull(owner: object): Promise<Result> | Result {
    const rare = this.#ownRare();
    const isClosed = (this.#bits & STATE) === CLOSED;
    if (isClosed && rare.ending === undefined) return DONE; // It was never open.
    const pulled = new Promise<Result>((resolve) => rare.pulls.push({ owner, resolve }));
    if ((this.#bits & LAST) === 0) this.#workOff();
    else this.#workOffLate(rare);
    return pulled;
  }

  // No other handler is called any more.
  #workOffLate(rare: RareState): void {
    for (let pull = rare.pulls.shift(); pull !== undefined; pull = rare.pulls.shift()) {
      const arrival = rare.takeMessage();
      pull.resolve(arrival === undefined ? DONE : { done: false, value: arrival.data });
    }
  }

  #leaveIterator(): void {
    const rare = this.#ownRare();
    rare.iterators -= 1;
    if (rare.iterators > 0) return;
    this.#bits &= ~PULLED;
    this.#workOff();
  }

  #control(opcode: number, name: string, data: Bytes): number {
    const body = checkedBody(data ?? null) as string | Uint8Array;
    const size = typeof body === "string" ? Buffer.byteLength(body) : body.byteLength;
    if (size > CONTROL_BYTES_MAX)
      throw invalidOption(name, `takes at most ${CONTROL_BYTES_MAX} bytes`, size);
    if ((this.#bits & CLOSING) !== 0) return 0;
    const { native } = this.rules.service;
    const limit = this.rules.backlogMax;
    const waiting =
      typeof body === "string"
        ? native.sendText(this.handle, this.generation, opcode, limit, body)
        : native.sendBytes(this.handle, this.generation, opcode, limit, body);
    if (waiting >= 0 && waiting <= this.rules.highMark) return size || 1;
    return this.#fellBehind(waiting);
  }

  // What send() says when not all is well.
  #fellBehind(waiting: number): number {
    if (waiting === -2) return 0;
    if (waiting === -1 && !this.rules.dropsMessages) {
      this.#giveUp();
      return 0;
    }
    this.#bits |= WANTS_DRAIN;
    if (this.rules.drain !== undefined) this.#report();
    return waiting === -1 ? 0 : -1;
  }

  // The close frame goes behind what waits, and the loop sees to it that this ends.
  #giveUp(): void {
    const code = "ERR_MILLRACE_WS_BACKLOG";
    this.#ownRare().failure = new MillraceError(code, `${this.rules.where}: ${sentenceOf(code)}`);
    this.close(TRY_AGAIN_LATER);
  }

  #report(): void {
    if ((this.#bits & REPORTING) !== 0) return;
    this.#bits |= REPORTING;
    const { native } = this.rules.service;
    native.report(this.handle, this.generation, this.rules.lowMark, DRAIN_REPORT);
  }

  #setHeld(bits: number): void {
    const wasHeld = (this.#bits & HELD) !== 0;
    const isHeld = (bits & HELD) !== 0;
    this.#bits = bits;
    if (wasHeld === isHeld || (bits & STATE) === CLOSED) return;
    this.rules.service.native.hold(this.handle, this.generation, isHeld);
  }

  #setState(state: number): void {
    const { service } = this.rules;
    const was = this.#bits & STATE;
    if (state === OPEN) service.openCount += 1;
    else if (was === OPEN) service.openCount -= 1;
    this.#bits = (this.#bits & ~STATE) | state;
  }

  // It is read on, for the sake of the peer's close frame.
  #turnDeaf(): void {
    this.#bits |= DEAF;
    this.#rare?.clear();
    this.#setHeld(this.#bits & ~HELD);
  }

  // What belongs to a socket that can still be written to.
  #letGo(): void {
    this.rules.service.deliveries.ended(this as NativeSocket);
    const rare = this.#rare;
    if (rare === undefined) return;
    for (const { reject } of rare.drains.splice(0)) reject(this.#isOver());
    for (const topic of rare.topics ?? []) this.#leaveTopic(topic);
  }

  #leaveTopic(topic: string): void {
    const { service } = this.rules;
    service.native.unsubscribe(this.handle, this.generation, topic);
    leaveTopic(service.byTopic, topic, this as NativeSocket);
  }

  #failureOf(error: number): MillraceError | undefined {
    const row = ERRORS[error];
    if (row === undefined || row.code === "" || (this.#bits & TERMINATED) !== 0) return undefined;
    return new MillraceError(row.code, `${this.rules.where}: ${row.text}`);
  }

  // Whoever asks for it later may find that it is over.
  #tellConnection(code: number): void {
    const { connections } = this.rules.service;
    if (this.#index === NO_INDEX || connections === undefined) return;
    const connection = connections.find(this.#place());
    connection?.socketEnded(code);
    this.belongsTo(connection);
  }

  #place(): Place {
    return { handle: this.handle, index: this.#index, generation: this.#origin >>> 16 };
  }

  #beginning(): Beginning {
    const listener = this.#origin & 0xffff;
    return { listener, peer: this.#peer, port: this.#bits >>> PORT_SHIFT, proxy: undefined };
  }

  #neverOpened(): MillraceError {
    const message = `${this.rules.where}: the client left before the handshake was complete`;
    return new MillraceError("ERR_MILLRACE_ABORTED", message);
  }

  #isOver(): MillraceError {
    return new MillraceError("ERR_MILLRACE_WS_CLOSED", `${this.rules.where}: the socket is closed`);
  }

  #ownRare(): RareState {
    return (this.#rare ??= new RareState());
  }
}
