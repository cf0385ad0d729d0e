// Seed E15, custom_handler_params: handlers with a parameter more. A wrapper finds out who asks and
// refuses strangers, so that each handler begins with a user.
import { raw, serve } from "millrace";

const users = new Map([
  ["k7Qm2x", { name: "Ada", isAdmin: true }],
  ["p9Zr4t", { name: "Ben", isAdmin: false }],
]);

function userOf(req) {
  const [, token] = /^Bearer (\S+)$/i.exec(req.headers.get("authorization") ?? "") ?? [];
  return users.get(token);
}

function withUser(handler) {
  return raw((req, res) => {
    const user = userOf(req);
    if (user !== undefined) return handler(req, res, user);
    res.header("WWW-Authenticate", "Bearer").send(401, "Who are you?\n");
  });
}

const forAdmins = (handler) =>
  withUser((req, res, user) => {
    if (user.isAdmin) return handler(req, res, user);
    res.send(403, `Not for you, ${user.name}.\n`);
  });

const server = await serve({
  port: Number(process.env.PORT ?? 8080),
  routes: {
    "/": raw((_req, res) => void res.end("For everybody.\n")),
    "/me": withUser((_req, res, user) => void res.end(`You are ${user.name}.\n`)),
    "/mills/:id": {
      DELETE: forAdmins((req, res, user) => {
        res.json({ deleted: req.params.id, by: user.name });
      }),
    },
  },
  gracefulShutdown: true,
});
console.log(`custom-handler-params on ${server.url}`);
