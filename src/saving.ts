// Files that bodies are saved to: a temporary file beside the target, renamed when it is whole,
// removed when it is not. The bytes themselves are written by native threads, or here when they are
// in JavaScript already.
import { createHash, randomBytes } from "node:crypto";
import { type FileHandle, link, open, rename, unlink } from "node:fs/promises";
import { constants } from "node:os";
import { dirname } from "node:path";
import { limitOf } from "./body.ts";
import { checkRecord, integer, milliseconds, truth } from "./check.ts";
import { errnoName, MillraceError, show } from "./errors.ts";
import { orLate } from "./late.ts";

/** How a body is saved. */
export interface SaveOptions {
  /**
   * Whether the file is on the disk, and not only with the kernel, when the promise resolves.
   * @default false
   */
  readonly fsync?: boolean;
  /**
   * Milliseconds for the whole of it, until the last byte is written; then the connection is cut
   * and the promise rejects with ERR_MILLRACE_GAVE_UP. Where the body is here already nothing is
   * waited for.
   * @default no bound of its own
   */
  readonly giveUpMs?: number;
  /**
   * Most bytes to take; more fails with ERR_MILLRACE_BODY_TOO_LARGE.
   * @default the limits of the body
   */
  readonly limit?: number;
  /** Permissions of the file. @default 0o666 less the umask */
  readonly mode?: number;
  /**
   * Whether a file that is there already may be replaced; else ERR_MILLRACE_SAVE_FAILED with status
   * 409.
   * @default true
   */
  readonly overwrite?: boolean;
  /** Whether to compute the SHA-256 of what is saved. @default false */
  readonly sha256?: boolean;
}

/** What was saved. */
export interface SavedFile {
  /** As it was given. */
  readonly path: string;
  /** SHA-256 in hexadecimal, when asked for. */
  readonly sha256?: string;
  /** Bytes. */
  readonly size: number;
}

/** How the bytes got into the file: their number, and their digest when it was asked for. */
export interface WrittenBytes {
  readonly size: number;
  readonly sha256?: string;
}

/**
 * Makes a file out of what `write` puts into the open one. Nothing is left behind when it fails,
 * except that a folder may refuse to be synced when the file is in it. `giveUp` cuts the connection
 * of a body that is still to come.
 *
 * @throws {MillraceError} ERR_MILLRACE_SAVE_FAILED, ERR_MILLRACE_GAVE_UP,
 * ERR_MILLRACE_INVALID_OPTION, and what `write` throws
 */
export async function saveFile(
  path: string,
  options: SaveOptions | undefined,
  write: (file: FileHandle, digest: boolean, limit: number) => Promise<WrittenBytes>,
  giveUp?: (error: MillraceError) => void,
): Promise<SavedFile> {
  const { fsync, giveUpMs, limit, mode, overwrite, sha256 } = checkedOptions(path, options);
  const deadline = giveUp === undefined ? Infinity : performance.now() + giveUpMs;
  const temporary = temporaryOf(path);
  const file = await guarded(path, open(temporary, "wx", mode));
  let folder: FileHandle | undefined;
  let isKept = false;
  try {
    // First: one that cannot be opened leaves nothing behind.
    if (fsync) folder = await guarded(path, open(dirname(path), "r"));
    const writing = write(file, sha256, limit);
    const written = await orLate(writing, deadline - performance.now(), () => {
      const what = `was not whole within ${giveUpMs} ms (giveUpMs)`;
      const message = `${show(path)} ${what}; the connection was cut`;
      const error = new MillraceError("ERR_MILLRACE_GAVE_UP", message);
      giveUp?.(error);
      throw error;
    });
    if (fsync) await guarded(path, file.sync());
    await guarded(path, file.close());
    if (overwrite) await guarded(path, rename(temporary, path));
    else await guarded(path, renameToNew(temporary, path));
    isKept = true;
    await folder?.sync().catch((error: unknown) => {
      throw failed(path, error, "is there, but its folder could not be synced");
    });
    return { path, ...written };
  } finally {
    await folder?.close().catch(() => undefined);
    if (!isKept) await remove(file, temporary);
  }
}

const NAME_BYTES_MAX = 255;

