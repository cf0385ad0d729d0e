// Request header fields, looked up in the head text as it came from the loop. Nothing is parsed
// before it is asked for.

/** Header fields that cannot be changed. Names are compared without case. */
export interface ReadonlyHeaders extends Iterable<[string, string]> {
  /**
   * The value of a field; several fields of one name are joined with ", " ("; " for Cookie). Null
   * when there is none.
   * @param name - a field name, in any case
   */
  get(name: string): string | null;
  /** Every value of a field, in the order received, not joined. */
  getAll(name: string): string[];
  /** Whether there is a field of that name. */
  has(name: string): boolean;
  /**
   * Whether a list such as Connection's or Upgrade's has the token, compared without case: the
   * values of all fields of that name, split at commas and trimmed. A comma within a quoted string
   * splits as well.
   * @param token - one of the list, without parameters
   */
  hasToken(name: string, token: string): boolean;
}

const NEEDLES_MAX = 512;
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const needles = new Map<string, string>();

/**
 * Lookup over head text: "\n", then "name\0value\n" per field, names in lower case. So "\nhost\0"
 * finds a field, and no value can fake one, because values hold neither LF nor NUL.
 */
export class HeaderText implements ReadonlyHeaders {
  readonly #head: string;

  constructor(head: string) {
    this.#head = head;
  }

  get(name: string): string | null {
    const needle = needleOf(name);
    const head = this.#head;
    const at = needle === "" ? -1 : head.indexOf(needle);
    if (at < 0) return null;
    const from = at + needle.length;
    const end = head.indexOf("\n", from);
    const value = head.slice(from, end);
    return head.indexOf(needle, end) < 0
      ? value
      : this.getAll(name).join(needle === "\ncookie\0" ? "; " : ", ");
  }

  getAll(name: string): string[] {
    const needle = needleOf(name);
    const head = this.#head;
    const values: string[] = [];
    let at = needle === "" ? -1 : head.indexOf(needle);
    while (at >= 0) {
      const end = head.indexOf("\n", at + needle.length);
      values.push(head.slice(at + needle.length, end));
      at = head.indexOf(needle, end);
    }
    return values;
  }

  has(name: string): boolean {
    const needle = needleOf(name);
    return needle !== "" && this.#head.includes(needle);
  }

  hasToken(name: string, token: string): boolean {
    const wanted = token.toLowerCase();
    return wanted !== "" && this.getAll(name).some((value) => isInList(value, wanted));
  }

  *[Symbol.iterator](): IterableIterator<[string, string]> {
    const head = this.#head;
    let at = 1;
    while (at < head.length) {
      const middle = head.indexOf("\0", at);
      const end = head.indexOf("\n", middle);
      yield [head.slice(at, middle), head.slice(middle + 1, end)];
      at = end + 1;
    }
  }
}

// In one pass: a value may be white space for the most part. Not trim(), which takes U+00A0, too
// (RFC 9110 5.6.3).
function isInList(list: string, lower: string): boolean {
  let from = 0;
  while (from <= list.length) {
    const comma = list.indexOf(",", from);
    const next = comma < 0 ? list.length : comma;
    let end = next;
    while (from < end && isWhite(list.charCodeAt(from))) from += 1;
    while (end > from && isWhite(list.charCodeAt(end - 1))) end -= 1;
    if (end - from === lower.length && list.slice(from, end).toLowerCase() === lower) return true;
    from = next + 1;
  }
  return false;
}

function isWhite(code: number): boolean {
  return code === 0x20 || code === 0x09;
}

// What to search for: "\nname\0", or "" for a name that no field can have. Remembered, because
// joining the three strings costs more than the search; bounded, because a name may come from a
// peer.
function needleOf(name: string): string {
  const known = needles.get(name);
  if (known !== undefined) return known;
  const needle = TOKEN.test(name) ? `\n${name.toLowerCase()}\0` : "";
  if (needles.size < NEEDLES_MAX) needles.set(name, needle);
  return needle;
}
