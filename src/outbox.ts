// The answers that handlers give while a batch is dispatched: they cross into native code together,
// because entering it costs more than an answer does.
import type { Binding } from "./native/binding.ts";

const WORDS = 5; // handle, generation, statusFlags, lengths of headers and body
const COUNT_MAX = 128;
const LENGTH_MAX = 32_768; // of all texts, in UTF-16 units
const ONE_MAX = 2048;

/** One per server. Open during a dispatch, empty otherwise. */
export class Outbox {
  readonly #native: Binding;
  readonly #words = new Int32Array(WORDS * COUNT_MAX);
  #text = "";
  #count = 0;
  #isOpen = false;

  constructor(native: Binding) {
    this.#native = native;
  }

  /** From now on answers are collected. */
  open(): void {
    this.#isOpen = true;
  }

  /** Sends what was collected; from now on nothing is. */
  close(): void {
    this.flush();
    this.#isOpen = false;
  }

  /** Collects an answer; false when it has to go by itself. */
  add(
    handle: number,
    generation: number,
    statusFlags: number,
    headers: string,
    body: string,
  ): boolean {
    if (!this.#isOpen || headers.length + body.length > ONE_MAX) return false;
    // First, because it may throw at the end of the stack: then nothing has been collected.
    if (this.#count >= COUNT_MAX || this.#text.length > LENGTH_MAX) this.flush();
    const words = this.#words;
    const at = this.#count * WORDS;
    words[at] = handle;
    words[at + 1] = generation;
    words[at + 2] = statusFlags;
    words[at + 3] = headers.length;
    words[at + 4] = body.length;
    this.#text += headers + body;
    this.#count += 1;
    return true;
  }

  /** Sends what was collected so far. */
  flush(): void {
    if (this.#count === 0) return;
    this.#native.respondMany(this.#words, this.#count, this.#text);
    this.#count = 0;
    this.#text = "";
  }
}
