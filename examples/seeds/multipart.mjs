// Seed E15, multipart: the parts of a form, as they come.
import { raw, serve } from "millrace";

const server = await serve({
  port: Number(process.env.PORT ?? 8080),
  routes: {
    "/": {
      POST: raw(async (req, res) => {
        const lines = [];
        for await (const part of req.multipart({ totalSize: 1_000_000 })) {
          const bytes = await part.bytes();
          lines.push(`${part.name} ${part.filename ?? "-"} ${part.type} ${bytes.length}`);
        }
        res.end(`${lines.join("\n")}\n`);
      }),
    },
  },
  gracefulShutdown: true,
});
console.log(`multipart on ${server.url}`);
