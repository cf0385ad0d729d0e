// Bodies and parts that go straight into files: what is in them, what is left behind when something
// goes wrong (nothing), and that the next upload works.
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import * as fs from "node:fs";
import { open } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import {
  type MillraceError,
  type MultipartOptions,
  type Req,
  raw,
  type SavedFile,
  type SaveOptions,
  type Server,
} from "../src/index.ts";
import { Child } from "./support/child.ts";
import { expectInSync, formOf, openFile, post, postHead, sha256Of } from "./support/forms.ts";
import { onEachHost } from "./support/hosts.ts";
import { until } from "./support/until.ts";
import { type WireResponse, wire } from "./support/wire.ts";

const MIB = 1_048_576;
const isRoot = process.getuid?.() === 0;
const isLinux = process.platform === "linux";
const codeOf = (error: unknown): string => (error as MillraceError).code;
const descriptors = (): number => fs.readdirSync("/proc/self/fd").length;

let folder = "";
let small = ""; // a disk of 1 MB
let isMounted = false;

beforeAll(() => {
  folder = fs.mkdtempSync(join(tmpdir(), "millrace-saving-"));
  small = fs.mkdtempSync(join(tmpdir(), "millrace-small-"));
  try {
    if (isRoot && isLinux) {
      execFileSync("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", small], { stdio: "ignore" });
      isMounted = true;
    }
  } catch {
    // Not every root may mount.
  }
});

afterAll(() => {
  if (isMounted) execFileSync("umount", [small]);
  for (const each of [folder, small]) fs.rmSync(each, { recursive: true, force: true });
});

beforeEach(() => {
  for (const each of [folder, small])
    for (const name of fs.readdirSync(each)) fs.rmSync(join(each, name), { recursive: true });
});

interface Saver {
  readonly server: Server;
  /** How each save ended, in the order of their ends. */
  readonly ends: (SavedFile | string)[];
  /** What the system said of those that failed. */
  readonly causes: unknown[];
  /** Codes of what was logged. */
  readonly warnings: unknown[];
  readonly calls: () => number;
}

