// res.accel() and accel(): which fields they make, and a real nginx that sends the files.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { type AccelOptions, accel, raw, type Server } from "../src/index.ts";
import { onEachHost, portOf } from "./support/hosts.ts";
import { type Nginx, nginxPath, startNginx } from "./support/nginx.ts";
import { Wire } from "./support/wire.ts";

const skipped = process.env["MILLRACE_SKIP_NGINX"] && nginxPath === undefined;

function fields(uri: string, options?: AccelOptions): Record<string, string> {
  return Object.fromEntries(accel(uri, options).headers);
}

describe("accel()", () => {
  it.each([
    ["/internal/a.pdf", "/internal/a.pdf"],
    ["/internal/a b.pdf", "/internal/a%20b.pdf"],
    ["/internal/ü€😀", "/internal/%C3%BC%E2%82%AC%F0%9F%98%80"],
    ["/internal/100%25?x=1&y=a b#z", "/internal/100%25?x=1&y=a%20b%23z"],
    ["/internal/a#b/c", "/internal/a%23b/c"],
    ["/internal/a?x=/../b", "/internal/a?x=/../b"],
    ['/a"<>\\^`{|}', "/a%22%3C%3E%5C%5E%60%7B%7C%7D"],
    ["/a/..b/.c/d..", "/a/..b/.c/d.."],
    ["/", "/"],
  ])("writes %j as %s", (uri, value) => {
    expect(fields(uri)).toEqual({ "x-accel-redirect": value });
  });

  it.each([
    "",
    "a",
    "@named",
    "http://a/",
    "/a/../b",
    "/..",
    "/a/./b",
    "/a/.",
    "/a/%2e%2E/b",
    "/a%2f..%2Fb",
    "/a/..?x",
    "/a#/../../b",
    "/a%3f/../b",
    "/a\r\nX: y",
    "/a\0",
    "/a%0d%0aX: y",
    "/a%00",
    "/a%7f",
    "/100%",
    "/%zz",
    "/\ud800",
    undefined,
    7,
  ])("refuses %j", (uri) => {
    expect(() => accel(uri as string)).toThrow(
      expect.objectContaining({ code: "ERR_MILLRACE_INVALID_OPTION" }),
    );
  });

  it("tells nginx the rest", () => {
    const options = {
      buffering: false,
      charset: "utf-8",
      download: "a.pdf",
      expires: 60,
      limitRate: 1024,
      type: "application/pdf",
    };
    expect(fields("/a", options)).toEqual({
      "content-disposition": 'attachment; filename="a.pdf"',
      "content-type": "application/pdf",
      "x-accel-buffering": "no",
      "x-accel-charset": "utf-8",
      "x-accel-expires": "60",
      "x-accel-limit-rate": "1024",
      "x-accel-redirect": "/a",
    });
    const off = { buffering: true, download: false, expires: false, limitRate: false } as const;
    expect(fields("/a", off)).toEqual({
      "x-accel-buffering": "yes",
      "x-accel-expires": "0",
      "x-accel-limit-rate": "0",
      "x-accel-redirect": "/a",
    });
  });

  it("names what is saved, for every client", () => {
    const named = (download: boolean | string): string | undefined =>
      fields("/a", { download })["content-disposition"];
    expect(named(true)).toBe("attachment");
    expect(named('naïve "€" 100%.txt')).toBe(
      'attachment; filename="na_ve ___ 100_.txt"; ' +
        "filename*=UTF-8''na%C3%AFve%20%22%E2%82%AC%22%20100%25.txt",
    );
    expect(named("it's (1)*.txt")).toBe('attachment; filename="it\'s (1)*.txt"');
    expect(named("ä'(*)!")).toContain("filename*=UTF-8''%C3%A4%27%28%2A%29%21");
    expect(named("a\r\nX: y")).toContain('filename="a__X: y"');
  });

  it("speaks to Apache and lighttpd, too", () => {
    expect(fields("/srv/a b", { header: "X-Sendfile", type: "text/plain" })).toEqual({
      "content-type": "text/plain",
      "x-sendfile": "/srv/a%20b",
    });
    expect(fields("/srv/a", { header: "X-LIGHTTPD-send-file" })).toEqual({
      "x-lighttpd-send-file": "/srv/a",
    });
  });

  it("takes a question mark for a character of the path where there is no query", () => {
    for (const header of ["X-Sendfile", "X-LIGHTTPD-send-file"] as const) {
      expect(fields("/srv/a?b#c", { header })[header.toLowerCase()]).toBe("/srv/a%3Fb%23c");
      for (const path of ["/srv/a?/../../etc/passwd", "/srv/a#/../b", "/srv/a?x/.."])
        expect(() => accel(path, { header })).toThrow("without dot segments");
    }
  });

  it.each([
    [{ limitrate: 1 }, 'did you mean "limitRate"?'],
    [{ limitRate: 0 }, "accel() limitRate"],
    [{ limitRate: "1k" }, "accel() limitRate"],
    [{ buffering: "yes" }, "accel() buffering"],
    [{ charset: "a b" }, "accel() charset"],
    [{ expires: -1 }, "accel() expires"],
    [{ download: "" }, "accel() download"],
    [{ type: 5 }, "accel() type"],
    [{ type: "a\r\nb" }, "accel() type must have no control characters"],
    [{ type: "a\0b" }, "accel() type must have no control characters"],
    [{ type: "a/\u0100" }, "accel() type must have no control characters and none above U+00FF"],
    [{ header: "X-Send" }, "accel() header must be one of"],
    [{ header: "X-Sendfile", limitRate: 5 }, "accel() limitRate goes with X-Accel-Redirect only"],
  ])("refuses %j", (options, text) => {
    const failure = {
      code: "ERR_MILLRACE_INVALID_OPTION",
      message: expect.stringContaining(text) as string,
    };
    expect(() => accel("/a", options as AccelOptions)).toThrow(expect.objectContaining(failure));
  });
});

