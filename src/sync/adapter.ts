// The seam for other hosts: what carries publications from one millrace process to others. The
// shape is that of crossws' sync drivers, so that an adapter written for one serves the other.

/** A value, or a promise of it. */
type MaybePromise<T> = T | Promise<T>;

/** One publication on its way between hosts. */
export interface SyncMessage {
  /** Topics of one namespace do not meet those of another. */
  readonly namespace: string;
  /** The topic as it was given to `publish`. */
  readonly topic: string;
  /** A text message or a binary one; it must arrive as the kind that it was. */
  readonly data: string | Uint8Array;
}

/**
 * A connection to what carries messages between hosts. Delivery is at most once; messages of one
 * publisher arrive in order.
 */
export interface SyncDriver {
  /**
   * Called once, first. From then on `deliver` is called with each message of other processes, and
   * with none that carries this driver's own `id`.
   */
  subscribe(deliver: (message: SyncMessage) => void): MaybePromise<void>;
  /**
   * Sends a message to the other hosts. A promise tells when the message has been handed over: no
   * more than a bounded amount waits for such promises. Bytes are taken before the call returns.
   */
  publish(message: SyncMessage): MaybePromise<void>;
  /** Called once when the server has closed; what was passed in by the user stays open. */
  close?(): MaybePromise<void>;
}

/** What a driver is made with. */
export interface SyncContext {
  /** The same for all servers and threads of a process, and different from every other process. */
  readonly id: string;
  /** To be called when other hosts cannot be reached; a warning is given at the first call. */
  readonly onLost?: (error: unknown) => void;
  /** To be called when they can be reached again. */
  readonly onRestored?: () => void;
}

/** Makes the driver of one server; `serve({ sync })` takes one. */
export type SyncAdapter = (context: SyncContext) => SyncDriver;
