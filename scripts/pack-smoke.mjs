#!/usr/bin/env node
// Packs the package, installs the file into an empty folder without running scripts, and serves
// hello from there. Makes the prebuilt addon of this machine first; --keep takes what lies in
// prebuilds/.
import { existsSync, mkdtempSync, readdirSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { capture, fail, run, tool } from "./steps.mjs";

const hello = `import { raw, serve } from "millrace";
import { natsSync } from "millrace/sync/nats";
import { redisSync } from "millrace/sync/redis";
const drivers = [natsSync, redisSync];
if (drivers.some((each) => typeof each !== "function")) throw new Error("no drivers");
const server = await serve({
  port: 0,
  hostname: "127.0.0.1",
  routes: {
    "/": new Response("static\\n"),
    "/hello/:name": raw((req, res) => { res.end("hello " + req.params.name); }),
  },
});
const base = "http://127.0.0.1:" + server.addresses[0].port;
const fixed = await (await fetch(base + "/")).text();
const greeting = await (await fetch(base + "/hello/miller")).text();
await server.close({ timeout: 1000 });
if (fixed !== "static\\n" || greeting !== "hello miller") throw new Error(fixed + greeting);
console.log("hello from the package");
`;

if (!process.argv.includes("--keep")) run(process.execPath, [join("scripts", "prebuild.mjs")]);
const folder = realpathSync(mkdtempSync(join(tmpdir(), "millrace-pack-")));
try {
  smoke();
} finally {
  rmSync(folder, { recursive: true, force: true });
}

function smoke() {
  run("npm", ["pack", "--silent", "--pack-destination", folder]); // prepack makes dist/ anew
  const tarball = readdirSync(folder).find((name) => name.endsWith(".tgz"));
  if (tarball === undefined) fail("npm pack made no file");
  writeFileSync(
    join(folder, "package.json"),
    '{ "name": "smoke", "private": true, "type": "module" }\n',
  );
  const options = ["--ignore-scripts", "--prefer-offline", "--no-audit", "--no-fund"];
  run("npm", ["install", ...options, `./${tarball}`], { cwd: folder });
  const installed = join(folder, "node_modules", "millrace");
  checkContents(installed);
  run(process.execPath, [tool("publint/src/cli.js"), installed, "--strict", "--pack", "false"]);
  writeFileSync(join(folder, "hello.mjs"), hello);
  const env = { ...process.env, PREBUILDS_ONLY: "1" };
  const printed = capture(process.execPath, ["hello.mjs"], {
    cwd: folder,
    env,
    stdio: ["ignore", "pipe", "inherit"],
  });
  if (!printed?.includes("hello from the package")) fail("the installed package does not serve");
  process.stdout.write(`pack-smoke: ${tarball} installs and serves\n`);
}

/** A consumer must be able to compile it, and gets nothing that only we need. */
function checkContents(installed) {
  const needed = [
    "dist/index.js",
    "dist/index.d.ts",
    "binding.gyp",
    "native/sources.txt",
    "native/flags.txt",
  ];
  needed.push(
    "scripts/sources.mjs",
    "scripts/headers.mjs",
    "scripts/build-native.mjs",
    "docs/errors.md",
    "docs/operations.md",
    "examples/hello.mjs",
    "LICENSE",
    "README.md",
  );
  for (const name of needed) {
    if (!existsSync(join(installed, name))) fail(`the package lacks ${name}`);
  }
  for (const name of ["test", "native/test", "native/fuzz", "native/bench", "src"]) {
    if (existsSync(join(installed, name))) fail(`the package holds ${name}`);
  }
}
