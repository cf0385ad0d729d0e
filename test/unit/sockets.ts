// WebSockets over a fake binding: what their unit tests share.
import { beforeEach } from "vitest";
import {
  type MillraceError,
  type Server,
  type Socket,
  serve,
  type WebSocketHandler,
} from "../../src/index.ts";
import { setBinding } from "../../src/native/binding.ts";
import { ERRORS, EVENT, EVENT_FLAG } from "../../src/native/tables.ts";
import { FakeBinding } from "./fake.ts";

/** The index of a lost connection in ERRORS. */
export const LOST = ERRORS.findIndex((row) => row.name === "WsLost");
/** A request that can be upgraded. */
export const HANDSHAKE = {
  flags: EVENT_FLAG.upgrade,
  headers: [
    ["host", "a.example"],
    ["origin", "https://app.example"],
    ["sec-websocket-protocol", "chat.v2, chat.v1"],
  ],
} as const;

/** The binding of the current test. */
export let fake: FakeBinding;
/** What the current test writes down. */
export const events: string[] = [];

beforeEach(() => {
  fake = new FakeBinding();
  events.length = 0;
  setBinding(fake);
});

/** A server with one WebSocket route. */
export async function start(handler: WebSocketHandler): Promise<Server> {
  return serve({
    loops: 0,
    routes: { "/": { ...handler, pong: handler.pong } as WebSocketHandler },
  });
}

/** A server with one open socket; what was logged until then is forgotten. */
export async function open(handler: WebSocketHandler): Promise<{ ws: Socket; handle: number }> {
  const server = await start(handler);
  const handle = connect();
  await settled();
  fake.log.length = 0;
  const [ws] = server.sockets;
  return { ws: ws as Socket, handle };
}

/** Opens a socket and gives its handle. */
export function connect(): number {
  const handle = fake.one(HANDSHAKE);
  fake.news([{ kind: EVENT.Opened, handle }]);
  return handle;
}

/** Messages in one batch. */
export function message(handle: number, ...bodies: (string | Uint8Array)[]): void {
  fake.news(bodies.map((body) => ({ kind: EVENT.Message, handle, body })));
}

export function end(handle: number, status: number, error = 0): void {
  fake.news([{ kind: EVENT.Ended, handle, status, head: [error === 0 ? 1 : 0, error] }]);
}

/** Lets promises go on. */
export async function settled(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
}

/** A handler that writes down what it is called with. */
export function noting(more: WebSocketHandler = {}): WebSocketHandler {
  return {
    open: () => void events.push("open"),
    message: (_ws, data) => void events.push(`message ${data}`),
    close: (_ws, code, reason) => void events.push(`close ${code} ${reason}`.trim()),
    error: (_ws, error) => void events.push(`error ${(error as MillraceError).code}`),
    ...more,
  };
}

/** Warnings from now on. */
export function warnings(): { texts: string[]; stop: () => void } {
  const texts: string[] = [];
  const listener = (warning: Error): void => void texts.push(warning.message);
  process.on("warning", listener);
  return { texts, stop: () => process.off("warning", listener) };
}
