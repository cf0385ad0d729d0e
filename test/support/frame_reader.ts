// A WebSocket client for crowds: hands over each frame as it comes, in time linear to the bytes.
import { connect, type Socket } from "node:net";
import { BINARY, handshakeLines, TEXT } from "./frames.ts";
import { until } from "./until.ts";

type OnFrame = (opcode: number, payload: Buffer) => void;

/** One connection; frames of the server are given to `onFrame`, whole. */
export class FrameReader {
  readonly socket: Socket;
  /** Whether the handshake was answered with a 101. */
  isOpen = false;
  isOver = false;
  #unread: Buffer = Buffer.alloc(0);
  #pieces: Buffer[] = [];
  #pieceBytes = 0;
  #needed = 1;
  readonly #onFrame: OnFrame;

  constructor(port: number, onFrame: OnFrame, target = "/", more = "") {
    this.#onFrame = onFrame;
    this.socket = connect({ port, host: "127.0.0.1", noDelay: true });
    this.socket.write(`${handshakeLines(target, more)}\r\n`);
    this.socket.on("data", (bytes: Buffer) => this.#take(bytes));
    this.socket.on("error", () => undefined);
    this.socket.on("close", () => {
      this.isOver = true;
    });
  }

  /** One that is open. */
  static async open(port: number, onFrame: OnFrame, target = "/"): Promise<FrameReader> {
    const reader = new FrameReader(port, onFrame, target);
    await until("the handshake is answered", () => reader.isOpen || reader.isOver);
    if (!reader.isOpen) throw new Error("the handshake failed");
    return reader;
  }

  /** Resolves when the kernel has the bytes. */
  write(bytes: Uint8Array): Promise<void> {
    return new Promise((resolve) => {
      this.socket.write(bytes, () => resolve());
    });
  }

  #take(bytes: Buffer): void {
    this.#pieces.push(bytes);
    this.#pieceBytes += bytes.length;
    if (this.#unread.length + this.#pieceBytes < this.#needed) return;
    this.#unread = Buffer.concat([this.#unread, ...this.#pieces]);
    this.#pieces = [];
    this.#pieceBytes = 0;
    if (!this.isOpen && !this.#takeHead()) return;
    let at = 0;
    for (;;) {
      const size = this.#frameAt(at);
      if (size === 0) break;
      at += size;
    }
    this.#unread = this.#unread.subarray(at);
  }

  #takeHead(): boolean {
    const end = this.#unread.indexOf("\r\n\r\n");
    if (end < 0) return false;
    if (this.#unread.toString("latin1", 0, 12) !== "HTTP/1.1 101") {
      this.socket.destroy();
      return false;
    }
    this.isOpen = true;
    this.#unread = this.#unread.subarray(end + 4);
    return true;
  }

  // Its size; 0 when it is not whole yet.
  #frameAt(at: number): number {
    const bytes = this.#unread;
    this.#needed = bytes.length - at + 1;
    if (bytes.length < at + 2) return 0;
    const short = (bytes[at + 1] as number) & 0x7f;
    const head = short < 126 ? 2 : short === 126 ? 4 : 10;
    if (bytes.length < at + head) return 0;
    let length = short;
    if (short === 126) length = bytes.readUInt16BE(at + 2);
    if (short === 127) length = Number(bytes.readBigUInt64BE(at + 2));
    if (bytes.length < at + head + length) {
      this.#needed = head + length;
      return 0;
    }
    const payload = bytes.subarray(at + head, at + head + length);
    this.#onFrame((bytes[at] as number) & 15, payload);
    return head + length;
  }
}

/** Keeps texts, with binary messages as latin1. */
export function texts(into: string[]): OnFrame {
  return (opcode, payload) => {
    if (opcode === TEXT || opcode === BINARY) into.push(payload.toString("latin1"));
  };
}
