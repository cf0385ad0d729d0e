// Bun's own WebSockets and topics. Run by Bun. The word "deflate" turns compression on.
import { announce } from "./control.mjs";

const { Bun } = globalThis;

const server = Bun.serve({
  port: 0,
  hostname: "127.0.0.1",
  development: false,
  fetch(request, self) {
    const role = request.url.slice(request.url.lastIndexOf("/") + 1);
    if (self.upgrade(request, { data: role })) return undefined;
    return new Response("no such page", { status: 404 });
  },
  websocket: {
    perMessageDeflate: process.argv.includes("deflate"),
    // No connection is closed for idleness during a run, by anyone.
    idleTimeout: 960,
    open(socket) {
      if (socket.data !== "subscribe") return;
      socket.subscribe("news");
      socket.send("ready");
    },
    message(socket, message) {
      if (socket.data === "echo") socket.send(message, compresses);
      else server.publish("news", message, compresses);
    },
  },
});
const compresses = process.argv.includes("deflate");

announce(server.port, Bun.version);
