// A cluster whose threads run cluster-app.mjs: node cluster.mjs MODE LOOPS. Prints a line of JSON
// when it serves, or why it does not, and one with what its end reported.
import { once } from "node:events";
import { cluster } from "millrace";

const [mode, loops] = process.argv.slice(2);
const counts = new Int32Array(new SharedArrayBuffer(16)); // init, dispose, aborted, blocked
const app = new URL("cluster-app.mjs", import.meta.url);
const say = (what) => console.log(JSON.stringify(what));
process.on("warning", ({ code, message, detail = "" }) => say({ code, message, detail }));

// Before anybody knows that it serves.
const told = mode === "signal" ? undefined : once(process, "SIGTERM");

try {
  const made = await cluster(app, {
    data: { counts, loops: Number(loops), mode },
    gracefulShutdown: mode === "signal",
    respawn: mode !== "noRespawn",
    startTimeout: mode === "hangs" ? 500 : 30_000,
    threads: 2,
  });
  const { threads, url } = made;
  say({ url, ready: threads.map(({ index, isReady, restarts }) => [index, isReady, restarts]) });
  if (mode === "blocked") {
    fetch(`${url}/block`).catch(() => undefined);
    while (counts[3] === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    say({ ends: await made.close({ timeout: 0 }), counts: [...counts] });
  } else if (mode === "signal" || mode === "noRespawn") {
    say({ ends: await made.closed, counts: [...counts] });
  } else {
    await told;
    const restarts = made.threads.map((thread) => thread.restarts);
    const [ends, again] = await Promise.all([made.close(), made.close()]);
    say({ ends, isSame: ends === again, counts: [...counts], restarts });
  }
} catch ({ code, message, cause }) {
  say({ code, message, cause: cause?.message, counts: [...counts] });
}
