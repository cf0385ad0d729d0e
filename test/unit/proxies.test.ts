// Whom trustProxy believes, and who the client is then: pure functions, and what attackers send.
import { describe, expect, it } from "vitest";
import { isIn, networkOf, textOf, wordsOf } from "../../src/addresses.ts";
import { elementsFromRight, entriesFromRight, hopOf } from "../../src/forwarded.ts";
import { compileTrust, isTrusted, resolveClient, type Trust, trustFor } from "../../src/proxies.ts";

type Fields = Readonly<Record<string, string>>;

function from(trust: unknown, peer: string, fields: Fields): string {
  const { address, port, scheme, host } = resolve(trust, peer, fields);
  return [address, port, scheme ?? "-", host ?? "-"].join(" ");
}

function resolve(trust: unknown, peer: string, fields: Fields): ReturnType<typeof resolveClient> {
  const compiled = typeof trust === "object" && !Array.isArray(trust) ? trust : compileTrust(trust);
  return resolveClient(compiled as Trust, peer, 40_000, (name) => fields[name] ?? null);
}

const xff = (value: string): Fields => ({ "x-forwarded-for": value });

describe("numeric addresses", () => {
  it.each([
    ["192.0.2.1", "192.0.2.1"],
    ["::ffff:192.0.2.1", "192.0.2.1"],
    ["::FFFF:c000:0201", "192.0.2.1"],
    ["2001:DB8:0:0:0:0:0:1", "2001:db8::1"],
    ["2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"],
    ["2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"],
    ["1::", "1::"],
    ["::", "::"],
    ["::1", "::1"],
    ["64:ff9b::192.0.2.33", "64:ff9b::c000:221"],
  ])("reads %s as %s", (given, text) => {
    expect(textOf(wordsOf(given) ?? [])).toBe(text);
  });

  it.each([
    "",
    "a",
    "1.2.3",
    "1.2.3.4.5",
    "256.1.1.1",
    "010.0.0.1",
    "0x7f.0.0.1",
    "fe80::1%eth0",
    ":::",
    "[::1]",
    " 1.2.3.4",
    "1.2.3.4\0",
  ])("takes %j for none", (given) => {
    expect(wordsOf(given)).toBeUndefined();
  });

  it.each([
    ["10.0.0.0/8", "10.255.1.2", true],
    ["10.0.0.0/8", "11.0.0.1", false],
    ["10.0.0.0/8", "::ffff:10.1.1.1", true],
    ["::ffff:10.0.0.0/104", "10.1.1.1", true],
    ["192.0.2.128/25", "192.0.2.127", false],
    ["192.0.2.128/25", "192.0.2.128", true],
    ["192.0.2.1", "192.0.2.1", true],
    ["192.0.2.1", "192.0.2.2", false],
    ["0.0.0.0/0", "203.0.113.9", true],
    ["0.0.0.0/0", "2001:db8::1", false],
    ["::/0", "2001:db8::1", true],
    ["::/0", "203.0.113.9", false],
    ["2001:db8::/33", "2001:db8:7fff::1", true],
    ["2001:db8::/33", "2001:db8:8000::1", false],
    ["fe80::/10", "febf::1", true],
    ["fe80::/10", "fec0::1", false],
  ])("%s with %s: %s", (network, address, expected) => {
    expect(isIn(networkOf(network) as never, wordsOf(address) ?? [])).toBe(expected);
  });

  it.each(["10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/08", "10.0.0.0/8/8", "10/8", "/8"])(
    "has no network %j",
    (given) => expect(networkOf(given)).toBeUndefined(),
  );
});

