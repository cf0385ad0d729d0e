// WebSockets behind a real nginx, set up as docs/websocket.md says: over TCP and unix sockets, with
// pings against its read timeout, and what is seen when its configuration lacks something.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import type { WebSocketHandler } from "../src/index.ts";
import { type Host, onEachHost, portOf } from "./support/hosts.ts";
import { type Nginx, nginxPath, startNginx } from "./support/nginx.ts";
import { echo, noting, Peer, told } from "./support/peers.ts";
import { until } from "./support/until.ts";

if (nginxPath === undefined) {
  process.stderr.write(
    process.env["MILLRACE_SKIP_NGINX"]
      ? "websocket_nginx.test.ts is skipped: MILLRACE_SKIP_NGINX is set\n"
      : "websocket_nginx.test.ts fails: install nginx (nginx-light) or set MILLRACE_SKIP_NGINX=1\n",
  );
}

const READ_TIMEOUT_S = 3;
const SILENCE_MS = 800; // and a ping after half of it

/** As in docs/websocket.md; what is in `bare` is handed on without the fields of an upgrade. */
function inFrontOf(address: string): Promise<Nginx> {
  return startNginx(
    1,
    ([port]) => `
      map $http_upgrade $connection_upgrade { default upgrade; "" ""; }
      upstream app { server ${address} max_fails=0; keepalive 16; }
      server {
        listen 127.0.0.1:${port};
        location / {
          proxy_pass http://app;
          proxy_http_version 1.1;
          proxy_set_header Host $http_host;
          proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
          proxy_set_header Upgrade $http_upgrade;
          proxy_set_header Connection $connection_upgrade;
          proxy_read_timeout ${READ_TIMEOUT_S}s;
        }
        location /bare/ { proxy_pass http://app/; }
      }`,
  );
}

describe.skipIf(process.env["MILLRACE_SKIP_NGINX"])("behind nginx", () => {
  onEachHost(
    (host) => {
      behind(host, "TCP");
      behind(host, "a unix socket");
    },
    [0, 1],
  );
});

function behind({ start }: Host, way: "TCP" | "a unix socket"): void {
  describe(`over ${way}`, () => {
    let folder = "";
    let nginx: Nginx | undefined;
    beforeAll(() => {
      folder = mkdtempSync(join(tmpdir(), "millrace-ws-nginx-"));
    });
    afterEach(async () => {
      await nginx?.stop();
      nginx = undefined;
    });
    afterAll(() => rmSync(folder, { recursive: true, force: true }));

    const open = async (handler: WebSocketHandler, target = "/ws") => {
      const unix = join(folder, "app.sock");
      const routes = { "/ws": handler, "/page": new Response("page") };
      const server = await start(way === "TCP" ? { routes } : { routes, unix });
      nginx = await inFrontOf(way === "TCP" ? `127.0.0.1:${portOf(server)}` : `unix:${unix}`);
      const url = `127.0.0.1:${nginx.ports[0]}`;
      return { server, url, client: new Peer(`ws://${url}`, target) };
    };

    it("carries messages, codes and reasons both ways, next to plain HTTP", async () => {
      const events: string[] = [];
      let from: string | null = "";
      const upgrade = (request: Request): void => {
        from = request.headers.get("x-forwarded-for");
      };
      const { url, client } = await open(noting(events, { upgrade }));
      await client.opened();
      const large = Buffer.alloc(300_000, "grain");
      client.ws.send("hällo");
      client.ws.send(large);
      const [text, bytes] = await client.got(2);
      expect(text).toBe("hällo");
      expect(large.equals(bytes as Buffer)).toBe(true); // toEqual() takes seconds
      expect(await (await fetch(`http://${url}/page`)).text()).toBe("page");
      client.ws.close(4321, "why");
      expect(await client.over()).toEqual([4321, "why"]);
      await told(events, "close");
      expect([events, from]).toEqual([["open", "close 4321 why"], "127.0.0.1"]);
    });

    it("keeps a silent socket through pings longer than nginx's read timeout", async () => {
      const { client } = await open({ ...echo, idleTimeout: SILENCE_MS });
      await client.opened();
      let pings = 0;
      client.ws.on("ping", () => {
        pings += 1;
      });
      const enough = Math.ceil((READ_TIMEOUT_S * 1000) / (SILENCE_MS / 2)) + 2;
      await until(
        "pings have come for longer",
        () => pings >= enough || client.closed !== undefined,
      );
      client.ws.send("still here");
      expect(await client.got(1)).toEqual(["still here"]);
    });

    it("loses a silent socket without pings: both ends see 1006", async () => {
      const events: string[] = [];
      const { client } = await open(noting(events, { sendPings: false }));
      await client.opened();
      expect(await client.over()).toEqual([1006, ""]);
      await told(events, "close");
      expect(events).toEqual(["open", "error ERR_MILLRACE_WS_LOST", "close 1006"]);
    });

    it("says 1001 through nginx when the server closes", async () => {
      const { client, server } = await open(echo);
      await client.opened();
      expect((await server.close({ timeout: 10_000 })).forced).toBe(0);
      expect(await client.over()).toEqual([1001, ""]);
    });

    it('lets in pages of its own origin only, for "same-origin"', async () => {
      const { url } = await open({ ...echo, allowedOrigins: "same-origin" });
      const from = (origin: string): Peer => new Peer(`ws://${url}`, "/ws", [], { origin });
      const [evil, upstream] = [from("http://evil.example"), from("http://app")];
      await from(`http://${url}`).opened();
      await Promise.all([evil.over(), upstream.over()]);
      expect([evil.refused, upstream.refused]).toEqual([403, 403]);
    });

    it("answers 426 when nginx does not hand the upgrade on", async () => {
      const { client } = await open(echo, "/bare/ws");
      await client.over();
      expect(client.refused).toBe(426);
    });
  });
}
