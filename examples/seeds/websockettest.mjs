// Seed E9, websockettest: what one tab says, all hear a hundred times; "shutdown" ends it for all.
import { serve } from "millrace";

const page = `<!doctype html>
<meta charset="utf-8">
<title>websockettest</title>
<button id="hallo">hallo</button> <button id="close">close</button>
<button id="shutdown">shutdown</button>
<p id="state">connecting</p>
<ol></ol>
<script type="module">
  const socket = new WebSocket(location.href.replace("http", "ws") + "socket");
  const state = document.querySelector("#state");
  socket.onopen = () => (state.textContent = "open");
  socket.onclose = ({ code }) => (state.textContent = "closed " + code);
  socket.onmessage = ({ data }) => {
    const item = document.createElement("li");
    item.textContent = data;
    document.querySelector("ol").append(item);
  };
  for (const button of document.querySelectorAll("button")) {
    button.onclick = () => {
      if (button.id === "close") socket.close(4321, "why");
      else socket.send(button.id);
    };
  }
</script>
`;

let count = 0;

const server = await serve({
  port: Number(process.env.PORT ?? 5050),
  routes: {
    "/": new Response(page, { headers: { "content-type": "text/html; charset=utf-8" } }),
    "/socket": {
      upgrade: (_request, ctx) => {
        console.log(`${ctx.remoteAddress.address} requests upgrade`);
      },
      async message(_ws, text) {
        if (text === "shutdown") {
          for (const each of server.sockets) each.close(1001);
          void server.close();
        }
        if (text !== "hallo") return;
        for (let i = 0; i < 100; i += 1) {
          count += 1;
          const { failed } = await server.sendMany(server.sockets, `${count} hello`);
          for (const each of failed) console.log(`websocket ${each.id} did not get it`);
        }
      },
      close: (_ws, code, reason) => console.log(`websocket closed: ${code} ${reason}`.trim()),
    },
  },
  gracefulShutdown: true,
});
console.log(`websockettest on ${server.url}`);
