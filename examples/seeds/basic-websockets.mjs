// Seed E15, basic_websockets: a socket is greeted when it opens, and what it says is printed.
import { serve, websocket } from "millrace";

const server = await serve({
  port: Number(process.env.PORT ?? 8080),
  routes: {
    "/ws": websocket({
      open(ws) {
        ws.send("Hello world from WebSocket!");
      },
      message(_ws, data) {
        console.log(`heard: ${data}`);
      },
      close() {
        console.log("closed");
      },
    }),
  },
  gracefulShutdown: true,
});
console.log(`basic-websockets on ${server.url}/ws`);
