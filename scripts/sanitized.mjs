// Runs the vitest files on stock Node with an addon built for a sanitizer, whose runtime is
// preloaded into every node process that a test starts. Reports are written to files, so that none
// is lost with a worker or a child, and each that is ours (see isOurs) fails the run.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { cmakeSanitized, flavours } from "./cmake.mjs";
import { capture, fail, root, tool } from "./steps.mjs";

const SHOWN_MAX = 10;
const addonName = "millrace.node";
const descriptorCalls =
  /^(accept4?|close|dup[23]?|epoll_\w+|eventfd|open(64)?|pipe2?|socket(pair)?)$/;

const kinds = {
  asan: {
    library: "libasan.so",
    // Not in ASAN_OPTIONS, which tests of processes that end in the middle of things replace.
    env: (log) => ({
      LSAN_OPTIONS: [
        `log_path=${log}`,
        `suppressions=${join(root, "scripts", "lsan.supp")}`,
        "print_suppressions=0",
        "exitcode=0", // what Node leaves behind at process.exit() must not change exit codes
      ].join(":"),
      UBSAN_OPTIONS: `log_path=${log}:halt_on_error=1:print_stacktrace=1`,
    }),
    // LeakSanitizer gives up when a thread ends while it looks: no report, but an exit code.
    isReport: (text) => text.trim() !== "" && !text.includes("encountered a fatal error"),
    isOurs: (report) => !report.includes("LeakSanitizer") || hasOurLeak(report),
    hasGivenUp: () => false,
  },
  tsan: {
    library: "libtsan.so",
    // Node's own reports must not change exit codes; at its exit a process waits a little for more.
    // With a word at its start, the file of reports is open before tests count descriptors.
    env: (log) => ({
      TSAN_OPTIONS: `log_path=${log}:exitcode=0:history_size=4:atexit_sleep_ms=100:verbosity=1`,
    }),
    isReport: (text) => /(WARNING|ERROR|FATAL): ThreadSanitizer|CHECK failed/.test(text),
    isOurs,
    // Once in thousands of processes the runtime asks for a shadow of less than zero bytes, for
    // what V8 maps below 512 GiB, and ends the process, with the file of tests that runs in it.
    hasGivenUp: (text) => /Sanitizer failed to allocate 0xf{4}\w{12} \(-\d+\) bytes/.test(text),
  },
};

/** Builds the addon and runs the named test files, or all; ends the process when anything fails. */
export function vitestUnder(name, words) {
  const flavour = flavours[name];
  cmakeSanitized(flavour, "millrace");
  const addon = join(root, flavour.folder, addonName);
  const started = performance.now();
  const first = runVitest(name, addon, words, "inherit");
  const again = first.gaveUp > 0 && first.status !== 0 && first.unfinished.length > 0;
  if (again)
    process.stdout.write(`vitest-${name}: the runtime gave up; again: ${first.unfinished}\n`);
  const second = again ? runVitest(name, addon, first.unfinished, "inherit", "again") : undefined;
  const { status, logs } = second ?? first;
  const ours = [...first.ours, ...(second?.ours ?? [])];
  const others = first.others + (second?.others ?? 0);
  const seconds = ((performance.now() - started) / 1000).toFixed(0);
  for (const report of ours.slice(0, SHOWN_MAX)) print(report, addon);
  process.stdout.write(
    `vitest-${name}: ${ours.length} reports of ours, ${others} of code outside, ${seconds} s\n`,
  );
  if (ours.length > 0) fail(`vitest-${name}: see ${logs}`);
  if (status !== 0) fail(`vitest-${name}: vitest failed (${status})`);
}

/** Runs test files with an addon that is built; the reports lie beside it. */
export function runVitest(name, addon, words, stdio, folder = "reports") {
  const kind = kinds[name];
  const library = capture("g++", [`-print-file-name=${kind.library}`])?.trim();
  if (!library?.startsWith("/")) fail(`vitest-${name} needs g++ with ${kind.library}`);
  const logs = join(dirname(addon), folder);
  rmSync(logs, { recursive: true, force: true });
  mkdirSync(logs);
  const list = join(logs, "unfinished");
  const patient = `--import=${pathToFileURL(join(root, "scripts", "patient.mjs"))}`;
  const { status, signal } = spawnSync(
    process.execPath,
    [patient, tool("vitest/vitest.mjs"), "run", `--execArgv=${patient}`, ...words],
    {
      cwd: root,
      stdio,
      env: {
        ...process.env,
        ...kind.env(join(logs, "report")),
        MILLRACE_ADDON: addon,
        MILLRACE_SANITIZED: "1",
        MILLRACE_UNFINISHED: list,
        MILLRACE_PRELOAD: library,
      },
    },
  );
  const unfinished = existsSync(list) ? readFileSync(list, "utf8").split("\n").slice(0, -1) : [];
  rmSync(list, { force: true });
  return { status: signal ?? status, logs, unfinished, ...readReports(logs, kind) };
}

