// limits.maxConnectionsPerAddress over sockets: 127.0.0.2 and 127.0.0.3 are other clients. Every
// way to end and every kind of address are in native/test/loop_peers_test.cpp.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it, onTestFinished } from "vitest";
import {
  type AccessRecord,
  type LogRecord,
  type RawHandler,
  raw,
  type Server,
  serve,
} from "../src/index.ts";
import { handshakeLines } from "./support/frames.ts";
import { onEachHost, portOf } from "./support/hosts.ts";
import { until } from "./support/until.ts";
import { Wire, wire } from "./support/wire.ts";

const CODE = "ERR_MILLRACE_TOO_MANY_CONNECTIONS";
const handler: RawHandler = (_req, res) => void res.end("hello");
const hello = raw(handler);
// macOS has 127.0.0.1 only, until somebody gives it others.
const hasOthers = process.platform === "linux";

/** From an address of this machine. */
async function from(server: Server, localAddress: string): Promise<Wire> {
  const client = new Wire({ port: portOf(server), host: "127.0.0.1", localAddress });
  await until("the connection is open", () => !client.socket.connecting);
  return client;
}

async function expectServed(client: Wire): Promise<void> {
  expect((await client.get("/").response()).body).toBe("hello");
}

async function expectRefused(client: Wire): Promise<void> {
  const refusal = await client.response();
  expect(refusal.status).toBe(503);
  expect(refusal.headers.get("connection")).toBe("close");
  expect(refusal.body).toMatch(new RegExp(`^${CODE}: `));
  await client.end();
  expect([client.buffer, client.error]).toEqual(["", ""]);
}

async function connections(server: Server, count: number): Promise<void> {
  await until(`${count} are open`, () => server.metrics.connections === count);
}

