// Behind a real nginx: proxy_pass with kept-alive connections over TCP and over a unix socket,
// with 100 000 requests that all have to be answered right.
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { raw, type Server } from "../src/index.ts";
import { node } from "./support/child.ts";
import { onEachHost, portOf } from "./support/hosts.ts";
import { type Exchange, makeLoad } from "./support/load.ts";
import { type Nginx, nginxPath, startNginx } from "./support/nginx.ts";
import { until } from "./support/until.ts";
import { Wire } from "./support/wire.ts";

const REQUESTS = process.env["MILLRACE_SANITIZED"] ? 10_000 : 100_000;
const HOSTS = [0, 1];
const WAYS = 2; // TCP and unix

if (nginxPath === undefined) {
  process.stderr.write(
    process.env["MILLRACE_SKIP_NGINX"]
      ? "nginx.test.ts is skipped: MILLRACE_SKIP_NGINX is set\n"
      : "nginx.test.ts fails: install nginx (Debian: nginx-light) or set MILLRACE_SKIP_NGINX=1\n",
  );
}

const routes = {
  "/static": new Response("from the loop"),
  "/raw/:n": raw((req, res) => {
    res.end(`raw ${req.params["n"]}`);
  }),
  "/fetch/:n": (_request: Request, ctx: { params: Readonly<Record<string, string>> }) =>
    new Response(`fetch ${ctx.params["n"]}`),
  "/later/:n": raw(async (req, res) => {
    await new Promise(setImmediate);
    res.end(`later ${req.params["n"]}`);
  }),
  "/echo": {
    POST: raw(async (req, res) => {
      res.end(await req.bytes());
    }),
  },
  "/digest": {
    POST: raw(async (req, res) => {
      const hash = createHash("sha256").update(await req.bytes());
      const way = req.contentLength === undefined ? "chunked" : "sized";
      res.end(`${way} ${hash.digest("hex")}`);
    }),
    maxBodySize: 1024 * 1024,
  },
  "/seen": raw((req, res) => {
    const { headers, httpVersion, ip } = req;
    const names = ["connection", "host", "x-forwarded-for", "x-request-id"];
    res.json({ httpVersion, ip, ...Object.fromEntries(names.map((n) => [n, headers.get(n)])) });
  }),
};

const proxy = `
  proxy_http_version 1.1;
  proxy_set_header Connection "";
  proxy_set_header Host $http_host;
  proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
  client_max_body_size 2m;
`;

/** nginx in front of addresses, a port for each list of them. */
function inFrontOf(...upstreams: readonly (readonly string[])[]): Promise<Nginx> {
  return startNginx(upstreams.length, (ports) =>
    upstreams
      .map((addresses, at) => {
        const servers = addresses.map((address) => `server ${address} max_fails=0;`).join(" ");
        return `
          upstream up${at} { ${servers} keepalive 64; }
          server {
            listen 127.0.0.1:${ports[at]};
            ${proxy}
            location / { proxy_pass http://up${at}; }
            location /digest { proxy_pass http://up${at}; proxy_request_buffering off; }
          }`;
      })
      .join("\n"),
  );
}

function get(target: string, body: string): Exchange {
  return { request: `GET ${target} HTTP/1.1\r\nHost: a\r\n\r\n`, status: 200, body };
}

function post(target: string, body: string): Exchange {
  const head = `POST ${target} HTTP/1.1\r\nHost: a\r\nContent-Length: ${body.length}\r\n\r\n`;
  return { request: head + body, status: 200, body };
}

function mixed(n: number): Exchange {
  switch (n % 5) {
    case 0:
      return get("/static", "from the loop");
    case 1:
      return get(`/raw/${n}`, `raw ${n}`);
    case 2:
      return get(`/fetch/${n}`, `fetch ${n}`);
    case 3:
      return get(`/later/${n}`, `later ${n}`);
    default:
      return post("/echo", `echo ${n}`);
  }
}

async function throughNginx(nginx: Nginx, at = 0): Promise<Wire> {
  const client = new Wire({ port: nginx.ports[at] as number, host: "127.0.0.1" });
  onTestFinished(() => client.close());
  await until("nginx has accepted", () => !client.socket.connecting);
  return client;
}

