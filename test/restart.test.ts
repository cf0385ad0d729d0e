// Restarts that nobody notices: listening sockets go from process to process, or two upstreams take
// turns, under a load of requests none of which may fail. nginx does not try a request twice here.
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import type { HandoverOptions, ServeOptions, ServerCloseOptions } from "../src/index.ts";
import { node } from "./support/child.ts";
import { type Exchange, makeLoad, type Tally } from "./support/load.ts";
import { freePort, type Nginx, nginxPath, startNginx } from "./support/nginx.ts";
import { gate, until } from "./support/until.ts";
import { closeWires, Wire } from "./support/wire.ts";

// The proof of a release is made with 200 000.
const REQUESTS = Number(process.env["MILLRACE_RESTART_REQUESTS"] ?? 6000);
const WITH_LOAD_MS = 60_000 + REQUESTS;
const hasNginx = !process.env["MILLRACE_SKIP_NGINX"] || nginxPath !== undefined;

type Child = ReturnType<typeof node>;
interface Options extends Omit<ServeOptions, "handover"> {
  readonly handover?: HandoverOptions;
  readonly close?: ServerCloseOptions; // on SIGTERM
}

/** A server process; resolves when it is ready, or at once with a fate. */
async function start(options: Options, fate?: string): Promise<Child> {
  const env = { RESTART_OPTIONS: JSON.stringify(options), ...(fate && { FATE: fate }) };
  const child = node("test/children/restart.mjs", env);
  onTestFinished(async () => void (await child.stop("SIGKILL")));
  if (fate !== "self") await child.said(/^ready /m);
  return child;
}

function exchange(n: number): Exchange {
  if (n % 3 !== 0) {
    const request = `GET /text/${n} HTTP/1.1\r\nHost: a\r\n\r\n`;
    return { request, status: 200, body: `text ${n}` };
  }
  const body = `body ${n} `.repeat(1 + (n % 100));
  const head = `POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: ${body.length}\r\n\r\n`;
  return { request: head + body, status: 200, body };
}

/** Load until enough was asked and `work` is done; `work` is told of milestones by count. */
async function underLoad(
  ports: readonly number[],
  work: (milestone: (part: number) => Promise<void>) => Promise<void>,
): Promise<readonly Tally[]> {
  let made = 0;
  let isOver = false;
  const waiting: { readonly at: number; readonly open: () => void }[] = [];
  const next = (): Exchange | undefined => {
    if (made >= REQUESTS && isOver) return undefined;
    made += 1;
    for (const { at, open } of waiting) if (made >= at) open();
    return exchange(made);
  };
  const milestone = async (part: number): Promise<void> => {
    const reached = gate();
    waiting.push({ at: Math.floor(REQUESTS * part), open: () => reached.open() });
    await reached.promise;
  };
  const loads = ports.map((port) => makeLoad({ port, connections: 8, depth: 2, next }));
  const done = work(milestone).finally(() => {
    isOver = true;
  });
  const [tallies] = await Promise.all([Promise.all(loads), done]);
  const good = tallies.reduce((sum, tally) => sum + tally.good, 0);
  expect(tallies.flatMap(({ wrong }) => wrong)).toEqual([]);
  expect(good).toBe(made);
  expect(made).toBeGreaterThanOrEqual(REQUESTS);
  return tallies;
}

/** nginx that passes on to the addresses, a port for each list, and never tries twice. */
async function inFrontOf(
  retries: string,
  ...lists: readonly (readonly string[])[]
): Promise<Nginx> {
  const nginx = await startNginx(lists.length, (ports) =>
    lists
      .map((addresses, at) => {
        const servers = addresses.map((each) => `server ${each} max_fails=0;`).join(" ");
        return `
          upstream up${at} { ${servers} keepalive 16; keepalive_timeout 500ms; }
          server {
            listen 127.0.0.1:${ports[at]};
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_next_upstream ${retries};
            location / { proxy_pass http://up${at}; }
          }`;
      })
      .join("\n"),
  );
  onTestFinished(() => nginx.stop());
  return nginx;
}

async function pidAt(port: number): Promise<number> {
  const client = new Wire({ port, host: "127.0.0.1" });
  const { body } = await client.get("/pid").response();
  client.close();
  return Number(body);
}

