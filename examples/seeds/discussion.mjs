// Seed E3, websocketdiscussion: ten clients say who they are and hear "Ok!"; then the first one
// asks the server to close.
import { clientele, serve } from "millrace";

const server = await serve({
  port: Number(process.env.PORT ?? 8080),
  routes: {
    "/": {
      message(ws, text) {
        if (text !== "close?") console.log(text);
        ws.send(text === "close?" ? "close!" : "Ok!");
      },
    },
  },
});
console.log(`discussion on ${server.url}`);

let answers = 0;
const clients = clientele({
  async message(client, text) {
    console.log(`client ${client.id} got: ${text}`);
    if (text === "close!") {
      void clients.close().then(() => server.close());
      return;
    }
    answers += 1;
    if (answers === 10) await clients.clients.get(1).send("close?");
  },
  error(client, error) {
    console.error(`client ${client.id}: ${error.message}`);
    process.exit(1);
  },
});
for (let i = 0; i < 10; i += 1) {
  const client = clients.client(server.url);
  if (await client.connect()) await client.send(`this comes from client ${client.id}`);
}
