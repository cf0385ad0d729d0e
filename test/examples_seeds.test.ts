// The examples that the seeds have do what their texts promise.
import { once } from "node:events";
import { existsSync, readFileSync, renameSync } from "node:fs";
import { expect } from "vitest";
import { WebSocket as Client } from "ws";
import { browserPath } from "./support/browser.ts";
import { outputOf } from "./support/child.ts";
import { chunkedResponse, dechunked } from "./support/dechunk.ts";
import { ask, curl, declareExamples, enter, inTwoTabs, load } from "./support/examples.ts";
import { scgiRequest } from "./support/scgi.ts";
import { until } from "./support/until.ts";
import { Wire } from "./support/wire.ts";

declareExamples((file) => file.startsWith("seeds/"), {
  "seeds/advanced-websockets.mjs": async ({ url }) => {
    const channel = (name: string) => enter(`${url}/channels/${name}`);
    const [one, heardByOne] = await channel("mills");
    const [two, heardByTwo] = await channel("mills");
    const [three, heardByThree] = await channel("stones");
    const words = (heard: string[]) => heard.filter((each) => !each.includes("heartbeat"));
    one.send("grain");
    await until("both of the channel have it", () => words(heardByTwo).length === 1);
    await until("every socket has a heartbeat", () =>
      [heardByOne, heardByTwo, heardByThree].every((heard) => heard.join().includes("heartbeat")),
    );
    expect([heardByOne, heardByTwo, heardByThree].map(words)).toEqual([["grain"], ["grain"], []]);
    for (const client of [one, two, three]) {
      client.close();
      await once(client, "close");
    }
  },

  "seeds/basic-router.mjs": async ({ url }) => {
    expect((await ask(url)).text).toBe("Hello, World!");
    expect((await ask(`${url}/missing`)).status).toBe(404);
    const refused = await ask(url, { method: "DELETE" });
    expect([refused.status, refused.headers.get("allow")]).toEqual([405, "GET, HEAD, OPTIONS"]);
  },

  "seeds/basic-websockets.mjs": async ({ child, url }) => {
    const [client, heard] = await enter(`${url}/ws`);
    await until("the greeting has come", () => heard.length === 1);
    expect(heard).toEqual(["Hello world from WebSocket!"]);
    client.send("hallo");
    await child.said(/heard: hallo\n/);
    client.close();
    await child.said(/closed\n/);
  },

  "seeds/basic.mjs": async ({ url }) => {
    const { status, text, headers } = await ask(url);
    expect([status, headers.get("content-type")]).toEqual([200, "text/plain"]);
    expect(text).toBe("Hello, World!");
  },

  "seeds/chunkedbackpressure.mjs": async ({ child, url, socket }) => {
    // Each four bytes are their own number.
    const expectWhole = (body: Buffer): void => {
      expect(body).toHaveLength(load.SIZE);
      const numbers = new Uint32Array(body.buffer, body.byteOffset, load.SIZE / 4);
      expect(numbers.findIndex((each, at) => each !== at)).toBe(-1);
    };
    expectWhole(Buffer.from(await (await fetch(url)).arrayBuffer()));
    await child.said(/^\d+ bytes were written, .*\n/m);
    if (curl === undefined) return;
    // More than the kernel takes for a client that does not read.
    const file = `${socket}.bin`;
    await outputOf(curl, "-s", "--fail", "--limit-rate", "8M", "-o", file, url);
    expectWhole(readFileSync(file));
    const [, bytes, most] = await child.said(/\n(\d+) bytes were written, at most (\d+) .*\n$/);
    expect(Number(bytes)).toBe(load.SIZE);
    expect(Number(most)).toBeLessThanOrEqual(131_072 + 65_536);
  },

  "seeds/chunkedlatency.mjs": async ({ url }) => {
    const connect = (): Wire => new Wire({ host: "127.0.0.1", port: Number(new URL(url).port) });
    const [client, other] = [connect(), connect()];
    expect((await chunkedResponse(client.get("/"))).body).toBe("the only chunk\n");
    const held = await client.get("/held").response();
    expect(held.headers.get("transfer-encoding")).toBe("chunked");
    await until("the first chunk is there", () => dechunked(client.buffer).chunks.length > 0);
    // The handler waits for what we say only now.
    expect(dechunked(client.buffer).chunks).toEqual(["the first chunk\n"]);
    expect((await other.get("/go").response()).body).toBe("gone\n");
    await until("the end is there", () => dechunked(client.buffer).rest !== undefined);
    expect(dechunked(client.buffer)).toMatchObject({
      chunks: ["the first chunk\n", "the second chunk\n"],
      rest: "",
    });
    client.close();
    other.close();
  },

  "seeds/client-headers.mjs": async ({ url }) => {
    const { text } = await ask(url, { headers: { "X-Mill": "stone" } });
    expect(text.split("\n")).toEqual(expect.arrayContaining(["x-mill: stone", "user-agent: node"]));
  },

  "seeds/custom-404.mjs": async ({ url }) => {
    const { status, text, headers } = await ask(`${url}/missing`);
    expect([status, text]).toEqual([404, "<h1>I'm not here</h1>"]);
    expect(headers.get("content-type")).toBe("text/html");
  },

  "seeds/custom-handler-params.mjs": async ({ url }) => {
    const as = (token: string): RequestInit => ({ headers: { authorization: `Bearer ${token}` } });
    expect((await ask(url)).text).toBe("For everybody.\n");
    const stranger = await ask(`${url}/me`, as("wrong"));
    expect([stranger.status, stranger.headers.get("www-authenticate")]).toEqual([401, "Bearer"]);
    expect((await ask(`${url}/me`)).status).toBe(401);
    expect((await ask(`${url}/me`, as("p9Zr4t"))).text).toBe("You are Ben.\n");
    const mill = `${url}/mills/7`;
    expect((await ask(mill, { method: "DELETE", ...as("p9Zr4t") })).status).toBe(403);
    const deleted = await ask(mill, { method: "DELETE", ...as("k7Qm2x") });
    expect(JSON.parse(deleted.text)).toEqual({ deleted: "7", by: "Ada" });
  },

  "seeds/discussion.mjs": async ({ child }) => {
    await child.exited;
    const said = child.output.split("\n");
    for (let id = 1; id <= 10; id += 1) {
      expect(said).toContain(`this comes from client ${id}`);
      expect(said).toContain(`client ${id} got: Ok!`);
    }
    expect(child.output.match(/Ok!/g)).toHaveLength(10);
    expect(said.slice(-2)).toEqual(["client 1 got: close!", ""]);
  },

  "seeds/getandpost.mjs": async ({ child, url }) => {
    expect((await ask(`${url}/favicon.ico`)).status).toBe(204);
    const action = /action="([^"]+)"/.exec((await ask(`${url}/any`)).text)?.[1] ?? "";
    const origin = "http://localhost:5050";
    const client = new Wire({ port: Number(new URL(action).port), host: "127.0.0.1" });
    client.send(
      "POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\n" +
        `Origin: ${origin}\r\nContent-Length: 15\r\n\r\nsay=Hi+th%C3%A9`,
    );
    const posted = await client.response();
    client.close();
    expect([posted.status, posted.headers.get("location")]).toEqual([303, origin]);
    await child.said(/client said: Hi thé\n/);
    await child.said(/method: GET url: \/any\n/);
  },

  "seeds/helloworld.mjs": async ({ url }) => {
    expect((await ask(url)).text).toBe("hello world");
    if (curl === undefined) process.stderr.write("no curl here: E1 is checked with fetch only\n");
    else expect(await outputOf(curl, "-s", url)).toBe("hello world");
  },

  "seeds/httptest.mjs": async ({ child, url }) => {
    const [other = ""] = / and (http:\S+)/.exec(child.output)?.slice(1) ?? [];
    const [one, two] = [url, other].map(
      (each) => new Wire({ port: Number(new URL(each).port), host: "127.0.0.1" }),
    ) as [Wire, Wire];
    for (const client of [one, two]) {
      const said = client.get("/", "Connection: keep-alive\r\n").response();
      expect((await said).body).toBe("connection: keep-alive\n");
      expect((await client.get("/").response()).body).toBe("connection: not said\n");
    }
    if (curl !== undefined) {
      // The second request needs no connection of its own, the third does.
      const words = ["-s", "-w", "%{num_connects}\n", url, `${url}/close`, url];
      const text = await outputOf(curl, ...words);
      expect(text.split("\n").filter((line) => /^\d$/.test(line))).toEqual(["1", "0", "1"]);
    }
    expect((await one.get("/close").response()).body).toBe("the end of this connection\n");
    await one.end();
    const id = "\\d+\\.\\d+\\.\\d+";
    const closed = await child.said(
      new RegExp(`^trace HTTP-1 [^]*^connection (${id}) is closed: CloseCalled by /close$`, "m"),
    );
    expect(closed[1]).not.toBe("");
    await child.said(/^debug HTTP-1 .*CloseCalled.*by \/close$/m);
    expect((await two.get("/stop").response()).body).toBe("the end of the servers\n");
    await two.end();
    expect(await child.exited).toEqual({ code: 0, signal: null });
    expect(child.output).toMatch(/^debug HTTP-2 .*GET \/stop HTTP\/1\.1$/m);
    expect(child.output.match(/^info HTTP-[12] stopped: /gm)).toHaveLength(2);
    const ends = child.output.match(new RegExp(`^connection ${id} is closed: .*$`, "gm")) ?? [];
    expect(ends).toHaveLength(curl === undefined ? 2 : 4);
  },

  "seeds/json-route.mjs": async ({ url }) => {
    const { text, headers } = await ask(`${url}/hello-world`);
    expect(text).toBe('{"message":"Hello World"}');
    expect(headers.get("content-type")).toBe("application/json");
    const missing = await ask(`${url}/other`);
    expect([missing.status, missing.text]).toEqual([404, "Not Found"]);
  },

  "seeds/logging-file.mjs": async ({ child, url, socket }) => {
    const file = `${socket}.log`;
    for (let i = 0; i < 200; i += 1) expect((await ask(`${url}/?${i}`)).status).toBe(200);
    expect((await ask(`${url}/broken`)).status).toBe(500);
    await until("the error is there", () =>
      / ERROR .*the wheel fell off/.test(readFileSync(file, "utf8")),
    );
    renameSync(file, `${file}.1`);
    child.process.kill("SIGHUP");
    await until("there is a new file", () => existsSync(file));
    for (let i = 200; i < 300; i += 1) expect((await ask(`${url}/?${i}`)).status).toBe(200);
    await child.stop();
    expect(child.output).toContain("all is written, 0 lines were dropped\n");
    const [before, after] = [`${file}.1`, file].map((each) => readFileSync(each, "utf8"));
    const numbers = [...`${before}${after}`.matchAll(/asked for \/\?(\d+) by 127\.0\.0\.1$/gm)];
    expect(numbers.map(([, n]) => Number(n))).toEqual(Array.from({ length: 300 }, (_, n) => n));
    expect(before).toMatch(/^\S+ INFO +HTTP-1 - listening at http/);
    expect(after).toMatch(/ INFO +HTTP-1 - stopped: .*\n$/);
  },

  "seeds/multipart.mjs": async ({ url }) => {
    const form = new FormData();
    form.set("subject", "mill");
    form.set("file", new File(["grain"], "a b.txt", { type: "text/plain" }));
    const { text } = await ask(url, { method: "POST", body: form });
    expect(text).toBe("subject - text/plain 4\nfile a b.txt text/plain 5\n");
    expect((await ask(url, { method: "POST", body: "no form" })).status).toBe(415);
  },

  "seeds/path-params.mjs": async ({ url }) => {
    expect((await ask(`${url}/objects/17`)).text).toBe("Object: 17");
    expect((await ask(`${url}/objects/`)).status).toBe(404);
  },

  "seeds/query-params.mjs": async ({ url }) => {
    expect((await ask(`${url}/search?x=1&name=a+b%26c`)).text).toBe("Name: a b&c");
  },

  "seeds/redirect.mjs": async ({ url }) => {
    const old = await ask(`${url}/old`);
    expect([old.status, old.headers.get("location")]).toEqual([302, "/"]);
    expect((await ask(`${url}/old`, { redirect: "follow" })).text).toBe("The new place.");
  },

  "seeds/scgicounter.mjs": async ({ url }) => {
    for (const n of [1, 2, 3]) {
      const client = new Wire({ port: Number(new URL(url).port), host: "127.0.0.1" });
      client.send(scgiRequest());
      await client.end();
      const head = "Status: 200 OK\r\nContent-Type: text/html\r\n\r\n";
      expect(client.buffer).toBe(`${head}Hello for the ${n}th time.\r\n`);
    }
  },

  "seeds/streamingdownload.mjs": async ({ url }) => {
    const client = new Wire({ host: "127.0.0.1", port: Number(new URL(url).port) });
    const { body, headers } = await chunkedResponse(client.get("/"));
    expect(headers.get("transfer-encoding")).toBe("chunked");
    expect(body).toMatch(/^[a-z]{5,5000}$/);
    client.close();
    if (curl === undefined) return;
    // As curl --raw shows them: five chunks, then the last one.
    const read = dechunked(await outputOf(curl, "-s", "--raw", url));
    expect([read.chunks.length, read.rest]).toEqual([5, ""]);
  },

  "seeds/websockettest.mjs": async ({ child, url }) => {
    const hundred = Array.from({ length: 100 }, (_, at) => `${at + 1} hello`);
    const [client, heard] = await enter(`${url}/socket`);
    client.send("hallo");
    await until("all hundred have come", () => heard.length === 100);
    expect(heard).toEqual(hundred);
    await inTwoTabs(url, async (tabs) => {
      const [one, two] = tabs;
      const state = (text: string): string =>
        `document.querySelector("#state").textContent === ${JSON.stringify(text)}`;
      for (const tab of tabs) await tab.shows("it is open", state("open"));
      await one.value(`document.querySelector("#hallo").click()`);
      const lines = `[...document.querySelectorAll("li")].map((li) => li.textContent)`;
      for (const tab of tabs) {
        await tab.shows("all hundred are there", `${lines}.length === 100`);
        expect(await tab.value(lines)).toEqual(hundred.map((_, at) => `${at + 101} hello`));
      }
      await one.value(`document.querySelector("#close").click()`);
      await one.shows("it is closed", state("closed 4321"));
      await child.said(/websocket closed: 4321 why\n/);
      await two.value(`document.querySelector("#shutdown").click()`);
      await two.shows("it is closed", state("closed 1001"));
    });
    const closed = client.readyState === Client.OPEN ? once(client, "close") : [1001];
    if (browserPath === undefined) client.send("shutdown");
    expect((await closed)[0]).toBe(1001);
    await child.exited;
  },

  "seeds/wsclienttest.mjs": async ({ child }) => {
    await child.exited;
    const { CLIENTS, ROUNDS } = load;
    expect(child.output).toContain(`\n${CLIENTS} clients connected in `);
    expect(child.output).toMatch(
      new RegExp(`^${CLIENTS * ROUNDS} round trips in .*, 0 wrong$`, "m"),
    );
  },

  "seeds/wsmulticasttest.mjs": async ({ child }) => {
    await child.exited;
    const { CLIENTS, MULTICASTS } = load;
    const all = (MULTICASTS * CLIENTS) / 10; // a half of a fifth
    const counts = `aimed ${all}, delivered ${all}, failed 0, received ${all}, astray 0`;
    expect(child.output).toContain(`multicasts ${MULTICASTS}, ${counts}\n`);
  },
});
