// The WebSocket client with servers that others wrote, over TLS, in worker threads, and in
// processes that are to end by themselves.
import { createHash, randomBytes } from "node:crypto";
import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from "node:fs";
import { createServer, type Server as HttpsServer } from "node:https";
import { createServer as createPlain, connect as dialPlain, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createServer as createTls, type TLSSocket } from "node:tls";
import { Worker } from "node:worker_threads";
import { afterAll, afterEach, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { type WebSocket as Peer, WebSocketServer } from "ws";
import { clientele, connect, MillraceError, WebSocket } from "../src/index.ts";
import { binding } from "../src/native/binding.ts";
import { openTunnel } from "../src/websocket/tls.ts";
import { targetOf } from "../src/websocket/url.ts";
import { Child, outputOf } from "./support/child.ts";
import { switching } from "./support/clients.ts";
import { programNamed } from "./support/programs.ts";
import { gate, until } from "./support/until.ts";

const MIB = 1 << 20;
const openssl = programNamed("openssl");
const python = await pythonWithWebsockets();

if (python === undefined)
  process.stderr.write(
    "websocket_client_interop: no Python with websockets, its tests are skipped\n",
  );
if (openssl === undefined)
  process.stderr.write("websocket_client_interop: no openssl, the tests of wss: are skipped\n");

afterEach(() => until("all engines are freed", () => binding().census().servers === 0));

async function pythonWithWebsockets(): Promise<string | undefined> {
  for (const path of ["/usr/bin/python3", programNamed("python3")]) {
    if (path === undefined) continue;
    const child = new Child(path, ["-c", "import websockets"]);
    if ((await child.exited.catch(() => undefined))?.code === 0) return path;
  }
  return undefined;
}

interface Npm {
  readonly url: string;
  readonly server: WebSocketServer;
}

/** An echo server of npm's ws. */
async function npmServer(options: object = {}): Promise<Npm> {
  const server = new WebSocketServer({ port: 0, host: "127.0.0.1", ...options });
  server.on("connection", (ws) => {
    ws.on("error", () => undefined);
    ws.on("message", (data, isBinary) => ws.send(data, { binary: isBinary }));
  });
  await new Promise<void>((resolve) => server.once("listening", resolve));
  onTestFinished(async () => {
    for (const ws of server.clients) ws.terminate();
    await new Promise((resolve) => server.close(resolve));
  });
  return { url: `ws://127.0.0.1:${(server.address() as { port: number }).port}/`, server };
}

function arrived(server: WebSocketServer): Promise<Peer> {
  return new Promise((resolve) => server.once("connection", resolve));
}

describe("with npm's ws as the server", () => {
  it.each([
    ["plain", false, false],
    ["deflate without takeover", true, true],
    ["deflate with takeover", { contextTakeover: true, peerContextTakeover: true }, true],
    ["a small window of ours", { windowBits: 9 }, true],
    ["a small window of theirs", true, { serverMaxWindowBits: 10 }],
  ])("exchanges messages: %s", async (_name, perMessageDeflate, theirs) => {
    const { url } = await npmServer({ perMessageDeflate: theirs });
    await using ws = await connect(url, { perMessageDeflate, maxPayloadLength: 8 * MIB });
    expect(ws.extensions).toBe(perMessageDeflate === false ? "" : "permessage-deflate");
    const messages = [
      "",
      "short",
      "long and repetitive ".repeat(20_000),
      new Uint8Array(randomBytes(300_000)),
      new Uint8Array(0),
      "ünïcödé ".repeat(5000),
    ];
    for (const message of messages) ws.send(message);
    let at = 0;
    for await (const message of ws) {
      expect(typeof message).toBe(typeof messages[at]);
      expect(Buffer.compare(Buffer.from(message), Buffer.from(messages[at] as string))).toBe(0);
      if ((at += 1) === messages.length) break;
    }
  });

  it("agrees on sub-protocols, and on codes and reasons both ways", async () => {
    const { url, server } = await npmServer({ handleProtocols: () => "b" });
    const [ws, peer] = await Promise.all([
      connect(url, { protocols: ["a", "b"] }),
      arrived(server),
    ]);
    expect([ws.protocol, peer.protocol]).toEqual(["b", "b"]);
    peer.close(4100, "from there");
    expect(await ws.closed).toEqual({ code: 4100, reason: "from there" });
    const [other, otherPeer] = await Promise.all([
      connect(url, { protocols: "b" }),
      arrived(server),
    ]);
    const told = gate<unknown[]>();
    otherPeer.on("close", (code, reason) => told.open([code, reason.toString()]));
    other.close(4200, "from here");
    expect(await told.promise).toEqual([4200, "from here"]);
    expect(await other.closed).toEqual({ code: 4200, reason: "from here" });
  });

  it("rejects what verifyClient refuses, with the status", async () => {
    const { url } = await npmServer({
      verifyClient: (_info: unknown, done: (yes: boolean, code: number) => void) =>
        done(false, 403),
    });
    const error: unknown = await connect(url).catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code: "ERR_MILLRACE_WS_REJECTED", cause: { status: 403 } });
  });

  it("answers pings with their payload and hears the pongs", async () => {
    const { url, server } = await npmServer();
    const pong = gate<string>();
    const [ws, peer] = await Promise.all([
      connect(url, { handler: { pong: (_ws, data) => pong.open(Buffer.from(data).toString()) } }),
      arrived(server),
    ]);
    const theirs = new Promise((resolve) => peer.on("pong", (data) => resolve(data.toString())));
    peer.ping("you?");
    expect(await theirs).toBe("you?");
    ws.ping("and you?");
    expect(await pong.promise).toBe("and you?");
    ws.close();
    await ws.closed;
  });

  it("W3C: says to the server what close() without a code says", async () => {
    const { url, server } = await npmServer();
    const peer = arrived(server);
    const ws = new WebSocket(url);
    await new Promise((resolve) => ws.addEventListener("open", resolve));
    const told = new Promise((resolve) => void peer.then((their) => their.on("close", resolve)));
    ws.close();
    expect(await told).toBe(1005);
    if (ws.readyState !== 3) await new Promise((resolve) => ws.addEventListener("close", resolve));
  });

  it("serves a clientele of 200", async () => {
    const { url } = await npmServer();
    let count = 0;
    const all = gate();
    const many = clientele({
      message(client, data) {
        if (data === `hello of ${client.id}`) count += 1;
        if (count === 200) all.open();
      },
    });
    for (let i = 0; i < 200; i += 1) many.client(url);
    await Promise.all([...many.clients.values()].map((client) => client.connect()));
    for (const client of many.connected()) void client.send(`hello of ${client.id}`);
    await all.promise;
    await many.close();
  });
});

