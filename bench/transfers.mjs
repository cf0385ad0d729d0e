// The clients of bench/streams.mjs: they send and receive bytes as cheaply as a Node process can,
// and
// know no more of HTTP than that takes.
import { once } from "node:events";
import { connect } from "node:net";

const MIB = 1_048_576;
const BLOCK = Buffer.alloc(MIB, "u");
const BOUNDARY = "----benchmark0boundary0123456789";

/** Sends `mib` MiB to `path`, raw or as the file of a form; the answer must say their number. */
export async function upload(port, path, mib, isForm) {
  const before = isForm
    ? `--${BOUNDARY}\r\nContent-Disposition: form-data; name="f"; filename="f.bin"\r\n` +
      "Content-Type: application/octet-stream\r\n\r\n"
    : "";
  const after = isForm ? `\r\n--${BOUNDARY}--\r\n` : "";
  const type = isForm ? `multipart/form-data; boundary=${BOUNDARY}` : "application/octet-stream";
  const length = before.length + mib * MIB + after.length;
  const socket = connect(port, "127.0.0.1");
  await once(socket, "connect");
  const answer = text(socket);
  socket.write(
    `POST ${path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: ${type}\r\n` +
      `Content-Length: ${length}\r\n\r\n${before}`,
  );
  for (let sent = 0; sent < mib; sent += 1) {
    if (!socket.write(BLOCK)) await once(socket, "drain");
  }
  socket.write(after);
  const said = await answer;
  if (!said.startsWith("HTTP/1.1 200 ") || !said.includes(`${mib * MIB}`))
    throw new Error(`${path} answered ${JSON.stringify(said.slice(0, 200))}`);
}

async function text(socket) {
  let all = "";
  socket.setEncoding("latin1");
  for await (const part of socket) all += part;
  return all;
}

/** Receives `path`, whose body has `mib` MiB or a little more (chunk sizes). */
export async function download(port, path, mib) {
  const socket = connect({
    port,
    host: "127.0.0.1",
    // One buffer for all reads.
    onread: {
      buffer: Buffer.alloc(MIB),
      callback: (count) => {
        size += count;
        return true;
      },
    },
  });
  let size = 0;
  await once(socket, "connect");
  socket.write(`GET ${path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`);
  await once(socket, "close");
  if (size < mib * MIB || size > mib * MIB * 1.01)
    throw new Error(`${path}: ${size} bytes came instead of ${mib} MiB`);
}

/** The body of a small answer. */
export async function ask(port, path) {
  const socket = connect(port, "127.0.0.1");
  const answer = text(socket);
  socket.write(`GET ${path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`);
  return (await answer).split("\r\n\r\n")[1].replace(/^[0-9a-f]+\r\n/, "");
}
