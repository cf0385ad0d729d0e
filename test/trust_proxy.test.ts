// trustProxy over sockets: who the client is behind a real nginx, over TCP and a unix socket, and
// behind a client that only claims to be a proxy.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished } from "vitest";
import { type Req, raw, type Server, type TrustProxy } from "../src/index.ts";
import { onEachHost, portOf } from "./support/hosts.ts";
import { type Nginx, nginxPath, startNginx } from "./support/nginx.ts";
import { cgiAnswer, scgiRequest } from "./support/scgi.ts";
import { watchWarnings } from "./support/streaming.ts";
import { until } from "./support/until.ts";
import { Wire } from "./support/wire.ts";

interface Told {
  readonly ip: string;
  readonly peer: string;
  readonly encrypted: boolean;
  readonly url: string;
}

const skipped = process.env["MILLRACE_SKIP_NGINX"] && nginxPath === undefined;
const warnings = watchWarnings();
const CLAIMS =
  "X-Forwarded-For: 6.6.6.6\r\nForwarded: for=7.7.7.7;proto=https\r\nX-Forwarded-Proto: https\r\n";
const routes = {
  "/raw": raw((req, res) => {
    const { ip, peerAddress, ctx } = req;
    const { encrypted, request } = ctx;
    res.json({ ip, peer: peerAddress.address, encrypted, url: request.url });
  }),
  "/later": raw(async (req, res) => {
    await new Promise(setImmediate);
    res.json({ ip: req.ip, peer: req.peerAddress.address, encrypted: req.ctx.encrypted });
  }),
};

