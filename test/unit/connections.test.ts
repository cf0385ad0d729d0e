// Connections over a fake binding: that each is one object, ends once, and why.
import { AsyncLocalStorage } from "node:async_hooks";
import { constants } from "node:os";
import { beforeEach, expect, it } from "vitest";
import {
  type CloseCauseName,
  type Connection,
  type LogRecord,
  type Req,
  raw,
  type ServeOptions,
  type Server,
  type Socket,
  serve,
} from "../../src/index.ts";
import { setBinding } from "../../src/native/binding.ts";
import { CAUSES, ERRORS, EVENT, EVENT_FLAG } from "../../src/native/tables.ts";
import { FakeBinding } from "./fake.ts";

let fake: FakeBinding;
const said: string[] = [];

beforeEach(() => {
  fake = new FakeBinding();
  setBinding(fake);
  said.length = 0;
});

const HOOKS: Partial<ServeOptions> = {
  onConnect: (connection) => void said.push(`connect ${connection.id}`),
  onClose: (connection, cause, detail) =>
    void said.push(`close ${connection.id} ${cause} ${detail}`.trim()),
};

/** A server whose handler gives each request's connection to `take`. */
async function start(
  take: (connection: Connection) => void,
  more: Partial<ServeOptions> = {},
): Promise<Server> {
  const handler = raw((req, res) => {
    take(req.connection);
    res.end();
  });
  return serve({ loops: 0, routes: { "/": handler }, ...more } as ServeOptions);
}

function wordOf(cause: CloseCauseName, error = "None", errno = 0): number {
  const number = CAUSES.findIndex(({ name }) => name === cause);
  const code = ERRORS.findIndex(({ name }) => name === error);
  return number | (code << 8) | (errno << 20);
}

function keeping(kept: Req[]): ReturnType<typeof raw> {
  return raw((req, res) => {
    kept.push(req);
    res.detach();
  });
}

async function turn(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
  await new Promise((resolve) => setImmediate(resolve));
}

it("asks for nothing natively, and makes nothing, until a handler wants a connection", async () => {
  await serve({ loops: 0, routes: { "/": raw((_req, res) => void res.end()) } });
  fake.one({});
  expect(fake.options?.observe).toEqual({
    connections: false,
    access: false,
    causes: 0b1110000000,
  });
  expect(fake.watched).toEqual([]);
});

it("gives all requests of a connection the same object, and the next one another", async () => {
  const seen: Connection[] = [];
  let made = 0;
  const data = (): object => ({ number: (made += 1) });
  const server = await start((each) => void seen.push(each), { connectionData: data });
  fake.batch([
    { connection: [7, 3] },
    { connection: [7, 3] },
    { connection: [7, 4] },
    { connection: [8, 3], peer: "::1" },
  ]);
  const [a, b, c, d] = seen as [Connection, Connection, Connection, Connection];
  expect(a).toBe(b);
  expect(new Set(seen).size).toBe(3);
  expect([a.id, c.id, d.id]).toEqual(["0.7.3", "0.7.4", "0.8.3"]);
  expect([a.data, c.data, d.data]).toEqual([{ number: 1 }, { number: 2 }, { number: 3 }]);
  expect(a.remoteAddress).toEqual({ family: "IPv4", address: "10.0.0.1", port: 40_000 });
  expect(d.remoteAddress).toEqual({ family: "IPv6", address: "::1", port: 40_000 });
  expect(a.localAddress).toBe(server.addresses[0]);
  expect(a.proxy).toBeUndefined();
  expect(fake.watched.map(([, index, generation]) => [index, generation])).toEqual([
    [7, 3],
    [7, 4],
    [8, 3],
  ]);
  expect([...server.connections]).toEqual([a, c, d]);
  fake.disconnected(7, 3, wordOf("ClosedByClient"));
  expect([...server.connections]).toEqual([c, d]);
  fake.one({ connection: [7, 5] });
  expect(seen.at(-1)).not.toBe(a);
});

