// The router table of test/cases/router.json through serve() and real sockets. The native test reads
// the same table; here patterns are keys of an object, parameters arrive decoded, and a target that
// is no request target never reaches the router.
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { raw, type RawRoute, type Server } from "../src/index.ts";
import { onEachHost } from "./support/hosts.ts";
import { wire, type Wire } from "./support/wire.ts";

type Check = readonly [method: string, target: string, answer: number, rest?: string | string[]];

interface Group {
  readonly id: string;
  readonly routes: readonly string[];
  readonly refused?: readonly number[];
  readonly checks: readonly Check[];
}

interface Table {
  readonly groups: readonly Group[];
  readonly refused: readonly (readonly [id: string, pattern: string])[];
}

interface Rows {
  readonly routes: Readonly<Record<string, RawRoute | Readonly<Record<string, RawRoute>>>>;
  /** Rows that an object of patterns can hold; the checks of groups with others are not made. */
  readonly isWhole: boolean;
}

const table = JSON.parse(
  readFileSync(new URL("./cases/router.json", import.meta.url), "utf8"),
) as Table;
const TABLE_METHODS = ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"];
// Groups that an object of patterns cannot say, and why.
const NATIVE_ONLY = new Map([
  ["rt-02-first-wins", "one key twice"],
  ["mr-06-any-method-after-explicit", "one key with a method and with any method"],
  ["mr-08-options", "a method that has no key in a method table"],
  ["mr-10-bytes-as-sent", "a pattern with a space"],
]);

/** The rows as options, each with a handler that tells its index and parameters. */
function rowsOf(group: Group): Rows {
  const routes: Record<string, RawRoute | Record<string, RawRoute>> = {};
  let isWhole = true;
  for (const [index, row] of group.routes.entries()) {
    if (group.refused?.includes(index) === true) continue;
    const space = row.indexOf(" ");
    const method = row.slice(0, space);
    const pattern = row.slice(space + 1);
    const tell = raw((req, res) => {
      res.header("X-Row", index).json(Object.values(req.params));
    });
    const held = routes[pattern];
    const isTable = method !== "any" && TABLE_METHODS.includes(method);
    if (pattern.includes(" ") || (held !== undefined && (!isTable || "GET" in tell))) {
      isWhole = false;
    } else if (method === "any" && held === undefined) {
      routes[pattern] = tell;
    } else if (isTable && (held === undefined || !isRow(held))) {
      routes[pattern] = { ...held, [method]: tell };
    } else {
      isWhole = false;
    }
  }
  return { routes, isWhole };
}
