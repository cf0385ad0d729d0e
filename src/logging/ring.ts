// A bounded queue. Its places are used again; it never grows beyond its capacity.

/** First in, first out, at most `capacity` items. */
export class Ring<T> {
  readonly capacity: number;
  readonly #slots: (T | undefined)[] = [];
  #head = 0;
  #size = 0;

  constructor(capacity: number) {
    this.capacity = capacity;
  }

  get size(): number {
    return this.#size;
  }

  get room(): number {
    return this.capacity - this.#size;
  }

  /** False when it is full: the item is not taken. */
  put(item: T): boolean {
    if (this.#size === this.capacity) return false;
    this.#slots[(this.#head + this.#size) % this.capacity] = item;
    this.#size += 1;
    return true;
  }

  /** The oldest items, at most so many. */
  take(count: number): T[] {
    const items: T[] = [];
    while (items.length < count && this.#size > 0) {
      items.push(this.#slots[this.#head] as T);
      this.#slots[this.#head] = undefined;
      this.#head = (this.#head + 1) % this.capacity;
      this.#size -= 1;
    }
    // So that a queue that is mostly empty stays small.
    if (this.#size === 0) this.#head = 0;
    return items;
  }
}
