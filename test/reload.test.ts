// server.reload(): who is answered by the former routes, and who by the new ones.
import { expect, it } from "vitest";
import { raw, type Server, serve, type WebSocketHandler, websocket } from "../src/index.ts";
import { onEachHost } from "./support/hosts.ts";
import { peer } from "./support/peers.ts";
import { gate, until } from "./support/until.ts";
import { type Wire, wire } from "./support/wire.ts";

const text = (client: Wire): Promise<string> => client.response().then(({ body }) => body);

// So many that each loop has some.
const crowd = (server: Server): Promise<Wire[]> =>
  Promise.all(Array.from({ length: 8 }, () => wire(server)));

onEachHost(({ start }) => {
  it("answers by the new routes, on the connections that are there", async () => {
    const server = await start({
      routes: {
        "/static": new Response("static 1"),
        "/raw/:id": raw((req, res) => res.end(`raw 1 ${req.params.id}`)),
        "/old": () => new Response("old"),
      },
      health: { live: "/live" },
    });
    const clients = await crowd(server);
    for (const client of clients) expect(await text(client.get("/raw/a"))).toBe("raw 1 a");
    await server.reload({
      routes: {
        "/static": new Response("static 2"),
        "/raw/:name": raw((req, res) => res.end(`raw 2 ${req.params.name}`)),
        "/new": { POST: () => new Response("new") },
      },
      notFound: raw((req, res) => res.end(`nothing at ${req.path}`)),
    });
    for (const client of clients) {
      expect(await text(client.get("/raw/b"))).toBe("raw 2 b");
      expect(await text(client.get("/static"))).toBe("static 2");
      expect((await client.get("/new").response()).status).toBe(405);
      expect(await text(client.get("/old"))).toBe("nothing at /old");
      expect(await text(client.get("/live"))).toBe("nothing at /live");
    }
    expect(server.metrics.connections).toBe(clients.length);
  });

  it("leaves requests that the former routes have matched to their handlers", async () => {
    const held = gate();
    const large = "0123456789".repeat(800_000);
    const server = await start({
      routes: {
        "/held": async () => {
          await held.promise;
          return new Response("held by 1");
        },
        "/body": raw(async (req, res) => res.end(`1 ${await req.text()}`)),
        "/stream": {
          body: "stream",
          POST: raw(async (req, res) => res.end(`streamed by 1 ${await req.text()}`)),
        },
        "/large": new Response(large),
      },
    });
    const [waits, posts, streams, reads] = (await crowd(server)) as [Wire, Wire, Wire, Wire];
    const head = (path: string): string =>
      `POST ${path} HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nfirst`;
    reads.socket.pause();
    reads.get("/large");
    waits.get("/held");
    posts.send(head("/body"));
    streams.send(head("/stream"));
    await until("all four have been matched", () => server.metrics.requests === 4);
    await server.reload({ handler: (_req, res) => res.end("2") });
    held.open();
    expect(await text(waits)).toBe("held by 1");
    expect(await text(posts.send("+rest"))).toBe("1 first+rest");
    expect(await text(streams.send("+rest"))).toBe("streamed by 1 first+rest");
    reads.socket.resume();
    expect(await text(reads)).toBe(large);
    for (const client of [waits, posts, streams, reads])
      expect(await text(client.get("/held"))).toBe("2");
  });

  it("leaves open WebSockets to their handlers, and gives new ones the new", async () => {
    const says = (what: string): WebSocketHandler =>
      websocket({ message: (ws, data) => void ws.send(`${what} ${data}`) });
    const server = await start({ routes: { "/ws": says("1") } });
    const before = await peer(server, "/ws");
    await server.reload({ routes: { "/ws": says("2") } });
    const after = await peer(server, "/ws");
    before.ws.send("a");
    after.ws.send("b");
    expect(await before.got(1)).toEqual(["1 a"]);
    expect(await after.got(1)).toEqual(["2 b"]);
    expect(server.sockets.size).toBe(2);
    const limited = { "/ws": { ...says("3"), maxPayloadLength: 17 } };
    await expect(server.reload({ routes: limited })).rejects.toMatchObject({
      code: "ERR_MILLRACE_INVALID_OPTION",
      message: expect.stringContaining("give serve() one with the same"),
    });
    for (const { ws, over } of [before, after].map((each) => ({
      ws: each.ws,
      over: each.over(),
    }))) {
      ws.close();
      await over;
    }
  });

  it("takes one after the other, also from a handler", async () => {
    const server = await start({
      handler: async (_req, res) => {
        res.write("1 ");
        await server.reload({ handler: (_, other) => other.end("2") });
        res.end("still 1");
      },
    });
    const client = await wire(server);
    const whole = await fetch(server.url);
    expect(await whole.text()).toBe("1 still 1");
    expect(await text(client.get("/"))).toBe("2");
    const all = ["3", "4", "5"].map((name) =>
      server.reload({ routes: { [`/${name}`]: new Response(name) } }),
    );
    await Promise.all(all);
    expect((await client.get("/4").response()).status).toBe(404);
    expect(await text(client.get("/5"))).toBe("5");
  });

  it("changes nothing when something is wrong with it", async () => {
    const server = await start({ handler: (_req, res) => res.end("1") });
    const client = await wire(server);
    const refused = async (options: object, code: string, what: string): Promise<void> => {
      await expect(server.reload(options)).rejects.toMatchObject({
        code: `ERR_MILLRACE_${code}`,
        message: expect.stringContaining(what),
      });
      expect(await text(client.get("/"))).toBe("1");
    };
    const page = new Response("page");
    await refused({}, "INVALID_OPTION", "reload() needs one of routes");
    await refused({ port: 80 }, "INVALID_OPTION", 'reload() has no option "port"');
    await refused({ routes: { "no slash": page } }, "INVALID_ROUTE", "no slash");
    await refused({ routes: { "/": 5 } }, "INVALID_ROUTE", '"/"');
    // Only the native side sees that these are the same.
    const same = { "/:a": page, "/:b": page };
    await refused({ routes: same }, "INVALID_ROUTE", "/:b");
    await server.reload({ handler: (_req, res) => res.end("2") });
    expect(await text(client.get("/"))).toBe("2");
    const closed = server.close();
    await expect(server.reload({ routes: { "/": page } })).rejects.toMatchObject({
      code: "ERR_MILLRACE_CLOSED",
    });
    await closed;
  });
});

it("takes 65 535 handlers in all, and counts none of what it has refused", async () => {
  const answer = raw((_req, res) => res.end("many"));
  const many = Array.from({ length: 40_000 }, (_, i) => [`/${i}`, answer]);
  const routes = Object.fromEntries(many);
  const server = await serve({ port: 0, loops: 0, silent: true, routes: {} });
  try {
    const wrong = { ...routes, "/:a": answer, "/:b": answer };
    await expect(server.reload({ routes: wrong })).rejects.toThrow("/:b");
    await server.reload({ routes });
    await expect(server.reload({ routes })).rejects.toMatchObject({
      code: "ERR_MILLRACE_INVALID_OPTION",
      message: expect.stringContaining("at most 65535 handlers in all reloads"),
    });
    expect(await (await fetch(`${server.url}/39999`)).text()).toBe("many");
  } finally {
    await server.close();
  }
});