// In the same folder, and under no longer a name than may be.
function temporaryOf(path: string): string {
  const suffix = `.${randomBytes(6).toString("hex")}.part`;
  const at = path.lastIndexOf("/") + 1;
  const name = Buffer.from(path.slice(at));
  let end = NAME_BYTES_MAX - suffix.length;
  if (name.length <= end) return path + suffix;
  while (((name[end] as number) & 0xc0) === 0x80) end -= 1; // in the middle of a character
  return path.slice(0, at) + name.toString("utf8", 0, end) + suffix;
}

/** Writes bytes that are in JavaScript. */
export async function writeBytes(
  path: string,
  file: FileHandle,
  digest: boolean,
  limit: number,
  chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
): Promise<WrittenBytes> {
  const hash = digest ? createHash("sha256") : undefined;
  let size = 0;
  for await (const chunk of chunks) {
    hash?.update(chunk);
    size += chunk.length;
    if (size > limit) throw beyond(path, limit);
    await guarded(path, file.writeFile(chunk));
  }
  return hash === undefined ? { size } : { size, sha256: hash.digest("hex") };
}

/** What the native writer says at its end. */
export interface NativeEnd extends WrittenBytes {
  readonly errno: number; // 0: all is written
}

/** Waits for the native writer. `isTaken`: it has got the file. */
export async function saveWith(
  path: string,
  isTaken: boolean,
  saved: Promise<NativeEnd>,
  limit: number,
): Promise<WrittenBytes> {
  if (!isTaken) throw failed(path, systemError(constants.errno.EMFILE, "dup"));
  const { errno, ...written } = await saved;
  if (errno === 0) return written;
  // The bytes that did not fit are not written, so that `written` does not tell.
  if (errno === constants.errno.EFBIG && limit !== Infinity) throw beyond(path, limit);
  throw failed(path, systemError(errno, "write"));
}

function beyond(path: string, limit: number): MillraceError {
  const message = `what was to be saved to ${show(path)} has more than ${limit} bytes`;
  return new MillraceError("ERR_MILLRACE_BODY_TOO_LARGE", message);
}

// As Node's own, so that `error.cause.code` names the reason whoever wrote.
function systemError(errno: number, syscall: string): Error {
  const code = errnoName(errno);
  return Object.assign(new Error(`${code}: ${syscall}`), { code, errno: -errno, syscall });
}

function failed(path: string, cause: unknown, what = "could not be written"): MillraceError {
  const code = (cause as NodeJS.ErrnoException).code ?? String(cause);
  const status = STATUSES.get(code) ?? 500;
  const message = `${show(path)} ${what}: ${code}`;
  return new MillraceError("ERR_MILLRACE_SAVE_FAILED", message, { cause, status });
}

// RFC 4918 11.5: there is no room for what the client sent. RFC 9110 15.5.10: it is there already.
const STATUSES: ReadonlyMap<string, number> = new Map([
  ["EDQUOT", 507],
  ["EEXIST", 409],
  ["EFBIG", 507],
  ["ENOSPC", 507],
]);

async function guarded<T>(path: string, promise: Promise<T>): Promise<T> {
  try {
    return await promise;
  } catch (error) {
    throw failed(path, error);
  }
}

// link() instead of rename(): it fails where something is there already.
async function renameToNew(temporary: string, path: string): Promise<void> {
  await link(temporary, path);
  await unlink(temporary);
}

async function remove(file: FileHandle, temporary: string): Promise<void> {
  await file.close().catch(() => undefined);
  await unlink(temporary).catch(() => undefined);
}

const KEYS = ["fsync", "giveUpMs", "limit", "mode", "overwrite", "sha256"] as const;

/** The checked options. @throws {MillraceError} ERR_MILLRACE_INVALID_OPTION */
function checkedOptions(path: unknown, options: SaveOptions = {}): Required<SaveOptions> {
  if (typeof path !== "string" || path === "" || path.includes("\0")) {
    const message = `saveTo() takes a path, got ${show(path)}`;
    throw new MillraceError("ERR_MILLRACE_INVALID_OPTION", message);
  }
  checkRecord("saveTo()", options, KEYS);
  const { fsync = false, limit = Infinity, mode = 0o666 } = options;
  const { overwrite = true, sha256 = false } = options;
  return {
    limit: limitOf({ limit }),
    giveUpMs: milliseconds("saveTo() giveUpMs", options.giveUpMs, Infinity),
    fsync: truth("saveTo() fsync", fsync),
    mode: integer("saveTo() mode", mode, 0, 0o777),
    overwrite: truth("saveTo() overwrite", overwrite),
    sha256: truth("saveTo() sha256", sha256),
  };
}
