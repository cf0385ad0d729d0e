// Seed E15, redirect: from an old path to the root.
import { raw, serve } from "millrace";

const server = await serve({
  port: Number(process.env.PORT ?? 8080),
  routes: {
    "/": new Response("The new place."),
    "/old": raw((_req, res) => {
      res.redirect("/");
    }),
  },
  gracefulShutdown: true,
});
console.log(`redirect on ${server.url}/old`);
