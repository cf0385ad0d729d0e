// Server-sent events (HTML Standard 9.2) on a response that has begun: writes fields, sends
// heartbeats, and tells the application when the stream is over. Knows nothing of HTTP.
import { checkRecord, integer, milliseconds, truth } from "./check.ts";
import { MillraceError, show } from "./errors.ts";
import type { DrainOptions } from "./outgoing.ts";

const HEARTBEAT_MS = 15_000;
const RETRY_MS_MAX = 86_400_000;
const LINE_END = /\r\n|\n|\r/;
const NOT_IN_FIELD = /[\r\n\0]/;

/** How `res.events()` sends. */
export interface EventStreamOptions extends DrainOptions {
  /**
   * Whether the stream ends by itself when the server drains or closes, behind the callbacks of
   * `onShutdown()`; its client connects again, elsewhere. Without it `close()` waits for the stream
   * until its timeout: for one that comes to an end, and must not look whole before.
   * @default false
   */
  readonly endOnShutdown?: boolean;
  /**
   * Milliseconds of silence after which a comment is sent, so that no proxy takes the connection
   * for dead; it comes within twice that. 0 switches it off.
   * @default 15_000
   */
  readonly heartbeat?: number;
  /** Milliseconds that a client waits before it connects again. @default the client's own */
  readonly retry?: number;
}

/** One event. */
export interface ServerEvent {
  /** A string goes as it is, line by line; anything else as JSON. */
  readonly data: unknown;
  /** What listeners are registered for; "message" when it is left out. */
  readonly event?: string;
  /** Comes back as `lastEventId` when the client connects again. */
  readonly id?: string | number;
  /** Milliseconds that the client waits from now on before it connects again. */
  readonly retry?: number;
}

/** What an event stream needs of a response that has begun. */
export interface EventSink {
  readonly state: string;
  readonly writableLength: number;
  cut(): void;
  drained(options?: DrainOptions): Promise<void>;
  end(): boolean;
  write(chunk: string): boolean;
}

/** Options with their defaults, checked. */
export interface EventSettings {
  readonly drain: DrainOptions;
  readonly endsOnShutdown: boolean;
  readonly heartbeat: number;
  readonly retry: number | undefined;
}

/** @throws {MillraceError} ERR_MILLRACE_INVALID_OPTION */
export function eventSettings(options: EventStreamOptions = {}): EventSettings {
  checkRecord("events()", options, ["endOnShutdown", "giveUpMs", "heartbeat", "retry"]);
  const { endOnShutdown = false, giveUpMs, retry } = options;
  const heartbeat = milliseconds("heartbeat", options.heartbeat, HEARTBEAT_MS);
  return {
    drain: giveUpMs === undefined ? {} : { giveUpMs: milliseconds("giveUpMs", giveUpMs, 0) },
    endsOnShutdown: truth("endOnShutdown", endOnShutdown),
    heartbeat: Math.ceil(heartbeat),
    retry: retry === undefined ? undefined : checkedRetry(retry),
  };
}

/**
 * A response that consists of server-sent events. What sends returns false once the stream is over,
 * and does not throw for it.
 *
 * @example
 * ```ts
 * import { type EventStream, raw, serve } from "millrace";
 * const streams = new Set<EventStream>();
 * const server = await serve({
 *   port: 0,
 *   routes: {
 *     "/events": raw((_req, res) => {
 *       const events = res.events();
 *       streams.add(events);
 *       events.signal.addEventListener("abort", () => streams.delete(events));
 *     }),
 *   },
 * });
 * for (const events of streams) events.send({ event: "time", data: Date.now() });
 * await server.close();
 * ```
 */
export class EventStream implements AsyncDisposable {
  /** Last-Event-ID of the request: the id of the last event that this client saw; "" if none. */
  readonly lastEventId: string;
  /**
   * Aborted when the stream is over: with ERR_MILLRACE_ABORTED when the peer left, and by
   * `close()`.
   */
  readonly signal: AbortSignal;
  readonly #sink: EventSink;
  readonly #drain: DrainOptions;
  readonly #over = new AbortController();
  #pulse: Pulse | undefined = undefined;
  #isSilent = true; // nothing was sent since the last beat

  /** @internal */
  constructor(sink: EventSink, left: AbortSignal, lastEventId: string, settings: EventSettings) {
    this.#sink = sink;
    this.#drain = settings.drain;
    this.lastEventId = lastEventId;
    this.signal = this.#over.signal;
    const leave = (): void => this.#end(left.reason);
    // Later, so that who has called can listen first.
    if (left.aborted || sink.state !== "streaming") {
      queueMicrotask(leave);
      return;
    }
    left.addEventListener("abort", leave, { once: true });
    this.signal.addEventListener("abort", () => left.removeEventListener("abort", leave));
    if (settings.heartbeat > 0) this.#pulse = pulseOf(settings.heartbeat);
    this.#pulse?.streams.add(this);
    if (settings.retry !== undefined) this.#write(`retry: ${settings.retry}\n\n`);
  }

  /** Whether more can be sent. */
  get isOpen(): boolean {
    return this.#sink.state === "streaming" && !this.signal.aborted;
  }

  /** Bytes that the peer has not taken yet. */
  get writableLength(): number {
    return this.#sink.writableLength;
  }

