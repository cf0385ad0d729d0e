// Seed E15, basic_router: one handler per path and method; the rest is 404 and 405.
import { raw, serve } from "millrace";

const server = await serve({
  port: Number(process.env.PORT ?? 8080),
  routes: {
    "/": {
      GET: raw((_req, res) => {
        res.header("content-type", "text/plain");
        res.end("Hello, World!");
      }),
    },
  },
  gracefulShutdown: true,
});
console.log(`basic-router on ${server.url}`);
