// Seed E6, streamingdownloadtest: five chunks of random text, then the end.
import { raw, serve } from "millrace";

const LETTERS = "abcdefghijklmnopqrstuvwxyz";
const random = (least, most) => least + Math.floor(Math.random() * (most - least + 1));
const randomText = (least, most) =>
  Array.from({ length: random(least, most) }, () => LETTERS[random(0, 25)]).join("");

const server = await serve({
  port: Number(process.env.PORT ?? 5050),
  routes: {
    "/": raw(async (_req, res) => {
      res.header("content-type", "text/plain");
      for (let i = 0; i < 5; i += 1) {
        if (!res.write(randomText(1, 1000))) await res.drained();
      }
      res.end();
    }),
  },
  gracefulShutdown: true,
});
console.log(`streamingdownload on ${server.url}`);
