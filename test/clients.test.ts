// Streams both ways with the clients that people have: curl, undici and Chromium.
import { createHash, randomBytes } from "node:crypto";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { brotliCompressSync, gzipSync } from "node:zlib";
import { request } from "undici";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { dir, raw, type Server } from "../src/index.ts";
import { Browser, browserPath, type Page } from "./support/browser.ts";
import { Child } from "./support/child.ts";
import { seenParts, sha256Of } from "./support/forms.ts";
import { onEachHost, portOf } from "./support/hosts.ts";
import { programNamed } from "./support/programs.ts";
import { KIB, MIB } from "./support/streaming.ts";
import { gate, until } from "./support/until.ts";

const curl = programNamed("curl");
const LARGE = process.env["MILLRACE_SANITIZED"] ? 10 * MIB : 100 * MIB;
const TEXT = "Rye, oats and barley. ".repeat(2000);
const WHEN = new Date("2020-02-02T02:02:02Z");

for (const [name, path] of [
  ["curl", curl],
  ["chromium", browserPath],
]) {
  if (path === undefined)
    process.stderr.write(`clients.test.ts: no ${name} here, so its tests are skipped\n`);
}

let folder = "";
let content: Buffer = Buffer.alloc(0);
let digest = "";

beforeAll(() => {
  folder = fs.mkdtempSync(join(tmpdir(), "millrace-clients-"));
  fs.mkdirSync(join(folder, "public"));
  content = randomBytes(LARGE);
  digest = sha256Of(content);
  fs.writeFileSync(join(folder, "large.bin"), content);
  fs.writeFileSync(join(folder, "small.bin"), content.subarray(0, 300_000));
  fs.writeFileSync(join(folder, "public/file.bin"), content.subarray(0, 3 * MIB));
  fs.writeFileSync(join(folder, "public/text.txt"), TEXT);
  fs.utimesSync(join(folder, "public/text.txt"), WHEN, WHEN);
  fs.writeFileSync(join(folder, "public/text.txt.br"), brotliCompressSync(TEXT));
  fs.writeFileSync(join(folder, "public/text.txt.gz"), gzipSync(TEXT));
});
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

async function digestOf(chunks: AsyncIterable<Uint8Array>): Promise<string> {
  const hash = createHash("sha256");
  let size = 0;
  for await (const chunk of chunks) {
    hash.update(chunk);
    size += chunk.length;
  }
  return `${size} ${hash.digest("hex")}`;
}

const page = "<!doctype html><meta charset=utf-8><title>clients</title>";
const pieces = function* (size: number): Generator<Buffer> {
  for (let at = 0; at < size; at += 60_000) yield content.subarray(at, Math.min(at + 60_000, size));
};

