// The descriptors of the process: how many it may have, and how many it has.
import { readdirSync } from "node:fs";
import { invalidOption } from "./check.ts";
import { MillraceError } from "./errors.ts";
import { binding } from "./native/binding.ts";

/**
 * The file descriptors of the process, with all its threads. Each reading asks the system.
 * @throws {MillraceError} ERR_MILLRACE_NO_BINARY
 */
export interface Fds {
  /** The most that `raise()` can give: `ulimit -Hn`; Infinity for unlimited. */
  readonly hard: number;
  /**
   * How many are open; `soft` when there is none left to count them with. A listing of a folder in
   * /proc: nothing for each request.
   * @throws {MillraceError} ERR_MILLRACE_SYSTEM where there is no such folder
   */
  readonly open: number;
  /** How many the process may have open: `ulimit -n`; Infinity for unlimited. */
  readonly soft: number;
  /**
   * Raises the soft limit, never lowers it. Servers follow it within a second. Node does this at
   * its start, up to the hard limit.
   * @param n - a positive integer, not above `hard`. @default hard
   * @returns the soft limit as it is now
   * @throws {MillraceError} ERR_MILLRACE_INVALID_OPTION, ERR_MILLRACE_SYSTEM
   */
  raise(n?: number): number;
}

const FOLDER = process.platform === "linux" ? "/proc/self/fd" : "/dev/fd";

/**
 * The file descriptors of the process: limits, and how many are open.
 *
 * @example
 * ```ts
 * import { fds } from "millrace";
 * if (fds.raise() < 10_000) console.warn(`only ${fds.soft - fds.open} connections at once`);
 * ```
 */
export const fds: Fds = {
  get hard() {
    return binding().fdLimit().hard;
  },

  get open() {
    try {
      return readdirSync(FOLDER).length - 1; // one is that of the listing
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === "EMFILE") return fds.soft;
      throw new MillraceError("ERR_MILLRACE_SYSTEM", "open descriptors could not be counted", {
        cause,
      });
    }
  },

  get soft() {
    return binding().fdLimit().soft;
  },

  raise(n?: number): number {
    const { soft, hard } = binding().fdLimit();
    const wanted = n ?? hard;
    if (!(wanted > 0 && wanted <= hard && (Number.isSafeInteger(wanted) || wanted === hard))) {
      throw invalidOption("fds.raise()", `takes an integer from 1 to ${hard}, the hard limit`, n);
    }
    if (wanted <= soft) return soft;
    const error = binding().setFdLimit(wanted);
    if (error === "") return fds.soft;
    const what = `the limit of descriptors could not be raised to ${wanted} (${error})`;
    throw new MillraceError("ERR_MILLRACE_SYSTEM", what);
  },
};
