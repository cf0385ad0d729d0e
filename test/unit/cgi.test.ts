// The header block of CGI responses: what it becomes, at every cut, and what is no block.
import { describe, expect, it } from "vitest";
import { type CgiHead, CgiHeadReader } from "../../src/scgi/cgi.ts";
import { ScgiError } from "../../src/scgi/error.ts";

const bytes = (text: string): Uint8Array => Buffer.from(text, "latin1");

function read(...pieces: string[]): CgiHead | undefined {
  const reader = new CgiHeadReader();
  let head: CgiHead | undefined;
  for (const piece of pieces) head ??= reader.push(bytes(piece));
  return head;
}

function told(head: CgiHead | undefined): unknown {
  if (head === undefined) return undefined;
  const lines = head.fields.map(([name, value]) => `${name}: ${value}`);
  return [head.status, lines.join("|"), Buffer.from(head.rest).toString("latin1")];
}

describe("a header block", () => {
  it.each([
    [
      "Status: 200 OK\r\nContent-Type: text/html\r\n\r\nbody",
      [200, "Content-Type: text/html", "body"],
    ],
    ["Status: 404 Not Found\r\n\r\n", [404, "", ""]],
    ["Status: 404\n\nx\n\ny", [404, "", "x\n\ny"]],
    ["Content-Type: a/b\n\r\nx", [200, "Content-Type: a/b", "x"]],
    ["Location: /x\r\n\r\n", [302, "Location: /x", ""]],
    ["Location: /x\r\nStatus: 301 Moved\r\n\r\n", [301, "Location: /x", ""]],
    [
      "STATUS:503\t\r\nset-cookie: a\r\nSet-Cookie: b \r\n\r\n",
      [503, "set-cookie: a|Set-Cookie: b", ""],
    ],
    ["X: a:b\xfc\r\nY:\r\n\r\n", [200, "X: a:b\xfc|Y: ", ""]],
  ])("%j", (text, expected) => {
    expect(told(read(text))).toEqual(expected);
    for (let cut = 1; cut < text.length; cut += 1) {
      const reader = new CgiHeadReader();
      const first = reader.push(bytes(text.slice(0, cut)));
      const head = first ?? reader.push(bytes(text.slice(cut)));
      const [status, fields, rest] = told(head) as [number, string, string];
      expect([status, fields, first === undefined ? rest : rest + text.slice(cut)]).toEqual(
        expected,
      );
    }
    expect(told(read(...text))).toEqual([expected[0], expected[1], ""]);
  });

  it("is not whole without its empty line", () => {
    expect(read("Status: 200 OK\r\nContent-Type: a/b\r\n")).toBeUndefined();
    expect(read("Status: 200")).toBeUndefined();
  });

  it("does not keep what it was given, which may be written over", () => {
    const reader = new CgiHeadReader();
    const piece = bytes("Status: 201 x\r\n");
    expect(reader.push(piece)).toBeUndefined();
    piece.fill(0);
    expect(reader.push(bytes("\r\n"))?.status).toBe(201);
  });

  it.each([
    ["hello\n", "no header field"],
    ["<html>\r\n", "no header field"],
    [": x\r\n", "no header field"],
    ["a b: x\r\n", "no header field"],
    ["HTTP/1.1 200 OK\r\n", "no header field"],
    ["\r\nbody", "is empty"],
    ["Status: 200 OK\r\n folded\r\n", "no header field"],
    ["Status: 200\r\nStatus: 200\r\n", "two Status"],
    ["Status: 99\r\n", "200 to 599"],
    ["Status: 101 Switching\r\n", "200 to 599"],
    ["Status: 2000\r\n", "200 to 599"],
    ["Status: OK\r\n", "200 to 599"],
    [`X: ${"y".repeat(65_536)}`, "more than 65536 bytes"],
    [`${"X: y\r\n".repeat(10_923)}\r\n`, "more than 65536 bytes"],
  ])("cannot be %.40j", (text, message) => {
    expect(() => read(text)).toThrow(message);
    expect(() => read(text)).toThrow(ScgiError);
    expect(() => read(...text.slice(0, 200), text.slice(200))).toThrow(message);
  });
});
