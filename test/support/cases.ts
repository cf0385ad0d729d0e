// Reads .case files; the format is described in native/test/case_file.h. Does not run them. What is
// said of streamed bodies and of responses by pieces is not kept: such cases run at levels 1 and 2,
// where credit is in the hands of the case.
import { readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { LIMITS } from "../../src/native/tables.ts";
import type { LimitOptions, TimeoutOptions } from "../../src/options.ts";

/** One line of a case that does or expects something. */
export interface Step {
  readonly kind: string;
  readonly line: number;
  /** What is sent, one piece per read. */
  readonly reads: string[];
  readonly name: string;
  readonly text: string;
  readonly headers: string;
  readonly amount: number;
  /** Which request is answered, from 1; 0 means the oldest without an answer. */
  readonly number: number;
  readonly http10: boolean;
}

/** A row of the route table that a case asks for. */
export interface CaseRoute {
  readonly method: string;
  readonly pattern: string;
  readonly kind: string;
  readonly max: number;
}

/** One transcript. */
export interface Case {
  readonly title: string;
  readonly file: string;
  readonly line: number;
  readonly levels: Set<number>;
  protocol: "http" | "scgi";
  readonly limits: Record<string, number>;
  readonly timeouts: Record<string, number>;
  readonly routes: CaseRoute[];
  readonly steps: Step[];
}

/** The limits of a case in the form that serve() takes. */
export function optionsOf(one: Case): { limits: LimitOptions; timeouts: TimeoutOptions } {
  return { limits: one.limits, timeouts: one.timeouts };
}

/** Every case of every .case file in the folder. */
export function readCases(folder: string): Case[] {
  const files = readdirSync(folder).filter((name) => name.endsWith(".case"));
  return files.sort().flatMap((name) => readFile(join(folder, name)));
}

function readFile(path: string): Case[] {
  const cases: Case[] = [];
  const file = basename(path);
  for (const [index, line] of readFileSync(path, "utf8").split("\n").entries()) {
    if (line === "" || line.startsWith("#")) continue;
    const number = index + 1;
    if (line.startsWith("case: ")) {
      const levels = new Set([1, 2, 3]);
      const title = line.slice(6);
      cases.push({ title, file, line: number, levels, protocol: "http", ...emptyParts() });
      continue;
    }
    const current = cases.at(-1);
    if (current === undefined) throw new Error(`${file}:${number}: stands before any case`);
    try {
      readLine(current, line, number);
    } catch (cause) {
      throw new Error(`${file}:${number}: not understood: ${line}`, { cause });
    }
  }
  return cases;
}

function emptyParts(): Pick<Case, "limits" | "timeouts" | "routes" | "steps"> {
  return { limits: {}, timeouts: {}, routes: [], steps: [] };
}

const BARE = /^(half-close|reset|drain|stop|open|closed|over|lingers|quiet)$/;

function readLine(into: Case, line: string, number: number): void {
  const send = /^(\|?)> ?(.*)$/s.exec(line);
  if (send !== null) {
    addSend(into, send[1] === "|", unescaped(send[2] as string), number);
    return;
  }
  const expected = /^<(\??) ?(.*)$/s.exec(line);
  if (expected !== null) {
    const kind = expected[1] === "?" ? "expect-maybe" : "expect";
    into.steps.push(step(kind, number, { text: unescaped(expected[2] as string) }));
    return;
  }
  if (BARE.test(line)) {
    into.steps.push(step(line, number, {}));
    return;
  }
  const worded = /^([a-z]+): *(.*)$/.exec(line);
  if (worded === null) throw new Error("no word");
  readWorded(into, worded[1] as string, worded[2] as string, number);
}

function readWorded(into: Case, word: string, rest: string, line: number): void {
  const words = rest.split(" ");
  switch (word) {
    case "level":
      into.levels.clear();
      for (const level of words) into.levels.add(Number(level));
      return;
    case "protocol":
      if (rest !== "scgi") throw new Error("another protocol");
      into.protocol = rest;
      return;
    case "limits":
      for (const pair of words) addLimit(into, pair);
      return;
    case "route":
      into.routes.push(routeOf(words));
      return;
    case "event":
      into.steps.push(eventOf(words, rest, line));
      return;
    case "read":
    case "begin":
    case "write":
    case "end":
      into.steps.push(step(word, line, {}));
      return;
    case "advance":
    case "window":
      into.steps.push(step(word, line, { amount: Number(words[0]) }));
      return;
    case "refused":
      into.steps.push(step(word, line, { amount: Number(words[0]), name: words[1] as string }));
      return;
    case "reply":
    case "inform":
    case "cut":
    case "answered":
      into.steps.push(answerOf(word, rest, line));
      return;
    default:
      throw new Error("another word");
  }
}

function addSend(into: Case, isNewRead: boolean, bytes: string, line: number): void {
  const last = into.steps.at(-1);
  if (last?.kind !== "send") into.steps.push(step("send", line, { reads: [bytes] }));
  else if (isNewRead) last.reads.push(bytes);
  else last.reads.push((last.reads.pop() as string) + bytes);
}

function addLimit(into: Case, pair: string): void {
  const [name, value] = pair.split("=");
  const row = LIMITS.find((each) => each.option === name);
  if (row === undefined) throw new Error(`no limit ${name}`);
  into[row.group][row.option] = Number(value);
}

function routeOf(words: readonly string[]): CaseRoute {
  const [method, pattern, kind, max] = words as [string, string, string, string | undefined];
  return { method, pattern, kind, max: max === undefined ? -1 : Number(max.slice(4)) };
}

function eventOf(words: readonly string[], rest: string, line: number): Step {
  const [what, name = "", text = "", version] = words;
  if (what === "request") {
    const http10 = version === "HTTP/1.0";
    return step(what, line, { name, text: unescaped(text), http10 });
  }
  if (what === "header" || what === "variable" || what === "body") {
    return step(what, line, { name, text: quoted(rest.slice(rest.indexOf('"')))[0] });
  }
  if (what === "aborted" || what === "peer-closed") return step(what, line, {});
  const ofStream = /^(?:#\d+ )?(chunks|body-end|trailer|body-failed|written)\b/.exec(rest);
  if (ofStream !== null) return step(ofStream[1] as string, line, {});
  throw new Error("no such event");
}

function answerOf(kind: string, rest: string, line: number): Step {
  const parts = /^(?:#(\d+) ?)?(?:(\d{3}) ?)?(.*)$/s.exec(rest) as RegExpExecArray;
  const [, which = "0", status = "0"] = parts;
  const after = parts[3] as string;
  const [text, headers] = kind === "reply" || kind === "answered" ? quoted(after) : ["", after];
  return step(kind, line, {
    text,
    headers: unescaped(headers.replace(/^ +/, "")),
    amount: Number(status),
    number: Number(which),
  });
}

function step(kind: string, line: number, parts: Partial<Step>): Step {
  const empty = { reads: [], name: "", text: "", headers: "", amount: 0, number: 0, http10: false };
  return { kind, line, ...empty, ...parts };
}

/** The string at the front, and what is behind it. */
function quoted(text: string): [string, string] {
  const parts = /^"((?:[^"\\]|\\.)*)"(.*)$/s.exec(text);
  if (parts === null) throw new Error("no string");
  return [unescaped(parts[1] as string), parts[2] as string];
}

const SIMPLE: Readonly<Record<string, string>> = { r: "\r", n: "\n", t: "\t", "0": "\0" };

function unescaped(text: string): string {
  return text.replace(
    /\\x([0-9a-f]{2})|\\(.)|\{((?:[^*\\]|\\.)*)\*(\d+)\}/gs,
    (_all, hex: string | undefined, simple: string | undefined, unit: string, count: string) => {
      if (hex !== undefined) return String.fromCharCode(Number.parseInt(hex, 16));
      if (simple !== undefined) return SIMPLE[simple] ?? simple;
      return unescaped(unit).repeat(Number(count));
    },
  );
}
