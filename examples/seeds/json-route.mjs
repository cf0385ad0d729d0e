// Seed E14: one route that answers JSON; everything else is 404 Not Found.
import { raw, serve } from "millrace";

const server = await serve({
  port: Number(process.env.PORT ?? 8080),
  routes: {
    "/hello-world": raw((_req, res) => {
      res.json({ message: "Hello World" });
    }),
  },
  notFound: () => new Response("Not Found", { status: 404 }),
  gracefulShutdown: true,
});
console.log(`json-route on ${server.url}/hello-world`);
