// server.sockets: the open sockets as a set that cannot be changed, without a second table of them.
import type { Socket } from "./api.ts";
import type { SocketService } from "./service.ts";
import { NativeSocket } from "./socket.ts";

const OPEN = 1;

/** A live view; iterating while sockets come and go is as with a Set. */
export function viewOf(service: SocketService): ReadonlySet<Socket> {
  return new SocketView(service) as unknown as ReadonlySet<Socket>;
}

class SocketView {
  readonly #service: SocketService;

  constructor(service: SocketService) {
    this.#service = service;
  }

  get size(): number {
    return this.#service.openCount;
  }

  get [Symbol.toStringTag](): string {
    return "Set";
  }

  has(value: unknown): boolean {
    if (!(value instanceof NativeSocket) || value.readyState !== OPEN) return false;
    return this.#service.open.get(value.handle) === value;
  }

  keys(): IterableIterator<Socket> {
    return this.values();
  }

  // The table has those, too, that are not open yet or are closing.
  *values(): IterableIterator<Socket> {
    for (const socket of this.#service.open.values()) if (socket.readyState === OPEN) yield socket;
  }

  *entries(): IterableIterator<[Socket, Socket]> {
    for (const socket of this.values()) yield [socket, socket];
  }

  forEach(
    callback: (value: Socket, key: Socket, set: ReadonlySet<Socket>) => void,
    self?: unknown,
  ): void {
    const set = this as unknown as ReadonlySet<Socket>;
    for (const socket of this.values()) callback.call(self, socket, socket, set);
  }

  [Symbol.iterator](): IterableIterator<Socket> {
    return this.values();
  }
}
