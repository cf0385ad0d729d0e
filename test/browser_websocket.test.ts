// Chromium's WebSocket against ours: what its pages see of messages, compression, sub-protocols,
// refusals and ends, and what the handlers see of it.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { ServeOptions, Server, Socket, WebSocketHandler } from "../src/index.ts";
import { Browser, browserPath, type Page } from "./support/browser.ts";
import { type Host, onEachHost } from "./support/hosts.ts";
import { echo, noting, told } from "./support/peers.ts";
import { until } from "./support/until.ts";

if (browserPath === undefined) {
  process.stderr.write("browser_websocket.test.ts is skipped: no chromium (Debian: chromium)\n");
}

// What the page writes down of its one socket, as JSON that can be asked for.
const PAGE = `<!doctype html><title>sockets</title><script>
  const seen = { events: [], messages: [] };
  let socket;
  function join(path, protocols = [], base = location.href) {
    const url = new URL(path, base);
    url.protocol = "ws:";
    socket = new WebSocket(url, protocols);
    socket.onopen = () => seen.events.push("open");
    socket.onerror = () => seen.events.push("error");
    socket.onclose = ({ code, reason, wasClean }) =>
      seen.events.push(["close", code, reason, wasClean].join(" "));
    socket.onmessage = async ({ data }) => {
      const at = seen.messages.push(null) - 1;
      if (typeof data === "string") return void (seen.messages[at] = data);
      const kind = data.constructor.name;
      const bytes = new Uint8Array(data instanceof Blob ? await data.arrayBuffer() : data);
      seen.messages[at] = kind + " " + bytes.join();
    };
  }
</script>`;

interface Seen {
  readonly events: string[];
  readonly messages: (string | null)[];
}

const page = new Response(PAGE, { headers: { "content-type": "text/html" } });

describe.runIf(browserPath !== undefined)("in Chromium", () => {
  let browser: Browser;
  beforeAll(() => {
    browser = new Browser();
  });
  afterAll(() => browser.close());
  const tab = async (server: Server, words?: string): Promise<Tab> => {
    const opened = new Tab(await browser.open(server.url));
    await opened.page.shows("the page is there", "document.title === 'sockets'");
    if (words !== undefined) await opened.page.value(`join(${words})`);
    return opened;
  };
  onEachHost(
    (host) => {
      exchanges(host, tab);
      ends(host, tab);
      refusals(host, tab);
    },
    [0, 1],
  );
});

class Tab {
  readonly page: Page;

  constructor(page: Page) {
    this.page = page;
  }

  run(expression: string): Promise<unknown> {
    return this.page.value(`void (${expression})`);
  }

  async seen(): Promise<Seen> {
    return (await this.page.value("seen")) as Seen;
  }

  async opened(): Promise<this> {
    await this.page.shows("the socket is open", `seen.events.includes("open")`);
    return this;
  }

  /** Waits until the socket is over, and gives all events of it. */
  async over(): Promise<string[]> {
    await this.page.shows("the socket is over", `seen.events.at(-1)?.startsWith("close")`);
    return (await this.seen()).events;
  }

  async heard(count: number): Promise<(string | null)[]> {
    const words = `seen.messages.length === ${count} && !seen.messages.includes(null)`;
    await this.page.shows(`${count} messages are there`, words);
    return (await this.seen()).messages;
  }
}

type MakeTab = (server: Server, words?: string) => Promise<Tab>;

function withPage(handler: WebSocketHandler): ServeOptions<string> {
  return { routes: { "/": page, "/ws": handler } };
}

