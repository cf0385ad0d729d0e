#!/usr/bin/env node
// The command line: npx millrace. Prints and exits; starts no server.
import { readFileSync } from "node:fs";
import { type NginxOptions, nginxConfiguration } from "./cli/nginx.ts";
import { readWords, type Words } from "./cli/words.ts";
import { MillraceError } from "./errors.ts";

const HELP = `millrace: HTTP/1.1 and WebSocket runtime for Node.js

  millrace nginx (--unix PATH | --port N)   prints an nginx configuration for a server there
      --name HOST      server_name                                 [example.org]
      --listen PORT    where nginx listens                         [80]
      --root DIR       what res.accel("/protected/…") may send
      --scgi           the server speaks SCGI (protocol: "scgi")
  millrace --help
  millrace --version
`;

const OPTIONS = {
  listen: "value",
  name: "value",
  port: "value",
  root: "value",
  scgi: "flag",
  unix: "value",
} as const;

function main(words: readonly string[]): string {
  const [command, ...rest] = words;
  if (command === undefined || command === "--help" || command === "-h") return HELP;
  if (command === "--version" || command === "-v") return `${version()}\n`;
  if (command === "nginx") {
    return rest.includes("--help")
      ? HELP
      : nginxConfiguration(nginxOptions(readWords(rest, OPTIONS)));
  }
  throw wrong(`there is no command ${JSON.stringify(command)}; see millrace --help`);
}

function nginxOptions({ flags, values }: Words): NginxOptions {
  const { listen, name, port, root, unix } = values;
  if ((port === undefined) === (unix === undefined))
    throw wrong("give either --unix PATH or --port N");
  return {
    server:
      unix === undefined ? `127.0.0.1:${portOf("--port", port)}` : `unix:${pathOf("--unix", unix)}`,
    listen: listen === undefined ? 80 : portOf("--listen", listen),
    name: name === undefined ? "example.org" : nameOf(name),
    root: root === undefined ? undefined : pathOf("--root", root),
    isScgi: flags.has("scgi"),
    version: version(),
  };
}

function portOf(option: string, value: string | undefined): number {
  const port = Number(value);
  if (Number.isInteger(port) && port >= 1 && port <= 65_535 && value !== "") return port;
  throw wrong(`${option} must be an integer from 1 to 65535, got ${JSON.stringify(value)}`);
}

// What nginx reads as it stands: quoting rules of its files are not those of a shell.
function pathOf(option: string, value: string): string {
  if (/^\/[\w./@%+=,-]*$/.test(value)) return value.replace(/(?<=.)\/+$/, "");
  const what = "must be an absolute path of letters, digits and . _ - / @ % + = ,";
  throw wrong(`${option} ${what}, got ${JSON.stringify(value)}`);
}

function nameOf(value: string): string {
  if (/^[\w.*-]+$/.test(value)) return value;
  throw wrong(`--name must be a host name, got ${JSON.stringify(value)}`);
}

function wrong(message: string): MillraceError {
  return new MillraceError("ERR_MILLRACE_INVALID_OPTION", message);
}

function version(): string {
  const text = readFileSync(new URL("../package.json", import.meta.url), "utf8");
  return (JSON.parse(text) as { readonly version: string }).version;
}

try {
  process.stdout.write(main(process.argv.slice(2)));
} catch (error) {
  if (!(error instanceof MillraceError)) throw error;
  process.stderr.write(`millrace: ${error.message} [${error.code}]\n`);
  process.exitCode = 2;
}
