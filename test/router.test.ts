// The router table of test/cases/router.json through serve() and real sockets; the native test
// reads the same table. Here patterns are keys of an object, parameters arrive by name and
// decoded, and what is no request target never reaches the router.
import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { type RawRoute, raw, type Server } from "../src/index.ts";
import { onEachHost } from "./support/hosts.ts";
import { type Wire, type WireResponse, wire } from "./support/wire.ts";

type Check = readonly [method: string, target: string, answer: number, rest?: string | string[]];

interface Group {
  readonly id: string;
  readonly routes: readonly string[];
  readonly refused?: readonly number[];
  readonly checks: readonly Check[];
}

interface Row {
  readonly index: number;
  readonly method: string; // "any": every method
  readonly pattern: string;
}

interface Rows {
  /** Those that an object of patterns can say. */
  readonly sayable: readonly Row[];
  /** The others: a method without a key of its own, one key twice, a pattern with a space. */
  readonly unsayable: readonly Row[];
}

type RouteMap = Record<string, RawRoute | Record<string, RawRoute>>;

const table = JSON.parse(readFileSync(new URL("./cases/router.json", import.meta.url), "utf8")) as {
  groups: Group[];
  refused: (readonly [id: string, pattern: string])[];
};
const METHODS = ["any", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"];

function rowsOf(group: Group): Rows {
  const sayable: Row[] = [];
  const unsayable: Row[] = [];
  for (const [index, text] of group.routes.entries()) {
    const space = text.indexOf(" ");
    const row = { index, method: text.slice(0, space), pattern: text.slice(space + 1) };
    const held = sayable.filter(({ pattern }) => pattern === row.pattern);
    const isClash = held.some(({ method }) => [method, row.method].includes("any"));
    const isTwice = held.some(({ method }) => method === row.method);
    const isSayable = METHODS.includes(row.method) && !row.pattern.includes(" ");
    if (isSayable && !isClash && !isTwice) sayable.push(row);
    else unsayable.push(row);
  }
  return { sayable, unsayable };
}

function routesOf(rows: readonly Row[]): RouteMap {
  const routes: RouteMap = {};
  for (const { index, method, pattern } of rows) {
    const tell = raw((req, res) => {
      res.header("X-Row", index).json(req.params);
    });
    routes[pattern] =
      method === "any"
        ? tell
        : { ...(routes[pattern] as Record<string, RawRoute>), [method]: tell };
  }
  return routes;
}

/** The parameters of a pattern, by name, from what the table says each matched. */
function paramsOf(pattern: string, matched: readonly string[]): Record<string, string> {
  const names = pattern
    .split("/")
    .filter((part) => /^[:@*]|\*$/.test(part))
    .map((part) => (/^[:@]/.test(part) ? part.slice(1) : "*"));
  expect(matched).toHaveLength(names.length);
  return Object.fromEntries(names.map((name, at) => [name, decoded(matched[at] as string)]));
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function isRequestTarget([method, target]: Check): boolean {
  if (target === "*") return method === "OPTIONS";
  return method === "CONNECT" || target.startsWith("/") || /^https?:\/\//.test(target);
}

class Asker {
  readonly #server: Server;
  #client: Wire | undefined;

  constructor(server: Server) {
    this.#server = server;
  }

  async ask(method: string, target: string): Promise<WireResponse> {
    this.#client ??= await wire(this.#server);
    const host = /^\w+:\/\/([^/?]*)/.exec(target)?.[1]?.replace(/^.*@/, "") ?? "h";
    this.#client.send(`${method} ${target} HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
    const response = await this.#client.response(method === "HEAD");
    if (response.headers.get("connection") === "close") this.close();
    return response;
  }

  close(): void {
    this.#client?.close();
    this.#client = undefined;
  }
}

async function check(asker: Asker, group: Group, rows: Rows, one: Check): Promise<boolean> {
  const [method, target, answer, rest] = one;
  const isAboutUnsayable = rows.unsayable.some(
    (row) => row.index === answer || (typeof rest === "string" && rest.includes(row.method)),
  );
  if (isAboutUnsayable) return false;
  const response = await asker.ask(method, target);
  const where = `${group.id} ${method} ${target}`;
  if (!isRequestTarget(one)) {
    expect(response.status, where).toBe(400);
    return true;
  }
  const isRow = answer < group.routes.length;
  expect([response.status, response.headers.get("x-row")], where).toEqual(
    isRow ? [200, String(answer)] : [answer, undefined],
  );
  if (typeof rest === "string") expect(response.headers.get("allow"), where).toBe(rest);
  if (isRow && Array.isArray(rest) && method !== "HEAD") {
    const { pattern } = rows.sayable.find(({ index }) => index === answer) as Row;
    const params: unknown = JSON.parse(Buffer.from(response.body, "latin1").toString());
    expect(params, where).toEqual(paramsOf(pattern, rest));
  }
  return true;
}

onEachHost(
  ({ start }) => {
    it.each(table.groups)("answers the checks of $id", async (group) => {
      const rows = rowsOf(group);
      const accepted = rows.sayable.filter(({ index }) => group.refused?.includes(index) !== true);
      const server = await start({ routes: routesOf(accepted) });
      const asker = new Asker(server);
      let made = 0;
      for (const one of group.checks) made += Number(await check(asker, group, rows, one));
      expect(made).toBeGreaterThan(group.checks.length / 2);
      asker.close();
    });

    it("refuses the rows that the table refuses", async () => {
      const lone = table.refused.map(([, pattern]) => ({ [pattern]: new Response() }));
      const groups = table.groups.map((group) => ({ group, rows: rowsOf(group).sayable }));
      const clashes = groups
        .filter(({ group, rows }) => rows.some(({ index }) => group.refused?.includes(index)))
        .map(({ rows }) => routesOf(rows));
      expect([lone.length > 10, clashes.length > 0]).toEqual([true, true]);
      for (const routes of [...lone, ...clashes]) {
        await expect(start({ routes }), JSON.stringify(Object.keys(routes))).rejects.toMatchObject({
          code: "ERR_MILLRACE_INVALID_ROUTE",
        });
      }
    });
  },
  [0, 1],
);
