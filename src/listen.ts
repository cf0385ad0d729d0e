// Names to numeric addresses before listening, and the system's refusals to coded errors after.
import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import type { Address } from "./api.ts";
import { type ErrorCode, MillraceError } from "./errors.ts";
import type { NativeListener } from "./native/binding.ts";
import type { ListenSettings } from "./options.ts";
import type { HandoverListener } from "./restart/handover.ts";

/** @throws {MillraceError} ERR_MILLRACE_ADDR_NOT_AVAILABLE when a name has no address */
export async function resolveListener(settings: ListenSettings): Promise<HandoverListener> {
  const { hostname, ...rest } = settings;
  return { ...rest, host: hostname === "" ? "" : await resolve(hostname) };
}

async function resolve(hostname: string): Promise<string> {
  const name =
    hostname.startsWith("[") && hostname.endsWith("]") ? hostname.slice(1, -1) : hostname;
  if (isIP(name) !== 0) return name;
  // Always the same one, also where the resolver would say ::1.
  if (name === "localhost") return "127.0.0.1";
  try {
    return (await lookup(name)).address;
  } catch (cause) {
    const reason = (cause as NodeJS.ErrnoException).code ?? "unknown";
    const fix = "use a name or an address of this machine";
    const message = `the hostname ${JSON.stringify(hostname)} has no address (${reason}); ${fix}`;
    throw new MillraceError("ERR_MILLRACE_ADDR_NOT_AVAILABLE", message, { cause });
  }
}

const REFUSALS: Readonly<Record<string, readonly [code: ErrorCode, what: string]>> = {
  EACCES: [
    "ERR_MILLRACE_ACCESS_DENIED",
    "the system does not allow this process to listen there; ports below 1024 need a privilege",
  ],
  EADDRINUSE: [
    "ERR_MILLRACE_ADDR_IN_USE",
    "another socket listens there; stop it, choose another port, or use port 0",
  ],
  EADDRNOTAVAIL: ["ERR_MILLRACE_ADDR_NOT_AVAILABLE", "the address does not belong to this machine"],
  EPERM: ["ERR_MILLRACE_ACCESS_DENIED", "the system does not allow this process to listen there"],
};

/** What open() threw, as a coded error; what is not the system's refusal comes back as it is. */
export function openError(error: unknown, listeners: readonly NativeListener[]): unknown {
  if (!(error instanceof Error)) return error;
  const { code, syscall, listener } = error as NodeJS.ErrnoException & {
    readonly listener?: number;
  };
  if (typeof code !== "string" || !/^E[A-Z0-9]+$/.test(code)) return error;
  const where = listener === undefined ? undefined : listeners[listener];
  const call = syscall === undefined ? code : `${syscall}: ${code}`;
  if (where === undefined)
    return new MillraceError("ERR_MILLRACE_SYSTEM", `the server could not be started (${call})`, {
      cause: error,
    });
  const known = REFUSALS[code];
  const what = known?.[1] ?? "the system refused";
  return new MillraceError(
    known?.[0] ?? "ERR_MILLRACE_LISTEN_FAILED",
    `cannot listen on ${nameOf(where)}: ${what} (${call})`,
    { cause: error },
  );
}

function nameOf(listener: NativeListener): string {
  if (listener.fd >= 0) return `fd ${listener.fd}`;
  if (listener.unix !== "") return `unix:${listener.unix.replace("\0", "@")}`;
  return `${listener.host.includes(":") ? `[${listener.host}]` : listener.host}:${listener.port}`;
}

/** What a person on this machine types to reach the address; `scheme` is the listener's. */
export function urlOfAddress(address: Address, scheme: "http" | "scgi" = "http"): string {
  if (address.family === "unix") return `unix:${address.address.replace("\0", "@")}`;
  if (address.address === "0.0.0.0" || address.address === "::")
    return `${scheme}://localhost:${address.port}`;
  const host = address.family === "IPv6" ? `[${address.address}]` : address.address;
  return `${scheme}://${host}:${address.port}`;
}
