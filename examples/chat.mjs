// A chat with rooms: a WebSocket per tab, a topic per room. http://127.0.0.1:3000/ is room "mill",
// http://127.0.0.1:3000/#attic is another one.
import { serve } from "millrace";

const page = `<!doctype html>
<meta charset="utf-8">
<title>millrace chat</title>
<form><input name="line" maxlength="500" required autofocus> <button>Say</button></form>
<p id="state">connecting</p>
<ul></ul>
<script type="module">
  const room = location.hash.slice(1) || "mill";
  const state = document.querySelector("#state");
  let socket;
  const show = ({ from, text }) => {
    const item = document.createElement("li");
    item.textContent = from + ": " + text;
    document.querySelector("ul").prepend(item);
  };
  const join = () => {
    const url = new URL("/rooms/" + encodeURIComponent(room), location.href);
    url.protocol = url.protocol.replace("http", "ws");
    socket = new WebSocket(url, "chat.v1");
    socket.onopen = () => (state.textContent = "in room " + room);
    socket.onmessage = ({ data }) => show(JSON.parse(data));
    socket.onclose = ({ code }) => {
      state.textContent = "away (" + code + ")";
      setTimeout(join, 1000);
    };
  };
  join();
  document.querySelector("form").onsubmit = (event) => {
    event.preventDefault();
    if (socket.readyState !== WebSocket.OPEN) return;
    socket.send(event.target.line.value);
    event.target.reset();
  };
</script>
`;

let guests = 0;

const server = await serve({
  port: Number(process.env.PORT ?? 3000),
  routes: {
    "/": new Response(page, { headers: { "content-type": "text/html; charset=utf-8" } }),
    "/rooms/:room": {
      protocols: ["chat.v1"],
      maxPayloadLength: 2000,
      upgrade(request, ctx) {
        // Browsers let pages of any site connect: whoever minds looks at the Origin.
        const origin = request.headers.get("origin")?.replace(/^https?:\/\//, "");
        if (origin !== undefined && origin !== request.headers.get("host"))
          return new Response("no chat for other sites\n", { status: 403 });
        guests += 1;
        return { data: { name: `guest ${guests}`, topic: `room ${ctx.params.room}` } };
      },
      open(ws) {
        const { name, topic } = ws.data;
        ws.subscribe(topic);
        server.publish(topic, JSON.stringify({ from: name, text: "is here" }));
      },
      message(ws, text) {
        const { name, topic } = ws.data;
        server.publish(topic, JSON.stringify({ from: name, text: String(text) }));
      },
      close(ws) {
        const { name, topic } = ws.data;
        server.publish(topic, JSON.stringify({ from: name, text: "has left" }));
      },
    },
  },
  gracefulShutdown: true,
});
console.log(`chat on ${server.url}`);
