// Walks a case through a real server: bytes over a socket, requests through a raw handler. The same
// steps as native/test/case_runner.cpp, with waiting instead of turns.
import { STATUS_CODES } from "node:http";
import type { Req, Res, Server } from "../../src/api.ts";
import { raw, serve } from "../../src/index.ts";
import type { Case, CaseRoute, Step } from "./cases.ts";
import { optionsOf } from "./cases.ts";
import { RawClient } from "./raw.ts";

const PROBE = "GET /open HTTP/1.1\r\nHost: a\r\n\r\n";
const SCGI_PROBE = "24:CONTENT_LENGTH\x000\0SCGI\x001\0,";

interface Asked {
  readonly req: Req;
  readonly res: Res;
  answered: boolean;
}

/** A server whose requests are answered by whoever walks a case. */
export interface CaseServer {
  readonly server: Server;
  readonly port: number;
  /** Requests that no step has seen yet. */
  readonly waiting: Asked[];
  /** Who is to look when one comes. */
  watcher: RawClient | undefined;
}

/** Starts a server with the routes and limits of a case. */
export async function startCaseServer(one: Case, loops: number): Promise<CaseServer> {
  const waiting: Asked[] = [];
  const handler = (req: Req, res: Res): void => {
    res.detach();
    waiting.push({ req, res, answered: false });
    started.watcher?.nudge();
  };
  const routes = one.routes.length === 0 ? { handler } : { routes: routesOf(one.routes, handler) };
  const listen = [{ port: 0, protocol: one.protocol }];
  const server = await serve({ listen, loops, silent: true, ...optionsOf(one), ...routes });
  const port = server.addresses[0]?.port as number;
  const started: CaseServer = { server, port, waiting, watcher: undefined };
  return started;
}

type Handler = (req: Req, res: Res) => void;

function routesOf(rows: readonly CaseRoute[], handler: Handler): Record<string, never> {
  const table: Record<string, Record<string, unknown>> = {};
  const methods = ["DELETE", "GET", "PATCH", "POST", "PUT"];
  for (const row of rows) {
    const entry = (table[row.pattern] ??= {});
    const answer = row.kind === "static" ? new Response("static hello") : raw(handler);
    const names = row.method !== "*" ? [row.method] : row.kind === "static" ? ["GET"] : methods;
    for (const name of names) entry[name] = answer;
    if (row.method === "*" && row.kind === "static")
      for (const name of methods) entry[name] = answer;
    if (row.kind === "none" || row.kind === "sized") entry["body"] = row.kind;
    if (row.max >= 0) entry["maxBodySize"] = row.max;
  }
  return table as Record<string, never>;
}

/** How the bytes of a case are cut: as written, one by one, or once at a place over all of them. */
export type Cut = "as written" | "byte by byte" | number;

/** Bytes that a case sends. */
export function bytesOf(one: Case): number {
  let bytes = 0;
  for (const each of one.steps) for (const read of each.reads) bytes += read.length;
  return bytes;
}

/** Runs a case; throws an Error that names the line that failed. */
export async function walkCase(one: Case, on: CaseServer, cut: Cut): Promise<void> {
  const walk = new Walk(one, on, cut, await RawClient.open(on.port));
  on.waiting.length = 0;
  on.watcher = walk.client;
  try {
    await walk.run();
  } finally {
    on.watcher = undefined;
    await walk.client.close();
    await walk.settle();
  }
}

class Walk {
  readonly client: RawClient;
  readonly #case: Case;
  readonly #on: CaseServer;
  readonly #cut: Cut;
  readonly #asked: Asked[] = [];
  readonly #told = new Set<Asked>(); // whose peer is known to have gone
  #sent = 0;
  #maybe = "";
  #step: Step;

  constructor(one: Case, on: CaseServer, cut: Cut, client: RawClient) {
    this.#case = one;
    this.#on = on;
    this.#cut = cut;
    this.client = client;
    this.#step = one.steps[0] as Step;
  }

