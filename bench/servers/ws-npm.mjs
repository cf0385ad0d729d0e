// npm ws as its documentation has it: a server without HTTP of its own, and a loop over its clients
// for publishing. The word "deflate" turns compression on, with its defaults; "forget" besides that
// gives up context takeover.
import { createRequire } from "node:module";
import { WebSocketServer } from "ws";
import { announce } from "./control.mjs";

const words = process.argv.slice(2);
const forgetful = { clientNoContextTakeover: true, serverNoContextTakeover: true };
const perMessageDeflate = words.includes("forget") ? forgetful : words.includes("deflate");

const server = new WebSocketServer({ port: 0, host: "127.0.0.1", perMessageDeflate });
const subscribers = new Set();
const roles = { "/echo": echo, "/subscribe": subscribe, "/publish": publisher };

server.on("connection", (socket, request) => roles[request.url]?.(socket));
server.on("listening", () => announce(server.address().port, version()));

function echo(socket) {
  socket.on("message", (data, binary) => socket.send(data, { binary }));
}

function subscribe(socket) {
  subscribers.add(socket);
  socket.on("close", () => subscribers.delete(socket));
  socket.send("ready");
}

function publisher(socket) {
  socket.on("message", (data, binary) => {
    for (const subscriber of subscribers) subscriber.send(data, { binary });
  });
}

function version() {
  return createRequire(import.meta.url)("ws/package.json").version;
}
