// clientele(): rows C1 to C9 of the seeds' tables.
import { describe, expect, it } from "vitest";
import { type Client, clientele, type MillraceError } from "../src/index.ts";
import { echo, expectNoEngines, freePort, rawPeer, served, switching } from "./support/clients.ts";
import { gate, until } from "./support/until.ts";

expectNoEngines();

describe.each([0, 2])("clientele() with loops: %i", (loops) => {
  it("makes 1000 clients and 100 round trips with each, and loses none", {
    timeout: 120_000,
  }, async () => {
    const clients = 1000;
    const rounds = 100;
    const { url } = await served({ message: (ws, data) => void ws.send(data) });
    let total = 0;
    const wrong: unknown[] = [];
    const all = gate();
    const many = clientele<{ round: number }>({
      loops,
      message(client, data) {
        const { round } = client.data;
        if (data !== `${client.id} ${round}`) wrong.push(data);
        total += 1;
        client.data.round += 1;
        if (client.data.round < rounds) void client.send(`${client.id} ${round + 1}`);
        else if (total === clients * rounds) all.open();
      },
      error: (_client, error) => wrong.push(error),
    });
    await many.start();
    for (let i = 0; i < clients; i += 1) many.client(url, { data: { round: 0 } });
    const connected = await Promise.all([...many.clients.values()].map((each) => each.connect()));
    expect(connected.every(Boolean)).toBe(true);
    expect([...many.connected()]).toHaveLength(clients);
    for (const client of many.connected()) void client.send(`${client.id} 0`);
    await all.promise;
    expect(wrong).toEqual([]);
    expect(total).toBe(clients * rounds);
    await many.close();
    expect([...many.connected()]).toEqual([]);
  });

  it("numbers clients from 1 and finds them", async () => {
    const many = clientele({ loops });
    const [a, b] = [many.client("ws://a.example/"), many.client("ws://b.example/")];
    expect([a.id, b.id, many.clients.get(2), many.clients.get(0)]).toEqual([1, 2, b, undefined]);
    expect([a.isConnected, a.socket, a.url]).toEqual([false, undefined, "ws://a.example/"]);
    await a.remove();
    expect(many.clients.size).toBe(1);
    expect(many.client("ws://c.example/").id).toBe(3);
    expect(await a.send("nobody")).toBe(false);
    await many.close();
  });

  it("gives false where nothing comes of it, tells why, and connects later", async () => {
    const port = await freePort();
    const errors: [number, string][] = [];
    const many = clientele({
      loops,
      error: (client, error) => void errors.push([client.id, (error as MillraceError).code]),
    });
    const peer = await rawPeer(() => switching("AAAAAAAAAAAAAAAAAAAAAAAAAAA="));
    const silent = await rawPeer(() => undefined);
    expect(await many.client(`ws://127.0.0.1:${port}/`).connect()).toBe(false);
    expect(await many.client(peer.url).connect()).toBe(false);
    expect(await many.client(silent.url).connect({ timeout: 50 })).toBe(false);
    expect(errors).toEqual([
      [1, "ERR_MILLRACE_WS_CONNECT"],
      [2, "ERR_MILLRACE_WS_REJECTED"],
      [3, "ERR_MILLRACE_WS_TIMEOUT"],
    ]);
    const { url } = await served(echo, { port });
    const first = many.clients.get(1) as Client<undefined>;
    expect(url).toContain(`${port}`);
    expect(await first.connect()).toBe(true);
    await many.close();
  });

  it("closes with a handshake or without, and the server sees which", async () => {
    const codes: number[] = [];
    const { url } = await served({ close: (_ws, code) => void codes.push(code) });
    const own: number[] = [];
    const many = clientele({ loops, close: (_client, code) => void own.push(code) });
    const client = many.client(url);
    for (const handshake of [true, false]) {
      expect(await client.connect()).toBe(true);
      expect(client.isConnected).toBe(true);
      await client.close(handshake);
      expect(client.isConnected).toBe(false);
    }
    await until("the server knows", () => codes.length === 2);
    expect(codes).toEqual([1000, 1006]);
    expect(own).toEqual([1000, 1006]);
    await many.close();
  });

  it("uses the key, header fields and sub-protocols of one connect()", async () => {
    const key = "dGhlIHNhbXBsZSBub25jZQ==";
    const peer = await rawPeer((_head, accept) =>
      switching(accept, "Sec-WebSocket-Protocol: b\r\n"),
    );
    const many = clientele({ loops });
    const client = many.client(peer.url, { headers: { "x-who": "all" }, protocols: "a" });
    expect(await client.connect()).toBe(false);
    const options = { key, headers: { "x-who": "me" }, protocols: ["b"] };
    const [one, two] = [client.connect(options), client.connect()];
    expect(await one).toBe(true);
    expect(await two).toBe(true);
    expect(client.protocol).toBe("b");
    expect(peer.heads).toHaveLength(2);
    expect(peer.heads[1]).toContain(`Sec-WebSocket-Key: ${key}\r\n`);
    expect(peer.heads[1]).toContain("x-who: me\r\n");
    await client.close(false);
    await many.close();
  });

  it("tells of callbacks that throw, and goes on", async () => {
    const { url } = await served(echo);
    const errors: string[] = [];
    const got = gate<unknown>();
    const many = clientele({
      loops,
      open() {
        throw new Error("in open");
      },
      message(_client, data) {
        got.open(data);
        throw new Error("in message");
      },
      error: (_client, error) => void errors.push(error.message),
    });
    const client = many.client(url);
    await client.connect();
    await client.send("hello");
    expect(await got.promise).toBe("hello");
    await many.close();
    expect(errors).toEqual(["in open", "in message"]);
  });

  it("waits for a peer that does not read, and cuts it when its time is over", async () => {
    const peer = await rawPeer((_head, accept, socket) => {
      socket.pause();
      return switching(accept);
    });
    const over = gate<number>();
    const many = clientele({
      loops,
      backpressureLimit: 1 << 26,
      close: (_client, code) => over.open(code),
    });
    const client = many.client(peer.url);
    expect(await client.connect()).toBe(true);
    const bytes = Buffer.alloc(1 << 20);
    let sent = true;
    for (let i = 0; sent && i < 40; i += 1) sent = await client.send(bytes, { timeout: 100 });
    expect(sent).toBe(false);
    expect(await over.promise).toBe(1006);
    expect(await client.send(bytes)).toBe(false);
    await many.close();
  });

  it("gives attempts up when it closes, and starts again", async () => {
    const silent = await rawPeer(() => undefined);
    const { url } = await served(echo);
    const many = clientele({ loops });
    const attempt = many.client(silent.url).connect();
    await until("the request is there", () => silent.heads.length === 1);
    await many.close();
    expect(await attempt).toBe(false);
    await many.start();
    expect(await many.client(url).connect()).toBe(true);
    await many.close();
  });
});
