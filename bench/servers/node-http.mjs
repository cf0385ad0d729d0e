// node:http with the answers of answers.mjs. It has no routes of its own: a switch, and for the
// static route its nearest equivalent, a prepared Buffer with its length. The path of a unix socket
// may be its argument.
import http from "node:http";
import { parse } from "node:querystring";
import { keepAliveMs, staticText, text } from "./answers.mjs";
import { announce } from "./control.mjs";

const prepared = Buffer.from(staticText);

const server = http.createServer({ keepAliveTimeout: keepAliveMs }, (req, res) => {
  const { url } = req;
  if (url === "/") return plain(res);
  if (url === "/async") return plainLater(res);
  if (url === "/static") return prebuilt(res);
  if (url === "/echo") return echo(req, res);
  return json(req, res);
});

function plain(res) {
  res.writeHead(200, { "content-type": "text/plain", "content-length": text.length });
  res.end(text);
}

async function plainLater(res) {
  await null;
  plain(res);
}

function prebuilt(res) {
  res.writeHead(200, { "content-type": "text/plain", "content-length": prepared.length });
  res.end(prepared);
}

function json(req, res) {
  const query = parse(req.url.slice(req.url.indexOf("?") + 1));
  const { accept, "x-request-id": id } = req.headers;
  const body = JSON.stringify({ name: query.name, sacks: Number(query.sacks), accept, id });
  res.writeHead(200, {
    "content-type": "application/json",
    "content-length": Buffer.byteLength(body),
  });
  res.end(body);
}

function echo(req, res) {
  const parts = [];
  req.on("data", (part) => parts.push(part));
  req.on("end", () => {
    const body = parts.length === 1 ? parts[0] : Buffer.concat(parts);
    res.writeHead(200, {
      "content-type": "application/octet-stream",
      "content-length": body.length,
    });
    res.end(body);
  });
}

const [, , unix] = process.argv;
const where = unix === undefined ? { port: 0, host: "127.0.0.1" } : { path: unix };
server.listen(where, () => announce(server.address().port, process.version));
