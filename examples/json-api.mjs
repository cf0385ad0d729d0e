// A JSON API: list, create, read, replace, delete. Bodies that are not JSON are answered 400, too
// large ones 413, wrong methods 405, all without a line of code here.
import { raw, serve } from "millrace";

const items = new Map();
let lastId = 0;

const missing = (res, id) => res.status(404).json({ error: `no item ${id}` });

async function readItem(req, res) {
  const { name, count = 1 } = (await req.json()) ?? {};
  if (typeof name === "string" && name !== "" && Number.isInteger(count)) return { name, count };
  res.status(422).json({ error: "an item has a name and a whole count" });
  return undefined;
}

const server = await serve({
  port: Number(process.env.PORT ?? 3000),
  routes: {
    "/items": {
      GET: raw((_req, res) => {
        res.json([...items].map(([id, item]) => ({ id, ...item })));
      }),
      POST: raw(async (req, res) => {
        const item = await readItem(req, res);
        if (item === undefined) return;
        lastId += 1;
        items.set(String(lastId), item);
        res
          .status(201)
          .header("location", `/items/${lastId}`)
          .json({ id: lastId, ...item });
      }),
      maxBodySize: 64 * 1024,
    },
    "/items/:id": {
      GET: raw((req, res) => {
        const { id } = req.params;
        const item = items.get(id);
        if (item === undefined) missing(res, id);
        else res.json({ id, ...item });
      }),
      PUT: raw(async (req, res) => {
        const { id } = req.params;
        if (!items.has(id)) return void missing(res, id);
        const item = await readItem(req, res);
        if (item === undefined) return;
        items.set(id, item);
        res.json({ id, ...item });
      }),
      DELETE: raw((req, res) => {
        if (items.delete(req.params.id)) res.send(204);
        else missing(res, req.params.id);
      }),
    },
  },
  gracefulShutdown: true,
});
console.log(`json-api on ${server.url}/items`);
