// Bun.serve in production mode, with its own routes and its own static route. Run by Bun.
import { keepAliveMs, staticText, text } from "./answers.mjs";
import { announce } from "./control.mjs";

const { Bun } = globalThis;
const octets = { headers: { "content-type": "application/octet-stream" } };

const server = Bun.serve({
  port: 0,
  hostname: "127.0.0.1",
  development: false,
  idleTimeout: keepAliveMs / 1000,
  routes: {
    // A string body is text/plain without being told.
    "/": () => new Response(text),
    "/async": async () => {
      await null;
      return new Response(text);
    },
    "/static": new Response(staticText),
    "/json": (req) => {
      const query = new URLSearchParams(req.url.slice(req.url.indexOf("?") + 1));
      const { headers } = req;
      return Response.json({
        name: query.get("name"),
        sacks: Number(query.get("sacks")),
        accept: headers.get("accept"),
        id: headers.get("x-request-id"),
      });
    },
    "/echo": { POST: async (req) => new Response(await req.bytes(), octets) },
  },
  fetch: () => new Response("no such page", { status: 404 }),
});

announce(server.port, Bun.version);