  async run(): Promise<void> {
    for (const each of this.#case.steps) {
      this.#step = each;
      await this.#walk(each);
    }
    this.#noMore();
  }

  /** Lets go of what the case left unanswered, so that the next one starts with nothing. */
  async settle(): Promise<void> {
    for (const asked of [...this.#asked, ...this.#on.waiting]) {
      if (asked.res.state === "open") asked.res.end();
    }
    this.#on.waiting.length = 0;
  }

  async #walk(each: Step): Promise<void> {
    switch (each.kind) {
      case "send":
        return await this.#send(each);
      case "half-close":
        return this.client.halfClose();
      case "reset":
        return this.client.reset();
      case "request":
        return await this.#request(each);
      case "header":
        return this.#same(this.#latest().req.headers.get(each.name) ?? "(none)", each.text);
      case "variable":
        return this.#same(this.#latest().req.scgi?.get(each.name) ?? "(none)", each.text);
      case "body":
        return this.#same(
          Buffer.from(await this.#latest().req.bytes()).toString("latin1"),
          each.text,
        );
      case "aborted":
      case "peer-closed":
        return await this.#left(each.kind === "aborted");
      case "reply":
        return this.#reply(each);
      case "inform":
        this.#which(each).res.informational(each.amount, pairsOf(each.headers));
        return;
      case "expect":
        return await this.#expect(each.text);
      case "expect-maybe":
        this.#maybe = each.text;
        return;
      case "answered":
        return await this.#expect(
          `${this.#firstLines(each.amount)}${each.headers}Content-Length: ${each.text.length}\r\n\r\n${each.text}`,
        );
      case "refused":
        return await this.#refused(each);
      case "open":
        return await this.#open();
      case "closed":
        return await this.#closed();
      case "quiet":
        return this.#quiet();
      default:
        throw this.#failed(`${each.kind} cannot be done at level 3`);
    }
  }

  async #send(each: Step): Promise<void> {
    const all = each.reads.join("");
    const begin = this.#sent;
    this.#sent += all.length;
    const pieces =
      this.#cut === "as written"
        ? each.reads
        : this.#cut === "byte by byte"
          ? [...all]
          : [
              all.slice(0, Math.max(this.#cut - begin, 0)),
              all.slice(Math.max(this.#cut - begin, 0)),
            ];
    for (const piece of pieces) {
      await this.client.write(piece);
      // Lets an inline host read between two pieces.
      if (pieces.length > 1) await new Promise((resolve) => setImmediate(resolve));
    }
  }

  async #request(each: Step): Promise<void> {
    const { waiting } = this.#on;
    if (!(await this.client.until(() => waiting.length > 0))) throw this.#failed("no event");
    const asked = waiting.shift() as Asked;
    const { req } = asked;
    const version = each.http10 ? "1.0" : "1.1";
    this.#same(
      `${req.method} ${req.url} ${req.httpVersion}`,
      `${each.name} ${each.text} ${version}`,
    );
    this.#asked.push(asked);
  }

  #latest(): Asked {
    const asked = this.#asked.at(-1);
    if (asked === undefined) throw this.#failed("no request yet");
    return asked;
  }

  #which(each: Step): Asked {
    const asked =
      each.number > 0 ? this.#asked[each.number - 1] : this.#asked.find((one) => !one.answered);
    if (asked === undefined) throw this.#failed("there is no request to answer");
    return asked;
  }

  // One more of the open requests learns that its peer has gone, or has sent its last byte.
  async #left(isAborted: boolean): Promise<void> {
    const find = (): Asked | undefined =>
      this.#asked.find((one) => {
        const knows = isAborted ? one.res.state === "aborted" : one.req.aborted;
        return !one.answered && !this.#told.has(one) && knows;
      });
    const poll = setInterval(() => this.client.nudge(), 2);
    const found = await this.client.until(() => find() !== undefined);
    clearInterval(poll);
    if (!found) throw this.#failed("no event");
    this.#told.add(find() as Asked);
  }

  #reply(each: Step): void {
    const asked = this.#which(each);
    asked.answered = true;
    asked.res.send(each.amount, Buffer.from(each.text, "latin1"), pairsOf(each.headers));
  }

  async #expect(expected: string): Promise<void> {
    const maybe = this.#maybe;
    this.#maybe = "";
    const { client } = this;
    await client.until(() => {
      const text = client.received;
      const needed = maybe !== "" && text.startsWith(maybe) ? maybe + expected : expected;
      return text.length >= needed.length || client.ended;
    });
    if (maybe !== "" && client.received.startsWith(maybe)) client.take(maybe.length);
    this.#same(client.take(expected.length), expected);
  }

  async #refused(each: Step): Promise<void> {
    const { client } = this;
    if (!(await client.until(() => client.ended))) throw this.#failed("the connection stays open");
    if (client.error !== undefined) throw this.#failed(`the connection broke: ${client.error}`);
    if (this.#maybe !== "" && client.received.startsWith(this.#maybe))
      client.take(this.#maybe.length);
    this.#maybe = "";
    const text = client.received;
    const body = text.slice(text.indexOf("\r\n\r\n") + 4);
    const type = "Content-Type: text/plain;charset=utf-8\r\n";
    const isScgi = this.#case.protocol === "scgi";
    const close = isScgi ? "" : "Connection: close\r\n";
    const framing = `Content-Length: ${body.length}\r\n${close}\r\n`;
    this.#same(client.take(text.length), this.#firstLines(each.amount) + type + framing + body);
    if (!body.startsWith(`ERR_MILLRACE_${each.name}: `)) throw this.#failed(body);
    await client.write(isScgi ? SCGI_PROBE : PROBE);
    this.#noMore();
  }

  async #open(): Promise<void> {
    const { client } = this;
    this.#noMore();
    await client.write(PROBE);
    const { waiting } = this.#on;
    await client.until(() => waiting.length > 0 || client.received !== "" || client.ended);
    waiting.shift()?.res.send(204);
    await client.until(() => client.received.includes("\r\n\r\n") || client.ended);
    const text = client.take(client.received.length);
    if (!/^HTTP\/1\.1 (204|404) /.test(text))
      throw this.#failed(`one more request got ${show(text)}`);
  }

  async #closed(): Promise<void> {
    const { client } = this;
    if (!(await client.until(() => client.ended))) throw this.#failed("still open");
  }

  #quiet(): void {
    this.#noMore();
    if (this.client.ended) throw this.#failed("the connection ended");
  }

  #noMore(): void {
    const text = this.client.received;
    if (text !== "" && text !== this.#maybe) throw this.#failed(`also wrote ${show(text)}`);
    this.#maybe = "";
    const next = this.#on.waiting[0]?.req;
    if (next !== undefined) throw this.#failed(`also an event: ${next.method} ${next.url}`);
  }

  // "HTTP/1.1 200 OK" or "Status: 200 OK", and the Date where it is ours.
  #firstLines(status: number): string {
    const line = `${status} ${REASONS[status] ?? STATUS_CODES[status] ?? ""}\r\n`;
    return this.#case.protocol === "scgi" ? `Status: ${line}` : `HTTP/1.1 ${line}Date: *\r\n`;
  }

  #same(actual: string, expected: string): void {
    if (actual !== expected) throw this.#failed(`${show(actual)}\n  instead of ${show(expected)}`);
  }

  #failed(what: string): Error {
    const { file, title } = this.#case;
    return new Error(`${file}:${this.#step.line} (${title}, ${this.#cut}): ${what}`);
  }
}

function show(text: string): string {
  return JSON.stringify(text.length > 600 ? `${text.slice(0, 600)}…` : text);
}

function pairsOf(lines: string): [string, string][] {
  const fields = lines.split("\r\n").filter((line) => line !== "");
  return fields.map((line) => {
    const colon = line.indexOf(":");
    return [line.slice(0, colon), line.slice(colon + 1).trim()];
  });
}

// Node's names are those of RFC 9110's predecessors in two places.
const REASONS: Readonly<Record<number, string>> = {
  413: "Content Too Large",
  422: "Unprocessable Content",
};
