// Reads compressed bodies with Node's zlib, and watches the compressors that are made.
import zlib from "node:zlib";
import { vi } from "vitest";
import {
  type CompressOptions,
  type RawHandler,
  type Res,
  raw,
  type Server,
} from "../../src/index.ts";
import type { Host } from "./hosts.ts";
import { type Wire, wire } from "./wire.ts";

export const GZIP = "Accept-Encoding: gzip\r\n";
export const BR = "Accept-Encoding: br\r\n";
export const TEXT = "a line that comes again and again\n".repeat(100);

export const latin1 = (body: string): Buffer => Buffer.from(body, "latin1");
export const gunzipped = (body: string): string => zlib.gunzipSync(latin1(body)).toString();
export const unbrotlied = (body: string): string =>
  zlib.brotliDecompressSync(latin1(body)).toString();
/** What can be read of gzip that has not ended. */
export const early = (body: string): string =>
  body === ""
    ? ""
    : zlib.gunzipSync(latin1(body), { finishFlush: zlib.constants.Z_SYNC_FLUSH }).toString();

const now = raw((_req, res) => void res.end("now"));
export const plain = (res: Res): Res => res.header("Content-Type", "text/plain");

/** Starts a server with one handler and the option, and asks it once. */
export function askWith(
  start: Host["start"],
): (
  handler: RawHandler,
  lines?: string,
  compress?: boolean | CompressOptions,
) => Promise<{ server: Server; client: Wire }> {
  return async (handler, lines = GZIP, compress = true) => {
    const server = await start({ compress, handler, routes: { "/now": now } });
    const client = await wire(server);
    client.get("/", lines);
    return { server, client };
  };
}

/** The zlib streams that are made from now on, in order. */
export function watchZips(): zlib.Gzip[] {
  const made: zlib.Gzip[] = [];
  const createGzip = zlib.createGzip.bind(zlib);
  vi.spyOn(zlib, "createGzip").mockImplementation((options) => {
    const zip = createGzip(options);
    made.push(zip);
    return zip;
  });
  return made;
}
