// A service of systemd: SYSTEMD_OPTIONS holds options of serve() as JSON. Closes on SIGTERM.
// BESIDES: "servers" opens and closes others first, "child" lets a child do so.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { raw, scgi, serve } from "millrace";

async function openOthers() {
  const other = await serve({ port: 0, silent: true, handler: () => undefined });
  await other.close();
  const door = await scgi.open({ port: 0 });
  await door.close();
}

async function letChild() {
  const env = { ...process.env, BESIDES: "", SYSTEMD_OPTIONS: '{"port":0}' };
  const child = spawn(process.execPath, [process.argv[1]], { env });
  await once(child.stdout, "data");
  child.kill("SIGTERM");
  await once(child, "exit");
}

try {
  const server = await serve({
    silent: true,
    log: { level: "error" },
    ...JSON.parse(process.env.SYSTEMD_OPTIONS),
    routes: { "/": raw((_req, res) => void res.end(String(process.pid))) },
  });
  process.on("SIGTERM", () => void server.close());
  if (process.env.BESIDES === "servers") await openOthers();
  if (process.env.BESIDES === "child") await letChild();
  process.stdout.write(`ready ${server.addresses.map(({ port }) => port).join(",")}\n`);
} catch (error) {
  process.stdout.write(`failed ${error.code} ${error.message}\n`);
}
