// Answers whose promise nobody waits for, and which come to nothing: the peer gets an answer by the
// error's status all the same, failures are told of, and the process goes on.
import { Readable } from "node:stream";
import { expect, it } from "vitest";
import type { RawHandler } from "../src/index.ts";
import { onEachHost } from "./support/hosts.ts";
import {
  ask,
  codeOf,
  laps,
  serving,
  untilClosed,
  watchUncaught,
  watchWarnings,
} from "./support/streaming.ts";
import { until } from "./support/until.ts";
import { wire } from "./support/wire.ts";

const uncaught = watchUncaught();
const warnings = watchWarnings();
const codes = (): unknown[] => warnings.map(({ code }) => code);
const failing = (): Readable =>
  new Readable({
    read() {
      this.destroy(new Error("no well"));
    },
  });

onEachHost(({ start }) => {
  const handlers: readonly [string, RawHandler, number, readonly string[]][] = [
    ["a missing file", (_req, res) => void res.file("/nope/missing"), 404, []],
    [
      "a wrong option",
      (_req, res) => void res.file("/nope", { rot: "/" } as object),
      500,
      ["ERR_MILLRACE_INVALID_OPTION"],
    ],
    [
      "a source that fails",
      (_req, res) => void res.stream(failing()),
      500,
      ["ERR_MILLRACE_SOURCE_FAILED"],
    ],
    [
      "a source that is none",
      (_req, res) => void res.stream(7 as unknown as string[]),
      500,
      ["ERR_MILLRACE_INVALID_BODY"],
    ],
    [
      "a handler that does something else first",
      async (_req, res) => {
        const sending = res.file("/nope/missing");
        await until("it has failed", () => res.state === "open");
        void sending;
      },
      404,
      [],
    ],
  ];

  it.each(handlers)("answers after %s", async (_what, handler, status, told) => {
    const { server, client } = await ask(start, (req, res) => {
      res.header("x-kind", "file");
      return handler(req, res);
    });
    const response = await client.response();
    expect([response.status, response.headers.has("x-kind")]).toEqual([status, false]);
    client.get("/now");
    expect((await client.response()).body).toBe("now");
    await laps(server, 1);
    expect([codes(), uncaught]).toEqual([told, []]);
  });

  it("leaves the answer to who catches the error after the handler has returned", async () => {
    const { client } = await ask(start, (_req, res) => {
      res.file("/nope/missing").catch(() => res.send(410, "gone"));
    });
    expect(await client.response()).toMatchObject({ status: 410, body: "gone" });
    expect([codes(), uncaught]).toEqual([[], []]);
  });

  it("leaves the answer to who has detached", async () => {
    const { client } = await ask(start, (_req, res) => {
      res.detach();
      res.file("/nope/missing").catch(async (error: unknown) => {
        await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
        res.end(codeOf(error));
      });
    });
    expect((await client.response()).body).toBe("ERR_MILLRACE_FILE_NOT_FOUND");
  });

  it("gives the error to the error hook", async () => {
    const told: string[] = [];
    const server = await start({
      handler: (_req, res) => void res.file("/nope/missing"),
      error: (error) => {
        told.push(codeOf(error));
        return new Response("not here", { status: 404 });
      },
    });
    const client = await wire(server);
    client.get("/");
    expect(await client.response()).toMatchObject({ status: 404, body: "not here" });
    expect([told, uncaught]).toEqual([["ERR_MILLRACE_FILE_NOT_FOUND"], []]);
  });

  it("cuts, and tells, when a source fails in the middle", async () => {
    const server = await serving(start, (req, res) => {
      const source = async function* () {
        yield "first";
        await new Promise(setImmediate);
        throw new Error("the well is dry");
      };
      void res.stream(source(), req.search === "" ? {} : { length: 3 });
    });
    for (const [target, code] of [
      ["/", "ERR_MILLRACE_SOURCE_FAILED"],
      ["/?short", "ERR_MILLRACE_LENGTH_MISMATCH"],
    ] as const) {
      warnings.splice(0);
      const client = await wire(server);
      client.get(target);
      await untilClosed(client);
      await until("it is told of", () => codes().includes(code));
    }
    expect(uncaught).toEqual([]);
  });
});
