// Seed E1: the same two words for every request.
import { serve } from "millrace";

const server = await serve({
  port: Number(process.env.PORT ?? 8080),
  handler: (_req, res) => {
    res.end("hello world");
  },
  gracefulShutdown: true,
});
console.log(`helloworld on ${server.url}`);
