// WebSockets over the real addon, where the native side has its part: topic spaces, a GET of a
// method table, what comes after our own close, and what other hosts may send.
import { expect, it } from "vitest";
import { type Socket, type SyncMessage, websocket } from "../src/index.ts";
import { closeFrame, FrameClient, frame, handshakeLines, PING, TEXT } from "./support/frames.ts";
import { type Host, onEachHost } from "./support/hosts.ts";
import { peer } from "./support/peers.ts";
import { until } from "./support/until.ts";
import { wire } from "./support/wire.ts";

onEachHost((host) => {
  topics(host);
  ends(host);
});

function topics({ start }: Host): void {
  it("keeps the topics of one topicSpace from those of another", async () => {
    const route = websocket({ open: (ws) => ws.subscribe("t") });
    const [a, b, c] = await Promise.all(
      ["a", "a", undefined].map((topicSpace) =>
        start({ routes: { "/": route }, ...(topicSpace === undefined ? {} : { topicSpace }) }),
      ),
    );
    const clients = await Promise.all([a, b, c].map((each) => peer(each as NonNullable<typeof a>)));
    await until("all have subscribed", () => a?.subscriberCount("t") === 2);
    await until("the other, too", () => c?.subscriberCount("t") === 1);
    expect(a?.publish("t", "spaced")).toBe(2);
    expect(c?.publish("t", "plain")).toBe(1);
    for (const client of clients) await client.got(1);
    expect(clients.map(({ messages }) => messages)).toEqual([["spaced"], ["spaced"], ["plain"]]);
    for (const client of clients) client.ws.close();
  });

  it("takes an unpaired surrogate in a topic for what its UTF-8 says", async () => {
    const [lone, other, written] = ["\ud800", "\udfff", "\ufffd"];
    const server = await start({ routes: { "/": { open: (ws) => ws.subscribe("t") } } });
    const client = await peer(server);
    await until("it has subscribed", () => server.subscriberCount("t") === 1);
    const [ws] = [...server.sockets] as [Socket];
    ws.subscribe(lone);
    ws.subscribe(written);
    expect([...ws.topics]).toEqual(["t", written]);
    for (const each of [lone, other, written]) {
      expect([server.subscriberCount(each), server.publish(each, "process")]).toEqual([1, 1]);
      expect(server.publish(each, "thread", { scope: "thread" })).toBe(1);
      expect(ws.publish(each, "to others"), "all but itself").toBe(0);
    }
    ws.unsubscribe(other);
    expect([server.subscriberCount(written), server.publish(lone, "nobody")]).toEqual([0, 0]);
    ws.subscribe(written);
    expect(server.publish(lone, "again")).toBe(1);
    const three = ["process", "thread", "process", "thread", "process", "thread"];
    expect(await client.got(7)).toEqual([...three, "again"]);
    client.ws.close();
  });

  it("says what is wrong with the sockets that sendMany() is given", async () => {
    const server = await start({ routes: { "/": { open() {} } } });
    for (const sockets of [undefined, null, 1, "sockets", {}, [undefined]]) {
      const sending = server.sendMany(sockets as never, "x");
      await expect(sending).rejects.toMatchObject({ code: "ERR_MILLRACE_INVALID_OPTION" });
    }
    expect(await server.sendMany(new Set<Socket>(), "x")).toEqual({ delivered: 0, failed: [] });
  });

  it("takes from other hosts what is a message, and nothing else", async () => {
    let deliver: (message: SyncMessage) => void = () => undefined;
    const server = await start({
      routes: { "/": { open: (ws) => ws.subscribe("t") } },
      sync: () => ({
        subscribe: (take) => {
          deliver = take;
        },
        publish: () => undefined,
      }),
    });
    const client = await peer(server);
    await until("it has subscribed", () => server.subscriberCount("t") === 1);
    const namespace = "";
    for (const data of [{}, 12, null, undefined, [1]])
      deliver({ namespace, topic: "t", data } as never);
    for (const message of [null, 1, { namespace, topic: 1, data: "x" }, { namespace }])
      deliver(message as never);
    deliver({ namespace, topic: "t", data: "good" });
    expect(await client.got(1)).toEqual(["good"]);
    client.ws.close();
  });
}

function ends({ start }: Host): void {
  it("is a value of GET in a method table, beside other methods", async () => {
    const server = await start({
      routes: {
        "/rooms/:room": {
          GET: websocket({
            upgrade: (_request, ctx) => ({ data: ctx.params.room }),
            open: (ws) => void ws.send(ws.data),
          }),
          POST: (_request, ctx) => new Response(ctx.params.room),
        },
      },
    });
    const client = await peer(server, "/rooms/a");
    expect(await client.got(1)).toEqual(["a"]);
    const posted = await fetch(`${server.url}/rooms/b`, { method: "POST" });
    expect(await posted.text()).toBe("b");
    client.ws.close();
  });

  it("hands nothing over behind our own close, and still hears the peer's", async () => {
    const events: string[] = [];
    const topicsSeen: string[] = [];
    const server = await start({
      routes: {
        "/": {
          maxQueue: 1,
          open: (ws) => ws.subscribe("t"),
          message: async (ws, data) => {
            events.push(`${data}`);
            await null;
            ws.close(4001, "enough");
          },
          ping: () => void events.push("ping"),
          close: (ws, code) => {
            topicsSeen.push(...ws.topics);
            events.push(`close ${code} ${server.subscriberCount("t")}`);
          },
        },
      },
    });
    const opened = await wire(server);
    opened.send(`${handshakeLines("/")}\r\n`);
    const client = new FrameClient(opened, await opened.response());
    const messages = ["1", "2", "3", "4"].map((each) => frame(TEXT, each));
    client.send(...messages, frame(PING, "p"));
    expect(await client.closed()).toEqual([4001, "enough"]);
    client.send(frame(TEXT, "late"), closeFrame(4001));
    await until("it is told", () => events.length > 1);
    expect([events, topicsSeen]).toEqual([["1", "close 4001 0"], ["t"]]);
  });

  it("passes messages by, and pings in their order, while open iterates", async () => {
    const events: string[] = [];
    let most = 0;
    let now = 0;
    let held: Socket | undefined;
    const server = await start({
      routes: {
        "/": {
          open: async (ws) => {
            held = ws;
            for await (const data of ws) {
              events.push(`${data}`);
              if (data === "stop") break;
            }
            await new Promise((resolve) => setImmediate(resolve));
            events.push("open ends");
          },
          ping: async (_ws, data) => {
            now += 1;
            most = Math.max(most, now);
            await new Promise((resolve) => setImmediate(resolve));
            events.push(Buffer.from(data).toString());
            now -= 1;
          },
          message: (_ws, data) => void events.push(`message ${data}`),
          close: () => void events.push("close"),
        },
      },
    });
    const opened = await wire(server);
    opened.send(`${handshakeLines("/")}\r\n`);
    const client = new FrameClient(opened, await opened.response());
    const pings = Array.from({ length: 200 }, (_, index) => `p${index}`);
    client.send(frame(TEXT, "a"), ...pings.map((each) => frame(PING, each)));
    client.send(frame(TEXT, "stop"), frame(TEXT, "after"), closeFrame(1000));
    await until("it is over", () => events.at(-1) === "close");
    expect(events).toEqual(["a", ...pings, "stop", "open ends", "message after", "close"]);
    expect([most, held?.readyState]).toEqual([1, 3]);
  });
}