describe("the option", () => {
  it.each([
    ["yes"],
    [null],
    [{}],
    ["10.0.0.0/8"], // goes into an array
    [-1],
    [1.5],
    [256],
    [Number.NaN],
  ])("refuses %j", (value) => {
    expect(() => compileTrust(value)).toThrow(
      expect.objectContaining({ code: "ERR_MILLRACE_INVALID_OPTION" }),
    );
  });

  it.each([
    [["10.0.0.1", "10.0.0.0/40"], 'trustProxy[1] must be an address, a network like "10.0.0.0/8"'],
    [["loopback", "lopback"], 'got "lopback"'],
    [[""], "trustProxy[0]"],
    [[7], "got 7"],
    [["constructor"], "trustProxy[0]"],
    [["proxy.example"], 'got "proxy.example"'],
  ])("names the entry of %j", (value, text) => {
    expect(() => compileTrust(value)).toThrow(text);
  });

  it("knows its words", () => {
    const trusts = (list: unknown, peer: string): boolean => isTrusted(compileTrust(list), peer, 0);
    expect(trusts("loopback", "127.9.9.9")).toBe(true);
    expect(trusts("loopback", "::1")).toBe(true);
    expect(trusts("loopback", "")).toBe(false);
    expect(trusts("unix", "")).toBe(true);
    expect(trusts("unix", "127.0.0.1")).toBe(false);
    expect(trusts(["linklocal", "unix"], "169.254.1.1")).toBe(true);
    expect(trusts(["linklocal", "unix"], "")).toBe(true);
    expect(trusts(["private"], "172.31.255.255")).toBe(true);
    expect(trusts(["private"], "172.32.0.0")).toBe(false);
    expect(trusts(["private"], "fd00::1")).toBe(true);
    expect(trusts([], "127.0.0.1")).toBe(false);
    expect(trusts(0, "127.0.0.1")).toBe(false);
    expect(trusts(true, "")).toBe(true);
  });

  it("says what would have to be set", () => {
    expect(["", "127.0.0.1", "::ffff:127.0.0.1", "10.0.0.7"].map(trustFor)).toEqual([
      '"unix"',
      '"loopback"',
      '"loopback"',
      '["10.0.0.7"]',
    ]);
  });
});

