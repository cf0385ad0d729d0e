// Which loop has which connection: spread over the loops of a server, and told apart by the number
// that a connection's id begins with.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, it, onTestFinished } from "vitest";
import { raw, type ServeOptions, type Server } from "../src/index.ts";
import { Child } from "./support/child.ts";
import { onEachHost } from "./support/hosts.ts";
import { until } from "./support/until.ts";
import { Wire, wire } from "./support/wire.ts";

const turns = fileURLToPath(new URL("children/turns.mjs", import.meta.url));

/** Answers with the loop's number and the client's port. */
const where = raw((req, res) => {
  const { id, remoteAddress } = req.connection;
  const port = "port" in remoteAddress ? remoteAddress.port : 0;
  res.end(`${id.slice(0, id.indexOf("."))} ${port}`);
});

const OPTIONS: Pick<ServeOptions, "onConnect"> = { onConnect: () => undefined };

async function askWhere(client: Wire): Promise<{ client: Wire; loop: string; port: number }> {
  const { body } = await client.get("/").response();
  const [loop = "", port = ""] = body.split(" ");
  return { client, loop, port: Number(port) };
}

function difference(loops: number, asked: readonly { readonly loop: string }[]): number {
  const counts = new Map<string, number>();
  for (const { loop } of asked) counts.set(loop, (counts.get(loop) ?? 0) + 1);
  const all = [...counts.values()];
  return Math.max(...all) - (all.length < loops ? 0 : Math.min(...all));
}

async function scratch(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "millrace-spread-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  return folder;
}

async function knock(server: Server, count: number) {
  const asked = [];
  for (let i = 0; i < count; i++) asked.push(await askWhere(await wire(server)));
  return asked;
}

onEachHost(
  ({ loops, start }) => {
    it("spreads connections that come one after another, each with its peer", async () => {
      const server = await start({ ...OPTIONS, routes: { "/": where } });
      const asked = await knock(server, 32);
      expect(difference(loops, asked)).toBeLessThanOrEqual(2);
      for (const { client, port } of asked) expect(port).toBe(client.socket.localPort);
    });

    it("spreads connections that come at once, also of a unix socket", async () => {
      const unix = join(await scratch(), "spread.sock");
      const server = await start({ ...OPTIONS, unix, routes: { "/": where } });
      const clients = await Promise.all(Array.from({ length: 100 }, () => wire(server)));
      const asked = await Promise.all(clients.map(askWhere));
      expect(difference(loops, asked)).toBeLessThanOrEqual(10);
    });

    it("gives the next connections to the loop that others have left", async () => {
      const server = await start({ ...OPTIONS, routes: { "/": where } });
      const asked = await knock(server, 8 * loops);
      const { loop } = asked[0] as { loop: string };
      const leaving = asked.filter((one) => one.loop === loop);
      for (const { client } of leaving) client.close();
      await until("they have left", () => {
        return server.metrics.connections === asked.length - leaving.length;
      });
      const next = await knock(server, leaving.length - 2);
      expect(next.map((one) => one.loop)).toEqual(next.map(() => loop));
    });

    it("reads the PROXY header of a connection wherever it went", async () => {
      const server = await start({
        ...OPTIONS,
        port: 0,
        proxyProtocol: "require",
        routes: { "/": where },
      });
      const loopsSeen = new Set<string>();
      for (let i = 0; i < 4 * loops; i++) {
        const client = await wire(server);
        client.send(`PROXY TCP4 192.0.2.1 192.0.2.2 ${5000 + i} 80\r\n`);
        const { loop, port } = await askWhere(client);
        expect(port).toBe(5000 + i);
        loopsSeen.add(loop);
      }
      expect(loopsSeen.size).toBe(loops);
    });

    it("takes as many connections as limits.maxConnections says", async () => {
      const server = await start({
        ...OPTIONS,
        limits: { maxConnections: 3 * loops },
        routes: { "/": where },
      });
      const clients = await Promise.all(Array.from({ length: 5 * loops }, () => wire(server)));
      await until("it is full", () => server.metrics.connections === 3 * loops);
      // Who waits is taken when another leaves.
      for (const client of clients) {
        await askWhere(client);
        expect(server.metrics.connections).toBeLessThanOrEqual(3 * loops);
        client.close();
      }
      expect(server.metrics.counters["accepted"]).toBe(5 * loops);
    });

    it("loses nobody who is on the way between loops when it closes", async () => {
      const server = await start({ ...OPTIONS, routes: { "/": where } });
      const clients: Wire[] = [];
      const address = server.addresses[0] as { port: number; address: string };
      const open = () => {
        const client = new Wire({ port: address.port, host: address.address });
        clients.push(client.get("/", "Connection: close\r\n"));
      };
      for (let i = 0; i < 50; i++) open();
      const answered = () => clients.filter(({ buffer }) => buffer.startsWith("HTTP/1.1 200"));
      await until("some are served", () => answered().length > 10);
      for (let i = 0; i < 50; i++) open();
      await server.close({ timeout: 5000 });
      await until("every client has its end", () => clients.every((client) => client.ended));
      for (const { buffer } of clients) expect(buffer).toMatch(/^$|^HTTP\/1\.1 200 .*\r\n\r\n\d/s);
      expect(server.metrics.connections).toBe(0);
    });
  },
  [2, 4],
);

it.each([0, 1])(
  "gives a blocked worker nothing, and others their turn (loops: %i)",
  async (loops) => {
    const child = new Child(process.execPath, [turns, `${loops}`]);
    onTestFinished(async () => void (await child.stop()));
    const counts = JSON.parse((await child.said(/in turn (.*)\n/))[1] as string) as number[];
    expect(counts.reduce((sum, one) => sum + one)).toBe(32);
    // The kernel wakes one loop of those on threads of their own, and all of those that are not.
    if (loops > 0 && process.platform === "linux") expect(Math.min(...counts)).toBeGreaterThan(0);
    if (loops === 0) {
      const others = JSON.parse((await child.said(/others (.*)\n/))[1] as string) as number[];
      expect(others[0]).toBe(0);
    }
    await child.said(/done/);
    expect((await child.exited).code).toBe(0);
  },
);
