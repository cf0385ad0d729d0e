// Streams through a real nginx that buffers nothing: back-pressure reaches its client, and its
// client's end reaches the handler.
import { createHash, randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { request } from "undici";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import {
  type EventStream,
  file,
  type MillraceError,
  type Req,
  type Res,
  raw,
  type Server,
} from "../src/index.ts";
import { sha256Of } from "./support/forms.ts";
import { onEachHost, portOf } from "./support/hosts.ts";
import { type Nginx, nginxPath, startNginx } from "./support/nginx.ts";
import { MIB } from "./support/streaming.ts";
import { gate, until } from "./support/until.ts";
import { Wire } from "./support/wire.ts";

const SIZE = 50 * MIB;
const HOSTS = [0, 1];
// More than the kernel's buffers between the three take, of which each may grow to tens of MiB.
const LONG = 1_073_741_824;

// Without buffers. Events are sent through a location that buffers, so that they ask for it.
const server = (port: number, upstream: number): string => `
  upstream millrace { server 127.0.0.1:${upstream} max_fails=0; keepalive 8; }
  server {
    listen 127.0.0.1:${port};
    client_max_body_size 100m;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Host $http_host;
    location / {
      proxy_pass http://millrace;
      proxy_request_buffering off;
      proxy_buffering off;
    }
    location /events { proxy_pass http://millrace; proxy_buffering on; }
    location /buffered { proxy_pass http://millrace; proxy_buffering on; }
  }`;

describe.skipIf(process.env["MILLRACE_SKIP_NGINX"] && nginxPath === undefined)("nginx", () => {
  let folder = "";
  const content = randomBytes(SIZE);
  beforeAll(() => {
    expect(nginxPath, "install nginx, or set MILLRACE_SKIP_NGINX=1").toBeDefined();
    folder = mkdtempSync(join(tmpdir(), "millrace-nginx-streams-"));
    writeFileSync(join(folder, "large.bin"), content);
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  onEachHost(({ start }) => {
    const said: string[] = [];

    async function proxied(more = {}): Promise<{ server: Server; nginx: Nginx; url: string }> {
      said.length = 0;
      const behind = await start({
        routes: {
          "/now": raw((_req, res) => void res.end("now")),
          "/file": file(join(folder, "large.bin")),
          "/up": {
            POST: raw(async (req, res) => {
              const hash = createHash("sha256");
              for await (const chunk of req) hash.update(chunk);
              const framing = req.contentLength === undefined ? "chunked" : "sized";
              res.end(`${framing} ${hash.digest("hex")}`);
            }),
            body: "stream",
            maxBodySize: 2 * SIZE,
          },
          ...more,
        },
      });
      const nginx = await startNginx(1, ([port = 0]) => server(port, portOf(behind)));
      onTestFinished(() => nginx.stop());
      return { server: behind, nginx, url: `http://127.0.0.1:${nginx.ports[0]}` };
    }

    async function client(nginx: Nginx): Promise<Wire> {
      const opened = new Wire({ port: nginx.ports[0] as number, host: "127.0.0.1" });
      await until("nginx has accepted", () => !opened.socket.connecting);
      return opened;
    }

    /** The connection behind nginx that was used before serves these too. */
    async function expectKept({ server: behind, nginx }: { server: Server; nginx: Nginx }) {
      const { counters } = behind.metrics;
      const other = await client(nginx);
      for (let i = 0; i < 5; i += 1) expect((await other.get("/now").response()).body).toBe("now");
      expect(behind.metrics.counters["accepted"]).toBe(counters["accepted"]);
      other.close();
    }

    it.each(["sized", "chunked"])(
      "makes nginx and its client wait for a handler that reads slowly, %s",
      async (framing) => {
        const go = gate();
        const both = await proxied({
          "/slow": {
            POST: raw(async (req, res) => {
              const hash = createHash("sha256");
              for await (const chunk of req) {
                await go.promise;
                hash.update(chunk);
              }
              const came = req.headers.get("transfer-encoding") ?? "sized";
              res.end(`${came} ${hash.digest("hex")}`);
            }),
            body: "stream",
            maxBodySize: SIZE,
          },
        });
        const uploader = await client(both.nginx);
        const lines =
          framing === "sized" ? `Content-Length: ${SIZE}` : "Transfer-Encoding: chunked";
        uploader.send(`POST /slow HTTP/1.1\r\nHost: a\r\n${lines}\r\n\r\n`);
        const PIECE = 2 * MIB;
        for (let at = 0; at < SIZE; at += PIECE) {
          if (framing === "chunked") uploader.send(`${PIECE.toString(16)}\r\n`);
          uploader.send(content.subarray(at, at + PIECE));
          if (framing === "chunked") uploader.send("\r\n");
        }
        if (framing === "chunked") uploader.send("0\r\n\r\n");
        await until("it is read", () => both.server.metrics.bytesIn > 0);
        // Others are served while it waits, and nothing of it moves on.
        const other = await client(both.nginx);
        let before = -1;
        await until("the upload stands still", async () => {
          const { bytesIn } = both.server.metrics;
          for (let i = 0; i < 20; i += 1) {
            expect((await other.get("/now").response()).body).toBe("now");
          }
          const isStill = uploader.socket.writableLength === before;
          before = uploader.socket.writableLength;
          return isStill && both.server.metrics.bytesIn - bytesIn < MIB;
        });
        expect(both.server.metrics.bytesIn).toBeLessThan(2 * MIB);
        go.open();
        const answer = await uploader.response();
        expect(answer.body).toBe(`${framing} ${sha256Of(content)}`);
        await expectKept(both);
        expect(both.nginx.log()).toBe("");
      },
    );

    it("downloads streams and files unbuffered, and keeps its connection", async () => {
      let sent = 0;
      const pieces = function* (): Generator<Buffer> {
        for (; sent < SIZE; sent += 65_536) yield content.subarray(sent, sent + 65_536);
      };
      // So much that no buffers of the kernel between the three take it all.
      const much = function* (): Generator<Buffer> {
        for (; sent < LONG; sent += 65_536) yield content.subarray(0, 65_536);
      };
      const both = await proxied({
        "/long": raw((_req, res) => res.stream(much())),
        "/stream": raw((_req, res) => res.stream(pieces())),
      });
      const digestOf = async (path: string): Promise<string> => {
        const { body } = await request(`${both.url}${path}`);
        const hash = createHash("sha256");
        for await (const chunk of body) hash.update(chunk as Buffer);
        return hash.digest("hex");
      };
      const digest = sha256Of(content);
      expect(await digestOf("/stream")).toBe(digest);
      expect(await digestOf("/file")).toBe(digest);
      sent = 0;
      const slow = await client(both.nginx);
      slow.socket.pause();
      slow.get("/long");
      let before = -1;
      const other = await client(both.nginx);
      await until("the download stands still", async () => {
        for (let i = 0; i < 20; i += 1)
          expect((await other.get("/now").response()).body).toBe("now");
        const isStill = sent === before;
        before = sent;
        return isStill && sent > 0;
      });
      expect(sent).toBeLessThan(LONG / 4);
      slow.close();
      other.close();
      await until("it is known", () => both.server.metrics.inFlight === 0);
      const { body } = await request(`${both.url}/file`, { headers: { range: "bytes=7-106" } });
      expect(await body.text()).toBe(content.subarray(7, 107).toString());
      await expectKept(both);
      expect(both.nginx.log()).toBe("");
    });

    it("sends events on one by one where nginx buffers other answers", async () => {
      const opened = gate<EventStream>();
      const sent = { events: 0, buffered: 0 };
      const big = "x".repeat(65_000);
      const both = await proxied({
        "/events": raw((_req, res) => {
          const events = res.events();
          events.signal.addEventListener("abort", () => events.close());
          opened.open(events);
        }),
        "/buffered": raw(async (_req, res) => {
          for (; sent.buffered < SIZE; sent.buffered += big.length)
            if (!res.write(big)) await res.drained();
          res.end();
        }),
      });
      const reader = await client(both.nginx);
      reader.get("/events");
      const events = await opened.promise;
      for (const data of ["one", "two", "three"]) {
        events.send({ data });
        await until(`"${data}" has come`, () => reader.buffer.includes(`data: ${data}\n\n`));
      }
      // It is nginx that takes the field as meant for it.
      expect(reader.buffer.toLowerCase()).not.toContain("x-accel-buffering");
      // Without the field nginx reads on, into a file; with it, it waits for its client.
      reader.socket.pause();
      const buffered = await client(both.nginx);
      buffered.socket.pause();
      buffered.get("/buffered");
      const filling = (async () => {
        for (; sent.events < LONG; sent.events += big.length)
          if (!events.send({ data: big })) await events.drained();
      })();
      filling.catch(() => undefined); // ends with the connection
      await until("nginx has the other answer", () => sent.buffered >= SIZE);
      const other = await client(both.nginx);
      let before = -1;
      await until("the events stand still", async () => {
        for (let i = 0; i < 20; i += 1)
          expect((await other.get("/now").response()).body).toBe("now");
        const isStill = sent.events === before && events.writableLength > 0;
        before = sent.events;
        return isStill || sent.events >= LONG;
      });
      expect(sent.events).toBeLessThan(LONG / 4);
      reader.close();
      buffered.close();
      await until("both are gone", () => both.server.metrics.inFlight === 0);
    });

    it("tells the handler when the client of nginx leaves, whatever it was doing", async () => {
      const reasons: string[] = [];
      const watch = ({ signal }: Req, res?: Res): void =>
        signal.addEventListener("abort", () => {
          reasons.push((signal.reason as MillraceError).code);
          res?.end();
        });
      const both = await proxied({
        "/wait": raw((req, res) => {
          watch(req, res.detach());
        }),
        "/endless": raw(async (req, res) => {
          watch(req, res);
          while (!req.aborted) {
            if (!res.write(Buffer.alloc(1000))) await res.drained().catch(() => undefined);
            await new Promise(setImmediate);
          }
        }),
        "/half": {
          POST: raw(async (req, res) => {
            watch(req);
            try {
              for await (const _chunk of req);
              res.end();
            } catch (error) {
              said.push((error as MillraceError).code);
              throw error;
            }
          }),
          body: "stream",
        },
      });
      const sent = [
        "GET /wait HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /endless HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /half HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nbegun",
        "POST /half HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegun\r\n",
      ];
      for (const [at, text] of sent.entries()) {
        const leaving = await client(both.nginx);
        leaving.socket.pause();
        leaving.send(text);
        await until("the handler is called", () => both.server.metrics.requests === at + 1);
        if (at % 2 === 0) leaving.close();
        else leaving.reset();
        await until("it knows", () => reasons.length === at + 1);
      }
      expect(new Set(reasons)).toEqual(new Set(["ERR_MILLRACE_ABORTED"]));
      // nginx ends its connection in the middle of a body, properly.
      expect(said).toHaveLength(2);
      await until("nothing is in flight", () => both.server.metrics.inFlight === 0);
      const other = await client(both.nginx);
      expect((await other.get("/now").response()).body).toBe("now");
      await expectKept(both);
    });
  }, HOSTS);
});