onEachHost(({ start }) => {
  const said: string[] = [];

  /** Everything that the clients below ask for. */
  async function serving(more = {}): Promise<{ server: Server; url: string }> {
    said.length = 0;
    const server = await start({
      routes: {
        "/": new Response(page, { headers: { "content-type": "text/html" } }),
        "/up": {
          PUT: raw(async (req, res) => {
            const framing = req.contentLength === undefined ? "chunked" : "sized";
            res.end(`${framing} ${await digestOf(req)}`);
          }),
          POST: raw(async (req, res) => {
            try {
              res.end(await digestOf(req));
            } catch (error) {
              said.push((error as { code: string }).code);
              throw error;
            }
          }),
          body: "stream",
          maxBodySize: 2 * LARGE,
        },
        "/form": {
          POST: raw(async (req, res) => void res.json(await seenParts(req))),
          body: "stream",
          maxBodySize: 20 * MIB,
        },
        "/large": raw((_req, res) => res.stream(pieces(LARGE))),
        "/some": raw((_req, res) => res.stream(pieces(300_000))),
        "/s/**": dir(join(folder, "public")),
        ...more,
      },
    });
    return { server, url: `http://127.0.0.1:${portOf(server)}` };
  }

  /** What curl prints; its messages are in `errors`. */
  async function curled(...words: readonly string[]): Promise<{ out: string; errors: string }> {
    const child = new Child(curl ?? "curl", ["-sS", ...words]);
    const { code } = await child.exited;
    expect(code, child.errors).toBe(0);
    return { out: child.output, errors: child.errors };
  }

  describe.skipIf(curl === undefined)("curl", () => {
    it("uploads 100 MiB with -T, and downloads as much", async () => {
      const { url } = await serving();
      const { out } = await curled("-T", join(folder, "large.bin"), `${url}/up`);
      expect(out).toBe(`sized ${LARGE} ${digest}`);
      const path = join(folder, "down");
      await curled("-o", path, `${url}/large`);
      expect(sha256Of(fs.readFileSync(path))).toBe(digest);
    });

    it("uploads in chunks", async () => {
      const { url } = await serving();
      const words = ["-H", "Transfer-Encoding: chunked", "-T", join(folder, "large.bin")];
      expect((await curled(...words, `${url}/up`)).out).toBe(`chunked ${LARGE} ${digest}`);
      // From a pipe, whose length nobody knows.
      const piped = new Child(
        "/bin/sh",
        ["-c", `"$1" -sS -T - "$2" < "$3"`, "sh", curl ?? ""].concat([
          `${url}/up`,
          join(folder, "small.bin"),
        ]),
      );
      await piped.exited;
      const part = sha256Of(content.subarray(0, 300_000));
      expect(piped.output).toBe(`chunked 300000 ${part}`);
    });

    it("waits for 100 Continue, which comes when the handler begins to read", async () => {
      const begun = gate();
      const go = gate();
      const { url, server } = await serving({
        "/expect": {
          PUT: raw(async (req, res) => {
            begun.open();
            await go.promise;
            res.end(await digestOf(req));
          }),
          body: "stream",
        },
        "/no": { PUT: raw((_req, res) => void res.status(403).end("no")), body: "stream" },
      });
      const words = ["-sS", "-v", "--expect100-timeout", "60", "-H", "Expect: 100-continue"];
      const up = [...words, "-T", join(folder, "small.bin")];
      const child = new Child(curl ?? "curl", [...up, `${url}/expect`]);
      await begun.promise;
      await until("curl has sent its head", () => child.errors.includes("> Expect: 100-continue"));
      expect(server.metrics.responses["1xx"]).toBe(0);
      expect(child.errors).not.toContain("100 Continue");
      go.open();
      await child.exited;
      expect(child.errors).toContain("< HTTP/1.1 100 Continue");
      expect(child.output).toBe(`300000 ${sha256Of(content.subarray(0, 300_000))}`);
      const refused = await curled(...up.slice(1), `${url}/no`);
      expect(refused.out).toBe("no");
      expect(refused.errors).not.toContain("100 Continue");
    });

    it("takes its time with --limit-rate, both ways", async () => {
      const { url } = await serving();
      const part = `300000 ${sha256Of(content.subarray(0, 300_000))}`;
      const slowly = ["--limit-rate", "300k"];
      const [up, down] = await Promise.all([
        curled(...slowly, "-T", join(folder, "small.bin"), `${url}/up`),
        curled(...slowly, "-o", join(folder, "slow"), "-w", "%{size_download}", `${url}/some`),
      ]);
      expect(up.out).toBe(`sized ${part}`);
      expect(down.out).toBe("300000");
      expect(fs.readFileSync(join(folder, "slow")).equals(content.subarray(0, 300_000))).toBe(true);
    });

    it("goes on with a download where it broke off (-C -), and takes ranges (-r)", async () => {
      const { url } = await serving();
      const whole = fs.readFileSync(join(folder, "public/file.bin"));
      const path = join(folder, "resumed");
      fs.writeFileSync(path, whole.subarray(0, 1_234_567));
      const words = ["-C", "-", "-o", path, "-w", "%{http_code} %{size_download}"];
      const { out } = await curled(...words, `${url}/s/file.bin`);
      expect(out).toBe(`206 ${whole.length - 1_234_567}`);
      expect(fs.readFileSync(path).equals(whole)).toBe(true);
      const ranged = await curled("-r", "5-21", "-w", " %{http_code}", `${url}/s/text.txt`);
      expect(ranged.out).toBe(`${TEXT.slice(5, 22)} 206`);
      const tail = await curled("-r", "-7", `${url}/s/text.txt`);
      expect(tail.out).toBe(TEXT.slice(-7));
      const several = await curled("-i", "-r", "0-3,5-9", `${url}/s/text.txt`);
      expect(several.out).toMatch(/^HTTP\/1\.1 206 Partial Content\r\n/);
      const second = `bytes 5-9/${TEXT.length}\r\n\r\n${TEXT.slice(5, 10)}\r\n--`;
      expect(several.out).toContain(second);
    });

    it("speaks HTTP/1.0: bodies end with the connection, or have a length", async () => {
      const { url } = await serving();
      const path = join(folder, "old");
      const words = ["--http1.0", "-D", "-", "-o", path];
      const { out } = await curled(...words, `${url}/some`);
      expect(out.toLowerCase()).not.toContain("transfer-encoding");
      expect(out.toLowerCase()).toContain("connection: close");
      expect(fs.readFileSync(path).equals(content.subarray(0, 300_000))).toBe(true);
      await curled(...words, `${url}/s/file.bin`);
      expect(fs.readFileSync(path).equals(content.subarray(0, 3 * MIB))).toBe(true);
      const up = await curled("--http1.0", "-T", join(folder, "small.bin"), `${url}/up`);
      expect(up.out).toBe(`sized 300000 ${sha256Of(content.subarray(0, 300_000))}`);
    });

    it("gets the precompressed file with --compressed, and 304 with -z", async () => {
      const { url } = await serving();
      const packed = await curled("--compressed", "-w", "%{size_download}", `${url}/s/text.txt`);
      const sizes = ["br", "gz"].map((each) => {
        return fs.statSync(join(folder, `public/text.txt.${each}`)).size;
      });
      expect(packed.out.startsWith(TEXT)).toBe(true);
      expect(sizes).toContain(Number(packed.out.slice(TEXT.length)));
      const code = ["-o", "/dev/null", "-w", "%{http_code}"];
      const since = (when: string) => curled(...code, "-z", when, `${url}/s/text.txt`);
      expect((await since("Sun, 02 Feb 2020 02:02:02 GMT")).out).toBe("304");
      expect((await since("Sun, 02 Feb 2020 02:02:01 GMT")).out).toBe("200");
      expect((await since("-Sun, 02 Feb 2020 02:02:01 GMT")).out).toBe("412");
    });
  });

  it("takes what undici streams, and knows when it breaks off", async () => {
    const { url, server } = await serving();
    const size = 10 * MIB;
    const body = Readable.from(pieces(size));
    const answer = await request(`${url}/up`, { method: "POST", body });
    expect(await answer.body.text()).toBe(`${size} ${sha256Of(content.subarray(0, size))}`);
    const controller = new AbortController();
    const endless = async function* (): AsyncGenerator<Buffer> {
      for (;;) {
        yield Buffer.alloc(64 * KIB);
        if (server.metrics.bytesIn > size + 5 * MIB) controller.abort();
        await new Promise(setImmediate);
      }
    };
    const broken = request(`${url}/up`, {
      method: "POST",
      body: Readable.from(endless()),
      signal: controller.signal,
    });
    await expect(broken).rejects.toThrow();
    await until("the handler knows", () => said.length === 1);
    // It destroys its socket, for which the kernel sends an end or a reset.
    expect(["ERR_MILLRACE_ABORTED", "ERR_MILLRACE_INCOMPLETE"]).toContain(said[0]);
    const { aborted } = server.metrics;
    const download = await request(`${url}/large`);
    for await (const _chunk of download.body) break; // destroys it
    await until("nothing is in flight", () => server.metrics.inFlight === 0);
    expect(server.metrics.aborted).toBe(aborted + 1);
  });

  describe.skipIf(browserPath === undefined)("Chromium", { timeout: 60_000 }, () => {
    async function opened(url: string): Promise<Page> {
      const browser = new Browser();
      onTestFinished(() => browser.close());
      const tab = await browser.open(`${url}/`);
      await until("the page is there", async () => {
        return (await tab.value("document.title").catch(() => "")) === "clients";
      });
      return tab;
    }

    it("posts a FormData with several files, and reads a stream as it comes", async () => {
      const next = gate();
      const { url } = await serving({
        "/steps": raw(async (_req, res) => {
          res.write("first");
          await next.promise;
          res.end("second");
        }),
        "/next": raw((_req, res) => {
          next.open();
          res.end();
        }),
      });
      const tab = await opened(url);
      const seen = await tab.value(`(async () => {
        const form = new FormData();
        const bytes = new Uint8Array(2_000_000).fill(7);
        form.append("files", new Blob([bytes], { type: "image/png" }), 'a "b" é.png');
        form.append("note", "zwei\\nZeilen");
        form.append("files", new Blob(["text"], { type: "text/plain" }), "c.txt");
        form.append("files", new Blob([]), "empty");
        const answer = await fetch("/form", { method: "POST", body: form });
        return answer.json();
      })()`);
      const empty = sha256Of("");
      expect(seen).toEqual([
        {
          name: "files",
          filename: 'a "b" é.png',
          type: "image/png",
          size: 2_000_000,
          sha256: sha256Of(Buffer.alloc(2_000_000, 7)),
        },
        {
          name: "note",
          filename: null,
          type: "text/plain",
          size: 12,
          sha256: sha256Of("zwei\r\nZeilen"),
        },
        { name: "files", filename: "c.txt", type: "text/plain", size: 4, sha256: sha256Of("text") },
        {
          name: "files",
          filename: "empty",
          type: "application/octet-stream",
          size: 0,
          sha256: empty,
        },
      ]);
      // The second piece is only sent when the page has read the first.
      const read = await tab.value(`(async () => {
        const reader = (await fetch("/steps")).body.getReader();
        const texts = [];
        for (;;) {
          const { done, value } = await reader.read();
          if (done) return texts;
          texts.push(new TextDecoder().decode(value));
          if (texts.length === 1) await fetch("/next");
        }
      })()`);
      expect(read).toEqual(["first", "second"]);
      const sum = await tab.value(`(async () => {
        const reader = (await fetch("/some")).body.getReader();
        let size = 0;
        for (;;) {
          const { done, value } = await reader.read();
          if (done) return size;
          size += value.length;
        }
      })()`);
      expect(sum).toBe(300_000);
    });

    it("leaves in the middle of a download, which aborts it", async () => {
      const { url, server } = await serving();
      const tab = await opened(url);
      await tab.value(`(async () => {
        const controller = new AbortController();
        const answer = await fetch("/large", { signal: controller.signal });
        await answer.body.getReader().read();
        controller.abort();
      })()`);
      await until("the handler knows", () => server.metrics.aborted === 1);
      expect(server.metrics.bytesOut).toBeLessThan(LARGE);
    });
  });
});