onEachHost(({ start }) => {
  it("ends the response, and keeps what was set before", async () => {
    const server = await start({
      handler: (_req, res) => {
        res.header("Cache-Control", "private").header("Content-Type", "a/b");
        expect(res.accel("/internal/a", { type: "c/d" })).toBe(true);
        expect(() => res.accel("/internal/a")).toThrow("has been ended");
      },
    });
    const client = new Wire({ port: portOf(server), host: "127.0.0.1" });
    const { status, headers, body } = await client.get("/").response();
    expect([status, body]).toEqual([200, ""]);
    const names = ["cache-control", "content-length", "content-type", "x-accel-redirect"];
    expect(names.map((name) => headers.get(name))).toEqual(["private", "0", "c/d", "/internal/a"]);
    client.close();
  });
});

describe.skipIf(skipped)("behind nginx", () => {
  let folder = "";
  beforeAll(() => {
    expect(nginxPath, "install nginx, or set MILLRACE_SKIP_NGINX=1").toBeDefined();
    folder = mkdtempSync(join(tmpdir(), "millrace-accel-"));
    mkdirSync(join(folder, "files"));
    writeFileSync(join(folder, "files", "a b ü.txt"), "0123456789".repeat(100));
    writeFileSync(join(folder, "files", "100%.txt"), "percent");
    writeFileSync(join(folder, "secret.txt"), "secret");
  });
  afterAll(() => {
    if (folder !== "") rmSync(folder, { recursive: true, force: true });
  });

  onEachHost(
    ({ start }) => {
      const upstream = (): Promise<Server> =>
        start({
          routes: {
            "/raw": raw((_req, res) => {
              const options = { type: "text/plain", limitRate: 1_000_000, charset: "utf-8" };
              res.cookie("seen", "1").accel("/internal/a b ü.txt", options);
            }),
            "/fetch": () =>
              accel(`/internal/${encodeURIComponent("100%.txt")}`, { download: true }),
            "/missing": () => accel("/internal/none"),
            "/escape": () => accel("/internal/..%2fsecret.txt"),
          },
        });
      async function proxied(): Promise<Nginx> {
        const server = await upstream();
        const nginx = await startNginx(
          1,
          ([port]) => `
            types { text/plain txt; }
            server {
              listen 127.0.0.1:${port};
              location / { proxy_pass http://127.0.0.1:${portOf(server)}; }
              location /known/ { charset utf-8; } # a charset has to be known to be named
              location /internal/ { internal; alias ${folder}/files/; }
            }`,
        );
        onTestFinished(() => nginx.stop());
        return nginx;
      }

      it("has it send a file, whole, in parts and for HEAD", async () => {
        const nginx = await proxied();
        const url = `http://127.0.0.1:${nginx.ports[0]}/raw`;
        const whole = await fetch(url);
        expect([whole.status, (await whole.text()).length]).toEqual([200, 1000]);
        expect(whole.headers.get("content-type")).toBe("text/plain; charset=utf-8");
        expect(whole.headers.get("set-cookie")).toBe("seen=1; Path=/");
        expect(whole.headers.get("x-accel-redirect")).toBeNull();
        const part = await fetch(url, { headers: { range: "bytes=5-14" } });
        expect([part.status, await part.text()]).toEqual([206, "5678901234"]);
        expect(part.headers.get("content-range")).toBe("bytes 5-14/1000");
        const head = await fetch(url, { method: "HEAD" });
        expect([head.status, head.headers.get("content-length")]).toEqual([200, "1000"]);
        expect(nginx.log()).toBe("");
      });

      it("has it find names with a percent sign, and types of its own", async () => {
        const nginx = await proxied();
        const answer = await fetch(`http://127.0.0.1:${nginx.ports[0]}/fetch`);
        expect([answer.status, await answer.text()]).toEqual([200, "percent"]);
        expect(answer.headers.get("content-type")).toBe("text/plain");
        expect(answer.headers.get("content-disposition")).toBe("attachment");
      });

      it("leaves 404 to it, and lets nobody else in", async () => {
        const nginx = await proxied();
        const ask = async (path: string): Promise<number> => {
          const response = await fetch(`http://127.0.0.1:${nginx.ports[0]}${path}`);
          await response.arrayBuffer();
          return response.status;
        };
        expect(await ask("/missing")).toBe(404);
        expect(await ask("/internal/100%25.txt")).toBe(404);
        expect(await ask("/escape")).toBe(500);
      });
    },
    [0, 1],
  );
});
