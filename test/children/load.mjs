// Keeps connections to a server busy and counts who answered: for workers.mjs.
import { connect } from "node:net";

/** Every answer says "from ID;", and the last of a block ends with this. */
export const LAST = "last of block";
const HEAD = "HTTP/1.1\r\nHost: a\r\n";
const BLOCK = [
  `GET / ${HEAD}\r\n`,
  `GET /later ${HEAD}\r\n`,
  `GET /fetch ${HEAD}\r\n`,
  `GET /static ${HEAD}\r\n`,
  `POST /large ${HEAD}Content-Length: ${50_000 + LAST.length}\r\n\r\n${"x".repeat(50_000)}${LAST}`,
].join("");
const BLOCKS_PER_CONNECTION = 10;

export class Load {
  #answers = new Map();
  #sockets = new Set();
  #port;
  #stopped = false;

  constructor(port, connections) {
    this.#port = port;
    for (let i = 0; i < connections; i += 1) this.#open();
  }

  get total() {
    return [...this.#answers.values()].reduce((sum, count) => sum + count, 0);
  }

  /** Answers of one thread. */
  by(id) {
    return this.#answers.get(id) ?? 0;
  }

  stop() {
    this.#stopped = true;
    for (const socket of this.#sockets) socket.destroy();
  }

  #open() {
    if (this.#stopped) return;
    const socket = connect(this.#port, "127.0.0.1");
    this.#sockets.add(socket);
    let blocks = 0;
    let tail = "";
    const ask = () => {
      blocks += 1;
      if (blocks > BLOCKS_PER_CONNECTION) socket.destroy();
      else socket.write(BLOCK);
    };
    socket.on("connect", ask);
    socket.on("data", (part) => {
      const text = tail + part.toString("latin1");
      for (const [, id] of text.matchAll(/from (\d+);/g))
        this.#answers.set(Number(id), this.by(Number(id)) + 1);
      const isDone = text.endsWith(LAST);
      tail = isDone ? "" : text.slice(text.lastIndexOf(";") + 1).slice(-50);
      if (isDone) ask();
    });
    // Whoever is gone is replaced, in a while so that nobody spins.
    socket.on("error", () => undefined);
    socket.on("close", () => {
      this.#sockets.delete(socket);
      setTimeout(() => this.#open(), 1);
    });
  }
}
