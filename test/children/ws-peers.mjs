// WebSocket clients in a process of their own: node ws-peers.mjs NAME PORT MORE… Each says on its
// standard output how far it is.
import { connect } from "node:net";
import { WebSocket } from "ws";

const [name, portText, ...more] = process.argv.slice(2);
const port = Number(portText);
const AT_ONCE = 200; // handshakes under way: fewer than a backlog holds
const HANDSHAKE =
  "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
  "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const TEXT_X = Buffer.from([0x81, 0x81, 0, 0, 0, 0, 0x78]);
const CLOSE_1000 = Buffer.from([0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8]);

const programs = {
  // COUNT sockets that stay idle. All send a message at SIGUSR2, and a close frame at the next one.
  // To several ports in turn: with most local ports taken, the kernel searches long for a free one.
  idle(countText, ...otherPorts) {
    const count = Number(countText);
    const ports = [port, ...otherPorts.map(Number)];
    const sockets = [];
    const counts = { open: 0, echoed: 0, closing: 0, closed: 0 };
    const tell = (what, text) => {
      counts[what] += 1;
      if (counts[what] === count) console.log(text, count);
    };
    const onData = (part) => {
      const first = part[0];
      if (first === 0x48) {
        tell("open", "idle");
        if (sockets.length < count) openOne();
      } else if (first === 0x81 && part.length === 3 && part[2] === 0x78) {
        tell("echoed", "answered");
      } else if (first === 0x88 && part.readUInt16BE(2) === 1000) {
        tell("closing", "handshakes done");
      } else {
        console.log("surprise", part.toString("hex"));
      }
    };
    const openOne = () => {
      const to = ports[sockets.length % ports.length];
      const socket = connect({ port: to, host: "127.0.0.1", noDelay: true });
      sockets.push(socket);
      socket.write(HANDSHAKE);
      socket.on("data", onData).on("error", (error) => console.error(error.message));
      socket.on("close", () => tell("closed", "all closed"));
    };
    let signals = 0;
    process.on("SIGUSR2", () => {
      signals += 1;
      for (const socket of sockets) socket.write(signals === 1 ? TEXT_X : CLOSE_1000);
    });
    for (let i = 0; i < Math.min(AT_ONCE, count); i += 1) openOne();
  },

  // COUNT sockets that read all that comes and only count it: says "got N" when every one of them
  // has BYTES.
  reading(countText, bytesText) {
    const [count, bytes] = [Number(countText), Number(bytesText)];
    let open = 0;
    let done = 0;
    const into = Buffer.allocUnsafe(1_048_576);
    for (let i = 0; i < count; i += 1) {
      let got = 0;
      let isOpen = false;
      const callback = (length, buffer) => {
        got += length;
        if (!isOpen) {
          isOpen = true;
          got -= buffer.indexOf("\r\n\r\n") + 4;
          open += 1;
          if (open === count) console.log("open", count);
        }
        if (got < bytes) return true;
        done += got === bytes ? 1 : Number.NaN;
        if (done === count) console.log("got", count);
        return true;
      };
      const socket = connect({ port, host: "127.0.0.1", onread: { buffer: into, callback } });
      socket.on("error", (error) => console.log("surprise", error.message));
      socket.write(HANDSHAKE);
    }
  },

  // One socket of npm's ws, which answers pings as long as its process runs.
  alive() {
    const ws = new WebSocket(`ws://127.0.0.1:${port}/`);
    ws.on("open", () => console.log("open"));
    ws.on("ping", () => console.log("pinged"));
  },
};

programs[name](...more);
process.once("SIGTERM", () => process.exit());