  /** Ends the stream; the client connects again unless it is told not to. */
  close(): void {
    this.#end(undefined);
  }

  /** The same as `close()`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    this.close();
    return Promise.resolve();
  }

  /** Sends a comment, which clients ignore. @returns as `send()` */
  comment(text: string): boolean {
    const lines = checkedText("a comment", text).split(LINE_END);
    return this.#write(`${lines.map((line) => `: ${line}\n`).join("")}\n`);
  }

  /**
   * Resolves when the peer has taken so much that it is worth sending on, and at once when nothing
   * waits or the stream was closed.
   * @throws {MillraceError} ERR_MILLRACE_ABORTED, ERR_MILLRACE_GAVE_UP (as rejections)
   */
  drained(): Promise<void> {
    return this.#sink.drained(this.#drain);
  }

  /**
   * Sends an event. A peer that is 64 MiB behind is cut; it connects again.
   * @param event - a string is the event's data
   * @returns false when more than 128 KiB wait for the peer: go on after `drained()`; or it is over
   * @throws {MillraceError} ERR_MILLRACE_INVALID_BODY, ERR_MILLRACE_INVALID_OPTION
   */
  send(event: ServerEvent | string): boolean {
    // Made first: what is wrong is wrong whether the peer is there or not.
    return this.#write(textOf(typeof event === "string" ? { data: event } : event));
  }

  /** @internal A beat of the heart that it shares with others. */
  beat(): void {
    if (!this.isOpen) this.close();
    else if (!this.#isSilent) this.#isSilent = true;
    else if (this.#sink.writableLength === 0) this.#beat();
  }

  #beat(): void {
    try {
      this.#sink.write(":\n\n");
    } catch {
      // Nobody has called who could be told, and others wait for their beat.
      this.#sink.cut();
    }
  }

  #write(text: string): boolean {
    if (!this.isOpen) return false;
    this.#isSilent = false;
    try {
      return this.#sink.write(text);
    } catch (error) {
      if (!(error instanceof MillraceError && error.code === "ERR_MILLRACE_BUFFER_FULL"))
        throw error;
      // Who sends to many must not have to stop for one.
      this.#sink.cut();
      return false;
    }
  }

  #end(reason: unknown): void {
    if (this.signal.aborted) return;
    this.#pulse?.remove(this);
    // A peer that has only sent its last byte gets a proper end.
    if (this.#sink.state === "streaming") this.#sink.end();
    this.#over.abort(reason);
  }
}

function textOf(event: ServerEvent): string {
  if (typeof event !== "object" || event === null) throw notAnEvent(event);
  const { data, event: name, id, retry } = event;
  let text = "";
  if (name !== undefined) text += `event: ${checkedField("event", name)}\n`;
  if (id !== undefined)
    text += `id: ${checkedField("id", typeof id === "number" ? `${id}` : id)}\n`;
  if (retry !== undefined) text += `retry: ${checkedRetry(retry)}\n`;
  const body: string | undefined = typeof data === "string" ? data : JSON.stringify(data);
  if (body === undefined) {
    const message = `the data of an event is a string or has a JSON form, got ${show(data)}`;
    throw new MillraceError("ERR_MILLRACE_INVALID_BODY", message);
  }
  for (const line of body.split(LINE_END)) text += `data: ${line}\n`;
  return `${text}\n`;
}

function checkedField(name: string, value: unknown): string {
  const text = checkedText(`the ${name} of an event`, value);
  if (!NOT_IN_FIELD.test(text)) return text;
  const fix = "put CR, LF and NUL into its data, or encode them";
  const message = `the ${name} of an event is one line, got ${show(value)}; ${fix}`;
  throw new MillraceError("ERR_MILLRACE_INVALID_BODY", message);
}

function checkedText(what: string, value: unknown): string {
  if (typeof value === "string") return value;
  throw new MillraceError("ERR_MILLRACE_INVALID_BODY", `${what} is a string, got ${show(value)}`);
}

function checkedRetry(value: unknown): number {
  return integer("retry", value, 0, RETRY_MS_MAX, "milliseconds");
}

function notAnEvent(event: unknown): MillraceError {
  const message = `an event is a string or an object with data, got ${show(event)}`;
  return new MillraceError("ERR_MILLRACE_INVALID_BODY", message);
}

// --- heartbeats ---

const pulses = new Map<number, Pulse>();

function pulseOf(ms: number): Pulse {
  let pulse = pulses.get(ms);
  if (pulse === undefined) {
    pulse = new Pulse(ms);
    pulses.set(ms, pulse);
  }
  return pulse;
}

/** One timer for all streams of this process with the same interval; there while one of them is. */
class Pulse {
  readonly streams = new Set<EventStream>();
  readonly #ms: number;
  readonly #timer: NodeJS.Timeout;

  constructor(ms: number) {
    this.#ms = ms;
    this.#timer = setInterval(() => {
      for (const stream of this.streams) stream.beat();
    }, ms);
    this.#timer.unref(); // the server keeps the process alive, or does not
  }

  remove(stream: EventStream): void {
    this.streams.delete(stream);
    if (this.streams.size > 0) return;
    clearInterval(this.#timer);
    pulses.delete(this.#ms);
  }
}
