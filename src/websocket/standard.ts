// WebSocket as the WHATWG standard has it, over the same sockets as connect(). Inherits, as the
// standard's interfaces do.
import { show } from "../errors.ts";
import type { WebSocketHandler } from "./api.ts";
import { type ClientSettings, clientSettings, SETTING_KEYS } from "./client.ts";
import { demandOf, dial, HANDSHAKE_KEYS, type HandshakeOptions, patienceOf } from "./dial.ts";
import { sharedEngine } from "./engine.ts";
import { rulesOf } from "./handler.ts";
import { NativeSocket } from "./socket.ts";
import { explained } from "./tls.ts";
import { targetOf } from "./url.ts";

const CONNECTING = 0;
const OPEN = 1;
const CLOSING = 2;
const CLOSED = 3;
const NO_CODE = 1005;
const LOST = 1006;
const INTERNAL_ERROR = 1011;
const REASON_BYTES_MAX = 123;
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const QUEUE = 64;
// The standard has no limits; these are beyond what is sensible.
const DEFAULTS = {
  maxPayloadLength: 134_217_728,
  backpressureLimit: 67_108_864, // 16 times that with "buffer"
  onBackpressure: "buffer",
  timeout: 120_000,
} as const;

/** What the second argument of `new WebSocket()` may be besides sub-protocols. */
export interface WebSocketOptions extends ClientSettings, HandshakeOptions {
  /** Milliseconds until the attempt fails. @default 120_000 */
  readonly timeout?: number;
}

/** What a CloseEvent is made of. */
export interface CloseEventInit {
  readonly bubbles?: boolean;
  readonly cancelable?: boolean;
  readonly code?: number;
  readonly composed?: boolean;
  readonly reason?: string;
  readonly wasClean?: boolean;
}

/** The standard's CloseEvent, which Node has from 23 on only. */
export class CloseEvent extends Event {
  /** The peer's close code; 1005 without one, 1006 without a closing handshake. */
  readonly code: number;
  readonly reason: string;
  /** Whether there was a closing handshake. */
  readonly wasClean: boolean;

  constructor(type: string, init: CloseEventInit = {}) {
    super(type, init);
    this.code = init.code ?? 0;
    this.reason = init.reason ?? "";
    this.wasClean = init.wasClean ?? false;
  }
}

type Listener = Parameters<EventTarget["addEventListener"]>[1];
type ListenerOptions = Parameters<EventTarget["addEventListener"]>[2];
// No `this`: with it the class would not fit the global one's type.
type Handler<E extends Event> = ((event: E) => unknown) | null;

/** The events of a WebSocket by their names. */
export interface WebSocketEvents {
  readonly open: Event;
  readonly message: MessageEvent;
  readonly error: Event;
  readonly close: CloseEvent;
}

/** What can be sent. */
export type WebSocketData = string | ArrayBuffer | ArrayBufferView | Blob;

/**
 * The standard's WebSocket. Between two events all microtasks run, as in browsers. The second
 * argument may be an object with `protocols`, `headers` and more instead of sub-protocols; `error`
 * events have an `error` and a `message`. What waits for a slow peer has no bound but 1 GiB, and
 * the peer does not feel slow listeners: `connect()` has back-pressure both ways.
 *
 * As in browsers, `readyState` is OPEN in the events of messages that came before the peer's close
 * frame, even when that is here already; but it is answered at once, so that what is sent then is
 * lost, and counted by `bufferedAmount`.
 *
 * @example
 * ```ts
 * import { WebSocket } from "millrace";
 * const ws = new WebSocket("ws://127.0.0.1:3000/chat", ["chat"]);
 * ws.onopen = () => ws.send("hello");
 * ws.onmessage = ({ data }) => console.log(data);
 * ```
 */
export class WebSocket extends EventTarget {
  static readonly CONNECTING: typeof CONNECTING = CONNECTING;
  static readonly OPEN: typeof OPEN = OPEN;
  static readonly CLOSING: typeof CLOSING = CLOSING;
  static readonly CLOSED: typeof CLOSED = CLOSED;
  declare readonly CONNECTING: typeof CONNECTING;
  declare readonly OPEN: typeof OPEN;
  declare readonly CLOSING: typeof CLOSING;
  declare readonly CLOSED: typeof CLOSED;
  readonly #url: string;
  readonly #origin: string;
  readonly #attempt = new AbortController();
  readonly #handlers = new Map<string, Handler<Event>>();
  // Behind a Blob, whose bytes come later, everything waits.
  readonly #unsent: WebSocketData[] = [];
  #unsentBytes = 0;
  #lostBytes = 0;
  // What waited in the socket when that was last seen, while it is much.
  #behindBytes = 0;
  #socket: NativeSocket | undefined = undefined;
  #state: 0 | 1 | 2 | 3 = CONNECTING;
  #binaryType: BinaryType = "blob";
  #failure: Error | undefined = undefined;
  // From an event until all microtasks behind it have run.
  #isFiring = false;
  #closeBehind: readonly [code: number, reason: string] | undefined = undefined;

