// millrace as it is built in dist/, with the number of native loops as its argument; then maybe the
// path of a unix socket to listen on, and another protocol than HTTP to speak there.
import { raw, serve } from "../../dist/index.js";
import { keepAliveMs, staticText, text } from "./answers.mjs";
import { announce } from "./control.mjs";

const [, , loops, unix, protocol] = process.argv;
const server = await serve({
  ...(unix === undefined ? { port: 0 } : { unix }),
  ...(protocol === undefined ? {} : { protocol }),
  loops: Number(loops),
  silent: true,
  timeouts: { keepAlive: keepAliveMs },
  routes: {
    "/": raw((_req, res) => {
      res.header("content-type", "text/plain").end(text);
    }),
    "/async": raw(async (_req, res) => {
      await null;
      res.header("content-type", "text/plain").end(text);
    }),
    "/static": new Response(staticText, { headers: { "content-type": "text/plain" } }),
    "/json": raw((req, res) => {
      const { query, headers } = req;
      res.json({
        name: query.get("name"),
        sacks: Number(query.get("sacks")),
        accept: headers.get("accept"),
        id: headers.get("x-request-id"),
      });
    }),
    "/echo": {
      POST: raw(async (req, res) => {
        res.header("content-type", "application/octet-stream").end(await req.bytes());
      }),
    },
  },
});

announce(server.addresses[0].port, "", () => ({ blocks: server.metrics.counters.blocks }));
