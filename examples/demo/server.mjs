// The demo that `npm start` runs: a page with live metrics, a form, a JSON API and a static route.
import { readFileSync } from "node:fs";
import { MillraceError, raw, serve } from "millrace";

const page = readFileSync(new URL("./page.html", import.meta.url), "utf8");
const guests = [];

const server = await serve({
  ...(process.env.UNIX_PATH
    ? { unix: process.env.UNIX_PATH, mode: 0o666 }
    : { port: Number(process.env.PORT ?? 3000) }),
  loops: process.env.LOOPS === undefined ? "auto" : Number(process.env.LOOPS),
  health: { live: "/health/live", ready: "/health/ready" },
  routes: {
    // A Response value is answered by the native loop; JavaScript never sees these requests.
    "/": new Response(page, { headers: { "content-type": "text/html; charset=utf-8" } }),
    "/favicon.ico": new Response(null, { status: 204 }),

    // The fast path: owned request and response objects.
    "/hello/:name": raw((req, res) => {
      res.header("content-type", "text/plain; charset=utf-8").end(`Hello, ${req.params.name}!\n`);
    }),
    "/api/echo": {
      POST: raw(async (req, res) => res.json({ youSent: await req.json() })),
      maxBodySize: 64 * 1024,
    },
    "/api/metrics": raw((_req, res) => {
      const { loops, poller, metrics } = server;
      res.header("cache-control", "no-store").json({ loops, poller, metrics });
    }),

    // The standard way: Request in, Response out.
    "/api/guests": {
      GET: () => Response.json(guests),
      POST: async (request) => {
        const form = new URLSearchParams(await request.text());
        const name = form.get("name")?.trim();
        if (!name) return new Response("name is missing\n", { status: 422 });
        guests.unshift({ name: name.slice(0, 80), at: new Date().toISOString() });
        guests.length = Math.min(guests.length, 20);
        return new Response(null, { status: 303, headers: { location: "/" } });
      },
    },
  },
  error(error) {
    const status = error instanceof MillraceError ? (error.status ?? 500) : 500;
    return Response.json({ error: error instanceof Error ? error.message : "unknown" }, { status });
  },
  gracefulShutdown: true,
});

const host = server.loops === 0 ? "inline loop" : `${server.loops} threaded loop(s)`;
console.log(`millrace demo on ${server.url} (${host}, ${server.poller})`);
if (!process.env.UNIX_PATH) {
  console.log(`  curl -i ${server.url}/hello/you\n  curl -i -d '{"a":1}' ${server.url}/api/echo`);
}
