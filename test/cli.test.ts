// npx millrace: what it prints for nginx runs in a real one as it stands.
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { raw, type ServeOptions, serve, type TrustProxy, websocket } from "millrace";
import { afterAll, afterEach, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { WebSocket } from "ws";
import { nginxConfiguration } from "../src/cli/nginx.ts";
import { readWords } from "../src/cli/words.ts";
import { Child } from "./support/child.ts";
import { freePort, type Nginx, nginxPath, startNginx } from "./support/nginx.ts";
import { until } from "./support/until.ts";
import { closeWires, Wire } from "./support/wire.ts";

let tmp = "";
beforeAll(() => {
  tmp = mkdtempSync(join(tmpdir(), "millrace-cli-"));
});
afterAll(() => rmSync(tmp, { recursive: true, force: true }));
afterEach(closeWires);

async function run(...words: readonly string[]): Promise<Child & { readonly code: number | null }> {
  const child = new Child(process.execPath, ["dist/cli.js", ...words]);
  const { code } = await child.exited;
  return Object.assign(child, { code });
}

describe("npx millrace", () => {
  it("says its version and what it can do", async () => {
    const { version } = JSON.parse(readFileSync("package.json", "utf8")) as { version: string };
    for (const word of ["--version", "-v"]) expect((await run(word)).output).toBe(`${version}\n`);
    for (const words of [["--help"], ["-h"], [], ["nginx", "--help"]]) {
      const { code, output } = await run(...words);
      expect(code).toBe(0);
      expect(output).toContain("millrace nginx (--unix PATH | --port N)");
    }
  });

  it("prints the configuration that the library makes", async () => {
    const { code, output } = await run("nginx", "--unix=/run/app.sock", "--name", "a.example");
    expect(code).toBe(0);
    expect(output).toContain("server unix:/run/app.sock max_fails=0;");
    expect(output).toContain("server_name a.example;");
  });

  it.each([
    [["ngins"], 'no command "ngins"'],
    [["nginx"], "either --unix PATH or --port N"],
    [["nginx", "--unix", "/a", "--port", "1"], "either --unix PATH or --port N"],
    [["nginx", "--prot", "1"], "did you mean --port?"],
    [["nginx", "--port"], "--port needs a value"],
    [["nginx", "--port", "1", "--port", "2"], "--port was given twice"],
    [["nginx", "--port", "65536"], "--port must be an integer from 1 to 65535"],
    [["nginx", "--port", "1", "--scgi=1"], "--scgi takes no value"],
    [["nginx", "--unix", "relative"], "--unix must be an absolute path"],
    [["nginx", "--unix", "/a;b"], "--unix must be an absolute path"],
    [["nginx", "--port", "1", "--name", "a b;"], "--name must be a host name"],
    [["nginx", "--port", "1", "--root", "x"], "--root must be an absolute path"],
  ])("refuses %j with a code", async (words, message) => {
    const { code, errors, output } = await run(...words);
    expect(code).toBe(2);
    expect(output).toBe("");
    expect(errors).toContain(message);
    expect(errors).toContain("[ERR_MILLRACE_INVALID_OPTION]");
  });
});

describe("the words of a command line", () => {
  it("are options with values, in both forms, and flags", () => {
    const options = { a: "value", b: "value", c: "flag" } as const;
    const { flags, values } = readWords(["--a", "1", "--c", "--b=--x=y"], options);
    expect(values).toEqual({ a: "1", b: "--x=y" });
    expect([...flags]).toEqual(["c"]);
  });
});

const UPLOAD = "u".repeat(5 * 1024 * 1024);

const options = {
  silent: true,
  log: false,
  limits: { maxRequestBodySize: 8 * 1024 * 1024 },
  routes: {
    "/": raw((req, res) => void res.end(`${req.ip} ${req.headers.get("host")}`)),
    "/who": raw((req, res) => {
      const { encrypted, request } = req.ctx;
      res.end(`${req.ip} ${encrypted} ${new URL(request.url).hostname}`);
    }),
    "/connection": raw((req, res) => void res.end(req.headers.get("connection") ?? "none")),
    "/events": raw((_req, res) => {
      const events = res.events();
      events.send("first");
      ends.add(() => events.close());
    }),
    "/file": raw((_req, res) => void res.accel("/protected/file.txt")),
    "/upload": { POST: raw(async (req, res) => void res.end(String((await req.bytes()).length))) },
    "/socket": websocket({ message: (socket, data) => void socket.send(data) }),
  },
} satisfies ServeOptions;
const ends = new Set<() => void>();
const logged: string[] = [];

// All that a client can claim, and what of it nginx takes for the same name.
const CLAIMS = ["X-Forwarded-For", "X_Forwarded_For", "X-Real-IP"]
  .map((name) => `${name}: 6.6.6.6\r\n`)
  .concat("Forwarded: for=6.6.6.6;proto=https;host=evil.example\r\n")
  .concat("X-Forwarded-Proto: https\r\nX-Forwarded-Host: evil.example\r\nX-Forwarded-Port: 1\r\n")
  .join("");

async function proxied(
  listen: object,
  isScgi: boolean,
  where: string,
  trustProxy: TrustProxy = true,
): Promise<Nginx> {
  const accessLog: ServeOptions["accessLog"] = (records) =>
    void logged.push(...records.map(({ ip }) => ip));
  const listened = { ...options, accessLog, listen: [listen], trustProxy };
  const server = await serve(listened as ServeOptions);
  onTestFinished(async () => void (await server.close({ timeout: 0 })));
  const root = join(tmp, "files");
  mkdirSync(root, { recursive: true });
  writeFileSync(join(root, "file.txt"), "from the disk");
  const nginx = await startNginx(1, ([port = 0]) =>
    nginxConfiguration({
      server: where,
      listen: port,
      name: "example.org",
      root,
      isScgi,
      version: "0.0.0",
    }),
  );
  onTestFinished(() => nginx.stop());
  return nginx;
}

function throughNginx(nginx: Nginx): Wire {
  return new Wire({ port: nginx.ports[0] as number, host: "127.0.0.1" });
}

describe.skipIf(process.env["MILLRACE_SKIP_NGINX"] && nginxPath === undefined).each([
  ["over a unix socket", "unix", false],
  ["over TCP", "port", false],
  ["by SCGI over a unix socket", "unix", true],
  ["by SCGI over TCP", "port", true],
] as const)("the printed nginx configuration, %s,", (_title, way, isScgi) => {
  async function start(trustProxy?: TrustProxy): Promise<Nginx> {
    const port = await freePort();
    const unix = join(tmp, `${port}.sock`);
    const where = way === "unix" ? `unix:${unix}` : `127.0.0.1:${port}`;
    const at = way === "unix" ? { unix } : { port };
    return proxied(isScgi ? { ...at, protocol: "scgi" } : at, isScgi, where, trustProxy);
  }

  it("serves requests, files and uploads", async () => {
    const nginx = await start();
    const client = throughNginx(nginx);
    for (let i = 0; i < 3; i += 1) {
      const { body, status } = await client.get("/").response();
      expect([status, body]).toEqual([200, "127.0.0.1 a"]);
    }
    expect((await client.get("/file").response()).body).toBe("from the disk");
    expect((await client.get("/protected/file.txt").response()).status).toBe(404);
    const head = `POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: ${UPLOAD.length}\r\n\r\n`;
    expect((await client.send(head + UPLOAD).response()).body).toBe(String(UPLOAD.length));
    const said = nginx.log().split("\n");
    expect(said.filter((line) => !/^$|body is buffered to a temp/.test(line))).toEqual([]);
    if (!isScgi) expect(nginx.log(), "nothing is buffered on the way in").toBe("");
  });

  it.each([1, 2, true, "loopback", "unix", ["loopback", "unix"]] as TrustProxy[])(
    "does not let a client claim who it is: trustProxy %j",
    async (trustProxy) => {
      logged.length = 0;
      const client = throughNginx(await start(trustProxy));
      const { body } = await client.get("/who", CLAIMS).response();
      // Over HTTP without trust the peer is nginx itself.
      const isKnown = isScgi || trustProxy !== (way === "unix" ? "loopback" : "unix");
      expect(body).toBe(`${isKnown || way === "port" ? "127.0.0.1" : ""} false a`);
      await until("it is logged", () => logged.length > 0);
      expect(logged).toEqual([body.split(" ")[0]]);
    },
  );

  it("passes events on as they come", async () => {
    const client = throughNginx(await start());
    client.get("/events");
    await until("the first event is there", () => client.buffer.includes("data: first"));
    expect(client.ended).toBe(false);
    for (const end of ends) end();
    ends.clear();
  });

  it.skipIf(isScgi)("takes WebSockets, and keeps connections of others", async () => {
    const nginx = await start();
    const client = throughNginx(nginx);
    expect((await client.get("/connection").response()).body).not.toBe("close");
    const socket = new WebSocket(`ws://127.0.0.1:${nginx.ports[0]}/socket`);
    socket.on("open", () => socket.send("hello"));
    const [echoed] = (await once(socket, "message")) as [Buffer];
    expect(echoed.toString()).toBe("hello");
    socket.terminate();
  });
});
