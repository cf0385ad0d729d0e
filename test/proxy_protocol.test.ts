// The PROXY protocol in front of HTTP and SCGI: by hand with every cut, from a real HAProxy and
// from nginx's stream module.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect as connectTls } from "node:tls";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { type Connection, type RawHandler, raw, type Server } from "../src/index.ts";
import { type Haproxy, haproxyPath, startHaproxy } from "./support/haproxy.ts";
import { onEachHost, portOf } from "./support/hosts.ts";
import { nginxPath, nginxStreamModule, startNginx } from "./support/nginx.ts";
import { programNamed } from "./support/programs.ts";
import { until } from "./support/until.ts";
import { Wire, wire } from "./support/wire.ts";

const LINE = "PROXY TCP4 192.0.2.1 198.51.100.2 1000 443\r\n";
const REQUEST = "GET /seen HTTP/1.1\r\nHost: a\r\n\r\n";
const openssl = programNamed("openssl");
const canSkip = process.env["MILLRACE_SKIP_HAPROXY"] !== undefined;

if (haproxyPath === undefined) {
  process.stderr.write(
    canSkip
      ? "proxy_protocol.test.ts: the tests with HAProxy are skipped: MILLRACE_SKIP_HAPROXY is set\n"
      : "proxy_protocol.test.ts fails: install haproxy or set MILLRACE_SKIP_HAPROXY=1\n",
  );
}
if (nginxStreamModule === undefined)
  process.stderr.write("proxy_protocol.test.ts: no stream module of nginx, its test is skipped\n");

/** A TLV of version 2; all text is latin1. */
function tlv(type: number, value: string): string {
  const { length } = value;
  return String.fromCharCode(type, length >> 8, length & 0xff) + value;
}

/** A header of version 2 whose addresses and TLVs are `rest`. */
function version2(command: number, family: number, rest: string): string {
  const { length } = rest;
  const fixed = String.fromCharCode(command, family, length >> 8, length & 0xff);
  return `\r\n\r\n\0\r\nQUIT\n${fixed}${rest}`;
}

/** From 192.0.2.1:1000 to 198.51.100.2:443. */
function tcp4(tlvs = ""): string {
  return version2(0x21, 0x11, `\xc0\x00\x02\x01\xc6\x33\x64\x02\x03\xe8\x01\xbb${tlvs}`);
}

/** From [2001:db8::1]:1000 to [2001:db8::2]:443. */
function tcp6(): string {
  const prefix = `\x20\x01\x0d\xb8${"\0".repeat(11)}`;
  return version2(0x21, 0x21, `${prefix}\x01${prefix}\x02\x03\xe8\x01\xbb`);
}

interface Seen {
  readonly ip: string;
  readonly remote: Connection["remoteAddress"];
  readonly proxy:
    | (Omit<NonNullable<Connection["proxy"]>, "tlvs"> & {
        readonly tlvs: readonly (readonly [number, string])[];
      })
    | null;
}

const seen: RawHandler = (req, res) => {
  const { proxy, remoteAddress: remote } = req.connection;
  const tlvs = [...(proxy?.tlvs ?? [])].map(([type, value]) => [
    type,
    Buffer.from(value).toString("latin1"),
  ]);
  res.json({ ip: req.ip, remote, proxy: proxy === undefined ? null : { ...proxy, tlvs } });
};
const routes = { "/seen": raw(seen) };

async function asSeen(client: Wire): Promise<Seen> {
  const { status, body } = await client.response();
  expect(status).toBe(200);
  return JSON.parse(Buffer.from(body, "latin1").toString()) as Seen;
}

async function seenBehind(server: Server, header: string): Promise<Seen> {
  const client = await wire(server);
  client.send(header + REQUEST);
  const found = await asSeen(client);
  client.close();
  return found;
}

const refusals = (server: Server): number =>
  server.metrics.parseErrors["ERR_MILLRACE_BAD_PROXY_HEADER"] ?? 0;

