// One server's way to other hosts: what it hands to the driver, and what it takes from it.
// Publishing here never throws and never waits, whatever the driver does.
import { invalidOption } from "../check.ts";
import { stackOf, warn } from "../warnings.ts";
import type { SyncAdapter, SyncDriver, SyncMessage } from "./adapter.ts";

/** Publications that may wait for the driver. What comes when so many wait is dropped. */
export const WAITING_MAX = 1024;
/** The size of these together, in bytes (texts in UTF-16 units), unless it is one alone. */
export const WAITING_BYTES_MAX = 8_388_608;
const CLOSE_MS_MAX = 2000;

/** What became of messages between this server and other hosts. */
export interface RelayCounts {
  /** Handed over by the driver. */
  readonly sent: number;
  /** Come from other hosts and given to this server. */
  readonly received: number;
  /** Not handed over because too much waited already. */
  readonly dropped: number;
  /** Refused by the driver, or given up when the connection was lost. */
  readonly failed: number;
}

/** What a relay is made with. */
export interface RelayOptions {
  readonly adapter: SyncAdapter;
  /** The same in all threads of the process: their servers share topics natively. */
  readonly id: string;
  readonly namespace: string;
  /** Takes a message of another host to the sockets of this server, and to no other server's. */
  readonly deliver: (topic: string, data: string | Uint8Array) => void;
}

/** One per server with `sync`. */
export class Relay {
  readonly #driver: SyncDriver;
  readonly #namespace: string;
  readonly #deliver: RelayOptions["deliver"];
  readonly #counts = { sent: 0, received: 0, dropped: 0, failed: 0 };
  #waiting = 0;
  #waitingBytes = 0;
  #isLost = false; // the driver said so
  #isFailing = false; // the last publication failed
  #isFull = false;
  #closing: Promise<void> | undefined = undefined;

  /** Does not wait for the connection. Throws what the adapter throws. */
  static open(options: RelayOptions): Relay {
    const relay = new Relay(options);
    relay.#subscribe();
    return relay;
  }

  private constructor(options: RelayOptions) {
    this.#namespace = options.namespace;
    this.#deliver = options.deliver;
    const driver = options.adapter({
      id: options.id,
      onLost: (error) => this.#lost(error),
      onRestored: () => this.#restored(),
    });
    if (typeof driver?.publish !== "function" || typeof driver.subscribe !== "function")
      throw invalidOption("sync", "must return a driver with subscribe() and publish()", driver);
    this.#driver = driver;
  }

  get counts(): RelayCounts {
    return { ...this.#counts };
  }

  /** Hands a publication over to the other hosts, or drops it when too much waits. */
  publish(topic: string, data: string | Uint8Array): void {
    if (this.#closing !== undefined) return;
    const size = data.length;
    if (this.#isAboveBounds(size)) {
      this.#dropped();
      return;
    }
    try {
      const handed = this.#driver.publish({ namespace: this.#namespace, topic, data });
      if (typeof handed?.then === "function") this.#wait(handed, size);
      else this.#sent();
    } catch (error) {
      this.#failed(error);
    }
  }

  /** Nothing is delivered any more. Resolves within two seconds and never rejects. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const patience = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, CLOSE_MS_MAX);
    });
    const closed = Promise.resolve()
      .then(() => this.#driver.close?.())
      .catch((error: unknown) => this.#report("closing the driver failed", error));
    await Promise.race([closed, patience]);
    clearTimeout(timer);
  }

  #subscribe(): void {
    const fail = (error: unknown): void => this.#lost(error);
    try {
      const subscribed = this.#driver.subscribe((message) => this.#received(message));
      if (typeof subscribed?.then === "function") subscribed.then(undefined, fail);
    } catch (error) {
      fail(error);
    }
  }

  #received(message: SyncMessage): void {
    if (this.#closing !== undefined) return;
    try {
      const { namespace, topic, data } = message;
      if (namespace !== this.#namespace) return;
      this.#deliver(topic, data);
      this.#counts.received += 1;
    } catch (error) {
      this.#report("a message of another host could not be delivered", error);
    }
  }

  #isAboveBounds(size: number): boolean {
    if (this.#waiting === 0) return false;
    return this.#waiting >= WAITING_MAX || this.#waitingBytes + size > WAITING_BYTES_MAX;
  }

  #wait(handed: Promise<void>, size: number): void {
    this.#waiting += 1;
    this.#waitingBytes += size;
    const settle = (): void => {
      this.#waiting -= 1;
      this.#waitingBytes -= size;
      if (this.#waiting === 0) this.#isFull = false;
    };
    // Resolved first: it may be a thenable whose then() throws.
    Promise.resolve(handed).then(
      () => {
        settle();
        this.#sent();
      },
      (error: unknown) => {
        settle();
        this.#failed(error);
      },
    );
  }

  #sent(): void {
    this.#counts.sent += 1;
    this.#isFailing = false;
  }

  #failed(error: unknown): void {
    this.#counts.failed += 1;
    const isNews = !this.#isLost && !this.#isFailing && this.#closing === undefined;
    this.#isFailing = true;
    if (isNews) this.#report("a publication does not reach other hosts", error);
  }

  #lost(error: unknown): void {
    if (this.#closing !== undefined) return;
    const isNews = !this.#isLost && !this.#isFailing;
    this.#isLost = true;
    if (isNews) this.#report("other hosts cannot be reached", error);
  }

  #restored(): void {
    this.#isLost = false;
    this.#isFailing = false;
  }

  #dropped(): void {
    this.#counts.dropped += 1;
    if (this.#isFull) return;
    this.#isFull = true;
    warn(
      "ERR_MILLRACE_SYNC",
      `sync: ${this.#waiting} publications wait for the connection to other hosts; more are dropped`,
    );
  }

  #report(what: string, error: unknown): void {
    const why = error instanceof Error ? error.message : String(error);
    warn("ERR_MILLRACE_SYNC", `sync: ${what}: ${why}`, stackOf(error));
  }
}
