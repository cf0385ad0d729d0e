// Behind a load balancer and nginx: req.ip, ctx.encrypted and request.url tell of the client, as
// far as those tell who are named here. A client that writes X-Forwarded-For itself stands left of
// what they have seen, and is not believed.
import { raw, serve } from "millrace";

const server = await serve({
  port: Number(process.env.PORT ?? 3000),
  trustProxy: [
    "loopback", // nginx on this machine
    "10.0.0.0/8", // the load balancer's network
  ],
  routes: {
    "/": raw((req, res) => {
      const { ctx, ip, peerAddress } = req;
      res.json({ ip, peer: peerAddress.address, encrypted: ctx.encrypted, url: ctx.request.url });
    }),
    // Only over https, as the client sees it.
    "/account": (request, ctx) => {
      if (ctx.encrypted) return new Response("your account\n");
      const to = new URL(request.url);
      to.protocol = "https:";
      return Response.redirect(to, 308);
    },
  },
  gracefulShutdown: { signals: ["SIGTERM"], timeout: 10_000 },
});
console.log(`behind-proxies on ${server.url}`);
