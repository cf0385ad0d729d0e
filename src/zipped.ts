// Compressed bytes by Node's zlib, in its threads: whole bodies in a queue, and bodies that are
// written piece by piece. Knows no headers.
import type { Transform } from "node:stream";
import zlib from "node:zlib";
import { MillraceError } from "./errors.ts";
import { HIGH_WATER_BYTES, type Outgoing, WAITING_BYTES_MAX } from "./outgoing.ts";

/** A content coding that can be offered. */
export type Encoding = "zstd" | "br" | "gzip";

/** All of them, the best first. */
export const ENCODINGS: readonly Encoding[] = ["zstd", "br", "gzip"];
/** Where the next step costs more than it saves; docs/compression.md has the figures. */
export const LEVELS: Readonly<Record<Encoding, number>> = { br: 4, gzip: 6, zstd: 3 };

const LOW_WATER_BYTES = HIGH_WATER_BYTES / 2;
// As what is not compressed: who writes on regardless is stopped here.
const OUTPUT_BYTES_MIN = 1024;
const OUTPUT_BYTES_MAX = 65_536;
// Each holds its window and tables. More than the pool has threads would only wait inside it.
const RUNNING_MAX = 8;
const WINDOW_BITS_MIN = 16;
const WINDOW_BITS_MAX = 22;
// A stream keeps its window as long as it is open, so that one goes on with less.
const STREAM_WINDOW_BITS = 18;

// Not in every Node that we run on.
const zstd = zlib as unknown as {
  readonly createZstdCompress?: (options: object) => Zip;
  readonly constants: Readonly<Record<string, number>>;
};

/** A compressing stream of zlib. */
interface Zip extends Transform {
  flush(kind: number, done?: () => void): void;
}

/** Whether this Node can compress so. */
export function hasEncoding(encoding: Encoding): boolean {
  return encoding !== "zstd" || typeof zstd.createZstdCompress === "function";
}

// `length`: of the whole, -1 when it is not known.
function makeZip(encoding: Encoding, level: number, length: number): Zip {
  const chunkSize =
    length < 0 ? 16_384 : Math.min(Math.max(length, OUTPUT_BYTES_MIN), OUTPUT_BYTES_MAX);
  const { constants } = zlib;
  if (encoding === "gzip") return zlib.createGzip({ chunkSize, level }) as Zip;
  if (encoding === "br") {
    const bits = Math.ceil(Math.log2(Math.max(length, 1)));
    const whole = Math.min(Math.max(bits, WINDOW_BITS_MIN), WINDOW_BITS_MAX);
    const params = {
      [constants.BROTLI_PARAM_QUALITY]: level,
      [constants.BROTLI_PARAM_LGWIN]: length < 0 ? STREAM_WINDOW_BITS : whole,
      [constants.BROTLI_PARAM_SIZE_HINT]: Math.min(Math.max(length, 0), 0x3fff_ffff),
    };
    return zlib.createBrotliCompress({ chunkSize, params }) as Zip;
  }
  const params = { [zstd.constants["ZSTD_c_compressionLevel"] as number]: level };
  return (zstd.createZstdCompress as (options: object) => Zip)({ chunkSize, params });
}

function flushOf(encoding: Encoding): number {
  const { constants } = zlib;
  if (encoding === "gzip") return constants.Z_SYNC_FLUSH;
  if (encoding === "br") return constants.BROTLI_OPERATION_FLUSH;
  return zstd.constants["ZSTD_e_flush"] as number;
}

// --- whole bodies ---

/** Compresses one body, when its turn comes. */
export class ZippedWhole {
  readonly #encoding: Encoding;
  readonly #level: number;
  readonly #done: (bytes: Buffer | undefined, error?: unknown) => void;
  #body: Buffer | undefined;

  /** `done` gets undefined when zlib failed. It is not called after destroy(). */
  constructor(
    encoding: Encoding,
    level: number,
    body: string | Uint8Array,
    done: (bytes: Buffer | undefined, error?: unknown) => void,
  ) {
    this.#encoding = encoding;
    this.#level = level;
    this.#done = done;
    this.#body = Buffer.from(body); // its owner may change it meanwhile
    waiting.add(this);
    startNext();
  }

  /** Nobody waits for it any more. What a thread has begun it ends. */
  destroy(): void {
    this.#body = undefined;
    waiting.delete(this);
  }

