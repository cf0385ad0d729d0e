// What the requests of one server share: native functions, handlers by route number, open
// exchanges.
import type { Address, Context, ErrorHandler, FetchHandler, RawHandler, Req, Res } from "./api.ts";
import type { Proxies } from "./client.ts";
import type { Compression } from "./compress.ts";
import type { Connections } from "./connection/connections.ts";
import type { Incoming } from "./incoming.ts";
import type { AccessLog } from "./logging/access.ts";
import type { Log } from "./logging/logger.ts";
import type { Binding } from "./native/binding.ts";
import type { Outbox } from "./outbox.ts";
import type { Shutdown } from "./shutdown.ts";
import type { SocketHandler } from "./websocket/handler.ts";
import type { SocketService } from "./websocket/service.ts";

/**
 * A handler with what is known about its route; its index in `Service.targets` is the native route
 * number.
 */
export interface Target {
  readonly pattern: string; // "/users/:id", or "(fallback)"; for messages
  readonly params: readonly string[]; // names, in the order of the native spans
  readonly status: number; // what the response starts with: 200, 404, 405
  readonly compress: Compression | undefined;
  readonly raw: RawHandler | undefined; // exactly one of the two is there
  readonly fetch: FetchHandler | undefined;
}

/** An exchange whose handler has returned and which waits for its answer. */
export interface OpenExchange {
  readonly generation: number;
  abort(): void;
  peerClosed(): void;
  /** The streamed request body; undefined when there is none. */
  readonly incoming: Incoming | undefined;
  /** Bytes of the response have left. */
  written(bytes: number): void;
  /** The response's file is on its way, or errno says why not. */
  filed(errno: number): void;
}

/** One per server. One shape throughout, for the hot path. */
export interface Service {
  readonly native: Binding;
  readonly outbox: Outbox;
  readonly targets: readonly Target[];
  readonly error: ErrorHandler | undefined;
  /** By native handle. */
  readonly open: Map<number, OpenExchange>;
  readonly sockets: SocketService;
  readonly connections: Connections;
  readonly log: Log;
  readonly access: AccessLog | undefined;
  readonly proxies: Proxies;
  /** The option `websocket`: what `upgrade()` makes sockets of. */
  readonly websocket: SocketHandler | undefined;
  /** Given from outside, so that request.ts needs nothing of fetch.ts. */
  readonly makeContext: (req: Req, res: Res) => Context;
  /** Ends an exchange whose handler has left as if it had thrown `error`. From outside too. */
  readonly fail: (req: Req, res: Res, error: unknown) => void;
  readonly shutdown: Shutdown;
  /** Promises of waitUntil() and onShutdown() that have not settled. */
  readonly tasks: Set<Promise<unknown>>;
  /** Bytes of a streamed body that bytes() and the like collect at most. */
  readonly bodyMax: number;
  addresses: readonly Address[];
  /** Called for each loop that has closed its last connection. */
  onDrained: (completed: number, forced: number) => void;
  /** Answers that somebody wants to know of when they have left, by exchange (outgoing.ts). */
  readonly deliveries: Map<string, (isWhole: boolean) => void>;
  /** Called for each loop that has other routes now. */
  onRerouted: () => void;
}
