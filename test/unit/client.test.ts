// What ip, remoteAddress, encrypted and the URL of a request say behind proxies, over a fake
// binding; where a server listens and how; and the one warning.
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type Req, raw, type ServeOptions, scgi, serve, type TrustProxy } from "../../src/index.ts";
import { setBinding } from "../../src/native/binding.ts";
import { EVENT_FLAG, LIMITS } from "../../src/native/tables.ts";
import { FakeBinding, type FakeRequest } from "./fake.ts";

let fake: FakeBinding;
let seen: Req[];
const warnings: NodeJS.ErrnoException[] = [];
const printers = process.listeners("warning");

beforeEach(() => {
  fake = new FakeBinding();
  seen = [];
  warnings.length = 0;
  setBinding(fake);
  process.removeAllListeners("warning");
  process.on("warning", (warning) => warnings.push(warning));
});

afterEach(async () => {
  await settled();
  process.removeAllListeners("warning");
  for (const printer of printers) process.on("warning", printer);
});

async function serving(options: Partial<ServeOptions> = {}): Promise<void> {
  await serve({
    loops: 0,
    handler: (req, res) => {
      seen.push(req);
      res.detach();
    },
    ...options,
  });
}

function request(given: FakeRequest): Req {
  fake.one(given);
  return seen.at(-1) as Req;
}

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
const HOST = ["host", "a.example"] as const;
const FORWARDED = [
  HOST,
  ["x-forwarded-for", "6.6.6.6, 203.0.113.9"],
  ["x-forwarded-proto", "https"],
  ["x-forwarded-host", "shop.example"],
  ["x-forwarded-port", "8443"],
] as const;

describe("by HTTP", () => {
  it("tells of the peer when nobody is trusted", async () => {
    await serving();
    const req = request({ peer: "127.0.0.1", headers: FORWARDED });
    expect([req.ip, req.remoteAddress.port, req.ctx.encrypted]).toEqual([
      "127.0.0.1",
      40_000,
      false,
    ]);
    expect(req.ctx.request.url).toBe("http://a.example/");
    expect(req.scgi).toBeUndefined();
  });

  it("tells of the client when the peer is trusted, and still of the peer", async () => {
    await serving({ trustProxy: "loopback" });
    const req = request({ peer: "127.0.0.1", headers: FORWARDED, target: "/x?y" });
    expect(req.ip).toBe("203.0.113.9");
    expect(req.remoteAddress).toEqual({ family: "IPv4", address: "203.0.113.9", port: 0 });
    expect(req.ctx.remoteAddress).toEqual(req.remoteAddress);
    expect(req.peerAddress).toEqual({ family: "IPv4", address: "127.0.0.1", port: 40_000 });
    expect(req.ctx.encrypted).toBe(true);
    expect(req.ctx.request.url).toBe("https://shop.example:8443/x?y");
    expect([req.url, req.headers.get("host")]).toEqual(["/x?y", "a.example"]);
  });

  it("believes the front end on a unix socket", async () => {
    await serving({ trustProxy: "unix" });
    expect(request({ peer: "", headers: FORWARDED }).ip).toBe("203.0.113.9");
    expect(request({ peer: "", headers: [HOST] }).remoteAddress).toEqual({
      family: "unix",
      address: "",
      port: 0,
    });
    const stranger = request({ peer: "127.0.0.1", headers: FORWARDED });
    expect([stranger.ip, stranger.ctx.encrypted]).toEqual(["127.0.0.1", false]);
    expect(stranger.ctx.request.url).toBe("http://a.example/");
  });

  it("reads repeated lines as one list", async () => {
    await serving({ trustProxy: ["private"] });
    const headers = [
      ["x-forwarded-for", "6.6.6.6"],
      ["x-forwarded-for", "203.0.113.9"],
      ["x-forwarded-for", "10.0.0.2"],
    ] as const;
    expect(request({ peer: "10.0.0.1", headers }).ip).toBe("203.0.113.9");
  });

  it("does not mix up the schemes of one host", async () => {
    await serving({ trustProxy: "loopback" });
    const proto = (value: string): string => {
      const headers = [HOST, ["x-forwarded-proto", value]] as const;
      return request({ peer: "127.0.0.1", headers }).ctx.request.url;
    };
    expect(["http", "https", "http", "x"].map(proto)).toEqual([
      "http://a.example/",
      "https://a.example/",
      "http://a.example/",
      "http://a.example/",
    ]);
    expect(
      request({ peer: "127.0.0.1", headers: [["x-forwarded-proto", "https"]] }).ctx.request.url,
    ).toBe("https://127.0.0.1:8080/");
  });

  it("keeps what it has said when the batch's text is let go", async () => {
    await serving({ trustProxy: "loopback" });
    const filler = { headers: [["x", "y".repeat(30_000)]] as const };
    fake.batch([{ peer: "127.0.0.1", headers: FORWARDED }, filler]);
    const [req] = seen as [Req];
    fake.batch([filler]);
    expect([req.ip, req.peerAddress.address]).toEqual(["203.0.113.9", "127.0.0.1"]);
  });
});

