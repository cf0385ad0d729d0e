// What a peer sent before its close frame, or before a mistake, is answered before ours goes out,
// though all of it arrives at once.
import { expect, it } from "vitest";
import type { WebSocketHandler } from "../src/index.ts";
import { closeFrame, frame, frames, TEXT } from "./support/frames.ts";
import { onEachHost } from "./support/hosts.ts";

const handlers: Readonly<Record<string, WebSocketHandler>> = {
  "a handler": { message: (ws, data) => void ws.send(data) },
  "an asynchronous handler": {
    message: async (ws, data) => {
      await new Promise(setImmediate);
      ws.send(data);
    },
  },
  "an iterator": {
    open: async (ws) => {
      for await (const data of ws) {
        await new Promise(setImmediate);
        ws.send(data);
      }
    },
  },
};

onEachHost(({ start }) => {
  for (const [name, handler] of Object.entries(handlers)) {
    it(`lets ${name} answer messages that a close frame follows at once`, async () => {
      const server = await start({ routes: { "/": handler } });
      const all = [frame(TEXT, "first"), frame(TEXT, "last"), closeFrame(4000, "bye")];
      const client = await frames(server, "/", "", Buffer.concat(all));
      expect((await client.next()).payload.toString()).toBe("first");
      expect((await client.next()).payload.toString()).toBe("last");
      expect(await client.closed()).toEqual([4000, "bye"]);
    });

    it(`lets ${name} answer messages that a mistake follows at once`, async () => {
      const server = await start({ routes: { "/": handler } });
      const all = [frame(TEXT, "last"), frame(TEXT, Buffer.from([0xff]))];
      const client = await frames(server, "/", "", Buffer.concat(all));
      expect((await client.next()).payload.toString()).toBe("last");
      expect(await client.closed()).toEqual([1007, ""]);
    });
  }

  it("waits for a handler that takes too long no longer than closeTimeout", async () => {
    const never = new Promise<void>(() => {});
    const handler = { closeTimeout: 100, message: () => never };
    const server = await start({ routes: { "/": handler } });
    const client = await frames(server, "/", "", Buffer.concat([frame(TEXT, "a"), closeFrame()]));
    expect(await client.closed()).toEqual([1005, ""]);
    await server.close({ timeout: 100 });
  });
});
