// Server-sent events over real sockets and in a real browser: the fields as the HTML Standard has
// them, heartbeats, back-pressure, and the end from either side.
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import { type EventSink, EventStream, eventSettings } from "../src/events.ts";
import {
  type EventStreamOptions,
  type MillraceError,
  type Req,
  type Res,
  raw,
  type Server,
  type ServerEvent,
} from "../src/index.ts";
import { Browser, browserPath } from "./support/browser.ts";
import { chunkedResponse, dechunked } from "./support/dechunk.ts";
import { onEachHost } from "./support/hosts.ts";
import { gate, until } from "./support/until.ts";
import { type Wire, wire } from "./support/wire.ts";

const codeOf = (error: unknown): string => (error as MillraceError).code;
const QUIET: EventStreamOptions = { heartbeat: 0 };

if (browserPath === undefined) {
  process.stderr.write("events.test.ts: no chromium here, less is tested\n");
}

/** What the wire holds of the stream behind its head, without the chunked framing. */
const textOf = (client: Wire): string => {
  const at = client.buffer.indexOf("\r\n\r\n");
  return at < 0 ? "" : dechunked(client.buffer.slice(at + 4)).chunks.join("");
};

onEachHost(({ start }) => {
  /** A server that keeps the streams that it opens. */
  const serving = async (
    options: EventStreamOptions = QUIET,
    begin?: (events: EventStream, req: Req, res: Res) => void,
  ): Promise<{ server: Server; streams: EventStream[] }> => {
    const streams: EventStream[] = [];
    const server = await start({
      handler: (req, res) => {
        if (req.path === "/now") return void res.end("now");
        const events = res.events(options);
        streams.push(events);
        begin?.(events, req, res);
      },
    });
    return { server, streams };
  };

  const opened = async (
    options?: EventStreamOptions,
    begin?: (events: EventStream, req: Req, res: Res) => void,
    lines = "",
  ): Promise<{ server: Server; client: Wire; events: EventStream }> => {
    const { server, streams } = await serving(options, begin);
    const client = await wire(server);
    client.get("/", lines);
    await until("the stream is open", () => streams.length === 1 && client.buffer !== "");
    return { server, client, events: streams[0] as EventStream };
  };

  it("begins at once, with the headers that event streams need", async () => {
    const { client, events } = await opened();
    expect([events.isOpen, events.lastEventId, events.signal.aborted]).toEqual([true, "", false]);
    const { status, headers } = await client.response();
    expect(status).toBe(200);
    expect(Object.fromEntries(headers)).toMatchObject({
      "cache-control": "no-cache",
      "content-type": "text/event-stream",
      "transfer-encoding": "chunked",
      "x-accel-buffering": "no",
    });
    expect(client.buffer).toBe("");
  });

  it("leaves headers alone that are set, and takes no Content-Length", async () => {
    const codes: string[] = [];
    const server = await start({
      handler: (_req, res) => {
        res.header("cache-control", "no-store").header("x-accel-buffering", "yes");
        try {
          res.header("content-length", 7).events();
        } catch (error) {
          codes.push(codeOf(error));
        }
        res.end("refused");
      },
      routes: {
        "/set": raw((_req, res) => {
          res.header("Cache-Control", "no-store").append("X-Accel-Buffering", "yes");
          res.header("content-type", "text/event-stream;charset=utf-8").events().close();
        }),
      },
    });
    const client = await wire(server);
    client.get("/").get("/set");
    expect((await client.response()).body).toBe("refused");
    expect(codes).toEqual(["ERR_MILLRACE_INVALID_HEADER"]);
    const { headers, body } = await chunkedResponse(client);
    expect([headers.get("cache-control"), headers.get("x-accel-buffering")]).toEqual([
      "no-store",
      "yes",
    ]);
    expect([headers.get("content-type"), body]).toEqual(["text/event-stream;charset=utf-8", ""]);
  });

  const forms: readonly [string, ServerEvent | string, string][] = [
    ["a string", "hello", "data: hello\n\n"],
    ["an empty string", "", "data: \n\n"],
    ["an object", { data: { a: [1, "\n"] } }, 'data: {"a":[1,"\\n"]}\n\n'],
    ["null and numbers", { data: null, id: 0 }, "id: 0\ndata: null\n\n"],
    [
      "every field",
      { data: "x", event: "tick", id: "7:a", retry: 250 },
      "event: tick\nid: 7:a\nretry: 250\ndata: x\n\n",
    ],
    ["an empty id", { data: "x", id: "" }, "id: \ndata: x\n\n"],
    ["lines of every kind", "a\nb\r\nc\rd", "data: a\ndata: b\ndata: c\ndata: d\n\n"],
    ["empty lines", "\n\r\r\n\na\n", `${"data: \n".repeat(4)}data: a\ndata: \n\n`],
    ["blanks and colons", { data: "  a: b ", event: " x" }, "event:  x\ndata:   a: b \n\n"],
    ["what looks like fields", "id: 1\n\ndata: 2", "data: id: 1\ndata: \ndata: data: 2\n\n"],
  ];

  it("writes the fields of every form of event", async () => {
    const { client, events } = await opened();
    for (const [, event] of forms) expect(events.send(event)).toBe(true);
    expect([events.comment("a\nb"), events.comment("")]).toEqual([true, true]);
    events.send({ data: "wörld 🌾" });
    events.close();
    const utf8 = Buffer.from("data: wörld 🌾\n\n").toString("latin1");
    const { body } = await chunkedResponse(client);
    expect(body).toBe(`${forms.map(([, , text]) => text).join("")}: a\n: b\n\n: \n\n${utf8}`);
  });

  it("refuses what cannot be sent, with a code, and stays open", async () => {
    const { client, events } = await opened();
    const bad: readonly [unknown, string][] = [
      [{ data: "x", event: "a\nb" }, "ERR_MILLRACE_INVALID_BODY"],
      [{ data: "x", id: "a\rb" }, "ERR_MILLRACE_INVALID_BODY"],
      [{ data: "x", id: "a\0b" }, "ERR_MILLRACE_INVALID_BODY"],
      [{ data: "x", event: 7 }, "ERR_MILLRACE_INVALID_BODY"],
      [{ data: undefined }, "ERR_MILLRACE_INVALID_BODY"],
      [{ data: () => 1 }, "ERR_MILLRACE_INVALID_BODY"],
      [null, "ERR_MILLRACE_INVALID_BODY"],
      [7, "ERR_MILLRACE_INVALID_BODY"],
      [{ data: "x", retry: -1 }, "ERR_MILLRACE_INVALID_OPTION"],
      [{ data: "x", retry: 1.5 }, "ERR_MILLRACE_INVALID_OPTION"],
    ];
    const codeBy = (act: () => unknown): string => {
      try {
        act();
        return "";
      } catch (error) {
        return codeOf(error);
      }
    };
    for (const [event, code] of bad)
      expect(codeBy(() => events.send(event as ServerEvent))).toBe(code);
    expect(codeBy(() => events.comment(7 as unknown as string))).toBe("ERR_MILLRACE_INVALID_BODY");
    events.send("fine");
    events.close();
    expect((await chunkedResponse(client)).body).toBe("data: fine\n\n");
  });

  it.each([
    [{ heartbeat: -1 }],
    [{ heartbeat: "1" as unknown as number }],
    [{ retry: 0.5 }],
    [{ giveUpMs: Number.NaN }],
    [{ hartbeat: 1 } as EventStreamOptions],
  ])("refuses the options %j before anything is sent", async (options) => {
    const codes: string[] = [];
    const server = await start({
      handler: (_req, res) => {
        try {
          res.events(options);
        } catch (error) {
          codes.push(codeOf(error));
        }
        res.end("still open");
      },
    });
    const client = await wire(server);
    client.get("/");
    expect((await client.response()).body).toBe("still open");
    expect(codes).toEqual(["ERR_MILLRACE_INVALID_OPTION"]);
  });

  it.each([204, 205, 304])("refuses status %i, which has no body", async (status) => {
    const codes: string[] = [];
    const server = await start({
      handler: (_req, res) => {
        try {
          res.status(status).events({ heartbeat: 1 });
        } catch (error) {
          codes.push(codeOf(error));
        }
        res.end();
      },
    });
    const client = await wire(server);
    client.get("/");
    const { status: answered, headers } = await client.response();
    expect([answered, headers.has("content-type")]).toEqual([status, false]);
    expect(codes).toEqual(["ERR_MILLRACE_INVALID_STATUS"]);
  });

  it("is closed when the block ends that uses it", async () => {
    const { client, events } = await opened();
    events.send("x");
    await events[Symbol.asyncDispose]();
    expect(events.signal.aborted).toBe(true);
    expect((await chunkedResponse(client)).body).toBe("data: x\n\n");
  });

  it("refuses a response that has begun or ended", async () => {
    const codes: string[] = [];
    const { client } = await opened(QUIET, (events, _req, res) => {
      for (let i = 0; i < 2; i += 1) {
        try {
          res.events();
        } catch (error) {
          codes.push(codeOf(error));
        }
        events.close();
      }
    });
    expect((await chunkedResponse(client)).body).toBe("");
    expect(codes).toEqual(["ERR_MILLRACE_HEADERS_SENT", "ERR_MILLRACE_ALREADY_ENDED"]);
  });

  it("tells the retry time first and knows the Last-Event-ID, in UTF-8", async () => {
    const id = "Last-Event-ID: \u00e9-7\r\n"; // as UTF-8 a malformed one
    const { client, events } = await opened({ ...QUIET, retry: 300 }, undefined, id);
    expect(events.lastEventId).toBe("\ufffd-7");
    events.close();
    expect((await chunkedResponse(client)).body).toBe("retry: 300\n\n");
    const utf8 = Buffer.from("é🌾-7").toString("latin1");
    const other = await opened(QUIET, undefined, `last-event-id: ${utf8}\r\n`);
    expect(other.events.lastEventId).toBe("é🌾-7");
  });

  it("can be closed more than once, and says false from then on", async () => {
    const { client, events } = await opened();
    events.send("last");
    events.close();
    events.close();
    expect([events.isOpen, events.send("x"), events.comment("x")]).toEqual([false, false, false]);
    expect(events.signal.aborted).toBe(true);
    await events.drained();
    expect((await chunkedResponse(client)).body).toBe("data: last\n\n");
    client.get("/now");
    expect((await client.response()).body).toBe("now");
  });

  // ── heartbeats ──

  it("beats in silence, and only then", async () => {
    const { client, events } = await opened({ heartbeat: 20 });
    await until("two beats are there", () => textOf(client).length >= 6);
    expect(textOf(client)).toMatch(/^(?::\n\n){2,}$/);
    events.close();
    const { body } = await chunkedResponse(client);
    expect(body.replaceAll(":\n\n", "")).toBe("");
  });

  it("has one timer for streams of one interval, and none when they are over", async () => {
    const set = vi.spyOn(globalThis, "setInterval");
    const clear = vi.spyOn(globalThis, "clearInterval");
    try {
      const { server, streams } = await serving({ heartbeat: 30_000 });
      const clients = await Promise.all([wire(server), wire(server), wire(server)]);
      // One by one: several loops hand over in any order what comes at once.
      for (const [at, client] of clients.entries()) {
        client.get("/");
        await until("it is open", () => streams.length === at + 1);
      }
      expect(set.mock.calls.filter(([, ms]) => ms === 30_000)).toHaveLength(1);
      const at = set.mock.calls.findIndex(([, ms]) => ms === 30_000);
      const timer = set.mock.results[at]?.value as NodeJS.Timeout;
      expect(timer.hasRef()).toBe(false);
      streams[0]?.close();
      streams[1]?.close();
      expect(clear.mock.calls.some(([which]) => which === timer)).toBe(false);
      clients[2]?.close();
      await until("the last is over", () => streams[2]?.signal.aborted === true);
      expect(clear.mock.calls.some(([which]) => which === timer)).toBe(true);
    } finally {
      set.mockRestore();
      clear.mockRestore();
    }
  });

  it("beats for others when one of them cannot be written to", () => {
    vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
    onTestFinished(() => void vi.useRealTimers());
    const log: string[] = [];
    const left = new AbortController().signal;
    const sinkOf = (name: string, write: () => boolean): EventSink => ({
      state: "streaming",
      writableLength: 0,
      cut: () => void log.push(`${name} cut`),
      drained: () => Promise.resolve(),
      end: () => true,
      write,
    });
    const broken = sinkOf("broken", () => {
      throw new Error("no");
    });
    const sound = sinkOf("sound", () => {
      log.push("beat");
      return true;
    });
    const settings = eventSettings({ heartbeat: 1000 });
    const streams = [broken, sound].map((sink) => new EventStream(sink, left, "", settings));
    vi.advanceTimersByTime(2000);
    for (const each of streams) each.close();
    expect(log.slice(0, 2)).toEqual(["broken cut", "beat"]);
  });

  it("does not beat where an event was sent meanwhile, nor where the peer is behind", async () => {
    vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
    onTestFinished(() => void vi.useRealTimers());
    const { client, events } = await opened({ heartbeat: 1000 });
    events.send("1");
    await until("it is with the kernel", () => events.writableLength === 0);
    vi.advanceTimersByTime(1000);
    events.send("2");
    vi.advanceTimersByTime(1000);
    await until("they are with the kernel", () => events.writableLength === 0);
    vi.advanceTimersByTime(1000);
    await until("the beat is with the kernel", () => events.writableLength === 0);
    const large = "x".repeat(100_000);
    events.send(large);
    vi.advanceTimersByTime(1000);
    vi.advanceTimersByTime(1000); // not one turn of the event loop: the peer has not got it yet
    expect(events.writableLength).toBeGreaterThan(100_000);
    events.close();
    const { body } = await chunkedResponse(client);
    expect(body === `data: 1\n\ndata: 2\n\n:\n\ndata: ${large}\n\n`, body.slice(0, 60)).toBe(true);
  });

  // ── back-pressure ──

  it("says false to who sends to a peer that does not read, until it does", async () => {
    const { server, client, events } = await opened();
    client.socket.pause();
    const large = "x".repeat(100_000);
    let sent = 0;
    let isStuck = false;
    const finished = gate();
    const fill = async (): Promise<void> => {
      while (!isStuck) {
        sent += 1;
        if (!events.send(large)) await events.drained();
      }
      events.close();
      finished.open();
    };
    void fill();
    await until("it is stuck", async () => {
      const before = sent;
      const other = await wire(server);
      for (let i = 0; i < 20; i += 1) {
        other.get("/now");
        await other.response();
      }
      other.close();
      return sent === before;
    });
    expect(events.writableLength).toBeGreaterThan(65_536);
    expect(events.writableLength).toBeLessThan(131_072 + 100_100);
    isStuck = true;
    client.socket.resume();
    await finished.promise;
    const { body } = await chunkedResponse(client);
    expect(body.length).toBe(sent * `data: ${large}\n\n`.length);
  });

  it("cuts a peer that does not take what it is sent within giveUpMs", async () => {
    const { client, events } = await opened({ ...QUIET, giveUpMs: 30 });
    client.socket.pause();
    let code = "";
    while (code === "") {
      events.send("x".repeat(1_000_000));
      await events.drained().catch((error: unknown) => {
        code = codeOf(error);
      });
    }
    expect([code, codeOf(events.signal.reason)]).toEqual([
      "ERR_MILLRACE_GAVE_UP",
      "ERR_MILLRACE_GAVE_UP",
    ]);
    expect([events.isOpen, events.send("late")]).toEqual([false, false]);
  });

  it("cuts a peer that is 64 MiB behind, without an error to who sends to many", async () => {
    const { events } = await opened();
    const large = "x".repeat(8_388_608);
    let sent = 0;
    while (events.isOpen) {
      events.send(large);
      sent += 1;
    }
    expect([sent, events.send("late"), codeOf(events.signal.reason)]).toEqual([
      9,
      false,
      "ERR_MILLRACE_ABORTED",
    ]);
  });

  // ── ends ──

  it("aborts the signal when the peer leaves, and says false from then on", async () => {
    for (const leave of ["reset", "close"] as const) {
      const { client, events } = await opened();
      events.send("x");
      await until("it is there", () => textOf(client) !== "");
      client[leave]();
      await until("it is told", () => events.signal.aborted);
      expect(codeOf(events.signal.reason)).toBe("ERR_MILLRACE_ABORTED");
      expect([events.isOpen, events.send("y"), events.comment("z")]).toEqual([false, false, false]);
      events.close();
    }
  });

  it("ends the stream of a client that half-closes", async () => {
    const { client, events } = await opened();
    events.send("x");
    client.socket.end();
    await until("it is told", () => events.signal.aborted);
    expect((await chunkedResponse(client)).body).toBe("data: x\n\n");
    await client.end();
    const { server, streams } = await serving(QUIET, (each) => void each.send("at once"));
    const other = await wire(server);
    other.get("/").socket.end();
    expect((await chunkedResponse(other)).body).toBe("data: at once\n\n");
    await until("it is over", () => streams[0]?.signal.aborted === true);
  });

  it("answers HEAD with the head alone, and tells that the stream is over", async () => {
    const told: unknown[] = [];
    const { server } = await serving({ heartbeat: 20, retry: 1 }, (events) => {
      told.push(events.isOpen);
      events.send("x");
      events.signal.addEventListener("abort", () => told.push("over"));
    });
    const client = await wire(server);
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").get("/now");
    expect((await client.response(true)).headers.get("content-type")).toBe("text/event-stream");
    expect((await client.response()).body).toBe("now");
    expect([told, client.buffer]).toEqual([[true, "over"], ""]);
  });

  it("serves HTTP/1.0 clients, whose stream ends with the connection", async () => {
    const { server, streams } = await serving();
    const client = await wire(server);
    client.send("GET / HTTP/1.0\r\n\r\n");
    await until("it is open", () => streams.length === 1);
    streams[0]?.send("x");
    await until("it is there", () => client.buffer.endsWith("\r\n\r\ndata: x\n\n"));
    streams[0]?.close();
    await client.end();
    expect(client.buffer).toMatch(/\r\n\r\ndata: x\n\n$/);
  });

  it("is cut when the handler throws, and not when it has returned", async () => {
    const { server, streams } = await serving(QUIET, () => {
      throw new Error("off the rails");
    });
    const client = await wire(server);
    client.get("/");
    await client.end();
    expect([client.error, streams[0]?.isOpen]).toEqual(["ECONNRESET", false]);
    await until("it is told", () => streams[0]?.signal.aborted === true);
  });

  it("leaves nothing when the response is ended behind its back", async () => {
    const held: Res[] = [];
    const { client, events } = await opened({ heartbeat: 20 }, (_events, _req, res) => {
      held.push(res);
    });
    held[0]?.end("data: bye\n\n");
    expect(events.isOpen).toBe(false);
    await until("its next beat finds out", () => events.signal.aborted);
    expect((await chunkedResponse(client)).body).toContain("data: bye\n\n");
  });

  it("holds close() until its timeout, unless the streams are closed", async () => {
    const { server, client, events } = await opened();
    const closing = server.close({ timeout: 10_000 });
    events.send("bye");
    events.close();
    expect((await chunkedResponse(client)).body).toBe("data: bye\n\n");
    expect(await closing).toEqual({ completed: 1, forced: 0 });
    const other = await opened();
    expect(await other.server.close({ timeout: 30 })).toEqual({ completed: 0, forced: 1 });
    await until("it is told", () => other.events.signal.aborted);
    expect(other.events.send("late")).toBe(false);
  });

  it("leaves nothing of a thousand streams that are over at once", async () => {
    const { server, streams } = await serving({ heartbeat: 20 });
    const clients = await Promise.all(Array.from({ length: 1000 }, () => wire(server)));
    for (const [at, client] of clients.entries()) client.get("/", `Last-Event-ID: ${at}\r\n`);
    await until("all are open", () => streams.length === 1000);
    for (const events of streams) events.send({ event: "tick", data: { at: 1 } });
    await until("all have it", () => clients.every((client) => textOf(client).includes("tick")));
    for (const [at, client] of clients.entries()) {
      if (at % 4 === 0) client.reset();
      else if (at % 4 === 1) client.close();
    }
    for (const events of streams) if (Number(events.lastEventId) % 4 > 1) events.close();
    await until("all are over", () => streams.every(({ signal }) => signal.aborted));
    await until("nothing is in flight", () => server.metrics.inFlight === 0);
  });
});

