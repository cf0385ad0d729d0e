// What the process knows and may change of its descriptors. All in children with few of them.
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { Child } from "./support/child.ts";
import { until } from "./support/until.ts";
import { closeWires, Wire } from "./support/wire.ts";

const file = fileURLToPath(new URL("children/fds.mjs", import.meta.url));

function limited(limits: string, name: string): Child {
  const preload = process.env["LD_PRELOAD"] ?? "";
  const command = `${limits}; LD_PRELOAD="$0" exec "$@"`;
  return new Child("bash", ["-c", command, preload, process.execPath, file, name]);
}

async function told(limits: string, name: string): Promise<unknown> {
  const child = limited(limits, name);
  const exit = await child.exited;
  expect(exit, child.errors).toEqual({ code: 0, signal: null });
  return JSON.parse(child.output);
}

describe("fds", () => {
  it("says what ulimit -n and ulimit -Hn say", async () => {
    expect(await told("ulimit -n 128", "limits")).toEqual({ soft: 128, hard: 128 });
    // Node raises the soft one at its start.
    expect(await told("ulimit -Sn 64; ulimit -Hn 160", "limits")).toEqual({ soft: 160, hard: 160 });
  });

  it("counts what is open, also when nothing is left to count with", async () => {
    const { full, soft, ...rest } = (await told("ulimit -n 128", "open")) as Record<
      string,
      unknown
    >;
    expect(rest).toEqual({ more: [3, 0], code: "Error EMFILE" });
    expect(full).toBe(soft);
  });

  it("raises the soft limit up to the hard one, and never lowers it", async () => {
    const refused = (got: string): string =>
      "MillraceError ERR_MILLRACE_INVALID_OPTION: " +
      `fds.raise() takes an integer from 1 to 128, the hard limit, got ${got}`;
    expect(await told("ulimit -n 128", "raise")).toEqual({
      steps: ["0", "-1", "1.5", "NaN", '"50"', "129", "Infinity"].map(refused),
      before: 40,
      lowered: 40,
      raised: 50,
      soft: 50,
      most: 128,
      hard: 128,
    });
  });

  it("are not needed to reload a server", async () => {
    const said = await told("ulimit -n 128", "reload");
    expect(said).toEqual({ before: "1", code: "Error EMFILE", after: "2" });
  });

  it("lets a server that has paused accept what waits", async () => {
    const child = limited("ulimit -n 256", "server");
    try {
      const [, port] = await child.said(/listening \S+:(\d+)/);
      const connect = (): Wire => new Wire({ port: Number(port), host: "127.0.0.1" }).get("/");
      const clients = Array.from({ length: 60 }, connect);
      const answered = (): number => clients.filter(({ buffer }) => buffer !== "").length;
      await child.said(/pauses [1-9]/);
      await until("some are served", () => answered() > 0);
      expect(answered()).toBeLessThan(25);
      const [first, ...others] = clients.sort((a, b) => b.buffer.length - a.buffer.length);
      expect((await first?.response())?.body).toBe("hello");
      expect((await first?.get("/raise").response())?.body).toBe("256");
      await until("all are served", () => others.every(({ buffer }) => buffer.endsWith("hello")));
    } finally {
      closeWires();
      await child.stop();
    }
  });
});
