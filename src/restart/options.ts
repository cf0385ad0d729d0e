// Options about restarts and the service manager, and their validation.
import { callable, checkRecord, integer, invalidOption, text, truth } from "../check.ts";

/** How a process hands its listening sockets over to the one that replaces it. */
export interface HandoverOptions {
  /**
   * Ends the process, or the worker, after a hand-over when all its servers with `handover` have
   * closed. @default false
   */
  readonly exit?: boolean;
  /**
   * Is told when another process serves and this one has begun to close its server. What it throws
   * is logged.
   */
  readonly onHandedOver?: (pid: number) => void;
  /**
   * Where the processes meet: the path of a unix socket that only this user may connect to. Each
   * server has its own.
   */
  readonly path: string;
  /** Milliseconds after `wait` until what is in flight is cut. @default 10_000 */
  readonly timeout?: number;
  /**
   * Milliseconds for which idle connections may bring one more request, whose answer carries
   * Connection: close: longer than what proxies keep them for. @default 65_000
   */
  readonly wait?: number;
}

/** What `server.close()` may be given. */
export interface ServerCloseOptions {
  /** Milliseconds after `wait` until what is in flight is cut. @default 10_000 */
  readonly timeout?: number;
  /**
   * Milliseconds for which idle connections are not ended but may bring one more request, whose
   * answer carries Connection: close. Longer than a proxy in front keeps idle connections, and no
   * request of it meets a closed one. @default 0
   */
  readonly wait?: number;
}

/** The validated options about restarts. */
export interface RestartSettings {
  readonly handover: Required<HandoverOptions> | undefined;
  readonly notifies: boolean;
}

const MS_MAX = 86_400_000;
const TIMEOUT_MS = 10_000;
const HANDOVER_WAIT_MS = 65_000; // nginx keeps idle connections for 60 s
// What sockaddr_un holds, less the final NUL and the folder where the socket is made.
const PATH_BYTES_MAX = process.platform === "linux" ? 98 : 94;

/** @throws {MillraceError} ERR_MILLRACE_INVALID_OPTION */
export function restartOf(handover: unknown, systemd: unknown): RestartSettings {
  return {
    handover: handover === undefined ? undefined : handoverOf(handover),
    notifies: systemd === undefined ? true : truth("systemd", systemd),
  };
}

function handoverOf(value: unknown): Required<HandoverOptions> {
  const options = typeof value === "string" ? { path: value } : (value as HandoverOptions);
  checkRecord("handover", options, ["exit", "onHandedOver", "path", "timeout", "wait"]);
  const { exit = false, onHandedOver = () => undefined } = options;
  const path = text("handover.path", options.path);
  if (Buffer.byteLength(path) > PATH_BYTES_MAX || path.includes("\0")) {
    const what = `must have at most ${PATH_BYTES_MAX} bytes and no NUL`;
    throw invalidOption("handover.path", what, path);
  }
  callable("handover.onHandedOver", onHandedOver);
  return {
    exit: truth("handover.exit", exit),
    onHandedOver,
    path,
    timeout: ms("handover.timeout", options.timeout, TIMEOUT_MS),
    wait: ms("handover.wait", options.wait, HANDOVER_WAIT_MS),
  };
}

/** The options of close(). */
export function closeOf(options: ServerCloseOptions | undefined): Required<ServerCloseOptions> {
  if (options !== undefined) checkRecord("close()", options, ["timeout", "wait"]);
  return {
    timeout: ms("close() timeout", options?.timeout, TIMEOUT_MS),
    wait: ms("close() wait", options?.wait, 0),
  };
}

function ms(name: string, value: unknown, usual: number): number {
  return value === undefined ? usual : integer(name, value, 0, MS_MAX, "milliseconds");
}
