// Uploads: a form of several fields and files, of any size. Native threads write the files while
// they come; no byte of them passes JavaScript, and memory stays flat.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { raw, serve } from "millrace";

const folder = mkdtempSync(join(tmpdir(), "millrace-uploads-"));
const accepted = ["application/pdf", "image/jpeg", "image/png", "text/plain"];
const lines = [];
let count = 0;

const escapes = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };
const escaped = (text) => text.replace(/[&<>"]/g, (c) => escapes[c]);

const page = () => `<!doctype html>
<meta charset="utf-8">
<title>millrace uploads</title>
<form action="/upload" method="post" enctype="multipart/form-data">
  <p><input name="subject" maxlength="100" placeholder="Subject">
  <p><textarea name="message" placeholder="Message"></textarea>
  <p><input type="file" name="files" multiple> <button>Send</button>
</form>
<ul>${lines.map((line) => `<li>${escaped(line)}</li>`).join("\n")}</ul>
`;

async function upload(req, res) {
  for await (const part of req.multipart({ files: 10, fieldSize: 10_000, idleMs: 2000 })) {
    if (part.filename === undefined) {
      lines.unshift(`${part.name}: ${await part.text()}`);
    } else if (part.filename !== "") {
      // Never a path that the client chose.
      count += 1;
      const path = join(folder, String(count));
      if (!accepted.includes(part.type)) {
        res.status(415).end(`Files of type ${part.type} are not taken.\n`);
        return; // what is left of the form is dropped
      }
      const { size, sha256 } = await part.saveTo(path, { sha256: true });
      lines.unshift(`${part.filename}: ${size} bytes, SHA-256 ${sha256}`);
    }
  }
  lines.length = Math.min(lines.length, 50);
  res.redirect("/", 303);
}

const server = await serve({
  port: Number(process.env.PORT ?? 3000),
  routes: {
    "/": raw((_req, res) => void res.header("content-type", "text/html").end(page())),
    "/upload": { POST: raw(upload), body: "stream", maxBodySize: 10_000_000_000 },
  },
  gracefulShutdown: true,
});
console.log(`uploads on ${server.url} into ${folder}`);
await server.closed;
rmSync(folder, { recursive: true });
