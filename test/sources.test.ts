// What response bodies are streamed from: every kind of source, how it is let go, and the Responses
// of fetch handlers. Over real sockets.
import { Readable } from "node:stream";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { expect, it } from "vitest";
import type { RawHandler, Res, Server } from "../src/index.ts";
import { chunkedResponse } from "./support/dechunk.ts";
import { onEachHost } from "./support/hosts.ts";
import {
  ask as askBy,
  codeOf,
  endless,
  KIB,
  laps,
  MIB,
  serving as servingBy,
  untilClosed,
  watchWarnings,
} from "./support/streaming.ts";
import { gate, until } from "./support/until.ts";
import { wire } from "./support/wire.ts";

const warnings = watchWarnings();

onEachHost(({ start }) => {
  const serving = (handler: RawHandler): Promise<Server> => servingBy(start, handler);
  const ask = (handler: RawHandler): ReturnType<typeof askBy> => askBy(start, handler);

  const text = ["a", "", "b".repeat(100_000), "c"];
  const bytes = text.map((each) => new TextEncoder().encode(each));
  const sources: readonly [string, () => Parameters<Res["stream"]>[0]][] = [
    ["a ReadableStream", () => ReadableStream.from(bytes) as ReadableStream<Uint8Array>],
    ["a byte stream", () => new Blob(text).stream()],
    ["a Readable", () => Readable.from(bytes)],
    ["an array", () => text],
    ["a Set of bytes", () => new Set(bytes)],
    [
      "an async generator",
      async function* () {
        yield* text;
      },
    ],
    [
      "a generator",
      function* () {
        yield* bytes;
      },
    ],
  ];

  it.each(sources)("streams from %s", async (_name, source) => {
    const { client } = await ask((_req, res) => res.stream(source()));
    expect((await chunkedResponse(client)).body).toBe(text.join(""));
    client.get("/");
    expect((await chunkedResponse(client)).body).toBe(text.join(""));
  });

  it("streams with a length and with trailers, and refuses what is no source", async () => {
    const codes: string[] = [];
    const { client } = await ask(async (req, res) => {
      switch (req.search) {
        case "":
          await res.stream(["hel", "lo"], { length: 5 });
          return;
        case "?trailers":
          await res.stream(["hel", "lo"], { trailers: () => ({ "X-Sum": "1" }) });
          return;
        default:
          await res.stream(7 as unknown as string[]).catch((error: unknown) => {
            codes.push(codeOf(error));
          });
          res.end("still open");
      }
    });
    expect((await client.response()).body).toBe("hello");
    client.get("/?trailers");
    const trailers = "X-Sum: 1\r\n";
    expect(await chunkedResponse(client)).toMatchObject({ body: "hello", trailers });
    client.get("/?number");
    expect((await client.response()).body).toBe("still open");
    expect(codes).toEqual(["ERR_MILLRACE_INVALID_BODY"]);
  });

  it.each([
    ["shorter", 6],
    ["longer", 4],
  ])("cuts when a source is %s than the length given", async (_what, length) => {
    const codes: string[] = [];
    const { client } = await ask((_req, res) =>
      res.stream(["hel", "lo"], { length }).catch((error: unknown) => {
        codes.push(codeOf(error));
      }),
    );
    const { body } = await untilClosed(client);
    expect([codes, body.length < length]).toEqual([["ERR_MILLRACE_LENGTH_MISMATCH"], true]);
  });

  it("cuts when a source fails in the middle, and warns once", async () => {
    const { client } = await ask((_req, res) =>
      res.stream(
        (async function* () {
          yield "first";
          throw new Error("the well is dry");
        })(),
      ),
    );
    await untilClosed(client);
    expect(client.error).toBe("ECONNRESET");
    expect(client.buffer.endsWith("0\r\n\r\n")).toBe(false);
    await until("it is warned of", () => warnings.length > 0);
    expect(warnings.map(({ code }) => code)).toEqual(["ERR_MILLRACE_SOURCE_FAILED"]);
  });

  it("answers 500 when a source fails before its first byte", async () => {
    const failing = new ReadableStream<Uint8Array>({
      pull: async () => {
        await new Promise(setImmediate);
        throw new Error("no well");
      },
    });
    const { client } = await ask((req, res) => {
      res.header("x-kind", "stream");
      if (req.search === "") return res.stream(failing);
      return res.stream([], { length: 5 });
    });
    client.get("/?short");
    for (let i = 0; i < 2; i += 1) {
      const { status, headers } = await client.response();
      expect([status, headers.has("x-kind")]).toEqual([500, false]);
    }
    await until("it is warned of", () => warnings.length > 1);
    expect(warnings.map(({ code }) => code)).toEqual(
      expect.arrayContaining(["ERR_MILLRACE_SOURCE_FAILED", "ERR_MILLRACE_LENGTH_MISMATCH"]),
    );
  });

  it("lets go of a source at once when the request is HEAD, also of an endless one", async () => {
    let over = 0;
    const source = (): Iterable<Uint8Array> => ({
      [Symbol.iterator]: () => ({
        next: () => ({ done: false, value: new Uint8Array(KIB) }),
        return: () => {
          over += 1;
          return { done: true, value: undefined };
        },
      }),
    });
    const server = await serving((req, res) =>
      res.stream(source(), req.search === "" ? {} : { length: 5 * MIB }),
    );
    const client = await wire(server);
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\nHEAD /?sized HTTP/1.1\r\nHost: a\r\n\r\n");
    expect((await client.response(true)).headers.get("transfer-encoding")).toBe("chunked");
    expect((await client.response(true)).headers.get("content-length")).toBe(`${5 * MIB}`);
    expect([over, client.buffer, warnings]).toEqual([2, "", []]);
  });

  it("keeps the exchange for a stream that nobody awaits, while the peer is there", async () => {
    const tell = { over: false };
    const { server, client } = await ask((req, res) => {
      const source = new ReadableStream<Uint8Array>({
        pull: async (controller) => {
          await (req.search === "" ? new Promise(setImmediate) : gate().promise);
          controller.enqueue(Buffer.from("late"));
          controller.close();
        },
        cancel: () => {
          tell.over = true;
        },
      });
      void res.stream(source).catch(() => undefined);
    });
    expect((await chunkedResponse(client)).body).toBe("late");
    const other = await wire(server);
    const begun = server.metrics.requests;
    other.get("/?never");
    await until("it is with us", () => server.metrics.requests > begun);
    await laps(server, 3);
    other.close();
    await until("it is let go", () => tell.over);
    expect(warnings).toEqual([]);
  });

  it("leaves the answer to who catches a failure of the source, and 500 to who left", async () => {
    const failing = (): AsyncIterable<string> =>
      ReadableStream.from({
        [Symbol.asyncIterator]: () => ({ next: () => Promise.reject(new Error("no well")) }),
      }) as unknown as AsyncIterable<string>;
    const codes: string[] = [];
    const server = await serving((req, res) => {
      const streaming = res.stream(failing()).catch((error: unknown) => {
        codes.push(codeOf(error));
      });
      if (req.search === "?left") return;
      return streaming.then(() => {
        if (req.search === "?caught") res.status(502).end("dry");
      });
    });
    const client = await wire(server);
    for (const [target, status] of [
      ["/?caught", 502],
      ["/?left", 500],
      ["/?forgotten", 500],
    ] as const) {
      client.get(target);
      expect((await client.response()).status, target).toBe(status);
    }
    expect(codes).toEqual(Array<string>(3).fill("ERR_MILLRACE_SOURCE_FAILED"));
    await until("it is warned of", () => warnings.length > 1);
    expect(new Set(warnings.map(({ code }) => code))).toEqual(
      new Set(["ERR_MILLRACE_SOURCE_FAILED"]),
    );
  });

  it("remembers nothing of the chunks that have gone", async () => {
    const refs: WeakRef<Uint8Array>[] = [];
    const go = gate();
    let count = 0;
    const { client } = await ask((_req, res) =>
      res.stream({
        [Symbol.asyncIterator]: () => ({
          next: () => {
            count += 1;
            const value = new Uint8Array(8);
            refs.push(new WeakRef(value));
            if (count === 1001) return go.promise.then(() => ({ done: true, value: undefined }));
            return Promise.resolve({ done: false, value });
          },
        }),
      }),
    );
    await until("it waits at the end", () => count === 1001);
    setFlagsFromString("--expose-gc");
    const collect = runInNewContext("gc") as () => void;
    await until("the chunks are gone", () => {
      collect();
      return refs.filter((ref) => ref.deref() !== undefined).length < 10;
    });
    go.open();
    expect((await chunkedResponse(client)).body.length).toBe(8000);
  });

  it("takes one source at a time, and another one when the first has failed", async () => {
    const codes: string[] = [];
    const tell = { over: false };
    const { client } = await ask(async (_req, res) => {
      const first = gate<IteratorResult<string>>();
      const failing = res.stream({ [Symbol.asyncIterator]: () => ({ next: () => first.promise }) });
      await res.stream(endless(tell)).catch((error: unknown) => codes.push(codeOf(error)));
      first.open(Promise.reject(new Error("no well")) as never);
      await failing.catch((error: unknown) => codes.push(codeOf(error)));
      await res.stream(["second"]);
    });
    expect((await chunkedResponse(client)).body).toBe("second");
    expect(codes).toEqual(["ERR_MILLRACE_HEADERS_SENT", "ERR_MILLRACE_SOURCE_FAILED"]);
  });

  it("lets go of a source that is given too late", async () => {
    const codes: string[] = [];
    const tells = [{ over: false }, { over: false }];
    const { client } = await ask(async (_req, res) => {
      res.end("done");
      for (const tell of tells) {
        const source = new ReadableStream<Uint8Array>({
          cancel: () => {
            tell.over = true;
          },
        });
        await res.stream(source).catch((error: unknown) => codes.push(codeOf(error)));
      }
    });
    expect((await client.response()).body).toBe("done");
    await until("it is told", () => codes.length === 2);
    expect(codes).toEqual(["ERR_MILLRACE_ALREADY_ENDED", "ERR_MILLRACE_ALREADY_ENDED"]);
    expect(tells).toEqual([{ over: true }, { over: true }]);
  });

  const pending: readonly [string, (tell: { over: boolean }) => Parameters<Res["stream"]>[0]][] = [
    [
      "a ReadableStream",
      (tell) =>
        new ReadableStream<Uint8Array>({
          start: (controller) => controller.enqueue(new Uint8Array(1)),
          cancel: () => {
            tell.over = true;
          },
        }),
    ],
    [
      "a Readable",
      (tell) => {
        let isFirst = true;
        return new Readable({
          read() {
            if (isFirst) this.push("x");
            isFirst = false;
          },
          destroy(_error, done) {
            tell.over = true;
            done(null);
          },
        });
      },
    ],
    [
      "an async iterator",
      (tell) => {
        let isFirst = true;
        const iterator: AsyncIterator<string> = {
          next: () => {
            if (!isFirst) return new Promise(() => undefined);
            isFirst = false;
            return Promise.resolve({ done: false, value: "x" });
          },
          return: () => {
            tell.over = true;
            return Promise.resolve({ done: true, value: undefined });
          },
        };
        return { [Symbol.asyncIterator]: () => iterator };
      },
    ],
  ];

  it.each(pending)("lets go of %s that has nothing when the peer leaves", async (name, source) => {
    const tell = { over: false };
    const codes: string[] = [];
    const { client } = await ask(async (req, res) => {
      await res.stream(source(tell)).catch((error: unknown) => codes.push(codeOf(error)));
      expect([res.state, req.signal.aborted]).toEqual(["aborted", true]);
      codes.push(String(res.write("late")), String(res.end()));
      await res.drained().catch((error: unknown) => codes.push(codeOf(error)));
    });
    await until(
      "the first byte is there",
      () => client.buffer.endsWith("1\r\nx\r\n") || client.buffer.endsWith("1\r\n\0\r\n"),
    );
    // A reset is known at once; an end means that it may still be there.
    if (name === "a Readable") client.close();
    else client.reset();
    await until("the handler is told", () => codes.length === 4);
    const aborted = "ERR_MILLRACE_ABORTED";
    expect([codes, tell.over]).toEqual([[aborted, "false", "false", aborted], true]);
    expect(warnings).toEqual([]);
  });

  it("lets go of a source when the peer leaves while it waits for the peer to read", async () => {
    const tell = { over: false };
    const codes: string[] = [];
    let isFull = false;
    const server = await serving((_req, res) => {
      const source = async function* () {
        for await (const chunk of endless(tell)) {
          isFull = res.writableLength > 0;
          yield chunk;
        }
      };
      return res.stream(source()).catch((error: unknown) => {
        codes.push(codeOf(error));
      });
    });
    for (let i = 1; i <= 10; i += 1) {
      tell.over = isFull = false;
      const client = await wire(server);
      client.socket.pause();
      client.get("/");
      await until("it has begun", () => isFull);
      if (i % 2 === 0) client.reset();
      else client.close();
      await until("it is let go", () => codes.length === i && tell.over);
    }
    expect(new Set(codes)).toEqual(new Set(["ERR_MILLRACE_ABORTED"]));
  });

  // ── fetch handlers ──

  it("sends a small Response that is ready with its length, and streams others", async () => {
    const step = gate();
    const slow = async function* () {
      yield Buffer.from("slow ");
      await step.promise;
      yield Buffer.from("body");
    };
    const from = (chunks: Iterable<Uint8Array> | AsyncIterable<Uint8Array>): Response =>
      new Response(ReadableStream.from(chunks) as ReadableStream<Uint8Array>, { status: 201 });
    const large = Array.from({ length: 40 }, (_, at) => Buffer.alloc(16 * KIB, at));
    const server = await start({
      routes: {
        "/small": () => from([Buffer.from("small "), Buffer.from("body")]),
        "/slow": () => from(slow()),
        "/large": () => from(large),
        "/sized": () => {
          const response = from(slow());
          response.headers.set("content-length", "9");
          return response;
        },
      },
    });
    const client = await wire(server);
    client.get("/small");
    const small = await client.response();
    expect([small.status, small.headers.get("content-length"), small.body]).toEqual([
      201,
      "10",
      "small body",
    ]);
    client.get("/slow");
    await until("the first half is there", () => client.buffer.endsWith("5\r\nslow \r\n"));
    step.open();
    expect(await chunkedResponse(client)).toMatchObject({ status: 201, body: "slow body" });
    client.send("HEAD /small HTTP/1.1\r\nHost: a\r\n\r\nHEAD /large HTTP/1.1\r\nHost: a\r\n\r\n");
    expect((await client.response(true)).headers.get("content-length")).toBe("10");
    expect((await client.response(true)).headers.get("transfer-encoding")).toBe("chunked");
    client.get("/large");
    const whole = Buffer.concat(large).toString("latin1");
    expect((await chunkedResponse(client)).body === whole).toBe(true);
    client.get("/sized");
    expect((await client.response()).body).toBe("slow body");
  });

  it("cancels the body of a Response when the peer leaves", async () => {
    let reason: unknown;
    const server = await start({
      fetch: () =>
        new Response(
          new ReadableStream<Uint8Array>({
            start: (controller) => controller.enqueue(Buffer.from("x")),
            cancel: (why) => {
              reason = why;
            },
          }),
        ),
    });
    const client = await wire(server);
    client.get("/");
    await until("it has begun", () => client.buffer.endsWith("1\r\nx\r\n"));
    client.reset();
    await until("it is cancelled", () => reason !== undefined);
    expect(codeOf(reason)).toBe("ERR_MILLRACE_ABORTED");
    await laps(server, 0);
    expect(warnings).toEqual([]);
  });
});
