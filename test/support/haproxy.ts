// A real HAProxy of its own: configuration and ports are this test's alone.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Child } from "./child.ts";
import { freePort, takesConnections } from "./nginx.ts";
import { programNamed } from "./programs.ts";
import { until } from "./until.ts";

export interface Haproxy {
  /** Where it listens on 127.0.0.1, in the order of the names asked for. */
  readonly ports: readonly number[];
  readonly stop: () => Promise<void>;
}

export const haproxyPath: string | undefined = programNamed("haproxy");

/**
 * Starts HAProxy with `sections`, made for `count` free ports; resolves when it takes connections.
 */
export async function startHaproxy(
  count: number,
  sections: (ports: readonly number[]) => string,
): Promise<Haproxy> {
  const folder = mkdtempSync(join(tmpdir(), "millrace-haproxy-"));
  try {
    const ports = await Promise.all(Array.from({ length: count }, freePort));
    const file = join(folder, "haproxy.cfg");
    writeFileSync(file, configuration(sections(ports)));
    const child = new Child(haproxyPath ?? "haproxy", ["-db", "-q", "-f", file]);
    const stop = async (): Promise<void> => {
      await child.stop();
      rmSync(folder, { recursive: true, force: true });
    };
    await until("HAProxy takes connections", async () => {
      if (child.hasExited) throw new Error(`HAProxy ended: ${child.errors}${child.output}`);
      return takesConnections(ports.at(-1) as number);
    });
    return { ports, stop };
  } catch (error) {
    rmSync(folder, { recursive: true, force: true });
    throw error;
  }
}

function configuration(sections: string): string {
  return `
global
  maxconn 256
  nbthread 1
  tune.ssl.default-dh-param 2048
defaults
  mode tcp
  timeout connect 10s
  timeout client 30s
  timeout server 30s
${sections}
`;
}