describe("the warning about forwarded fields", () => {
  it.each([
    ["x-forwarded-for", "127.0.0.1", 'trustProxy: "loopback"'],
    ["forwarded", "", 'trustProxy: "unix"'],
    ["x-real-ip", "10.0.0.7", 'trustProxy: ["10.0.0.7"]'],
    ["x-forwarded-proto", "::1", 'trustProxy: "loopback"'],
    ["x-forwarded-host", "2001:db8::1", 'trustProxy: ["2001:db8::1"]'],
  ])("is given once for %s from %j, with the fix %s", async (name, peer, fix) => {
    await serving();
    fake.batch([{}, { peer, headers: [[name, "x"]] }, { peer, headers: [[name, "x"]] }]);
    expect(seen.map((req) => req.ip)).toEqual(["10.0.0.1", peer, peer]);
    await settled();
    expect(warnings.map(({ code }) => code)).toEqual(["ERR_MILLRACE_UNTRUSTED_FORWARDED"]);
    expect(warnings[0]?.message).toContain(`${name} came from ${peer || "the unix socket"}`);
    expect(warnings[0]?.message).toContain(fix);
  });

  it("comes on reading the client after any number of other requests", async () => {
    await serving();
    for (let i = 0; i < 200; i += 1) fake.one({});
    const req = request({ headers: FORWARDED });
    await settled();
    expect(warnings).toEqual([]); // nobody has asked, and the first hundred had none
    expect(req.ctx.encrypted).toBe(false);
    await settled();
    expect(warnings).toHaveLength(1);
  });

  it.each([[[]], ["loopback"], [true], [1]] as [TrustProxy][])(
    "is not given with trustProxy: %j",
    async (trustProxy) => {
      await serving({ trustProxy });
      expect(request({ headers: FORWARDED, peer: "10.0.0.1" }).ip).toBeDefined();
      await settled();
      expect(warnings).toEqual([]);
    },
  );

  it("is given per server", async () => {
    await serving();
    fake.one({ headers: FORWARDED });
    fake = new FakeBinding();
    setBinding(fake);
    await serving({ trustProxy: false });
    fake.one({ headers: FORWARDED });
    await settled();
    expect(warnings).toHaveLength(2);
  });
});