onEachHost(({ start, loops }) => {
  /** A server that saves what is posted to /raw, and the file of a form that is posted to /form. */
  async function saver(
    options: SaveOptions = {},
    more: {
      readonly body?: "stream" | "buffer";
      readonly form?: MultipartOptions;
      readonly timeouts?: { readonly receive: number };
      readonly to?: string;
    } = {},
  ): Promise<Saver> {
    const { body = "stream", form, to = folder, ...rest } = more;
    const ends: (SavedFile | string)[] = [];
    const causes: unknown[] = [];
    const warnings: unknown[] = [];
    let calls = 0;
    const route = (save: (req: Req, path: string) => Promise<SavedFile | undefined>): object => ({
      POST: raw(async (req, res) => {
        calls += 1;
        try {
          const saved = await save(req, join(to, req.query.get("name") ?? "saved"));
          if (saved !== undefined) ends.push(saved);
          res.json(saved ?? null);
        } catch (error) {
          ends.push(codeOf(error));
          causes.push((error as { cause?: NodeJS.ErrnoException }).cause?.code);
          throw error;
        }
      }),
      body,
      maxBodySize: 64 * MIB,
    });
    const server = await start({
      routes: {
        "/now": raw((_req, res) => void res.end("now")),
        "/raw": route((req, path) => req.saveTo(path, options)),
        "/form": route(async (req, path) => {
          let saved: SavedFile | undefined;
          for await (const part of req.multipart(form))
            if (part.name === "file") saved = await part.saveTo(path, options);
          return saved;
        }),
      },
      log: { level: "error", write: ({ code }) => void warnings.push(code) },
      ...rest,
    });
    return { server, ends, causes, warnings, calls: () => calls };
  }

  const requestOf = (way: string, content: Uint8Array, query = ""): Buffer => {
    if (way === "/raw") return post(`/raw${query}`, content, null);
    const parts = [
      { name: "a", content: "1" },
      { name: "file", filename: "f", content },
    ];
    return post(`/form${query}`, formOf(...parts, { name: "z", content: "26" }));
  };

  async function sent(server: Server, bytes: Uint8Array): Promise<WireResponse> {
    const client = await wire(server);
    client.send(bytes);
    const answer = await client.response();
    await expectInSync(client, answer);
    client.close();
    return answer;
  }

  const left = (): readonly string[] => fs.readdirSync(folder);
  const ways = ["/raw", "/form"] as const;
  const modes = ["stream", "buffer"] as const;
  const all = ways.flatMap((way) => modes.map((body) => ({ way, body })));

  describe.each(all)("$way with body: $body", ({ way, body }) => {
    it.each([0, 1, 100_000, 5 * MIB + 7])("saves %i bytes, as they are", async (size) => {
      const { server } = await saver({ sha256: true, fsync: size === 1, mode: 0o640 }, { body });
      const content = randomBytes(size);
      const { body: text } = await sent(server, requestOf(way, content));
      const path = join(folder, "saved");
      expect(JSON.parse(text)).toEqual({ path, size, sha256: sha256Of(content) });
      expect(fs.readFileSync(path).equals(content)).toBe(true);
      expect(fs.statSync(path).mode & 0o777).toBe(0o640 & ~process.umask());
      expect(left()).toEqual(["saved"]);
    });

    it("replaces a file only when it may", async () => {
      const path = join(folder, "saved");
      fs.writeFileSync(path, "before");
      const careful = await saver({ overwrite: false }, { body });
      const refused = await sent(careful.server, requestOf(way, Buffer.from("x")));
      expect([refused.status, refused.body.split(":")[0]]).toEqual([
        409,
        "ERR_MILLRACE_SAVE_FAILED",
      ]);
      expect([careful.ends, careful.causes]).toEqual([["ERR_MILLRACE_SAVE_FAILED"], ["EEXIST"]]);
      expect(careful.warnings).toEqual([]); // it is news for the client only
      expect(fs.readFileSync(path, "utf8")).toBe("before");
      const fresh = await sent(careful.server, requestOf(way, Buffer.from("new"), "?name=other"));
      expect(JSON.parse(fresh.body)).toEqual({ path: join(folder, "other"), size: 3 });
      const bold = await saver({}, { body });
      expect((await sent(bold.server, requestOf(way, Buffer.from("after")))).status).toBe(200);
      expect(fs.readFileSync(path, "utf8")).toBe("after");
      expect(left()).toEqual(["other", "saved"]);
    });

    it("takes a limit of its own: at it, and not beyond", async () => {
      for (const limit of [0, 10, 300_000]) {
        const { server, ends } = await saver({ limit }, { body });
        expect((await sent(server, requestOf(way, Buffer.alloc(limit)))).status).toBe(200);
        fs.rmSync(join(folder, "saved"));
        const answer = await sent(server, requestOf(way, Buffer.alloc(limit + 1)));
        expect([answer.status, ends[1]]).toEqual([413, "ERR_MILLRACE_BODY_TOO_LARGE"]);
        expect(left()).toEqual([]);
        expect((await sent(server, requestOf(way, Buffer.alloc(limit)))).status).toBe(200);
        fs.rmSync(join(folder, "saved"));
      }
    });

    it("fails where nothing can be written, and leaves nothing there", async () => {
      fs.mkdirSync(join(folder, "directory"));
      fs.writeFileSync(join(folder, "file"), "");
      fs.mkdirSync(join(folder, "closed"), { mode: 0o500 });
      const { server, ends, causes, warnings } = await saver({}, { body });
      const names = ["missing/name", "directory", "file/name"];
      if (!isRoot) names.push("closed/name");
      for (const name of names) {
        const answer = await sent(server, requestOf(way, randomBytes(1000), `?name=${name}`));
        expect(answer.status, name).toBe(500);
        expect(answer.body).not.toContain(folder);
      }
      expect(ends).toEqual(names.map(() => "ERR_MILLRACE_SAVE_FAILED"));
      expect(causes).toEqual(["ENOENT", "EISDIR", "ENOTDIR", "EACCES"].slice(0, names.length));
      expect(warnings).toEqual(ends);
      expect(left()).toEqual(["closed", "directory", "file"]);
      expect((await sent(server, requestOf(way, randomBytes(1000)))).status).toBe(200);
    });

    it("answers 507 when the disk is full, and works on when it is not", async ({ skip }) => {
      if (!isMounted) skip("needs a disk of its own");
      const { server, ends, causes } = await saver({ sha256: true }, { body, to: small });
      for (let round = 0; round < 3; round += 1) {
        const client = await wire(server);
        client.send(requestOf(way, randomBytes(3 * MIB)));
        const full = await client.response();
        expect([full.status, full.body.split(":")[0]]).toEqual([507, "ERR_MILLRACE_SAVE_FAILED"]);
        expect(fs.readdirSync(small)).toEqual([]);
        const isOver = full.headers.get("connection") === "close";
        const next = isOver ? await wire(server) : client;
        const content = randomBytes(500_000);
        next.send(requestOf(way, content));
        expect((await next.response()).status).toBe(200);
        expect(fs.readFileSync(join(small, "saved")).equals(content)).toBe(true);
        fs.rmSync(join(small, "saved"));
      }
      expect(ends.filter((end) => typeof end === "string")).toHaveLength(3);
      expect(causes).toEqual(["ENOSPC", "ENOSPC", "ENOSPC"]);
    });

    it("saves under every name that the system takes, and no longer one", async () => {
      const { server, causes } = await saver({}, { body });
      const names = [237, 238, 255].map((length) => "n".repeat(length));
      names.push(`a${"é".repeat(127)}`, "é".repeat(127), "€".repeat(85), "😀".repeat(63));
      for (const name of names) {
        const query = `?name=${encodeURIComponent(name)}`;
        const request = requestOf(way, randomBytes(100_000), query);
        const client = await wire(server);
        const half = request.length / 2;
        client.send(request.subarray(0, half));
        if (body === "stream") {
          await until("it is written to", () => left().length === 1);
          expect(left()[0]).toMatch(/^[né€😀a]{50,}\.[0-9a-f]{12}\.part$/u);
        }
        client.send(request.subarray(half));
        expect((await client.response()).status, name).toBe(200);
        expect(left()).toEqual([name]);
        fs.rmSync(join(folder, name));
      }
      const query = `?name=${"n".repeat(256)}`;
      expect((await sent(server, requestOf(way, randomBytes(10), query))).status).toBe(500);
      expect([causes, left()]).toEqual([["ENAMETOOLONG"], []]);
    });

    it.skipIf(isRoot)("refuses to sync into a folder that cannot be opened, first", async () => {
      const { server, ends, causes } = await saver({ fsync: true }, { body });
      fs.mkdirSync(join(folder, "blind"), { mode: 0o300 });
      const answer = await sent(server, requestOf(way, randomBytes(10), "?name=blind/name"));
      fs.chmodSync(join(folder, "blind"), 0o700);
      expect([answer.status, ends, causes]).toEqual([
        500,
        ["ERR_MILLRACE_SAVE_FAILED"],
        ["EACCES"],
      ]);
      expect(fs.readdirSync(join(folder, "blind"))).toEqual([]);
    });

    it("says that the file is there when only its folder could not be synced", async () => {
      const { server, ends, causes } = await saver({ fsync: true }, { body });
      const probe = await open(folder, "r");
      const prototype = Object.getPrototypeOf(probe) as typeof probe;
      await probe.close();
      const sync = prototype.sync;
      const spy = vi.spyOn(prototype, "sync").mockImplementation(async function (
        this: typeof probe,
      ) {
        if ((await this.stat()).isFile()) return sync.call(this);
        throw Object.assign(new Error("EIO: i/o error, fsync"), { code: "EIO" });
      });
      const answer = await sent(server, requestOf(way, Buffer.from("kept")));
      spy.mockRestore();
      expect([answer.status, ends, causes]).toEqual([500, ["ERR_MILLRACE_SAVE_FAILED"], ["EIO"]]);
      expect(left()).toEqual(["saved"]);
      expect(fs.readFileSync(join(folder, "saved"), "utf8")).toBe("kept");
    });
  });

  it("refuses paths and options that are none", async () => {
    const wrong = [
      ...["", "a\0b", 7, undefined].map((path) => [path]),
      ...[{ giveUpMs: -1 }, { giveUpMs: "soon" }, { totalMs: 5 }].map((options) => [
        join(folder, "x"),
        options,
      ]),
      ...[{ mode: -1 }, { mode: 0o1000 }, { limit: -1 }, { fsync: 1 }, { sha: true }].map(
        (options) => [join(folder, "x"), options],
      ),
    ];
    const codes: string[] = [];
    const server = await start({
      routes: {
        "/raw": {
          POST: raw(async (req, res) => {
            const words = wrong[Number(req.query.get("at"))] as [string, SaveOptions];
            await req.saveTo(...words).catch((error: unknown) => codes.push(codeOf(error)));
            await req.bytes().catch((error: unknown) => codes.push(codeOf(error)));
            res.end("answered");
          }),
          body: "stream",
        },
      },
    });
    const client = await wire(server);
    for (const at of wrong.keys()) {
      client.send(post(`/raw?at=${at}`, Buffer.from("x")));
      expect((await client.response()).body).toBe("answered");
    }
    const each = ["ERR_MILLRACE_INVALID_OPTION", "ERR_MILLRACE_BODY_USED"];
    expect(codes).toEqual(wrong.flatMap(() => each));
    expect(left()).toEqual([]);
  });

  it.skipIf(!isLinux)("leaves nothing behind of 300 uploads that are reset anywhere", async () => {
    const { server, ends } = await saver({ sha256: true });
    expect((await sent(server, requestOf("/raw", randomBytes(100)))).status).toBe(200);
    fs.rmSync(join(folder, "saved"));
    await until("the connection is gone", () => server.metrics.connections === 0);
    const before = descriptors();
    const whole = ways.map((way) => requestOf(way, randomBytes(400_000)));
    for (let n = 0; n < 300; n += 20) {
      const clients = await Promise.all(Array.from({ length: 20 }, () => wire(server)));
      for (const [at, client] of clients.entries()) {
        const bytes = whole[at % 2] as Buffer;
        const most = at % 4 < 2 ? 2000 : bytes.length - 1;
        client.send(bytes.subarray(0, Math.floor(Math.random() * most)));
        setTimeout(() => client.reset(), Math.random() * 10);
      }
      await until("all are gone", () => clients.every(({ socket }) => socket.closed));
      await until("the server knows", () => server.metrics.connections === 0);
    }
    await until("no file is left", () => left().length === 0);
    await until("no descriptor is left", () => descriptors() <= before);
    const { inFlight, counters } = server.metrics;
    expect([inFlight, counters["blocks"], counters["deadlines"]]).toEqual([0, 0, 0]);
    // The ones whose head had come, and no other end than this.
    const failed = ends.filter((end) => typeof end === "string");
    expect(new Set(failed)).toEqual(new Set(["ERR_MILLRACE_ABORTED"]));
    expect(failed.length).toBeGreaterThan(20);
    expect((await sent(server, whole[1] as Buffer)).status).toBe(200);
  });

  it.each(ways)(
    "removes the file of a peer that ends or stalls in the middle of %s",
    async (way) => {
      const { server, ends } = await saver({}, { timeouts: { receive: 60 } });
      const text = way === "/raw" ? "x".repeat(1000) : openFile(1000);
      const half = await wire(server);
      half.send(postHead(way, 5000) + text);
      half.socket.end();
      expect((await half.response()).status).toBe(400);
      const stalled = await wire(server);
      stalled.send(postHead(way, 5000) + text);
      expect((await stalled.response()).status).toBe(408);
      expect(ends).toEqual(["ERR_MILLRACE_INCOMPLETE", "ERR_MILLRACE_RECEIVE_TIMEOUT"]);
      expect(left()).toEqual([]);
    },
  );

  it("answers 400 when a form ends in the middle of a file that is saved", async () => {
    const { server, ends } = await saver();
    const text = openFile(1000);
    const answer = await sent(server, Buffer.from(postHead("/form", text.length) + text));
    expect([answer.status, ends]).toEqual([400, ["ERR_MILLRACE_BAD_MULTIPART"]]);
    expect(left()).toEqual([]);
  });

  it("gives up a client that drips into a file, at giveUpMs", async () => {
    const { server, ends } = await saver({}, { form: { giveUpMs: 150 } });
    const client = await wire(server);
    client.send(postHead("/form", 1_000_000) + openFile(0));
    const dripping = setInterval(() => client.send("x"), 5);
    await client.end();
    clearInterval(dripping);
    await until("the save has ended", () => ends.length === 1);
    expect(ends).toEqual(["ERR_MILLRACE_GAVE_UP"]);
    expect(left()).toEqual([]);
  });

  it("saves the files of a form although nobody awaits each", async () => {
    const server = await start({
      routes: {
        "/now": raw((_req, res) => void res.end("now")),
        "/form": {
          POST: raw(async (req, res) => {
            const saves = [];
            for await (const part of req.multipart())
              saves.push(part.saveTo(join(folder, part.name), { sha256: true }));
            res.json((await Promise.all(saves)).map(({ sha256 }) => sha256));
          }),
          body: "stream",
          maxBodySize: 64 * MIB,
        },
      },
    });
    const contents = [0, 1, 300_000, 3 * MIB, 5].map((size) => randomBytes(size));
    const parts = contents.map((content, n) => ({ name: `${n}`, filename: "f", content }));
    const answer = await sent(server, post("/form", formOf(...parts, { name: "x", content: "y" })));
    expect(JSON.parse(answer.body)).toEqual([...contents.map(sha256Of), sha256Of("y")]);
    expect(left()).toEqual(["0", "1", "2", "3", "4", "x"]);
  });

  it("ends a save that nobody awaits when the loop is left", async () => {
    const codes: string[] = [];
    const server = await start({
      routes: {
        "/form": {
          POST: raw(async (req, res) => {
            let saving: Promise<unknown> | undefined;
            for await (const part of req.multipart()) {
              saving = part.saveTo(join(folder, "left")).catch((error: unknown) => codeOf(error));
              if (req.search === "?late")
                await until("it is written to", () => left().length === 1);
              break;
            }
            codes.push((await saving) as string);
            res.end();
          }),
          body: "stream",
        },
      },
    });
    for (const query of ["", "?late"]) {
      const client = await wire(server);
      client.send(postHead(`/form${query}`, 1_000_000) + openFile(1000));
      await client.response();
    }
    expect(codes).toEqual(["ERR_MILLRACE_BODY_USED", "ERR_MILLRACE_BODY_USED"]);
    expect(left()).toEqual([]);
  });

  it("goes on with the other parts when one cannot be saved", async () => {
    const server = await start({
      routes: {
        "/now": raw((_req, res) => void res.end("now")),
        "/form": {
          POST: raw(async (req, res) => {
            const seen = [];
            for await (const part of req.multipart()) {
              const path = join(folder, part.name);
              const saved = part.saveTo(path, { limit: 1000 });
              seen.push(await saved.then(({ size }) => size, codeOf));
            }
            res.json(seen);
          }),
          body: "stream",
        },
      },
    });
    const content = Buffer.alloc(200_000);
    const answer = await sent(
      server,
      post(
        "/form",
        formOf(
          { name: "missing/a", filename: "f", content },
          { name: "b", filename: "f", content },
          { name: "c", filename: "f", content: "c" },
          { name: "missing/d", content: "d" },
          { name: "e", content: content.subarray(0, 1001) },
          { name: "f", content: content.subarray(0, 1000) },
        ),
      ),
    );
    const [failed, large] = ["ERR_MILLRACE_SAVE_FAILED", "ERR_MILLRACE_BODY_TOO_LARGE"];
    expect(JSON.parse(answer.body)).toEqual([failed, large, 1, failed, large, 1000]);
    expect(left()).toEqual(["c", "f"]);
  });

  it("never mixes two bodies that are saved to one path: the last to end wins", async () => {
    const { server, calls } = await saver();
    const contents = ["a", "b"].map((letter) => Buffer.alloc(2 * MIB, letter));
    const clients = await Promise.all(contents.map(() => wire(server)));
    for (const [at, client] of clients.entries())
      client.send(requestOf("/raw", contents[at] as Buffer).subarray(0, MIB));
    await until("both are under way", () => calls() === 2 && left().length === 2);
    for (const at of [1, 0]) {
      const rest = requestOf("/raw", contents[at] as Buffer).subarray(MIB);
      expect((await clients[at]?.send(rest).response())?.status).toBe(200);
      expect(fs.readFileSync(join(folder, "saved")).equals(contents[at] as Buffer)).toBe(true);
    }
    expect(left()).toEqual(["saved"]);
  });

  it("ends a save when the server closes by force", async () => {
    const { server, ends } = await saver();
    const clients = await Promise.all([...ways, ...ways].map(() => wire(server)));
    for (const [at, client] of clients.entries()) {
      const way = ways[at % 2] as string;
      client.send(postHead(way, 5 * MIB) + (way === "/raw" ? "x".repeat(MIB) : openFile(MIB)));
    }
    await until("all are under way", () => left().length === 4);
    const report = await server.close({ timeout: 0 });
    expect(report.forced).toBe(4);
    await until("all have ended", () => ends.length === 4);
    await until("no file is left", () => left().length === 0);
    expect(new Set(ends)).toEqual(new Set(["ERR_MILLRACE_ABORTED"]));
  });

  const program = fileURLToPath(new URL("children/saving.mjs", import.meta.url));
  it.runIf(loops < 2).each(["exit", "terminate", "end"])(
    "neither hangs nor crashes by the %s of its thread in the middle of saves",
    async (scenario) => {
      for (let round = 0; round < 3; round += 1) {
        // A process that exits frees nothing; only what happens before that is of interest then.
        const env = { ASAN_OPTIONS: "detect_leaks=0" };
        const words = [program, scenario, `${loops}`, folder];
        const child = new Child(process.execPath, words, env);
        try {
          expect([await child.exited, child.errors]).toEqual([{ code: 7, signal: null }, ""]);
        } finally {
          await child.stop("SIGKILL");
        }
        for (const name of left()) fs.rmSync(join(folder, name)); // of threads that had no time
      }
    },
  );
});
