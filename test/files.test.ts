// Files over real sockets: routes, conditions, ranges, folders, and what must never be reached.
import { createHash, randomBytes } from "node:crypto";
import {
  appendFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { request } from "undici";
import { afterAll, beforeAll, expect, it } from "vitest";
import { dir, file, type MillraceError, raw } from "../src/index.ts";
import { onEachHost, portOf } from "./support/hosts.ts";
import { until } from "./support/until.ts";
import { wire } from "./support/wire.ts";

const HUNDRED = Array.from({ length: 10 }, (_, i) => `line ${i}...\n`.slice(-10)).join("");
const WHEN = new Date("1994-11-06T08:49:37Z");
const STAMP = "Sun, 06 Nov 1994 08:49:37 GMT";
let root = "";
let large: Buffer = Buffer.alloc(0);

beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "millrace-files-"));
  const at = (name: string): string => join(root, "public", name);
  mkdirSync(at("sub/deeper"), { recursive: true });
  mkdirSync(at(".well-known"));
  mkdirSync(at(".git"));
  writeFileSync(at("hundred.txt"), HUNDRED);
  utimesSync(at("hundred.txt"), WHEN, WHEN);
  writeFileSync(at("sub/index.html"), "<p>sub");
  writeFileSync(at("a b.txt"), "spaced");
  writeFileSync(at("empty.txt"), "");
  writeFileSync(at(".well-known/x"), "known");
  writeFileSync(at(".git/config"), "secret");
  writeFileSync(join(root, "outside.txt"), "secret");
  symlinkSync(join(root, "outside.txt"), at("absolute-link"));
  symlinkSync("../outside.txt", at("leaving-link"));
  symlinkSync("hundred.txt", at("inner-link.txt"));
  symlinkSync("../..", at("sub/up"));
  large = randomBytes(6_000_000);
  writeFileSync(at("large.bin"), large);
  writeFileSync(at("app.js"), "plain();");
  for (const [extension, text] of [
    ["br", "brotli"],
    ["gz", "gzip"],
    ["zst", "zstandard"],
  ])
    writeFileSync(at(`app.js.${extension}`), text as string);
});
afterAll(() => rmSync(root, { recursive: true }));

