// What routes can be: parameters, wildcards, method tables, cookies, redirects, and the three
// places where the unexpected goes: notFound, methodNotAllowed and error.
import { MillraceError, raw, serve } from "millrace";

const plain = { "content-type": "text/plain; charset=utf-8" };

const server = await serve({
  port: Number(process.env.PORT ?? 3000),
  routes: {
    "/": new Response("Answered natively.\n", { headers: plain }),

    // Literal text goes before a parameter, a parameter before a wildcard, whatever the order here.
    "/users/me": raw((_req, res) => {
      res.end("You.\n");
    }),
    "/users/:id": raw((req, res) => {
      res.json({ user: req.params.id, fields: req.query.getAll("field") });
    }),
    "/users/:id/posts/:post": (_request, ctx) => Response.json(ctx.params),
    "/files/**": raw((req, res) => {
      res.send(200, `File ${req.params["*"]}\n`, plain);
    }),
    "/*.txt": raw((req, res) => {
      res.send(200, `Text ${req.params["*"]}\n`, plain);
    }),

    // HEAD comes with GET; OPTIONS and 405 with Allow come by themselves.
    "/note": {
      GET: raw((req, res) => {
        res.end(`${req.ctx.cookies.get("note") ?? "nothing noted"}\n`);
      }),
      PUT: raw(async (req, res) => {
        const note = await req.text({ limit: 200 });
        res.cookie("note", note, { httpOnly: true, maxAge: 3600, sameSite: "lax" }).send(204);
      }),
      maxBodySize: 1024,
    },

    "/old": raw((_req, res) => {
      res.redirect("/", 301);
    }),
    "/broken": () => {
      throw new Error("the wheel fell off");
    },
  },
  notFound: raw((req, res) => {
    res.header("content-type", "text/plain").end(`Nothing at ${req.path}\n`);
  }),
  methodNotAllowed: (request) => new Response(`No ${request.method} here.\n`, { status: 405 }),
  error(error, ctx) {
    if (error instanceof MillraceError) return undefined; // its own status: 400, 413, …
    return Response.json({ error: error.message, request: ctx.id }, { status: 500 });
  },
  gracefulShutdown: true,
});
console.log(`routes on ${server.url}`);
