// Seed E15, basic: a text at the root.
import { raw, serve } from "millrace";

const server = await serve({
  port: Number(process.env.PORT ?? 8080),
  routes: {
    "/": {
      GET: raw((_req, res) => {
        res.header("Content-Type", "text/plain").end("Hello, World!");
      }),
    },
  },
  gracefulShutdown: true,
});
console.log(`basic on ${server.url}`);
