// Files that bodies are saved to: a temporary file beside the target, renamed when it is whole,
// removed when it is not. The bytes themselves are written by native threads, or here when they are
// in JavaScript already.
import { createHash, randomBytes } from "node:crypto";
import { type FileHandle, link, open, rename, unlink } from "node:fs/promises";
import { constants } from "node:os";
import { dirname } from "node:path";
import { limitOf } from "./body.ts";
import { checkRecord, integer, truth } from "./check.ts";
import { errnoName, MillraceError, show } from "./errors.ts";

/** How a body is saved. */
export interface SaveOptions {
  /**
   * Whether the file is on the disk, and not only with the kernel, when the promise resolves.
   * @default false
   */
  readonly fsync?: boolean;
  /**
   * Most bytes to take; more fails with ERR_MILLRACE_BODY_TOO_LARGE.
   * @default the limits of the body
   */
  readonly limit?: number;
  /** Permissions of the file. @default 0o666 less the umask */
  readonly mode?: number;
  /** Whether a file that is there already may be replaced. @default true */
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
 * Makes a file out of what `write` puts into the open one. Nothing is left behind when it fails.
 *
 * @throws {MillraceError} ERR_MILLRACE_SAVE_FAILED, ERR_MILLRACE_INVALID_OPTION, and what `write`
 * throws
 */
export async function saveFile(
  path: string,
  options: SaveOptions | undefined,
  write: (file: FileHandle, digest: boolean, limit: number) => Promise<WrittenBytes>,
): Promise<SavedFile> {
  const { fsync, limit, mode, overwrite, sha256 } = checkedOptions(path, options);
  const temporary = `${path}.${randomBytes(6).toString("hex")}.part`;
  const file = await guarded(path, open(temporary, "wx", mode));
  let isKept = false;
  try {
    const written = await write(file, sha256, limit);
    if (fsync) await guarded(path, file.sync());
    await guarded(path, file.close());
    if (overwrite) await guarded(path, rename(temporary, path));
    else await guarded(path, renameToNew(temporary, path));
    isKept = true;
    if (fsync) await syncFolder(path);
    return { path, ...written };
  } finally {
    if (!isKept) await remove(file, temporary);
  }
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
  if (!isTaken) throw failed(path, "EMFILE", undefined);
  const { errno, ...written } = await saved;
  if (errno === 0) return written;
  // The bytes that did not fit are not written, so that `written` does not tell.
  if (errno === constants.errno.EFBIG && limit !== Infinity) throw beyond(path, limit);
  throw saveError(path, errno);
}

function beyond(path: string, limit: number): MillraceError {
  const message = `what was to be saved to ${show(path)} has more than ${limit} bytes`;
  return new MillraceError("ERR_MILLRACE_BODY_TOO_LARGE", message);
}

function saveError(path: string, errno: number): MillraceError {
  return failed(path, errnoName(errno), undefined);
}

function failed(path: string, code: string, cause: unknown): MillraceError {
  // RFC 4918 11.5: there is no room for what the client sent.
  const status = FULL.has(code) ? 507 : 500;
  const message = `${show(path)} could not be written: ${code}`;
  return new MillraceError("ERR_MILLRACE_SAVE_FAILED", message, { cause, status });
}

const FULL: ReadonlySet<string> = new Set(["EDQUOT", "EFBIG", "ENOSPC"]);

async function guarded<T>(path: string, promise: Promise<T>): Promise<T> {
  try {
    return await promise;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw failed(path, code ?? String(error), error);
  }
}

// link() instead of rename(): it fails where something is there already.
async function renameToNew(temporary: string, path: string): Promise<void> {
  await link(temporary, path);
  await unlink(temporary);
}

async function syncFolder(path: string): Promise<void> {
  const folder = await guarded(path, open(dirname(path), "r"));
  try {
    await guarded(path, folder.sync());
  } finally {
    await folder.close();
  }
}

async function remove(file: FileHandle, temporary: string): Promise<void> {
  await file.close().catch(() => undefined);
  await unlink(temporary).catch(() => undefined);
}

/** The checked options. @throws {MillraceError} ERR_MILLRACE_INVALID_OPTION */
function checkedOptions(path: unknown, options: SaveOptions = {}): Required<SaveOptions> {
  if (typeof path !== "string" || path === "" || path.includes("\0")) {
    const message = `saveTo() takes a path, got ${show(path)}`;
    throw new MillraceError("ERR_MILLRACE_INVALID_OPTION", message);
  }
  checkRecord("saveTo()", options, ["fsync", "mode", "overwrite", "sha256", "limit"]);
  const { fsync = false, limit = Infinity, mode = 0o666 } = options;
  const { overwrite = true, sha256 = false } = options;
  return {
    limit: limitOf({ limit }),
    fsync: truth("saveTo() fsync", fsync),
    mode: integer("saveTo() mode", mode, 0, 0o777),
    overwrite: truth("saveTo() overwrite", overwrite),
    sha256: truth("saveTo() sha256", sha256),
  };
}
