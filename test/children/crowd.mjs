// Clients in a process of their own, for tests whose own process must not take part:
// node crowd.mjs NAME PORT MORE… Each says on its standard output how far it is.
import { once } from "node:events";
import { connect } from "node:net";

const [name, portText, ...more] = process.argv.slice(2);
const port = Number(portText);
const AT_ONCE = 200; // handshakes under way: fewer than a backlog holds

const get = (target) => `GET ${target} HTTP/1.1\r\nHost: a\r\n\r\n`;

/** Asks on a connection that is open; resolves when a whole answer without pipelining has come. */
function ask(socket, target) {
  return new Promise((resolve, reject) => {
    let text = "";
    const settle = (how, what) => {
      socket.off("data", onData).off("close", onClose);
      how(what);
    };
    const onClose = () => settle(reject, new Error(`closed after ${JSON.stringify(text)}`));
    const onData = (part) => {
      text += part.toString("latin1");
      const end = text.indexOf("\r\n\r\n");
      const length = Number(/\r\ncontent-length: (\d+)/i.exec(text)?.[1] ?? 0);
      if (end >= 0 && text.length >= end + 4 + length) settle(resolve, text);
    };
    socket.on("data", onData).on("close", onClose).resume();
    socket.write(get(target));
  });
}

// Reads nothing before somebody listens for data.
async function open() {
  const socket = connect({ port, host: "127.0.0.1", noDelay: true });
  socket.pause();
  await once(socket, "connect");
  socket.on("error", () => undefined);
  return socket;
}

const programs = {
  // COUNT connections that pipeline REQUESTS requests for TARGET each and read nothing at all.
  async deaf(count, requests, target) {
    const text = get(target).repeat(Number(requests));
    for (let i = 0; i < Number(count); i += 1) {
      const socket = await open();
      socket.write(text);
    }
    console.log("all sent");
    setInterval(() => undefined, 60_000); // sockets that do not read keep no process alive
  },

  // Requests for the TARGETs in turn, each on a connection of its own, until SIGTERM; then says how
  // many milliseconds each took from the connecting to the end of the answer.
  async probe(...targets) {
    const times = [];
    let isOver = false;
    process.once("SIGTERM", () => {
      isOver = true;
    });
    console.log("probing");
    while (!isOver) {
      const began = performance.now();
      const socket = await open();
      const answer = await ask(socket, targets[times.length % targets.length]);
      if (!answer.startsWith("HTTP/1.1 200 ")) throw new Error(answer);
      times.push(performance.now() - began);
      socket.destroy();
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    console.log("times", JSON.stringify(times));
    process.exit();
  },

  // COUNT connections that ask once each and then stay idle; all ask again at SIGUSR2. To several
  // ports in turn: with most of the local ports taken, the kernel searches long for a free one.
  async idle(countText, ...otherPorts) {
    const count = Number(countText);
    const ports = [port, ...otherPorts.map(Number)];
    const sockets = [];
    let answers = 0;
    let lost = 0;
    const onData = (part) => {
      if (part.latin1Slice(0, 13) === "HTTP/1.1 200 ") answers += 1;
      if (answers === count) console.log("idle", count);
      if (answers === 2 * count) console.log("answered again", count);
      if (sockets.length < count) openOne();
    };
    const openOne = () => {
      const to = ports[sockets.length % ports.length];
      const socket = connect({ port: to, host: "127.0.0.1", noDelay: true });
      sockets.push(socket);
      socket.write(get("/"));
      socket.on("data", onData).on("error", (error) => console.error(error.message));
      socket.on("close", () => {
        lost += 1;
        if (lost === 1) console.log("closed");
      });
    };
    process.on("SIGUSR2", () => {
      for (const socket of sockets) socket.write(get("/"));
    });
    // With resets, so that no port stays taken for a minute.
    process.once("SIGTERM", () => {
      for (const socket of sockets) socket.resetAndDestroy();
      setImmediate(() => process.exit());
    });
    for (let i = 0; i < Math.min(AT_ONCE, count); i += 1) openOne();
  },
};

await programs[name](...more);