onEachHost(({ start, loops }) => {
  async function tell(port: number, lines = "", path = "/raw"): Promise<Told> {
    const client = new Wire({ port, host: "127.0.0.1" });
    const { body } = await client.get(path, lines).response();
    client.close();
    return JSON.parse(body) as Told;
  }

  it("believes nobody by default, and says so once", async () => {
    const server = await start({ routes });
    for (let n = 0; n < 3; n += 1) {
      expect(await tell(portOf(server), CLAIMS)).toEqual({
        ip: "127.0.0.1",
        peer: "127.0.0.1",
        encrypted: false,
        url: "http://a/raw",
      });
    }
    await until("the warning is there", () => warnings.length > 0);
    expect(warnings.map(({ code }) => code)).toEqual(["ERR_MILLRACE_UNTRUSTED_FORWARDED"]);
    expect(warnings[0]?.message).toContain('trustProxy: "loopback"');
  });

  it.each([
    ["loopback", "6.6.6.6", true],
    [["127.0.0.0/8"], "6.6.6.6", true],
    [1, "6.6.6.6", true],
    [true, "6.6.6.6", true],
    ["unix", "127.0.0.1", false],
    [["10.0.0.0/8"], "127.0.0.1", false],
    [[], "127.0.0.1", false],
    [0, "127.0.0.1", false],
  ] as [TrustProxy, string, boolean][])("with %j takes %s", async (trustProxy, ip, encrypted) => {
    const server = await start({ routes, trustProxy });
    const scheme = encrypted ? "https" : "http";
    expect(await tell(portOf(server), CLAIMS)).toEqual({
      ip,
      peer: "127.0.0.1",
      encrypted,
      url: `${scheme}://a/raw`,
    });
    expect(await tell(portOf(server), CLAIMS, "/later")).toMatchObject({ ip, encrypted });
    expect(warnings).toEqual([]);
  });

  it("counts who sent a PROXY header among the hops, also when the client has left", async () => {
    const kept: Req[] = [];
    const logged: string[] = [];
    const server = await start({
      accessLog: (records) => void logged.push(...records.map(({ ip }) => ip)),
      listen: [{ port: 0, proxyProtocol: "accept" }],
      routes: {
        ...routes,
        "/left": raw((req, res) => {
          kept.push(req);
          res.detach();
        }),
      },
      trustProxy: 1,
    });
    const header = "PROXY TCP4 203.0.113.9 127.0.0.1 4711 80\r\n";
    const client = new Wire({ port: portOf(server), host: "127.0.0.1" });
    const { body } = await client.send(header).get("/raw", CLAIMS).response();
    expect(JSON.parse(body)).toMatchObject({ ip: "203.0.113.9", encrypted: false });
    client.get("/left", CLAIMS);
    await until("it is there", () => kept.length === 1);
    client.socket.resetAndDestroy();
    await until("it is over", () => [...server.connections].length === 0);
    expect(kept[0]?.ip).toBe("203.0.113.9");
    await until("both are logged", () => logged.length === 2);
    expect(logged).toEqual(["203.0.113.9", "203.0.113.9"]);
    expect((await tell(portOf(server), CLAIMS)).ip, "without a header").toBe("6.6.6.6");
  });

  it.each([
    [1, "203.0.113.9"],
    [2, "6.6.6.6"],
    [["203.0.113.0/24"], "6.6.6.6"],
    ["loopback", "203.0.113.9"],
  ] as [TrustProxy, string][])("counts an SCGI front end: %j gives %s", async (trustProxy, ip) => {
    const logged: string[] = [];
    const server = await start({
      accessLog: (records) => void logged.push(...records.map((each) => each.ip)),
      listen: [{ port: 0, protocol: "scgi" }],
      routes,
      trustProxy,
    });
    const client = new Wire({ port: portOf(server), host: "127.0.0.1" });
    const claims = { HTTP_X_FORWARDED_FOR: "6.6.6.6", REMOTE_ADDR: "203.0.113.9" };
    client.send(scgiRequest({ REQUEST_METHOD: "GET", REQUEST_URI: "/raw", ...claims }));
    await until("it is answered", () => client.ended);
    expect(JSON.parse(cgiAnswer(client.buffer).body).ip).toBe(ip);
    await until("it is logged", () => logged.length > 0);
    expect(logged).toEqual([ip]);
  });

  it("takes the client, and that it speaks TLS, from the PROXY protocol", async () => {
    const server = await start({ routes, proxyProtocol: "accept", port: 0 });
    const ask = async (bits: string): Promise<Told> => {
      const addresses = "\xcb\x00\x71\x09\x7f\x00\x00\x01\x12\x67\x01\xbb";
      const ssl = `\x20\x00\x05${bits}\x00\x00\x00\x00`;
      const client = new Wire({ port: portOf(server), host: "127.0.0.1" });
      client.send(`\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x14${addresses}${ssl}`);
      const { body } = await client.get("/raw").response();
      client.close();
      return JSON.parse(body) as Told;
    };
    const told = { ip: "203.0.113.9", peer: "203.0.113.9" };
    expect(await ask("\x01")).toEqual({ ...told, encrypted: true, url: "https://a/raw" });
    expect(await ask("\x00")).toEqual({ ...told, encrypted: false, url: "http://a/raw" });
    expect((await tell(portOf(server))).ip).toBe("127.0.0.1");
  });

  describe.skipIf(skipped)("behind nginx", () => {
    let folder = "";
    beforeAll(() => {
      expect(nginxPath, "install nginx, or set MILLRACE_SKIP_NGINX=1").toBeDefined();
      folder = mkdtempSync(join(tmpdir(), "millrace-trust-"));
    });
    afterAll(() => {
      if (folder !== "") rmSync(folder, { recursive: true, force: true });
    });
    let count = 0;
    beforeEach(() => {
      count += 1;
    });

    // Two of them in a row: the outer one sees the client, the inner one speaks to us.
    async function proxied(trustProxy: TrustProxy): Promise<{ server: Server; nginx: Nginx }> {
      const unix = join(folder, `${loops}-${count}.sock`);
      const server = await start({ routes, trustProxy, listen: [{ port: 0 }, { unix }] });
      const through = `
        proxy_set_header Host $http_host;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Forwarded-Proto $scheme;`;
      const nginx = await startNginx(
        3,
        ([tcp, socket, outer]) => `
          server { listen 127.0.0.1:${tcp}; location / {
            ${through} proxy_pass http://127.0.0.1:${server.addresses[0]?.port}; } }
          server { listen 127.0.0.1:${socket}; location / {
            ${through} proxy_pass http://unix:${unix}; } }
          server { listen 127.0.0.1:${outer}; location / {
            ${through} proxy_bind 127.0.0.9; proxy_pass http://127.0.0.1:${tcp}; } }`,
      );
      onTestFinished(() => nginx.stop());
      return { server, nginx };
    }

    const from = (port: number, localAddress: string): Promise<Told> => {
      const client = new Wire({ port, host: "127.0.0.1", localAddress });
      return client
        .get("/raw", CLAIMS)
        .response()
        .then(({ body }) => JSON.parse(body) as Told)
        .finally(() => client.close());
    };

    it("takes what it has seen, not what a client claims", async () => {
      const { nginx } = await proxied(["127.0.0.1", "unix"]);
      const [tcp = 0, socket = 0] = nginx.ports;
      const expected = { ip: "127.0.0.5", encrypted: false };
      expect(await from(tcp, "127.0.0.5")).toMatchObject({ ...expected, peer: "127.0.0.1" });
      expect(await from(socket, "127.0.0.5")).toMatchObject({ ...expected, peer: "" });
    });

    it("walks through two of them", async () => {
      const hops = await proxied(2);
      expect(await from(hops.nginx.ports[2] as number, "127.0.0.5")).toMatchObject({
        ip: "127.0.0.5",
      });
    });

    it("stops at the first that is not trusted", async () => {
      const listed = await proxied(["127.0.0.1", "127.0.0.9"]);
      expect(await from(listed.nginx.ports[2] as number, "127.0.0.5")).toMatchObject({
        ip: "127.0.0.5",
      });
      count += 100;
      const inner = await proxied(["127.0.0.1"]);
      expect(await from(inner.nginx.ports[2] as number, "127.0.0.5")).toMatchObject({
        ip: "127.0.0.9",
      });
    });
  });
});
