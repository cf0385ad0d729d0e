// Seed E2: two servers. One shows a form, the other takes it and sends the browser back to where it
// came from.
import { raw, serve } from "millrace";

const post = await serve({
  port: Number(process.env.POST_PORT ?? 5051),
  loops: 2,
  routes: {
    "/": {
      POST: raw(async (req, res) => {
        const form = await req.form();
        console.log("client said:", form.get("say") ?? "");
        res.redirect(req.headers.get("origin") ?? "/", 303);
      }),
    },
  },
  gracefulShutdown: true,
});

const page = `<!doctype html>
<title>millrace</title>
<form action="${post.url}" method="post"><input name="say" value="Hi"><button>Send</button></form>
`;

const get = await serve({
  port: Number(process.env.PORT ?? 5050),
  routes: {
    "/favicon.ico": new Response(null, { status: 204 }),
    "/**": {
      GET: raw((req, res) => {
        console.log("method:", req.method, "url:", req.url);
        res.header("content-type", "text/html").end(page);
      }),
      body: "none",
    },
  },
  gracefulShutdown: true,
});
console.log(`getandpost on ${get.url} and ${post.url}`);