it("leaves connections alone that its server's successor may have", async () => {
  const kept: Req[] = [];
  let made = 0;
  const server = await serve({
    loops: 0,
    connectionData: () => (made += 1),
    routes: { "/": keeping(kept) },
  });
  fake.one({ connection: [7, 3] });
  await server.close({ timeout: 0 });
  const { connection } = kept[0] as Req;
  expect([connection.closed, connection.close(), connection.id]).toEqual([true, false, "0.7.3"]);
  expect([connection.flags, connection.setFlags(1), connection.data]).toEqual([-1, false, made]);
  expect((kept[0] as Req).connection).toBe(connection);
  expect([fake.watched, fake.closedConnections]).toEqual([[], []]);
  expect([...server.connections]).toEqual([]);
});

it("announces each connection once: one that is over when asked for is no other", async () => {
  const kept: Req[] = [];
  await serve({
    loops: 0,
    ...HOOKS,
    routes: { "/": keeping(kept) },
  });
  fake.connected(7, 3);
  fake.disconnected(7, 3, wordOf("ClosedByClient"));
  fake.one({ connection: [7, 3] });
  expect((kept[0] as Req).connection.closed).toBe(true);
  fake.disconnected(7, 3, wordOf("AlreadyClosed"));
  expect(said).toEqual(["connect 0.7.3", "close 0.7.3 ClosedByClient"]);
  expect(fake.watched).toEqual([]);
});

it("gives a socket that never opened the connection of its handshake", async () => {
  const sockets: Socket[] = [];
  const connects: Connection[] = [];
  await serve({
    loops: 0,
    ...HOOKS,
    onConnect: (connection) => void connects.push(connection),
    websocket: {},
    routes: { "/": raw((req) => void sockets.push(req.upgrade())) },
  });
  for (const isLate of [false, true]) {
    const index = isLate ? 8 : 7;
    fake.connected(index, 3);
    fake.accepts = !isLate;
    const handle = fake.one({ connection: [index, 3], flags: EVENT_FLAG.upgrade });
    if (!isLate) fake.news([{ kind: EVENT.Aborted, handle }]);
    fake.disconnected(index, 3, wordOf("ClosedByClient"));
    const { connection } = sockets.at(-1) as Socket;
    expect([connection?.id, connection?.closed]).toEqual([`0.${index}.3`, true]);
    expect(connection).toBe(connects.at(-1));
  }
  expect(said).toHaveLength(2);
  expect(fake.watched).toEqual([]);
});

it("keeps 32 flags until the connection is over, and says -1 then", async () => {
  let own: Connection | undefined;
  await start((each) => {
    own = each;
  });
  fake.one({});
  const connection = own as Connection;
  expect(connection.flags).toBe(0);
  expect(connection.setFlags(0b101)).toBe(true);
  expect(connection.setFlags(0b010)).toBe(true);
  expect(connection.flags).toBe(0b111);
  expect(connection.clearFlags(0b001)).toBe(true);
  expect(connection.flags).toBe(0b110);
  connection.setFlags(-1);
  expect(connection.flags).toBe(0xffff_ffff);
  connection.clearFlags(0xffff_fffe);
  expect(connection.flags).toBe(1);
  for (const bits of [1.5, 2 ** 32, -(2 ** 31) - 1, "1", undefined])
    expect(() => connection.setFlags(bits as number)).toThrow("setFlags() must be an integer");
  fake.disconnected(0, 0, wordOf("ClosedByClient"));
  expect([connection.flags, connection.setFlags(1), connection.clearFlags(1)]).toEqual([
    -1,
    false,
    false,
  ]);
});

it("closes once, behind what was answered, and logs the second call", async () => {
  const records: LogRecord[] = [];
  const order: string[] = [];
  const log = { level: "debug", write: (record: LogRecord) => void records.push(record) } as const;
  const handler = raw((req, res) => {
    res.end("answer");
    order.push(`${req.connection.close("SecurityThreatened", "too many tries")}`);
    order.push(`${req.connection.close()}`);
  });
  await serve({ loops: 0, routes: { "/": handler }, log, ...HOOKS });
  const { closeConnection } = fake;
  fake.closeConnection = (...args) => {
    order.push(`after ${fake.answers.length} answers`);
    closeConnection.apply(fake, args);
  };
  fake.connected(2, 9);
  fake.one({ connection: [2, 9] });
  expect(order).toEqual(["after 1 answers", "true", "false"]);
  expect(fake.closedConnections).toEqual([[2, 9, 7, false]]);
  fake.disconnected(2, 9, wordOf("SecurityThreatened"));
  expect(said).toEqual(["connect 0.2.9", "close 0.2.9 SecurityThreatened too many tries"]);
  await turn();
  const ends = records.filter(({ cause }) => cause !== undefined);
  expect(ends.map(({ levelName, msg }) => `${levelName} ${msg}`)).toEqual([
    "debug connection 0.2.9 AlreadyClosed",
    "warn connection 0.2.9 SecurityThreatened: too many tries",
  ]);
  expect(ends[1]).toMatchObject({ connection: "0.2.9", loop: 0, cause: "SecurityThreatened" });
});

