// Seed E15, query_params: the query, parsed.
import { raw, serve } from "millrace";

const server = await serve({
  port: Number(process.env.PORT ?? 8080),
  routes: {
    "/search": {
      GET: raw((req, res) => {
        res.end(`Name: ${req.query.get("name") ?? ""}`);
      }),
    },
  },
  gracefulShutdown: true,
});
console.log(`query-params on ${server.url}/search?name=value`);
