// Seed E12, chunkedbackpressuretest: SIZE bytes in chunks of 64 KiB, as fast as the client takes
// them and no faster: `curl --limit-rate 2M -o /dev/null URL`. The server holds no more of it for
// a client that is slow, and for a larger body.
import { raw, serve } from "millrace";

const CHUNK = 65_536;
const SIZE = Number(process.env.SIZE ?? 128 * 1024 * 1024);

// Not the same in each, so that a chunk that is lost or comes twice shows.
function* chunks() {
  for (let at = 0; at < SIZE; at += CHUNK) {
    const chunk = Buffer.alloc(Math.min(CHUNK, SIZE - at));
    for (let i = 0; i < chunk.length; i += 4) chunk.writeUInt32LE((at + i) / 4, i);
    yield chunk;
  }
}

const server = await serve({
  port: Number(process.env.PORT ?? 8080),
  routes: {
    "/": raw(async (_req, res) => {
      let most = 0;
      for (const chunk of chunks()) {
        const hasRoom = res.write(chunk);
        most = Math.max(most, res.writableLength);
        if (!hasRoom) await res.drained();
      }
      res.end();
      console.log(`${SIZE} bytes were written, at most ${most} of them waited`);
    }),
  },
  gracefulShutdown: true,
});
console.log(`chunkedbackpressure on ${server.url}`);