it("expects no answer of a handler that has closed the connection", async () => {
  const records: LogRecord[] = [];
  const log = { write: (record: LogRecord) => void records.push(record) };
  await serve({
    loops: 0,
    log,
    routes: {
      "/raw": raw((req) => void req.connection.close()),
      "/fetch": (_request, ctx) => {
        ctx.connection.close();
        return undefined as unknown as Response;
      },
      "/later": async (_request, ctx) => {
        ctx.connection.close();
        await Promise.resolve();
        return undefined as unknown as Response;
      },
      "/forgetful": raw((req) => void req.connection.setFlags(1)),
    },
  });
  for (const route of [0, 1, 2]) fake.one({ route, connection: [route, 0] });
  await turn();
  expect([fake.answers, records]).toEqual([[], []]);
  fake.one({ route: 3, connection: [3, 0] });
  await turn();
  expect(fake.answers).toHaveLength(1);
  expect(records).toMatchObject([{ code: "ERR_MILLRACE_NO_REPLY" }]);
});

it("takes the causes of the table, a string and reset, and nothing else", async () => {
  let own: Connection | undefined;
  await start((each) => {
    own = each;
  });
  fake.one({});
  const connection = own as Connection;
  const wrong = [["Closed"], [1], ["EFault", 5], ["EFault", "", { rest: true }]] as unknown[][];
  for (const args of [...wrong, ["EFault", "", { reset: 1 }]])
    expect(() => connection.close(...(args as [CloseCauseName]))).toThrow("close()");
  expect(connection.close("EFault", "", { reset: true })).toBe(true);
  expect(fake.closedConnections).toEqual([[0, 0, 9, true]]);
});

it("tells the system's and the peer's reasons rather than the application's", async () => {
  await start(() => undefined, HOOKS);
  const enetdown = constants.errno.ENETDOWN;
  const ends: [number, string][] = [
    [wordOf("NetErrored", "None", enetdown), "NetErrored ENETDOWN"],
    [wordOf("ConnectionLost", "None", constants.errno.EPIPE), "ConnectionLost EPIPE"],
    [wordOf("ClosedByClient"), "ClosedByClient"],
    [wordOf("CloseCalled", "Closed"), "CloseCalled server closed"],
  ];
  for (const [index, [word]] of ends.entries()) {
    fake.connected(index, 0);
    fake.disconnected(index, 0, word);
  }
  fake.connected(9, 0);
  fake.disconnected(9, 0, wordOf("TimedOut", "HeadersTimeout"));
  expect(said.filter((each) => each.startsWith("close"))).toEqual([
    ...ends.map(([, text], index) => `close 0.${index}.0 ${text}`),
    expect.stringMatching(/^close 0\.9\.0 TimedOut ERR_MILLRACE_HEADERS_TIMEOUT: [A-Z]/),
  ]);
});

it("does not take the application's words for an end that came from elsewhere", async () => {
  await start((each) => void each.close("SecurityThreatened", "ours"), HOOKS);
  fake.connected(1, 0);
  fake.one({ connection: [1, 0] });
  fake.disconnected(1, 0, wordOf("ClosedByClient"));
  expect(said.at(-1)).toBe("close 0.1.0 ClosedByClient");
});

it("tells at the end of the server what was asked for and not heard of yet", async () => {
  const server = await start((each) => void each.close("SecurityThreatened", "ours"), HOOKS);
  fake.connected(1, 0);
  fake.one({ connection: [1, 0] });
  await server.close();
  expect(said.at(-1)).toBe("close 0.1.0 SecurityThreatened ours");
});

