// Forms over real sockets, read while they come and read as a whole: the same parts at every cut,
// every limit, every way to leave one, and no way to hang.
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import {
  type MillraceError,
  type MultipartOptions,
  type Part,
  type Req,
  raw,
  type Server,
} from "../src/index.ts";
import {
  BOUNDARY,
  expectInSync,
  type FormPart,
  formOf,
  openFile,
  partHead,
  post,
  postHead,
  seenOf,
  seenParts,
  sha256Of,
} from "./support/forms.ts";
import { onEachHost } from "./support/hosts.ts";
import { until } from "./support/until.ts";
import { type Wire, type WireResponse, wire } from "./support/wire.ts";

const MIB = 1_048_576;

interface SeedCase {
  readonly id: string;
  readonly content_type: string | null;
  readonly body: string;
  readonly fails?: boolean;
  readonly may_fail?: boolean;
  readonly entries?: readonly {
    readonly name: string;
    readonly filename: string | null;
    readonly data: string;
    readonly headers?: readonly (readonly [string, string])[];
  }[];
}

const seedFile = new URL("cases/seed_multipart.json", import.meta.url);
const { cases } = JSON.parse(readFileSync(seedFile, "utf8")) as { cases: readonly SeedCase[] };

const codeOf = (error: unknown): string => (error as MillraceError).code;

