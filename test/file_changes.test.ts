// Files that change while they are sent or between two requests, and what is no file: as the page
// "Streams" says.
import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { dir, file, raw, type Server } from "../src/index.ts";
import { onEachHost } from "./support/hosts.ts";
import { programNamed } from "./support/programs.ts";
import { until } from "./support/until.ts";
import { type Wire, wire } from "./support/wire.ts";

const SIZE = 20_000_000; // more than the kernel takes for a peer that does not read
const mkfifo = programNamed("mkfifo");

let folder = "";
const at = (name: string): string => join(folder, name);
beforeEach(() => {
  folder = fs.mkdtempSync(join(tmpdir(), "millrace-changes-"));
  fs.writeFileSync(at("large"), Buffer.alloc(SIZE, "o"));
});
afterEach(() => fs.rmSync(folder, { recursive: true, force: true }));

/** Asks for a path and reads nothing before a part of it is with the kernel. */
async function halfSent(server: Server, path: string): Promise<Wire> {
  const client = await wire(server);
  const { bytesOut } = server.metrics;
  client.socket.pause();
  client.get(path);
  await until("a part is sent", () => server.metrics.bytesOut > bytesOut + 100_000);
  return client;
}

onEachHost(({ start }) => {
  const serving = () =>
    start({
      routes: {
        "/large": file(at("large")),
        "/hand": raw((_req, res) => res.file("large", { root: folder })),
        "/d/**": dir(folder),
        "/n/**": dir(folder, { followLinks: false }),
        "/live/**": dir(at("live")),
      },
    });

  const replace = (): void => {
    fs.writeFileSync(at("next"), "new");
    fs.renameSync(at("next"), at("large"));
  };
  it.each([
    ["is replaced by another", replace, "new"],
    ["grows", () => fs.appendFileSync(at("large"), "n"), undefined],
    ["is removed", () => fs.rmSync(at("large")), "Not Found\n"],
  ] as const)(
    "sends the file that was opened when it %s meanwhile",
    async (_what, change, next) => {
      const server = await serving();
      for (const path of ["/large", "/d/large", "/hand"]) {
        fs.writeFileSync(at("large"), Buffer.alloc(SIZE, "o"));
        const client = await halfSent(server, path);
        change();
        client.socket.resume();
        const { status, body } = await client.response();
        expect([path, status, body.length, /[^o]/.test(body)]).toEqual([path, 200, SIZE, false]);
        // Whoever asks again gets what is there now.
        if (next !== undefined && path !== "/hand") {
          expect((await client.get(path).response()).body).toBe(next);
        } else if (next === undefined) {
          expect((await client.get(path).response()).body.length).toBe(SIZE + 1);
        }
        client.close();
      }
    },
  );

  it("gives a changed file another tag, which is weak while it is young", async () => {
    const server = await serving();
    fs.writeFileSync(at("a.txt"), "one");
    const client = await wire(server);
    const tag = async (): Promise<string> =>
      (await client.get("/d/a.txt").response()).headers.get("etag") ?? "";
    const young = await tag();
    expect(young).toMatch(/^W\/"/);
    fs.utimesSync(at("a.txt"), 1e9, 1e9);
    const old = await tag();
    expect(old).toMatch(/^"/);
    expect(young).not.toContain(old);
    fs.writeFileSync(at("a.txt"), "two");
    fs.utimesSync(at("a.txt"), 1e9, 1e9 + 0.001);
    expect(await tag()).not.toBe(old);
  });

  it("passes over a precompressed file that is older than its file", async () => {
    const server = await serving();
    fs.writeFileSync(at("a.js"), "new");
    fs.writeFileSync(at("a.js.gz"), "old");
    fs.utimesSync(at("a.js.gz"), 1e9, 1e9);
    const client = await wire(server);
    const answer = await client.get("/d/a.js", "Accept-Encoding: gzip\r\n").response();
    expect([answer.body, answer.headers.get("content-encoding")]).toEqual(["new", undefined]);
    fs.utimesSync(at("a.js"), 1e9, 1e9);
    expect((await client.get("/d/a.js", "Accept-Encoding: gzip\r\n").response()).body).toBe("old");
  });

  it("serves the folder that a link leads to at the moment", async () => {
    const server = await serving();
    for (const name of ["blue", "green"]) {
      fs.mkdirSync(at(name));
      fs.writeFileSync(join(at(name), "name.txt"), name);
    }
    const client = await wire(server);
    expect((await client.get("/live/name.txt").response()).status).toBe(404);
    for (const name of ["blue", "green"]) {
      fs.symlinkSync(name, at("next"));
      fs.renameSync(at("next"), at("live"));
      expect((await client.get("/live/name.txt").response()).body).toBe(name);
    }
  });

  it("follows links inside of the folder, or none", async () => {
    const server = await serving();
    fs.writeFileSync(at("a.txt"), "a");
    fs.symlinkSync("a.txt", at("link.txt"));
    const client = await wire(server);
    const followed = await client.get("/d/link.txt").response();
    // Kernels without openat2 refuse it.
    expect([200, 404]).toContain(followed.status);
    if (process.platform === "linux") expect(followed.body).toBe("a");
    expect((await client.get("/n/link.txt").response()).status).toBe(404);
    expect((await client.get("/n/a.txt").response()).body).toBe("a");
  });

  it.skipIf(mkfifo === undefined)("refuses FIFOs, which could block it, with 403", async () => {
    const server = await serving();
    execFileSync(mkfifo ?? "", [at("fifo")]);
    const client = await wire(server);
    expect((await client.get("/d/fifo").response()).status).toBe(403);
  });
});