function readReports(logs, kind) {
  const ours = [];
  let others = 0;
  let gaveUp = 0;
  for (const file of readdirSync(logs)) {
    const parts = readFileSync(join(logs, file), "utf8").split(/^={18,}\n/m);
    for (const report of parts.filter(kind.isReport)) {
      if (kind.hasGivenUp(report)) gaveUp += 1;
      else if (kind.isOurs(report)) ours.push(`${file}\n${report}`);
      else others += 1;
    }
  }
  return { ours, others, gaveUp };
}

/**
 * Whether a report of leaks has one of ours. A program that ends by exit() leaves V8's heap, and
 * what only the heap points to looks lost. A leak is ours when, outside the allocator's own
 * frames, the innermost one is the addon's: what V8 allocates in a call of ours is V8's.
 */
export function hasOurLeak(report) {
  const leaks = report.split(/^(?=(?:Direct|Indirect) leak of )/m).slice(1);
  if (leaks.length === 0) return true; // nothing that we can judge
  return leaks.some((leak) => {
    const frames = leak.split("\n").filter((line) => /^\s+#\d+ /.test(line));
    const isAllocator = (frame) =>
      /libsanitizer|libasan|libstdc\+\+|\/c\+\+\/\d|libc\.so|\/malloc\//.test(frame);
    const innermost = frames.find((frame) => !isAllocator(frame));
    if (frames.length === 0) return false; // cut off: the process was ended while it reported
    return innermost === undefined || /millrace\.node|\/native\/(core|addon)\//.test(innermost);
  });
}

/**
 * Whether a report of TSan is ours. Node, V8 and libuv are not instrumented, so their races with
 * themselves are reported where they call libc. Such a report may have frames of ours further up,
 * because they run below our dispatch: names of functions in a suppression would hide our own
 * races. It is ours when, outside libc and the runtime, the innermost frame of an access is the
 * addon's, or a thread that the addon started made the access, or the memory is the addon's.
 */
export function isOurs(report) {
  const stacks = stacksOf(report);
  if (stacks.length === 0) return true; // nothing that we can judge
  const place = stacks.find(({ title }) => title.startsWith("Location is"));
  const accesses = stacks.filter(({ title }) => !/^(Location|Thread T\d+ .*created) /.test(title));
  if (accesses.length === 0) return stacks.some(isMade); // a thread that nobody joined
  if (isDescriptorOfNode(place, accesses)) return false;
  if (accesses.some(isMade) || (place !== undefined && isMade(place))) return true;
  const threads = stacks.filter((stack) => /^Thread T\d+ /.test(stack.title) && isMade(stack));
  const names = threads.map(({ title }) => /^Thread (T\d+) /.exec(title)[1]);
  return accesses.some(({ title }) =>
    names.some((name) => new RegExp(`by thread ${name}\\b`).test(title)),
  );
}

/**
 * The one thing of our frames that is let pass. libuv closes by bare system calls that TSan cannot
 * see: when the kernel gives us the same number, TSan takes it for the descriptor that Node opened.
 */
function isDescriptorOfNode(place, accesses) {
  if (place !== undefined)
    return place.title.startsWith("Location is file descriptor") && !isMade(place);
  const [access, ...others] = accesses.filter(isMade);
  return access !== undefined && others.length === 0 && descriptorCalls.test(access.call);
}

/** Whether the innermost frame outside libc and the runtime is the addon's. */
function isMade({ frames }) {
  const library = frames.find((name) => !/^(libtsan|libc|libstdc\+\+|libpthread)\./.test(name));
  return library?.split("/").at(-1) === addonName;
}

function stacksOf(report) {
  const stacks = [];
  let title = "";
  for (const line of report.split("\n").map((text) => text.trim())) {
    const [, call, module] = /^#\d+ (\S+).*\(([^()]+)\+0x[0-9a-f]+\)$/.exec(line) ?? [];
    if (module === undefined) title = line;
    else if (line.startsWith("#0 ")) stacks.push({ title, call, frames: [module] });
    else stacks.at(-1)?.frames.push(module);
  }
  return stacks;
}

/** The runtime knows no lines of a library that was loaded after its first report; binutils do. */
function print(report, addon) {
  const named = report.replaceAll(
    /<null> <null> \(millrace\.node\+(0x[0-9a-f]+)\)/g,
    (all, address) => {
      const found = capture("addr2line", ["-Cfps", "-e", addon, address])?.trim();
      return found === undefined ? all : `${found} (${addonName}+${address})`;
    },
  );
  process.stdout.write(`${named}\n`);
}