describe.skipIf(python === undefined)("with Python's websockets as the server", () => {
  const program = `
import asyncio, websockets
async def echo(ws, path=None):
    async for message in ws:
        if message == "close": await ws.close(4002, "as you wish")
        else: await ws.send(message)
async def main():
    options = { "subprotocols": ["chat"], "max_size": None }
    async with websockets.serve(echo, "127.0.0.1", 0, **options) as server:
        print("port", server.sockets[0].getsockname()[1], flush=True)
        await asyncio.Future()
asyncio.run(main())
`;

  it.each([false, true])("exchanges messages; deflate: %s", async (perMessageDeflate) => {
    const child = new Child(python as string, ["-c", program]);
    onTestFinished(async () => void (await child.stop("SIGKILL")));
    const [, port] = await child.said(/port (\d+)/);
    const ws = await connect(`ws://127.0.0.1:${port}/`, { perMessageDeflate, protocols: ["chat"] });
    expect(ws.extensions).toBe(perMessageDeflate ? "permessage-deflate" : "");
    expect(ws.protocol).toBe("chat");
    const messages = [
      "grüße",
      "again and again ".repeat(10_000),
      new Uint8Array(randomBytes(70_000)),
    ];
    for (const message of messages) ws.send(message);
    let at = 0;
    for await (const message of ws) {
      expect(Buffer.compare(Buffer.from(message), Buffer.from(messages[at] as string))).toBe(0);
      if ((at += 1) === messages.length) break;
    }
    ws.send("close");
    expect(await ws.closed).toEqual({ code: 4002, reason: "as you wish" });
  });
});

