// What a server tells of itself: an access log in the combined form, records as pino writes them,
// who is connected, and numbers for Prometheus.
import { createWriteStream } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { accessLine, raw, serve } from "millrace";

const path = process.env.LOG_FILE ?? join(tmpdir(), "millrace-access.log");
const access = createWriteStream(path, { flags: "a" });

// What a client chose stays within its quotes.
const lineOf = (record) => `${accessLine(record)} ${JSON.stringify(record.requestId ?? "-")}\n`;

const server = await serve({
  port: Number(process.env.PORT ?? 3000),
  name: "shop",
  // The next batch waits for the promise; what is too much meanwhile is dropped and counted.
  accessLog: (records) =>
    new Promise((resolve) => access.write(records.map(lineOf).join(""), resolve)),
  log: {
    level: "info",
    write: (record) => void process.stdout.write(`${JSON.stringify(record)}\n`),
  },
  connectionData: () => ({ requests: 0 }),
  onConnect: ({ id, remoteAddress }) => {
    console.log(`${id} comes from ${remoteAddress.address}`);
  },
  onClose: ({ id, data }, cause) => {
    console.log(`${id} leaves after ${data.requests} requests: ${cause}`);
  },
  health: { live: "/health/live", metrics: "/metrics" },
  routes: {
    "/": raw((req, res) => {
      req.connection.data.requests += 1;
      // The client's own, or one that is made here: to be passed on to whatever is asked in turn.
      res.header("X-Request-Id", req.ctx.id).end("Hello.\n");
    }),
    "/broken": raw(() => {
      throw new Error("the wheel fell off");
    }),
  },
  gracefulShutdown: { signals: ["SIGTERM"], timeout: 10_000 },
});
console.log(`access-log on ${server.url} into ${path}`);

await server.closed; // when it settles, all records have been handed over
access.end();