describe("X-Forwarded-For", () => {
  it.each([
    [false, "127.0.0.1", "203.0.113.9", "127.0.0.1 40000 - -"],
    ["loopback", "10.0.0.1", "203.0.113.9", "10.0.0.1 40000 - -"],
    ["loopback", "127.0.0.1", "203.0.113.9", "203.0.113.9 0 - -"],
    ["unix", "", "203.0.113.9", "203.0.113.9 0 - -"],
    ["unix", "127.0.0.1", "203.0.113.9", "127.0.0.1 40000 - -"],
    // What a client claims stands left of what the proxy has seen.
    ["loopback", "127.0.0.1", "6.6.6.6, 203.0.113.9", "203.0.113.9 0 - -"],
    ["loopback", "127.0.0.1", "127.0.0.1, 203.0.113.9", "203.0.113.9 0 - -"],
    ["loopback", "127.0.0.1", "garbage, 203.0.113.9", "203.0.113.9 0 - -"],
    [
      ["loopback", "10.0.0.0/8"],
      "127.0.0.1",
      "6.6.6.6, 203.0.113.9, 10.2.3.4",
      "203.0.113.9 0 - -",
    ],
    [["loopback", "10.0.0.0/8"], "127.0.0.1", "10.1.1.1, 10.2.3.4", "10.1.1.1 0 - -"],
    [1, "10.0.0.1", "6.6.6.6, 203.0.113.9", "203.0.113.9 0 - -"],
    [2, "10.0.0.1", "6.6.6.6, 203.0.113.9, 10.0.0.2", "203.0.113.9 0 - -"],
    [3, "10.0.0.1", "203.0.113.9, 10.0.0.2", "203.0.113.9 0 - -"],
    [true, "10.0.0.1", "6.6.6.6, 203.0.113.9, 10.0.0.2", "6.6.6.6 0 - -"],
    // Empty elements are nothing; one that names nobody ends the way.
    ["loopback", "127.0.0.1", "", "127.0.0.1 40000 - -"],
    ["loopback", "127.0.0.1", " , ,, 203.0.113.9 ,, ", "203.0.113.9 0 - -"],
    [2, "127.0.0.1", "6.6.6.6,,203.0.113.9,,10.0.0.2,", "203.0.113.9 0 - -"],
    ["loopback", "127.0.0.1", "203.0.113.9, unknown", "127.0.0.1 40000 - -"],
    [true, "127.0.0.1", "203.0.113.9, _hidden, 10.0.0.2", "10.0.0.2 0 - -"],
    // Forms of one entry.
    ["loopback", "127.0.0.1", "203.0.113.9:4711", "203.0.113.9 4711 - -"],
    ["loopback", "127.0.0.1", "2001:DB8::7", "2001:db8::7 0 - -"],
    ["loopback", "127.0.0.1", "[2001:db8::7]:4711", "2001:db8::7 4711 - -"],
    ["loopback", "127.0.0.1", "[2001:db8::7]", "2001:db8::7 0 - -"],
    ["loopback", "::ffff:127.0.0.1", "::ffff:203.0.113.9", "203.0.113.9 0 - -"],
    [["unix", "loopback"], "127.0.0.1", "203.0.113.9, unix:", "203.0.113.9 0 - -"],
    ["loopback", "127.0.0.1", "203.0.113.9, unix:", " 0 - -"],
  ])("trusting %j, from %j with %j: %s", (trust, peer, list, expected) => {
    expect(from(trust, peer, xff(list))).toBe(expected);
  });

  it.each([
    "203.0.113.9:",
    "203.0.113.9:65536",
    "203.0.113.9:080",
    "203.0.113.9 x",
    "[203.0.113.9]",
    "[2001:db8::7",
    "[2001:db8::7]x",
    "2001:db8::7]:1",
    "localhost",
    '"203.0.113.9"',
    "203.0.113.9;10.0.0.1",
    "%31.2.3.4",
  ])("makes nothing of %j", (entry) => {
    expect(hopOf(entry)).toBeUndefined();
    expect(from("loopback", "127.0.0.1", xff(entry))).toBe("127.0.0.1 40000 - -");
  });

  it("takes a megabyte for no address", () => {
    expect(wordsOf(`${"0".repeat(1_048_576)}1.2.3.4`)).toBeUndefined();
  });

  it("walks a header of a megabyte, of commas, entries or one word", () => {
    const size = 1_048_576;
    expect(from(true, "1.1.1.1", xff(",".repeat(size)))).toBe("1.1.1.1 40000 - -");
    expect(from(true, "1.1.1.1", xff("9".repeat(size)))).toBe("1.1.1.1 40000 - -");
    expect(from(true, "1.1.1.1", xff(`2.2.2.2,${"3.3.3.3,".repeat(size / 8)}`))).toBe(
      "2.2.2.2 0 - -",
    );
    const claims = `${"127.0.0.1,".repeat(size / 10)}203.0.113.9`;
    expect(from("loopback", "127.0.0.1", xff(claims))).toBe("203.0.113.9 0 - -");
    const fields = { "x-forwarded-for": "9.9.9.9", "x-forwarded-proto": ",".repeat(size) };
    expect(from("loopback", "127.0.0.1", fields)).toBe("9.9.9.9 0 - -");
  });

  it("never throws, whatever stands there", () => {
    const pieces = ["", ",", " ", "1.2.3.4", "[::1]", ":", '"', "\\", ";", "for=", "_", "\0", "%"];
    let state = 7;
    const next = (): number => (state = (state * 48_271) % 2_147_483_647);
    for (let i = 0; i < 20_000; i += 1) {
      const text = Array.from({ length: next() % 9 }, () => pieces[next() % pieces.length]).join(
        "",
      );
      const fields = { "x-forwarded-for": text, "x-forwarded-host": text };
      expect(resolve(true, "1.1.1.1", fields).address).toMatch(/^[\d.a-f:]*$/);
      expect(resolve(true, "1.1.1.1", { forwarded: text }).address).toMatch(/^[\d.a-f:]*$/);
    }
  });

  it("gives the entries from the right, at every length", () => {
    expect([...entriesFromRight(",a")]).toEqual(["a"]);
    expect([...entriesFromRight("a,b , c")]).toEqual(["c", "b", "a"]);
    expect([...entriesFromRight("")]).toEqual([]);
    expect([...entriesFromRight(",")]).toEqual([]);
  });
});

