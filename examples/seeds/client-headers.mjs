// Seed E15, client_headers: what the client sent, a line for each field.
import { raw, serve } from "millrace";

const server = await serve({
  port: Number(process.env.PORT ?? 8080),
  routes: {
    "/": {
      GET: raw((req, res) => {
        const lines = [...req.headers].map(([name, value]) => `${name}: ${value}\n`);
        res.header("Content-Type", "text/plain").end(lines.join(""));
      }),
    },
  },
  gracefulShutdown: true,
});
console.log(`client-headers on ${server.url}`);