  /** @throws {DOMException} SyntaxError; TypeError for null instead of options */
  constructor(url: string | URL, protocols: string | readonly string[] | WebSocketOptions = []) {
    super();
    const options = optionsOf(protocols);
    const input = url instanceof URL ? url : String(url);
    this.#url = urlOf(input, options);
    this.#origin = this.#url.includes("+unix:") ? "" : new URL(this.#url).origin;
    void this.#connect(this.#plan(input, options));
  }

  get url(): string {
    return this.#url;
  }

  get readyState(): 0 | 1 | 2 | 3 {
    if (this.#state !== OPEN || this.#isFiring) return this.#state;
    return this.#socket?.readyState === OPEN ? OPEN : CLOSING;
  }

  get protocol(): string {
    return this.#socket?.protocol ?? "";
  }

  get extensions(): string {
    return this.#socket?.extensions ?? "";
  }

  /** Bytes given to `send()` that have not left; those that never will stay counted. */
  get bufferedAmount(): number {
    return this.#socketBytes() + this.#unsentBytes + this.#lostBytes;
  }

  get binaryType(): BinaryType {
    return this.#binaryType;
  }

  set binaryType(type: BinaryType) {
    if (type === "blob" || type === "arraybuffer") this.#binaryType = type;
  }

  get onopen(): Handler<Event> {
    return this.#handlers.get("open") ?? null;
  }

  set onopen(handler: Handler<Event>) {
    this.#setHandler("open", handler);
  }

  get onmessage(): Handler<MessageEvent> {
    return (this.#handlers.get("message") as Handler<MessageEvent> | undefined) ?? null;
  }

  set onmessage(handler: Handler<MessageEvent>) {
    this.#setHandler("message", handler as Handler<Event>);
  }

  get onerror(): Handler<Event> {
    return this.#handlers.get("error") ?? null;
  }

  set onerror(handler: Handler<Event>) {
    this.#setHandler("error", handler);
  }

  get onclose(): Handler<CloseEvent> {
    return (this.#handlers.get("close") as Handler<CloseEvent> | undefined) ?? null;
  }

  set onclose(handler: Handler<CloseEvent>) {
    this.#setHandler("close", handler as Handler<Event>);
  }

  override addEventListener<K extends keyof WebSocketEvents>(
    type: K,
    listener: ((this: WebSocket, event: WebSocketEvents[K]) => unknown) | null,
    options?: ListenerOptions,
  ): void;
  override addEventListener(type: string, listener: Listener, options?: ListenerOptions): void;
  override addEventListener(type: string, listener: unknown, options?: ListenerOptions): void {
    super.addEventListener(type, listener as Listener, options);
  }

  /**
   * Sends a message: strings as text, the rest as binary.
   * @throws {DOMException} InvalidStateError while connecting
   * @throws {TypeError} for shared memory, which may change meanwhile
   */
  send(data: WebSocketData): void {
    // biome-ignore lint/complexity/noArguments: a rest parameter is an array for each message.
    if (data === undefined && arguments.length === 0) throw new TypeError("send() takes a message");
    const message = messageOf(data);
    if (this.#state === CONNECTING)
      throw new DOMException("the WebSocket is still connecting", "InvalidStateError");
    const size = sizeOf(message);
    if (this.readyState !== OPEN || this.#closeBehind !== undefined) {
      this.#lostBytes += size;
    } else if (message instanceof Blob || this.#unsent.length > 0) {
      this.#unsentBytes += size;
      // As it is now: whoever sends may use the memory again.
      const own = message instanceof Uint8Array ? message.slice() : message;
      if (this.#unsent.push(own) === 1) void this.#sendUnsent();
    } else {
      this.#pass(message, size);
    }
  }

  /**
   * Begins the closing handshake, or gives the attempt up.
   * @param code - 1000 or 3000 to 4999
   * @param reason - at most 123 bytes of UTF-8
   * @throws {DOMException} InvalidAccessError, SyntaxError
   */
  close(code?: number, reason?: string): void {
    const number = code === undefined ? undefined : clamped(code);
    if (number !== undefined && number !== 1000 && !(number >= 3000 && number <= 4999)) {
      const what = `the close code must be 1000 or 3000 to 4999, got ${show(code)}`;
      throw new DOMException(what, "InvalidAccessError");
    }
    const text = reason === undefined ? "" : String(reason);
    if (Buffer.byteLength(text) > REASON_BYTES_MAX)
      throw new DOMException(`the reason has more than ${REASON_BYTES_MAX} bytes`, "SyntaxError");
    if (this.#state >= CLOSING) return;
    const wasConnecting = this.#state === CONNECTING;
    this.#state = CLOSING;
    const own = number ?? (text === "" ? NO_CODE : 1000);
    if (wasConnecting)
      this.#attempt.abort(new DOMException("closed before it was open", "AbortError"));
    else if (this.#unsent.length > 0) this.#closeBehind = [own, text];
    else this.#socket?.shut(own, text);
  }

  // Throws what is wrong with the options at once; what comes of the attempt comes later.
  #plan(url: unknown, options: WebSocketOptions): () => Promise<NativeSocket> {
    const given = options as WebSocketOptions & Readonly<Record<string, unknown>>;
    const own = { ...DEFAULTS, ...given };
    const name = "new WebSocket()";
    const patience = patienceOf(name, own, [...SETTING_KEYS, ...HANDSHAKE_KEYS, "timeout"]);
    const settings = clientSettings(name, own);
    const demand = demandOf(name, url, own, settings.deflate);
    const handler = this.#handlerOfSocket();
    const rules = rulesOf(handler, demand.where, settings, 0, own.maxQueue ?? QUEUE, false);
    const limits = { ...patience, signal: this.#attempt.signal };
    return async () => {
      const engine = sharedEngine(settings);
      rules.service = engine.service;
      try {
        return await dial(engine, demand, limits, (answer) => {
          const { handle, generation, protocol, address, port } = answer;
          return (this.#socket = new NativeSocket<unknown>(
            rules,
            handle,
            generation,
            undefined,
            protocol,
            address,
            port,
          ));
        });
      } finally {
        engine.letGo();
      }
    };
  }

  async #connect(attempt: () => Promise<NativeSocket>): Promise<void> {
    // So that nothing is told before who made it can listen.
    await undefined;
    try {
      await attempt();
    } catch (error) {
      this.#failure = error as Error;
      this.#end(LOST, "");
    }
  }

  #handlerOfSocket(): WebSocketHandler {
    return {
      open: () => {
        if (this.#state !== CONNECTING) return undefined;
        this.#state = OPEN;
        return this.#fire(new Event("open"));
      },
      message: (_ws, data) => {
        // What comes after close() is nobody's any more.
        if (this.#state !== OPEN) return undefined;
        const event = { data: this.#dataOf(data), origin: this.#origin };
        return this.#fire(new MessageEvent("message", event));
      },
      error: (ws, error) => {
        this.#failure ??= explained(ws, error);
      },
      // Behind only while there was too much: then what is lost with the connection stays counted.
      drain: () => {
        this.#behindBytes = 0;
      },
      close: (_ws, code, reason) => this.#end(code, reason),
    };
  }

  #dataOf(data: string | Uint8Array): string | ArrayBuffer | Blob {
    if (typeof data === "string") return data;
    if (this.#binaryType === "blob") return new Blob([data as Uint8Array<ArrayBuffer>]);
    const { buffer, byteLength, byteOffset } = data;
    if (byteLength === buffer.byteLength) return buffer as ArrayBuffer;
    return buffer.slice(byteOffset, byteOffset + byteLength) as ArrayBuffer;
  }

  // Once: whatever else comes of an attempt or a socket, nobody hears of it.
  #end(code: number, reason: string): void {
    if (this.#state === CLOSED) return;
    this.#state = CLOSED;
    this.#lose();
    const failure = this.#failure;
    if (failure === undefined) {
      this.dispatchEvent(new CloseEvent("close", { code, reason, wasClean: code !== LOST }));
      return;
    }
    const { message } = failure;
    const event = new Event("error");
    this.dispatchEvent(
      Object.defineProperties(event, { error: { value: failure }, message: { value: message } }),
    );
    // What failed has no other code, whichever was sent or came.
    this.dispatchEvent(new CloseEvent("close", { code: LOST, reason: "", wasClean: false }));
  }

  // What waits behind a Blob never leaves.
  #lose(): void {
    this.#lostBytes += this.#unsentBytes;
    this.#unsentBytes = 0;
    this.#unsent.length = 0;
  }

  async #fire(event: Event): Promise<void> {
    this.#isFiring = true;
    this.dispatchEvent(event);
    await checkpoint();
    this.#isFiring = false;
  }

  async #sendUnsent(): Promise<void> {
    for (let next = this.#unsent[0]; next !== undefined; next = this.#unsent[0]) {
      const size = sizeOf(next);
      let message = next;
      try {
        if (next instanceof Blob) message = new Uint8Array(await next.arrayBuffer());
      } catch (error) {
        this.#failBecause(error as Error);
        return;
      }
      // It may have ended meanwhile.
      if (this.#state === CLOSED) return;
      this.#unsent.shift();
      this.#unsentBytes -= size;
      this.#pass(message as string | ArrayBufferView, size);
    }
    if (this.#closeBehind !== undefined) this.#socket?.shut(...this.#closeBehind);
  }

  // A Blob that cannot be read: what was sent before it still arrives.
  #failBecause(error: Error): void {
    if (this.#state === CLOSED) return;
    this.#state = CLOSING;
    this.#failure = error;
    this.#lose();
    this.#socket?.shut(INTERNAL_ERROR, "");
  }

  #pass(message: string | ArrayBufferView, size: number): void {
    const sent = this.#socket?.send(message as string | Uint8Array) ?? 0;
    if (sent > 0) return;
    if (sent === 0) this.#lostBytes += size;
    else this.#behindBytes = this.#socket?.bufferedAmount ?? 0;
  }

  // Those of a socket that is over are nowhere counted natively.
  #socketBytes(): number {
    const socket = this.#socket;
    if (socket === undefined) return 0;
    if (socket.readyState === CLOSED) return this.#behindBytes;
    const bytes = socket.bufferedAmount;
    if (this.#behindBytes > 0) this.#behindBytes = bytes;
    return bytes;
  }

  #setHandler(type: string, handler: Handler<Event>): void {
    const before = this.#handlers.get(type);
    const isCallable = typeof handler === "function";
    if (before === undefined && isCallable) this.addEventListener(type, this.#callHandler);
    if (before !== undefined && !isCallable) this.removeEventListener(type, this.#callHandler);
    if (isCallable) this.#handlers.set(type, handler);
    else this.#handlers.delete(type);
  }

  readonly #callHandler = (event: Event): void => {
    this.#handlers.get(event.type)?.call(this, event);
  };
}

/** How binary messages arrive. */
export type BinaryType = "arraybuffer" | "blob";

for (const [name, value] of Object.entries({ CONNECTING, OPEN, CLOSING, CLOSED }))
  Object.defineProperty(WebSocket.prototype, name, { value, enumerable: true });
Object.defineProperty(WebSocket.prototype, Symbol.toStringTag, {
  value: "WebSocket",
  configurable: true,
});

let turn: Promise<void> | undefined;

// Resolves when all microtasks have run: Node takes its ticks only then.
function checkpoint(): Promise<void> {
  turn ??= new Promise((resolve) => {
    queueMicrotask(() => {
      process.nextTick(() => {
        turn = undefined;
        resolve();
      });
    });
  });
  return turn;
}

// Web IDL's union of a string, a sequence of them, and here of an object.
function optionsOf(given: unknown): WebSocketOptions {
  if (given === null) throw new TypeError("null is neither sub-protocols nor options");
  const isObject = typeof given === "object" || typeof given === "function";
  const isList = isObject && Symbol.iterator in given;
  const options = (isObject && !isList ? given : { protocols: given }) as WebSocketOptions;
  const { protocols } = options;
  return protocols === undefined ? options : { ...options, protocols: protocolsOf(protocols) };
}

function protocolsOf(given: string | readonly string[]): readonly string[] {
  const isList = typeof given === "object" && given !== null && Symbol.iterator in given;
  const list = isList ? Array.from(given, String) : [String(given)];
  const wrong = list.find((each) => !TOKEN.test(each));
  if (wrong !== undefined)
    throw new DOMException(`${show(wrong)} is no sub-protocol`, "SyntaxError");
  if (new Set(list).size !== list.length)
    throw new DOMException("a sub-protocol is there twice", "SyntaxError");
  return list;
}

// The standard's: with the user and the password, which nothing else shows.
function urlOf(input: string | URL, options: WebSocketOptions): string {
  try {
    const { authorization, href, isSecure } = targetOf(input, options.unix);
    if (authorization === "" || href.includes("+unix:")) return href;
    const url = new URL(input);
    url.protocol = isSecure ? "wss:" : "ws:";
    return url.href;
  } catch (error) {
    throw new DOMException((error as Error).message, "SyntaxError");
  }
}

function messageOf(data: unknown): string | Uint8Array | Blob {
  if (data instanceof Blob) return data;
  const memory = ArrayBuffer.isView(data) ? data.buffer : data;
  if (memory instanceof SharedArrayBuffer) throw new TypeError("shared memory cannot be sent");
  if (data instanceof ArrayBuffer) return new Uint8Array(data);
  if (ArrayBuffer.isView(data))
    return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  return String(data);
}

function sizeOf(message: WebSocketData): number {
  if (typeof message === "string") return Buffer.byteLength(message);
  return message instanceof Blob ? message.size : message.byteLength;
}

// Web IDL's [Clamp] unsigned short.
function clamped(code: unknown): number {
  const number = Number(code);
  if (Number.isNaN(number)) return 0;
  const low = Math.min(Math.max(number, 0), 65_535);
  const whole = Math.round(low);
  return whole - low === 0.5 && whole % 2 === 1 ? whole - 1 : whole;
}
