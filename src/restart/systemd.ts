// systemd: listening sockets that it passes to a process (sd_listen_fds(3)), and what it is told of
// the process (sd_notify(3)). Reads the environment, knows nothing of servers.
import { isMainThread } from "node:worker_threads";
import { MillraceError } from "../errors.ts";
import type { Binding } from "../native/binding.ts";

const FIRST_FD = 3;
const FDS_MAX = 1024;
const OWNER = "MILLRACE_NOTIFY_PID";

/** The label of a listener that takes whatever systemd passes. */
export const ANY = "systemd:*";

/** The label of a listener that systemd passes: any, or those with a name. */
export function systemdLabel(name: string | undefined): string {
  return name === undefined ? ANY : `systemd:${name}`;
}

/** A socket that systemd has passed to this process. */
export interface PassedSocket {
  readonly fd: number;
  readonly name: string; // FileDescriptorName=, "unknown" without
}

type Environment = Readonly<Record<string, string | undefined>>;

/** What LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES say; empty when they are for another process. */
export function passedSockets(
  env: Environment = process.env,
  pid: number = process.pid,
): readonly PassedSocket[] {
  const count = Number(env["LISTEN_FDS"] ?? 0);
  if (Number(env["LISTEN_PID"]) !== pid) return [];
  if (!Number.isInteger(count) || count <= 0 || count > FDS_MAX) return [];
  const names = env["LISTEN_FDNAMES"]?.split(":") ?? [];
  return Array.from({ length: count }, (_, at) => ({
    fd: FIRST_FD + at,
    name: names[at] || "unknown",
  }));
}

/** A listener as far as this file looks at it. */
export interface LabelledListener {
  readonly fd: number;
  readonly label: string; // "" or what systemdLabel() or the hand-over calls it
}

/**
 * Puts a listener for each socket that systemd has passed in place of those that ask for one.
 *
 * @throws {MillraceError} ERR_MILLRACE_LISTEN_FAILED when it has passed none of them
 */
export function fillIn<L extends LabelledListener>(
  listeners: readonly L[],
  passed: readonly PassedSocket[] = passedSockets(),
): readonly L[] {
  return listeners.flatMap((each) => {
    if (each.fd >= 0 || !each.label.startsWith("systemd:")) return [each];
    const sockets = passed.filter(
      ({ name }) => each.label === ANY || each.label.endsWith(`:${name}`),
    );
    if (sockets.length === 0) throw nothingPassed(each.label, passed);
    return sockets.map(({ fd, name }) => ({ ...each, fd, label: systemdLabel(name) }));
  });
}

function nothingPassed(label: string, passed: readonly PassedSocket[]): MillraceError {
  const { LISTEN_PID: pid } = process.env;
  const names = passed.map(({ name }) => JSON.stringify(name)).join(", ");
  const why =
    passed.length > 0
      ? `it passed ${names}; see FileDescriptorName= of the socket unit`
      : pid === undefined
        ? "LISTEN_PID is not set; is there a .socket unit for this service?"
        : `LISTEN_PID is ${pid}, not ${process.pid}; start node itself, not through npm`;
  const what = label === ANY ? "no socket" : `no socket called ${JSON.stringify(label.slice(8))}`;
  return new MillraceError(
    "ERR_MILLRACE_LISTEN_FAILED",
    `cannot listen: systemd has passed ${what} to this process (${why})`,
  );
}

/** Tells the service manager how the service is. */
export interface Notifier {
  /** The service is up; `took`: this process is the main one of the service from here on. */
  ready(took: boolean): void;
  /** Another process is about to take over. */
  reloading(): void;
  /** A server closes; `isReplaced`: because another process serves in place of this one. */
  stopping(isReplaced: boolean): void;
}

let ready = 0; // servers of this process that have said so
let isReplaced = false;

/**
 * Undefined without NOTIFY_SOCKET, on worker threads, whose process it is not, and in a child that
 * has inherited it; unless that one takes over.
 */
export function makeNotifier(
  native: Pick<Binding, "sendDatagram">,
  took: boolean,
  env: Record<string, string | undefined> = process.env,
): Notifier | undefined {
  const path = env["NOTIFY_SOCKET"];
  if (path === undefined || path === "" || !isMainThread) return undefined;
  const pid = String(process.pid);
  if (!took && (env[OWNER] ?? pid) !== pid) return undefined;
  env[OWNER] = pid; // children inherit it, too
  // Nobody to tell is nothing to fail for.
  const send = (text: string): void => void native.sendDatagram(path, text);
  let isReady = false;
  return {
    ready(tookOver: boolean): void {
      if (!isReady) ready += 1;
      isReady = true;
      send(`${tookOver ? `MAINPID=${process.pid}\n` : ""}READY=1`);
      startWatchdog(send, env, tookOver);
    },
    reloading(): void {
      send(`RELOADING=1\nMONOTONIC_USEC=${process.hrtime.bigint() / 1000n}`);
    },
    stopping(byOther: boolean): void {
      if (!isReady) return;
      isReady = false;
      ready -= 1;
      isReplaced ||= byOther;
      // The service goes on in the other process, or with other servers of this one.
      if (ready === 0 && !isReplaced) send("STOPPING=1");
    },
  };
}

let watchdog: NodeJS.Timeout | undefined;

// From the JavaScript thread, so that a thread that hangs is noticed. Goes on while servers close.
function startWatchdog(send: (text: string) => void, env: Environment, took: boolean): void {
  const ms = watchdogMs(env, took);
  if (ms === 0 || watchdog !== undefined) return;
  send("WATCHDOG=1");
  watchdog = setInterval(() => send("WATCHDOG=1"), ms);
  watchdog.unref();
}

/** How often WATCHDOG=1 is due, in milliseconds; 0: never. */
export function watchdogMs(env: Environment, took: boolean, pid: number = process.pid): number {
  const { WATCHDOG_PID: forPid, WATCHDOG_USEC: microseconds } = env;
  // Who has taken over is the main process, for which the variable was meant.
  if (forPid !== undefined && Number(forPid) !== pid && !took) return 0;
  const half = Math.floor(Number(microseconds) / 2000);
  return Number.isFinite(half) && half > 0 ? half : 0;
}
