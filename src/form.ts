// A form that is read while it comes: the events of one streamed multipart body, in order, with
// credit for what is consumed. One reader at a time: the current part, or who waits for the next.
import type { FileHandle } from "node:fs/promises";
import { MillraceError, show } from "./errors.ts";
import { EVENT_COST, type Incoming, WINDOW_BYTES } from "./incoming.ts";
import { orLate } from "./late.ts";
import {
  type FormBounds,
  type Part,
  PartHead,
  type PartSource,
  partLimitOf,
  partUsed,
  tooLarge,
} from "./multipart.ts";
import { type SavedFile, type SaveOptions, saveFile, saveWith, writeBytes } from "./saving.ts";

const END: unique symbol = Symbol("end of a part");

interface Begin {
  readonly head: PartHead;
  readonly number: number;
  readonly cost: number;
}
type Item = Begin | Uint8Array | typeof END;

interface Waiting {
  readonly resolve: (item: Item | undefined) => void;
  readonly reject: (error: unknown) => void;
}

/** One per multipart body that is read while it comes. */
export class Form implements PartSource {
  readonly body: Incoming;
  readonly #idleMs: number;
  readonly #deadline: number;
  readonly #giveUp: (error: MillraceError) => void;
  readonly #items: Item[] = [];
  #waiting: Waiting | undefined = undefined;
  #isOver = false;
  #error: unknown = undefined;
  #current: StreamedPart | undefined = undefined;
  #consumed = 0;

  /** `giveUp` cuts the connection. */
  constructor(
    body: Incoming,
    boundary: string,
    { giveUpMs, idleMs, limits }: FormBounds,
    giveUp: (error: MillraceError) => void,
  ) {
    this.body = body;
    this.#giveUp = giveUp;
    this.#idleMs = idleMs;
    this.#deadline = performance.now() + giveUpMs;
    const { native, handle, generation } = body;
    native.parts(handle, generation, WINDOW_BYTES, boundary, limits);
  }

  async next(): Promise<Part | undefined> {
    await this.#current?.skip();
    const item = await this.take();
    if (item === undefined) return undefined;
    const { head, number } = item as Begin;
    this.#current = new StreamedPart(this, head, number);
    return this.#current;
  }

