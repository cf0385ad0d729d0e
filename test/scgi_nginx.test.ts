// SCGI behind a real nginx: scgi_pass over TCP and over a unix socket, buffered and not.
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { request as httpRequest, type IncomingMessage } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { raw, type Server, scgi } from "../src/index.ts";
import { node } from "./support/child.ts";
import { onEachHost } from "./support/hosts.ts";
import { makeLoad } from "./support/load.ts";
import { freePort, type Nginx, nginxPath, startNginx } from "./support/nginx.ts";
import { gate, until } from "./support/until.ts";
import { Wire } from "./support/wire.ts";

const skipped = process.env["MILLRACE_SKIP_NGINX"] && nginxPath === undefined;
const REQUESTS = 2000;
const PARALLEL = 100;

const PARAMS = `
  scgi_param REQUEST_METHOD $request_method;
  scgi_param REQUEST_URI $request_uri;
  scgi_param QUERY_STRING $query_string;
  scgi_param CONTENT_TYPE $content_type;
  scgi_param DOCUMENT_URI $document_uri;
  scgi_param DOCUMENT_ROOT $document_root;
  scgi_param SCGI 1;
  scgi_param SERVER_PROTOCOL $server_protocol;
  scgi_param REQUEST_SCHEME $scheme;
  scgi_param HTTPS $https if_not_empty;
  scgi_param REMOTE_ADDR $remote_addr;
  scgi_param REMOTE_PORT $remote_port;
  scgi_param SERVER_PORT $server_port;
  scgi_param SERVER_NAME $server_name;
`;
const NAMES = [...PARAMS.matchAll(/scgi_param (\w+)/g)].map((match) => match[1] as string);

/** nginx in front of addresses, a port for each; /raw-… goes through unbuffered. */
async function inFrontOf(...addresses: readonly string[]): Promise<Nginx> {
  const nginx = await startNginx(addresses.length, (ports) =>
    addresses
      .map(
        (address, at) => `
          server {
            listen 127.0.0.1:${ports[at]};
            server_name front.example;
            client_max_body_size 64m;
            ${PARAMS}
            location / { scgi_pass ${address}; }
            location /direct/ {
              scgi_pass ${address};
              scgi_buffering off;
              scgi_request_buffering off;
            }
          }`,
      )
      .join("\n"),
  );
  onTestFinished(() => nginx.stop());
  return nginx;
}

interface Told {
  readonly status: number;
  readonly headers: IncomingMessage["headers"];
  readonly body: Buffer;
}

function ask(
  port: number,
  path: string,
  options: { method?: string; headers?: Record<string, string | number> } = {},
  ...chunks: readonly Buffer[]
): Promise<Told> {
  return new Promise((resolve, reject) => {
    const to = { host: "127.0.0.1", port, path, agent: false, ...options };
    const request = httpRequest(to, (response) => {
      const parts: Buffer[] = [];
      response.on("data", (part: Buffer) => parts.push(part));
      response.on("error", reject);
      response.on("end", () =>
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          body: Buffer.concat(parts),
        }),
      );
    });
    request.on("error", reject);
    for (const chunk of chunks) request.write(chunk);
    request.end();
  });
}

const digest = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");
const big = Buffer.alloc(5 * 1_048_576, "0123456789abcdef!");
const signals: AbortSignal[] = [];
const cuts: (() => void)[] = [];

