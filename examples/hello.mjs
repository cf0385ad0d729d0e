// The smallest useful server. Run it: node examples/hello.mjs
import { serve } from "millrace";

const server = await serve({
  port: Number(process.env.PORT ?? 3000),
  routes: {
    "/": new Response("Hello from a native loop.\n"),
    "/hello/:name": (_request, ctx) => new Response(`Hello, ${ctx.params.name}!\n`),
  },
  gracefulShutdown: true,
});
console.log(`hello on ${server.url}`);
