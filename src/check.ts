// Small checks of option values. Each message names the option, what is allowed, and what was
// given.
import { MillraceError, show } from "./errors.ts";

/** `what` continues the sentence that `name` begins. */
export function invalidOption(name: string, what: string, value: unknown): MillraceError {
  return new MillraceError("ERR_MILLRACE_INVALID_OPTION", `${name} ${what}, got ${show(value)}`);
}

/** `what` continues the sentence that the route begins. */
export function invalidRoute(pattern: unknown, what: string): MillraceError {
  return new MillraceError("ERR_MILLRACE_INVALID_ROUTE", `the route ${show(pattern)} ${what}`);
}

/** An object with no other keys than `keys`; suggests the nearest one. */
export function checkRecord(name: string, value: unknown, keys: readonly string[]): void {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw invalidOption(name, "must be an object", value);
  for (const key of Object.keys(value)) {
    if (keys.includes(key)) continue;
    const near = nearest(key, keys);
    const hint =
      near === undefined ? `it has ${[...keys].sort().join(", ")}` : `did you mean ${show(near)}?`;
    throw new MillraceError(
      "ERR_MILLRACE_INVALID_OPTION",
      `${name} has no option ${show(key)}; ${hint}`,
    );
  }
}

/** A safe integer from `floor` to `ceiling`; `unit` is for the message. */
export function integer(
  name: string,
  value: unknown,
  floor: number,
  ceiling: number,
  unit = "",
): number {
  if (
    typeof value === "number" &&
    Number.isSafeInteger(value) &&
    value >= floor &&
    value <= ceiling
  )
    return value;
  const of = unit === "" ? "" : ` (${unit})`;
  throw invalidOption(name, `must be an integer from ${floor} to ${ceiling}${of}`, value);
}

/** Milliseconds, no more than a timer takes; `fallback` when there is no value. */
export function milliseconds(name: string, value: unknown, fallback: number): number {
  if (value === undefined) return fallback;
  if (typeof value === "number" && value >= 0) return Math.min(value, 2_147_483_647);
  throw invalidOption(name, "must be a number of milliseconds", value);
}

/** A string that is not empty. */
export function text(name: string, value: unknown): string {
  if (typeof value === "string" && value !== "") return value;
  throw invalidOption(name, "must be a string that is not empty", value);
}

/** True or false, nothing that merely counts as one. */
export function truth(name: string, value: unknown): boolean {
  if (typeof value === "boolean") return value;
  throw invalidOption(name, "must be true or false", value);
}

/** Something that can be called. */
export function callable(name: string, value: unknown): void {
  if (typeof value !== "function") throw invalidOption(name, "must be a function", value);
}

/** One of the words in `allowed`. */
export function oneOf(name: string, value: unknown, allowed: readonly string[]): void {
  if (typeof value === "string" && allowed.includes(value)) return;
  throw invalidOption(
    name,
    `must be one of ${allowed.map((each) => show(each)).join(", ")}`,
    value,
  );
}

/** The candidate that a slip of the keyboard away from `word`, or undefined. */
export function nearest(word: string, candidates: readonly string[]): string | undefined {
  const most = Math.max(1, Math.min(3, Math.ceil(word.length / 3)));
  let best: string | undefined;
  let bestDistance = most + 1;
  for (const candidate of candidates) {
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase());
    if (distance >= bestDistance) continue;
    best = candidate;
    bestDistance = distance;
  }
  return best;
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const change = (row[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(change, (row[j] as number) + 1, (next[j - 1] as number) + 1));
    }
    row = next;
  }
  return row[b.length] as number;
}
