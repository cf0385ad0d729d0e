// A client that says exactly the bytes it is told and reads responses one by one. Knows no more of
// HTTP than Content-Length and HEAD.
import { connect, type NetConnectOpts, type Socket } from "node:net";
import type { Server } from "../../src/index.ts";
import { until } from "./until.ts";

export interface WireResponse {
  readonly status: number;
  /** Names in lower case; several lines of one name are joined with a line feed. */
  readonly headers: ReadonlyMap<string, string>;
  readonly head: string;
  readonly body: string; // latin1
}

const open = new Set<Wire>();

/** Destroys the connections that tests have left open. */
export function closeWires(): void {
  for (const each of open) each.close();
}

export class Wire {
  readonly socket: Socket;
  /** Received and not read yet, latin1. */
  buffer = "";
  /** Whether the server has sent its last byte, or reset the connection. */
  ended = false;
  /** The code of the socket's error, such as ECONNRESET. */
  error = "";

  constructor(options: NetConnectOpts) {
    this.socket = connect(options);
    this.socket.setNoDelay(true);
    this.socket.on("data", (bytes: Buffer) => {
      this.buffer += bytes.toString("latin1");
    });
    this.socket.on("end", () => {
      this.ended = true;
    });
    open.add(this);
    this.socket.on("close", () => {
      open.delete(this);
      this.ended = true;
    });
    this.socket.on("error", (error: NodeJS.ErrnoException) => {
      this.error = error.code ?? error.message;
    });
  }

  send(text: string | Uint8Array): this {
    this.socket.write(typeof text === "string" ? Buffer.from(text, "latin1") : text);
    return this;
  }

  /** GET `target` with more header lines, each with its CRLF. */
  get(target: string, lines = ""): this {
    return this.send(`GET ${target} HTTP/1.1\r\nHost: a\r\n${lines}\r\n`);
  }

  /** The next response. `isHead`: it answers HEAD, so no body follows. */
  async response(isHead = false): Promise<WireResponse> {
    await until("a response head is there", () => this.buffer.includes("\r\n\r\n") || this.ended);
    const at = this.buffer.indexOf("\r\n\r\n");
    if (at < 0) throw new Error(`the connection ended after ${JSON.stringify(this.buffer)}`);
    const head = this.buffer.slice(0, at);
    const headers = new Map<string, string>();
    for (const line of head.split("\r\n").slice(1)) {
      const colon = line.indexOf(":");
      const name = line.slice(0, colon).toLowerCase();
      const value = line.slice(colon + 1).trim();
      headers.set(name, headers.has(name) ? `${headers.get(name)}\n${value}` : value);
    }
    const status = Number(head.slice(9, 12));
    const isBodiless = isHead || status < 200 || status === 204 || status === 304;
    const length = isBodiless ? 0 : Number(headers.get("content-length") ?? 0);
    const from = at + 4;
    await until("the body is there", () => this.buffer.length >= from + length || this.ended);
    const body = this.buffer.slice(from, from + length);
    this.buffer = this.buffer.slice(from + length);
    return { status, headers, head, body };
  }

  /** The server has closed; what it sent meanwhile stays in `buffer`. */
  async end(): Promise<void> {
    await until("the server closes the connection", () => this.ended);
  }

  /** Goes away with a reset instead of an end. */
  reset(): void {
    this.socket.resetAndDestroy();
  }

  close(): void {
    this.socket.destroy();
  }
}

/** Opens a connection to a server's address; `at` chooses among several. */
export async function wire(server: Server, at = 0): Promise<Wire> {
  const address = server.addresses[at];
  if (address === undefined) throw new Error(`the server has no address ${at}`);
  const opened = new Wire(
    address.family === "unix"
      ? { path: address.address }
      : { port: address.port, host: address.address },
  );
  await until("the connection is open", () => !opened.socket.connecting);
  if (opened.error !== "") throw new Error(`connect: ${opened.error}`);
  return opened;
}
