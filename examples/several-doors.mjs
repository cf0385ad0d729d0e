// One server that listens in three places: IPv4, IPv6 and a unix socket. The same routes answer at
// each, and the handler can tell which one a request came through.
import { tmpdir } from "node:os";
import { join } from "node:path";
import { raw, serve } from "millrace";

const port = Number(process.env.PORT ?? 3000);

const server = await serve({
  listen: [
    { hostname: "127.0.0.1", port },
    { hostname: "::1", port },
    { unix: process.env.UNIX_PATH ?? join(tmpdir(), "millrace-doors.sock"), mode: 0o600 },
  ],
  routes: {
    "/": raw((req, res) => {
      const { localAddress, remoteAddress } = req.ctx;
      res.json({ door: localAddress.family, from: remoteAddress.address });
    }),
  },
  gracefulShutdown: true,
});

for (const { family, address, port } of server.addresses) {
  if (family === "unix") console.log(`several-doors on unix:${address}`);
  else
    console.log(`several-doors on http://${family === "IPv6" ? `[${address}]` : address}:${port}`);
}
