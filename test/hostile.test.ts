// Peers that reset, vanish, send their end early or drip: each costs its own connection and nothing
// more. That nothing of them stays behind is asserted by onEachHost, at the release.
import { expect, it } from "vitest";
import { type Res, raw, type Server } from "../src/index.ts";
import { onEachHost, portOf } from "./support/hosts.ts";
import { until } from "./support/until.ts";
import { Wire, wire } from "./support/wire.ts";

// More than the kernel takes for a peer that does not read.
const LARGE = Buffer.alloc(6_000_000, "x");
const POST = "POST /now HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n";
const CHUNKED = "POST /now HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
const get = (target: string): string => `GET ${target} HTTP/1.1\r\nHost: a\r\n\r\n`;

const routes = {
  "/now": raw(async (req, res) => void res.end(await req.text())),
  "/later": raw(async (_req, res) => {
    await new Promise((resolve) => setImmediate(resolve));
    res.end("later");
  }),
  "/large": raw((_req, res) => void res.end(LARGE)),
  "/static": new Response("static"),
};

async function expectService(server: Server): Promise<void> {
  const client = await wire(server);
  expect((await client.get("/later").response()).body).toBe("later");
  expect((await client.get("/static").response()).body).toBe("static");
  client.close();
}

async function expectNobody(server: Server): Promise<void> {
  await until("all connections are gone", () => server.metrics.connections === 0);
  const { inFlight, counters } = server.metrics;
  expect({ inFlight, blocks: counters["blocks"] }).toEqual({ inFlight: 0, blocks: 0 });
}

/** A peer that takes part in nothing any more: reads nothing, and never sends its end. */
function vanishing(server: Server): Wire {
  const peer = new Wire({ port: portOf(server), host: "127.0.0.1", allowHalfOpen: true });
  peer.socket.pause();
  return peer;
}

interface Stage {
  readonly name: string;
  readonly sends: string;
  /** Exchanges that JavaScript has and has not answered. */
  readonly held?: number;
  /** Long answers that are begun for sure. */
  readonly large?: number;
  /** Answers that the client has read. */
  readonly answers?: number;
}

const STAGES: readonly Stage[] = [
  { name: "connected", sends: "" },
  { name: "in the request line", sends: "GET /no" },
  { name: "in the header section", sends: "GET /now HTTP/1.1\r\nHost: a\r\nAccept" },
  { name: "before a body", sends: POST },
  { name: "in a body", sends: POST + "x".repeat(60_000) },
  { name: "in a chunk's size", sends: `${CHUNKED}5\r\nhello\r\n1` },
  { name: "in a chunk", sends: `${CHUNKED}5\r\nhel` },
  { name: "in the trailers", sends: `${CHUNKED}5\r\nhello\r\n0\r\nA: b\r\n` },
  { name: "while an answer is due", sends: get("/held"), held: 1 },
  { name: "while many are due", sends: get("/held").repeat(10), held: 10 },
  { name: "while one is due and the next half there", sends: `${get("/held")}GET /he`, held: 1 },
  { name: "between two requests", sends: get("/now"), answers: 1 },
  { name: "behind a static answer, in a head", sends: `${get("/static")}GET`, answers: 1 },
  { name: "while an answer is being written", sends: get("/large"), large: 1 },
  {
    name: "while one is written and more are due",
    sends: get("/large").repeat(2) + get("/held"),
    large: 1,
  },
];
const WAVES = 17;
const CLIENTS_PER_STAGE = 4;
const RESETS = STAGES.length * CLIENTS_PER_STAGE * WAVES;

