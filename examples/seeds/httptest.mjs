// Seed E7, httptest: two servers that tell what the field Connection says and log all they see.
// /close ends the connection behind its answer, /stop ends both servers.
import { raw, serve } from "millrace";

const servers = [];

function start(port) {
  return serve({
    port,
    log: {
      level: "trace",
      write: ({ levelName, server, msg }) => console.log(`${levelName} ${server} ${msg}`),
    },
    onClose: (connection, cause, detail) => {
      console.log(`connection ${connection.id} is closed: ${cause} ${detail}`.trim());
    },
    routes: {
      "/": raw((req, res) => {
        res.end(`connection: ${req.headers.get("connection") ?? "not said"}\n`);
      }),
      "/close": raw((req, res) => {
        res.end("the end of this connection\n");
        req.connection.close("CloseCalled", "by /close");
      }),
      "/stop": raw((_req, res) => {
        res.end("the end of the servers\n");
        for (const each of servers) void each.close();
      }),
    },
    gracefulShutdown: true,
  });
}

servers.push(await start(Number(process.env.PORT ?? 5050)));
servers.push(await start(Number(process.env.OTHER_PORT ?? 5051)));
console.log(`httptest on ${servers[0].url} and ${servers[1].url}`);
