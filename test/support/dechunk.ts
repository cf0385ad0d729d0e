// Reads the chunked coding (RFC 9112 7.1), strictly, and with nothing of what is tested.
import { until } from "./until.ts";
import type { Wire, WireResponse } from "./wire.ts";

export interface Dechunked {
  readonly chunks: readonly string[];
  /** Lines of the trailer section, each with its CRLF. */
  readonly trailers: string;
  /** What stands behind the body; undefined when the body has no end yet. */
  readonly rest: string | undefined;
}

/** @throws {Error} when it is not the chunked coding */
export function dechunked(text: string): Dechunked {
  const chunks: string[] = [];
  let at = 0;
  for (;;) {
    const line = /^([0-9a-f]{1,8})\r\n/.exec(text.slice(at, at + 12));
    if (line === null) {
      if (text.length - at > 9)
        throw new Error(`no chunk size at ${at}: ${text.slice(at, at + 20)}`);
      return { chunks, trailers: "", rest: undefined };
    }
    const size = Number.parseInt(line[1] as string, 16);
    at += line[0].length;
    if (size === 0) break;
    if (text.length < at + size + 2) return { chunks, trailers: "", rest: undefined };
    chunks.push(text.slice(at, at + size));
    at += size + 2;
    if (text.slice(at - 2, at) !== "\r\n") throw new Error(`no CRLF behind the chunk before ${at}`);
  }
  const end = text.startsWith("\r\n", at) ? at : text.indexOf("\r\n\r\n", at) + 2;
  if (end < at) return { chunks, trailers: "", rest: undefined };
  return { chunks, trailers: text.slice(at, end), rest: text.slice(end + 2) };
}

/** The next response, whose body has to be chunked; `body` is without its framing. */
export async function chunkedResponse(
  client: Wire,
): Promise<WireResponse & { readonly trailers: string }> {
  const response = await client.response();
  if (response.headers.get("transfer-encoding") !== "chunked")
    throw new Error(`not chunked: ${response.head}`);
  return unframed(client, response);
}

/** The next response, however its body is framed. */
export async function wholeResponse(client: Wire): Promise<WireResponse> {
  const response = await client.response();
  const isChunked = response.headers.get("transfer-encoding") === "chunked";
  return isChunked ? unframed(client, response) : response;
}

async function unframed(
  client: Wire,
  response: WireResponse,
): Promise<WireResponse & { readonly trailers: string }> {
  let read = dechunked(client.buffer);
  await until("the last chunk is there", () => {
    read = dechunked(client.buffer);
    return read.rest !== undefined || client.ended;
  });
  if (read.rest === undefined) throw new Error(`the body broke off: ${client.buffer}`);
  client.buffer = read.rest;
  return { ...response, body: read.chunks.join(""), trailers: read.trailers };
}
