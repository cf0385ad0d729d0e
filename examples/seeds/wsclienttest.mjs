// Seed E10, wsclienttest: a thousand clients (or CLIENTS) of one clientele, each with a hundred
// round trips (or ROUNDS). Each end of a connection takes a descriptor: see ulimit -n.
import { clientele, serve } from "millrace";

const CLIENTS = Number(process.env.CLIENTS ?? 1000);
const ROUNDS = Number(process.env.ROUNDS ?? 100);
const CONNECTING = 200; // at a time, so that none waits for long

let echoed = 0;
const server = await serve({
  port: Number(process.env.PORT ?? 5050),
  routes: {
    "/": {
      message(ws, data) {
        echoed += 1;
        ws.send(data);
      },
    },
  },
});
console.log(`wsclienttest on ${server.url}`);

let done;
const over = new Promise((resolve) => {
  done = resolve;
});
let finished = 0;
let wrong = 0;
const clients = clientele({
  message(client, text) {
    if (text !== `client ${client.id} round ${client.data.round}`) wrong += 1;
    client.data.round += 1;
    if (client.data.round < ROUNDS) return void say(client);
    finished += 1;
    if (finished === CLIENTS) done();
  },
  error(client, error) {
    console.error(`client ${client.id}: ${error.message}`);
    process.exitCode = 1;
    done();
  },
});
const say = (client) => client.send(`client ${client.id} round ${client.data.round}`);

const began = performance.now();
for (let i = 0; i < CLIENTS; i += CONNECTING) {
  const some = Array.from({ length: Math.min(CONNECTING, CLIENTS - i) }, () =>
    clients.client(server.url, { data: { round: 0 } }),
  );
  await Promise.all(some.map((client) => client.connect()));
}
const connected = [...clients.connected()];
const start = performance.now();
console.log(`${connected.length} clients connected in ${Math.round(start - began)} ms`);
for (const client of connected) say(client);
await over;
console.log(`${echoed} round trips in ${Math.round(performance.now() - start)} ms, ${wrong} wrong`);
await clients.close();
await server.close();