onEachHost(({ start }) => {
  it(`survives ${RESETS} resets, as many at every stage of a request`, async () => {
    const held: Res[] = [];
    let large = 0;
    const server = await start({
      limits: { maxBufferedBytes: 16_777_216 }, // ten requests before the first answer
      routes: {
        ...routes,
        "/held": raw((_req, res) => void held.push(res.detach())),
        "/large": raw((_req, res) => {
          large += 1;
          res.end(LARGE);
        }),
      },
    });
    const sum = (amount: (stage: Stage) => number): number =>
      CLIENTS_PER_STAGE * STAGES.reduce((so, stage) => so + amount(stage), 0);
    const due = { held: sum((one) => one.held ?? 0), large: sum((one) => one.large ?? 0) };
    const size = sum(({ sends }) => sends.length);
    for (let number = 0; number < WAVES; number += 1) {
      const before = server.metrics;
      const clients = await openWave(server);
      await until("each has come to its stage", () => {
        const isAnswering = held.length >= due.held && large >= due.large;
        return isAnswering && server.metrics.bytesIn === before.bytesIn + size;
      });
      for (const client of clients) client.reset();
      await expectNobody(server);
      // Whoever was aborted learns it, or has answered before the news came.
      await until("every handler knows", () => {
        const { aborted, counters } = server.metrics;
        const late = (counters["lateCommands"] ?? 0) - (before.counters["lateCommands"] ?? 0);
        const know = held.filter((res) => res.state === "aborted").length;
        return know === held.length && aborted - before.aborted === know + late;
      });
      held.length = large = 0;
    }
    expect(server.metrics.counters["accepted"]).toBe(RESETS);
    await expectService(server);
  });

  // Here the reset overtakes what was sent before it, or does not: at whatever point that is.
  it("survives a thousand resets right behind the beginning of a request", async () => {
    const server = await start({ routes });
    const whole = `${get("/later")}${CHUNKED}5\r\nhello\r\n0\r\n\r\n${get("/large")}`;
    for (let sent = 0; sent < 1000; ) {
      const clients = await Promise.all(Array.from({ length: 50 }, () => wire(server)));
      for (const client of clients) {
        client.socket.pause();
        client.send(whole.slice(0, (sent * 7) % (whole.length + 1)));
        client.reset();
        sent += 1;
      }
    }
    // The last ones may still stand in the backlog, where they count as nobody.
    await until("all were accepted", () => server.metrics.counters["accepted"] === 1000);
    await expectNobody(server);
    await expectService(server);
  });

  it("closes the connections of vanished peers at the deadline of what they owe", async () => {
    const timeouts = { headers: 300, receive: 300, keepAlive: 300, write: 300, linger: 300 };
    const server = await start({ routes, timeouts: { ...timeouts, minReceiveRate: 0 } });
    const owed = ["", "GET /no", POST, `${CHUNKED}5\r\nhel`, get("/now"), get("/large")];
    const peers = owed.flatMap((text) => {
      return Array.from({ length: 10 }, () => vanishing(server).send(text));
    });
    await until("all have come", () => server.metrics.counters["accepted"] === peers.length);
    await expectNobody(server);
    expect(peers.filter(({ socket }) => socket.writable).length, "none has left").toBe(
      peers.length,
    );
    const { timeouts: seen } = server.metrics;
    expect(seen).toEqual({ handler: 0, headers: 20, receive: 20, keepAlive: 10, write: 10 });
    await expectService(server);
  });

  it("answers everything to peers that have sent their end behind the request", async () => {
    const server = await start({ routes });
    const body = "POST /now HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
    const asked: readonly (readonly [string, readonly string[]])[] = [
      [get("/now"), [""]],
      [get("/later"), ["later"]],
      [get("/static"), ["static"]],
      [body, ["hello"]],
      [`${CHUNKED}5\r\nhello\r\n0\r\n\r\n`, ["hello"]],
      [get("/large"), [LARGE.toString("latin1")]],
      [
        get("/later") + body + get("/static") + get("/later"),
        ["later", "hello", "static", "later"],
      ],
      [get("/later").repeat(200), Array.from({ length: 200 }, () => "later")],
    ];
    const clients = await Promise.all(asked.map(() => wire(server)));
    await Promise.all(
      asked.map(async ([sends, bodies], at) => {
        const client = clients[at] as Wire;
        client.send(sends).socket.end();
        for (const expected of bodies) {
          const { status, body: got } = await client.response();
          expect(status).toBe(200);
          expect(got === expected, `${sends.slice(0, 20)} got ${got.slice(0, 20)}`).toBe(true);
        }
        await client.end();
        expect([client.buffer, client.error]).toEqual(["", ""]);
      }),
    );
    await expectNobody(server);
    await expectService(server);
  });

  // Were the deadline set anew by every byte, the requests would be complete at last.
  it("cuts heads and bodies that drip, for all of them and not for each byte", async () => {
    const timeouts = { headers: 400, receive: 1000, minReceiveRate: 2000 };
    const server = await start({ routes, timeouts });
    const filler = "x".repeat(1000);
    const dripping = [
      { begins: "", drips: get("/now").replace("Host", `X: ${filler}\r\nHost`), step: 1 },
      { begins: "GET", drips: get("/now").replace("/now", `/${filler}`).slice(3), step: 1 },
      { begins: POST.replace("100000", "1000"), drips: filler, step: 1 },
      { begins: CHUNKED, drips: `${"1\r\nx\r\n".repeat(600)}0\r\n\r\n`, step: 6 },
    ];
    const drips = await Promise.all(
      dripping.flatMap((each) => {
        return Array.from({ length: 10 }, async () => ({ ...each, client: await wire(server) }));
      }),
    );
    let at = 0;
    for (const { client, begins } of drips) client.send(begins);
    const timer = setInterval(() => {
      for (const { client, drips: text, step } of drips) {
        if (client.buffer === "" && !client.ended)
          client.send(text.slice(at * step, (at + 1) * step));
      }
      at += 1;
    }, 10);
    try {
      await until("they have begun", () => server.metrics.connections === drips.length);
      await expectService(server);
      const answers = await Promise.all(drips.map(({ client }) => client.response()));
      expect(answers.map(({ status }) => status)).toEqual(drips.map(() => 408));
    } finally {
      clearInterval(timer);
    }
    const { headers, receive } = server.metrics.timeouts;
    expect({ headers, receive }).toEqual({ headers: 20, receive: 20 });
    for (const { client } of drips) client.close();
    await expectNobody(server);
    await expectService(server);
  });

  it("answers heads and bodies that drip within the limits", async () => {
    const server = await start({ routes, timeouts: { headers: 8000, minReceiveRate: 20 } });
    const body = "slow but sure ".repeat(10);
    const length = `Content-Length: ${body.length}\r\n`;
    const chunks = [...body].map((byte) => `1\r\n${byte}\r\n`).join("");
    const texts = [
      `POST /now HTTP/1.1\r\nHost: a\r\n${length}\r\n${body}`,
      `${CHUNKED}${chunks}0\r\n\r\n`,
    ];
    const clients = await Promise.all(texts.map(() => wire(server)));
    const drips = texts.map(async (text, at) => {
      for (const byte of text) {
        (clients[at] as Wire).send(byte);
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
    });
    await Promise.all(drips);
    for (const client of clients) {
      expect(await client.response()).toMatchObject({ status: 200, body });
    }
    await expectService(server);
  });
});

/** Opens a wave of clients, has each send what its stage needs, and returns them. */
async function openWave(server: Server): Promise<readonly Wire[]> {
  const stages = STAGES.flatMap((stage) => Array.from({ length: CLIENTS_PER_STAGE }, () => stage));
  const opened = await Promise.all(
    stages.map(async (stage) => {
      const client = await wire(server);
      if (stage.answers === undefined) client.socket.pause();
      return { stage, client: client.send(stage.sends) };
    }),
  );
  for (const { stage, client } of opened) {
    for (let i = 0; i < (stage.answers ?? 0); i += 1) {
      expect((await client.response()).status).toBe(200);
    }
  }
  return opened.map(({ client }) => client);
}