describe.skipIf(openssl === undefined)("wss:", () => {
  let folder = "";
  let key = "";
  let cert = "";

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "millrace-wss-"));
    const [keyFile, certFile] = [join(folder, "key.pem"), join(folder, "cert.pem")];
    const subject = [
      "-subj",
      "/CN=localhost",
      "-addext",
      "subjectAltName=DNS:localhost,IP:127.0.0.1",
    ];
    const kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    const files = ["-keyout", keyFile, "-out", certFile];
    await outputOf(openssl as string, "req", "-x509", "-days", "2", ...kind, ...subject, ...files);
    key = readFileSync(keyFile, "utf8");
    cert = readFileSync(certFile, "utf8");
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  interface Secure extends Npm {
    readonly https: HttpsServer;
    readonly names: (string | undefined)[];
    readonly sockets: Set<Socket>;
  }

  async function secureServer(options: object = {}): Promise<Secure> {
    const https = createServer({ key, cert });
    const server = new WebSocketServer({ server: https, maxPayload: 64 * MIB, ...options });
    const names: (string | undefined)[] = [];
    const sockets = new Set<Socket>();
    https.on("secureConnection", (socket: TLSSocket & { servername?: string | false }) => {
      names.push(socket.servername || undefined);
      sockets.add(socket);
      socket.on("error", () => undefined).on("close", () => sockets.delete(socket));
    });
    server.on("connection", (ws) => {
      ws.on("error", () => undefined);
      ws.on("message", (data, isBinary) => ws.send(data, { binary: isBinary }));
    });
    await new Promise<void>((resolve) => https.listen(0, "127.0.0.1", resolve));
    onTestFinished(async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => https.close(resolve));
    });
    const { port } = https.address() as { port: number };
    return { url: `wss://localhost:${port}/`, server, https, names, sockets };
  }

  it("checks the certificate, names the server, and exchanges messages", async () => {
    const { url, names } = await secureServer();
    const error: unknown = await connect(url).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(MillraceError);
    expect(error).toMatchObject({
      code: "ERR_MILLRACE_WS_CONNECT",
      cause: { code: "DEPTH_ZERO_SELF_SIGNED_CERT" },
    });
    names.length = 0;
    const ws = await connect(url, { tls: { ca: cert }, perMessageDeflate: true });
    expect(names).toEqual(["localhost"]);
    expect(ws.remoteAddress.address).toBe("127.0.0.1");
    ws.send("secret");
    for await (const message of ws) {
      expect(message).toBe("secret");
      break;
    }
    ws.close(4000, "over");
    expect((await ws.closed).code).toBe(4000);
    const loose = await connect(url.replace("localhost", "127.0.0.1"), {
      tls: { rejectUnauthorized: false },
    });
    loose.terminate();
    expect((await loose.closed).code).toBe(1006);
  });

  it("carries 32 MiB each way intact, whoever is slower", { timeout: 60_000 }, async () => {
    const { url, sockets } = await secureServer();
    const ws = await connect(url, {
      tls: { ca: cert },
      maxPayloadLength: 4 * MIB,
      backpressureLimit: 64 * MIB,
    });
    const piece = randomBytes(MIB);
    const [sent, got] = [createHash("sha256"), createHash("sha256")];
    for (let i = 0; i < 32; i += 1) {
      piece.writeUInt32BE(i);
      sent.update(piece);
      if (ws.send(piece) === -1) await ws.drained();
    }
    let size = 0;
    for await (const message of ws) {
      got.update(message);
      size += message.length;
      if (size === 32 * MIB) break;
    }
    expect(got.digest("hex")).toBe(sent.digest("hex"));
    ws.close();
    await ws.closed;
    await until("the server's end is over", () => sockets.size === 0);
  });

  it("ends with 1006 when the TLS peer is gone, and tells the peer when we are", async () => {
    const { url, server, sockets } = await secureServer();
    const [ws] = await Promise.all([connect(url, { tls: { ca: cert } }), arrived(server)]);
    for (const socket of sockets) socket.destroy();
    expect((await ws.closed).code).toBe(1006);
    const [other, peer] = await Promise.all([connect(url, { tls: { ca: cert } }), arrived(server)]);
    const told = new Promise((resolve) => peer.on("close", resolve));
    other.terminate();
    expect(await told).toBe(1006);
    await until("the server's end is over", () => sockets.size === 0);
  });

  it("gives up in time, and on a signal, at every stage", async () => {
    const sockets = new Set<Socket>();
    const mute = createPlain((socket) => {
      sockets.add(socket.resume());
      socket.on("error", () => undefined).on("close", () => sockets.delete(socket));
    });
    await new Promise<void>((resolve) => mute.listen(0, "127.0.0.1", resolve));
    onTestFinished(async () => void (await new Promise((resolve) => mute.close(resolve))));
    const { port } = mute.address() as { port: number };
    const url = `wss://127.0.0.1:${port}/`;
    await expect(connect(url, { timeout: 50 })).rejects.toMatchObject({
      code: "ERR_MILLRACE_WS_TIMEOUT",
    });
    const controller = new AbortController();
    const attempt = connect(url, { signal: controller.signal });
    await until("it is there", () => sockets.size > 0);
    controller.abort();
    await expect(attempt).rejects.toMatchObject({ name: "AbortError" });
    await until("nothing is left", () => sockets.size === 0);
    const secure = await secureServer({ noServer: true, server: undefined });
    secure.https.on("upgrade", () => undefined);
    await expect(connect(secure.url, { tls: { ca: cert }, timeout: 200 })).rejects.toMatchObject({
      code: "ERR_MILLRACE_WS_TIMEOUT",
    });
    await until("nothing is left", () => secure.sockets.size === 0);
  });

  it("says what is wrong when the server speaks no TLS", async () => {
    const { url } = await npmServer();
    const error: unknown = await connect(url.replace("ws:", "wss:")).catch((each: unknown) => each);
    expect(error).toMatchObject({ code: "ERR_MILLRACE_WS_CONNECT" });
    expect((error as MillraceError).cause).toBeInstanceOf(Error);
  });

  /** Sockets of this process. */
  function descriptors(): number {
    return readdirSync("/proc/self/fd").filter((fd) => {
      try {
        return readlinkSync(`/proc/self/fd/${fd}`).startsWith("socket:");
      } catch {
        return false; // the one that read the folder
      }
    }).length;
  }

  it.skipIf(process.platform !== "linux")(
    "lets go of a peer that keeps its side open, and of a tunnel that nobody took",
    async () => {
      const peers = new Set<Socket>();
      const server = createTls({ key, cert, allowHalfOpen: true }, (peer) => {
        peer.on("error", () => undefined);
        peer.once("data", (head: Buffer) => {
          const asked = /^sec-websocket-key: (.*)\r$/im.exec(head.toString("latin1"))?.[1];
          const accept = createHash("sha1").update(`${asked}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`);
          peer.write(switching(accept.digest("base64")));
          peer.on("data", () => peer.write(Buffer.from([0x88, 2, 3, 0xe8])));
        });
      });
      server
        .on("tlsClientError", () => undefined)
        .on("connection", (peer: Socket) => {
          peers.add(peer.on("error", () => undefined));
        });
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
      onTestFinished(async () => {
        for (const peer of peers) peer.destroy();
        await new Promise((resolve) => server.close(resolve));
      });
      const url = `wss://127.0.0.1:${(server.address() as { port: number }).port}/`;
      const before = descriptors();
      const ws = await connect(url, { tls: { ca: cert }, closeTimeout: 100 });
      ws.close();
      await ws.closed;
      await until("the peer's end is all that is left", () => descriptors() <= before + peers.size);
      expect(peers.size).toBe(1);
      const target = targetOf(url, undefined);
      const opening = openTunnel(binding(), target, "127.0.0.1", { ca: cert });
      await opening.ready;
      opening.destroy();
      await until("the peers' ends are all that is left", () => {
        return peers.size === 2 && descriptors() <= before + peers.size;
      });
    },
  );

  it("gives TLS's error as the cause of a lost connection", async () => {
    const { https } = await secureServer();
    const { port } = https.address() as { port: number };
    const near = new Set<Socket>();
    const proxy = createPlain((socket) => {
      const far = dialPlain(port, "127.0.0.1");
      for (const each of [near.add(socket) && socket, far]) each.on("error", () => undefined);
      socket.pipe(far).pipe(socket);
    });
    await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve));
    onTestFinished(async () => void (await new Promise((resolve) => proxy.close(resolve))));
    const url = `wss://localhost:${(proxy.address() as { port: number }).port}/`;
    const told = gate<Error>();
    const error = (_ws: unknown, why: Error): void => told.open(why);
    const ws = await connect(url, { tls: { ca: cert }, handler: { error } });
    for (const socket of near) socket.write("this is no record of TLS");
    expect((await ws.closed).code).toBe(1006);
    const { cause, ...rest } = (await told.promise) as MillraceError;
    expect(rest.code).toBe("ERR_MILLRACE_WS_LOST");
    expect((cause as NodeJS.ErrnoException).code).toMatch(/^ERR_SSL/);
    for (const socket of near) socket.destroy();
  });

  it("serves WebSocket and clienteles, too", async () => {
    const { url } = await secureServer();
    const ws = new WebSocket(url, { tls: { ca: cert } });
    await new Promise((resolve) => ws.addEventListener("open", resolve));
    ws.close();
    await new Promise((resolve) => ws.addEventListener("close", resolve));
    const got = gate<unknown>();
    const many = clientele({ loops: 1, message: (_client, data) => got.open(data) });
    const client = many.client(url, { tls: { ca: cert } });
    expect(await client.connect()).toBe(true);
    await client.send("hello");
    expect(await got.promise).toBe("hello");
    await many.close();
  });
});