describe("by hand", () => {
  onEachHost(({ start }) => {
    it.each([
      ["accept", LINE],
      ["require", LINE],
      ["accept", tcp4()],
      ["require", tcp4(tlv(1, "h2"))],
    ] as const)("%s takes a header and a request cut anywhere (%#)", async (mode, header) => {
      const server = await start({ routes, port: 0, proxyProtocol: mode });
      const bytes = header + REQUEST;
      for (let cut = 1; cut < bytes.length; cut++) {
        const client = await wire(server);
        client.send(bytes.slice(0, cut));
        await new Promise(setImmediate);
        client.send(bytes.slice(cut));
        const { ip, remote, proxy } = await asSeen(client);
        expect(ip).toBe("192.0.2.1");
        expect(remote).toEqual({ family: "IPv4", address: "192.0.2.1", port: 1000 });
        expect(proxy).toMatchObject({
          version: header === LINE ? 1 : 2,
          local: false,
          destination: { family: "IPv4", address: "198.51.100.2", port: 443 },
          via: { family: "IPv4", address: "127.0.0.1" },
        });
        client.close();
      }
      expect(refusals(server)).toBe(0);
    });

    it("takes them byte by byte, and further requests of the connection", async () => {
      const server = await start({ routes, port: 0, proxyProtocol: "require" });
      const client = await wire(server);
      for (const byte of tcp6() + REQUEST) {
        client.send(byte);
        await new Promise(setImmediate);
      }
      for (let i = 0; i < 3; i++) {
        const { ip, proxy } = await asSeen(client);
        expect(ip).toBe("2001:db8::1");
        expect(proxy?.destination).toEqual({ family: "IPv6", address: "2001:db8::2", port: 443 });
        client.send(REQUEST);
      }
      await client.response();
    });

    it("tells what version 2 says beyond addresses", async () => {
      const server = await start({ routes, port: 0, proxyProtocol: "require" });
      const ssl = `\x05\0\0\0\0${tlv(0x21, "TLSv1.3")}${tlv(0x22, "someone")}`;
      const tlvs = [
        tlv(0x01, "http/1.1"),
        tlv(0x02, "a.example"),
        tlv(0x05, "id"),
        tlv(0x20, ssl),
        tlv(0xea, "\x01vpce-1"),
      ];
      const { proxy } = await seenBehind(server, tcp4(tlvs.join("")));
      expect(proxy).toMatchObject({
        alpn: "http/1.1",
        authority: "a.example",
        ssl: {
          isEncrypted: true,
          hasCertificate: true,
          isVerified: true,
          version: "TLSv1.3",
          commonName: "someone",
        },
      });
      expect(proxy?.tlvs.map(([type]) => type)).toEqual([0x01, 0x02, 0x05, 0x20, 0xea]);
      expect(proxy?.tlvs.at(-1)).toEqual([0xea, "\x01vpce-1"]);
    });

    it("leaves the peer what it is when the proxy speaks for itself", async () => {
      const server = await start({ routes, port: 0, proxyProtocol: "require" });
      const headers = ["PROXY UNKNOWN\r\n", version2(0x20, 0, ""), version2(0x21, 0, tlv(4, ""))];
      for (const header of headers) {
        const { ip, proxy } = await seenBehind(server, header);
        expect(ip).toBe("127.0.0.1");
        expect(proxy?.local).toBe(true);
        expect(proxy?.destination).toEqual(server.addresses[0]);
        expect(proxy?.via).toMatchObject({ family: "IPv4", address: "127.0.0.1" });
      }
    });

    it("knows no address of a client on a unix socket", async () => {
      const server = await start({ routes, port: 0, proxyProtocol: "require" });
      const { ip, remote, proxy } = await seenBehind(
        server,
        version2(0x21, 0x31, "/client".padEnd(108, "\0") + "/proxy".padEnd(108, "\0")),
      );
      expect(ip).toBe("");
      expect(remote).toEqual({ family: "unix", address: "", port: 0 });
      expect(proxy?.local).toBe(false);
    });

    it("accepts connections without a header, and a method that begins like one", async () => {
      const server = await start({ routes, port: 0, proxyProtocol: "accept" });
      const { ip, proxy } = await seenBehind(server, "");
      expect(ip).toBe("127.0.0.1");
      expect(proxy).toBeNull();
      const client = await wire(server);
      client.send("PROXY /seen HTTP/1.1\r\nHost: a\r\n\r\n");
      expect((await asSeen(client)).proxy).toBeNull();
      expect(refusals(server)).toBe(0);
    });

    it.each([
      ["no header", "require", REQUEST],
      ["a wrong port", "require", LINE.replace("443", "70000") + REQUEST],
      ["a wrong port", "accept", LINE.replace("443", "0443") + REQUEST],
      ["datagrams", "accept", version2(0x21, 0x12, "x".repeat(12)) + REQUEST],
      ["a wrong checksum", "require", tcp4(tlv(3, "abcd")) + REQUEST],
      ["a cut TLV", "accept", tcp4("\x04") + REQUEST],
      ["a longer one than the limit", "require", version2(0x20, 0, "x".repeat(4081))],
      ["a longer line than there is", "require", `PROXY UNKNOWN ${"x".repeat(93)}`],
    ] as const)("closes on %s without an answer: %s", async (_what, mode, bytes) => {
      const ends: string[] = [];
      const server = await start({
        routes,
        port: 0,
        proxyProtocol: mode,
        onClose: (_connection, cause, detail) => {
          ends.push(`${cause} ${detail}`);
        },
      });
      const client = await wire(server);
      client.send(bytes);
      await client.end();
      expect(client.buffer).toBe("");
      expect(refusals(server)).toBe(1);
      await until("onClose is called", () => ends.length > 0);
      expect(ends).toHaveLength(1);
      expect(ends[0]).toMatch(/^ProtocolViolated ERR_MILLRACE_BAD_PROXY_HEADER\b/);
      // The next one is none the worse for it.
      expect((await seenBehind(server, LINE)).ip).toBe("192.0.2.1");
    });

    it("closes silently who does not come to the header's end", async () => {
      const timeouts = { headers: 50 };
      const server = await start({ routes, port: 0, proxyProtocol: "accept", timeouts });
      for (const begun of ["", "PROXY TCP4 192", tcp4().slice(0, 20)]) {
        const client = await wire(server);
        client.send(begun);
        await client.end();
        expect(client.buffer).toBe("");
      }
      expect(server.metrics.parseErrors["ERR_MILLRACE_HEADERS_TIMEOUT"]).toBe(3);
    });

    it("keeps the clients of many connections apart", async () => {
      const server = await start({ routes, port: 0, proxyProtocol: "require" });
      const numbers = Array.from({ length: 64 }, (_, n) => n);
      const found = await Promise.all(
        numbers.map((n) => seenBehind(server, LINE.replace("192.0.2.1", `192.0.2.${n}`))),
      );
      expect(found.map(({ ip }) => ip)).toEqual(numbers.map((n) => `192.0.2.${n}`));
    });

    it("takes the longest header that the limit can allow", async () => {
      const limits = { maxProxyHeader: 65_551 };
      const server = await start({ routes, port: 0, proxyProtocol: "require", limits });
      const value = "x".repeat(65_535 - 12 - 3);
      const { proxy } = await seenBehind(server, tcp4(tlv(0xe0, value)));
      expect(proxy?.tlvs).toEqual([[0xe0, value]]);
    });

    it("answers a client that half-closes behind its request", async () => {
      const server = await start({ routes, port: 0, proxyProtocol: "require" });
      const client = await wire(server);
      client.socket.end(Buffer.from(tcp4() + REQUEST, "latin1"));
      expect((await asSeen(client)).ip).toBe("192.0.2.1");
      await client.end();
    });

    it("keeps listeners apart: one with, one without", async () => {
      const listen = [{ port: 0 }, { port: 0, proxyProtocol: "require" as const }];
      const server = await start({ routes, listen });
      const plain = await wire(server, 0);
      plain.send(REQUEST);
      expect((await asSeen(plain)).ip).toBe("127.0.0.1");
      const proxied = await wire(server, 1);
      proxied.send(LINE + REQUEST);
      expect((await asSeen(proxied)).ip).toBe("192.0.2.1");
      const without = await wire(server, 1);
      without.send(REQUEST);
      await without.end();
      expect(without.buffer).toBe("");
    });

    it("comes before SCGI too", async () => {
      const server = await start({ routes, port: 0, protocol: "scgi", proxyProtocol: "accept" });
      const fields = {
        CONTENT_LENGTH: "0",
        SCGI: "1",
        REQUEST_METHOD: "GET",
        REQUEST_URI: "/seen",
        REMOTE_ADDR: "203.0.113.9",
      };
      const text = Object.entries(fields)
        .flat()
        .map((part) => `${part}\0`)
        .join("");
      for (const header of [LINE, tcp4(), ""]) {
        const client = await wire(server);
        client.send(`${header}${text.length}:${text},`);
        await client.end();
        expect(client.buffer).toMatch(/^Status: 200/);
        const found = JSON.parse(client.buffer.slice(client.buffer.indexOf("\r\n\r\n"))) as Seen;
        expect(found.proxy?.via.address).toBe(header === "" ? undefined : "127.0.0.1");
        if (header !== "") expect(found.remote.address).toBe("192.0.2.1");
      }
    });
  });
});

