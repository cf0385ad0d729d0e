// A request body by states: each chunk as it comes, a word when nothing came for a while, and the
// end or what went wrong. A client that stalls for two seconds is cut off.
import { raw, serve } from "millrace";

const text = "All day the mill wheel turns and turns. ".repeat(6000).slice(0, 238_914);
const said = []; // about the last bodies

const page = () => `<!doctype html>
<meta charset="utf-8">
<title>millrace receive</title>
<form method="post"><textarea name="post">${text}</textarea> <button>Post</button></form>
<ul>${said.map((line) => `<li>${line}</li>`).join("")}</ul>
`;

async function receive(req, res) {
  let size = 0;
  let pauses = 0;
  for await (const { state, chunk, error } of req.receive({ waitMs: 50, giveUpMs: 2000 })) {
    switch (state) {
      case "progress":
        size += chunk.length;
        break;
      case "try-again":
        pauses += 1;
        break;
      case "complete":
        said.unshift(`complete: ${size} bytes, ${pauses > 0 ? "with" : "without"} pauses`);
        res.redirect("/", 303);
        break;
      default:
        said.unshift(`fail: ${error.code}`);
        res.send(error.status ?? 400, `${error.code}\n`); // reaches nobody when it was cut off
    }
  }
  said.length = Math.min(said.length, 50);
}

const server = await serve({
  port: Number(process.env.PORT ?? 3000),
  routes: {
    "/": {
      GET: raw((_req, res) => void res.header("content-type", "text/html").end(page())),
      POST: raw(receive),
      body: "stream",
    },
  },
  gracefulShutdown: true,
});
console.log(`receive on ${server.url}`);
