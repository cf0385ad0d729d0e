// sendMany(): one message to many sockets, and which of them did not take it in time.
import { checkedBody } from "../body.ts";
import { checkRecord, integer, invalidOption, truth } from "../check.ts";
import { COMMAND_FLAG } from "../native/tables.ts";
import type { SendManyOptions, SendManyReport, Socket } from "./api.ts";
import type { SocketService } from "./service.ts";
import { DRAIN_REPORT, NativeSocket } from "./socket.ts";

const TIMEOUT_MS = 10_000;
const TIMEOUT_MS_MAX = 86_400_000;
const NUMBER_MAX = 0xffff_ffff;
const TEXT = 1;
const BINARY = 2;

interface Delivery {
  readonly number: number;
  readonly pending: Set<NativeSocket>;
  readonly failed: Socket[];
  readonly resolve: (report: SendManyReport) => void;
  delivered: number;
  timer: NodeJS.Timeout | undefined;
}

/** The messages to many of one server that are on their way. */
export class Deliveries {
  readonly #open = new Map<number, Delivery>();
  /** Those that a socket has yet to take: usually one, then without a Set. */
  readonly #owed = new Map<NativeSocket, Delivery | Set<Delivery>>();
  #number = DRAIN_REPORT;

  /**
   * Sends to each socket once. `service` is the only one whose sockets are allowed.
   * @throws {MillraceError} ERR_MILLRACE_INVALID_OPTION, ERR_MILLRACE_INVALID_BODY
   */
  send(
    service: SocketService,
    sockets: Iterable<Socket>,
    data: unknown,
    options: SendManyOptions | undefined,
  ): Promise<SendManyReport> {
    const timeout = timeoutOf(options);
    checkIterable(sockets);
    const body = checkedBody(data ?? null) as string | Uint8Array;
    const lost = new Set<Socket>();
    const pending = new Set<NativeSocket>();
    for (const socket of sockets) {
      const own = ownSocket(service, socket);
      if (own.readyState <= 1) pending.add(own);
      else lost.add(own);
    }
    const failed = [...lost];
    if (pending.size === 0) return Promise.resolve({ delivered: 0, failed });
    const number = this.#nextNumber();
    const words = new Int32Array(pending.size * 2);
    let at = 0;
    for (const { handle, generation } of pending) {
      words[at] = handle;
      words[at + 1] = generation;
      at += 2;
    }
    const opcode = typeof body === "string" ? TEXT : BINARY;
    const compress = options?.compress === false ? 0 : COMMAND_FLAG.compress << 16;
    // First, as it may throw: then nobody waits for anything.
    service.native.sendMany(words, pending.size, opcode | compress, body, number);
    return new Promise((resolve) => {
      const delivery: Delivery = {
        number,
        pending,
        failed,
        resolve,
        delivered: 0,
        timer: undefined,
      };
      delivery.timer = setTimeout(() => this.#expire(service, delivery), timeout);
      this.#open.set(number, delivery);
      for (const socket of pending) this.#owe(socket, delivery);
    });
  }

  /** A socket has taken the message, or it was dropped. */
  sent(number: number, socket: NativeSocket, isDelivered: boolean): void {
    const delivery = this.#open.get(number);
    if (delivery?.pending.delete(socket) !== true) return;
    this.#forget(socket, delivery);
    if (isDelivered) delivery.delivered += 1;
    else delivery.failed.push(socket);
    this.#settle(delivery);
  }

  /** A socket is over: it takes nothing any more. */
  ended(socket: NativeSocket): void {
    const owed = this.#owed.get(socket);
    if (owed === undefined) return;
    this.#owed.delete(socket);
    for (const delivery of owed instanceof Set ? owed : [owed]) {
      delivery.pending.delete(socket);
      delivery.failed.push(socket);
      this.#settle(delivery);
    }
  }

  #owe(socket: NativeSocket, delivery: Delivery): void {
    const owed = this.#owed.get(socket);
    if (owed === undefined) this.#owed.set(socket, delivery);
    else if (owed instanceof Set) owed.add(delivery);
    else this.#owed.set(socket, new Set([owed, delivery]));
  }

  #forget(socket: NativeSocket, delivery: Delivery): void {
    const owed = this.#owed.get(socket);
    if (owed instanceof Set && owed.delete(delivery) && owed.size > 0) return;
    this.#owed.delete(socket);
  }

  #expire(service: SocketService, delivery: Delivery): void {
    for (const socket of delivery.pending) {
      delivery.failed.push(socket);
      this.#forget(socket, delivery);
      service.native.expire(socket.handle, socket.generation);
    }
    delivery.pending.clear();
    this.#settle(delivery);
  }

  #settle({ number, pending, timer, delivered, failed, resolve }: Delivery): void {
    if (pending.size > 0) return;
    clearTimeout(timer);
    this.#open.delete(number);
    resolve({ delivered, failed });
  }

  // 0 asks for nothing, 1 is a socket's own.
  #nextNumber(): number {
    do {
      this.#number = this.#number >= NUMBER_MAX ? DRAIN_REPORT + 1 : this.#number + 1;
    } while (this.#open.has(this.#number));
    return this.#number;
  }
}

/** A socket of this server. @throws {MillraceError} ERR_MILLRACE_INVALID_OPTION */
export function ownSocket(service: SocketService, socket: unknown): NativeSocket {
  if (!(socket instanceof NativeSocket))
    throw invalidOption("a socket", "must be one of this server's", socket);
  if (socket.rules.service !== service)
    throw invalidOption("a socket", "must be one of this server's, it is another's", socket);
  return socket;
}

function checkIterable(sockets: unknown): void {
  const isObject = typeof sockets === "object" && sockets !== null;
  if (isObject && Symbol.iterator in sockets) return;
  throw invalidOption(
    "sendMany()",
    "takes sockets in an array, a Set or another iterable",
    sockets,
  );
}

function timeoutOf(options: SendManyOptions | undefined): number {
  if (options === undefined) return TIMEOUT_MS;
  checkRecord("sendMany()", options, ["compress", "timeout"]);
  if (options.compress !== undefined) truth("sendMany() compress", options.compress);
  if (options.timeout === undefined) return TIMEOUT_MS;
  return integer("sendMany() timeout", options.timeout, 1, TIMEOUT_MS_MAX, "milliseconds");
}