describe.runIf(browserPath !== undefined)("an EventSource in Chromium", () => {
  let browser: Browser;
  beforeAll(() => {
    browser = new Browser();
  });
  afterAll(() => browser.close());

  onEachHost(
    ({ start }) => {
      it("gets events with every field, and comes back with the last id", async () => {
        const ids: string[] = [];
        let last: EventStream | undefined;
        const page = new Response("<!doctype html><title>events</title>", {
          headers: { "content-type": "text/html" },
        });
        const server = await start({
          routes: {
            "/": page,
            "/events": raw((_req, res) => {
              const events = res.events({ heartbeat: 10, retry: 20 });
              ids.push(events.lastEventId);
              if (ids.length === 1) {
                events.send("one\r\ntwo\n\nfour");
                events.send({ event: "named", id: "é🌾 1", data: { a: "ü" } });
                events.send({ data: " three" });
                events.close();
              } else if (ids.length === 2) {
                events.send({ data: `after ${events.lastEventId}` });
                last = events;
              }
            }),
          },
        });
        const tab = await browser.open(server.url);
        await until("the page is there", async () => {
          const title = await tab.value("document.title").catch(() => "");
          return title === "events";
        });
        const got = await tab.value(`new Promise((resolve) => {
          const got = [];
          const events = new EventSource("/events");
          const take = (event) => {
            got.push([event.type, event.data, event.lastEventId]);
            if (got.length === 4) events.close(), resolve(got);
          };
          events.onmessage = take;
          events.addEventListener("named", take);
        })`);
        expect(got).toEqual([
          ["message", "one\ntwo\n\nfour", ""],
          ["named", '{"a":"ü"}', "é🌾 1"],
          ["message", " three", "é🌾 1"],
          ["message", "after é🌾 1", "é🌾 1"],
        ]);
        expect(ids).toEqual(["", "é🌾 1"]);
        last?.close(); // Chromium may keep its connection for five seconds more
      });
    },
    [0, 1],
  );
});