describe.skipIf(canSkip && haproxyPath === undefined)("behind HAProxy", () => {
  let folder = "";
  beforeAll(() => {
    expect(haproxyPath, "install haproxy, or set MILLRACE_SKIP_HAPROXY=1").toBeDefined();
    folder = mkdtempSync(join(tmpdir(), "millrace-proxied-"));
  });
  afterAll(() => {
    if (folder !== "") rmSync(folder, { recursive: true, force: true });
  });

  async function started(count: number, sections: (ports: readonly number[]) => string) {
    const haproxy: Haproxy = await startHaproxy(count, sections);
    onTestFinished(() => haproxy.stop());
    return haproxy;
  }

  async function through(haproxy: Haproxy, at: number): Promise<{ client: Wire; port: number }> {
    // Another address of this host than HAProxy's own, so that they cannot be taken for each other.
    const client = new Wire({
      port: haproxy.ports[at] as number,
      host: "127.0.0.1",
      localAddress: "127.0.0.7",
    });
    onTestFinished(() => client.close());
    await until("HAProxy has accepted", () => !client.socket.connecting);
    return { client, port: client.socket.localPort as number };
  }

  onEachHost(
    ({ start }) => {
      it("knows the client by version 1 and 2, by TCP and by a unix socket", async () => {
        const unix = join(folder, `${Math.random()}.sock`);
        const proxyProtocol = "require";
        const server = await start({
          routes,
          listen: [
            { port: 0, proxyProtocol },
            { unix, proxyProtocol },
          ],
        });
        const tcp = `127.0.0.1:${portOf(server)}`;
        const haproxy = await started(4, (ports) =>
          [
            `${tcp} send-proxy`,
            `${tcp} send-proxy-v2`,
            `${unix} send-proxy`,
            `${unix} send-proxy-v2`,
          ]
            .map(
              (upstream, at) =>
                `listen l${at}\n  bind 127.0.0.1:${ports[at]}\n  server a ${upstream}`,
            )
            .join("\n"),
        );
        for (const at of haproxy.ports.keys()) {
          const { client, port } = await through(haproxy, at);
          for (let i = 0; i < 3; i++) {
            client.send(REQUEST);
            const { ip, remote, proxy } = await asSeen(client);
            expect(ip).toBe("127.0.0.7");
            expect(remote).toEqual({ family: "IPv4", address: "127.0.0.7", port });
            expect(proxy).toMatchObject({
              version: at % 2 === 0 ? 1 : 2,
              local: false,
              destination: { family: "IPv4", address: "127.0.0.1", port: haproxy.ports[at] },
            });
            expect(proxy?.via.family).toBe(at < 2 ? "IPv4" : "unix");
          }
        }
        expect(refusals(server)).toBe(0);
      });

      it("verifies HAProxy's checksum and tells its unique id", async () => {
        const server = await start({ routes, port: 0, proxyProtocol: "require" });
        const haproxy = await started(
          1,
          ([port]) => `
listen l
  bind 127.0.0.1:${port}
  unique-id-format id-%ci-%cp
  server a 127.0.0.1:${portOf(server)} send-proxy-v2 proxy-v2-options crc32c,unique-id`,
        );
        const { client, port } = await through(haproxy, 0);
        client.send(REQUEST);
        const { ip, proxy } = await asSeen(client);
        expect(ip).toBe("127.0.0.7");
        const values = new Map(proxy?.tlvs);
        expect(values.get(0x03)).toHaveLength(4);
        expect(values.get(0x05)).toBe(`id-127.0.0.7-${port}`);
      });

      it("takes HAProxy's health checks for what they are", async () => {
        const ips: string[] = [];
        const checked = raw((req, res) => {
          ips.push(`${req.ip} ${req.connection.proxy?.local}`);
          res.end("well");
        });
        const server = await start({
          routes: { ...routes, "/health": checked },
          port: 0,
          proxyProtocol: "require",
        });
        const haproxy = await started(
          1,
          ([port]) => `
listen l
  bind 127.0.0.1:${port}
  option httpchk
  http-check send meth GET uri /health ver HTTP/1.1 hdr Host a
  server a 127.0.0.1:${portOf(server)} send-proxy-v2 check check-send-proxy inter 20ms`,
        );
        await until("three checks have come", () => ips.length >= 3);
        expect(new Set(ips)).toEqual(new Set(["127.0.0.1 true"]));
        const { client } = await through(haproxy, 0);
        client.send(REQUEST);
        expect((await asSeen(client)).ip).toBe("127.0.0.7");
        expect(refusals(server)).toBe(0);
      });

      it.skipIf(openssl === undefined)("tells what HAProxy knows of TLS", async () => {
        const [key, cert] = [join(folder, "key.pem"), join(folder, "cert.pem")];
        const [kind, subject] = [
          ["-newkey", "rsa:2048", "-nodes"],
          ["-subj", "/CN=someone"],
        ];
        const files = ["-keyout", key, "-out", cert];
        execFileSync(
          openssl as string,
          ["req", "-x509", "-days", "2", ...kind, ...subject, ...files],
          {
            stdio: "ignore",
          },
        );
        const both = join(folder, "both.pem");
        writeFileSync(both, readFileSync(cert, "utf8") + readFileSync(key, "utf8"));
        const server = await start({ routes, port: 0, proxyProtocol: "require" });
        const options = "proxy-v2-options ssl,cert-cn,ssl-cipher,authority,crc32c";
        const haproxy = await started(
          1,
          ([port]) => `
listen l
  bind 127.0.0.1:${port} ssl crt ${both} ca-file ${cert} verify optional alpn http/1.1
  server a 127.0.0.1:${portOf(server)} send-proxy-v2-ssl-cn ${options}`,
        );
        const socket = connectTls({
          port: haproxy.ports[0] as number,
          host: "127.0.0.1",
          servername: "a.example",
          ALPNProtocols: ["http/1.1"],
          key: readFileSync(key),
          cert: readFileSync(cert),
          rejectUnauthorized: false,
        });
        onTestFinished(() => {
          socket.destroy();
        });
        let text = "";
        socket.setEncoding("latin1").on("data", (part: string) => {
          text += part;
        });
        socket.write(REQUEST);
        await until("the answer is there", () => text.includes("\r\n\r\n") && text.endsWith("}"));
        const { proxy } = JSON.parse(text.slice(text.indexOf("\r\n\r\n"))) as Seen;
        expect(proxy).toMatchObject({
          version: 2,
          alpn: "http/1.1",
          authority: "a.example",
          ssl: {
            isEncrypted: true,
            hasCertificate: true,
            isVerified: true,
            version: "TLSv1.3",
            commonName: "someone",
          },
        });
        expect(proxy?.ssl?.cipher).toMatch(/^TLS_/);
      });
    },
    [0, 1],
  );
});

describe.skipIf(nginxPath === undefined || nginxStreamModule === undefined)(
  "nginx's stream",
  () => {
    onEachHost(
      ({ start }) => {
        it("tells the client's address by version 1", async () => {
          const server = await start({ routes, port: 0, proxyProtocol: "require" });
          const nginx = await startNginx(
            1,
            () => "",
            ([port]) =>
              `server { listen 127.0.0.1:${port}; proxy_pass 127.0.0.1:${portOf(server)}; proxy_protocol on; }`,
          );
          onTestFinished(() => nginx.stop());
          const client = new Wire({
            port: nginx.ports[0] as number,
            host: "127.0.0.1",
            localAddress: "127.0.0.8",
          });
          onTestFinished(() => client.close());
          for (let i = 0; i < 3; i++) {
            client.send(REQUEST);
            const { ip, proxy } = await asSeen(client);
            expect(ip).toBe("127.0.0.8");
            expect(proxy).toMatchObject({
              version: 1,
              destination: { address: "127.0.0.1", port: nginx.ports[0] },
            });
          }
          expect(nginx.log()).toBe("");
        });
      },
      [0, 1],
    );
  },
);
