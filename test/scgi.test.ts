// SCGI over raw sockets, on each host: the seed cases, every cut, bodies both ways, clients that
// are malformed or slow beside good ones.
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { accel, raw, type Server } from "../src/index.ts";
import { onEachHost, portOf } from "./support/hosts.ts";
import { type CgiAnswer, cgiAnswer, scgiRequest } from "./support/scgi.ts";
import { gate, until } from "./support/until.ts";
import { Wire } from "./support/wire.ts";

interface Seed {
  readonly id: string;
  readonly what: string;
  readonly hex: string;
  readonly bytewise?: boolean;
  readonly half_close?: boolean;
  readonly handler_calls: number;
  readonly reply_prefix?: string;
  readonly refused?: number;
  readonly body?: string;
}

const file = new URL("cases/seed_scgi.json", import.meta.url);
const seeds = (JSON.parse(readFileSync(file, "utf8")) as { cases: Seed[] }).cases;
const SCGI = { listen: [{ protocol: "scgi", port: 0 }] } as const;
const MIB = 1_048_576;

function connect(server: Server): Wire {
  return new Wire({ port: portOf(server), host: "127.0.0.1", allowHalfOpen: true });
}

async function closed(client: Wire): Promise<string> {
  await until("the connection is closed", () => client.ended);
  client.close();
  return client.buffer;
}

async function ask(server: Server, text: string): Promise<CgiAnswer> {
  return cgiAnswer(await closed(connect(server).send(text)));
}

const get = (uri: string, more: Record<string, string> = {}): string =>
  scgiRequest({ REQUEST_METHOD: "GET", REQUEST_URI: uri, ...more });

