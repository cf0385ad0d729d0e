// A host of several: node sync.mjs redis|nats ADDRESS LOOPS THREADS. One server per worker thread,
// each on a port of its own, with one broker between them and other processes. Prints "ports N N".
// A socket subscribes to all topics that the query names, and publishes what it sends: a text is
// `topic\ntext`, bytes are published as they are on the topic "bytes".
import { once } from "node:events";
import { isMainThread, parentPort, Worker } from "node:worker_threads";
import { connect } from "@nats-io/transport-node";
import { serve } from "millrace";
import { natsSync } from "millrace/sync/nats";
import { redisSync } from "millrace/sync/redis";
import { createClient } from "redis";

const [kind, address, loops, threads] = process.argv.slice(2);

async function makeSync() {
  if (kind === "nats") {
    return natsSync(await connect({ servers: address, maxReconnectAttempts: -1 }));
  }
  const client = createClient({ socket: { path: address } });
  client.on("error", () => undefined);
  await client.connect();
  return redisSync(client);
}

async function start() {
  const cluster = { scope: "cluster" };
  const server = await serve({
    port: 0,
    hostname: "127.0.0.1",
    loops: Number(loops),
    silent: true,
    sync: await makeSync(),
    routes: {
      "/": {
        maxPayloadLength: 4 * 1024 * 1024,
        backpressureLimit: 8 * 1024 * 1024,
        upgrade: (request) => ({ data: new URL(request.url).searchParams.getAll("topic") }),
        open(ws) {
          for (const topic of ws.data) ws.subscribe(topic);
          ws.send("open");
        },
        message(_ws, data) {
          if (typeof data !== "string") return void server.publish("bytes", data, cluster);
          const end = data.indexOf("\n");
          server.publish(data.slice(0, end), data.slice(end + 1), cluster);
        },
      },
    },
  });
  return server.addresses[0].port;
}

if (isMainThread) {
  const options = { argv: process.argv.slice(2) };
  const workers = Array.from({ length: Number(threads) }, () => {
    return new Worker(new URL(import.meta.url), options);
  });
  const ports = await Promise.all(workers.map((worker) => once(worker, "message")));
  console.log(`ports ${ports.join(" ")};`);
} else {
  parentPort.postMessage(await start());
}
