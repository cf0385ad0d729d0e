// Who may connect: the origins that a handler allows, what its hook decides, and where there is no
// hook. All over real handshakes.
import { expect, it } from "vitest";
import { type WebSocketHandler, websocket } from "../src/index.ts";
import { type Host, onEachHost, portOf } from "./support/hosts.ts";
import { echo, Peer, peer } from "./support/peers.ts";
import { until } from "./support/until.ts";
import { wire } from "./support/wire.ts";

onEachHost((host) => {
  origins(host);
  hooks(host);
});

type Headers = Readonly<Record<string, string>>;

/** What a handshake with these fields is answered with: 101, or the status of its refusal. */
async function statusOf(to: string, headers: Headers, target = "/"): Promise<number> {
  const client = new Peer(to, target, [], { headers });
  await until("it is answered", () => client.ws.readyState === 1 || client.refused !== undefined);
  client.ws.terminate();
  return client.refused ?? 101;
}

function origins({ start }: Host): void {
  it.each<[Headers, number]>([
    [{ host: "app.example", origin: "http://app.example" }, 101],
    [{ host: "app.example", origin: "https://app.example" }, 101],
    [{ host: "APP.example:443", origin: "https://app.example" }, 101],
    [{ host: "app.example:8080", origin: "http://app.example:8080" }, 101],
    [{ host: "[::1]:8080", origin: "http://[::1]:8080" }, 101],
    [{ host: "app.example" }, 101],
    [{ host: "app.example", origin: "https://evil.example" }, 403],
    [{ host: "app.example", origin: "https://app.example.evil" }, 403],
    [{ host: "app.example", origin: "https://evil.app.example" }, 403],
    [{ host: "app.example", origin: "http://app.example:8080" }, 403],
    [{ host: "app.example:8080", origin: "http://app.example" }, 403],
    [{ host: "app.example:443", origin: "http://app.example" }, 403],
    [{ host: "app.example", origin: "chrome-extension://app.example" }, 403],
    [{ host: "app.example", origin: "null" }, 403],
    [{ host: "app.example", origin: "" }, 403],
    [{ host: "null", origin: "null" }, 403],
  ])('answers %j with %i for "same-origin"', async (headers, status) => {
    const server = await start({
      routes: { "/": { ...echo, allowedOrigins: "same-origin" } },
    });
    expect(await statusOf(`ws://127.0.0.1:${portOf(server)}`, headers)).toBe(status);
  });

  it('takes "same-origin" beside others', async () => {
    const server = await start({
      routes: {
        "/": { ...echo, allowedOrigins: ["same-origin", "https://b.example"] },
        "/b": { ...echo, allowedOrigins: ["https://b.example"] },
      },
    });
    const url = `ws://127.0.0.1:${portOf(server)}`;
    const statuses = ["http://a.example", "https://b.example", "https://c.example"].map((origin) =>
      statusOf(url, { host: "a.example", origin }),
    );
    expect(await Promise.all(statuses)).toEqual([101, 101, 403]);
    const own = { host: "a.example", origin: "http://a.example" };
    expect(await statusOf(url, own, "/b"), "not asked for").toBe(403);
  });

  it("compares with what is forwarded by a proxy that is trusted, and by no other", async () => {
    const routes = { "/": { ...echo, allowedOrigins: "same-origin" } } as const;
    const trusting = await start({ routes, trustProxy: "loopback" });
    const wary = await start({ routes, trustProxy: [] });
    const to = (server: typeof wary, headers: Headers): Promise<number> =>
      statusOf(`ws://127.0.0.1:${portOf(server)}`, { host: "upstream", ...headers });
    const forwarded = {
      "x-forwarded-for": "192.0.2.1",
      "x-forwarded-host": "app.example",
      "x-forwarded-proto": "https",
    };
    const own = { ...forwarded, origin: "https://app.example" };
    expect(await to(trusting, own)).toBe(101);
    // The scheme is known here: a page without TLS may have been written by anybody.
    expect(await to(trusting, { ...own, origin: "http://app.example" })).toBe(403);
    expect(await to(trusting, { ...own, origin: "https://upstream" })).toBe(403);
    expect(await to(wary, own)).toBe(403);
    expect(await to(wary, { ...own, origin: "https://upstream" })).toBe(101);
  });

  it('holds for ctx.upgrade() and req.upgrade(), "same-origin" included', async () => {
    const server = await start({
      fetch: (_request, ctx) => ctx.upgrade(),
      websocket: { ...echo, allowedOrigins: "same-origin" },
    });
    const url = `ws://127.0.0.1:${portOf(server)}`;
    expect(await statusOf(url, { host: "a", origin: "http://b" })).toBe(403);
    expect(await statusOf(url, { host: "a", origin: "http://a" })).toBe(101);
  });
}

function hooks({ start }: Host): void {
  it("W2 answers 400 to false from the hook, and accepts for true, null and nothing", async () => {
    const failures: unknown[] = [];
    const giving = (value: boolean | null | undefined): WebSocketHandler => ({
      ...echo,
      upgrade: () => value,
    });
    const server = await start({
      routes: {
        "/false": giving(false),
        "/true": giving(true),
        "/null": giving(null),
        "/nothing": giving(undefined),
        "/later": websocket({ ...echo, upgrade: async () => false }),
      },
      error: (error) => void failures.push(error) as undefined,
    });
    const url = `ws://127.0.0.1:${portOf(server)}`;
    const targets = ["/false", "/true", "/null", "/nothing", "/later"];
    const statuses = targets.map((target) => statusOf(url, {}, target));
    expect(await Promise.all(statuses)).toEqual([400, 101, 101, 101, 400]);
    expect(failures, "a refusal is no failure").toEqual([]);
    const client = await peer(server, "/true");
    client.ws.send("in");
    expect(await client.got(1)).toEqual(["in"]);
    client.ws.close();
  });

  it("refuses a hook that would never be asked, that of serve({ websocket })", async () => {
    const handler: WebSocketHandler = { ...echo, upgrade: () => false };
    const starting = start({ fetch: (_request, ctx) => ctx.upgrade(), websocket: handler });
    await expect(starting).rejects.toMatchObject({
      code: "ERR_MILLRACE_INVALID_OPTION",
      message: expect.stringContaining("websocket.upgrade is for routes"),
    });
    // Nor one that a class brings.
    const inherited = Object.create(handler) as WebSocketHandler;
    const other = start({ fetch: (_request, ctx) => ctx.upgrade(), websocket: inherited });
    await expect(other).rejects.toThrow("websocket.upgrade is for routes");
    const routed = await start({ routes: { "/": handler } });
    const answer = await (await wire(routed)).get("/").response();
    expect(answer.status).toBe(426);
  });
}