describe("scheme, host and port", () => {
  it.each([
    ["https", "a.example", "", "203.0.113.9 0 https a.example"],
    ["HTTPS", "a.example:8443", "443", "203.0.113.9 0 https a.example:8443"],
    ["http", "a.example", "8080", "203.0.113.9 0 http a.example:8080"],
    ["wss", "[2001:db8::1]:81", "", "203.0.113.9 0 https [2001:db8::1]:81"],
    // The proxy's entry is the last one; what it did not write is left of it.
    ["https, http", "evil.example, a.example", "", "203.0.113.9 0 http a.example"],
    ["gopher", "a/b", "x", "203.0.113.9 0 - -"],
    ["", "a b", "", "203.0.113.9 0 - -"],
    ["https", "user@a.example", "", "203.0.113.9 0 https -"],
    ["https", "a.example#x", "0", "203.0.113.9 0 https -"],
  ])("reads %j, %j, %j as %s", (proto, host, port, expected) => {
    const fields = {
      ...xff("203.0.113.9"),
      "x-forwarded-proto": proto,
      "x-forwarded-host": host,
      ...(port === "" ? {} : { "x-forwarded-port": port }),
    };
    expect(from("loopback", "127.0.0.1", fields)).toBe(expected);
    expect(from("loopback", "203.0.113.1", fields)).toBe("203.0.113.1 40000 - -");
  });

  it("takes the entry of the outermost hop that is believed", () => {
    const fields = {
      ...xff("6.6.6.6, 203.0.113.9, 10.0.0.2"),
      "x-forwarded-proto": "gopher, https, http",
    };
    expect(from(["private"], "10.0.0.1", fields)).toBe("203.0.113.9 0 https -");
    const replaced = { ...fields, "x-forwarded-proto": "https" };
    expect(from(["private"], "10.0.0.1", replaced)).toBe("203.0.113.9 0 https -");
  });

  it("takes X-Real-IP where there is no X-Forwarded-For", () => {
    const real = { "x-real-ip": " 203.0.113.9 ", "x-forwarded-proto": "https" };
    expect(from("loopback", "127.0.0.1", real)).toBe("203.0.113.9 0 https -");
    expect(from("loopback", "127.0.0.1", { ...real, ...xff("9.9.9.9") })).toContain("9.9.9.9");
    expect(from("loopback", "127.0.0.1", { "x-real-ip": "me" })).toBe("127.0.0.1 40000 - -");
    expect(from("loopback", "10.0.0.1", real)).toBe("10.0.0.1 40000 - -");
  });
});