  start(): void {
    const body = this.#body as Buffer;
    const zip = makeZip(this.#encoding, this.#level, body.length);
    const chunks: Buffer[] = [];
    let isOver = false;
    const over = (bytes: Buffer | undefined, error?: unknown): void => {
      if (isOver) return;
      isOver = true;
      running -= 1;
      startNext();
      if (this.#body !== undefined) this.#done(bytes, error);
    };
    zip.on("data", (chunk: Buffer) => chunks.push(chunk));
    zip.on("end", () => over(Buffer.concat(chunks)));
    zip.on("error", (error) => over(undefined, error));
    zip.end(body);
  }
}

const waiting = new Set<ZippedWhole>();
let running = 0;

function startNext(): void {
  while (running < RUNNING_MAX) {
    const [next] = waiting;
    if (next === undefined) return;
    waiting.delete(next);
    running += 1;
    next.start();
  }
}

// --- bodies piece by piece ---

interface Waiting {
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/** What a ZippedOutgoing is made with. */
export interface ZippedOptions {
  readonly encoding: Encoding;
  readonly level: number;
  readonly where: string; // for messages
  readonly length: number; // before compression, as Content-Length announced it; -1: not known
  /** Called once: nothing more is sent, or zlib has failed with `error`. */
  readonly over: (error: unknown) => void;
}

/** Stands before the Outgoing of a response, with the same face. Room is that of both together. */
export class ZippedOutgoing {
  readonly #outgoing: Outgoing;
  readonly #zip: Zip;
  readonly #options: ZippedOptions;
  #written = 0;
  #unzipped = 0; // given to zlib, which has not taken them yet
  #isDirty = false; // zlib may hold back something
  #isSettled = false;
  #trailers = "";
  #waiting: Waiting[] = [];
  #failure: unknown = undefined;
  #isOver = false;

  constructor(outgoing: Outgoing, options: ZippedOptions) {
    this.#outgoing = outgoing;
    this.#options = options;
    const zip = makeZip(options.encoding, options.level, -1);
    this.#zip = zip;
    zip.on("data", (bytes: Buffer) => this.#pass(bytes));
    zip.on("end", () => {
      this.#isOver = true;
      outgoing.end(this.#trailers);
      options.over(undefined);
    });
    zip.on("error", (error) => {
      if (!this.#isOver) options.over(error);
    });
  }

  get writtenBytes(): number {
    return this.#written;
  }

  get waitingBytes(): number {
    if (this.#isSettled) return 0;
    return this.#unzipped + this.#zip.readableLength + this.#outgoing.waitingBytes;
  }

  get hasRoom(): boolean {
    return this.waitingBytes < HIGH_WATER_BYTES;
  }

  /** @throws {MillraceError} ERR_MILLRACE_LENGTH_MISMATCH, ERR_MILLRACE_BUFFER_FULL */
  write(chunk: string | Uint8Array): boolean {
    const bytes = Buffer.from(chunk); // its owner may change it meanwhile
    const { length, where } = this.#options;
    if (bytes.length === 0) return this.hasRoom;
    if (length >= 0 && this.#written + bytes.length > length)
      throw this.#mismatch(this.#written + bytes.length);
    if (this.waitingBytes > WAITING_BYTES_MAX) {
      const fix = "await res.drained() when write() returns false";
      const message = `${where}: ${this.waitingBytes} bytes wait for the peer; ${fix}`;
      throw new MillraceError("ERR_MILLRACE_BUFFER_FULL", message);
    }
    this.#written += bytes.length;
    this.#unzipped += bytes.length;
    this.#isDirty = true;
    this.#zip.write(bytes, () => this.#taken(bytes.length));
    return this.hasRoom;
  }

  /** Whether everything that was announced has been written. */
  checkComplete(): void {
    const { length } = this.#options;
    if (length >= 0 && this.#written !== length) throw this.#mismatch(this.#written);
  }

  /** The rest goes its way; `over` is called behind it. */
  end(trailers: string): boolean {
    if (this.#isOver) return false;
    this.#trailers = trailers;
    this.#isDirty = false;
    this.#zip.end();
    return true;
  }

  drained(): Promise<void> {
    if (this.#isOver) return Promise.reject(this.#failure);
    if (this.waitingBytes <= LOW_WATER_BYTES) return Promise.resolve();
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
    });
  }

  /** The loop has handed `bytes` more to the kernel. */
  acknowledge(bytes: number): void {
    this.#outgoing.acknowledge(bytes);
    this.#release();
  }

  /** The end is written: nobody may wait any more, though zlib and the peer take their time. */
  settle(): void {
    this.#isSettled = true;
    this.#release();
  }

  /** Whoever ended it does not wait for it any more. */
  destroy(): void {
    this.fail(undefined);
  }

  /** Nothing more can be sent. */
  fail(error: unknown): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#failure = error;
    this.#zip.destroy();
    this.#outgoing.fail(error);
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const each of waiting) each.reject(error);
  }

  // zlib gives a chunk. It stops when the peer is behind, and then takes nothing more either.
  #pass(bytes: Buffer): void {
    if (this.#isOver) return;
    const outgoing = this.#outgoing;
    if (!outgoing.write(bytes)) {
      this.#zip.pause();
      outgoing.drained().then(
        () => this.#zip.resume(),
        () => undefined, // fail() has seen to it
      );
    }
    this.#release();
  }

  // zlib has taken a chunk. When no other is here a turn later, what it holds back goes out.
  #taken(size: number): void {
    this.#unzipped -= size;
    this.#release();
    if (this.#unzipped > 0 || !this.#isDirty) return;
    setImmediate(() => {
      if (this.#unzipped > 0 || !this.#isDirty || this.#isOver) return;
      this.#isDirty = false;
      this.#zip.flush(flushOf(this.#options.encoding));
    });
  }

  #release(): void {
    if (this.#waiting.length === 0 || this.waitingBytes > LOW_WATER_BYTES) return;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const each of waiting) each.resolve();
  }

  #mismatch(size: number): MillraceError {
    const { length, where } = this.#options;
    const what = `Content-Length says ${length}, ${size} bytes were written`;
    const message = `${where}: ${what}; the connection was cut`;
    return new MillraceError("ERR_MILLRACE_LENGTH_MISMATCH", message);
  }
}
