// Bodies of type multipart/form-data, the requests around them, and what a handler saw of them.
import { createHash } from "node:crypto";
import { expect } from "vitest";
import type { MultipartOptions, Req } from "../../src/index.ts";
import { until } from "./until.ts";
import type { Wire, WireResponse } from "./wire.ts";

export interface FormPart {
  readonly name: string;
  readonly filename?: string;
  /** More header lines, each with its CRLF. */
  readonly lines?: string;
  readonly content: string | Uint8Array;
}

/** What a handler says of a part. */
export interface SeenPart {
  readonly name: string;
  readonly filename: string | null;
  readonly type: string;
  readonly size: number;
  readonly sha256: string;
}

export const BOUNDARY = "q1";
export const FORM_TYPE: string = `multipart/form-data; boundary=${BOUNDARY}`;

/** The head of a part, with its empty line. */
export function partHead({ name, filename, lines = "" }: FormPart): string {
  const file = filename === undefined ? "" : `; filename="${filename}"`;
  return `Content-Disposition: form-data; name="${name}"${file}\r\n${lines}\r\n`;
}

/** A whole form. */
export function formOf(...parts: readonly FormPart[]): Buffer {
  const pieces = parts.flatMap((part) => [
    Buffer.from(`--${BOUNDARY}\r\n${partHead(part)}`),
    Buffer.from(part.content),
    Buffer.from("\r\n"),
  ]);
  return Buffer.concat([...pieces, Buffer.from(`--${BOUNDARY}--`)]);
}

/** A form of that size that is one file and has not come to its end. */
export function openFile(size: number): string {
  const head = `--${BOUNDARY}\r\n${partHead({ name: "file", filename: "a", content: "" })}`;
  return head + "x".repeat(size);
}

/** The head of a POST request; `length` below 0: chunked. */
export function postHead(path: string, length: number, type: string | null = FORM_TYPE): string {
  const framing = length < 0 ? "Transfer-Encoding: chunked" : `Content-Length: ${length}`;
  const content = type === null ? "" : `Content-Type: ${type}\r\n`;
  return `POST ${path} HTTP/1.1\r\nHost: a\r\n${content}${framing}\r\n\r\n`;
}

/** A whole POST request. */
export function post(path: string, body: Uint8Array, type: string | null = FORM_TYPE): Buffer {
  return Buffer.concat([Buffer.from(postHead(path, body.length, type), "latin1"), body]);
}

export const sha256Of = (bytes: string | Uint8Array): string =>
  createHash("sha256").update(bytes).digest("hex");

/** What seenParts() says of a form. */
export function seenOf(...parts: readonly FormPart[]): readonly SeenPart[] {
  return parts.map(({ name, filename, lines = "", content }) => ({
    name,
    filename: filename ?? null,
    type: /^content-type: (.*)\r\n/im.exec(lines)?.[1] ?? "text/plain",
    size: Buffer.byteLength(content),
    sha256: sha256Of(content),
  }));
}

/** Reads a form bit by bit. */
export async function seenParts(
  req: Pick<Req, "multipart">,
  options?: MultipartOptions,
): Promise<SeenPart[]> {
  const seen: SeenPart[] = [];
  for await (const part of req.multipart(options)) {
    const { name, filename = null, type } = part;
    const hash = createHash("sha256");
    let size = 0;
    for await (const chunk of part) {
      size += chunk.length;
      hash.update(chunk);
    }
    seen.push({ name, filename, type, size, sha256: hash.digest("hex") });
  }
  return seen;
}

/** Behind that answer the connection serves the next request, or is closed; nothing in between. */
export async function expectInSync(client: Wire, { headers }: WireResponse): Promise<void> {
  if (headers.get("connection") !== "close") {
    client.get("/now");
    const next = await client.response();
    expect([next.status, next.body]).toEqual([200, "now"]);
  } else {
    client.socket.end();
    await until("the connection is closed", () => client.ended);
    expect(client.buffer).toBe("");
  }
}
