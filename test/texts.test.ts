// Text bodies on the wire: the bytes that Buffer.from() makes of the same string.
import { expect, it } from "vitest";
import { raw } from "../src/index.ts";
import { onEachHost } from "./support/hosts.ts";
import { wire } from "./support/wire.ts";

const ALPHABETS = [
  "plain ASCII, no more",
  "ümläut ñ ÿ \u0080",
  "\u07ff \u0800 文字 \uffff",
  "a😀b\u{10ffff}",
  "\ud800 half \udfff\udc00x",
];
const LENGTHS = [0, 1, 2, 15, 16, 17, 31, 33, 100, 1000, 2047, 2048, 2049, 20_000];

function bodyOf(alphabet: string, length: number): string {
  return alphabet.repeat(Math.ceil(length / alphabet.length)).slice(0, length);
}

onEachHost(({ start }) => {
  it("sends every text as UTF-8, alone and in a pipeline, at once and later", async () => {
    const texts = ALPHABETS.flatMap((alphabet) =>
      LENGTHS.map((length) => bodyOf(alphabet, length)),
    );
    const server = await start({
      routes: {
        "/now/:n": raw((req, res) => void res.end(texts[Number(req.params["n"])])),
        "/later/:n": raw(async (req, res) => {
          await null;
          res.header("x-n", req.params["n"] ?? "").end(texts[Number(req.params["n"])]);
        }),
      },
    });
    const client = await wire(server);
    const paths = texts.flatMap((_, n) => [`/now/${n}`, `/later/${n}`]);
    const check = async (path: string): Promise<void> => {
      const { body, headers } = await client.response();
      const text = texts[Number(path.split("/")[2])] as string;
      const expected = Buffer.from(text).toString("latin1");
      expect(headers.get("content-length"), path).toBe(`${expected.length}`);
      expect(body === expected, path).toBe(true);
    };
    for (const path of paths) {
      client.get(path);
      await check(path);
    }
    for (const path of paths) client.get(path);
    for (const path of paths) await check(path);
  });
});