describe("by SCGI", () => {
  const VARIABLES = [
    ["CONTENT_LENGTH", "0"],
    ["SCGI", "1"],
    ["REMOTE_ADDR", "203.0.113.9"],
    ["REMOTE_PORT", "4711"],
    ["SERVER_NAME", "shop.example"],
    ["SERVER_PORT", "8443"],
    ["SERVER_PROTOCOL", "HTTP/1.1"],
    ["HTTPS", "on"],
  ] as const;
  const with_ = (...more: (readonly [string, string])[]): NonNullable<FakeRequest["scgi"]> => [
    ...new Map<string, string>([...VARIABLES, ...more]),
  ];

  it("has the variables, and no trailers of them", async () => {
    await serving();
    const req = request({ scgi: VARIABLES, peer: "" });
    expect([...(req.scgi ?? [])]).toEqual(VARIABLES);
    expect(req.scgi).toBe(req.scgi);
    expect([...(await req.trailers)]).toEqual([]);
    expect([req.ctx.protocol, req.httpVersion]).toEqual(["scgi", "1.1"]);
    expect(request({ scgi: with_(["SERVER_PROTOCOL", "HTTP/1.0"]) }).httpVersion).toBe("1.0");
    expect(request({ flags: EVENT_FLAG.http10 }).ctx.protocol).toBe("http/1.0");
  });

  it("reads values as UTF-8, or as latin1 what is none, and empty ones", async () => {
    await serving();
    const bytes = Buffer.from("ü€").toString("latin1");
    const req = request({
      scgi: with_(["A", bytes], ["B", "\xe9"], ["C", ""], ["D", "\xef\xbb\xbf"]),
    });
    const get = (name: string): string | undefined => req.scgi?.get(name);
    expect([get("A"), get("B"), get("C"), get("D"), get("E")]).toEqual([
      "ü€",
      "é",
      "",
      "\ufeff",
      undefined,
    ]);
  });

  it("takes the client from the front end", async () => {
    await serving();
    const req = request({ scgi: VARIABLES, peer: "", headers: [] });
    expect(req.remoteAddress).toEqual({ family: "IPv4", address: "203.0.113.9", port: 4711 });
    expect(req.peerAddress).toEqual({ family: "unix", address: "", port: 0 });
    expect(req.ctx.encrypted).toBe(true);
    expect(req.ctx.request.url).toBe("https://shop.example:8443/");
    expect(request({ scgi: VARIABLES }).ctx.request.url).toBe("https://a.example/");
  });

  it.each([
    [["HTTPS", ""], "http://shop.example:8443/"],
    [["HTTPS", "off"], "http://shop.example:8443/"],
    [["SERVER_PORT", "443"], "https://shop.example/"],
    [["SERVER_NAME", "_"], "https://127.0.0.1:8080/"],
    [["SERVER_NAME", "a b"], "https://127.0.0.1:8080/"],
  ] as const)("with %j its URL is %s", async (more, url) => {
    await serving();
    expect(request({ scgi: with_(more), headers: [] }).ctx.request.url).toBe(url);
  });

  it("takes https from REQUEST_SCHEME, too", async () => {
    await serving();
    const scgi = with_(["HTTPS", ""], ["REQUEST_SCHEME", "https"]);
    expect(request({ scgi }).ctx.encrypted).toBe(true);
  });

  it.each([
    ["", "10.0.0.1", 40_000],
    ["unix:", "", 0],
    ["nobody", "10.0.0.1", 40_000],
    ["2001:DB8::1", "2001:db8::1", 4711],
  ])("makes of REMOTE_ADDR %j the address %j", async (value, address, port) => {
    await serving();
    const { remoteAddress } = request({ scgi: with_(["REMOTE_ADDR", value]) });
    expect([remoteAddress.address, remoteAddress.port]).toEqual([address, port]);
  });

  it("cannot be told by a value that looks like a name", async () => {
    await serving();
    const scgi = [["HTTP_USER_AGENT", "REMOTE_ADDR"], ["6.6.6.6", "x"], ...VARIABLES] as const;
    expect(request({ scgi }).ip).toBe("203.0.113.9");
  });

  it("walks on from REMOTE_ADDR with trustProxy only, and does not warn", async () => {
    await serving();
    const headers = [["x-forwarded-for", "198.51.100.7"]] as const;
    expect(request({ scgi: VARIABLES, headers }).ip).toBe("203.0.113.9");
    await settled();
    expect(warnings).toEqual([]);
    await serving({ trustProxy: ["203.0.113.0/24"] });
    expect(request({ scgi: VARIABLES, headers }).ip).toBe("198.51.100.7");
    await serving({ trustProxy: ["unix"] });
    expect(request({ scgi: VARIABLES, headers, peer: "" }).ip).toBe("203.0.113.9");
  });
});

