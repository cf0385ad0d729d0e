// One application, two doors: HTTP for health checks and the developer, SCGI for the front end.
// The same routes answer; what only a gateway knows is in req.scgi. The server block for nginx is
// scgi.conf. Nobody but the front end may reach the SCGI door: what it says of clients is believed.
import { tmpdir } from "node:os";
import { join } from "node:path";
import { raw, serve } from "millrace";

const server = await serve({
  listen: [
    { port: Number(process.env.PORT ?? 3000) },
    {
      protocol: "scgi",
      unix: process.env.UNIX_PATH ?? join(tmpdir(), "millrace-scgi.sock"),
      mode: 0o660, // nginx has to run as this user or in this group
    },
  ],
  routes: {
    "/": (_request, ctx) => {
      const { address } = ctx.remoteAddress;
      return new Response(`Hello ${address}, by ${ctx.protocol}.\n`);
    },
    "/variables": raw((req, res) => {
      if (req.scgi === undefined) res.send(404, "ask through the front end\n");
      else res.json(Object.fromEntries(req.scgi));
    }),
    "/upload": {
      POST: raw(async (req, res) => {
        let bytes = 0;
        for await (const chunk of req) bytes += chunk.length;
        res.json({ bytes });
      }),
      body: "stream",
    },
  },
  gracefulShutdown: { signals: ["SIGTERM"], timeout: 10_000 },
});
console.log(`scgi on ${server.url}`);
