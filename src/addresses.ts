// Numeric IP addresses as eight words of 16 bits, IPv4 in its mapped form, and networks of them.
// No names, no zones, no sockets.
import { isIP } from "node:net";

/** Eight words of 16 bits; "192.0.2.1" and "::ffff:192.0.2.1" are the same. */
export type Words = readonly number[];

/** Addresses that agree in their first `bits`. */
export interface Network {
  readonly words: Words;
  readonly bits: number; // 0 to 128
}

const MAPPED_BITS = 96;
const DECIMAL = /^(?:0|[1-9]\d{0,2})$/;

/** The words of a numeric address; undefined for what is none. */
export function wordsOf(text: string): Words | undefined {
  const version = text.length > 45 || text.includes("%") ? 0 : isIP(text);
  if (version === 0) return undefined;
  return version === 4 ? [0, 0, 0, 0, 0, 0xffff, ...quadOf(text)] : hexWords(text);
}

/** An address or "address/bits"; undefined for what is neither. Bits behind the prefix are free. */
export function networkOf(text: string): Network | undefined {
  const slash = text.indexOf("/");
  const address = slash < 0 ? text : text.slice(0, slash);
  const words = wordsOf(address);
  if (words === undefined) return undefined;
  if (slash < 0) return { words, bits: 128 };
  const prefix = text.slice(slash + 1);
  const isDotted = !address.includes(":");
  const bits = DECIMAL.test(prefix) ? Number(prefix) : Number.POSITIVE_INFINITY;
  if (bits > (isDotted ? 32 : 128)) return undefined;
  return { words, bits: isDotted ? bits + MAPPED_BITS : bits };
}

/** A network wider than the mapped addresses is one of IPv6: it holds no address of IPv4. */
export function isIn(network: Network, words: Words): boolean {
  const { bits } = network;
  if (bits < MAPPED_BITS && isMapped(words)) return false;
  const whole = bits >>> 4;
  for (let at = 0; at < whole; at += 1) if (words[at] !== network.words[at]) return false;
  const rest = bits & 15;
  if (rest === 0) return true;
  const difference = (words[whole] as number) ^ (network.words[whole] as number);
  return difference >>> (16 - rest) === 0;
}

/** One text per address: dotted for IPv4, RFC 5952 for IPv6. */
export function textOf(words: Words): string {
  if (isMapped(words)) {
    const [high, low] = [words[6] as number, words[7] as number];
    return `${high >>> 8}.${high & 0xff}.${low >>> 8}.${low & 0xff}`;
  }
  const [from, length] = longestZeros(words);
  const hex = words.map((word) => word.toString(16));
  if (length < 2) return hex.join(":");
  return `${hex.slice(0, from).join(":")}::${hex.slice(from + length).join(":")}`;
}

function isMapped(words: Words): boolean {
  return words[5] === 0xffff && words.every((word, at) => at >= 5 || word === 0);
}

function quadOf(text: string): [number, number] {
  const [a, b, c, d] = text.split(".").map(Number) as [number, number, number, number];
  return [(a << 8) | b, (c << 8) | d];
}

function hexWords(text: string): Words {
  const [head = "", tail] = text.split("::");
  const before = groupsOf(head);
  if (tail === undefined) return before;
  const after = groupsOf(tail);
  const gap = new Array<number>(8 - before.length - after.length).fill(0);
  return [...before, ...gap, ...after];
}

function groupsOf(text: string): number[] {
  if (text === "") return [];
  return text
    .split(":")
    .flatMap((group) => (group.includes(".") ? quadOf(group) : [Number.parseInt(group, 16)]));
}

function longestZeros(words: Words): [from: number, length: number] {
  let best: [number, number] = [0, 0];
  let from = 0;
  for (let at = 0; at <= words.length; at += 1) {
    if (words[at] === 0) continue;
    if (at - from > best[1]) best = [from, at - from];
    from = at + 1;
  }
  return best;
}