onEachHost(
  ({ start }) => {
    const limits = { maxConnectionsPerAddress: 3 };

    it.runIf(hasOthers)(
      "refuses one too many of an address, at once, and nobody else",
      async () => {
        const server = await start({ limits, routes: { "/": hello } });
        const clients = await Promise.all([wire(server), wire(server), wire(server)]);
        for (const client of clients) await expectServed(client);
        // Says nothing, and is told.
        await expectRefused(await wire(server));
        await expectRefused((await wire(server)).get("/"));
        for (const address of ["127.0.0.2", "127.0.0.3"]) {
          const others = [];
          for (let i = 0; i < 3; i += 1) others.push(await from(server, address));
          for (const other of others) await expectServed(other);
          await expectRefused(await from(server, address));
        }
        for (const client of clients) await expectServed(client);
        expect(server.metrics.parseErrors[CODE]).toBe(4);
        expect(server.prometheus()).toContain(`millrace_refusals_total{code="${CODE}"} 4\n`);
      },
    );

    it("gives a place back whatever a connection ends by", async () => {
      const server = await start({
        limits,
        timeouts: { headers: 300, keepAlive: 300 },
        routes: {
          "/": hello,
          "/ws": { message: () => undefined },
          "/close": raw((req) => void req.connection.close()),
        },
      });
      const ends: ((client: Wire) => unknown)[] = [
        (client) => client.close(),
        (client) => client.reset(),
        (client) => client.socket.end(),
        (client) => client.end(), // timeouts.headers
        (client) => client.get("/").end(), // timeouts.keepAlive
        (client) => client.get("/", "Connection: close\r\n").end(),
        (client) => client.get("/close").end(),
        (client) => client.send("nonsense\r\n\r\n").end(),
      ];
      for (const end of ends) {
        // Twice as many as there are places, with those that are refused.
        const clients = [];
        for (let i = 0; i < 6; i += 1) clients.push(await wire(server));
        await Promise.all(clients.map(end));
        await connections(server, 0);
      }
      const sockets = [];
      for (let i = 0; i < 3; i += 1) {
        const client = (await wire(server)).send(`${handshakeLines("/ws")}\r\n`);
        expect((await client.response()).status).toBe(101);
        sockets.push(client);
      }
      await expectRefused(await wire(server));
      expect(server.metrics.webSockets).toBe(3);
      sockets[0]?.close();
      sockets[1]?.reset();
      await connections(server, 1);
      await expectServed(await wire(server));
    });

    it("admits as many as it says of a crowd that comes at once", async () => {
      const server = await start({ limits: { maxConnectionsPerAddress: 8 }, handler });
      for (let round = 0; round < 3; round += 1) {
        const clients = await Promise.all(Array.from({ length: 24 }, () => wire(server)));
        const answers = await Promise.all(clients.map((client) => client.get("/").response()));
        expect(answers.filter(({ status }) => status === 200)).toHaveLength(8);
        expect(answers.filter(({ status }) => status === 503)).toHaveLength(16);
        for (const client of clients) client.close();
        await connections(server, 0);
      }
      expect(server.metrics.counters["accepted"]).toBe(72);
      expect(server.metrics.parseErrors[CODE]).toBe(48);
    });

    it("counts nobody on a unix socket, nor without the limit", async () => {
      const folder = await mkdtemp(join(tmpdir(), "millrace-peers-"));
      onTestFinished(() => rm(folder, { recursive: true }));
      const unix = join(folder, "peers.sock");
      const guarded = await start({
        unix,
        limits: { maxConnectionsPerAddress: 1 },
        handler,
      });
      const open = await start({ handler });
      for (const server of [guarded, open]) {
        const clients = [];
        for (let i = 0; i < 5; i += 1) clients.push(await wire(server));
        for (const client of clients) await expectServed(client);
      }
    });

    it("counts the client that a PROXY header names", async () => {
      const server = await start({
        port: 0,
        proxyProtocol: "require",
        limits: { maxConnectionsPerAddress: 1 },
        handler,
      });
      const proxied = async (source: string) => {
        const family = source.includes(":") ? "TCP6" : "TCP4";
        const own = family === "TCP6" ? "2001:db8::80" : "198.51.100.2";
        return (await wire(server)).send(`PROXY ${family} ${source} ${own} 1000 443\r\n`);
      };
      await expectServed(await proxied("192.0.2.1"));
      await expectServed(await proxied("192.0.2.2"));
      await expectRefused(await proxied("192.0.2.1"));
      await expectRefused(await proxied("::ffff:192.0.2.2"));
      await expectServed(await proxied("2001:db8:0:1::1"));
      await expectServed(await proxied("2001:db8:0:2::1"));
      await expectRefused(await proxied("2001:db8:0:1:ffff::7"));
    });

    it("tells hooks and both logs as of other refusals, in the words of `refusals`", async () => {
      const told: string[] = [];
      const access: AccessRecord[] = [];
      const logged: LogRecord[] = [];
      const server = await start({
        limits: { maxConnectionsPerAddress: 1 },
        refusals: {
          [CODE]: Response.json({ error: "crowded" }, { headers: { "retry-after": "9" } }),
        },
        accessLog: (records) => void access.push(...records),
        log: { level: "notice", write: (record) => void logged.push(record) },
        onConnect: () => void told.push("connect"),
        onClose: (_connection, cause, detail) => void told.push(`${cause} ${detail}`),
        handler,
      });
      await expectServed(await wire(server));
      const client = await wire(server);
      const refusal = await client.response();
      expect([refusal.status, refusal.body]).toEqual([503, '{"error":"crowded"}']);
      expect(refusal.headers.get("retry-after")).toBe("9");
      client.close();
      await until("all is told", () => told.length === 3 && access.length === 2);
      expect(told.slice(0, 2)).toEqual(["connect", "connect"]);
      expect(told[2]).toMatch(new RegExp(`^ProtocolViolated ${CODE}: `));
      expect(access.map(({ status }) => status)).toEqual([200, 503]);
      await until("it is logged", () => logged.some(({ code }) => code === CODE));
      expect(logged.find(({ code }) => code === CODE)?.cause).toBe("ProtocolViolated");
    });

    it("answers a gateway in its form", async () => {
      const server = await start({
        listen: [{ port: 0, protocol: "scgi" }],
        limits: { maxConnectionsPerAddress: 1 },
        handler,
      });
      await wire(server);
      await connections(server, 1);
      const client = await wire(server);
      await client.end();
      expect(client.buffer).toMatch(/^Status: 503 Service Unavailable\r\n/);
      expect(client.buffer).toContain(CODE);
    });

    it("closes with places taken", async () => {
      const server = await start({ limits, handler });
      for (let i = 0; i < 5; i += 1) await wire(server);
      await until("all have come", () => server.metrics.parseErrors[CODE] === 2);
      expect(server.metrics.counters["accepted"]).toBe(5);
      await server.close({ timeout: 0 });
      expect(server.metrics.connections).toBe(0);
    });
  },
  [0, 1, 3],
);

it.each([-1, 1.5, 10_000_001, Number.NaN, "8"])("does not take %j for a limit", async (value) => {
  const limits = { maxConnectionsPerAddress: value as number };
  await expect(serve({ port: 0, limits, handler })).rejects.toMatchObject({
    code: "ERR_MILLRACE_INVALID_OPTION",
    message: expect.stringContaining("maxConnectionsPerAddress"),
  });
});
