// Seed E15, advanced_websockets: channels by the path, what others publish comes in through one
// place, and a heartbeat message for each socket every 30 s, spread over 30 buckets so that not all
// of them are written to in the same second. (Dead peers are found without: see `idleTimeout`.)
import { EventEmitter } from "node:events";
import { serve, websocket } from "millrace";

const BUCKETS = 30;
const TICK_MS = Number(process.env.TICK_MS ?? 1000);
const news = new EventEmitter(); // stands for Redis: see millrace/sync/redis
const buckets = Array.from({ length: BUCKETS }, () => new Set());
let next = 0;

const server = await serve({
  port: Number(process.env.PORT ?? 8080),
  routes: {
    "/channels/:name": websocket({
      upgrade: (_request, { params }) => {
        next += 1;
        return { data: { channel: params.name, bucket: next % BUCKETS } };
      },
      open(ws) {
        buckets[ws.data.bucket].add(ws);
        ws.subscribe(ws.data.channel);
      },
      message(ws, text) {
        news.emit("message", ws.data.channel, text);
      },
      close(ws) {
        buckets[ws.data.bucket].delete(ws);
      },
    }),
  },
  gracefulShutdown: true,
});
news.on("message", (channel, text) => server.publish(channel, text));

let turn = 0;
const heart = setInterval(() => {
  void server.sendMany(buckets[turn++ % BUCKETS], '{"type":"heartbeat"}');
}, TICK_MS);
server.onShutdown(() => clearInterval(heart));
console.log(`advanced-websockets on ${server.url}/channels/mills`);
