// Calls the handlers of a socket. What they throw is told to `error`, or becomes a warning.
import { MillraceError } from "../errors.ts";
import type { NativeSocket } from "./socket.ts";

/** What arrives for a handler. */
export const MESSAGE = 0;
export const PING = 1;
export const PONG = 2;

// These run in the socket's async scope. None of them throws.
export function callOpen(socket: NativeSocket): void {
  try {
    const result = socket.rules.open?.(socket);
    if (isThenable(result)) socket.waitFor(result, "open");
  } catch (error) {
    socket.failed("open", error);
  }
}

/** Whether something is to be waited for. */
export function callHandler(
  socket: NativeSocket,
  kind: number,
  data: string | Uint8Array,
): boolean {
  const { rules } = socket;
  const name = kind === MESSAGE ? "message" : kind === PING ? "ping" : "pong";
  try {
    const result =
      kind === MESSAGE
        ? rules.message?.(socket, data)
        : rules[kind === PING ? "ping" : "pong"]?.(socket, data as Uint8Array);
    if (result === undefined || !isThenable(result)) return false;
    socket.waitFor(result, name);
    return true;
  } catch (error) {
    socket.failed(name, error);
    return false;
  }
}

export function callDrain(socket: NativeSocket): void {
  try {
    const result = socket.rules.drain?.(socket);
    if (isThenable(result)) void settled(socket, result, "drain");
  } catch (error) {
    socket.failed("drain", error);
  }
}

export function callError(socket: NativeSocket, error: Error): PromiseLike<unknown> | undefined {
  try {
    const result = socket.rules.error?.(socket, error);
    if (isThenable(result)) return settled(socket, result, "error");
  } catch (second) {
    socket.failed("error", second);
  }
  return undefined;
}

export function callClose(
  socket: NativeSocket,
  code: number,
  reason: string,
): PromiseLike<unknown> | undefined {
  try {
    const result = socket.rules.close?.(socket, code, reason);
    if (isThenable(result)) return result;
  } catch (error) {
    socket.failed("close", error);
  }
  return undefined;
}

/** Waits for what a handler gave; a rejection is told. Never rejects. */
export async function settled(
  socket: NativeSocket,
  pending: PromiseLike<unknown>,
  name: string,
): Promise<void> {
  try {
    await pending;
  } catch (error) {
    socket.failed(name, error);
  }
}

/** What `error` is told of something thrown. */
export function errorOf(where: string, name: string, thrown: unknown): Error {
  if (isError(thrown)) return thrown;
  const message = `${where}: ${name}() threw something that is no Error`;
  return new MillraceError("ERR_MILLRACE_HANDLER_FAILED", message, { cause: thrown });
}

// What is thrown can be made so that looking at it throws.
function isError(thrown: unknown): thrown is Error {
  try {
    return thrown instanceof Error;
  } catch {
    return false;
  }
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  if (typeof value !== "object" || value === null) return false;
  return typeof (value as { then?: unknown }).then === "function";
}
