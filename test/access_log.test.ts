// The access log over real sockets: a record per answer, whoever gave it.
import { expect, it } from "vitest";
import { type AccessRecord, accessLine, raw } from "../src/index.ts";
import { onEachHost } from "./support/hosts.ts";
import { cgiAnswer, scgiRequest } from "./support/scgi.ts";
import { gate, until } from "./support/until.ts";
import { wire } from "./support/wire.ts";

const TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

onEachHost(({ start }) => {
  it("has a record of each answer: by handlers, by the loop, and of refusals", async () => {
    const records: AccessRecord[] = [];
    const batches: number[] = [];
    const began = Date.now();
    const server = await start({
      accessLog: (batch) => {
        batches.push(batch.length);
        records.push(...batch);
      },
      routes: {
        "/": raw((_req, res) => void res.status(201).end("hello")),
        "/users/:id": (_request, ctx) => new Response(ctx.params.id),
        "/static": new Response("fixed"),
        "/stream": raw((_req, res) => {
          res.write("a".repeat(1000));
          res.end("b");
        }),
      },
    });
    const client = await wire(server);
    client.get(
      "/?q=%20",
      `User-Agent: test\r\nReferer: /from\r\nX-Request-Id: r\r\nTraceparent: ${TRACE}\r\n`,
    );
    const first = await client.response();
    for (const target of ["/users/7", "/static", "/nowhere"]) await client.get(target).response();
    client.get("/stream");
    await until("the stream is whole", () => client.buffer.endsWith("0\r\n\r\n"));
    client.buffer = "";
    client.send("GET /bad HTTP/1.1\r\nHost : a\r\n\r\n");
    expect((await client.response()).status).toBe(400);
    client.close();
    await until("all are logged", () => records.length === 6);
    await server.close();
    const [own] = records as [AccessRecord];
    const { port } = client.socket.address() as { port?: number };
    expect(port).not.toBe(0);
    expect(own).toEqual({
      time: expect.any(Number) as number,
      method: "GET",
      path: "/",
      search: "?q=%20",
      target: "/?q=%20",
      route: "/",
      status: 201,
      bytesIn: expect.any(Number) as number,
      bytesOut: first.head.length + 4 + "hello".length,
      durationMs: expect.any(Number) as number,
      queueMs: expect.any(Number) as number,
      ip: "127.0.0.1",
      connection: expect.stringMatching(/^\d+\.\d+\.\d+$/) as string,
      loop: expect.any(Number) as number,
      protocol: "http/1.1",
      aborted: false,
      userAgent: "test",
      referer: "/from",
      traceparent: TRACE,
      requestId: "r",
    });
    expect(own.time).toBeGreaterThanOrEqual(began - 5);
    expect(own.time).toBeLessThanOrEqual(Date.now() + 5);
    expect(own.queueMs).toBeGreaterThanOrEqual(0);
    expect(own.durationMs).toBeGreaterThanOrEqual(own.queueMs);
    expect(records.map(({ route, status }) => `${route} ${status}`)).toEqual([
      "/ 201",
      "/users/:id 200",
      " 200",
      " 404",
      "/stream 200",
      expect.stringMatching(/ 400$/),
    ]);
    expect(records.slice(2, 4).map(({ queueMs }) => queueMs)).toEqual([-1, -1]);
    expect(new Set(records.map(({ connection }) => connection)).size).toBe(1);
    expect(accessLine(own)).toMatch(
      /^127\.0\.0\.1 - - \[.*\] "GET \/\?q=%20 HTTP\/1\.1" 201 \d+ "\/from" "test"$/,
    );
  });

  it("has the address of the client, as far as those say who are trusted", async () => {
    const records: AccessRecord[] = [];
    const server = await start({
      accessLog: (batch) => void records.push(...batch),
      listen: [{ port: 0 }, { port: 0, protocol: "scgi" }],
      trustProxy: ["127.0.0.1", "198.51.100.0/24"],
      routes: { "/": raw((req, res) => void res.end(req.ip)) },
    });
    const seen: string[] = [];
    const byHttp = async (lines: string): Promise<void> => {
      const client = await wire(server);
      seen.push((await client.get("/", lines).response()).body);
      client.close();
    };
    const byScgi = async (variables: Record<string, string>): Promise<void> => {
      const client = await wire(server, 1);
      client.send(scgiRequest(variables));
      await client.end();
      seen.push(cgiAnswer(client.buffer).body);
    };
    await byHttp("Remote_Addr: 6.6.6.6\r\n");
    await byHttp("X-Real-IP: 192.0.2.1\r\n");
    await byHttp(`X-Forwarded-For: ${"6.6.6.6, ".repeat(200)}192.0.2.2\r\n`);
    await byHttp(`${"X-Forwarded-For: 6.6.6.6\r\n".repeat(20)}X-Forwarded-For: 192.0.2.3\r\n`);
    for (const name of ["Proto", "Host", "Port"])
      await byHttp(`X-Forwarded-${name}: 1\r\nForwarded: for=6.6.6.6\r\n`);
    await byHttp(`X-Forwarded-For: 192.0.2.4\r\n${"Forwarded: for=6.6.6.6\r\n".repeat(9)}`);
    await byHttp(`X-Real-IP: ${"6".repeat(1100)},6.6.6.6\r\n`);
    await byScgi({ REMOTE_ADDR: "203.0.113.9" });
    await byScgi({ REMOTE_ADDR: "2001:DB8::1" });
    await byScgi({ REMOTE_ADDR: "198.51.100.7", HTTP_X_FORWARDED_FOR: "6.6.6.6, 203.0.113.8" });
    await byScgi({ REMOTE_ADDR: "203.0.113.9", HTTP_X_FORWARDED_FOR: "6.6.6.6" });
    await byScgi({ HTTP_REMOTE_ADDR: "6.6.6.6" });
    await byScgi({ REMOTE_ADDR: "unix:" });
    await until("all are logged", () => records.length === seen.length);
    expect(records.map(({ ip, protocol }) => `${ip} ${protocol}`)).toEqual([
      "127.0.0.1 http/1.1",
      "192.0.2.1 http/1.1",
      "192.0.2.2 http/1.1",
      "192.0.2.3 http/1.1",
      ...["127.0.0.1", "127.0.0.1", "127.0.0.1", "192.0.2.4", "127.0.0.1"].map(
        (ip) => `${ip} http/1.1`,
      ),
      "203.0.113.9 scgi",
      "2001:db8::1 scgi",
      "203.0.113.8 scgi",
      "203.0.113.9 scgi",
      "127.0.0.1 scgi",
      " scgi",
    ]);
    expect(records.map(({ ip }) => ip)).toEqual(seen); // as handlers are told
  });

  it("marks what did not leave whole", async () => {
    const records: AccessRecord[] = [];
    const server = await start({
      accessLog: (batch) => void records.push(...batch),
      routes: { "/": raw((_req, res) => void res.write("begun")) },
    });
    const client = await wire(server);
    client.get("/");
    await until("it has begun", () => client.buffer.includes("begun"));
    client.reset();
    await until("it is logged", () => records.length === 1);
    expect(records[0]).toMatchObject({ aborted: true, status: 200 });
  });

  it("answers while the log throws, hangs or is slow, and counts what is dropped", async () => {
    const stuck = gate();
    const writes: (() => unknown)[] = [
      () => {
        throw new Error("log");
      },
      () => Promise.reject(new Error("log")),
      () => stuck.promise,
    ];
    for (const write of writes) {
      const server = await start({
        accessLog: { size: 4, write },
        routes: { "/": raw((_req, res) => void res.end("x")) },
      });
      const client = await wire(server);
      for (let i = 0; i < 30; i += 1) expect((await client.get("/").response()).status).toBe(200);
      client.close();
      if (write === writes[2])
        await until("some are dropped", () => server.metrics.accessDropped > 10);
      await server.close({ timeout: 0 });
    }
    stuck.open();
  });

  it("has told all when close() resolves", async () => {
    const records: AccessRecord[] = [];
    const server = await start({
      accessLog: async (batch) => {
        await new Promise((resolve) => setImmediate(resolve));
        records.push(...batch);
      },
      routes: { "/": raw((_req, res) => void res.end("x")) },
    });
    const client = await wire(server);
    for (let i = 0; i < 400; i += 1) client.get("/");
    for (let i = 0; i < 400; i += 1) await client.response();
    await server.close();
    expect(records).toHaveLength(400);
  });
});