function exchanges({ start }: Host, tab: MakeTab): void {
  it("sends text, Blobs and ArrayBuffers back as they were", async () => {
    const server = await start(withPage(echo));
    const one = await (await tab(server, `"/ws"`)).opened();
    await one.run(`socket.send("grüße 🌾")`);
    await one.run(`socket.send(new Blob([Uint8Array.of(0, 255)]))`);
    await one.run(`socket.send("")`);
    await one.heard(3);
    await one.run(`(socket.binaryType = "arraybuffer", socket.send(Uint16Array.of(513)))`);
    await one.run(`socket.send(new ArrayBuffer(0))`);
    const messages = ["grüße 🌾", "Blob 0,255", "", "ArrayBuffer 1,2", "ArrayBuffer "];
    expect(await one.heard(5)).toEqual(messages);
    await one.run(`socket.send("é".repeat(100_000))`);
    expect((await one.heard(6))[5]).toBe("é".repeat(100_000));
  });

  it("lets two tabs talk to each other through a topic", async () => {
    const server = await start(
      withPage({
        open: (ws) => ws.subscribe("mill"),
        message: (ws, data) => void ws.publish("mill", data),
      }),
    );
    const one = await (await tab(server, `"/ws"`)).opened();
    const two = await (await tab(server, `"/ws"`)).opened();
    await until("both have subscribed", () => server.subscriberCount("mill") === 2);
    await one.run(`socket.send("from one")`);
    expect(await two.heard(1)).toEqual(["from one"]);
    await two.run(`socket.send(Uint8Array.of(7))`);
    expect(await one.heard(1)).toEqual(["Blob 7"]);
    server.publish("mill", "to all");
    expect(await one.heard(2)).toEqual(["Blob 7", "to all"]);
    expect(await two.heard(2)).toEqual(["from one", "to all"]);
  });

  it.each([false, true])(
    "compresses both ways, with contextTakeover and peerContextTakeover %s",
    async (takeover) => {
      const settings = { contextTakeover: takeover, peerContextTakeover: takeover };
      const agreed: string[] = [];
      const server = await start(
        withPage({
          ...echo,
          perMessageDeflate: settings,
          open: (ws) => void agreed.push(ws.extensions),
        }),
      );
      const one = await (await tab(server, `"/ws"`)).opened();
      expect(await one.page.value("socket.extensions")).toContain("permessage-deflate");
      const { bytesIn, bytesOut } = server.metrics;
      const text = "rye and wheat ".repeat(20_000);
      for (let i = 1; i <= 3; i += 1) {
        await one.run(`socket.send("rye and wheat ".repeat(20_000))`);
        expect((await one.heard(i))[i - 1]).toBe(text);
      }
      expect(agreed).toEqual(["permessage-deflate"]);
      expect(server.metrics.bytesIn - bytesIn).toBeLessThan(text.length / 10);
      expect(server.metrics.bytesOut - bytesOut).toBeLessThan(text.length / 10);
    },
  );

  it("does without compression unless it is asked for", async () => {
    const one = await (await tab(await start(withPage(echo)), `"/ws"`)).opened();
    expect(await one.page.value("socket.extensions")).toBe("");
  });

  it("chooses the first sub-protocol of the page's that it speaks", async () => {
    const chosen: string[] = [];
    const open = (ws: Socket): void => void chosen.push(ws.protocol);
    const server = await start(withPage({ protocols: ["oats", "rye"], open }));
    const one = await (await tab(server, `"/ws", ["wheat", "rye", "oats"]`)).opened();
    expect(await one.page.value("socket.protocol")).toBe("rye");
    expect(chosen).toEqual(["rye"]);
  });
}

function ends({ start }: Host, tab: MakeTab): void {
  it("W7 tells both sides the code and the reason that a page closes with", async () => {
    const events: string[] = [];
    const one = await (await tab(await start(withPage(noting(events))), `"/ws"`)).opened();
    await one.run(`socket.close(4321, "why")`);
    expect(await one.over()).toEqual(["open", "close 4321 why true"]);
    await told(events, "close");
    expect(events).toEqual(["open", "close 4321 why"]);
  });

  it("tells a page the code and the reason that a handler closes with", async () => {
    const events: string[] = [];
    const handler = noting(events, { message: (ws) => ws.close(4001, "genug für heute") });
    const one = await (await tab(await start(withPage(handler)), `"/ws"`)).opened();
    await one.run(`socket.send("go")`);
    expect(await one.over()).toEqual(["open", "close 4001 genug für heute true"]);
    await told(events, "close");
    expect(events).toEqual(["open", "close 4001 genug für heute"]);
  });

  it("tells a page nothing when a handler terminates", async () => {
    const events: string[] = [];
    const handler = noting(events, { message: (ws) => ws.terminate() });
    const one = await (await tab(await start(withPage(handler)), `"/ws"`)).opened();
    await one.run(`socket.send("go")`);
    expect((await one.over()).at(-1)).toBe("close 1006  false");
    await told(events, "close");
    expect(events).toEqual(["open", "close 1006"]);
  });

  it("says 1001 when the server closes, and 1001 comes when a tab does", async () => {
    const events: string[] = [];
    const server = await start(withPage(noting(events)));
    const one = await (await tab(server, `"/ws"`)).opened();
    const two = await (await tab(server, `"/ws"`)).opened();
    await two.page.close();
    await told(events, "close");
    expect(events).toEqual(["open", "open", "close 1001"]);
    const { forced } = await server.close({ timeout: 10_000 });
    expect(await one.over()).toEqual(["open", "close 1001  true"]);
    expect([forced, events.at(-1), events.length]).toEqual([0, "close 1001", 4]);
  });
}

function refusals({ start }: Host, tab: MakeTab): void {
  it("fails a page's socket with 1006 when the upgrade hook answers 401", async () => {
    const events: string[] = [];
    const upgrade = (): Response => new Response("no\n", { status: 401 });
    const one = await tab(await start(withPage(noting(events, { upgrade }))), `"/ws"`);
    expect(await one.over()).toEqual(["error", "close 1006  false"]);
    expect(events).toEqual([]);
  });

  it("takes pages of allowed origins only", async () => {
    const own = await start(withPage(echo));
    const events: string[] = [];
    const server = await start(withPage(noting(events, { allowedOrigins: [own.url] })));
    const asked = `"/ws", [], ${JSON.stringify(server.url)}`;
    const one = await (await tab(own, asked)).opened();
    await one.run(`socket.send("hello")`);
    expect(await one.heard(1)).toEqual(["hello"]);
    const two = await tab(server, asked);
    expect(await two.over()).toEqual(["error", "close 1006  false"]);
    expect(events).toEqual(["open"]);
  });

  it("fails a page's socket when it speaks none of its sub-protocols", async () => {
    const events: string[] = [];
    const server = await start(withPage(noting(events, { protocols: ["oats"] })));
    const one = await tab(server, `"/ws", ["rye"]`);
    expect(await one.over()).toEqual(["error", "close 1006  false"]);
    await told(events, "close");
  });
}