it("ends every connection once, those that are left when the server closes too", async () => {
  const server = await start(() => undefined, HOOKS);
  for (let index = 0; index < 5; index += 1) fake.connected(index, 1);
  fake.disconnected(2, 1, wordOf("ClosedByClient"));
  fake.disconnected(2, 1, wordOf("ClosedByClient"));
  fake.disconnected(3, 0, wordOf("ClosedByClient")); // another generation
  await server.close();
  const closes = said.filter((each) => each.startsWith("close"));
  expect(said.filter((each) => each.startsWith("connect"))).toHaveLength(5);
  expect(closes).toHaveLength(5);
  expect(closes.slice(1)).toEqual(
    [0, 1, 3, 4].map((index) => `close 0.${index}.1 CloseCalled server closed`),
  );
});

it("goes on when hooks throw or reject, and says so", async () => {
  const records: LogRecord[] = [];
  const broken = (name: string) => () => {
    throw new Error(`${name} is broken`);
  };
  const seen: Connection[] = [];
  const server = await start((each) => void seen.push(each), {
    log: { write: (record) => void records.push(record) },
    connectionData: broken("data"),
    onConnect: broken("connect"),
    onClose: () => Promise.reject(new Error("close is broken")),
  });
  fake.connected(1, 1);
  fake.one({ connection: [1, 1] });
  fake.disconnected(1, 1, wordOf("ClosedByClient"));
  await turn();
  expect(fake.answers).toHaveLength(1);
  expect(seen[0]?.data).toBeUndefined();
  expect(records.map(({ levelName, msg, err }) => [levelName, msg, err?.message])).toEqual([
    ["error", "connectionData() threw", "data is broken"],
    ["error", "onConnect() threw", "connect is broken"],
    ["error", "onClose() threw", "close is broken"],
  ]);
  await server.close();
});

it("keeps what a hook enters away from the requests of the batch", async () => {
  const storage = new AsyncLocalStorage<string>();
  const seen: unknown[] = [];
  await start(() => void seen.push(storage.getStore()), {
    onConnect: () => storage.enterWith("of the hook"),
  });
  fake.connected(1, 1);
  fake.one({ connection: [1, 1] });
  expect(seen).toEqual([undefined]);
});

it("gives the WebSocket its request's connection, and its close code to onClose", async () => {
  const seen: unknown[] = [];
  const server = await serve({
    loops: 0,
    websocket: {
      open: (ws) => void seen.push(ws.connection),
      close: (ws) => void seen.push(ws.connection, ws.connection?.flags),
    },
    routes: {
      "/": (_request, ctx) => {
        seen.push(ctx.connection);
        return ctx.upgrade();
      },
    },
    ...HOOKS,
  });
  fake.connected(4, 2);
  const handle = fake.one({ flags: EVENT_FLAG.upgrade, connection: [4, 2] });
  await turn();
  fake.news([{ kind: EVENT.Opened, handle }]);
  fake.news([{ kind: EVENT.Ended, handle, status: 4321, head: [1, 0] }]);
  fake.disconnected(4, 2, wordOf("ClosedByClient"));
  await turn();
  expect(new Set(seen.slice(0, 3)).size).toBe(1);
  expect(seen).toHaveLength(4);
  expect(said).toEqual(["connect 0.4.2", "close 0.4.2 ClosedByClient 4321"]);
  await server.close();
});

