// An HTML form without a framework: an urlencoded body, limits on it, and the answer that keeps a
// reload from posting twice.
import { raw, serve } from "millrace";

const lines = [];
const escapes = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };
const escaped = (text) => text.replace(/[&<>"]/g, (c) => escapes[c]);

const page = () => `<!doctype html>
<meta charset="utf-8">
<title>millrace form</title>
<form method="post">
  <input name="line" maxlength="200" required autofocus>
  <button>Add</button>
</form>
<ul>${lines.map((line) => `<li>${escaped(line)}</li>`).join("")}</ul>
`;

const server = await serve({
  port: Number(process.env.PORT ?? 3000),
  routes: {
    "/": {
      GET: raw((_req, res) => {
        res.header("content-type", "text/html; charset=utf-8").end(page());
      }),
      POST: raw(async (req, res) => {
        const form = await req.form(); // 415 when it is another kind of body
        const line = form.get("line")?.trim() ?? "";
        if (line === "" || line.length > 200) {
          res.status(422).end("Give one line of at most 200 characters.\n");
          return;
        }
        lines.unshift(line);
        lines.length = Math.min(lines.length, 50);
        res.redirect("/", 303);
      }),
      maxBodySize: 4096, // 413 natively beyond that, before the body is read
    },
  },
  limits: { maxHeaderSize: 8192 },
  timeouts: { receive: 5000 },
  gracefulShutdown: true,
});
console.log(`form on ${server.url}`);
