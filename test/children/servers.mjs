// Programs for lifecycle.test.ts and faults.test.ts: node servers.mjs NAME LOOPS [MORE…].
import { existsSync } from "node:fs";
import { raw, serve } from "millrace";
import { binding } from "../../dist/native/binding.js";

const [name, loopsText, more] = process.argv.slice(2);
const loops = Number(loopsText);
const hello = raw((_req, res) => void res.end("hello"));

const programs = {
  // Ends by itself: nothing else keeps the process alive.
  async unref() {
    const server = await serve({ port: 0, loops, handler: (_req, res) => void res.end() });
    server.unref().ref().unref();
    console.log("unref", server.url);
  },

  // Lives until told to end, although nothing else keeps it alive.
  async ref() {
    const server = await serve({ port: 0, loops, routes: { "/": hello } });
    server.unref().ref();
    console.log("listening", server.url);
  },

  // A slow request is answered although SIGTERM comes before its answer.
  async graceful() {
    let release;
    const slow = raw(async (_req, res) => {
      console.log("slow is there");
      await new Promise((resolve) => {
        release = resolve;
      });
      res.end("slow but sure");
    });
    process.on("SIGTERM", () => setTimeout(release, 50));
    const server = await serve({
      port: 0,
      loops,
      routes: { "/": hello, "/slow": slow },
      gracefulShutdown: { signals: ["SIGTERM"], timeout: 5000 },
    });
    console.log("listening", server.url);
    console.log("closed", JSON.stringify(await server.closed));
  },

  // Serves on a listening socket that the parent has opened.
  async inherited() {
    const server = await serve({ fd: Number(more), loops, routes: { "/": hello } });
    console.log("listening", JSON.stringify(server.addresses));
    process.once("SIGTERM", async () => console.log("closed", await server.close()));
  },

  // Blocks its JavaScript when asked to, for as long as a file is there.
  async blocking() {
    const server = await serve({
      port: 0,
      loops,
      health: { live: "/live", ready: "/ready" },
      routes: {
        "/": hello,
        "/static": new Response("static"),
        "/block": raw((_req, res) => {
          console.log("blocked");
          while (existsSync(more));
          res.end("unblocked");
        }),
      },
    });
    console.log("listening", server.url);
  },

  // Runs out of descriptors; says how much CPU a second of that takes, and again when it is over.
  async descriptors() {
    binding().setFdLimit(64); // not before: Node opens the package's modules side by side
    const server = await serve({ port: 0, loops, routes: { "/": hello } });
    console.log("listening", server.url);
    process.on("warning", ({ code }) => console.log("warning", code));
    let before = process.cpuUsage();
    setInterval(() => {
      const { user, system } = process.cpuUsage(before);
      before = process.cpuUsage();
      const { connections, counters } = server.metrics;
      const ms = Math.round((user + system) / 1000);
      console.log("second", JSON.stringify({ ms, connections, pauses: counters.acceptPauses }));
    }, 1000);
  },
};

await programs[name]();
