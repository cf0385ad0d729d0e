// How long an upload is waited for: what is judged while a part is dropped, totals besides the idle
// times, trailers that can never come, and options that are none.
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import {
  type MillraceError,
  type MultipartOptions,
  type Part,
  type ReceiveOptions,
  type Req,
  raw,
  type Server,
} from "../src/index.ts";
import { BOUNDARY, formOf, openFile, partHead, post, postHead } from "./support/forms.ts";
import { onEachHost } from "./support/hosts.ts";
import { until } from "./support/until.ts";
import { type Wire, wire } from "./support/wire.ts";

const codeOf = (error: unknown): string => (error as MillraceError).code;
const CHUNKED = "POST /up HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

let folder = "";
beforeAll(() => {
  folder = fs.mkdtempSync(join(tmpdir(), "millrace-patience-"));
});
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));
beforeEach(() => {
  for (const name of fs.readdirSync(folder)) fs.rmSync(join(folder, name), { recursive: true });
});

/** Sends a byte every `ms` while `condition` holds. */
async function drip(client: Wire, ms: number, condition: () => boolean): Promise<void> {
  const dripping = setInterval(() => client.send("x"), ms);
  await until("it has dripped", () => !condition());
  clearInterval(dripping);
}

onEachHost(({ start }) => {
  interface Taker {
    readonly server: Server;
    /** How each handler ended. */
    readonly ends: unknown[];
  }

  /** A server that tells how its reading of a body ended. */
  async function taker(
    read: (req: Req) => Promise<unknown>,
    { body = "stream", ...more }: { body?: "stream" | "buffer"; timeouts?: object } = {},
  ): Promise<Taker> {
    const ends: unknown[] = [];
    const server = await start({
      routes: {
        "/up": {
          POST: raw(async (req, res) => {
            try {
              const result = await read(req);
              ends.push(result);
              res.json(result ?? null);
            } catch (error) {
              ends.push(codeOf(error));
              throw error;
            }
          }),
          body,
        },
      },
      error: () => undefined,
      ...more,
    });
    return { server, ends };
  }

  describe("a part that is dropped", () => {
    const ways: Readonly<Record<string, (part: Part) => Promise<unknown>>> = {
      "by skip()": (part) => part.skip(),
      "because nobody reads it": async () => undefined,
      "when it could not be saved": (part) =>
        part.saveTo(join(folder, "missing", "x")).catch(codeOf),
      "when it has too many bytes": (part) => part.bytes({ limit: 10 }).catch(codeOf),
    };
    const each = Object.entries(ways).map(([title, way]) => ({ title, way }));
    const dropper = (way: (part: Part) => Promise<unknown>, options: MultipartOptions, more = {}) =>
      taker(async (req) => {
        const names = [];
        for await (const part of req.multipart(options)) {
          names.push(part.name);
          if (part.name === "file") await way(part);
        }
        return names;
      }, more);

    it.each(each)("$title keeps a client that sends slowly, beyond idleMs", async ({ way }) => {
      const idleMs = 300;
      const { server, ends } = await dropper(way, { idleMs });
      const client = await wire(server);
      const chunk = (text: string): string => `${text.length.toString(16)}\r\n${text}\r\n`;
      client.send(postHead("/up", -1) + chunk(openFile(1000)));
      const since = performance.now();
      const dripping = setInterval(() => client.send(chunk("x".repeat(100))), 10);
      const isLate = () => performance.now() - since > 1.5 * idleMs || client.ended;
      await until("it took longer than idleMs", isLate);
      clearInterval(dripping);
      const field = `\r\n--${BOUNDARY}\r\n${partHead({ name: "z", content: "" })}26`;
      client.send(`${chunk(`${field}\r\n--${BOUNDARY}--`)}0\r\n\r\n`);
      expect((await client.response()).status).toBe(200);
      expect(ends).toEqual([["file", "z"]]);
    });

    it.each(each)("$title has its client cut when that stalls", async ({ way }) => {
      const { server, ends } = await dropper(way, { idleMs: 5000 }, { timeouts: { receive: 60 } });
      const client = await wire(server);
      client.send(postHead("/up", 5000) + openFile(1000));
      expect((await client.response()).status).toBe(408);
      expect(ends).toEqual(["ERR_MILLRACE_RECEIVE_TIMEOUT"]);
    });

    it.each(each)("$title has its client cut at giveUpMs", async ({ way }) => {
      const { server, ends } = await dropper(way, { giveUpMs: 100 });
      const client = await wire(server);
      client.send(postHead("/up", 1_000_000) + openFile(1000));
      await drip(client, 5, () => !client.ended);
      expect([client.buffer, ends]).toEqual(["", ["ERR_MILLRACE_GAVE_UP"]]);
    });
  });

  describe("totals", () => {
    it("ends receive() at totalMs, however steadily the bytes come", async () => {
      const { server, ends } = await taker(async (req) => {
        const seen: string[] = [];
        for await (const { state, error } of req.receive({ totalMs: 300, waitMs: 5000 }))
          if (state !== seen.at(-1)) seen.push(state, ...(error === undefined ? [] : [error.code]));
        return seen;
      });
      const client = await wire(server);
      client.send(postHead("/up", 1_000_000, null));
      await drip(client, 5, () => !client.ended);
      expect(client.buffer).toBe("");
      expect((ends[0] as string[]).slice(-2)).toEqual(["fail", "ERR_MILLRACE_GAVE_UP"]);
      expect(ends[0]).toContain("progress");
    });

    it("begins giveUpMs of receive() anew with each byte", async () => {
      const giveUpMs = 300;
      const { server, ends } = await taker(async (req) => {
        let last = "";
        for await (const { state } of req.receive({ giveUpMs, waitMs: 10 })) last = state;
        return last;
      });
      const client = await wire(server);
      client.send(CHUNKED);
      const since = performance.now();
      const dripping = setInterval(() => client.send("1\r\nx\r\n"), 10);
      await until(
        "it took longer",
        () => performance.now() - since > 1.5 * giveUpMs || client.ended,
      );
      clearInterval(dripping);
      client.send("0\r\n\r\n");
      expect((await client.response()).status).toBe(200);
      expect(ends).toEqual(["complete"]);
    });

    it("takes with receive() what is here when totalMs is over", async () => {
      const totalMs = 300;
      let isSeen = false;
      let hasCome = (): boolean => false;
      const { server } = await taker(async (req) => {
        const late = performance.now() + totalMs + 50;
        let text = "";
        for await (const { chunk } of req.receive({ totalMs })) {
          text += Buffer.from(chunk).toString();
          isSeen ||= chunk.length > 0;
          // The reader, not its peer, lets the time pass.
          if (isSeen) await until("it is late", () => hasCome() && performance.now() > late);
        }
        return text;
      });
      const client = await wire(server);
      client.send(`${CHUNKED}2\r\nab\r\n`);
      await until("the first part is here", () => isSeen);
      const before = server.metrics.bytesIn;
      hasCome = () => server.metrics.bytesIn > before;
      client.send("2\r\ncd\r\n0\r\n\r\n");
      expect((await client.response()).body).toBe('"abcd"');
    });

    const saves: Readonly<Record<string, (req: Req, path: string) => Promise<unknown>>> = {
      "a body": (req, path) => req.saveTo(path, { giveUpMs: 150 }),
      "a file of a form": async (req, path) => {
        for await (const part of req.multipart()) await part.saveTo(path, { giveUpMs: 150 });
      },
      "a field of a form": async (req, path) => {
        for await (const part of req.multipart()) await part.saveTo(path, { giveUpMs: 150 });
      },
      "a file of a form whose loop goes on": async (req, path) => {
        for await (const part of req.multipart())
          await part.saveTo(path, { giveUpMs: 150 }).catch(codeOf);
      },
    };
    it.each(Object.entries(saves))("gives up %s that is saved, at giveUpMs", async (what, save) => {
      const { server, ends } = await taker((req) => save(req, join(folder, "saved")));
      const client = await wire(server);
      const field = `--${BOUNDARY}\r\n${partHead({ name: "field", content: "" })}`;
      client.send(postHead("/up", 1_000_000) + (what.includes("field") ? field : openFile(0)));
      await drip(client, 5, () => !client.ended);
      await until("the save has ended", () => ends.length === 1);
      expect([client.buffer, ends]).toEqual(["", ["ERR_MILLRACE_GAVE_UP"]]);
      expect(fs.readdirSync(folder)).toEqual([]);
    });

    it("saves what comes within giveUpMs", async () => {
      const { server, ends } = await taker(async (req) => {
        for await (const part of req.multipart())
          await part.saveTo(join(folder, part.name), { giveUpMs: 10_000 });
      });
      const client = await wire(server);
      const parts = [
        { name: "a", filename: "f", content: "1" },
        { name: "b", content: "2" },
      ];
      client.send(post("/up", formOf(...parts)));
      expect((await client.response()).status).toBe(200);
      expect([ends, fs.readdirSync(folder)]).toEqual([[undefined], ["a", "b"]]);
    });
  });

  describe("trailers of a body", () => {
    const nothing: Readonly<Record<string, (req: Req) => Promise<unknown>>> = {
      "nobody reads": async () => undefined,
      "a loop has left": async (req) => {
        for await (const _chunk of req) break;
      },
      "receive() has left": async (req) => {
        for await (const _receipt of req.receive()) break;
      },
      "bytes() found too large": (req) => req.bytes({ limit: 1 }).catch(codeOf),
      "could not be saved": (req) => req.saveTo(join(folder, "missing", "x")).catch(codeOf),
      "was to be saved with wrong options": (req) => req.saveTo("").catch(codeOf),
      "is a form that was left": async (req) => {
        for await (const _part of req.multipart()) break;
      },
    };
    // Nothing would end these: the peer waits for us, so that no timeout is its.
    it.each(Object.entries(nothing))("that %s are not waited for", async (_title, leave) => {
      const { server } = await taker(async (req) => {
        await leave(req);
        return req.trailers.catch(codeOf);
      });
      const client = await wire(server);
      client.send(postHead("/up", 3_000_000) + openFile(1000));
      expect((await client.response()).body).toBe('"ERR_MILLRACE_BODY_USED"');
    });

    it("are told of when their reader leaves, and may be ignored", async () => {
      const { server } = await taker(async (req) => {
        const chunks = req[Symbol.asyncIterator]();
        void req.trailers; // of a body that nobody reads yet
        await chunks.next();
        void req.trailers; // nobody will look at these either
        const trailers = req.trailers;
        await chunks.return?.();
        return trailers.catch((error: unknown) => (error as Error).message);
      });
      const client = await wire(server);
      client.send(postHead("/up", 3_000_000) + openFile(1000));
      expect((await client.response()).body).toMatch(/left before its end.*read all of it first/);
    });

    it("may be asked for as soon as reading has begun", async () => {
      const { server } = await taker(async (req) => {
        const [text, trailers] = await Promise.all([req.text(), req.trailers]);
        return [text, ...trailers];
      });
      const client = await wire(server);
      client.send(`${CHUNKED}2\r\nab\r\n`);
      client.send("0\r\nX-Sum: 1\r\n\r\n");
      expect(JSON.parse((await client.response()).body)).toEqual(["ab", ["x-sum", "1"]]);
    });

    it("come behind a body that is saved", async () => {
      const { server } = await taker(async (req) => {
        await req.saveTo(join(folder, "saved"));
        return [...(await req.trailers)];
      });
      const client = await wire(server);
      client.send(`${CHUNKED}2\r\nab\r\n0\r\nX-Sum: 1\r\n\r\n`);
      expect(JSON.parse((await client.response()).body)).toEqual([["x-sum", "1"]]);
    });
  });

  describe.each(["stream", "buffer"] as const)('body: "%s"', (body) => {
    it("refuses options that are none by the call, which leaves the body alone", async () => {
      const receive = [null, [], { wait: 5 }, { waitMs: -5 }, { giveUpMs: "5" }, { totalMs: NaN }];
      const form = [null, { idle: 5 }, { idleMs: -1 }, { idleMs: "5" }, { giveUpMs: NaN }];
      const read = async (req: Req): Promise<unknown> => [
        ...receive.map((each) => thrown(() => req.receive(each as ReceiveOptions))),
        ...form.map((each) => thrown(() => req.multipart(each as MultipartOptions))),
        await req.text(),
      ];
      const { server } = await taker(read, { body });
      const client = await wire(server);
      client.send(post("/up", Buffer.from("whole")));
      const codes = [...receive, ...form].map(() => "ERR_MILLRACE_INVALID_OPTION");
      expect(JSON.parse((await client.response()).body)).toEqual([...codes, "whole"]);
    });
  });
});

function thrown(act: () => unknown): string {
  try {
    act();
    return "nothing";
  } catch (error) {
    return codeOf(error);
  }
}