describe("processes and threads", () => {
  const file = new URL("children/ws_clients.mjs", import.meta.url);

  it.each(["closed", "failed", "unref", "cut", "standard", "ended"])(
    "ends by itself: %s",
    async (name) => {
      const { url, server } = await npmServer();
      const child = new Child(process.execPath, [file.pathname, name, url]);
      expect(await child.exited, child.errors).toEqual({ code: 0, signal: null });
      expect(child.output).toContain("done");
      await until("the server knows", () => server.clients.size === 0);
    },
  );

  it("stays while a client is open", async () => {
    const { url, server } = await npmServer();
    const child = new Child(process.execPath, [file.pathname, "open", url]);
    await child.said(/done/);
    const [peer] = server.clients;
    // It answers, so it lives; and ends when we close.
    const pong = new Promise((resolve) => peer?.on("pong", resolve));
    peer?.ping();
    await pong;
    expect(child.hasExited).toBe(false);
    peer?.close();
    expect(await child.exited, child.errors).toEqual({ code: 0, signal: null });
  });

  it.each([0, 1])("survives the end of a worker with open clients; loops: %i", async (loops) => {
    const { url, server } = await npmServer();
    for (let round = 0; round < 5; round += 1) {
      const worker = new Worker(file, { argv: ["worker", url, `${loops}`], stderr: true });
      await new Promise((resolve) => worker.once("message", resolve));
      expect(server.clients.size).toBeGreaterThan(0);
      await worker.terminate();
      await until("the server knows", () => server.clients.size === 0);
    }
  });
});
