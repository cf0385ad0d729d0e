// Server-sent events: a page that shows what everybody says, as it is said. Who was away gets what
// was missed: the browser says which event it saw last.
import { raw, serve } from "millrace";

const streams = new Set();
const said = []; // the last hundred, each with its number
let count = 0;

const page = `<!doctype html>
<meta charset="utf-8">
<title>millrace events</title>
<form><input name="line" maxlength="200" required autofocus> <button>Say</button></form>
<p id="state">connecting</p>
<ul></ul>
<script type="module">
  const events = new EventSource("/events");
  const state = document.querySelector("#state");
  events.onopen = () => (state.textContent = "connected");
  events.onerror = () => (state.textContent = "connecting");
  events.addEventListener("line", ({ data }) => {
    const item = document.createElement("li");
    item.textContent = JSON.parse(data).text;
    document.querySelector("ul").prepend(item);
  });
  document.querySelector("form").onsubmit = async (event) => {
    event.preventDefault();
    await fetch("/say", { method: "POST", body: event.target.line.value });
    event.target.reset();
  };
</script>
`;

const server = await serve({
  port: Number(process.env.PORT ?? 3000),
  routes: {
    "/": new Response(page, { headers: { "content-type": "text/html; charset=utf-8" } }),
    "/events": raw((_req, res) => {
      // Ended with the server, which would wait for it; browsers come back by themselves.
      const events = res.events({ retry: 1000, endOnShutdown: true });
      for (const line of said) if (line.id > Number(events.lastEventId)) events.send(line);
      streams.add(events);
      events.signal.addEventListener("abort", () => streams.delete(events));
    }),
    "/say": {
      POST: raw(async (req, res) => {
        count += 1;
        const line = { event: "line", id: count, data: { text: await req.text({ limit: 800 }) } };
        if (said.push(line) > 100) said.shift();
        for (const events of streams) events.send(line);
        res.status(204).end();
      }),
    },
  },
  gracefulShutdown: true,
});
console.log(`events on ${server.url}`);