it("reads what a PROXY header said", async () => {
  const seen: Connection[] = [];
  await serve({
    listen: [{ port: 0, proxyProtocol: "require" }],
    loops: 0,
    routes: {
      "/": raw((req, res) => {
        seen.push(req.connection);
        res.end();
      }),
    },
  });
  const text = (type: number, value: string): Buffer => tlv(type, Buffer.from(value));
  const tlvs = [
    text(0x01, "h2"),
    text(0x02, "a.example"),
    tlv(0x05, Buffer.from([1, 2, 3])),
    tlv(
      0x20,
      Buffer.concat([
        Buffer.from([0b11, 0, 0, 0, 0]),
        text(0x21, "TLSv1.3"),
        text(0x22, "client"),
        text(0x23, "AES"),
      ]),
    ),
    tlv(0xea, Buffer.from([9])),
    Buffer.from([0x30, 0, 2, 1]), // cut off
  ];
  const [destination, via] = ["192.0.2.7", "::1"];
  const fixed = Buffer.from([2, 0, destination.length, via.length, 0x50, 0, 0x39, 0x30]);
  const body = Buffer.concat([fixed, Buffer.from(destination + via), ...tlvs]);
  fake.connected(1, 1, "203.0.113.9", body);
  fake.one({ connection: [1, 1], peer: "203.0.113.9" });
  expect(seen[0]?.remoteAddress.address).toBe("203.0.113.9");
  expect(seen[0]?.proxy).toEqual({
    version: 2,
    local: false,
    destination: { family: "IPv4", address: destination, port: 80 },
    via: { family: "IPv6", address: via, port: 12_345 },
    tlvs: expect.any(Map) as Map<number, Uint8Array>,
    authority: "a.example",
    alpn: "h2",
    uniqueId: new Uint8Array([1, 2, 3]),
    ssl: {
      isEncrypted: true,
      hasCertificate: true,
      isVerified: true,
      version: "TLSv1.3",
      commonName: "client",
      cipher: "AES",
    },
  });
  expect([...(seen[0]?.proxy?.tlvs.keys() ?? [])]).toEqual([1, 2, 5, 0x20, 0xea]);
});

function tlv(type: number, value: Buffer): Buffer {
  return Buffer.concat([Buffer.from([type, value.length >> 8, value.length & 0xff]), value]);
}

it("logs an end at its cause's level, of connections that nobody asked about too", async () => {
  const expected: Record<string, string> = {
    CloseCalled: "debug",
    AlreadyClosed: "debug",
    ClosedByClient: "debug",
    ConnectionLost: "info",
    TimedOut: "info",
    ProtocolViolated: "notice",
    NetErrored: "notice",
    SecurityThreatened: "warn",
    Excepted: "error",
    EFault: "error",
  };
  const records: LogRecord[] = [];
  await start(() => undefined, {
    log: { level: "debug", write: (record) => void records.push(record) },
  });
  for (const { name, number } of CAUSES) fake.disconnected(number, 5, wordOf(name));
  await turn();
  const ends = records.filter(({ cause }) => cause !== undefined);
  expect(Object.fromEntries(ends.map(({ cause, levelName }) => [cause, levelName]))).toEqual(
    expected,
  );
  expect(ends[2]?.msg).toBe("connection 0.2.5 ClosedByClient");
});

it("prints no end of which a process warning has told already", async () => {
  const server = await start(() => undefined);
  fake.disconnected(1, 1, wordOf("Excepted"));
  fake.disconnected(2, 1, wordOf("EFault"));
  await server.close();
  expect(fake.logLines).toEqual([expect.stringContaining("connection 0.2.1 EFault")]);
});

it("asks natively for the ends that pass the level, and follows requests below it", async () => {
  const masks: [ServeOptions["log"], number][] = [
    [false, 0],
    ["error", 0b11_0000_0000],
    ["warn", 0b11_1000_0000],
    ["notice", 0b11_1110_0000],
    ["info", 0b11_1111_1000],
    ["debug", 0b11_1111_1111],
  ];
  for (const [log, mask] of masks) {
    await start(() => undefined, log === undefined ? {} : { log });
    expect(fake.options?.observe?.causes).toBe(mask);
  }
  const server = await serve({
    loops: 0,
    log: { level: "error", write: () => undefined },
    routes: { "/": raw((_req, res) => void res.end()) },
  });
  fake.one({ connection: [1, 1] });
  server.logLevel = "info";
  fake.one({ connection: [2, 1] });
  expect(fake.watched).toHaveLength(1);
  server.logLevel = "error";
  fake.one({ connection: [3, 1] });
  expect(fake.watched).toHaveLength(1);
});

it("cuts with Excepted what a handler has begun and thrown at", async () => {
  await serve({
    loops: 0,
    log: false,
    routes: {
      "/": raw((_req, res) => {
        res.write("begun");
        throw new Error("no");
      }),
    },
  });
  fake.one({});
  expect(fake.cutCauses).toEqual([8]);
  const failed = ERRORS.findIndex(({ code }) => code === "ERR_MILLRACE_HANDLER_FAILED");
  expect(fake.cutCodes).toEqual([failed]);
});
