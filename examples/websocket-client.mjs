// Three ways to be a client: connect() and a loop, the WebSocket of the standard, and many clients
// at once. The server that they talk to is in here as well.
import { clientele, connect, serve, WebSocket } from "millrace";

const server = await serve({
  port: Number(process.env.PORT ?? 3000),
  routes: {
    "/count/:to": {
      upgrade: (_request, ctx) => ({ data: Number(ctx.params.to) }),
      async open(ws) {
        for (let i = 1; i <= ws.data; i += 1) {
          if (ws.send(`${i}`) === -1) await ws.drained();
        }
        ws.close(1000, "that was all");
      },
    },
    "/echo": { protocols: ["mirror"], message: (ws, data) => void ws.send(data) },
    "/private": {
      upgrade(request) {
        if (request.headers.get("authorization") !== "Bearer rye")
          return new Response("who is there?\n", { status: 401 });
      },
      open: (ws) => void ws.send("come in"),
    },
  },
});
const url = server.url.replace("http", "ws");
console.log(`websocket-client on ${server.url}`);

// A loop takes messages as fast as it goes; the server feels it.
const counter = await connect(`${url}/count/1000`);
let sum = 0;
for await (const message of counter) sum += Number(message);
console.log(`counted to a sum of ${sum}; ${(await counter.closed).reason}`);

// What a server refuses is an error with a code, and the status as its cause.
try {
  await connect(`${url}/private`);
} catch (error) {
  console.log(`${error.code}, status ${error.cause.status}`);
}
const guest = await connect(`${url}/private`, { headers: { authorization: "Bearer rye" } });
for await (const text of guest) {
  console.log(text);
  guest.close();
}

// The standard's class, for code that is written for it.
await new Promise((resolve) => {
  const socket = new WebSocket(`${url}/echo`, "mirror");
  socket.binaryType = "arraybuffer";
  socket.onopen = () => socket.send(Uint8Array.of(1, 2, 3));
  socket.onmessage = ({ data }) => {
    console.log(`${socket.protocol} sent ${data.byteLength} bytes back`);
    socket.close(1000, "done");
  };
  socket.onclose = ({ code, wasClean }) => resolve(console.log(`closed: ${code}, ${wasClean}`));
});

// Many clients share their callbacks.
let heard = 0;
let left = 100;
await new Promise((resolve) => {
  const clients = clientele({
    open: (client) => client.send(`hello from ${client.id}`),
    message(client, text) {
      if (text === `hello from ${client.id}`) heard += 1;
      client.close();
    },
    close() {
      left -= 1;
      if (left === 0) resolve();
    },
  });
  for (let i = 0; i < left; i += 1)
    clients.client(`${url}/echo`, { protocols: "mirror" }).connect();
});
console.log(`${heard} clients heard their own words`);
await server.close();
