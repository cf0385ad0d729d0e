// An application behind nginx on the same machine: a unix socket that nginx may open, health paths
// that stay answered while JavaScript is busy, and a shutdown that finishes what it has taken. The
// server block for nginx is behind-nginx.conf.
import { tmpdir } from "node:os";
import { join } from "node:path";
import { raw, serve } from "millrace";

const server = await serve({
  unix: process.env.UNIX_PATH ?? join(tmpdir(), "millrace.sock"),
  mode: 0o660, // nginx has to run as this user or in this group
  loops: 1, // a thread of its own, so that health is answered also while JavaScript is busy
  health: { live: "/health/live", ready: "/health/ready" },
  // Above keepalive_timeout of nginx's upstream block: so nginx ends idle connections, not we.
  timeouts: { keepAlive: 75_000 },
  // X-Forwarded-For and -Proto count, because nothing but nginx reaches the socket.
  trustProxy: "unix",
  routes: {
    "/": raw((req, res) => {
      const scheme = req.ctx.encrypted ? "https" : "http";
      res.json({ client: req.ip, scheme, host: req.headers.get("host") });
    }),
    "/upload": {
      POST: raw(async (req, res) => {
        res.json({ bytes: (await req.bytes()).length });
      }),
      maxBodySize: 8 * 1024 * 1024, // as client_max_body_size
    },
  },
  // `wait`: longer than nginx keeps a connection idle, so that none of its requests meets a closed
  // one. A service manager has to allow both times together.
  gracefulShutdown: {
    signals: ["SIGTERM"],
    wait: Number(process.env.WAIT_MS ?? 65_000),
    timeout: 10_000,
  },
});
console.log(`behind-nginx on ${server.url}`);

// The signal closes: no new connections, one more request of those that are open, answers under way
// are finished, at most ten seconds.
const { completed, forced } = await server.closed;
console.log(`closed: ${completed} finished, ${forced} cut`);
