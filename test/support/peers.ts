// A WebSocket client of npm's ws that keeps what it gets, and handlers that write down what they
// are called with.
import { expect } from "vitest";
import { WebSocket as Client, type ClientOptions, type RawData } from "ws";
import type { MillraceError, Server, WebSocketHandler } from "../../src/index.ts";
import { portOf } from "./hosts.ts";
import { until } from "./until.ts";

/** A client of npm's ws that keeps what it gets. */
export class Peer {
  readonly ws: Client;
  readonly messages: (string | Buffer)[] = [];
  closed: [code: number, reason: string] | undefined = undefined;
  refused: number | undefined = undefined;
  error: Error | undefined = undefined;

  /** `to`: a server of ours, or the beginning of a URL. */
  constructor(
    to: Server | string,
    target = "/",
    protocols: string[] = [],
    options: ClientOptions = {},
  ) {
    const base = typeof to === "string" ? to : `ws://127.0.0.1:${portOf(to)}`;
    this.ws = new Client(base + target, protocols, {
      perMessageDeflate: false,
      ...options,
    });
    this.ws.on("message", (data: RawData, isBinary: boolean) => {
      this.messages.push(isBinary ? (data as Buffer) : (data as Buffer).toString());
    });
    this.ws.on("close", (code, reason) => {
      this.closed = [code, reason.toString()];
    });
    this.ws.on("unexpected-response", (_request, response) => {
      this.refused = response.statusCode;
      response.resume();
      this.ws.terminate();
    });
    this.ws.on("error", (error) => {
      this.error = error;
    });
  }

  async opened(): Promise<this> {
    await until("the handshake is answered", () => {
      return this.ws.readyState === Client.OPEN || this.closed !== undefined;
    });
    expect(this.closed).toBeUndefined();
    return this;
  }

  async got(count: number): Promise<(string | Buffer)[]> {
    await until(`${count} messages have come`, () => this.messages.length >= count);
    return this.messages;
  }

  async over(): Promise<[code: number, reason: string] | undefined> {
    await until("the client is closed", () => this.closed !== undefined);
    return this.closed;
  }
}

/** One that is open. */
export async function peer(server: Server, target = "/", protocols: string[] = []): Promise<Peer> {
  return new Peer(server, target, protocols).opened();
}

/** Sends back what comes. */
export const echo: WebSocketHandler = { message: (ws, data) => void ws.send(data) };

/** Echoes, and writes down what the handlers are called with. */
export function noting(events: string[], more: WebSocketHandler = {}): WebSocketHandler {
  return {
    open: () => void events.push("open"),
    message: (ws, data) => void ws.send(data),
    error: (_ws, error) => void events.push(`error ${(error as MillraceError).code}`),
    close: (_ws, code, reason) => void events.push(`close ${code} ${reason}`.trim()),
    ...more,
  };
}

/** Waits until something that begins so is written down. */
export async function told(events: readonly string[], last: string): Promise<void> {
  await until(`${last} is told`, () => events.some((each) => each.startsWith(last)));
}
