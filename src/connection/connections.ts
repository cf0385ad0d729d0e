// The connections of one server that somebody has asked about, or all of them where there are
// hooks, and those that a proxy has spoken for. Tells hooks and log of their ends.
import { AsyncResource } from "node:async_hooks";
import type { Address } from "../api.ts";
import { LOG_LEVELS } from "../logging/levels.ts";
import type { Log } from "../logging/logger.ts";
import type { Binding, NativeObservation } from "../native/binding.ts";
import type { CloseCauseName, Connection, ConnectionHooks } from "./api.ts";
import { causeNumber, causesFrom, type Ending, endingOf, SERVER_CLOSED } from "./causes.ts";
import {
  type Beginning,
  type ConnectionOwner,
  idOf,
  loopOf,
  NativeConnection,
  type Place,
} from "./connection.ts";

const GENERATIONS = 0x1_0000;
const INDEXES = 0x400_0000;
const MANUAL = { requireManualDestroy: true };
const OVER: Ending = { cause: "AlreadyClosed", level: LOG_LEVELS.debug, detail: "" };

/** What connections need of their server. */
export interface ConnectionSettings {
  readonly native: Binding;
  readonly log: Log;
  readonly hooks: ConnectionHooks;
  /** Sends what handlers have answered so far. */
  readonly flush: () => void;
}

/** One per server. */
export class Connections implements ConnectionOwner {
  addresses: readonly Address[] = [];
  /** Whether each request's connection is to be known: read on the hot path. */
  isFollowed: boolean;
  /** Whether a PROXY header ever came: likewise. */
  hasProxied = false;
  readonly #settings: ConnectionSettings;
  readonly #isObserved: boolean;
  readonly #causes: number;
  readonly #known = new Map<number, NativeConnection>();
  #isOver = false;
  // What hooks enter into an AsyncLocalStorage must not reach requests of the same batch.
  readonly #scope = new AsyncResource("MILLRACECONNECTION", MANUAL);

  constructor(settings: ConnectionSettings) {
    const { hooks, log } = settings;
    this.#settings = settings;
    this.#isObserved = hooks.onConnect !== undefined || hooks.onClose !== undefined;
    this.#causes = causesFrom(log.threshold);
    this.isFollowed = this.#isObserved;
    log.onLevel = () => this.#follow();
  }

  /** What the native side is to tell. */
  get observed(): Pick<NativeObservation, "connections" | "causes"> {
    return { connections: this.#isObserved, causes: this.#causes };
  }

  /** Those that are known and not over. */
  *[Symbol.iterator](): IterableIterator<Connection> {
    for (const connection of this.#known.values()) yield connection;
  }

  /** The connection at a place, if it is known. */
  find(place: Place): NativeConnection | undefined {
    return this.#known.get(keyOf(place));
  }

  /** The connection at a place; from now on it is known until it is over. */
  of(place: Place, beginning: () => Beginning): NativeConnection {
    const key = keyOf(place);
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    const made = this.#make(place, beginning());
    // With hooks all that are open are known. Behind the server's end another server may have a
    // connection at this place.
    if (this.#isOver || this.#isObserved) {
      made.ended(OVER);
      return made;
    }
    this.#known.set(key, made);
    const { native } = this.#settings;
    // At once if it is over already: nothing stays behind.
    native.watchConnection(place.handle, place.index, place.generation);
    return made;
  }

  /** A Connected event: with hooks, or because of a header of the PROXY protocol. */
  connected(place: Place, beginning: Beginning): void {
    const key = keyOf(place);
    if (this.#known.has(key)) return;
    const connection = this.#make(place, beginning);
    this.#known.set(key, connection);
    if (beginning.proxy !== undefined) this.hasProxied = true;
    const { onConnect } = this.#settings.hooks;
    if (onConnect !== undefined) this.#call("onConnect", () => onConnect(connection));
  }

  /** A Disconnected event; `word` is its headB. */
  disconnected(place: Place, word: number): void {
    const key = keyOf(place);
    const connection = this.#known.get(key);
    const ending = endingOf(word);
    if (connection === undefined) {
      this.#log(place, ending);
      return;
    }
    this.#known.delete(key);
    this.#end(connection, ending);
  }

  /** The server, or the process, ends. */
  endAll(): void {
    this.#isOver = true;
    const left = [...this.#known.values()];
    this.#known.clear();
    for (const connection of left) this.#end(connection, SERVER_CLOSED);
  }

  end(place: Place, cause: CloseCauseName, reset: boolean): void {
    const { native, flush } = this.#settings;
    flush(); // a handler that closes has answered first
    const { handle, index, generation } = place;
    native.closeConnection(handle, index, generation, causeNumber(cause), reset);
  }

  note(msg: string, connection: NativeConnection, cause?: CloseCauseName): void {
    const { log } = this.#settings;
    if (log.threshold > LOG_LEVELS.debug) return;
    const details = { connection: connection.id, loop: loopOf(connection) };
    log.add(LOG_LEVELS.debug, msg, cause === undefined ? details : { ...details, cause });
  }

  #make(place: Place, beginning: Beginning): NativeConnection {
    const { connectionData } = this.#settings.hooks;
    let data: unknown;
    if (connectionData !== undefined)
      this.#call("connectionData", () => {
        data = connectionData();
      });
    return new NativeConnection(this, place, beginning, data);
  }

  #end(connection: NativeConnection, native: Ending): void {
    const ending = connection.ended(native);
    if (ending === undefined) return;
    this.#log(connection, ending);
    const { onClose } = this.#settings.hooks;
    if (onClose === undefined) return;
    this.#call("onClose", () => onClose(connection, ending.cause, ending.detail));
  }

  #log(place: Place, { cause, level, detail, code }: Ending): void {
    const { log } = this.#settings;
    if (level < log.threshold) return;
    // What the handler threw is a process warning, and said enough.
    if (cause === "Excepted" && !log.isGiven) return;
    const connection = idOf(place);
    const msg = `connection ${connection} ${cause}${detail === "" ? "" : `: ${detail}`}`;
    const details = { loop: loopOf(place), connection, cause };
    log.add(level, msg, code === undefined ? details : { ...details, code });
  }

  // What a hook throws harms nobody.
  #call(name: string, hook: () => unknown): void {
    try {
      const result = this.#scope.runInAsyncScope(hook);
      if (result instanceof Promise) result.catch((error: unknown) => this.#failed(name, error));
    } catch (error) {
      this.#failed(name, error);
    }
  }

  #failed(name: string, error: unknown): void {
    const { log } = this.#settings;
    log.failed(LOG_LEVELS.error, "ERR_MILLRACE_HANDLER_FAILED", `${name}() threw`, error);
  }

  // The native side was told at the start which ends are of interest. If more are now, those are
  // told of whose connections bring a request from here on.
  #follow(): void {
    const wanted = causesFrom(this.#settings.log.threshold);
    this.isFollowed = this.#isObserved || (wanted & ~this.#causes) !== 0;
  }
}

function keyOf({ handle, index, generation }: Place): number {
  return ((handle >>> 20) * GENERATIONS + generation) * INDEXES + index;
}
