// One connection as the application sees it. Made by connections.ts.
import type { Address } from "../api.ts";
import { checkRecord, integer, invalidOption, oneOf, truth } from "../check.ts";
import type { CloseCauseName, Connection, ConnectionCloseOptions, ProxyDetails } from "./api.ts";
import { CAUSE_NAMES, causeLevel, type Ending, SERVER_CLOSED } from "./causes.ts";
import { addressOf } from "./proxy.ts";

const FLAGS_MIN = -0x8000_0000;
const FLAGS_MAX = 0xffff_ffff;
const GONE = -1;

/** Where a connection is natively. */
export interface Place {
  /** Of an event of it; only the part that names the loop counts. */
  readonly handle: number;
  readonly index: number;
  readonly generation: number;
}

/** What its connections need of a server. */
export interface ConnectionOwner {
  readonly addresses: readonly Address[];
  /** The connection ends behind what is written. */
  end(place: Place, cause: CloseCauseName, reset: boolean): void;
  /** For those who want to know everything. */
  note(msg: string, connection: NativeConnection, cause?: CloseCauseName): void;
}

/** What is known when a connection is first heard of. */
export interface Beginning {
  readonly listener: number;
  /** Numeric address; "" for a unix socket. Kept: not a slice of a batch's text. */
  readonly peer: string;
  readonly port: number;
  readonly proxy: ProxyDetails | undefined;
}

/** The number of the loop among those of this thread. */
export function loopOf({ handle }: Pick<Place, "handle">): number {
  return handle >>> 20;
}

export function idOf(place: Place): string {
  return `${loopOf(place)}.${place.index}.${place.generation}`;
}

/** The one implementation of Connection. */
export class NativeConnection<D = unknown> implements Connection<D>, Place {
  data: D;
  readonly handle: number;
  readonly index: number;
  readonly generation: number;
  readonly proxy: ProxyDetails | undefined;
  readonly #owner: ConnectionOwner;
  readonly #listener: number;
  readonly #peer: string;
  readonly #port: number;
  #flags = 0;
  #asked: { readonly cause: CloseCauseName; readonly detail: string } | undefined = undefined;
  #socketCode = 0;
  #isClosed = false;

  constructor(owner: ConnectionOwner, place: Place, beginning: Beginning, data: D) {
    this.#owner = owner;
    this.handle = place.handle;
    this.index = place.index;
    this.generation = place.generation;
    this.proxy = beginning.proxy;
    this.data = data;
    this.#listener = beginning.listener;
    this.#peer = beginning.peer;
    this.#port = beginning.port;
  }

  get closed(): boolean {
    return this.#isClosed;
  }

  /** Whether somebody has closed it, or it is over. */
  get isClosing(): boolean {
    return this.#isClosed || this.#asked !== undefined;
  }

  get flags(): number {
    return this.#isClosed ? GONE : this.#flags;
  }

  get id(): string {
    return idOf(this);
  }

  get localAddress(): Address {
    return this.#owner.addresses[this.#listener] as Address;
  }

  get remoteAddress(): Address {
    return addressOf(this.#peer, this.#port);
  }

  clearFlags(bits: number): boolean {
    return this.#change("clearFlags()", this.#flags & ~checkedBits("clearFlags()", bits));
  }

  setFlags(bits: number): boolean {
    return this.#change("setFlags()", this.#flags | checkedBits("setFlags()", bits));
  }

  close(
    cause: CloseCauseName = "CloseCalled",
    detail = "",
    options?: ConnectionCloseOptions,
  ): boolean {
    oneOf("close() cause", cause, CAUSE_NAMES);
    if (typeof detail !== "string")
      throw invalidOption("close() detail", "must be a string", detail);
    if (options !== undefined) checkRecord("close()", options, ["reset"]);
    const isReset = options?.reset === undefined ? false : truth("close() reset", options.reset);
    if (this.isClosing) {
      this.#owner.note(`connection ${this.id} AlreadyClosed`, this, "AlreadyClosed");
      return false;
    }
    this.#asked = { cause, detail };
    this.#owner.end(this, cause, isReset);
    return true;
  }

  toJSON(): object {
    const { id, remoteAddress, localAddress, flags } = this;
    return { id, remoteAddress, localAddress, flags };
  }

  /** The WebSocket on it has ended with that code. */
  socketEnded(code: number): void {
    this.#socketCode = code;
  }

  /** It is over. Gives what is to be told of it; undefined when that was told before. */
  ended(ending: Ending): Ending | undefined {
    if (this.#isClosed) return undefined;
    this.#isClosed = true;
    const asked = this.#asked;
    if (asked !== undefined && ending === SERVER_CLOSED)
      return { ...asked, level: causeLevel(asked.cause) };
    // What was asked for may have come too late.
    if (asked?.cause === ending.cause && ending.code === undefined)
      return { ...ending, detail: asked.detail };
    if (this.#socketCode === 0 || ending.detail !== "") return ending;
    return { ...ending, detail: `${this.#socketCode}` };
  }

  #change(name: string, flags: number): boolean {
    if (this.#isClosed) return false;
    this.#flags = flags >>> 0;
    this.#owner.note(`connection ${this.id} ${name}: 0x${this.#flags.toString(16)}`, this);
    return true;
  }
}

function checkedBits(name: string, bits: unknown): number {
  return integer(name, bits, FLAGS_MIN, FLAGS_MAX, "bits");
}
