// Uploads and downloads for bench/streams.mjs: node:http with busboy, or millrace. Words: which,
// loops, the folder for files.
import { once } from "node:events";
import { createWriteStream, statSync } from "node:fs";
import http from "node:http";
import { join } from "node:path";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { pipeline } from "node:stream/promises";

const [which = "node", loops = "0", folder = "."] = process.argv.slice(2);
const chunk = Buffer.alloc(65_536, "x");
const delay = monitorEventLoopDelay({ resolution: 1 });
delay.enable();

// Percentiles since the last time, and the CPU time of the JavaScript thread, in microseconds.
function report() {
  const text = JSON.stringify({
    p99: delay.percentile(99) / 1e6,
    max: delay.max / 1e6,
    rss: process.memoryUsage().rss,
    idle: performance.eventLoopUtilization().active,
  });
  delay.reset();
  return text;
}

const chunksOf = (url) => Number(new URL(url, "http://a").searchParams.get("chunks"));

async function startMillrace() {
  const { dir, raw, serve } = await import("../../dist/index.js");
  const counted = async (req) => {
    let size = 0;
    for await (const bytes of req) size += bytes.length;
    return `${size}`;
  };
  const form = async (req) => {
    let size = 0;
    for await (const part of req.multipart()) for await (const bytes of part) size += bytes.length;
    return `${size}`;
  };
  const save = async (req) => `${(await req.saveTo(join(folder, "saved"))).size}`;
  const savePart = async (req) => {
    let size = 0;
    for await (const part of req.multipart())
      size += (await part.saveTo(join(folder, "saved"))).size;
    return `${size}`;
  };
  const upload = (read) => ({
    POST: raw(async (req, res) => void res.end(await read(req))),
    body: "stream",
  });
  const server = await serve({
    port: 0,
    loops: Number(loops),
    silent: true,
    routes: {
      "/raw": upload(counted),
      "/form": upload(form),
      "/save": upload(save),
      "/save-part": upload(savePart),
      "/files/**": dir(folder),
      "/report": raw((_req, res) => void res.end(report())),
      "/chunks": raw(async (req, res) => {
        for (let left = chunksOf(req.url); left > 0; left -= 1)
          if (!res.write(chunk)) await res.drained();
        res.end();
      }),
    },
  });
  return server.addresses[0].port;
}

async function startNode() {
  const { default: busboy } = await import("busboy");
  const counted = (req, done) => {
    let size = 0;
    req.on("data", (bytes) => (size += bytes.length));
    req.on("end", () => done(`${size}`));
  };
  const form = (req, done, use) => {
    let size = 0;
    const parser = busboy({ headers: req.headers });
    parser.on("file", (_name, file) => {
      file.on("data", (bytes) => (size += bytes.length));
      use?.(file);
    });
    parser.on("close", () => done(`${size}`));
    req.pipe(parser);
  };
  const server = http.createServer(async (req, res) => {
    const done = (text) => res.end(text);
    const path = req.url.split("?", 1)[0];
    if (path === "/raw") return counted(req, done);
    if (path === "/form") return form(req, done);
    if (path === "/save") {
      const target = join(folder, "saved");
      await pipeline(req, createWriteStream(target));
      return done(`${statSync(target).size}`);
    }
    if (path === "/save-part")
      return form(req, done, (file) => file.pipe(createWriteStream(join(folder, "saved"))));
    if (path === "/report") return done(report());
    for (let left = chunksOf(req.url); left > 0; left -= 1)
      if (!res.write(chunk)) await once(res, "drain");
    return res.end();
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return server.address().port;
}

const port = which === "node" ? await startNode() : await startMillrace();
process.stdout.write(`${port}\n`);