onEachHost(({ start }) => {
  describe("seed case", () => {
    it.each(seeds.map((seed) => [seed.id, seed.what, seed] as const))(
      "%s: %s",
      async (_, __, seed) => {
        let calls = 0;
        const server = await start({
          ...SCGI,
          timeouts: { headers: 200 },
          handler: async (req, res) => {
            calls += 1;
            res.end(await req.bytes());
          },
        });
        const client = connect(server);
        const bytes = Buffer.from(seed.hex, "hex").toString("latin1");
        for (const piece of seed.bytewise === true ? bytes : [bytes]) {
          client.send(piece);
          if (seed.bytewise === true) await new Promise(setImmediate);
        }
        if (seed.half_close === true) client.socket.end();
        const text = await closed(client);
        expect(calls).toBe(seed.handler_calls);
        if (seed.reply_prefix !== undefined) expect(text.startsWith(seed.reply_prefix)).toBe(true);
        if (seed.body !== undefined) expect(cgiAnswer(text).body).toBe(seed.body);
        if (seed.refused !== undefined && text !== "")
          expect(cgiAnswer(text).status).toBe(seed.refused);
        expect((await ask(server, scgiRequest({}, "still here"))).body).toBe("still here");
      },
    );
  });

  it("reads a request the same wherever it is cut", async () => {
    const server = await start({
      ...SCGI,
      handler: async (req, res) => {
        res.json([req.method, req.url, req.scgi?.get("A"), await req.text()]);
      },
    });
    const text = scgiRequest({ REQUEST_METHOD: "POST", REQUEST_URI: "/x?y", A: "b" }, "body");
    for (let cut = 1; cut < text.length; cut += 1) {
      const client = connect(server).send(text.slice(0, cut));
      await new Promise(setImmediate);
      const { body } = cgiAnswer(await closed(client.send(text.slice(cut))));
      expect(JSON.parse(body)).toEqual(["POST", "/x?y", "b", "body"]);
    }
  });

  it("serves the same routes as HTTP, with the variables at hand", async () => {
    const server = await start({
      listen: [{ port: 0 }, { protocol: "scgi", port: 0 }],
      routes: {
        "/static": new Response("from the loop"),
        "/raw/:id": raw((req, res) => {
          res.json([req.params["id"], req.ctx.protocol, req.scgi?.get("DOCUMENT_URI"), req.ip]);
        }),
        "/fetch": (request, ctx) =>
          Response.json([request.url, request.headers.get("x-a"), ctx.protocol, ctx.encrypted]),
        "/accel": () => accel("/internal/x"),
      },
    });
    const at = (listener: number): Wire =>
      new Wire({ port: server.addresses[listener]?.port as number, host: "127.0.0.1" });
    const byScgi = async (uri: string, more = {}): Promise<CgiAnswer> =>
      cgiAnswer(await closed(at(1).send(get(uri, more))));
    expect((await at(0).get("/raw/7").response()).body).toBe('["7","http/1.1",null,"127.0.0.1"]');
    const more = { DOCUMENT_URI: "/ü", REMOTE_ADDR: "203.0.113.9" };
    expect((await byScgi("/raw/7", more)).body).toBe(
      Buffer.from('["7","scgi","/ü","203.0.113.9"]').toString("latin1"),
    );
    const secure = { HTTP_HOST: "a.example", HTTP_X_A: "b", HTTPS: "on" };
    expect((await byScgi("/fetch?x", secure)).body).toBe(
      '["https://a.example/fetch?x","b","scgi",true]',
    );
    expect((await byScgi("/static")).body).toBe("from the loop");
    expect((await byScgi("/accel")).fields.get("x-accel-redirect")).toBe("/internal/x");
    expect((await byScgi("/none")).status).toBe(404);
  });

  it("answers in CGI's form and closes when all has left", async () => {
    const server = await start({
      ...SCGI,
      handler: (req, res) => {
        if (req.path === "/302") res.redirect("/elsewhere");
        else if (req.path === "/503") res.send(503, "later", { "Retry-After": 5 });
        else if (req.path === "/chunks") {
          res.header("Content-Type", "text/plain").write("one ");
          res.write("two");
          res.end();
        } else res.send(200, "body", { "Content-Type": "text/html" });
      },
    });
    const text = async (uri: string, more = {}): Promise<string> =>
      closed(connect(server).send(get(uri, more)));
    expect(await text("/")).toBe(
      "Status: 200 OK\r\nContent-Type: text/html\r\nContent-Length: 4\r\n\r\nbody",
    );
    expect(await text("/", { REQUEST_METHOD: "HEAD" })).toBe(
      "Status: 200 OK\r\nContent-Type: text/html\r\nContent-Length: 4\r\n\r\n",
    );
    expect(await text("/302")).toBe(
      "Status: 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n",
    );
    expect(await text("/503")).toBe(
      "Status: 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 5\r\n\r\nlater",
    );
    expect(await text("/chunks")).toBe("Status: 200 OK\r\nContent-Type: text/plain\r\n\r\none two");
  });

  it("streams a large body in under back-pressure", async () => {
    const size = 32 * MIB;
    const go = gate();
    let taken = 0;
    const server = await start({
      ...SCGI,
      routes: {
        "/in": {
          POST: raw(async (req, res) => {
            for await (const chunk of req) {
              taken += chunk.length;
              await go.promise;
            }
            res.end(`${taken}`);
          }),
          body: "stream",
        },
      },
    });
    const variables = { REQUEST_METHOD: "POST", REQUEST_URI: "/in" };
    const client = connect(server).send(scgiRequest(variables, "", `${size}`));
    let sent = 0;
    const pump = (): void => {
      while (sent < size) {
        sent += MIB;
        if (!client.socket.write(Buffer.alloc(MIB))) break;
      }
    };
    client.socket.on("drain", pump);
    pump();
    await until("the first piece is there", () => taken > 0);
    let before = -1;
    await until("the client has to wait", () => {
      const isStill = client.socket.bytesWritten === before && client.socket.writableNeedDrain;
      before = client.socket.bytesWritten;
      return isStill;
    });
    expect(sent).toBeLessThan(size);
    go.open();
    expect(cgiAnswer(await closed(client)).body).toBe(`${size}`);
  }, 30_000);

  it("streams a large body out under back-pressure", async () => {
    const size = 64 * MIB;
    let isFull = false;
    let written = 0;
    const server = await start({
      ...SCGI,
      handler: async (_req, res) => {
        const chunk = Buffer.alloc(65_536, "x");
        for (; written < size; written += chunk.length) {
          if (res.write(chunk)) continue;
          isFull = true;
          await res.drained();
        }
        res.end();
      },
    });
    const client = connect(server).send(get("/"));
    client.socket.pause();
    let got = 0;
    client.socket.removeAllListeners("data").on("data", (chunk: Buffer) => (got += chunk.length));
    client.socket.pause();
    await until("the writer has to wait", () => isFull);
    expect(written).toBeLessThan(size);
    client.socket.resume();
    await until("all has come", () => client.ended, 30_000);
    expect(got).toBe(size + "Status: 200 OK\r\n\r\n".length);
    client.close();
  }, 40_000);

  it("aborts the request's signal when the client leaves", async () => {
    const arrived = gate<AbortSignal>();
    const server = await start({
      ...SCGI,
      handler: (req, res) => {
        res.detach();
        arrived.open(req.signal);
      },
    });
    const client = connect(server).send(get("/"));
    const signal = await arrived.promise;
    expect(signal.aborted).toBe(false);
    client.socket.resetAndDestroy();
    await until("the signal is aborted", () => signal.aborted);
    expect(signal.reason).toMatchObject({ code: "ERR_MILLRACE_ABORTED" });
  });

  it("answers a client that closes its side behind the request", async () => {
    const server = await start({ ...SCGI, handler: async (_req, res) => void res.end("answer") });
    const client = connect(server).send(get("/"));
    client.socket.end();
    expect(cgiAnswer(await closed(client)).body).toBe("answer");
  });

  it("holds its limits", async () => {
    const server = await start({
      ...SCGI,
      limits: { maxHeaderSize: 512, maxRequestBodySize: 8, maxHeaders: 4, maxRequestLine: 64 },
      handler: async (req, res) => void res.end(`${(await req.bytes()).length}`),
    });
    const status = async (text: string): Promise<number> => (await ask(server, text)).status;
    const filled = (size: number): string => {
      const empty = scgiRequest({ A: "" });
      const block = Number.parseInt(empty, 10);
      return scgiRequest({ A: "x".repeat(size - block) });
    };
    expect([await status(filled(512)), await status(filled(513))]).toEqual([200, 431]);
    const body = (size: number): string => scgiRequest({}, "x".repeat(size));
    expect([await status(body(8)), await status(body(9))]).toEqual([200, 413]);
    const fields = (count: number): string =>
      scgiRequest(
        Object.fromEntries(Array.from({ length: count }, (_, at) => [`HTTP_A${at}`, "x"])),
      );
    expect([await status(fields(4)), await status(fields(5))]).toEqual([200, 431]);
    expect(await status(get(`/${"x".repeat(100)}`))).toBe(414);
    expect((await ask(server, get("/"))).body).toBe("0");
  });

  it("serves good clients beside a hundred slow or malformed ones", async () => {
    const seen: string[] = [];
    const server = await start({
      ...SCGI,
      handler: async (req, res) => {
        seen.push(req.url);
        res.end(await req.bytes());
      },
    });
    const bad = Array.from({ length: 100 }, (_, at) => {
      const text = scgiRequest({ REQUEST_URI: `/bad${at}` }, "x".repeat(at), `${at + 1}`);
      const broken = [text, text.slice(0, at + 1), "12x", `${at}:`, text.replace(",", ";")];
      return connect(server).send(broken[at % broken.length] as string);
    });
    const good = await Promise.all(
      Array.from({ length: 100 }, (_, at) =>
        ask(server, scgiRequest({ REQUEST_URI: `/good${at}` }, `body ${at}`)),
      ),
    );
    expect(good.map(({ body }) => body)).toEqual(good.map((_, at) => `body ${at}`));
    expect(seen.filter((url) => url.startsWith("/bad"))).toEqual([]);
    expect(new Set(seen).size).toBe(100);
    for (const client of bad) client.close();
  });
});