const routes = {
  "/seen": raw((req, res) => {
    const { ip, remoteAddress, ctx } = req;
    const variables = Object.fromEntries(req.scgi ?? []);
    const { protocol, encrypted, request } = ctx;
    res.json({ variables, ip, port: remoteAddress.port, protocol, encrypted, url: request.url });
  }),
  "/**": {
    POST: raw(async (req, res) => {
      const hash = createHash("sha256");
      let size = 0;
      for await (const chunk of req) {
        hash.update(chunk);
        size += chunk.length;
      }
      res.json({ size, digest: hash.digest("hex"), length: req.contentLength });
    }),
    body: "stream",
  },
  "/n/:n": raw((req, res) => void res.end(`n ${req.params["n"]}`)),
  "/fetch/:n": (_request: Request, ctx: { params: Readonly<Record<string, string>> }) =>
    new Response(`fetch ${ctx.params["n"]}`, { status: 203 }),
  "/head": raw((_req, res) => void res.send(200, "four", { "Content-Type": "text/plain" })),
  "/302": raw((_req, res) => void res.redirect("/elsewhere")),
  "/503": raw((_req, res) => void res.send(503, "later\n", { "Retry-After": 7 })),
  "/direct/big": raw(async (_req, res) => {
    res.header("X-Accel-Buffering", "no");
    await res.stream([big, big]);
  }),
  "/big": raw((_req, res) => void res.end(big)),
  "/direct/cut": raw(async (req, res) => {
    if (req.query.has("length")) res.header("Content-Length", 1000);
    res.write("begun");
    await new Promise<void>((resolve) => cuts.push(resolve));
    throw new Error("thrown on purpose");
  }),
  "/direct/wait": raw((req, res) => {
    signals.push(req.signal);
    req.signal.addEventListener("abort", () => res.end());
    res.write("begun");
    res.detach();
  }),
} as const;

