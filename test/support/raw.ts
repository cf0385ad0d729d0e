// A socket client that writes exact bytes with exact cuts, and reads exact bytes. Knows no HTTP but
// the form of a Date field, which it masks.
import { connect, type Socket } from "node:net";

const DATE = /^Date: [A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT\r\n/gm;

/** Bytes as a string of the same length, Date fields as "Date: *". */
export function masked(bytes: string): string {
  return bytes.replace(DATE, "Date: *\r\n");
}

/** One connection to a server under test. All text is latin1: a character is a byte. */
export class RawClient {
  readonly socket: Socket;
  /** Whether the server has sent its last byte, or reset the connection. */
  ended = false;
  /** The error that ended the connection, when there was one. */
  error: Error | undefined;
  #received = "";
  #waiting = new Set<() => void>();

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.setEncoding("latin1");
    socket.on("data", (text: string) => {
      this.#received += text;
      this.#wake();
    });
    socket.on("end", () => this.#end(undefined));
    socket.on("error", (error) => this.#end(error));
    socket.on("close", () => this.#end(undefined));
  }

  /** Connects to a port of 127.0.0.1; half-open, without Nagle's delay. */
  static async open(port: number): Promise<RawClient> {
    const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true, noDelay: true });
    await new Promise<void>((resolve, reject) => {
      socket.once("connect", resolve);
      socket.once("error", reject);
    });
    return new RawClient(socket);
  }

  /** What has come and was not taken, masked. */
  get received(): string {
    return masked(this.#received);
  }

  /** Writes one piece and waits until the kernel has it. Silent once the server has gone. */
  async write(bytes: string): Promise<void> {
    if (this.socket.destroyed || bytes === "") return;
    await new Promise<void>((resolve) => {
      this.socket.write(Buffer.from(bytes, "latin1"), () => resolve());
    });
  }

  halfClose(): void {
    this.socket.end();
  }

  reset(): void {
    this.socket.resetAndDestroy();
  }

  /** Waits until `done` holds, looked at whenever something has come; false after `limit` ms. */
  async until(done: () => boolean, limit = 4000): Promise<boolean> {
    const deadline = Date.now() + limit;
    while (!done()) {
      const left = deadline - Date.now();
      if (left <= 0) return false;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(wake, left);
        const waiting = this.#waiting;
        function wake(): void {
          clearTimeout(timer);
          waiting.delete(wake);
          resolve();
        }
        waiting.add(wake);
      });
    }
    return true;
  }

  /** Has everyone in until() look again. */
  nudge(): void {
    this.#wake();
  }

  /** Takes `length` characters of the masked text off the front. */
  take(length: number): string {
    const text = this.received;
    this.#received = text.slice(length);
    return text.slice(0, length);
  }

  /** Ends the connection and waits until it is over. */
  async close(): Promise<void> {
    const { socket } = this;
    if (socket.closed) return;
    const closed = new Promise<void>((resolve) => {
      socket.once("close", () => resolve());
    });
    socket.destroy();
    await closed;
  }

  #end(error: Error | undefined): void {
    this.error ??= error;
    this.ended = true;
    this.#wake();
  }

  #wake(): void {
    for (const wake of [...this.#waiting]) wake();
  }
}
