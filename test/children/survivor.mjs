// Survives what its handlers throw outside of their calls: node survivor.mjs LOOPS. Asks itself.
import { once } from "node:events";
import { connect } from "node:net";
import { raw, serve } from "millrace";

const caught = { exceptions: 0, rejections: 0 };
process.on("uncaughtException", () => (caught.exceptions += 1));
process.on("unhandledRejection", () => (caught.rejections += 1));
const fail = () => {
  throw new Error("outside of the handler");
};

/** Answers, and arranges for an error afterwards. */
function answering(text, arrange) {
  return raw((_req, res) => {
    res.end(text);
    arrange();
  });
}

const server = await serve({
  port: 0,
  loops: Number(process.argv[2]),
  limits: { maxPipelined: 1024 },
  routes: {
    "/tick": answering("tick", () => process.nextTick(fail)),
    "/microtask": answering("microtask", () => queueMicrotask(fail)),
    "/timer": answering("timer", () => setTimeout(fail, 0)),
    "/immediate": answering("immediate", () => setImmediate(fail)),
    "/rejection": answering("rejection", () => void Promise.reject(new Error())),
    // These are answered after somebody else's error came in between.
    "/later": raw(async (_req, res) => {
      process.nextTick(fail);
      await new Promise((resolve) => setImmediate(resolve));
      res.end("later");
    }),
  },
});

const names = ["tick", "microtask", "timer", "immediate", "rejection", "later"];
const asked = Array.from({ length: 600 }, (_, n) => names[n % names.length]);
const client = connect(server.addresses[0].port, "127.0.0.1");
client.write(asked.map((name) => `GET /${name} HTTP/1.1\r\nHost: a\r\n\r\n`).join(""));
let text = "";
client.setEncoding("latin1").on("data", (part) => (text += part));
while (text.split("\r\n\r\n").length - 1 < asked.length) await once(client, "data");
const bodies = [...text.matchAll(/\r\n\r\n([a-z]+)/g)].map(([, body]) => body);
client.destroy();
while (caught.exceptions < 500 || caught.rejections < 100)
  await new Promise((resolve) => setImmediate(resolve));
const report = await server.close();
const isPrompt = performance.now() < 8000; // not by some timeout
const isInOrder = bodies.join() === asked.join();
console.log(JSON.stringify({ isInOrder, isPrompt, ...caught, forced: report.forced }));
