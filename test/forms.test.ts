// Forms as real clients send them: curl, undici, and Chromium by FormData and by a plain <form>.

import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FormData, fetch } from "undici";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Req, raw, type Server } from "../src/index.ts";
import { Browser, browserPath, type Page } from "./support/browser.ts";
import { outputOf } from "./support/child.ts";
import { type SeenPart, seenOf, seenParts } from "./support/forms.ts";
import { onEachHost, portOf } from "./support/hosts.ts";
import { programNamed } from "./support/programs.ts";
import { until } from "./support/until.ts";

const curl = programNamed("curl");
if (curl === undefined) process.stderr.write("forms.test.ts: no curl here\n");
if (browserPath === undefined) process.stderr.write("forms.test.ts: no chromium here\n");

const PAGE = `<!doctype html><meta charset="utf-8"><title>form</title>
<form action="/page" method="post" enctype="multipart/form-data">
<input name="täxt &quot;q&quot;" value="grün"><textarea name="lines">a
b</textarea>
<input type="checkbox" name="on" checked><input type="checkbox" name="off">
<input type="file" name="none"><input type="file" name="many" multiple>
<button name="button" value="sent">Send</button></form>`;
const HTML = { "content-type": "text/html; charset=utf-8" };

let folder = "";
let browser: Browser | undefined;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "millrace-forms-"));
  if (browserPath !== undefined) browser = new Browser();
});
afterAll(async () => {
  await browser?.close();
  rmSync(folder, { recursive: true, force: true });
});

onEachHost(({ start }) => {
  describe.each(["stream", "buffer"] as const)('body: "%s"', (body) => {
    const server = (last: (seen: readonly SeenPart[]) => void = () => undefined): Promise<Server> =>
      start({
        routes: {
          "/": new Response(PAGE, { headers: HTML }),
          "/form": { POST: raw(async (req, res) => void res.json(await seenParts(req))), body },
          "/fetch": {
            POST: async (_request: Request, ctx: { multipart: Req["multipart"] }) =>
              Response.json(await seenParts(ctx)),
            body,
          },
          "/page": {
            POST: raw(async (req, res) => {
              last(await seenParts(req));
              res.header("content-type", "text/html").end("<title>thanks</title>");
            }),
            body,
          },
        },
        limits: { maxRequestBodySize: 16_000_000 },
      });

    it.skipIf(curl === undefined)("takes two fields and two files of curl -F", async () => {
      const url = `http://127.0.0.1:${portOf(await server())}`;
      const files = [randomBytes(3_000_001), Buffer.from("\r\n--".repeat(100_000))];
      const paths = files.map((bytes, at) => {
        const path = join(folder, `${at}.bin`);
        writeFileSync(path, bytes);
        return path;
      });
      const type = "application/octet-stream";
      const parts = seenOf(
        { name: "one", content: "1" },
        { name: "first", filename: "0.bin", content: files[0] as Buffer },
        { name: "two", content: 'ä "quoted"; and\r\nmore' },
        { name: "second", filename: 'o "t".bin', content: files[1] as Buffer },
      ).map((part) => ({ ...part, type: part.filename === null ? part.type : type }));
      const words = [
        ...["-s", "-F", "one=1", "-F", `first=@${paths[0]};type=${type}`],
        ...["--form-string", 'two=ä "quoted"; and\r\nmore'],
        ...["-F", `second=@${paths[1]};filename="o \\"t\\".bin";type=${type}`],
      ];
      for (const more of [[], ["-H", "Transfer-Encoding: chunked"], ["-H", "Expect:"]]) {
        for (const path of ["/form", "/fetch"]) {
          const text = await outputOf(curl as string, ...words, ...more, url + path);
          expect(JSON.parse(text), `${more.join()} ${path}`).toEqual(parts);
        }
      }
    });

    it("takes the FormData of undici", async () => {
      const url = `http://127.0.0.1:${portOf(await server())}`;
      const content = randomBytes(1_000_003);
      const form = new FormData();
      form.append("fïeld", "välue");
      form.append("file", new Blob([content], { type: "image/png" }), 'a "b".png');
      form.append("empty", new Blob([]), "empty");
      const expected = seenOf(
        { name: "fïeld", content: "välue" },
        { name: "file", filename: 'a "b".png', content, lines: "Content-Type: image/png\r\n" },
        {
          name: "empty",
          filename: "empty",
          content: "",
          lines: "Content-Type: application/octet-stream\r\n",
        },
      );
      for (const path of ["/form", "/fetch"]) {
        const answer = await fetch(url + path, { method: "POST", body: form });
        expect(await answer.json()).toEqual(expected);
      }
    });

    it.skipIf(browserPath === undefined)("takes the FormData of Chromium", async () => {
      const page = await (browser as Browser).open((await server()).url);
      await until("the page is there", () => titled(page, "form"));
      const seen = await page.value(`(async () => {
        const form = new FormData();
        form.append("plain", "1");
        form.append('quo"ted', "a\\r\\nb\\nc");
        form.append("line\\r\\nend", "ünïcode 🌾");
        const text = {type: "text/plain"};
        form.append("file", new File(["x".repeat(500000)], 'ä "b"\\r\\n.txt', text));
        form.append("file", new File(["\\r\\n--"], "second", {type: "a/b"}));
        form.append("empty", new File([], "empty.bin"));
        form.append("unnamed", new File(["y"], ""));
        return (await fetch("/form", {method: "POST", body: form})).json();
      })()`);
      const octets = "Content-Type: application/octet-stream\r\n";
      const text = "Content-Type: text/plain\r\n";
      expect(seen).toEqual(
        seenOf(
          { name: "plain", content: "1" },
          { name: 'quo"ted', content: "a\r\nb\r\nc" },
          { name: "line\r\nend", content: "ünïcode 🌾" },
          { name: "file", filename: 'ä "b"\r\n.txt', content: "x".repeat(500_000), lines: text },
          { name: "file", filename: "second", content: "\r\n--", lines: "Content-Type: a/b\r\n" },
          { name: "empty", filename: "empty.bin", content: "", lines: octets },
          { name: "unnamed", filename: "", content: "y", lines: octets },
        ),
      );
    });

    it.skipIf(browserPath === undefined)("takes a plain form that Chromium submits", async () => {
      let seen: readonly SeenPart[] = [];
      const page = await (browser as Browser).open((await server((all) => (seen = all))).url);
      await until("the page is there", () => titled(page, "form"));
      await page.value(`
        const files = new DataTransfer();
        files.items.add(new File(["first"], "größe.txt", {type: "text/plain"}));
        files.items.add(new File([], "nichts"));
        document.querySelector("[name=many]").files = files.files;
        document.querySelector("button").click();`);
      await until("it is answered", () => titled(page, "thanks"));
      const octets = "Content-Type: application/octet-stream\r\n";
      const text = "Content-Type: text/plain\r\n";
      expect(seen).toEqual(
        seenOf(
          { name: 'täxt "q"', content: "grün" },
          { name: "lines", content: "a\r\nb" },
          { name: "on", content: "on" },
          { name: "none", filename: "", content: "", lines: octets },
          { name: "many", filename: "größe.txt", content: "first", lines: text },
          { name: "many", filename: "nichts", content: "", lines: octets },
          { name: "button", content: "sent" },
        ),
      );
    });
  });
});

// None while the page is changing.
async function titled(page: Page, title: string): Promise<boolean> {
  return (await page.value("document.title").catch(() => "")) === title;
}
