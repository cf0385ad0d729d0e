// Seed E15, logging_file: what the server says and what handlers say goes into one file, in order.
// A native thread writes it; close() returns when all of it is written.
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FileLogger, raw, serve } from "millrace";

const path = process.env.LOG_FILE ?? join(tmpdir(), "millrace.log");
const logger = new FileLogger(path, { format: "text" });
process.on("SIGHUP", () => void logger.reopen()); // logrotate has renamed the file

const server = await serve({
  port: Number(process.env.PORT ?? 8080),
  log: { level: "info", write: logger.write },
  routes: {
    "/": raw((req, res) => {
      logger.info("asked for", req.url, "by", req.ip);
      res.end("Hello, World!");
    }),
    "/broken": raw(() => {
      throw new Error("the wheel fell off");
    }),
  },
  gracefulShutdown: true,
});
console.log(`logging-file on ${server.url} into ${path}`);

await server.closed;
await logger.close();
console.log(`all is written, ${logger.dropped} lines were dropped`);
