// A service of systemd. app.socket listens, so that nobody is refused while this restarts;
// app.service is told when it is ready, that it lives, and that it stops. By hand it listens on a
// port.
import { raw, serve } from "millrace";

const isService = process.env.LISTEN_FDS !== undefined;

const server = await serve({
  listen: isService ? [{ systemd: "web" }] : [{ port: Number(process.env.PORT ?? 3000) }],
  health: { live: "/health/live", ready: "/health/ready" },
  trustProxy: "unix", // nobody but nginx may open the socket: SocketMode= and SocketGroup=
  routes: {
    "/": raw((req, res) => {
      res.json({ client: req.ip, mode: process.env.NODE_ENV ?? "development" });
    }),
  },
  // wait and timeout together below TimeoutStopSec= of the unit.
  gracefulShutdown: { signals: ["SIGTERM"], timeout: 20_000 },
});
console.log(`app on ${server.url}`);

const { completed, forced } = await server.closed;
console.log(`closed: ${completed} finished, ${forced} cut`);
