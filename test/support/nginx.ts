// A real nginx of its own: configuration, temporary files and port are this test's alone.
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { type AddressInfo, connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Child } from "./child.ts";
import { programNamed } from "./programs.ts";
import { until } from "./until.ts";

export interface Nginx {
  /** Where it listens on 127.0.0.1, in the order of the names asked for. */
  readonly ports: readonly number[];
  /** What it has logged from level warn on. */
  readonly log: () => string;
  readonly stop: () => Promise<void>;
}

export const nginxPath: string | undefined = programNamed("nginx");

/** The module for stream { }, where it is installed (Debian: libnginx-mod-stream). */
export const nginxStreamModule: string | undefined = [
  "/usr/lib/nginx/modules/ngx_stream_module.so",
  "/usr/lib64/nginx/modules/ngx_stream_module.so",
].find((path) => existsSync(path));

/**
 * Starts nginx with `http`, what stands inside http { }, made for `count` free ports; resolves when
 * it takes connections. `stream`: what stands inside stream { }.
 */
export async function startNginx(
  count: number,
  http: (ports: readonly number[]) => string,
  stream?: (ports: readonly number[]) => string,
): Promise<Nginx> {
  const folder = mkdtempSync(join(tmpdir(), "millrace-nginx-"));
  try {
    const ports = await Promise.all(Array.from({ length: count }, freePort));
    writeFileSync(join(folder, "nginx.conf"), configuration(folder, http(ports), stream?.(ports)));
    const words = ["-p", folder, "-e", "stderr", "-c", join(folder, "nginx.conf")];
    const child = new Child(nginxPath ?? "nginx", words);
    const stop = async (): Promise<void> => {
      await child.stop();
      rmSync(folder, { recursive: true, force: true });
    };
    await until("nginx takes connections", async () => {
      if (child.hasExited) throw new Error(`nginx ended: ${child.errors}`);
      return takesConnections(ports.at(-1) as number);
    });
    return { ports, log: () => child.errors, stop };
  } catch (error) {
    rmSync(folder, { recursive: true, force: true });
    throw error;
  }
}

function configuration(folder: string, http: string, stream: string | undefined): string {
  const temp = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
  return [
    // Root's nginx would change to a user that may not enter the folder.
    process.getuid?.() === 0 ? "user root;" : "",
    stream === undefined ? "" : `load_module ${nginxStreamModule};`,
    "daemon off;",
    "worker_processes 1;",
    `pid ${folder}/nginx.pid;`,
    "error_log stderr warn;",
    "events { worker_connections 512; }",
    "http {",
    "access_log off;",
    "keepalive_requests 1000000;",
    ...temp.map((name) => `${name}_temp_path ${folder}/${name};`),
    http,
    "}",
    stream === undefined ? "" : `stream {\n${stream}\n}`,
  ].join("\n");
}

/** A port of 127.0.0.1 that nobody listens on just now. */
export async function freePort(): Promise<number> {
  const probe = createServer();
  await new Promise<void>((resolve) => probe.listen(0, "127.0.0.1", resolve));
  const { port } = probe.address() as AddressInfo;
  await new Promise((resolve) => probe.close(resolve));
  return port;
}

export function takesConnections(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: "127.0.0.1" });
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}
