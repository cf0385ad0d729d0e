// wss: through Node's own TLS. The loops know no TLS, so a TLS socket of Node's is joined to one
// end of a pair of connected sockets, and a loop takes the other end for its connection.
import { closeSync } from "node:fs";
import { isIP, Socket } from "node:net";
import { type ConnectionOptions, connect, type TLSSocket } from "node:tls";
import { checkRecord, invalidOption } from "../check.ts";
import type { Binding } from "../native/binding.ts";
import type { Target } from "./url.ts";

/** What `tls.connect()` takes, without what the URL says. */
export type ClientTLSOptions = Omit<
  ConnectionOptions,
  "allowHalfOpen" | "host" | "lookup" | "path" | "port" | "socket" | "timeout"
>;

const NOT_HERE = ["allowHalfOpen", "host", "lookup", "path", "port", "socket", "timeout"] as const;
// From the end of the WebSocket to the end of a TLS peer that does not answer close_notify.
const LINGER_MS = 2000;

/** A TLS connection, as a descriptor with plain bytes. */
export interface Tunnel {
  /** For the native side, which duplicates it; then discard() is due. */
  readonly fd: number;
  readonly address: string;
  readonly port: number;
  /** What went wrong with TLS since it was secure. */
  readonly failure: Error | undefined;
  /** Closes the descriptor, not the connection. */
  discard(): void;
  /** Ends everything at once. */
  destroy(): void;
}

/** @throws {MillraceError} ERR_MILLRACE_INVALID_OPTION */
export function checkTls(name: string, options: unknown): void {
  if (options === undefined) return;
  if (typeof options !== "object" || options === null) checkRecord(name, options, []);
  const wrong = NOT_HERE.find((key) => (options as Record<string, unknown>)[key] !== undefined);
  if (wrong !== undefined) throw invalidOption(`${name}.${wrong}`, "cannot be given", wrong);
}

/** Begins; `destroy()` ends it at any time, and `ready` then rejects. */
export function openTunnel(
  native: Binding,
  target: Target,
  address: string,
  options: ClientTLSOptions | undefined,
): { readonly ready: Promise<Tunnel>; destroy(): void } {
  const where = target.unix === "" ? { host: address, port: target.port } : { path: target.unix };
  const name = target.hostname;
  // RFC 6066 3: addresses are no server names.
  const servername = name === "" || isIP(name) !== 0 ? {} : { servername: name };
  // The types of Node 20 do not know allowHalfOpen.
  const half = { allowHalfOpen: true };
  const secure = connect({
    ALPNProtocols: ["http/1.1"],
    ...servername,
    ...options,
    ...where,
    ...half,
  });
  // The engine keeps the process alive, or does not.
  secure.unref();
  secure.setNoDelay(true);
  const ready = new Promise<Tunnel>((resolve, reject) => {
    const fail = (error?: Error): void => {
      secure.destroy();
      reject(error ?? new Error("the TLS connection was closed before it was secure"));
    };
    secure.once("error", fail).once("close", fail);
    secure.once("secureConnect", () => {
      secure.off("error", fail).off("close", fail);
      try {
        resolve(join(native, secure));
      } catch (error) {
        secure.once("error", () => undefined);
        fail(error as Error);
      }
    });
  });
  ready.catch(() => undefined);
  const destroy = (): void => {
    secure.destroy();
    // It may be ready without anybody who has taken it.
    void ready.then(
      (tunnel) => tunnel.destroy(),
      () => undefined,
    );
  };
  return { ready, destroy };
}

function join(native: Binding, secure: TLSSocket): Tunnel {
  const { remoteAddress = "", remotePort = 0 } = secure;
  const [own, theirs] = native.socketPair();
  const plain = new Socket({ fd: own, readable: true, writable: true, allowHalfOpen: true });
  plain.unref();
  let failure: Error | undefined;
  let timer: NodeJS.Timeout | undefined;
  // The loop has let go of its end; of the peer's nobody knows when, or whether, it comes.
  const linger = (): void => {
    if (timer !== undefined || secure.destroyed) return;
    secure.end();
    timer = setTimeout(() => {
      secure.destroy();
      plain.destroy();
    }, LINGER_MS).unref();
  };
  // pipe() carries back-pressure, and the end of each direction.
  secure.pipe(plain);
  plain.pipe(secure);
  secure.on("error", (error) => {
    failure = error;
    plain.destroy();
  });
  secure.on("close", () => {
    clearTimeout(timer);
    // After a proper end plain still may have bytes for the loop.
    if (!plain.writableEnded) plain.destroy();
  });
  plain.on("error", () => secure.destroy());
  plain.once("end", linger).once("close", linger);
  let isDiscarded = false;
  const discard = (): void => {
    if (isDiscarded) return;
    isDiscarded = true;
    closeSync(theirs);
  };
  return {
    fd: theirs,
    address: remoteAddress,
    port: remotePort,
    get failure() {
      return failure;
    },
    discard,
    destroy: () => {
      discard();
      plain.destroy();
      secure.destroy();
    },
  };
}

const tunnels = new WeakMap<object, Tunnel>();

/** From now on explained() knows what the socket goes through. */
export function joined(socket: object, tunnel: Tunnel): void {
  tunnels.set(socket, tunnel);
}

/** Gives the error of a lost socket what TLS said as its cause. */
export function explained(socket: object, error: Error): Error {
  const value = tunnels.get(socket)?.failure;
  if (value !== undefined && isLoss(error) && error.cause === undefined)
    Object.defineProperty(error, "cause", { value, configurable: true, writable: true });
  return error;
}

function isLoss(error: Error): boolean {
  return (error as { readonly code?: unknown }).code === "ERR_MILLRACE_WS_LOST";
}
