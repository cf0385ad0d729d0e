// The examples, but for those of the seeds, do what their texts promise.
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect } from "vitest";
import { WebSocket as Client } from "ws";
import { node, outputOf } from "./support/child.ts";
import {
  ask,
  askSocket,
  curl,
  declareExamples,
  enter,
  folder,
  inTwoTabs,
  send,
  urlencoded,
} from "./support/examples.ts";
import { cgiAnswer, scgiRequest } from "./support/scgi.ts";
import { until } from "./support/until.ts";
import { Wire } from "./support/wire.ts";

interface Told {
  readonly statusCode: number;
}

declareExamples((file) => !file.startsWith("seeds/"), {
  "access-log.mjs": async ({ child, url, socket }) => {
    const headers = { "x-request-id": 'a"b', "user-agent": "millstone", connection: "close" };
    const first = await ask(`${url}/?a=b`, { headers });
    expect([first.status, first.headers.get("x-request-id")]).toEqual([200, 'a"b']);
    const other = await ask(url, { headers: { connection: "close" } });
    expect(other.headers.get("x-request-id")).toMatch(/^[^\s"]{8,}$/);
    expect((await ask(`${url}/broken`, { headers: { connection: "close" } })).status).toBe(500);
    const [, id = ""] = await child.said(/^(\d+\.\d+\.\d+) comes from 127\.0\.0\.1$/m);
    await child.said(/^\S+ leaves after 1 requests: \w+$/m);
    expect(child.output.split(`\n${id} leaves`)).toHaveLength(2);
    const metrics = (await ask(`${url}/metrics`)).text;
    expect(metrics).toContain('millrace_responses_total{class="2xx"} 2\n');
    await child.stop();
    const lines = readFileSync(`${socket}.log`, "latin1").split("\n");
    expect(lines).toHaveLength(5);
    expect(lines[0]).toMatch(
      /^127\.0\.0\.1 - - \[.+\] "GET \/\?a=b HTTP\/1\.1" 200 \d+ "-" "millstone" "a\\"b"$/,
    );
    expect(lines[2]).toMatch(/"GET \/broken HTTP\/1\.1" 500 \d+ "-" "node" "-"$/);
    const records = child.output.split("\n").filter((line) => line.startsWith("{"));
    const told = records.map((line) => JSON.parse(line) as Record<string, unknown>);
    const listening = told.find(({ msg }) => String(msg).startsWith("listening at "));
    expect(listening).toMatchObject({ level: 30, server: "shop", time: expect.any(Number) });
    expect(told.find(({ err }) => err !== undefined)).toMatchObject({
      level: 50,
      code: "ERR_MILLRACE_HANDLER_FAILED",
      err: { type: "Error", message: "the wheel fell off" },
    });
    expect(child.output.match(/ leaves /g)).toHaveLength(
      child.output.match(/ comes from /g)?.length ?? 0,
    );
  },

  "behind-nginx.mjs": async ({ child, socket }) => {
    const lines = "X-Forwarded-For: 192.0.2.1, 198.51.100.7\r\nX-Forwarded-Proto: https\r\n";
    const told: unknown = JSON.parse(await askSocket(socket, "/", lines));
    expect(told).toEqual({ client: "198.51.100.7", scheme: "https", host: "a" });
    expect(await askSocket(socket, "/health/ready")).toBe("ok\n");
    await child.stop();
    expect(child.output).toContain("closed: 0 finished, 0 cut\n");
  },

  "behind-proxies.mjs": async ({ url }) => {
    const forwarded = {
      "X-Forwarded-For": "6.6.6.6, 203.0.113.9, 10.1.2.3",
      "X-Forwarded-Proto": "https",
      "X-Forwarded-Host": "shop.example",
    };
    expect(JSON.parse((await ask(url, { headers: forwarded })).text)).toEqual({
      ip: "203.0.113.9",
      peer: "127.0.0.1",
      encrypted: true,
      url: "https://shop.example/",
    });
    expect((await ask(`${url}/account`, { headers: forwarded })).text).toBe("your account\n");
    const { status, headers } = await ask(`${url}/account`);
    expect([status, headers.get("location")?.startsWith("https://")]).toEqual([308, true]);
  },

  "chat.mjs": async ({ child, url }) => {
    const [first, heard] = await enter(`${url}/rooms/mill`, ["chat.v2", "chat.v1"]);
    const [other, elsewhere] = await enter(`${url}/rooms/attic`);
    expect([first.protocol, other.protocol]).toEqual(["chat.v1", ""]);
    first.send("oats, please");
    await until("it is heard", () => heard.length === 2);
    expect(heard.map((line) => JSON.parse(line) as unknown)).toEqual([
      { from: "guest 1", text: "is here" },
      { from: "guest 1", text: "oats, please" },
    ]);
    expect(elsewhere).toEqual(['{"from":"guest 2","text":"is here"}']);
    const evil = new Client(`${url.replace("http", "ws")}/rooms/mill`, { origin: "http://evil" });
    const [, { statusCode }] = (await once(evil, "unexpected-response")) as [unknown, Told];
    expect(statusCode).toBe(403);
    evil.on("error", () => undefined).terminate();
    await inTwoTabs(url, async (tabs) => {
      const state = `document.querySelector("#state").textContent === "in room mill"`;
      for (const tab of tabs) await tab.shows("it is in", state);
      for (const [at, tab] of tabs.entries()) {
        const text = JSON.stringify(`<b>from tab ${at}</b> é`);
        await tab.value(`document.querySelector("input").value = ${text};
          document.querySelector("form button").click();`);
        const isThere = `document.querySelector("li")?.textContent.endsWith(": " + ${text})`;
        for (const each of tabs) await each.shows("what was said is there", isThere);
      }
    });
    const closed = once(first, "close");
    await child.stop();
    expect((await closed)[0]).toBe(1001);
  },

  "demo/server.mjs": async ({ url }) => {
    expect((await ask(url)).text).toContain("<title>millrace demo</title>");
    expect((await ask(`${url}/hello/you`)).text).toBe("Hello, you!\n");
    expect((await send(`${url}/api/echo`, "POST", '{"a":1}')).text).toBe('{"youSent":{"a":1}}');
    expect((await send(`${url}/api/echo`, "POST", "{")).status).toBe(400);
    expect((await send(`${url}/api/guests`, "POST", "name=Ada", urlencoded)).status).toBe(303);
    const refused = await ask(`${url}/api/guests`, { method: "DELETE" });
    expect([refused.status, refused.headers.get("allow")]).toEqual([
      405,
      "GET, HEAD, POST, OPTIONS",
    ]);
    expect((await ask(`${url}/health/live`)).text).toBe("ok\n");
    const { metrics } = JSON.parse((await ask(`${url}/api/metrics`)).text) as {
      metrics: { requests: number };
    };
    expect(metrics.requests).toBeGreaterThan(5);
  },

  "download.mjs": async ({ url }) => {
    const { status, text, headers } = await ask(`${url}/grain.csv?rows=2500`);
    expect([status, headers.get("content-type")]).toEqual([200, "text/csv; charset=utf-8"]);
    expect(headers.get("content-disposition")).toBe('attachment; filename="grain.csv"');
    const rows = text.split("\r\n");
    expect(rows.slice(0, 4)).toEqual([
      "number,grain,sacks",
      "1,oats,7",
      "2,barley,14",
      '3,"wheat, ""hard""",21',
    ]);
    expect([rows.length, rows[2500], rows[2501]]).toEqual([2502, "2500,rye,0", ""]);
    expect((await ask(`${url}/grain.csv?rows=-1`)).status).toBe(400);
    // One who does not read on holds the rows back; when it leaves, that is the end of them.
    const { port, hostname: host } = new URL(url);
    const client = new Wire({ port: Number(port), host });
    client.socket.pause();
    client.get("/grain.csv?rows=100000000");
    const told = async (): Promise<{ open: number; rows: number; left: number }> =>
      JSON.parse((await ask(`${url}/state`)).text);
    let before = -1;
    await until("the rows wait", async () => {
      const { open, rows: made } = await told();
      const isStill = open === 1 && made > 2500 && made === before;
      before = made;
      return isStill;
    });
    expect(before).toBeLessThan(10_000_000);
    client.reset();
    await until("it is known", async () => (await told()).open === 0);
    expect((await told()).left).toBe(1);
  },

  "fetch.mjs": async ({ child, url }) => {
    expect((await ask(url)).headers.get("content-type")).toBe("text/html; charset=utf-8");
    expect((await send(`${url}/reverse`, "POST", "Grüße 🌾")).text).toBe("🌾 eßürG");
    const told: unknown = JSON.parse((await ask(`${url}/about-you`)).text);
    expect(told).toMatchObject({ address: "127.0.0.1", agent: "node" });
    expect((await ask(`${url}/later`)).status).toBe(202);
    await child.said(/done after the answer/);
    const away = await ask(`${url}/away`);
    expect([away.status, away.headers.get("location")]).toEqual([303, `${url}/`]);
    expect((await ask(`${url}/x`)).status).toBe(404);
  },

  "files.mjs": async ({ url }) => {
    const text = (name: string): string => readFileSync(join(folder, name), "utf8");
    expect((await ask(url)).text).toContain('href="/source/hello.mjs"');
    const hello = await ask(`${url}/source/hello.mjs`);
    expect([hello.status, hello.text]).toEqual([200, text("hello.mjs")]);
    expect(hello.headers.get("cache-control")).toBe("public, max-age=3600");
    expect(hello.headers.get("content-type")).toBe("text/javascript; charset=utf-8");
    const tag = hello.headers.get("etag") ?? "";
    const again = { headers: { "if-none-match": tag } };
    expect((await ask(`${url}/source/hello.mjs`, again)).status).toBe(304);
    const part = await ask(`${url}/me`, { headers: { range: "bytes=3-7" } });
    expect([part.status, part.text]).toEqual([206, "Files"]);
    expect((await ask(`${url}/demo/`)).text).toBe(text("demo/page.html"));
    expect((await ask(`${url}/source/demo`)).headers.get("location")).toBe("/source/demo/");
    const saved = await ask(`${url}/download/routes.mjs`);
    expect(saved.text).toBe(text("routes.mjs"));
    const name = "filename*=UTF-8''routes.mjs";
    expect(saved.headers.get("content-disposition")).toBe(`attachment; ${name}`);
    for (const path of ["none.mjs", "..%2fpackage.json", "demo%2f..%2f..%2fpackage.json"]) {
      const missing = await ask(`${url}/download/${path}`);
      expect([path, missing.status]).toEqual([path, 404]);
      expect(missing.headers.get("content-disposition")).toBe(null);
    }
    expect((await ask(`${url}/downloads`)).text).toBe('{"routes.mjs":1}');
  },

  "form.mjs": async ({ url }) => {
    const line = `line=${encodeURIComponent("<b>rye & wheat</b>")}`;
    const posted = await send(url, "POST", line, urlencoded);
    expect([posted.status, posted.headers.get("location")]).toEqual([303, "/"]);
    expect((await ask(url)).text).toContain("<li>&lt;b&gt;rye &amp; wheat&lt;/b&gt;</li>");
    expect((await send(url, "POST", "line=+", urlencoded)).status).toBe(422);
    expect((await send(url, "POST", "line=x", { "content-type": "text/plain" })).status).toBe(415);
    const long = `line=${"x".repeat(5000)}`;
    expect((await send(url, "POST", long, urlencoded)).status).toBe(413);
  },

  "hello.mjs": async ({ url }) => {
    expect((await ask(url)).text).toBe("Hello from a native loop.\n");
    expect((await ask(`${url}/hello/J%C3%BCrgen`)).text).toBe("Hello, Jürgen!\n");
  },

  "json-api.mjs": async ({ url }) => {
    const made = await send(`${url}/items`, "POST", '{"name":"rye"}');
    expect([made.status, made.headers.get("location")]).toEqual([201, "/items/1"]);
    expect(made.text).toBe('{"id":1,"name":"rye","count":1}');
    expect((await send(`${url}/items`, "POST", "not json")).status).toBe(400);
    expect((await send(`${url}/items`, "POST", "null")).status).toBe(422);
    const replaced = await send(`${url}/items/1`, "PUT", '{"name":"oats","count":3}');
    expect(replaced.text).toBe('{"id":"1","name":"oats","count":3}');
    expect((await send(`${url}/items/2`, "PUT", '{"name":"oats"}')).status).toBe(404);
    const list = await ask(`${url}/items`);
    expect(list.headers.get("content-type")).toBe("application/json");
    expect(list.text).toBe('[{"id":"1","name":"oats","count":3}]');
    expect((await ask(`${url}/items/1`, { method: "DELETE" })).status).toBe(204);
    expect((await ask(`${url}/items/1`)).text).toBe('{"error":"no item 1"}');
    expect((await ask(`${url}/items`, { method: "DELETE" })).status).toBe(405);
  },

  "receive.mjs": async ({ url }) => {
    const page = (await ask(url)).text;
    const text = /<textarea name="post">(.*)<\/textarea>/.exec(page)?.[1] ?? "";
    expect(text).toHaveLength(238_914);
    const body = `post=${encodeURIComponent(text).replaceAll("%20", "+")}`;
    const posted = await send(url, "POST", body, urlencoded);
    expect([posted.status, posted.headers.get("location")]).toEqual([303, "/"]);
    expect((await ask(url)).text).toContain("<li>complete: 238919 bytes, with");
    const { port, hostname: host } = new URL(url);
    const stalled = new Wire({ port: Number(port), host });
    stalled.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\npost=");
    const broken = new Wire({ port: Number(port), host });
    broken.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n");
    const refused = await broken.response();
    expect([refused.status, refused.body]).toEqual([400, "ERR_MILLRACE_BAD_CHUNK\n"]);
    await stalled.end();
    expect(stalled.buffer).toBe("");
    expect((await ask(url)).text).toContain("<li>fail: ERR_MILLRACE_GAVE_UP</li>");
  },

  "restart.mjs": async ({ child, url, socket }) => {
    const askOnce = async (target: string): Promise<string> => {
      const { port, hostname: host } = new URL(url);
      const client = new Wire({ port: Number(port), host });
      const { body } = await client.get(target, "Connection: close\r\n").response();
      client.close();
      return body;
    };
    const pid = child.process.pid;
    expect(await askOnce("/")).toBe(`process ${pid}\n`);
    const slow = askOnce("/slow");
    slow.catch(() => undefined); // when what is between fails
    await until("it is taken", async () => (await askOnce("/state")) === "1 slow\n");
    const next = node(join(folder, "restart.mjs"), { PORT: "0", HANDOVER_PATH: `${socket}.hand` });
    try {
      expect((await next.said(/ on (http:\S+) /))[1]).toBe(url);
      await child.said(new RegExp(`^process ${next.process.pid} serves from here on$`, "m"));
      for (let i = 0; i < 20; i += 1)
        expect(await askOnce("/")).toBe(`process ${next.process.pid}\n`);
      expect(child.hasExited).toBe(false);
      child.process.kill("SIGUSR2");
      expect(await slow).toBe(`process ${pid}, in the end\n`);
      expect(await child.exited).toEqual({ code: 0, signal: null });
    } finally {
      await next.stop();
    }
    expect(next.errors).toBe("");
    expect(await next.exited).toEqual({ code: 0, signal: null });
  },

  "routes.mjs": async ({ url }) => {
    expect((await ask(url)).text).toBe("Answered natively.\n");
    expect((await ask(`${url}/users/me`)).text).toBe("You.\n");
    const user = await ask(`${url}/users/a%2Fb?field=x&field=y`);
    expect(JSON.parse(user.text)).toEqual({ user: "a/b", fields: ["x", "y"] });
    expect((await ask(`${url}/users/7/posts/8`)).text).toBe('{"id":"7","post":"8"}');
    expect((await ask(`${url}/files/a/b.png`)).text).toBe("File a/b.png\n");
    expect((await ask(`${url}/robots.txt`)).text).toBe("Text robots.txt\n");
    expect((await ask(`${url}/note`)).text).toBe("nothing noted\n");
    const noted = await send(`${url}/note`, "PUT", "buy rye");
    expect([noted.status, noted.headers.get("set-cookie")]).toEqual([
      204,
      "note=buy%20rye; Max-Age=3600; Path=/; HttpOnly; SameSite=Lax",
    ]);
    const cookie = { cookie: "note=buy%20rye" };
    expect((await ask(`${url}/note`, { headers: cookie })).text).toBe("buy rye\n");
    expect((await send(`${url}/note`, "PUT", "x".repeat(201))).status).toBe(413);
    const refused = await ask(`${url}/note`, { method: "DELETE" });
    expect([refused.status, refused.text]).toEqual([405, "No DELETE here.\n"]);
    expect(refused.headers.get("allow")).toBe("GET, HEAD, PUT, OPTIONS");
    const old = await ask(`${url}/old`);
    expect([old.status, old.headers.get("location")]).toEqual([301, "/"]);
    const broken = await ask(`${url}/broken`);
    expect([broken.status, JSON.parse(broken.text)]).toMatchObject([
      500,
      { error: "the wheel fell off" },
    ]);
    const missing = await ask(`${url}/no/where`);
    expect([missing.status, missing.text]).toEqual([404, "Nothing at /no/where\n"]);
  },

  "scgi.mjs": async ({ url, socket }) => {
    expect((await ask(url)).text).toBe("Hello 127.0.0.1, by http/1.1.\n");
    expect((await ask(`${url}/variables`)).status).toBe(404);
    const byScgi = async (more: Record<string, string>, body = ""): Promise<string> => {
      const client = new Wire({ path: socket });
      client.send(scgiRequest({ REMOTE_ADDR: "203.0.113.9", ...more }, body));
      await client.end();
      return cgiAnswer(client.buffer).body;
    };
    expect(await byScgi({ REQUEST_URI: "/" })).toBe("Hello 203.0.113.9, by scgi.\n");
    expect(JSON.parse(await byScgi({ REQUEST_URI: "/variables" }))).toEqual({
      CONTENT_LENGTH: "0",
      SCGI: "1",
      REMOTE_ADDR: "203.0.113.9",
      REQUEST_URI: "/variables",
    });
    const upload = { REQUEST_METHOD: "POST", REQUEST_URI: "/upload" };
    expect(await byScgi(upload, "x".repeat(100_000))).toBe('{"bytes":100000}');
  },

  "several-doors.mjs": async ({ child, socket }) => {
    await child.said(/on unix:/);
    const urls = [...child.output.matchAll(/http:\S+/g)].map(([url]) => url);
    expect(urls).toHaveLength(2);
    const doors = await Promise.all(urls.map(async (url) => JSON.parse((await ask(url)).text)));
    expect(doors).toEqual([
      { door: "IPv4", from: "127.0.0.1" },
      { door: "IPv6", from: "::1" },
    ]);
    expect(JSON.parse(await askSocket(socket, "/"))).toEqual({ door: "unix", from: "" });
  },

  "sse.mjs": async ({ url }) => {
    expect((await ask(url)).text).toContain("new EventSource");
    expect((await send(`${url}/say`, "POST", "first")).status).toBe(204);
    const { port, hostname: host } = new URL(url);
    const client = new Wire({ port: Number(port), host });
    client.get("/events");
    await until("what was missed is there", () => client.buffer.includes('{"text":"first"}\n\n'));
    expect((await send(`${url}/say`, "POST", "second")).status).toBe(204);
    const second = 'event: line\nid: 2\ndata: {"text":"second"}\n\n';
    await until("what is said is there", () => client.buffer.includes(second));
    const other = new Wire({ port: Number(port), host });
    other.get("/events", "Last-Event-ID: 1\r\n");
    await until("the rest is there", () => other.buffer.includes(second));
    expect(other.buffer).not.toContain("first");
    client.close(); // the other is open when the server is told to end
  },

  // As a service it is run by systemd_example.test.ts.
  "systemd/app.mjs": async ({ child, url }) => {
    expect(JSON.parse((await ask(url)).text)).toEqual({ client: "127.0.0.1", mode: "test" });
    expect((await ask(`${url}/health/ready`)).text).toBe("ok\n");
    await child.stop();
    expect(child.output).toContain("closed: 0 finished, 0 cut\n");
  },

  "upload.mjs": async ({ child, url }) => {
    expect((await ask(url)).text).toContain('enctype="multipart/form-data"');
    const [, uploads = ""] = await child.said(/ into (\S+)\n/);
    const files = [randomBytes(2_000_000), randomBytes(70_000)];
    const form = new FormData();
    form.append("files", new Blob([files[0] as Buffer], { type: "application/pdf" }), "<a>.pdf");
    form.append("subject", "grain & more");
    form.append("message", "two\nlines");
    form.append("files", new Blob([files[1] as Buffer], { type: "text/plain" }), "../b.txt");
    const sent = await ask(`${url}/upload`, { method: "POST", body: form });
    expect([sent.status, sent.headers.get("location")]).toEqual([303, "/"]);
    const saved = readdirSync(uploads).sort();
    const contents = saved.map((name) => readFileSync(join(uploads, name)));
    expect(contents.map((bytes, at) => files[at]?.equals(bytes))).toEqual([true, true]);
    const page = (await ask(url)).text;
    expect(page).toContain("&lt;a&gt;.pdf: 2000000 bytes, SHA-256 ");
    expect(page).toContain("<li>subject: grain &amp; more</li>");
    form.append("files", new Blob(["x"], { type: "image/gif" }), "c.gif");
    expect((await ask(`${url}/upload`, { method: "POST", body: form })).status).toBe(415);
    expect((await send(`${url}/upload`, "POST", "a=b", urlencoded)).status).toBe(415);
    if (curl !== undefined) {
      const own = fileURLToPath(import.meta.url);
      const words = ["-s", "-F", "subject=s", "-F", `files=@${own};type=text/plain`];
      const code = await outputOf(curl, ...words, "-w", "%{http_code}", `${url}/upload`);
      expect(code).toBe("303");
      expect((await ask(url)).text).toContain(`<li>examples.test.ts: ${statSync(own).size} bytes`);
    }
    const { port, hostname: host } = new URL(url);
    const stalled = new Wire({ port: Number(port), host });
    const type = "Content-Type: multipart/form-data; boundary=q";
    stalled.send(`POST /upload HTTP/1.1\r\nHost: a\r\n${type}\r\nContent-Length: 10\r\n\r\n--q`);
    await stalled.end();
    expect(stalled.buffer).toBe("");
    await child.stop();
    expect(existsSync(uploads)).toBe(false);
  },

  "websocket-client.mjs": async ({ child }) => {
    await child.exited;
    expect(child.output.split("\n").slice(1)).toEqual([
      "counted to a sum of 500500; that was all",
      "ERR_MILLRACE_WS_REJECTED, status 401",
      "come in",
      "mirror sent 3 bytes back",
      "closed: 1000, true",
      "100 clients heard their own words",
      "",
    ]);
  },

  "cluster.mjs": async ({ child, url }) => {
    const seen = new Set<number>();
    const one = async (): Promise<void> => {
      const { text } = await ask(url, { headers: { connection: "close" } });
      const { greeting, index, threadId } = JSON.parse(text) as Record<string, number>;
      expect(greeting).toBe("hello");
      seen.add(threadId as number);
      expect(index === 0 || index === 1).toBe(true);
    };
    const all = () => Promise.allSettled(Array.from({ length: 8 }, one));
    await until("both threads have answered", async () => (await all()) && seen.size === 2);
    expect((await child.stop()).code).toBe(0);
    expect(child.output).toMatch(/thread 0 answered \d+ requests/);
    expect(child.output).toMatch(/thread 1 answered \d+ requests/);
  },

  "workers.mjs": async ({ url }) => {
    const threads = new Set<number>();
    // A new connection each time: a connection stays with the worker that accepted it.
    const one = async (): Promise<void> => {
      const { text } = await ask(`${url}/busy`, { headers: { connection: "close" } });
      threads.add((JSON.parse(text) as { thread: number }).thread);
    };
    await until("both workers have answered", async () => {
      await Promise.all([one(), one(), one(), one()]);
      return threads.size === 2;
    });
    expect(threads.has(0)).toBe(false);
  },
});
