// Says what it knows of its descriptors; or a server that runs out of them: node fds.mjs NAME.
// The lower limits are set here, because Node raises what it starts with.
import { closeSync, openSync } from "node:fs";
import { fds, raw, serve } from "millrace";
import { binding } from "../../dist/native/binding.js";

const lower = (soft) => binding().setFdLimit(soft);
const codeOf = (call) => {
  try {
    return call();
  } catch ({ name, code, message }) {
    return `${name} ${code}: ${message}`;
  }
};

const programs = {
  limits() {
    const { soft, hard } = fds;
    console.log(JSON.stringify({ soft, hard }));
  },

  open() {
    const before = fds.open;
    const held = [1, 2, 3].map(() => openSync("/dev/null"));
    const after = fds.open;
    for (const fd of held) closeSync(fd);
    const again = fds.open;
    lower(before + 5);
    const rest = [];
    const code = codeOf(() => {
      for (;;) rest.push(openSync("/dev/null"));
    });
    const { open: full, soft } = fds;
    for (const fd of rest) closeSync(fd);
    const more = [after - before, again - before];
    console.log(JSON.stringify({ more, code: code.slice(0, 12), full, soft }));
  },

  raise() {
    lower(40);
    const wrong = [0, -1, 1.5, Number.NaN, "50", 129, Number.POSITIVE_INFINITY];
    const steps = wrong.map((n) => codeOf(() => fds.raise(n)));
    const before = fds.soft;
    const lowered = fds.raise(30); // nothing to raise
    const raised = fds.raise(50);
    const { soft } = fds;
    const most = fds.raise();
    console.log(JSON.stringify({ steps, before, lowered, raised, soft, most, hard: fds.hard }));
  },

  async reload() {
    const server = await serve({ port: 0, handler: (_req, res) => res.end("1") });
    const answer = async () => (await fetch(server.url)).text();
    const before = await answer();
    const rest = [];
    const code = codeOf(() => {
      for (;;) rest.push(openSync("/dev/null"));
    });
    await server.reload({ handler: (_req, res) => res.end("2") });
    for (const fd of rest) closeSync(fd);
    const after = await answer();
    await server.close();
    console.log(JSON.stringify({ before, code: code.slice(0, 12), after }));
  },

  async server() {
    lower(fds.open + 25);
    const server = await serve({
      port: 0,
      routes: {
        "/": new Response("hello"),
        "/raise": raw((_req, res) => res.end(`${fds.raise()}`)),
      },
    });
    console.log("listening", server.url);
    setInterval(() => console.log("pauses", server.metrics.counters.acceptPauses), 20);
  },
};

await programs[process.argv[2]]();
