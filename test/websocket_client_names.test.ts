// Names with several addresses. The resolver is replaced, as no name on a test machine is sure to
// have two.
import { expect, it, vi } from "vitest";
import { connect, type MillraceError } from "../src/index.ts";
import { echo, expectNoEngines, freePort, served } from "./support/clients.ts";

const asked: unknown[] = [];
vi.mock("node:dns/promises", () => ({
  lookup: async (name: string, options: unknown) => {
    asked.push([name, options]);
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
