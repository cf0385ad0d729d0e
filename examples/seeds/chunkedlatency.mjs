// Seed E12, chunkedlatencytest: chunks leave when they are written, and the end of a response with
// them: `curl -w '%{time_total}\n' URL`. At /held the second chunk waits for a request of /go, and
// the first does not wait with it: `curl -N URL/held`.
import { once } from "node:events";
import { raw, serve } from "millrace";

const gates = new EventTarget();

const server = await serve({
  port: Number(process.env.PORT ?? 8080),
  routes: {
    "/": raw((_req, res) => {
      res.write("the only chunk\n");
      res.end();
    }),
    "/held": raw(async (req, res) => {
      const go = once(gates, "go", { signal: req.signal });
      res.write("the first chunk\n");
      await go;
      res.write("the second chunk\n");
      res.end();
    }),
    "/go": raw((_req, res) => {
      gates.dispatchEvent(new Event("go"));
      res.end("gone\n");
    }),
  },
  gracefulShutdown: true,
});
console.log(`chunkedlatency on ${server.url}`);
