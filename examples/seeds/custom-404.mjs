// Seed E15, custom_404: a page of one's own where no route matches.
import { raw, serve } from "millrace";

const server = await serve({
  port: Number(process.env.PORT ?? 8080),
  routes: { "/": new Response("Hello, World!") },
  notFound: raw((_req, res) => {
    res.header("Content-Type", "text/html").end("<h1>I'm not here</h1>");
  }),
  gracefulShutdown: true,
});
console.log(`custom-404 on ${server.url}`);
