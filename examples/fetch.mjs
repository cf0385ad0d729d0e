// One standard handler for everything: Request in, Response out. It is portable to any runtime that
// speaks the fetch API; `ctx` is what millrace adds.
import { serve } from "millrace";

async function answer(request, ctx) {
  const url = new URL(request.url);
  if (url.pathname === "/") {
    return new Response("<!doctype html><title>fetch</title><h1>Request in, Response out</h1>\n", {
      headers: { "content-type": "text/html; charset=utf-8" },
    });
  }
  if (url.pathname === "/reverse" && request.method === "POST") {
    const text = await request.text();
    return new Response([...text].reverse().join(""));
  }
  if (url.pathname === "/about-you") {
    return Response.json({
      address: ctx.remoteAddress.address,
      agent: request.headers.get("user-agent"),
      id: ctx.id,
    });
  }
  if (url.pathname === "/later") {
    // close() waits for this, the client does not.
    ctx.waitUntil(Promise.resolve().then(() => console.log("done after the answer")));
    return new Response(null, { status: 202 });
  }
  if (url.pathname === "/away") return Response.redirect(new URL("/", url), 303);
  return new Response("Not Found\n", { status: 404 });
}

const server = await serve({
  port: Number(process.env.PORT ?? 3000),
  fetch: answer,
  gracefulShutdown: true,
});
console.log(`fetch on ${server.url}`);
