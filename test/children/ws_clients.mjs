// Programs for websocket_client_interop.test.ts: node ws_clients.mjs NAME URL [LOOPS].
import { parentPort } from "node:worker_threads";
import { clientele, connect, WebSocket } from "millrace";

const [name, url, loops] = process.argv.slice(2);

const programs = {
  // Ends by itself: all clients were closed.
  async closed() {
    const ws = await connect(url);
    const many = clientele();
    await many.client(url).connect();
    ws.close();
    await ws.closed;
    // Not the clientele itself, only its client.
    await many.clients.get(1).close();
  },

  // Ends by itself: nothing came of it.
  async failed() {
    await connect("ws://127.0.0.1:1/").catch(() => undefined);
    const attempt = connect(url, { signal: AbortSignal.abort() });
    await attempt.catch(() => undefined);
  },

  // Ends by itself, although a client is open.
  async unref() {
    const many = clientele({ loops: 1 }).unref();
    await many.client(url).connect();
  },

  // Ends by itself: the connection was cut.
  async cut() {
    const ws = await connect(url);
    ws.terminate();
  },

  async standard() {
    const ws = new WebSocket(url);
    ws.onopen = () => ws.close();
    await new Promise((resolve) => {
      ws.onclose = resolve;
    });
  },

  // Nothing but a clientele, and its end: what follows close() has to run.
  async ended() {
    for (const each of [0, 2]) {
      const many = clientele({ loops: each });
      await many.client(url).connect();
      await many.close();
      await many.start();
      await many.close();
      const free = clientele({ loops: each }).unref();
      await free.client(url).connect();
      await free.close();
    }
  },

  // Stays as long as its socket does.
  async open() {
    await connect(url);
  },

  // Ended from outside with clients of all kinds.
  async worker() {
    const many = clientele({ loops: Number(loops) });
    for (let i = 0; i < 20; i += 1) many.client(url);
    await Promise.all([...many.clients.values()].map((client) => client.connect()));
    const ws = await connect(url);
    for (const client of many.connected()) void client.send("x".repeat(10_000));
    ws.send("still busy");
    parentPort.postMessage("ready");
    for await (const message of ws) ws.send(message);
  },
};

await programs[name]();
console.log("done");
