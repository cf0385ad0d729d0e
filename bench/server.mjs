// One server under measurement, named by its argument; answers "cpu" with its CPU time in µs.
import http from "node:http";
import { raw, serve } from "millrace";

const name = process.argv[2];

async function startNode() {
  const server = http.createServer((req, res) => {
    if (req.url === "/") {
      res.setHeader("content-type", "text/plain");
      res.end("Hello, World!");
      return;
    }
    const query = new URLSearchParams(req.url.slice(req.url.indexOf("?") + 1));
    const { accept, "x-request-id": id } = req.headers;
    res.setHeader("content-type", "application/json");
    res.end(
      JSON.stringify({ name: query.get("name"), sacks: Number(query.get("sacks")), accept, id }),
    );
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return server.address().port;
}

async function startMillrace(loops) {
  const server = await serve({
    port: 0,
    loops,
    routes: {
      "/": raw((_req, res) => {
        res.header("content-type", "text/plain").end("Hello, World!");
      }),
      "/json": raw((req, res) => {
        const { query, headers } = req;
        res.json({
          name: query.get("name"),
          sacks: Number(query.get("sacks")),
          accept: headers.get("accept"),
          id: headers.get("x-request-id"),
        });
      }),
    },
  });
  return server.addresses[0].port;
}

process.send(
  name === "node:http" ? await startNode() : await startMillrace(name.includes("inline") ? 0 : 1),
);
process.on("message", () => {
  const { user, system } = process.cpuUsage();
  process.send(user + system);
});
process.on("disconnect", () => process.exit(0));
