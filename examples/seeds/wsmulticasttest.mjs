// Seed E11, wsmulticasttest: 200 clients, one half odd and one even, ask for messages to a half.
// What has been aimed at is counted on the server, what has come on the clients.
import { clientele, serve } from "millrace";

const CLIENTS = Number(process.env.CLIENTS ?? 200);
const MULTICASTS = Number(process.env.MULTICASTS ?? 10_000);

const halves = { odds: new Set(), evens: new Set() };
const counts = { multicasts: 0, aimed: 0, delivered: 0, failed: 0, received: 0, astray: 0 };
let done;
const over = new Promise((resolve) => {
  done = resolve;
});
const check = () => {
  const { multicasts, aimed, failed, received } = counts;
  if (multicasts === MULTICASTS && received + failed === aimed) done();
};

const server = await serve({
  port: Number(process.env.PORT ?? 5050),
  routes: {
    "/:half": {
      upgrade: (_request, { params: { half } }) =>
        half in halves ? { data: half } : new Response("no such half\n", { status: 404 }),
      open: (ws) => void halves[ws.data].add(ws),
      async message(_ws, text) {
        const half = halves[text.endsWith("odds") ? "odds" : "evens"];
        counts.aimed += half.size;
        const { delivered, failed } = await server.sendMany(half, text);
        for (const each of failed) half.delete(each);
        counts.delivered += delivered;
        counts.failed += failed.length;
        counts.multicasts += 1;
        check();
      },
      close: (ws) => void halves[ws.data].delete(ws),
    },
  },
});
console.log(`wsmulticasttest on ${server.url}`);

const clients = clientele({
  message(client, text) {
    counts.received += 1;
    if (!text.endsWith(client.data)) counts.astray += 1;
    check();
  },
  error(client, error) {
    console.error(`client ${client.id}: ${error.message}`);
    process.exitCode = 1;
    done();
  },
});
for (let i = 1; i <= CLIENTS; i += 1) {
  const half = i % 2 === 1 ? "odds" : "evens";
  await clients.client(`${server.url}/${half}`, { data: half }).connect();
}
const all = [...clients.connected()];
for (let i = 0; i < MULTICASTS; i += 1) {
  const half = Math.floor(i / CLIENTS) % 2 === 0 ? "odds" : "evens";
  await all[i % CLIENTS].send(`hello all ${half}`);
}
await over;
console.log(
  Object.entries(counts)
    .map(([name, count]) => `${name} ${count}`)
    .join(", "),
);
await clients.close();
await server.close();