describe.skipIf(skipped)("SCGI behind nginx", () => {
  let folder = "";
  beforeAll(() => {
    expect(nginxPath, "install nginx, or set MILLRACE_SKIP_NGINX=1").toBeDefined();
    folder = mkdtempSync(join(tmpdir(), "millrace-scgi-"));
  });
  afterAll(() => {
    if (folder !== "") rmSync(folder, { recursive: true, force: true });
  });

  onEachHost(({ start, loops }) => {
    let count = 0;
    async function proxied(): Promise<{ server: Server; nginx: Nginx; ports: number[] }> {
      count += 1;
      const unix = join(folder, `${loops}-${count}.sock`);
      const server = await start({
        routes: routes as never,
        listen: [
          { protocol: "scgi", port: 0 },
          { protocol: "scgi", unix },
        ],
      });
      const nginx = await inFrontOf(`127.0.0.1:${server.addresses[0]?.port}`, `unix:${unix}`);
      return { server, nginx, ports: [...nginx.ports] };
    }

    it("has the variables of nginx, and what they say", async () => {
      const { ports } = await proxied();
      for (const port of ports) {
        const headers = { Host: "shop.example:99", "X-A": "b", "X-Forwarded-For": "6.6.6.6" };
        const { status, body } = await ask(port, "/seen?x=1&y=a%20b", { headers });
        const told = JSON.parse(body.toString()) as Record<string, unknown> & {
          variables: Record<string, string>;
        };
        const { variables } = told;
        expect(status).toBe(200);
        const named = NAMES.filter((name) => name !== "HTTPS");
        expect(Object.keys(variables)).toEqual(
          expect.arrayContaining(["CONTENT_LENGTH", ...named]),
        );
        expect(Object.keys(variables)[0]).toBe("CONTENT_LENGTH");
        expect(variables).toMatchObject({
          HTTP_X_A: "b",
          QUERY_STRING: "x=1&y=a%20b",
          REQUEST_URI: "/seen?x=1&y=a%20b",
          SCGI: "1",
          SERVER_NAME: "front.example",
        });
        expect(told).toMatchObject({
          encrypted: false,
          ip: "127.0.0.1",
          port: Number(variables["REMOTE_PORT"]),
          protocol: "scgi",
          url: "http://shop.example:99/seen?x=1&y=a%20b",
        });
      }
    });

    it("answers HEAD, redirects and refuses as asked", async () => {
      const { ports, nginx } = await proxied();
      for (const port of ports) {
        const head = await ask(port, "/head", { method: "HEAD" });
        expect([head.status, head.headers["content-length"], head.body.length]).toEqual([
          200,
          "4",
          0,
        ]);
        const found = await ask(port, "/302");
        const location = `http://front.example:${port}/elsewhere`;
        expect([
          found.status,
          [location, "/elsewhere"].includes(`${found.headers.location}`),
        ]).toEqual([302, true]);
        const later = await ask(port, "/503");
        expect([later.status, later.headers["retry-after"], later.body.toString()]).toEqual([
          503,
          "7",
          "later\n",
        ]);
        expect((await ask(port, "/none")).status).toBe(405);
        expect((await ask(port, "/fetch/1")).status).toBe(203);
      }
      expect(nginx.log()).toBe("");
    });

    it("takes 5 MB, with a length and chunked, buffered and not", async () => {
      const { ports } = await proxied();
      const expected = { size: big.length, digest: digest(big), length: big.length };
      for (const port of ports) {
        for (const path of ["/post", "/direct/post"]) {
          const sized = { method: "POST", headers: { "Content-Length": big.length } };
          const chunked = { method: "POST", headers: { "Transfer-Encoding": "chunked" } };
          const half = big.length / 2;
          for (const options of [sized, chunked]) {
            const pieces = [big.subarray(0, half), big.subarray(half)];
            const { body } = await ask(port, path, options, ...pieces);
            expect(JSON.parse(body.toString())).toEqual(expected);
          }
        }
      }
    }, 60_000);

    it("hands a body over while it arrives when nginx does not buffer", async () => {
      const { ports } = await proxied();
      const arrived = gate<number>();
      const server = await start({
        listen: [{ protocol: "scgi", port: 0 }],
        routes: {
          "/direct/in": {
            POST: raw(async (req, res) => {
              let size = 0;
              for await (const chunk of req) {
                size += chunk.length;
                if (size > 0) arrived.open(size);
              }
              res.end(`${size}`);
            }),
            body: "stream",
          },
        },
      });
      expect(ports).toHaveLength(2);
      const own = await inFrontOf(`127.0.0.1:${server.addresses[0]?.port}`);
      const client = new Wire({ port: own.ports[0] as number, host: "127.0.0.1" });
      client.send("POST /direct/in HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nfirst");
      expect(await arrived.promise).toBe(5);
      client.send("other");
      await until("the answer is there", () => client.buffer.includes("10"));
      client.close();
    });

    it("sends large answers whole, buffered and not", async () => {
      const { ports } = await proxied();
      for (const port of ports) {
        expect(digest((await ask(port, "/big")).body)).toBe(digest(big));
        const { body } = await ask(port, "/direct/big");
        expect(body.length).toBe(big.length * 2);
        expect(digest(body)).toBe(digest(Buffer.concat([big, big])));
      }
    }, 60_000);

    it("tells a handler when the client of nginx leaves", async () => {
      const { ports } = await proxied();
      for (const port of ports) {
        const client = new Wire({ port, host: "127.0.0.1" });
        const before = signals.length;
        client.get("/direct/wait");
        await until("the answer has begun", () => client.buffer.includes("begun"));
        client.reset();
        await until("the signal is aborted", () => signals[before]?.aborted === true);
      }
    });

    // A unix socket has no reset: an answer without a length is whole where its bytes end.
    it("tells nginx that an answer broke off: over TCP, and where it has a length", async () => {
      const { ports, nginx } = await proxied();
      const broken: string[] = [];
      for (const [at, port] of ports.entries()) {
        for (const query of ["", "?length"]) {
          const logged = nginx.log().length;
          const client = new Wire({ port, host: "127.0.0.1" });
          client.get(`/direct/cut${query}`);
          await until("the answer has begun", () => client.buffer.includes("begun"));
          cuts.pop()?.();
          await until(
            "nginx has ended it",
            () => client.ended || client.buffer.endsWith("0\r\n\r\n"),
          );
          client.close();
          const isWhole = client.buffer.endsWith("0\r\n\r\n");
          if (!isWhole) {
            broken.push(`${["tcp", "unix"][at]}${query}`);
            await until("nginx has logged it", () => nginx.log().length > logged);
          }
        }
      }
      expect(broken).toEqual(["tcp", "tcp?length", "unix?length"]);
      expect(nginx.log()).toMatch(/Connection reset by peer.*while reading upstream/);
      expect(nginx.log()).toContain("upstream prematurely closed connection");
    });

    it(`loses none of ${REQUESTS} requests, ${PARALLEL} at a time`, async () => {
      const { ports, nginx, server } = await proxied();
      for (const port of ports) {
        const total = REQUESTS / ports.length;
        const tally = await makeLoad({
          port,
          connections: PARALLEL,
          depth: 1,
          next: (n) => {
            if (n >= total) return undefined;
            const [path, status, body] =
              n % 2 === 0 ? [`/n/${n}`, 200, `n ${n}`] : [`/fetch/${n}`, 203, `fetch ${n}`];
            const request = `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`;
            return { request, status: status as number, body: body as string };
          },
        });
        expect(tally.wrong).toEqual([]);
        expect(tally.good).toBe(total);
      }
      expect(server.metrics.requests).toBe(REQUESTS);
      expect(nginx.log()).toBe("");
    }, 60_000);
  });

  describe("the server block of examples/", () => {
    const examples = fileURLToPath(new URL("../examples", import.meta.url));
    async function inFront(conf: string, from: string, to: string): Promise<number> {
      const block = readFileSync(join(examples, conf), "utf8");
      expect(block).toContain(from);
      const nginx = await startNginx(1, ([port]) => {
        const params = join(folder, "scgi_params");
        writeFileSync(params, PARAMS);
        return block
          .replace(from, to)
          .replace("listen 80;", `listen 127.0.0.1:${port};`)
          .replace("include scgi_params;", `include ${params};`);
      });
      onTestFinished(() => nginx.stop());
      return nginx.ports[0] as number;
    }

    it("seeds/scgicounter.conf counts", async () => {
      const child = node(join(examples, "seeds/scgicounter.mjs"), { PORT: "0" });
      onTestFinished(() => void child.stop());
      const [, address = ""] = await child.said(/ on scgi:\/\/(\S+)\n/);
      const port = await inFront("seeds/scgicounter.conf", "127.0.0.1:4000", address);
      for (const n of [1, 2, 3]) {
        const { headers, body } = await ask(port, "/");
        expect(headers["content-type"]).toBe("text/html");
        expect(body.toString()).toBe(`Hello for the ${n}th time.\r\n`);
      }
      expect(await child.stop()).toEqual({ code: 0, signal: null });
    });

    it("scgi.conf leads to its door", async () => {
      const unix = join(folder, "example.sock");
      const child = node(join(examples, "scgi.mjs"), { PORT: "0", UNIX_PATH: unix });
      onTestFinished(() => void child.stop());
      await child.said(/ on \S+\n/);
      const port = await inFront("scgi.conf", "unix:/run/millrace-scgi.sock", `unix:${unix}`);
      expect((await ask(port, "/")).body.toString()).toBe("Hello 127.0.0.1, by scgi.\n");
      const told = await ask(port, "/upload", { method: "POST" }, Buffer.alloc(3_000_000));
      expect(told.body.toString()).toBe('{"bytes":3000000}');
    });
  });

  it("serves the classic loop: a counter in the application's own words", async () => {
    const port = await freePort();
    let count = 0;
    const running = scgi.run(
      (request) => {
        count += 1;
        request.writeStatusOkTextContent("text/plain");
        request.write(`Hello for the ${count}th time.\r\n`);
        return count === 3;
      },
      { port },
    );
    const nginx = await inFrontOf(`127.0.0.1:${port}`);
    const told: string[] = [];
    for (let n = 0; n < 3; n += 1)
      told.push((await ask(nginx.ports[0] as number, "/")).body.toString());
    await running;
    expect(told).toEqual([1, 2, 3].map((n) => `Hello for the ${n}th time.\r\n`));
    expect((await ask(nginx.ports[0] as number, "/")).status).toBe(502);
  });
});
