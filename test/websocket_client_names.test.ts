// Names with several addresses. The resolver is replaced, as no name on a test machine is sure to
// have two.
import { createServer, type Socket } from "node:net";
import { expect, it, onTestFinished, vi } from "vitest";
import { connect, type MillraceError } from "../src/index.ts";
import { echo, expectNoEngines, freePort, served } from "./support/clients.ts";

const asked: unknown[] = [];
let many: readonly string[] = [];
vi.mock("node:dns/promises", () => ({
  lookup: async (name: string, options: unknown) => {
    asked.push([name, options]);
    if (name === "many.example") return many.map((address) => ({ address, family: 4 }));
    return [
      { address: "::1", family: 6 },
      { address: "127.0.0.1", family: 4 },
    ];
  },
}));
expectNoEngines();

it("tries the addresses of a name in order until one takes the connection", async () => {
  const { url } = await served(echo);
  const { port } = new URL(url);
  await using ws = await connect(`ws://two.example:${port}/`);
  expect(ws.remoteAddress).toEqual({ family: "IPv4", address: "127.0.0.1", port: Number(port) });
  expect(asked.splice(0)).toEqual([["two.example", { all: true }]]);
});

it("tells all errors when none does, with the code of the first", async () => {
  const port = await freePort();
  const error = await connect(`ws://two.example:${port}/`).catch((each: unknown) => each);
  expect((error as MillraceError).code).toBe("ERR_MILLRACE_WS_CONNECT");
  const { cause } = error as MillraceError;
  expect(cause).toBeInstanceOf(AggregateError);
  const { errors, code } = cause as AggregateError & { code: string };
  expect(errors.map(({ address }: { address: string }) => address)).toEqual(["::1", "127.0.0.1"]);
  expect(code).toBe(errors[0].code);
});

// Linux has all of 127.0.0.0/8.
it.skipIf(process.platform !== "linux")(
  "leaves time to the other addresses when the first one says nothing",
  async () => {
    const { url } = await served(echo);
    const port = Number(new URL(url).port);
    const sockets = new Set<Socket>();
    const mute = createServer((socket) => void sockets.add(socket.on("error", () => undefined)));
    await new Promise<void>((resolve) => mute.listen(port, "127.0.0.2", resolve));
    onTestFinished(async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => mute.close(resolve));
    });
    // Many, so that the first one's share is small.
    many = ["127.0.0.2", ...Array.from({ length: 30 }, () => "127.0.0.1")];
    await using ws = await connect(`ws://many.example:${port}/`, { timeout: 10_000 });
    expect(ws.remoteAddress.address).toBe("127.0.0.1");
    expect(sockets.size).toBe(1);
    many = ["127.0.0.2", "127.0.0.3"];
    const error = await connect(`ws://many.example:${port}/`, { timeout: 400 }).catch(
      (each: unknown) => each,
    );
    const { cause } = error as { cause: AggregateError };
    expect(cause.errors.map(({ code }: { code: string }) => code)).toEqual([
      "ETIMEDOUT",
      "ECONNREFUSED",
    ]);
  },
);
