// Python's websockets as a client of our server: text, bytes, pings, compression, the end.
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { expect, it } from "vitest";
import { onEachHost, portOf } from "./support/hosts.ts";

const run = promisify(execFile);
const PYTHON = "/usr/bin/python3"; // Debian's, which has the package
const isThere = await run(PYTHON, ["-c", "import websockets"]).then(
  () => true,
  () => false,
);
if (!isThere) process.stderr.write("websocket_python: no Python with websockets, skipped\n");

const program = `
import asyncio, json, sys, websockets
async def main(url, compression):
    async with websockets.connect(url, compression=compression, subprotocols=["chat"]) as ws:
        sent = ["grüße", "again and again " * 10000, bytes(range(256)) * 300, "", b""]
        for message in sent: await ws.send(message)
        same = [await ws.recv() == message for message in sent]
        await asyncio.wait_for(await ws.ping(b"are you there"), 10)
        await ws.send("close")
        try: await ws.recv()
        except websockets.ConnectionClosed as end: seen = [end.rcvd.code, end.rcvd.reason]
        names = [extension.name for extension in ws.extensions]
        print(json.dumps([same, ws.subprotocol, names, seen]))
asyncio.run(main(sys.argv[1], sys.argv[2] or None))
`;

onEachHost(({ start }) => {
  it.skipIf(!isThere).each(["", "deflate"])("is understood; compression: %j", async (kind) => {
    const closed: [number, string][] = [];
    const server = await start({
      routes: {
        "/": {
          protocols: ["chat"],
          perMessageDeflate: { contextTakeover: true, peerContextTakeover: true },
          message(ws, data) {
            if (data === "close") ws.close(4003, "as you wish");
            else ws.send(data);
          },
          close: (_ws, code, reason) => void closed.push([code, reason]),
        },
      },
    });
    const url = `ws://127.0.0.1:${portOf(server)}/`;
    const { stdout } = await run(PYTHON, ["-c", program, url, kind], { timeout: 15_000 });
    const names = kind === "" ? [] : ["permessage-deflate"];
    const end = [4003, "as you wish"];
    expect(JSON.parse(stdout)).toEqual([Array(5).fill(true), "chat", names, end]);
    await server.close();
    expect(closed).toEqual([end]);
  });
});
