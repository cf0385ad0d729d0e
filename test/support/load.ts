// A load maker for tests: keep-alive connections that pipeline requests and compare each answer
// with what it has to be.
import { connect, type Socket } from "node:net";

export interface Exchange {
  readonly request: string; // whole, latin1
  readonly status: number;
  readonly body: string;
}

export interface Load {
  readonly port: number;
  readonly connections: number;
  /** Requests that one connection may have unanswered. */
  readonly depth: number;
  /** The n-th request, or undefined when it is enough. */
  readonly next: (n: number) => Exchange | undefined;
}

export interface Tally {
  /** Answers that were what they had to be. */
  readonly good: number;
  /** Answers by status. */
  readonly statuses: ReadonlyMap<number, number>;
  /** The first few of what went wrong. */
  readonly wrong: readonly string[];
}

const WRONG_MAX = 10;
const LENGTH = /\r\ncontent-length: *(\d+)/i;

/** Resolves when every request has its answer, or its connection ended without. */
export async function makeLoad(load: Load): Promise<Tally> {
  const run = new Run(load);
  await Promise.all(Array.from({ length: load.connections }, () => run.connection()));
  return run;
}

class Run implements Tally {
  good = 0;
  readonly statuses = new Map<number, number>();
  readonly wrong: string[] = [];
  readonly #load: Load;
  #made = 0;

  constructor(load: Load) {
    this.#load = load;
  }

  connection(): Promise<void> {
    return new Promise((resolve) => {
      const socket = connect({ port: this.#load.port, host: "127.0.0.1", noDelay: true });
      const due: Exchange[] = [];
      let unread = "";
      this.#fill(socket, due);
      socket.setEncoding("latin1").on("data", (text: string) => {
        unread = this.#read(unread + text, due);
        if (due.length <= this.#load.depth / 2) this.#fill(socket, due);
        if (due.length === 0) socket.end();
      });
      socket.on("error", (error) => this.#blame(`socket: ${error.message}`));
      socket.on("close", () => {
        if (due.length > 0) this.#blame(`closed with ${due.length} unanswered requests`);
        resolve();
      });
    });
  }

  #fill(socket: Socket, due: Exchange[]): void {
    let text = "";
    while (due.length < this.#load.depth) {
      const exchange = this.#load.next(this.#made);
      if (exchange === undefined) break;
      this.#made += 1;
      due.push(exchange);
      text += exchange.request;
    }
    if (text !== "") socket.write(text, "latin1");
  }

  /** Takes the whole answers off the front of `text`; returns the rest. */
  #read(text: string, due: Exchange[]): string {
    let at = 0;
    for (;;) {
      const end = text.indexOf("\r\n\r\n", at);
      if (end < 0) return text.slice(at);
      const head = text.slice(at, end + 2);
      const length = LENGTH.exec(head)?.[1];
      const bodyEnd = end + 4 + Number(length ?? 0);
      if (bodyEnd > text.length) return text.slice(at);
      this.#judge(due.shift(), head, length === undefined ? "" : text.slice(end + 4, bodyEnd));
      at = bodyEnd;
    }
  }

  #judge(exchange: Exchange | undefined, head: string, body: string): void {
    const status = Number(head.slice(9, 12));
    this.statuses.set(status, (this.statuses.get(status) ?? 0) + 1);
    if (exchange !== undefined && status === exchange.status && body === exchange.body)
      this.good += 1;
    else this.#blame(`${exchange?.request.split("\r\n", 1)[0]} got ${head}${body.slice(0, 80)}`);
  }

  #blame(what: string): void {
    if (this.wrong.length < WRONG_MAX) this.wrong.push(what);
  }
}
