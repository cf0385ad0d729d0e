// The code of README.md and docs/ compiles: every block of js or ts, as strict TypeScript, in one
// program. A second word behind the language says what a block is: "routes" and "options" are
// entries of those objects, "fragment" is not looked at. And the package has what they lead to.
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";
import { expect, it } from "vitest";
import { MillraceError } from "../src/index.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
const pages = [
  "README.md",
  ...readdirSync(join(root, "docs"))
    .filter((name) => name.endsWith(".md"))
    .map((name) => `docs/${name}`),
];

// What blocks take for granted.
const prelude = `
import type { EventStream, RouteValue, ServerEvent, Socket } from "millrace";
declare global {
  const accel: typeof import("millrace").accel;
  const accessLine: typeof import("millrace").accessLine;
  const dir: typeof import("millrace").dir;
  const FileLogger: typeof import("millrace").FileLogger;
  const raw: typeof import("millrace").raw;
  const serve: typeof import("millrace").serve;
  const websocket: typeof import("millrace").websocket;
  const randomUUID: typeof import("node:crypto").randomUUID;
  const access: import("node:stream").Writable;
  const count: (cause: string) => void;
  const fields: Map<string, string>;
  const folder: string;
  const join: typeof import("node:path").join;
  const createHash: typeof import("node:crypto").createHash;
  const next: () => Promise<unknown>;
  const queue: { readonly close: () => Promise<void> };
  const out: import("node:stream").Writable;
  const req: import("millrace").Req;
  const routes: { readonly [pattern: string]: RouteValue };
  const rows: (() => AsyncIterable<string>) & Iterable<string>;
  const server: import("millrace").Server;
  const since: (id: string) => Iterable<ServerEvent>;
  const sockets: Iterable<Socket>;
  const store: (message: string | Uint8Array) => Promise<void>;
  const subscribe: (events: EventStream) => void;
  const text: string;
  const token: string;
  const unix: string;
  const users: Map<string, unknown>;
  const ws: Socket;
}
`;

const WRAPPERS: Readonly<Record<string, readonly [before: string, after: string]>> = {
  "": ["", "\nexport {};"],
  options: ["await serve({ handler: (_req, res) => res.end(), ", "\n});\nexport {};"],
  routes: ["await serve({ routes: { ", "\n} });\nexport {};"],
};

interface Block {
  readonly page: string;
  readonly line: number; // of the fence
  readonly kind: string;
  readonly code: string;
}

function blocksOf(page: string): readonly Block[] {
  const text = readFileSync(join(root, page), "utf8");
  return [...text.matchAll(/^```(?:js|ts)(?: (\w+))?\n(.*?)^```$/gms)].map((match) => ({
    page,
    line: text.slice(0, match.index).split("\n").length,
    kind: match[1] ?? "",
    code: match[2] as string,
  }));
}

/** What the compiler says about sources that are in no file, by their names. */
function diagnosticsOf(sources: ReadonlyMap<string, string>): readonly ts.Diagnostic[] {
  const options: ts.CompilerOptions = {
    allowImportingTsExtensions: true,
    lib: ["lib.es2023.d.ts", "lib.esnext.disposable.d.ts"],
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
    noEmit: true,
    paths: { millrace: [`${root}src/index.ts`], "millrace/sync/*": [`${root}src/sync/*.ts`] },
    skipLibCheck: true,
    strict: true,
    target: ts.ScriptTarget.ES2022,
    types: ["node"],
  };
  const host = ts.createCompilerHost(options);
  const { fileExists, readFile } = host;
  host.getCurrentDirectory = () => root;
  host.fileExists = (name) => sources.has(name) || fileExists(name);
  host.readFile = (name) => sources.get(name) ?? readFile(name);
  const program = ts.createProgram([...sources.keys()], options, host);
  return [
    ...program.getOptionsDiagnostics(),
    ...[...sources.keys()].flatMap((name) => {
      const file = program.getSourceFile(name);
      return [...program.getSyntacticDiagnostics(file), ...program.getSemanticDiagnostics(file)];
    }),
  ];
}

const blocks = pages.flatMap(blocksOf);

it("compiles every block of code", { timeout: 120_000 }, () => {
  const sources = new Map([[`${root}prelude.mts`, prelude]]);
  const places = new Map<string, Block>();
  for (const [n, block] of blocks.entries()) {
    if (block.kind === "fragment") continue;
    const wrapper = WRAPPERS[block.kind];
    if (wrapper === undefined) throw new Error(`${block.page}:${block.line}: what is that kind?`);
    const name = `${root}block${n}.mts`;
    sources.set(name, wrapper.join(block.code));
    places.set(name, block);
  }
  expect(places.size).toBeGreaterThan(25);
  const found = diagnosticsOf(sources).map(({ code, file, messageText, start }) => {
    const block = places.get(file?.fileName ?? "");
    const line = file === undefined ? 0 : file.getLineAndCharacterOfPosition(start ?? 0).line;
    const what = ts.flattenDiagnosticMessageText(messageText, "\n");
    return `${block?.page}:${(block?.line ?? 0) + 1 + line}: TS${code}: ${what}`;
  });
  expect(found).toEqual([]);
});

it("packs the docs and examples that texts, errors and warnings lead to", () => {
  const args = ["pack", "--dry-run", "--json", "--ignore-scripts"];
  const listed = execFileSync("npm", args, { cwd: root, encoding: "utf8", stdio: "pipe" });
  const [{ files }] = JSON.parse(listed) as [{ files: readonly { readonly path: string }[] }];
  const packed = new Set(files.map(({ path }) => path));
  const { docs } = new MillraceError("ERR_MILLRACE_CLOSED", "x");
  const wanted = [docs.replace(/#.*/, "")];
  for (const page of pages) {
    wanted.push(page);
    for (const [, link = ""] of readFileSync(join(root, page), "utf8").matchAll(
      /\]\(([^)#\s]+)/g,
    )) {
      if (/^[a-z]+:/.test(link) || !/[./]/.test(link)) continue; // or a lambda, in a list of code
      const path = join(dirname(page), link);
      expect(existsSync(join(root, path)), `${page} links ${link}`).toBe(true);
      if (/^(docs|examples)\//.test(path) && path.includes(".")) wanted.push(path);
    }
  }
  expect(wanted.filter((path) => !packed.has(path))).toEqual([]);
});