describe("restart", () => {
  let tmp = "";
  beforeAll(() => {
    tmp = mkdtempSync(join(tmpdir(), "millrace-restart-"));
  });
  afterAll(() => rmSync(tmp, { recursive: true, force: true }));
  afterEach(closeWires);
  let last = 0;
  const at = (name: string): string => join(tmp, `${(last += 1)}-${name}`);

  describe.each([0, 2])("by hand-over, %i loops", (loops) => {
    it.runIf(hasNginx)(
      "three times under load loses no request, over TCP and a unix socket",
      { timeout: WITH_LOAD_MS },
      async () => {
        const port = await freePort();
        const unix = at("app");
        const path = at("hand");
        const options: Options = {
          loops,
          listen: [{ port }, { unix, mode: 0o660 }],
          handover: { path, wait: 2000 },
        };
        let current = await start(options);
        const nginx = await inFrontOf("off", [`127.0.0.1:${port}`], [`unix:${unix}`]);
        await underLoad(nginx.ports, async (milestone) => {
          for (const part of [0.2, 0.4, 0.6]) {
            await milestone(part);
            const next = await start(options);
            await current.said(new RegExp(`^handed over to ${next.process.pid}$`, "m"));
            await current.said(/^closed \d+ 0$/m);
            expect(await current.exited).toEqual({ code: 0, signal: null });
            expect(current.errors).toBe("");
            current = next;
          }
        });
        expect(nginx.log()).toBe("");
        expect(await pidAt(nginx.ports[1] as number)).toBe(current.process.pid);
        expect((await current.stop()).code).toBe(0);
        for (const gone of [unix, path]) {
          expect(() => statSync(gone), "removed by the last one").toThrow("ENOENT");
        }
      },
    );

    it("lets the old process go on when the new one dies before it serves", async () => {
      const path = at("hand");
      const options: Options = { loops, port: await freePort(), handover: { path, wait: 0 } };
      const old = await start(options);
      const port = options.port as number;
      for (let i = 0; i < 2; i += 1) {
        const dying = await start(options, "self");
        expect((await dying.exited).signal).toBe("SIGKILL");
        expect(await pidAt(port)).toBe(old.process.pid);
      }
      expect(old.output).not.toContain("handed over");
      const next = await start(options);
      expect((await old.exited).code).toBe(0);
      expect(await pidAt(port)).toBe(next.process.pid);
    });

    it("serves on when the old process is killed meanwhile, which loses what it had", async () => {
      const path = at("hand");
      const unix = at("app");
      const port = await freePort();
      const handover = { path, wait: 0 };
      const options: Options = { loops, listen: [{ port }, { unix }], handover };
      const old = await start(options);
      const held = new Wire({ port, host: "127.0.0.1" }).get("/held");
      await old.said(/^holds$/m);
      const next = await start(options, String(old.process.pid));
      expect((await old.exited).signal).toBe("SIGKILL");
      await until("the connection of the killed one is gone", () => held.ended);
      expect(held.buffer).toBe("");
      expect(await pidAt(port)).toBe(next.process.pid);
      const local = await new Wire({ path: unix }).get("/pid").response();
      expect(local.body).toBe(String(next.process.pid));
      const third = await start(options);
      expect((await next.exited).code).toBe(0);
      expect(await pidAt(port)).toBe(third.process.pid);
    });

    it("keeps answering what was asked of the old process, within its time", async () => {
      const port = await freePort();
      const handover = { path: at("hand"), wait: 0, timeout: 30_000 };
      const old = await start({ loops, port, handover });
      const held = new Wire({ port, host: "127.0.0.1" }).get("/held");
      await old.said(/^holds$/m);
      await start({ loops, port, handover });
      await old.said(/^handed over/m);
      old.process.kill("SIGUSR2");
      const answer = await held.response();
      expect(answer.body).toBe("held");
      expect(answer.headers.get("connection")).toBe("close");
      held.close();
      await old.said(/^closed 1 0$/m);
    });

    it("binds what the old process did not listen on, and drops what is not wanted", async () => {
      const [kept, dropped, fresh] = await Promise.all([freePort(), freePort(), freePort()]);
      const handover = { path: at("hand"), wait: 0 };
      const old = await start({ loops, listen: [{ port: kept }, { port: dropped }], handover });
      const next = await start({ loops, listen: [{ port: fresh }, { port: kept }], handover });
      expect((await old.exited).code).toBe(0);
      for (const port of [kept, fresh]) expect(await pidAt(port)).toBe(next.process.pid);
      const refused = new Wire({ port: dropped, host: "127.0.0.1" });
      await until("it is refused", () => refused.ended);
      expect(refused.error).toBe("ECONNREFUSED");
    });
  });

  it("replaces a stale path, and lets nobody else in", async () => {
    const path = at("hand");
    const options: Options = { port: await freePort(), handover: { path } };
    const first = await start(options);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    await first.stop("SIGKILL");
    expect(statSync(path).isSocket(), "nobody removed it").toBe(true);
    const second = await start(options);
    expect(await pidAt(options.port as number)).toBe(second.process.pid);
  });

  it("rejects when somebody at the path does not hand over", async () => {
    const path = at("hand");
    const stranger = createServer((socket) => void socket.resume().end("hello\n")).listen(path);
    onTestFinished(() => void stranger.close());
    await until("it listens", () => stranger.listening);
    const { serve } = await import("../src/index.ts");
    const started = serve({ port: 0, handover: path, silent: true, handler: () => undefined });
    await expect(started).rejects.toMatchObject({
      code: "ERR_MILLRACE_HAND_OVER",
      message: expect.stringContaining("hello"),
    });
  });

  it.runIf(hasNginx)(
    "of two upstreams in turn loses no request when they wait for nginx",
    { timeout: WITH_LOAD_MS },
    async () => {
      const ports = [await freePort(), await freePort()];
      const close = { wait: 1500, timeout: 10_000 };
      const options = ports.map((port): Options => ({ loops: 1, port, close }));
      const servers = await Promise.all(options.map((each) => start(each)));
      const addresses = ports.map((port) => `127.0.0.1:${port}`);
      const nginx = await inFrontOf("error", addresses);
      await underLoad(nginx.ports, async (milestone) => {
        for (const [turn, part] of [0.2, 0.4, 0.6].entries()) {
          await milestone(part);
          const which = turn % 2;
          const old = servers[which] as Child;
          old.process.kill("SIGTERM");
          await old.said(/^closed \d+ 0$/m);
          await old.stop("SIGKILL");
          servers[which] = await start(options[which] as Options);
        }
      });
    },
  );
});