onEachHost(({ start }) => {
  const serveAll = () =>
    start({
      routes: {
        "/one": file(join(root, "public/hundred.txt"), { headers: { "X-One": "1" } }),
        "/missing": file(join(root, "nothing")),
        "/s/**": dir(join(root, "public")),
        "/denied/**": dir(join(root, "public"), { dotfiles: "deny", index: false }),
        "/hand/*": raw((req, res) =>
          res.file(req.params["*"] ?? "", { root: join(root, "public") }),
        ),
        "/dots/*": raw((req, res) =>
          res.file(req.params["*"] ?? "", {
            root: join(root, "public"),
            dotfiles: req.query.get("dotfiles") as "allow",
            followLinks: false,
          }),
        ),
        "/plain": raw((_req, res) => res.file(join(root, "public/large.bin"))),
        "/gone": raw(async (_req, res) => {
          try {
            await res.header("X-A", "1").file(join(root, "nothing"));
          } catch (error) {
            res.status(404).end((error as MillraceError).code);
          }
        }),
        "/tagged": file(join(root, "public/hundred.txt"), { headers: { ETag: '"own"' } }),
        "/hand-tagged": raw((_req, res) =>
          res.header("etag", '"own"').file(join(root, "public/hundred.txt")),
        ),
        "/404": raw((_req, res) => res.status(404).file(join(root, "public/hundred.txt"))),
      },
      // CONNECT, which no pattern matches.
      notFound: raw((_req, res) => res.status(200).file(join(root, "public/hundred.txt"))),
    });

  it("serves a file with its validators, type and length", async () => {
    const server = await serveAll();
    const client = await wire(server);
    for (const path of ["/one", "/s/hundred.txt", "/hand/hundred.txt", "/s/inner-link.txt"]) {
      client.get(path);
      const { status, headers, body } = await client.response();
      expect([path, status, body]).toEqual([path, 200, HUNDRED]);
      expect(headers.get("content-type")).toBe("text/plain; charset=utf-8");
      expect(headers.get("last-modified")).toBe(STAMP);
      expect(headers.get("accept-ranges")).toBe("bytes");
      expect(headers.get("etag")).toMatch(/^"[0-9a-f]+-[0-9a-f]+"$/);
      expect(headers.get("x-one")).toBe(path === "/one" ? "1" : undefined);
      client.send(`HEAD ${path} HTTP/1.1\r\nHost: a\r\n\r\n`);
      const head = await client.response(true);
      expect([head.status, head.headers.get("content-length")]).toEqual([200, "100"]);
    }
    for (const [path, body] of [
      ["/s/a%20b.txt", "spaced"],
      ["/s/empty.txt", ""],
      ["/s/sub/", "<p>sub"],
      ["/s/.well-known/x", "known"],
      ["/s//hundred.txt", HUNDRED],
    ]) {
      client.get(path as string);
      const answer = await client.response();
      expect([path, answer.status, answer.body]).toEqual([path, 200, body]);
    }
  });

  it("compares conditions with the application's own ETag", async () => {
    const server = await serveAll();
    const client = await wire(server);
    for (const path of ["/tagged", "/hand-tagged"]) {
      for (const [lines, status] of [
        ['If-None-Match: "own"', 304],
        ['If-None-Match: "other"', 200],
        ['If-Match: "own"', 200],
        ['If-Match: "other"', 412],
        ['If-Range: "own"\r\nRange: bytes=0-9', 206],
        ['If-Range: "other"\r\nRange: bytes=0-9', 200],
      ] as const) {
        client.send(`GET ${path} HTTP/1.1\r\nHost: a\r\n${lines}\r\n\r\n`);
        const answer = await client.response();
        expect([path, lines, answer.status]).toEqual([path, lines, status]);
        if (status !== 412) expect(answer.headers.get("etag")).toBe('"own"');
      }
    }
  });

  it("answers CONNECT with a file's head alone, and without a length", async () => {
    const server = await serveAll();
    const client = await wire(server);
    client.send("CONNECT a.test:80 HTTP/1.1\r\nHost: a.test:80\r\n\r\n");
    await client.end();
    expect(client.buffer.startsWith("HTTP/1.1 200 OK\r\n")).toBe(true);
    expect(client.buffer.split("\r\n\r\n").slice(1)).toEqual([""]);
    expect(client.buffer).not.toMatch(/content-length/i);
  });

  it("judges conditions and ranges as RFC 9110 13 and 14 say", async () => {
    const server = await serveAll();
    const client = await wire(server);
    const ask = async (lines: string, method = "GET") => {
      client.send(`${method} /one HTTP/1.1\r\nHost: a\r\n${lines}\r\n`);
      return client.response(method === "HEAD");
    };
    const tag = (await ask("")).headers.get("etag") as string;
    const before = "Sun, 06 Nov 1994 08:49:36 GMT";
    const after = "Sun, 06 Nov 1994 08:49:38 GMT";
    const table: readonly (readonly [string, number])[] = [
      [`If-Match: ${tag}\r\n`, 200],
      ["If-Match: *\r\n", 200],
      ['If-Match: "x"\r\n', 412],
      [`If-Match: W/${tag}\r\n`, 412],
      [`If-None-Match: ${tag}\r\n`, 304],
      [`If-None-Match: "x", W/${tag}\r\n`, 304],
      [`If-None-Match: "x"\r\nIf-None-Match: ${tag}\r\n`, 304],
      ['If-None-Match: "x"\r\n', 200],
      [`If-Modified-Since: ${STAMP}\r\n`, 304],
      ["If-Modified-Since: Sunday, 06-Nov-94 08:49:37 GMT\r\n", 304],
      [`If-Modified-Since: ${before}\r\n`, 200],
      ["If-Modified-Since: junk\r\n", 200],
      [`If-Unmodified-Since: ${after}\r\n`, 200],
      [`If-Unmodified-Since: ${before}\r\n`, 412],
      [`If-None-Match: "x"\r\nIf-Modified-Since: ${STAMP}\r\n`, 200],
      [`If-None-Match: ${tag}\r\nRange: bytes=0-0\r\n`, 304],
      ["Range: bytes=0-9\r\n", 206],
      ["Range: bytes=100-\r\n", 416],
      ["Range: bytes=-0\r\n", 416],
      ["Range: lines=0-1\r\n", 200],
      ["Range: bytes=9-5\r\n", 200],
      [`If-Range: ${tag}\r\nRange: bytes=0-9\r\n`, 206],
      [`If-Range: ${STAMP}\r\nRange: bytes=0-9\r\n`, 206],
      [`If-Range: W/${tag}\r\nRange: bytes=0-9\r\n`, 200],
      [`If-Range: ${after}\r\nRange: bytes=0-9\r\n`, 200],
    ];
    for (const [lines, status] of table) {
      const answer = await ask(lines);
      expect([lines, answer.status]).toEqual([lines, status]);
      if (status === 206) {
        expect(answer.body).toBe(HUNDRED.slice(0, 10));
        expect(answer.headers.get("content-range")).toBe("bytes 0-9/100");
      }
      if (status === 304) expect(answer.headers.get("etag")).toBe(tag);
      if (status === 416) expect(answer.headers.get("content-range")).toBe("bytes */100");
    }
    expect((await ask("Range: bytes=0-9\r\n", "HEAD")).status).toBe(200);
    expect((await ask("Range: bytes=-5\r\n")).body).toBe(HUNDRED.slice(-5));
    const several = await ask("Range: bytes=4-5,0-1\r\n");
    const boundary = /boundary=(\S+)/.exec(several.headers.get("content-type") ?? "")?.[1];
    expect(several.status).toBe(206);
    const parts = [
      [0, 1],
      [4, 5],
    ].map(([from = 0, to = 0]) => {
      const type = "Content-Type: text/plain; charset=utf-8";
      const part = HUNDRED.slice(from, to + 1);
      const range = `Content-Range: bytes ${from}-${to}/100`;
      return `--${boundary}\r\n${type}\r\n${range}\r\n\r\n${part}\r\n`;
    });
    expect(several.body).toBe([...parts, `--${boundary}--\r\n`].join(""));
  });

  it("never leaves its folder, nor shows what is hidden", async () => {
    const server = await serveAll();
    const client = await wire(server);
    const table: readonly (readonly [string, number])[] = [
      ["/s/../outside.txt", 404],
      ["/s/%2e%2e/outside.txt", 404],
      ["/s/..%2foutside.txt", 404],
      ["/s/sub/../../outside.txt", 404],
      ["/s/absolute-link", 404],
      ["/s/leaving-link", 404],
      ["/s/sub/up/outside.txt", 404],
      ["/s/.git/config", 404],
      ["/denied/.git/config", 403],
      ["/s/a%00", 400],
      ["/s/%zz", 400],
      ["/s/hundred.txt/", 404],
      ["/s/hundred.txt/x", 404],
      ["/s/nothing", 404],
      ["/s/", 404],
      ["/denied/sub/", 404],
      ["/missing", 404],
      ["/hand/absolute-link", 404],
      ["/hand/sub%2F..%2F.git%2Fconfig", 404],
      ["/hand/.git%2Fconfig", 404],
      ["/hand/%2Fetc%2Fpasswd", 404],
      ["/hand/a%00b", 404],
      ["/hand/..%2Foutside.txt", 404],
      ["/dots/.git%2Fconfig?dotfiles=deny", 403],
      ["/dots/inner-link.txt?dotfiles=deny", 404],
      ["/dots/..%2Foutside.txt?dotfiles=allow", 404],
      [`/s/${"x".repeat(256)}`, 404],
    ];
    for (const [path, status] of table) {
      client.get(path);
      const answer = await client.response();
      expect([path, answer.status, answer.body.includes("secret")]).toEqual([path, status, false]);
    }
    for (const [path, to] of [
      ["/s/sub", "/s/sub/"],
      ["/s/sub?a=b", "/s/sub/?a=b"],
    ] as const) {
      client.get(path);
      const { status, headers } = await client.response();
      expect([path, status, headers.get("location")]).toEqual([path, 301, to]);
    }
  });

  it("sends the precompressed file that the client prefers", async () => {
    const server = await serveAll();
    const client = await wire(server);
    const tags = new Set<string>();
    for (const [accepts, encoding, body] of [
      ["gzip, deflate, br, zstd", "br", "brotli"],
      ["br;q=0.5, gzip", "gzip", "gzip"],
      ["zstd", "zstd", "zstandard"],
      ["identity, gzip;q=0.5", undefined, "plain();"],
      ["deflate", undefined, "plain();"],
    ] as const) {
      client.get("/s/app.js", `Accept-Encoding: ${accepts}\r\n`);
      const answer = await client.response();
      expect([answer.headers.get("content-encoding"), answer.body]).toEqual([encoding, body]);
      expect(answer.headers.get("content-type")).toBe("text/javascript; charset=utf-8");
      expect(answer.headers.get("vary")).toBe("Accept-Encoding");
      tags.add((answer.headers.get("etag") ?? "").replace("W/", ""));
    }
    expect(tags.size).toBe(4);
  });

  it("takes a file for what the handler says of its coding", async () => {
    const server = await start({
      handler: (_req, res) =>
        res.header("content-encoding", "br").file(join(root, "public/app.js")),
    });
    const client = await wire(server);
    client.get("/", "Accept-Encoding: gzip\r\n");
    const { headers, body } = await client.response();
    expect([headers.get("content-encoding"), body]).toEqual(["br", "plain();"]);
  });

  it("sends large files whole, in ranges, and pipelined in order", async () => {
    const server = await serveAll();
    const url = `http://127.0.0.1:${portOf(server)}`;
    const sha = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");
    for (const path of ["/s/large.bin", "/plain", "/hand/large.bin"]) {
      const whole = await request(url + path);
      expect(sha(new Uint8Array(await whole.body.arrayBuffer()))).toBe(sha(large));
      const part = await request(url + path, { headers: { Range: "bytes=1000000-5999998" } });
      expect(part.statusCode).toBe(206);
      expect(sha(new Uint8Array(await part.body.arrayBuffer()))).toBe(
        sha(large.subarray(1_000_000, 5_999_999)),
      );
    }
    const client = await wire(server);
    client.get("/s/large.bin").get("/one").get("/s/nothing").get("/plain").get("/hand/hundred.txt");
    const sizes = [];
    for (let i = 0; i < 5; i += 1) sizes.push((await client.response()).body.length);
    expect(sizes).toEqual([large.length, 100, 10, large.length, 100]);
  });

  it("lets a handler answer otherwise without a file, and sends error pages whole", async () => {
    const server = await serveAll();
    const client = await wire(server);
    client.get("/gone");
    const gone = await client.response();
    expect([gone.status, gone.body]).toEqual([404, "ERR_MILLRACE_FILE_NOT_FOUND"]);
    client.get("/hand/nothing");
    expect((await client.response()).status).toBe(404);
    client.get("/404", "Range: bytes=0-1\r\n");
    const page = await client.response();
    expect([page.status, page.body]).toEqual([404, HUNDRED]);
  });

  it("cuts the connection when a file shrinks while it is sent", async () => {
    const server = await serveAll();
    const path = join(root, "public/shrinking.bin");
    writeFileSync(path, Buffer.alloc(40_000_000));
    const client = await wire(server);
    client.socket.pause();
    client.get("/s/shrinking.bin");
    await until("it is being sent", () => server.metrics.bytesOut > 100_000);
    truncateSync(path, 10);
    client.socket.resume();
    await client.end();
    expect(client.buffer.length).toBeLessThan(40_000_000);
    appendFileSync(path, "x");
    const next = await wire(server);
    next.get("/s/shrinking.bin");
    expect((await next.response()).body.length).toBe(11);
  });

  it("leaves nothing behind when clients vanish in the middle of files", async () => {
    const server = await serveAll();
    for (let round = 0; round < 10; round += 1) {
      const clients = await Promise.all(Array.from({ length: 10 }, () => wire(server)));
      for (const client of clients) {
        client.socket.pause();
        client.get("/s/large.bin").get("/plain").get("/one");
      }
      await until("all are being sent", () => (server.metrics.counters["files"] ?? 0) >= 5);
      for (const client of clients) client.reset();
      await until("all are gone", () => server.metrics.connections === 0);
    }
    expect(server.metrics.counters["files"]).toBe(0);
  });

  it("holds one descriptor per connection, however much is pipelined", async () => {
    const server = await serveAll();
    const open = (): number => readdirSync("/proc/self/fd").length;
    const client = await wire(server);
    client.socket.pause();
    const before = open();
    const ranges = Array.from({ length: 16 }, (_, i) => `${i * 300_000}-${i * 300_000 + 200_000}`);
    for (let i = 0; i < 64; i += 1)
      client.get("/s/large.bin", i % 2 === 0 ? "" : `Range: bytes=${ranges.join(",")}\r\n`);
    await until("one is being sent", () => (server.metrics.counters["files"] ?? 0) > 0);
    await until("all have come", () => server.metrics.requests === 64);
    expect(open() - before).toBeLessThan(4);
    client.reset();
    await until("it is gone", () => server.metrics.connections === 0);
  });

  it("answers a thousand refused paths behind a slow answer, one by one", async () => {
    let go: () => void = () => undefined;
    const gate = new Promise<void>((resolve) => (go = resolve));
    const server = await start({
      limits: { maxBufferedBytes: 2 ** 30, maxPipelined: 1024 },
      routes: {
        "/slow": raw(async (_req, res) => {
          await gate;
          res.end("slow");
        }),
        "/s/**": dir(join(root, "public")),
      },
    });
    const client = await wire(server);
    client.send(`GET /slow HTTP/1.1\r\nHost: a\r\n\r\n`);
    client.send("GET /s/.git/config HTTP/1.1\r\nHost: a\r\n\r\n".repeat(1000));
    await until("all have come", () => server.metrics.requests === 1001);
    go();
    expect((await client.response()).body).toBe("slow");
    for (let i = 0; i < 1000; i += 1) expect((await client.response()).status).toBe(404);
  });

  it("serves names with a dot, and names files for download, when it is asked to", async () => {
    const at = join(root, "public/hundred.txt");
    const below = { root: join(root, "public") };
    const server = await start({
      routes: {
        "/dot": raw((_req, res) => res.file(".git/config", { ...below, dotfiles: "allow" })),
        "/save": file(at, { download: true }),
        "/saved": raw((_req, res) => res.file("hundred.txt", { ...below, download: true })),
        "/named": raw((_req, res) => res.file(at, { download: 'a "€"/*.txt' })),
        "/own": raw((_req, res) =>
          res.header("Content-Disposition", "inline").file(at, { download: true }),
        ),
        "/encoded": file(join(root, "public/app.js"), { headers: { "Content-Encoding": "x" } }),
        "/wrong": raw((_req, res) => res.file(at, { dotfiles: "allow" })),
        "/split": raw((_req, res) => res.file(at, { download: "a\r\nb" })),
      },
    });
    const client = await wire(server);
    client.get("/dot");
    expect((await client.response()).body).toBe("secret");
    for (const [path, disposition] of [
      ["/save", 'attachment; filename="hundred.txt"'],
      ["/saved", 'attachment; filename="hundred.txt"'],
      [
        "/named",
        "attachment; filename=\"a ____*.txt\"; filename*=UTF-8''a%20%22%E2%82%AC%22%2F%2A.txt",
      ],
      ["/own", "inline"],
      ["/split", "attachment; filename=\"a__b\"; filename*=UTF-8''a%0D%0Ab"],
    ]) {
      client.get(`${path}`);
      const { headers, body } = await client.response();
      expect([path, body, headers.get("content-disposition")]).toEqual([
        path,
        HUNDRED,
        disposition,
      ]);
    }
    client.get("/encoded", "Accept-Encoding: br\r\n");
    const { headers, body } = await client.response();
    expect([headers.get("content-encoding"), body]).toEqual(["x", "plain();"]);
    client.get("/wrong");
    expect((await client.response()).status).toBe(500);
    for (const options of [
      { download: "" },
      { download: 1 as unknown as string },
      { precompressed: true, headers: { "content-encoding": "br" } },
    ])
      expect(() => file(at, options)).toThrow(/ERR_MILLRACE|download|precompressed/);
  });

  it("says Vary besides the application, and judges no conditions of other methods", async () => {
    const server = await start({
      routes: {
        "/s/**": dir(join(root, "public"), { headers: { Vary: "Origin" } }),
        "/any": raw((_req, res) => res.file(join(root, "public/hundred.txt"))),
        "/none": raw(async (_req, res) => {
          await res.status(204).file(join(root, "public/hundred.txt"));
        }),
        "/nul": raw(async (_req, res) => {
          const path = new URL(`file://${root}/public/hundred.txt%00.png`);
          await res.file(path as unknown as string);
        }),
      },
    });
    const client = await wire(server);
    client.get("/s/app.js", "Accept-Encoding: gzip\r\n");
    expect((await client.response()).headers.get("vary")).toBe("Origin\nAccept-Encoding");
    client.send("POST /any HTTP/1.1\r\nHost: a\r\nRange: bytes=0-1\r\nIf-None-Match: *\r\n\r\n");
    expect((await client.response()).body).toBe(HUNDRED);
    for (const path of ["/none", "/nul"]) {
      client.get(path);
      expect([path, (await client.response()).status]).toEqual([path, 500]);
    }
    client.get("/any");
    expect((await client.response()).body).toBe(HUNDRED);
  });
});
