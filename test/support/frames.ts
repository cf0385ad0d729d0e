// WebSocket frames by hand: a client that says exactly the frames it is told, and reads the
// server's one by one. Knows RFC 6455's framing and nothing of what is allowed when.
import type { Server } from "../../src/index.ts";
import { until } from "./until.ts";
import { type Wire, type WireResponse, wire } from "./wire.ts";

export const TEXT = 1;
export const BINARY = 2;
export const CLOSE = 8;
export const PING = 9;
export const PONG = 10;

const KEY = "dGhlIHNhbXBsZSBub25jZQ==";
const MASK = [0x37, 0xfa, 0x21, 0x3d] as const;

export interface Frame {
  readonly fin: boolean;
  readonly rsv: number;
  readonly opcode: number;
  readonly payload: Buffer;
}

export interface FrameOptions {
  readonly fin?: boolean;
  /** The three reserved bits; 4 is RSV1. */
  readonly rsv?: number;
  readonly masked?: boolean;
  /** Bytes of the length: 0 is the shortest that fits, 2 or 8. */
  readonly lengthBytes?: 0 | 2 | 8;
}

/** One frame of a client. */
export function frame(opcode: number, body: string | Uint8Array, options?: FrameOptions): Buffer {
  const { fin = true, rsv = 0, masked = true, lengthBytes = 0 } = options ?? {};
  const payload = Buffer.from(body);
  const needed = payload.length < 126 ? 0 : payload.length < 65_536 ? 2 : 8;
  const width = Math.max(lengthBytes, needed);
  const head = Buffer.alloc(2 + width + (masked ? 4 : 0));
  head[0] = (fin ? 0x80 : 0) | (rsv << 4) | opcode;
  head[1] = (masked ? 0x80 : 0) | (width === 0 ? payload.length : width === 2 ? 126 : 127);
  if (width === 2) head.writeUInt16BE(payload.length, 2);
  if (width === 8) head.writeBigUInt64BE(BigInt(payload.length), 2);
  if (masked) {
    head.set(MASK, 2 + width);
    for (let i = 0; i < payload.length; i += 1)
      payload[i] = (payload[i] as number) ^ (MASK[i & 3] as number);
  }
  return Buffer.concat([head, payload]);
}

/** A close frame; without a code it is empty. */
export function closeFrame(code?: number, reason = ""): Buffer {
  if (code === undefined) return frame(CLOSE, "");
  const head = Buffer.alloc(2);
  head.writeUInt16BE(code);
  return frame(CLOSE, Buffer.concat([head, Buffer.from(reason)]));
}

/** The lines of a handshake without the blank one. */
export function handshakeLines(target: string, more = ""): string {
  return (
    `GET ${target} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
    `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${KEY}\r\n${more}`
  );
}

/** A client behind its handshake. */
export class FrameClient {
  readonly wire: Wire;
  readonly response: WireResponse;

  constructor(opened: Wire, response: WireResponse) {
    this.wire = opened;
    this.response = response;
  }

  send(...frames: readonly Uint8Array[]): this {
    this.wire.send(Buffer.concat(frames));
    return this;
  }

  text(data: string): this {
    return this.send(frame(TEXT, data));
  }

  /** The next frame of the server; throws when the connection ends before. */
  async next(): Promise<Frame> {
    let found: [frame: Frame, size: number] | undefined;
    await until("a frame is there", () => {
      found = parse(Buffer.from(this.wire.buffer, "latin1"));
      return found !== undefined || this.wire.ended;
    });
    if (found === undefined) throw new Error("the connection ended without a frame");
    this.wire.buffer = this.wire.buffer.slice(found[1]);
    return found[0];
  }

  /** Code and reason of the server's close frame, with frames before it dropped. */
  async closed(): Promise<[code: number, reason: string]> {
    for (;;) {
      const { opcode, payload } = await this.next();
      if (opcode !== CLOSE) continue;
      if (payload.length === 0) return [1005, ""];
      return [payload.readUInt16BE(0), payload.subarray(2).toString()];
    }
  }
}

/** Does the handshake; `first` goes out in one piece with it. */
export async function frames(
  server: Server,
  target = "/",
  more = "",
  first: Uint8Array = new Uint8Array(0),
): Promise<FrameClient> {
  const opened = await wire(server);
  opened.send(Buffer.concat([Buffer.from(`${handshakeLines(target, more)}\r\n`), first]));
  const response = await opened.response();
  if (response.status !== 101) throw new Error(`the handshake was answered ${response.head}`);
  return new FrameClient(opened, response);
}

function parse(bytes: Buffer): [frame: Frame, size: number] | undefined {
  if (bytes.length < 2) return undefined;
  const first = bytes[0] as number;
  const short = (bytes[1] as number) & 0x7f;
  const at = short < 126 ? 2 : short === 126 ? 4 : 10;
  if (bytes.length < at) return undefined;
  const length =
    short < 126 ? short : short === 126 ? bytes.readUInt16BE(2) : Number(bytes.readBigUInt64BE(2));
  if (bytes.length < at + length) return undefined;
  const payload = Buffer.from(bytes.subarray(at, at + length));
  const found = { fin: first >= 0x80, rsv: (first >> 4) & 7, opcode: first & 15, payload };
  return [found, at + length];
}
