// WebSockets on whatever Node runs this: compression by its zlib, our clients, its own client where
// it has one. Says what it saw as JSON.
import { connect, WebSocket as OwnWebSocket, serve } from "millrace";

const server = await serve({
  port: 0,
  hostname: "127.0.0.1",
  loops: Number(process.argv[2]),
  silent: true,
  routes: { "/": { perMessageDeflate: true, message: (ws, data) => void ws.send(data) } },
});
const url = `ws://127.0.0.1:${server.addresses[0].port}/`;
const text = JSON.stringify(Array.from({ length: 100 }, (_, id) => ({ id, name: `name ${id}` })));

async function viaConnect() {
  const socket = await connect(url, { perMessageDeflate: true });
  socket.send(text);
  for await (const data of socket) {
    socket.close();
    return [data === text, socket.extensions];
  }
}

// Any class like the standard's: text, bytes, the end.
async function viaClass(Class) {
  const socket = new Class(url);
  socket.binaryType = "arraybuffer";
  const got = [];
  return new Promise((resolve) => {
    socket.onopen = () => {
      socket.send(text);
      socket.send(new Uint8Array([1, 2, 3]));
    };
    socket.onmessage = ({ data }) => {
      got.push(typeof data === "string" ? data === text : [...new Uint8Array(data)]);
      if (got.length === 2) socket.close(4321, "why");
    };
    socket.onclose = ({ code, reason, wasClean }) => {
      resolve([...got, code, reason, wasClean]);
    };
  });
}

const seen = {
  connect: await viaConnect(),
  own: await viaClass(OwnWebSocket),
  builtIn: globalThis.WebSocket === undefined ? null : await viaClass(globalThis.WebSocket),
};
await server.close();
process.stdout.write(JSON.stringify(seen));
