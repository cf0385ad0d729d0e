// What the tests of WebSocket clients share: our server with a handler, and a server of bare bytes
// that answers handshakes as it is told.
import { createHash } from "node:crypto";
import { createServer, type Server as NetServer, type Socket as NetSocket } from "node:net";
import { afterEach, onTestFinished } from "vitest";
import { type ServeOptions, type Server, serve, type WebSocketHandler } from "../../src/index.ts";
import { binding } from "../../src/native/binding.ts";
import { until } from "./until.ts";

const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const own = new Set<Server>();

/**
 * After each test of the file: nothing is left of an engine once nothing is on it. The tests' own
 * servers close later.
 */
export function expectNoEngines(): void {
  afterEach(() => until("all engines are freed", () => binding().census().servers === own.size));
}

/** Our server, closed after the test. */
export async function served(
  handler: WebSocketHandler<unknown>,
  more: Partial<ServeOptions> = { port: 0 },
): Promise<{ server: Server; url: string }> {
  const server = await serve({ ...more, routes: { "/": handler } } as ServeOptions);
  own.add(server);
  onTestFinished(async () => {
    own.delete(server);
    await server.close({ timeout: 2000 });
  });
  return { server, url: server.url.replace(/^http/, "ws") };
}

/** Sends back what it gets. */
export const echo: WebSocketHandler<unknown> = {
  maxPayloadLength: 64 << 20,
  backpressureLimit: 64 << 20,
  message: (ws, data) => void ws.send(data),
};

export interface RawPeer {
  readonly url: string;
  readonly port: number;
  /** Request heads, as they came. */
  readonly heads: string[];
  /** What came behind them, latin1. */
  rest: string;
  readonly sockets: Set<NetSocket>;
}

/** A server of bytes: `answer` gets the head of a request, and the accept that would be right. */
export async function rawPeer(
  answer: (head: string, accept: string, socket: NetSocket) => string | undefined,
): Promise<RawPeer> {
  const peer = { url: "", port: 0, heads: [] as string[], rest: "", sockets: new Set<NetSocket>() };
  const { heads, sockets } = peer;
  const server: NetServer = createServer((socket) => {
    sockets.add(socket);
    let head = "";
    socket.on("error", () => undefined).on("close", () => sockets.delete(socket));
    socket.setEncoding("latin1").on("data", (text: string) => {
      if (head.endsWith("\r\n\r\n")) {
        peer.rest += text;
        return;
      }
      head += text;
      if (!head.endsWith("\r\n\r\n")) return;
      heads.push(head);
      const key = /^sec-websocket-key: (.*)\r$/im.exec(head)?.[1] ?? "";
      const accept = createHash("sha1").update(`${key}${GUID}`).digest("base64");
      const said = answer(head, accept, socket);
      if (said !== undefined) socket.write(Buffer.from(said, "latin1"));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  });
  const { port } = server.address() as { port: number };
  return Object.assign(peer, { url: `ws://127.0.0.1:${port}/`, port });
}

/** A 101 that is right, but for what `more` adds. */
export function switching(accept: string, more = ""): string {
  const base = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";
  return `${base}Sec-WebSocket-Accept: ${accept}\r\n${more}\r\n`;
}

/** A port on which nobody listens. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}
