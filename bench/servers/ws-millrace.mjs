// millrace's WebSockets and topics, as built in dist/. Words: the number of native loops, then
// "deflate" for compression with its defaults, "takeover" for one that remembers earlier messages.
import { serve } from "../../dist/index.js";
import { keepAliveMs } from "./answers.mjs";
import { announce } from "./control.mjs";

const words = process.argv.slice(2);
const takeover = words.includes("takeover");
const common = {
  idleTimeout: keepAliveMs * 4,
  perMessageDeflate: words.includes("deflate") && {
    contextTakeover: takeover,
    peerContextTakeover: takeover,
  },
};

const server = await serve({
  port: 0,
  loops: Number(words[0]),
  silent: true,
  routes: {
    "/echo": { ...common, message: (ws, data) => void ws.send(data) },
    "/subscribe": {
      ...common,
      open(ws) {
        ws.subscribe("news");
        ws.send("ready");
      },
    },
    "/publish": { ...common, message: (_ws, data) => void server.publish("news", data) },
  },
});

announce(server.addresses[0].port, "", () => ({ blocks: server.metrics.counters.blocks }));