describe.skipIf(process.env["MILLRACE_SKIP_NGINX"] && nginxPath === undefined)("nginx", () => {
  let tmp = "";
  beforeAll(() => {
    expect(nginxPath, "install nginx, or set MILLRACE_SKIP_NGINX=1").toBeDefined();
    tmp = mkdtempSync(join(tmpdir(), "millrace-upstream-"));
  });
  afterAll(() => {
    if (tmp !== "") rmSync(tmp, { recursive: true, force: true });
  });

  onEachHost(({ start, loops }) => {
    const listening = (): Promise<Server> =>
      start({ routes, listen: [{ port: 0 }, { unix: join(tmp, `up-${loops}.sock`) }] });
    const proxied = async (server: Server): Promise<Nginx> => {
      const [tcp, unix] = server.addresses;
      const nginx = await inFrontOf([`127.0.0.1:${tcp?.port}`], [`unix:${unix?.address}`]);
      onTestFinished(() => nginx.stop());
      return nginx;
    };

    it.each([
      [0, "TCP"],
      [1, "a unix socket"],
    ])(
      "answers its share of the requests through port %i, %s",
      async (at) => {
        const server = await listening();
        const nginx = await proxied(server);
        const total = REQUESTS / HOSTS.length / WAYS;
        const tally = await makeLoad({
          port: nginx.ports[at] as number,
          connections: 32,
          depth: 16,
          next: (n) => (n < total ? mixed(n) : undefined),
        });
        expect(tally.wrong).toEqual([]);
        expect(tally.good).toBe(total);
        expect(nginx.log()).toBe("");
        const { metrics } = server;
        expect(metrics.requests).toBe(total);
        expect(metrics.responses["2xx"]).toBe(total);
        // They are kept alive: nginx needs one for each of its clients, and a few more.
        expect(metrics.counters["accepted"]).toBeLessThan(Math.max(total / 100, 2 * 32));
      },
      60_000,
    );

    it.each(["sized", "chunked"])(
      "takes a body of 1 MiB that nginx sends on as it comes, %s",
      async (way) => {
        const nginx = await proxied(await listening());
        const body = Buffer.alloc(1024 * 1024, "grain ");
        const wanted = `${way} ${createHash("sha256").update(body).digest("hex")}`;
        for (const at of nginx.ports.keys()) {
          const client = await throughNginx(nginx, at);
          const framing =
            way === "sized" ? `Content-Length: ${body.length}` : "Transfer-Encoding: chunked";
          client.send(`POST /digest HTTP/1.1\r\nHost: a\r\n${framing}\r\n\r\n`);
          if (way === "sized") client.send(body);
          else client.send("100000\r\n").send(body).send("\r\n0\r\n\r\n");
          expect((await client.response()).body).toBe(wanted);
        }
        expect(nginx.log()).toBe("");
      },
    );

    it("refuses a body over the limit with 413, which nginx hands on", async () => {
      const nginx = await proxied(await listening());
      const client = await throughNginx(nginx);
      const body = Buffer.alloc(1024 * 1024 + 1);
      client.send(`POST /digest HTTP/1.1\r\nHost: a\r\nContent-Length: ${body.length}\r\n\r\n`);
      client.send(body);
      expect((await client.response()).status).toBe(413);
    });

    it("answers HEAD, 404 and 405, and sees what nginx says of the client", async () => {
      const nginx = await proxied(await listening());
      for (const at of nginx.ports.keys()) {
        const client = await throughNginx(nginx, at);
        client.send("HEAD /raw/7 HTTP/1.1\r\nHost: a\r\n\r\n");
        const head = await client.response(true);
        expect([head.status, head.headers.get("content-length")]).toEqual([200, "5"]);
        expect((await client.get("/none").response()).status).toBe(404);
        const refused = await client.get("/echo").response();
        expect([refused.status, refused.headers.get("allow")]).toEqual([405, "POST, OPTIONS"]);
        const lines = "X-Forwarded-For: 192.0.2.9\r\nX-Request-Id: r7\r\n";
        const { body } = await client.get("/seen", lines).response();
        expect(JSON.parse(body)).toEqual({
          httpVersion: "1.1",
          ip: at === 0 ? "127.0.0.1" : "",
          connection: null,
          host: "a",
          "x-forwarded-for": "192.0.2.9, 127.0.0.1",
          "x-request-id": "r7",
        });
      }
      expect(nginx.log()).toBe("");
    });

    // When a kept-alive connection ends just as nginx sends on it, nginx goes to the next upstream;
    // not with a POST, since that may have been acted on: such a POST gets a 502 unless nginx was
    // told to leave the server out before it closed, or to repeat what is not idempotent.
    it("loses no GET when one of two servers closes under load", async () => {
      const going = await start({ routes });
      const staying = await start({ routes });
      const addresses = [going, staying].map((server) => `127.0.0.1:${portOf(server)}`);
      const nginx = await inFrontOf(addresses);
      onTestFinished(() => nginx.stop());
      let stopAt = Number.POSITIVE_INFINITY;
      const load = makeLoad({
        port: nginx.ports[0] as number,
        connections: 16,
        depth: 4,
        next: (n) => (n < stopAt ? get(`/later/${n}`, `later ${n}`) : undefined),
      });
      await until("both have work", () =>
        [going, staying].every(({ metrics }) => metrics.requests > 500),
      );
      const { forced } = await going.close();
      const before = staying.metrics.requests;
      await until("the other has it all", () => staying.metrics.requests > before + 500);
      stopAt = 0;
      const tally = await load;
      expect(tally.wrong).toEqual([]);
      expect(tally.good).toBeGreaterThan(1000);
      expect(forced).toBe(0);
    });

    // The only upstream goes: what it had taken is answered, all later answers are nginx's own 502.
    it("answers what it has taken when it closes, and then nginx says 502", async () => {
      const server = await start({ routes });
      const nginx = await inFrontOf([`127.0.0.1:${portOf(server)}`]);
      onTestFinished(() => nginx.stop());
      let left = Number.POSITIVE_INFINITY;
      const load = makeLoad({
        port: nginx.ports[0] as number,
        connections: 8,
        depth: 2,
        next: (n) => (left-- > 0 ? get(`/later/${n}`, `later ${n}`) : undefined),
      });
      await until("there is work", () => server.metrics.requests > 200);
      const { forced } = await server.close();
      left = 100;
      const { good, statuses } = await load;
      expect(forced).toBe(0);
      expect([...statuses.keys()].sort()).toEqual([200, 502]);
      expect(statuses.get(200)).toBe(good);
    });
  }, HOSTS);

  it("works with the server block of examples/behind-nginx.conf", async () => {
    const folder = fileURLToPath(new URL("../examples", import.meta.url));
    const socket = join(tmp, "example.sock");
    const block = readFileSync(join(folder, "behind-nginx.conf"), "utf8");
    expect(block).toContain("unix:/run/millrace.sock");
    expect(block).toContain("listen 80;");
    const child = node(join(folder, "behind-nginx.mjs"), { UNIX_PATH: socket, WAIT_MS: "0" });
    onTestFinished(() => void child.stop());
    await child.said(/ on unix:.*\n/);
    const nginx = await startNginx(1, ([port]) =>
      block
        .replace("unix:/run/millrace.sock", `unix:${socket}`)
        .replace("listen 80;", `listen 127.0.0.1:${port};`),
    );
    onTestFinished(() => nginx.stop());
    const client = await throughNginx(nginx);
    const told = await client.get("/", "X-Forwarded-For: 203.0.113.5\r\n").response();
    expect(JSON.parse(told.body)).toEqual({ client: "127.0.0.1", scheme: "http", host: "a" });
    expect((await client.get("/health/ready").response()).body).toBe("ok\n");
    client.send("POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 5000000\r\n\r\n");
    client.send(Buffer.alloc(5_000_000, "x"));
    expect((await client.response()).body).toBe('{"bytes":5000000}');
    expect(nginx.log()).toBe("");
    expect(await child.stop()).toEqual({ code: 0, signal: null });
  });
});
