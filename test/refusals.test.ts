// The option `refusals`: what loops answer in place of their own words, over sockets. Which code
// gets which row is in unit/serve.test.ts, ways to be refused are in native/test/refusals_test.cpp.
import { STATUS_CODES } from "node:http";
import { expect, it } from "vitest";
import { type AccessRecord, raw, type Server } from "../src/index.ts";
import { onEachHost } from "./support/hosts.ts";
import { until } from "./support/until.ts";
import { type WireResponse, wire } from "./support/wire.ts";

async function refused(server: Server, bytes: string, isHead = false): Promise<WireResponse> {
  const client = await wire(server);
  client.send(bytes);
  const response = await client.response(isHead);
  await client.end();
  expect(client.buffer, "bytes behind the response").toBe("");
  return response;
}

onEachHost(({ start }) => {
  it("answers what it refuses in the words of the application", async () => {
    const records: AccessRecord[] = [];
    const server = await start({
      accessLog: (some) => void records.push(...some),
      limits: { maxRequestBodySize: 4 },
      refusals: {
        400: Response.json({ error: "not HTTP" }, { headers: { "x-who": "loop" } }),
        413: Response.json({ error: "too large" }),
        ERR_MILLRACE_BAD_HOST: new Response(new Uint8Array([0, 255])),
      },
      fetch: () => new Response("served"),
    });
    const large = await refused(
      server,
      "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabcdeGET /never HTTP/1.1\r\n",
    );
    expect([large.status, large.body]).toEqual([413, '{"error":"too large"}']);
    expect([...large.headers.keys()].sort()).toEqual([
      "connection",
      "content-length",
      "content-type",
      "date",
    ]);
    expect(large.headers.get("content-type")).toBe("application/json");
    expect(large.headers.get("connection")).toBe("close");

    const broken = await refused(server, "nonsense\r\n\r\n");
    expect([broken.status, broken.body]).toEqual([400, '{"error":"not HTTP"}']);
    expect(broken.headers.get("x-who")).toBe("loop");
    const hostless = await refused(server, "GET / HTTP/1.1\r\n\r\n");
    expect([hostless.status, hostless.body]).toEqual([400, "\0\xff"]);
    const head = await refused(server, "HEAD / HTTP/1.1\r\n\r\n", true);
    expect([head.status, head.headers.get("content-length")]).toEqual([400, "2"]);
    const old = await refused(server, "GET / HTTP/1.0\r\nContent-Length: x\r\n\r\n");
    expect([old.status, old.body]).toEqual([400, '{"error":"not HTTP"}']);
    const other = await refused(server, "GET / HTTP/3.0\r\nHost: a\r\n\r\n");
    expect([other.status, other.body.split(":")[0]]).toEqual([
      505,
      "ERR_MILLRACE_VERSION_NOT_SUPPORTED",
    ]);
    await until("the log has a record of each", () => records.length === 6);
    expect(records.map(({ status }) => status)).toEqual([413, 400, 400, 400, 400, 505]);
    expect(server.metrics.parseErrors["ERR_MILLRACE_BODY_TOO_LARGE"]).toBe(1);
  });

  it("refuses gateways so, too", async () => {
    const server = await start({
      listen: [{ port: 0, protocol: "scgi" }],
      refusals: { 400: Response.json({ error: "not SCGI" }) },
      handler: (_req, res) => void res.end(),
    });
    const client = await wire(server);
    client.send("3:abc,");
    await client.end();
    expect(client.buffer).toBe(
      "Status: 400 Bad Request\r\ncontent-type: application/json\r\n" +
        'Content-Length: 20\r\n\r\n{"error":"not SCGI"}',
    );
  });

  it("takes the same options twice, and leaves what handlers throw to them", async () => {
    const options = {
      refusals: { 413: new Response("loop") },
      routes: {
        "/": raw(async (req, res) => void res.end(await req.bytes({ limit: 1 }))),
        "/small": { POST: () => new Response(), maxBodySize: 1 },
      },
    };
    for (const server of [await start(options), await start(options)]) {
      const post = (path: string): Promise<Response> =>
        fetch(`${server.url}${path}`, { method: "POST", body: "ab" });
      expect(await (await post("/small")).text()).toBe("loop");
      const thrown = await post("/");
      expect([thrown.status, await thrown.text()]).not.toEqual([413, "loop"]);
      expect(thrown.status).toBe(413);
    }
  });

  it("says every status with the reason that Node has for it, another one with none", async () => {
    const server = await start({
      handler: (req, res) => void res.send(Number(req.path.slice(1)), ""),
    });
    const client = await wire(server);
    const said: Record<string, string> = {};
    const statuses = [...Object.keys(STATUS_CODES).map(Number), 299, 599];
    for (const status of statuses.filter((each) => each >= 200)) {
      const { head } = await client.get(`/${status}`).response();
      said[status] = head.slice("HTTP/1.1 ".length, head.indexOf("\r\n"));
    }
    // RFC 9110 has other words than Node's table, which keeps those of older RFCs.
    const newer: Record<string, string> = {
      413: "Content Too Large",
      422: "Unprocessable Content",
    };
    for (const [status, line] of Object.entries(said)) {
      const reason = newer[status] ?? STATUS_CODES[status] ?? "";
      expect(line).toBe(`${status} ${reason}`);
    }
    expect(Object.keys(said).length).toBe(statuses.filter((each) => each >= 200).length);
  });
});
