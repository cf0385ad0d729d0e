// Seed E15, path_params: a named part of the path, here in the seeds' own notation.
import { raw, serve } from "millrace";

const server = await serve({
  port: Number(process.env.PORT ?? 8080),
  routes: {
    "/objects/@id": {
      GET: raw((req, res) => {
        res.end(`Object: ${req.params.id}`);
      }),
    },
  },
  gracefulShutdown: true,
});
console.log(`path-params on ${server.url}/objects/7`);