/** Numbers below `below`, the same at every run (xorshift). */
function numbers(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

/** Sends pieces so that the server most likely reads them one by one. */
async function sendPieces(client: Wire, pieces: Iterable<Uint8Array>): Promise<void> {
  for (const piece of pieces) {
    await new Promise<void>((resolve) => client.socket.write(piece, () => resolve()));
    await new Promise((resolve) => setImmediate(resolve));
  }
}

function* cutAt(bytes: Uint8Array, cuts: readonly number[]): Generator<Uint8Array> {
  let from = 0;
  for (const cut of cuts) {
    if (cut > from) yield bytes.subarray(from, cut);
    from = Math.max(from, cut);
  }
  if (from < bytes.length) yield bytes.subarray(from);
}

onEachHost(({ start }) => {
  describe.each(["stream", "buffer"] as const)('body: "%s"', (body) => {
    /** A server whose handler answers with what it makes of a form, as JSON. */
    const reader = (handler: (req: Req) => Promise<unknown>, options = {}): Promise<Server> =>
      start({
        routes: {
          "/now": raw((_req, res) => void res.end("now")),
          "/form": {
            POST: raw(async (req, res) => void res.json((await handler(req)) ?? null)),
            body,
            maxBodySize: 64 * MIB,
          },
        },
        error: () => undefined, // what is thrown on purpose needs no warning
        ...options,
      });

    const sent = async (server: Server, bytes: Uint8Array | string): Promise<WireResponse> => {
      const client = await wire(server);
      client.send(bytes);
      const answer = await client.response();
      await expectInSync(client, answer);
      client.close();
      return answer;
    };

    it("gives the same parts of every seed form: whole, byte by byte, at random cuts", async () => {
      const server = await reader(async (req) => {
        const entries = [];
        for await (const part of req.multipart()) {
          const data = Buffer.from(await part.bytes()).toString("latin1");
          const { name, filename = null } = part;
          entries.push({ name, filename, data, headers: [...part.headers] });
        }
        return entries;
      });
      const random = numbers(7578);
      let client = await wire(server);
      for (const each of cases) {
        const bytes = Buffer.from(each.body, "latin1");
        const head = Buffer.from(postHead("/form", bytes.length, each.content_type), "latin1");
        const all = [...bytes.keys()].slice(1);
        const ways = [[], all, ...[1, 2, 3, 4, 5].map(() => all.filter(() => random(6) === 0))];
        for (const cuts of ways) {
          const what = `${each.id} cut at ${cuts.join()}`;
          await sendPieces(client, [head, ...cutAt(bytes, cuts)]);
          const answer = await client.response();
          if (each.fails || (each.may_fail && answer.status !== 200)) {
            expect([400, 415], what).toContain(answer.status);
            expect(answer.body, what).toMatch(/^ERR_MILLRACE_(BAD_MULTIPART|UNSUPPORTED_MEDIA)/);
          } else {
            const wanted = (each.entries ?? []).map(({ headers, ...entry }) => ({
              ...entry,
              headers:
                headers === undefined ? expect.anything() : expect.arrayContaining([...headers]),
            }));
            expect(JSON.parse(answer.body), what).toEqual(wanted);
          }
          await expectInSync(client, answer);
          if (!client.ended) continue;
          client = await wire(server);
        }
      }
    });

    it("takes a preamble, a quoted boundary, padding, headers and a late epilogue", async () => {
      const server = await reader(async (req) => {
        const parts = [];
        for await (const part of req.multipart())
          parts.push([part.name, part.type, part.headers.get("x-own"), await part.text()]);
        return parts;
      });
      const one = `--a b\r\n${partHead({ name: "one", content: "", lines: "X-Own: é 1\r\n" })}`;
      const html = "content-type: Text/HTML; charset=x\r\n";
      const two = `--a b \t\r\n${html}${partHead({ name: "two", content: "" })}`;
      const text = `before\r\n${one}1\r\n${two}--a bc\r\n\r\n--a b--`;
      const epilogue = "\r\nbehind\r\n--a b\r\nall of it";
      const type = 'Multipart/Form-Data; charset=utf-8; boundary="a b"';
      const client = await wire(server);
      for (const isChunked of [false, true]) {
        const length = isChunked ? -1 : Buffer.byteLength(text + epilogue);
        const chunk = (piece: string): string =>
          isChunked ? `${Buffer.byteLength(piece).toString(16)}\r\n${piece}\r\n` : piece;
        const pieces = [postHead("/form", length, type) + chunk(text)];
        pieces.push(chunk(epilogue) + (isChunked ? "0\r\n\r\n" : ""));
        await sendPieces(
          client,
          pieces.map((piece) => Buffer.from(piece)),
        );
        const answer = await client.response();
        expect(JSON.parse(Buffer.from(answer.body, "latin1").toString())).toEqual([
          ["one", "text/plain", Buffer.from("é 1").toString("latin1"), "1"],
          ["two", "text/html", null, "--a bc\r\n"],
        ]);
        await expectInSync(client, answer);
      }
    });

    const three: readonly FormPart[] = [
      { name: "a", content: "abc" },
      { name: "b", content: "" },
      { name: "c", filename: "d", content: "12345", lines: "Content-Type: a/b\r\n" },
    ];
    const headSize = partHead(three[2] as FormPart).length;
    const bounds: readonly (readonly [keyof MultipartOptions, number])[] = [
      ["parts", 3],
      ["fields", 2],
      ["files", 1],
      ["fieldSize", 3],
      ["fileSize", 5],
      ["totalSize", formOf(...three).length],
      ["headerSize", headSize],
      ["headers", 2],
    ];
    it.each(bounds)("takes a form at its %s and refuses one beyond: %i", async (name, bound) => {
      const server = await reader((req) =>
        seenParts(req, { [name]: Number(req.query.get("bound")) }),
      );
      const at = await sent(server, post(`/form?bound=${bound}`, formOf(...three)));
      expect(JSON.parse(at.body)).toEqual(seenOf(...three));
      const beyond = await sent(server, post(`/form?bound=${bound - 1}`, formOf(...three)));
      const [status, code] = name.startsWith("header")
        ? [431, "PART_HEADERS_TOO_LARGE"]
        : [413, "MULTIPART_LIMIT"];
      expect([beyond.status, beyond.body.split(":")[0]]).toEqual([status, `ERR_MILLRACE_${code}`]);
    });

    it("refuses options that are none", async () => {
      const wrong: readonly object[] = [
        { parts: -1 },
        { files: NaN },
        { headerSize: 8193 },
        { fieldSize: "1" },
        { partz: 1 },
        { idleMs: -1 },
        { giveUpMs: "soon" },
      ];
      const server = await reader(async (req) => {
        try {
          return await seenParts(req, wrong[Number(req.query.get("at"))]);
        } catch (error) {
          return codeOf(error);
        }
      });
      for (const at of wrong.keys()) {
        const { body: code } = await sent(server, post(`/form?at=${at}`, formOf(...three)));
        expect(code, JSON.stringify(wrong[at])).toBe('"ERR_MILLRACE_INVALID_OPTION"');
      }
    });

    it("answers 415 to another Content-Type and 400 to one without a boundary", async () => {
      const server = await reader((req) => seenParts(req));
      const form = formOf(...three);
      for (const [type, status, code] of [
        [null, 415, "UNSUPPORTED_MEDIA_TYPE"],
        ["text/plain", 415, "UNSUPPORTED_MEDIA_TYPE"],
        ["multipart/mixed; boundary=q1", 415, "UNSUPPORTED_MEDIA_TYPE"],
        ["multipart/form-data", 400, "BAD_MULTIPART"],
        [`multipart/form-data; boundary=${"x".repeat(71)}`, 400, "BAD_MULTIPART"],
      ] as const) {
        const answer = await sent(server, post("/form", form, type));
        expect([answer.status, answer.body.split(":")[0]]).toEqual([
          status,
          `ERR_MILLRACE_${code}`,
        ]);
      }
    });

    it("goes on behind a loop that is left, that throws, and one that begins no part", async () => {
      const server = await reader(async (req) => {
        if (req.search === "?unread") return "unread";
        for await (const part of req.multipart()) {
          if (req.search === "?throw") throw new Error("on purpose");
          if (req.search === "?inner") for await (const chunk of part) return chunk.length;
          if (part.name === "b") break;
        }
        return "left";
      });
      const large = { name: "big", filename: "big", content: "x".repeat(50_000) };
      for (const parts of [three, [...three, large], [large, ...three]]) {
        const form = formOf(...parts);
        expect((await sent(server, post("/form", form))).body).toBe('"left"');
        expect((await sent(server, post("/form?unread", form))).body).toBe('"unread"');
        expect((await sent(server, post("/form?throw", form))).status).toBe(500);
        expect((await sent(server, post("/form?inner", form))).status).toBe(200);
      }
    });

    it("drops what is skipped, left in the middle or not read at all", async () => {
      const contents = ["x".repeat(300_000), "y".repeat(70_000), "z", ""];
      const parts = contents.flatMap((content, n) => [
        { name: `field ${n}`, content },
        { name: `file ${n}`, filename: "f", content },
      ]);
      const form = formOf(...parts);
      const server = await reader(async (req) => {
        const way = Number(req.query.get("way"));
        const seen = [];
        let n = 0;
        for await (const part of req.multipart()) {
          n += 1;
          if ((n + way) % 4 === 0) await part.skip();
          if ((n + way) % 4 === 1) for await (const _chunk of part) break;
          if ((n + way) % 4 === 2) seen.push([part.name, (await part.text()).length]);
        }
        return seen;
      });
      for (let way = 0; way < 4; way += 1) {
        const { body: text } = await sent(server, post(`/form?way=${way}`, form));
        const wanted = parts
          .filter((_part, at) => (at + 1 + way) % 4 === 2)
          .map(({ name, content }) => [name, content.length]);
        expect(JSON.parse(text)).toEqual(wanted);
      }
    });

    it("lets a part be read once, and not when the next one has been asked for", async () => {
      const server = await reader(async (req) => {
        const codes: string[] = [];
        const fails = (promise: Promise<unknown>): Promise<unknown> =>
          promise.catch((error: unknown) => codes.push(codeOf(error)));
        let before: Part | undefined;
        for await (const part of req.multipart()) {
          if (before === undefined) await part.text();
          else if (body === "stream" || before.name !== "b") await fails(before.text());
          if (part.name === "a") await fails(part.bytes());
          if (part.name === "a") await fails(part.saveTo("/nowhere/at all"));
          if (part.name === "c") await part.skip();
          if (part.name === "c") await fails(part.text());
          before = part;
        }
        await fails(seenParts(req));
        await fails(req.text());
        return codes;
      });
      const { body: text } = await sent(server, post("/form", formOf(...three)));
      const codes = JSON.parse(text) as string[];
      expect(codes).toContain("ERR_MILLRACE_BODY_USED");
      // A file that cannot be made is known before the part is looked at.
      expect(new Set(codes.filter((code) => code !== "ERR_MILLRACE_SAVE_FAILED"))).toEqual(
        new Set(["ERR_MILLRACE_BODY_USED"]),
      );
      expect(codes).toHaveLength(body === "stream" ? 7 : 6);
    });

    it("bounds what bytes() and text() of a part take", async () => {
      const server = await reader(async (req) => {
        const seen = [];
        for await (const part of req.multipart()) {
          const limit = Number(req.query.get("limit"));
          seen.push(await part.text({ limit }).catch((error: unknown) => codeOf(error)));
        }
        return seen;
      });
      const form = formOf(...three);
      const large = "ERR_MILLRACE_BODY_TOO_LARGE";
      const of = async (limit: number): Promise<unknown> =>
        JSON.parse((await sent(server, post(`/form?limit=${limit}`, form))).body);
      expect(await of(5)).toEqual(["abc", "", "12345"]);
      expect(await of(4)).toEqual(["abc", "", large]);
      expect(await of(0)).toEqual([large, "", large]);
    });

    it("reads a thousand tiny fields, and not one more", async () => {
      const server = await reader((req) => seenParts(req).then((seen) => seen.length));
      const many = Array.from({ length: 1000 }, (_, n) => ({ name: `${n}`, content: `${n}` }));
      expect((await sent(server, post("/form", formOf(...many)))).body).toBe("1000");
      const more = formOf(...many, { name: "x", content: "" });
      expect((await sent(server, post("/form", more))).status).toBe(413);
    });

    it("answers 400 to a form that ends before its last delimiter, wherever", async () => {
      const server = await reader((req) => seenParts(req));
      const form = formOf(...three);
      for (let end = 0; end < form.length; end += end < 4 ? 1 : 7) {
        const answer = await sent(server, post("/form", form.subarray(0, end)));
        expect([answer.status, answer.body.split(":")[0]], `cut off at ${end}`).toEqual([
          400,
          "ERR_MILLRACE_BAD_MULTIPART",
        ]);
      }
    });
  });

  // --- what only a form that is read while it comes has ---

  /** A server that tells how its reading of a form ended. */
  async function streamed(
    read: (parts: AsyncIterableIterator<Part>, req: Req) => Promise<unknown>,
    options: MultipartOptions = {},
    more = {},
  ): Promise<{ server: Server; ends: unknown[]; calls: () => number }> {
    const ends: unknown[] = [];
    let calls = 0;
    const server = await start({
      routes: {
        "/now": raw((_req, res) => void res.end("now")),
        "/form": {
          POST: raw(async (req, res) => {
            calls += 1;
            try {
              const result = await read(req.multipart(options), req);
              ends.push(result);
              res.json(result ?? null);
            } catch (error) {
              ends.push(codeOf(error));
              throw error;
            }
          }),
          body: "stream",
          maxBodySize: 64 * MIB,
        },
      },
      ...more,
    });
    return { server, ends, calls: () => calls };
  }

  const readAll = async (parts: AsyncIterable<Part>): Promise<number> => {
    let size = 0;
    for await (const part of parts) for await (const chunk of part) size += chunk.length;
    return size;
  };

  it("ends the loop with ERR_MILLRACE_ABORTED when the peer is reset, at every stage", async () => {
    let waited = 0;
    const { server, ends, calls } = await streamed(async (parts) => {
      for await (const part of parts) {
        waited += 1;
        await part.text();
        waited += 1;
      }
    });
    const field = `--${BOUNDARY}\r\n${partHead({ name: "a", content: "" })}`;
    const stages = [
      ["", 0],
      ["--q", 0],
      [field.slice(0, 20), 0],
      [field, 1],
      [`${field}abc`, 1],
      [`${field}abc\r\n--q1`, 1],
      [`${field}abc\r\n--q1\r\n`, 2],
      [openFile(0), 1],
      [openFile(300_000), 1],
    ] as const;
    for (const [at, [text, waits]] of stages.entries()) {
      waited = 0;
      const client = await wire(server);
      client.send(postHead("/form", 1_000_000) + text);
      await until("the handler waits", () => calls() === at + 1 && waited === waits);
      client.reset();
      await until("the loop has ended", () => ends.length === at + 1);
    }
    expect(ends).toEqual(stages.map(() => "ERR_MILLRACE_ABORTED"));
  });

  it("tells a handler that asks for the form of a peer that has left", async () => {
    const codes: string[] = [];
    let called = 0;
    const server = await start({
      routes: {
        "/form": {
          POST: raw(async (req) => {
            called += 1;
            await until("the peer has left", () => req.aborted);
            await readAll(req.multipart()).catch((error: unknown) => codes.push(codeOf(error)));
          }),
          body: "stream",
        },
      },
    });
    const client = await wire(server);
    client.send(postHead("/form", 100));
    await until("the handler is called", () => called === 1);
    client.reset();
    await until("the loop has ended", () => codes.length === 1);
    expect(codes).toEqual(["ERR_MILLRACE_ABORTED"]);
  });

  it("ends the loop with ERR_MILLRACE_INCOMPLETE when a peer has sent its last byte", async () => {
    const { server, ends } = await streamed(readAll);
    for (const text of ["", "--q1", openFile(0), openFile(1000)]) {
      const client = await wire(server);
      client.send(postHead("/form", 2000) + text);
      client.socket.end();
      const answer = await client.response();
      expect([answer.status, answer.headers.get("connection")]).toEqual([400, "close"]);
      await client.end();
    }
    expect(ends).toEqual(Array.from({ length: 4 }, () => "ERR_MILLRACE_INCOMPLETE"));
  });

  it.each([{ idleMs: 40 }, { giveUpMs: 40 }])(
    "gives up a client that stalls, and cuts its connection: %o",
    async (options) => {
      const { server, ends } = await streamed(readAll, options);
      const texts = ["", "--q1", openFile(0), openFile(1000)];
      for (const text of texts) {
        const client = await wire(server);
        client.send(postHead("/form", 2000) + text);
        await client.end();
        expect(client.buffer).toBe("");
      }
      expect(ends).toEqual(texts.map(() => "ERR_MILLRACE_GAVE_UP"));
    },
  );

  it("does not give up a client that drips within idleMs, but at giveUpMs", async () => {
    const { server, ends } = await streamed(readAll, { idleMs: 5000, giveUpMs: 150 });
    const client = await wire(server);
    client.send(postHead("/form", 1_000_000) + openFile(0));
    const dripping = setInterval(() => client.send("x"), 5);
    await client.end();
    clearInterval(dripping);
    expect(ends).toEqual(["ERR_MILLRACE_GAVE_UP"]);
  });

  it("answers 408 to a client that stalls beyond timeouts.receive", async () => {
    const { server, ends } = await streamed(readAll, {}, { timeouts: { receive: 60 } });
    const texts = ["", "--q1", openFile(0), openFile(1000)];
    const clients = await Promise.all(texts.map(() => wire(server)));
    for (const [at, client] of clients.entries())
      client.send(postHead("/form", 2000) + (texts[at] as string));
    for (const client of clients) {
      const answer = await client.response();
      await expectInSync(client, answer);
      expect([answer.status, answer.headers.get("connection")]).toEqual([408, "close"]);
    }
    expect(ends).toEqual(texts.map(() => "ERR_MILLRACE_RECEIVE_TIMEOUT"));
  });

  it("refuses the next part while one is read by hand", async () => {
    const { server } = await streamed(async (parts) => {
      const { value: part } = (await parts.next()) as { value: Part };
      const chunk = part[Symbol.asyncIterator]().next();
      const next = await parts.next().catch((error: unknown) => codeOf(error));
      return [next, await chunk.then(String, (error: unknown) => codeOf(error))];
    });
    const client = await wire(server);
    client.send(postHead("/form", 2000) + openFile(0));
    const answer = await client.response();
    const used = "ERR_MILLRACE_BODY_USED";
    expect(JSON.parse(answer.body)).toEqual([used, used]);
  });

  it("does not mix up parts whose reading nobody awaits", async () => {
    const { server } = await streamed(async (parts) => {
      const texts = [];
      for await (const part of parts) texts.push(part.text());
      return (await Promise.all(texts)).map((text) => [text.length, text.slice(-2)]);
    });
    const contents = ["x".repeat(400_000), "ab", "y".repeat(90_000), ""];
    const parts = contents.flatMap((content, n) => [
      { name: `${n}`, content },
      { name: `${n}`, filename: "f", content },
    ]);
    const client = await wire(server);
    client.send(post("/form", formOf(...parts)));
    const answer = await client.response();
    expect(JSON.parse(answer.body)).toEqual(
      parts.map(({ content }) => [content.length, content.slice(-2)]),
    );
    await expectInSync(client, answer);
  });

  it("ends a reading that nobody awaits when the loop is left", async () => {
    const { server } = await streamed(async (parts) => {
      let reading: Promise<unknown> | undefined;
      for await (const part of parts) {
        reading = part.text().catch((error: unknown) => codeOf(error));
        break;
      }
      return reading;
    });
    for (const text of [openFile(0), openFile(1000), openFile(300_000)]) {
      const client = await wire(server);
      client.send(postHead("/form", 2_000_000) + text);
      expect((await client.response()).body).toBe('"ERR_MILLRACE_BODY_USED"');
    }
  });

  it("holds a client back while nobody reads its file", async () => {
    let isReading = false;
    let go: () => void = () => undefined;
    const gate = new Promise<void>((resolve) => (go = resolve));
    const size = 20 * MIB;
    const content = Buffer.alloc(size, "0123456789abcdef\r\n--q");
    const { server } = await streamed(
      async (parts) => {
        const seen = [];
        for await (const part of parts) {
          isReading = true;
          await gate;
          const hash = sha256Of(await part.bytes({ limit: size }));
          seen.push(hash);
        }
        return seen;
      },
      {},
      { timeouts: { receive: 50 } },
    );
    const client = await wire(server);
    client.send(post("/form", formOf({ name: "f", filename: "f", content })));
    await until("the part is there", () => isReading);
    const other = await wire(server);
    let before = -1;
    // Others are served meanwhile, until nothing more of it comes.
    while (server.metrics.bytesIn - before > 1000) {
      before = server.metrics.bytesIn;
      for (let i = 0; i < 20; i += 1) {
        other.get("/now");
        expect((await other.response()).body).toBe("now");
      }
    }
    expect(server.metrics.bytesIn).toBeLessThan(2 * MIB);
    go();
    const answer = await client.response();
    expect(JSON.parse(answer.body)).toEqual([sha256Of(content)]);
    await expectInSync(client, answer);
  });

  it("keeps the order of pipelined forms", async () => {
    const { server } = await streamed(async (parts) => {
      const names = [];
      for await (const part of parts) names.push(part.name);
      return names;
    });
    const client = await wire(server);
    const names = ["a", "b", "c", "d"];
    for (const name of names)
      client.send(
        post("/form", formOf({ name, content: "1" }, { name, filename: "2", content: "3" })),
      );
    for (const name of names)
      expect(JSON.parse((await client.response()).body)).toEqual([name, name]);
  });
});