describe("Forwarded", () => {
  it.each([
    ["for=203.0.113.9", "203.0.113.9 0 - -"],
    ["For=203.0.113.9;Proto=HTTPS;Host=a.example", "203.0.113.9 0 https a.example"],
    ['for="203.0.113.9:4711";by=_me', "203.0.113.9 4711 - -"],
    ['for="[2001:db8:cafe::17]:4711"', "2001:db8:cafe::17 4711 - -"],
    ['for="[2001:db8:cafe::17]:_port"', "2001:db8:cafe::17 0 - -"],
    ['for="203.0.113\\.9"', "203.0.113.9 0 - -"],
    ['host="a.example:8080" ; for=203.0.113.9', "203.0.113.9 0 - a.example:8080"],
    ['for=203.0.113.9;by="a,\\"b"', "203.0.113.9 0 - -"],
    ['for=203.0.113.9;by="\\\\",for=198.51.100.7;by="\\""', "198.51.100.7 0 - -"],
    // The claim of a client does not count, whatever it does to the syntax.
    ["for=6.6.6.6, for=203.0.113.9;proto=https", "203.0.113.9 0 https -"],
    ['for="6.6.6.6, for=203.0.113.9', "203.0.113.9 0 - -"],
    ['for="6.6.6.6\\, for=203.0.113.9', "203.0.113.9 0 - -"],
    ['x, ",,;=", for="203.0.113.9:1"', "203.0.113.9 1 - -"],
    ["proto=https;for=127.0.0.1, for=203.0.113.9", "203.0.113.9 0 - -"],
    ["for=203.0.113.9, for=127.0.0.1;proto=https", "203.0.113.9 0 - -"],
    // Hidden, unknown, malformed.
    ["for=unknown;proto=https", "127.0.0.1 40000 https -"],
    ['for="_gazonk"', "127.0.0.1 40000 - -"],
    ["proto=https", "127.0.0.1 40000 https -"],
    ["for=1.2.3.4;for=5.6.7.8", "127.0.0.1 40000 - -"],
    ["for =1.2.3.4", "127.0.0.1 40000 - -"],
    ["for=[2001:db8::1]", "127.0.0.1 40000 - -"],
    ['for="1.2.3.4', "127.0.0.1 40000 - -"],
    ["1.2.3.4", "127.0.0.1 40000 - -"],
    ["for=1.2.3.4 for=5.6.7.8", "127.0.0.1 40000 - -"],
    ["", "127.0.0.1 40000 - -"],
    [",, for=203.0.113.9 ,,", "203.0.113.9 0 - -"],
  ])("reads %j as %s", (forwarded, expected) => {
    expect(from("loopback", "127.0.0.1", { forwarded })).toBe(expected);
  });

  it("is not looked at when a proxy writes X-Forwarded-*: the client may have sent it", () => {
    const claim = { forwarded: "for=127.0.0.1;proto=https;host=evil.example" };
    expect(from("loopback", "127.0.0.1", { ...claim, ...xff("203.0.113.9") })).toBe(
      "203.0.113.9 0 - -",
    );
    const proto = { ...claim, "x-forwarded-proto": "http" };
    expect(from("loopback", "127.0.0.1", proto)).toBe("127.0.0.1 40000 http -");
  });

  it("reads a megabyte of it in one pass", () => {
    const size = 1_048_576;
    for (const piece of ['"', "\\", '\\"', ",", "for=", "a", ' "," ']) {
      const claim = piece.repeat(size / piece.length);
      expect(from("loopback", "127.0.0.1", { forwarded: `${claim}, for=203.0.113.9` })).toBe(
        "203.0.113.9 0 - -",
      );
      expect(from(true, "127.0.0.1", { forwarded: claim })).toBe("127.0.0.1 40000 - -");
    }
    const many = "for=10.0.0.1,".repeat(size / 13);
    expect(from(true, "127.0.0.1", { forwarded: many })).toBe("10.0.0.1 0 - -");
  });

  it("gives elements from the right until one is malformed", () => {
    const elements = [...elementsFromRight('for=a, x y, for="b,c";proto=p, host=h')];
    expect(elements).toEqual([
      { for: null, host: "h", proto: null },
      { for: "b,c", host: null, proto: "p" },
    ]);
  });
});

it("counts a hop that has named the peer among those that are believed", () => {
  const of = (trust: unknown, fields: Fields): string =>
    resolveClient(compileTrust(trust), "127.0.0.1", 1, (name) => fields[name] ?? null, 1).address;
  const forwarded = { forwarded: "for=6.6.6.6, for=203.0.113.9" };
  for (const fields of [xff("6.6.6.6, 203.0.113.9"), forwarded]) {
    expect(of(1, fields)).toBe("127.0.0.1");
    expect(of(2, fields)).toBe("203.0.113.9");
    expect(of(3, fields)).toBe("6.6.6.6");
    expect(of("loopback", fields)).toBe("203.0.113.9");
    expect(of(true, fields)).toBe("6.6.6.6");
  }
  const proto: Fields = { ...xff("203.0.113.9"), "x-forwarded-proto": "http, https" };
  const get = (name: string): string | null => proto[name] ?? null;
  const told = resolveClient(compileTrust(2), "127.0.0.1", 1, get, 1);
  expect([told.address, told.scheme]).toEqual(["203.0.113.9", "https"]);
});
