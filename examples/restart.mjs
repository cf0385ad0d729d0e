// A restart that nobody notices: start this program a second time, and the second takes the
// listening sockets of the first over. No connection is refused and no request is lost; the first
// answers what it has, and ends.
import { tmpdir } from "node:os";
import { join } from "node:path";
import { raw, serve } from "millrace";

let slow = 0;

const server = await serve({
  port: Number(process.env.PORT ?? 3000),
  handover: {
    path: process.env.HANDOVER_PATH ?? join(tmpdir(), "millrace-restart.sock"),
    exit: true,
    wait: 65_000, // longer than nginx keeps idle connections: none meets a closed one
    onHandedOver: (pid) => console.log(`process ${pid} serves from here on`),
  },
  routes: {
    "/": raw((_req, res) => void res.end(`process ${process.pid}\n`)),
    "/state": raw((_req, res) => void res.end(`${slow} slow\n`)),
    // What takes as long as it takes: until somebody says kill -USR2.
    "/slow": raw(async (_req, res) => {
      slow += 1;
      await new Promise((resolve) => process.once("SIGUSR2", resolve));
      slow -= 1;
      res.end(`process ${process.pid}, in the end\n`);
    }),
  },
  gracefulShutdown: { signals: ["SIGTERM"], timeout: 10_000 },
});
console.log(`restart on ${server.url} by process ${process.pid}`);