  leave(): void {
    this.#items.length = 0;
    if (this.#isOver) return;
    // Whoever reads a part all the same must not wait for ever.
    const message = "the form was left before this part had come; await what reads it";
    const error = new MillraceError("ERR_MILLRACE_BODY_USED", message);
    this.end(error);
    this.body.leave(error);
  }

  /** The next event of the form; undefined at its end. Gives up after `idleMs` without one. */
  take(idleMs: number = this.#idleMs): Promise<Item | undefined> {
    if (this.#waiting !== undefined) {
      const message = "a part is being read already; await it before the next one";
      return Promise.reject(new MillraceError("ERR_MILLRACE_BODY_USED", message));
    }
    const item = this.#items.shift();
    if (item !== undefined) {
      this.#credit(item);
      return Promise.resolve(item);
    }
    if (this.#error !== undefined) return Promise.reject(this.#error);
    if (this.#isOver) return Promise.resolve(undefined);
    return new Promise((resolve, reject) => {
      const timer = this.#patience(idleMs);
      this.#waiting = {
        resolve: (value) => {
          clearTimeout(timer);
          resolve(value);
        },
        reject: (error) => {
          clearTimeout(timer);
          reject(error);
        },
      };
    });
  }

  /** @throws what has ended the form */
  checkOpen(): void {
    if (this.#error !== undefined) throw this.#error;
  }

  /** Waits for what the loop does by itself. It sees to a peer that stalls, not to the deadline. */
  within<T>(promise: Promise<T>): Promise<T> {
    return orLate(promise, this.#deadline - performance.now(), () => {
      throw this.#late();
    });
  }

  /** Cuts the connection; `error` is what whoever reads the form gets. */
  giveUp(error: MillraceError): void {
    this.end(error);
    this.#giveUp(error);
  }

  // --- what the loop says ---

  push(item: Item): void {
    const waiting = this.#waiting;
    if (waiting === undefined) {
      this.#items.push(item);
      return;
    }
    this.#waiting = undefined;
    this.#credit(item);
    waiting.resolve(item);
  }

  begin(name: string, filename: string | null, headers: string, number: number): void {
    const cost = EVENT_COST + name.length + (filename?.length ?? 0) + headers.length;
    this.push({ head: new PartHead(name, filename, headers), number, cost });
  }

  endPart(): void {
    this.push(END);
  }

  end(error: unknown): void {
    this.#isOver = true;
    this.#error ??= error; // the first is the cause of what follows
    const waiting = this.#waiting;
    this.#waiting = undefined;
    if (error === undefined) waiting?.resolve(undefined);
    else waiting?.reject(error);
  }

  // Gives up after `idleMs`, and at the deadline of the form.
  #patience(idleMs: number): NodeJS.Timeout | undefined {
    const ms = Math.min(idleMs, this.#deadline - performance.now());
    if (ms === Infinity) return undefined;
    return setTimeout(() => this.#late(), Math.max(ms, 0));
  }

  #late(): MillraceError {
    const message = "the form did not come in time (idleMs, giveUpMs); the connection was cut";
    const error = new MillraceError("ERR_MILLRACE_GAVE_UP", message);
    this.giveUp(error);
    return error;
  }

  #credit(item: Item): void {
    if (item === END) this.#consumed += EVENT_COST;
    else this.#consumed += item instanceof Uint8Array ? item.length + EVENT_COST : item.cost;
    if (this.#consumed < WINDOW_BYTES / 2) return;
    const { native, handle, generation } = this.body;
    native.read(handle, generation, this.#consumed);
    this.#consumed = 0;
  }
}

const utf8 = new TextDecoder();

class StreamedPart implements Part {
  readonly #form: Form;
  readonly #head: PartHead;
  readonly #number: number;
  #isUsed = false;
  #isDropped = false;
  #isOver = false;
  #busy: Promise<unknown> | undefined = undefined; // until bytes() or saveTo() is through

  constructor(form: Form, head: PartHead, number: number) {
    this.#form = form;
    this.#head = head;
    this.#number = number;
  }

  get name(): string {
    return this.#head.name;
  }

  get filename(): string | undefined {
    return this.#head.filename;
  }

  get headers(): PartHead["headers"] {
    return this.#head.headers;
  }

  get type(): string {
    return this.#head.type;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, undefined> {
    this.#use();
    this.#open(false);
    try {
      for (;;) {
        if (this.#isDropped) throw partUsed(this.name);
        const chunk = await this.#next();
        if (chunk === undefined) return;
        yield chunk;
      }
    } finally {
      if (!this.#isOver) this.#open(true);
    }
  }

  bytes(options?: { readonly limit?: number }): Promise<Uint8Array> {
    return this.#throughWith(this.#collect(options));
  }

  async text(options?: { readonly limit?: number }): Promise<string> {
    return utf8.decode(await this.bytes(options));
  }

  saveTo(path: string, options?: SaveOptions): Promise<SavedFile> {
    return this.#throughWith(this.#save(path, options));
  }

  async skip(): Promise<void> {
    await this.#busy;
    if (this.#isOver) return;
    this.#isUsed = true;
    this.#isDropped = true;
    this.#open(true);
    await this.#rest();
  }

  async #collect(options: { readonly limit?: number } | undefined): Promise<Uint8Array> {
    const limit = partLimitOf(options);
    const chunks: Uint8Array[] = [];
    let size = 0;
    for await (const chunk of this) {
      size += chunk.length;
      if (size > limit) throw tooLarge(this.name, limit);
      chunks.push(chunk);
    }
    const whole = new Uint8Array(size);
    size = 0;
    for (const chunk of chunks) {
      whole.set(chunk, size);
      size += chunk.length;
    }
    return whole;
  }

  async #save(path: string, options: SaveOptions | undefined): Promise<SavedFile> {
    const giveUp = (error: MillraceError): void => this.#form.giveUp(error);
    // A plain field may be here already.
    if (this.filename === undefined) {
      const write = (file: FileHandle, digest: boolean, limit: number) =>
        writeBytes(path, file, digest, limit, this);
      return saveFile(path, options, write, giveUp);
    }
    this.#use();
    const write = async (file: FileHandle, digest: boolean, limit: number) => {
      this.#form.checkOpen(); // it may have ended while the file was made
      const { body } = this.#form;
      const { native, handle, generation } = body;
      const saved = body.whenSaved();
      const isTaken = native.save(handle, generation, file.fd, digest, limit);
      const written = await this.#form.within(saveWith(path, isTaken, saved, limit));
      await this.#rest();
      return written;
    };
    return saveFile(path, options, write, giveUp);
  }

  // The next part waits for `work`, so that nobody has to await it before asking for that.
  #throughWith<T>(work: Promise<T>): Promise<T> {
    this.#busy = Promise.allSettled([this.#busy, work]);
    return work;
  }

  // Tells the loop what to do with the part, which waits for that when it is a file.
  #open(skip: boolean): void {
    if (this.filename === undefined && !skip) return;
    const { native, handle, generation } = this.#form.body;
    native.takePart(handle, generation, this.#number, skip);
  }

  // What the loop drops or saves makes no events, so that only it can tell who stalls.
  async #rest(): Promise<void> {
    while ((await this.#next(Infinity)) !== undefined);
  }

  async #next(idleMs?: number): Promise<Uint8Array | undefined> {
    if (this.#isOver) return undefined;
    const item = await this.#form.take(idleMs);
    if (item instanceof Uint8Array) return item;
    this.#isOver = true;
    if (item !== END) throw new Error(`a part ended with ${show(item)}`);
    return undefined;
  }

  #use(): void {
    if (this.#isUsed) throw partUsed(this.name);
    this.#isUsed = true;
  }
}
