// Fastify as its documentation has it for speed: no logger, a response schema for JSON.
// It has no static routes without a plugin: the nearest equivalent sends a prepared Buffer.
import fastify from "fastify";
import { keepAliveMs, staticText, text } from "./answers.mjs";
import { announce } from "./control.mjs";

const prepared = Buffer.from(staticText);
const app = fastify({ logger: false, keepAliveTimeout: keepAliveMs });

app.get("/", (_request, reply) => {
  reply.type("text/plain").send(text);
});
app.get("/async", async (_request, reply) => {
  await null;
  reply.type("text/plain");
  return text;
});
app.get("/static", (_request, reply) => {
  reply.type("text/plain").send(prepared);
});

const schema = {
  response: {
    200: {
      type: "object",
      properties: {
        name: { type: "string" },
        sacks: { type: "integer" },
        accept: { type: "string" },
        id: { type: "string" },
      },
    },
  },
};
app.get("/json", { schema }, (request, reply) => {
  const { name, sacks } = request.query;
  const { accept, "x-request-id": id } = request.headers;
  reply.send({ name, sacks: Number(sacks), accept, id });
});

app.addContentTypeParser(
  "application/octet-stream",
  { parseAs: "buffer" },
  (_request, body, done) => done(null, body),
);
app.post("/echo", (request, reply) => {
  reply.type("application/octet-stream").send(request.body);
});

await app.listen({ port: 0, host: "127.0.0.1" });
announce(app.server.address().port, app.version);