describe("the classic door", () => {
  const row = (option: string): number => LIMITS.findIndex((each) => each.option === option);

  it("opens on port 4000 of 127.0.0.1 and lets a thousand wait", async () => {
    await scgi.open();
    const { listeners = [], limits = [] } = fake.options ?? {};
    expect(listeners).toMatchObject([{ host: "127.0.0.1", port: 4000, protocol: "scgi" }]);
    expect([limits[row("maxInFlight")], limits[row("maxHeaders")]]).toEqual([1024, 100]);
  });

  it("opens where it is told", async () => {
    const limits = { maxInFlight: 7 };
    await scgi.open({
      address: "::1",
      port: 9,
      reuseAddr: true,
      reusePort: true,
      limits,
      loops: 2,
    });
    expect(fake.options).toMatchObject({
      loops: 2,
      listeners: [{ host: "::1", port: 9, reusePort: true, proxy: 0 }],
    });
    expect(fake.options?.limits[row("maxInFlight")]).toBe(7);
    await scgi.open({ unix: "/tmp/x", mode: 0o660 });
    expect(fake.options?.listeners).toMatchObject([{ unix: "/tmp/x", mode: 0o660, port: 0 }]);
  });
});

describe("listeners", () => {
  const listeners = (): unknown => fake.options?.listeners;

  it("speak SCGI on 4000 unless told otherwise", async () => {
    await serving({ protocol: "scgi" });
    expect(listeners()).toMatchObject([{ host: "127.0.0.1", port: 4000, protocol: "scgi" }]);
    await serving({ protocol: "scgi", hostname: "::1" });
    expect(listeners()).toMatchObject([{ host: "::1", port: 4000 }]);
    await serving({ protocol: "scgi", unix: "/tmp/x" });
    expect(listeners()).toMatchObject([{ unix: "/tmp/x", port: 0, protocol: "scgi" }]);
    await serving({ listen: [{ protocol: "http" }, { protocol: "scgi", port: 9 }, {}] });
    expect(listeners()).toMatchObject([{ port: 3000 }, { port: 9 }, { port: 3000 }]);
  });

  it("have a URL with their protocol", async () => {
    const options = { loops: 0, routes: { "/": raw(() => {}) } };
    expect((await serve({ ...options, protocol: "scgi" })).url).toBe("scgi://127.0.0.1:8080");
    expect((await serve(options)).url).toBe("http://127.0.0.1:8080");
  });

  it("take the PROXY protocol when told so", async () => {
    const of = async (proxyProtocol: "accept" | "require" | false): Promise<void> => {
      await serving({ proxyProtocol });
    };
    await of("accept");
    expect(listeners()).toMatchObject([{ proxy: 1, protocol: "http" }]);
    await of("require");
    expect(listeners()).toMatchObject([{ proxy: 2 }]);
    await of(false);
    expect(listeners()).toMatchObject([{ proxy: 0 }]);
  });

  it.each([
    [{ protocol: "fcgi" }, 'protocol must be one of "http", "scgi", got "fcgi"'],
    [{ protocol: null }, "protocol must be"],
    [{ proxyProtocol: true }, 'proxyProtocol must be false, "accept" or "require", got true'],
    [{ proxyProtocol: "v1" }, "proxyProtocol must be"],
    [{ listen: [{}, { protocol: "SCGI" }] }, "listen[1].protocol must be"],
    [{ listen: [{ proxyProtocol: 1 }] }, "listen[0].proxyProtocol must be"],
    [{ protocol: "scgi", listen: [{}] }, "protocol belongs into an entry of listen"],
    [{ trustProxy: ["x"] }, "trustProxy[0] must be"],
    [{ listen: [{ trustProxy: true }] }, 'has no option "trustProxy"'],
  ])("refuse %j", async (options, text) => {
    const error = await serving(options as object).catch((caught: unknown) => caught);
    expect(error).toMatchObject({ code: "ERR_MILLRACE_INVALID_OPTION" });
    expect((error as Error).message).toContain(text);
  });
});
