// What the sockets of one server, or of one set of clients, share.
import type { Connections } from "../connection/connections.ts";
import type { Log } from "../logging/logger.ts";
import type { Binding } from "../native/binding.ts";
import type { Relay } from "../sync/relay.ts";
import type { Socket } from "./api.ts";
import type { Deliveries } from "./deliveries.ts";
import type { NativeSocket } from "./socket.ts";
import type { TopicIndex } from "./topics.ts";

/** One per native server. */
export interface SocketService {
  readonly native: Binding;
  /** Number of the native server; set once it is open. */
  server: number;
  /** Its number in this thread. */
  readonly number: number;
  /** Of the server; clients have neither. Set once it is open. */
  connections: Connections | undefined;
  log: Log | undefined;
  /** Servers with another one do not share topics. */
  readonly topicSpace: string;
  /** By native handle: those that natively are not over. */
  readonly open: Map<number, NativeSocket>;
  /** How many of them have readyState 1. */
  openCount: number;
  /** Those that natively are over, and whose last handlers have not settled. */
  readonly leaving: Set<NativeSocket>;
  readonly deliveries: Deliveries;
  /** Subscribers by topic; made when first asked for, as the native side has its own. */
  byTopic: TopicIndex | undefined;
  /** Carries publications to other hosts, where the option `sync` is given. */
  relay: Relay | undefined;
  /** What `publish()` of a socket does; the server has it. */
  publish: (
    topic: string,
    data: unknown,
    options: unknown,
    except: NativeSocket | undefined,
  ) => number;
  /** A client's WebSocket is open; gives its socket, whose opened() is called next. */
  onConnected:
    | ((
        ticket: number,
        handle: number,
        generation: number,
        headers: string,
      ) => NativeSocket | undefined)
    | undefined;
  /**
   * A client's WebSocket could not be opened. `detail` is errno or the HTTP status, `headers` the
   * answer's fields or "", a slice of the batch's text.
   */
  onRefused: ((ticket: number, error: number, detail: number, headers: string) => void) | undefined;
  /** Called when `leaving` has become empty. */
  onIdle: (() => void) | undefined;
}

type Handler<Rest extends readonly unknown[]> = (ws: Socket, ...rest: Rest) => unknown;

/** A handler, checked and with its defaults: what its sockets share. One shape throughout. */
export interface SocketRules {
  /** Set when the server opens. */
  service: SocketService;
  /** For messages: "the WebSocket /chat". */
  readonly where: string;
  /** Index in NativeOptions.sockets. */
  readonly settings: number;
  readonly open: Handler<[]> | undefined;
  readonly message: Handler<[string | Uint8Array]> | undefined;
  readonly ping: Handler<[Uint8Array]> | undefined;
  readonly pong: Handler<[Uint8Array]> | undefined;
  readonly drain: Handler<[]> | undefined;
  readonly error: Handler<[Error]> | undefined;
  readonly close: Handler<[number, string]> | undefined;
  readonly queueMax: number;
  readonly topicsMax: number;
  /** Messages wait for whoever iterates, instead of being dropped for want of a handler. */
  readonly keepsMessages: boolean;
  /** Bytes that wait, beyond which send() says so, and at which it is worth going on. */
  readonly highMark: number;
  readonly lowMark: number;
  /** The limit that native sends are given. */
  readonly backlogMax: number;
  readonly dropsMessages: boolean;
  /** Flags of a native send: opcode, and the bit that asks for compression. */
  readonly textFlags: number;
  readonly binaryFlags: number;
}
