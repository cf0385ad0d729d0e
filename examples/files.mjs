// Files: a folder with cache headers, one file, and files that a handler chooses. They are found
// and sent natively, with ETag, conditional requests and ranges; a download that broke off goes on
// with "curl -C -". This one serves its own folder.
import { fileURLToPath } from "node:url";
import { dir, file, raw, serve } from "millrace";

const folder = fileURLToPath(new URL(".", import.meta.url));
const downloads = new Map(); // by name

const page = `<!doctype html>
<meta charset="utf-8">
<title>millrace files</title>
<ul>
  <li><a href="/source/hello.mjs">hello.mjs</a>, cached for an hour
  <li><a href="/demo/">the demo's page</a>, which stands for its folder
  <li><a href="/me">this program</a>
  <li><a href="/download/routes.mjs">routes.mjs</a> as a download, which is counted
</ul>
`;

const server = await serve({
  port: Number(process.env.PORT ?? 3000),
  routes: {
    "/": new Response(page, { headers: { "content-type": "text/html; charset=utf-8" } }),
    "/source/**": dir(folder, { headers: { "cache-control": "public, max-age=3600" } }),
    "/demo/**": dir(new URL("demo", import.meta.url), { index: "page.html", precompressed: false }),
    "/me": file(new URL(import.meta.url), { type: "text/plain; charset=utf-8" }),
    "/download/*": raw(async (req, res) => {
      const name = req.params["*"];
      res.header("content-disposition", `attachment; filename*=UTF-8''${encodeURIComponent(name)}`);
      try {
        // Nothing in the name leaves the root: not "..", not a symbolic link.
        await res.file(name, { root: folder });
        downloads.set(name, (downloads.get(name) ?? 0) + 1);
      } catch (error) {
        if (error.code !== "ERR_MILLRACE_FILE_NOT_FOUND") throw error;
        res.header("content-disposition", []).status(404).end(`There is no ${name}.\n`);
      }
    }),
    "/downloads": raw((_req, res) => void res.json(Object.fromEntries(downloads))),
  },
  gracefulShutdown: true,
});
console.log(`files on ${server.url}`);
