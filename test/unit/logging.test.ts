// The log without a server: its ring, its delivery, its lines.
import { constants } from "node:os";
import { format } from "node:util";
import { beforeEach, expect, it, vi } from "vitest";
import {
  FileLogger,
  LOG_LEVELS,
  type LogLevel,
  type LogRecord,
  MillraceError,
} from "../../src/index.ts";
import { Delivery } from "../../src/logging/delivery.ts";
import { levelName } from "../../src/logging/levels.ts";
import { Log } from "../../src/logging/logger.ts";
import { logSettings } from "../../src/logging/options.ts";
import { printed, shortened } from "../../src/logging/printer.ts";
import { errOf } from "../../src/logging/record.ts";
import { Ring } from "../../src/logging/ring.ts";
import { setBinding } from "../../src/native/binding.ts";
import { FakeBinding } from "./fake.ts";
import { warnings } from "./sockets.ts";

let fake: FakeBinding;
const LEVELS = Object.keys(LOG_LEVELS) as LogLevel[];

beforeEach(() => {
  fake = new FakeBinding();
  setBinding(fake);
});

async function turn(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
}

it("keeps order in a ring over its end, and refuses what has no room", () => {
  const ring = new Ring<number>(3);
  const taken: number[] = [];
  let put = 0;
  for (let round = 0; round < 10; round += 1) {
    while (ring.put(put)) put += 1;
    expect(ring.size).toBe(3);
    taken.push(...ring.take(2));
    expect(ring.room).toBe(2);
  }
  taken.push(...ring.take(9));
  expect(taken).toEqual(Array.from({ length: put }, (_, index) => index));
  expect(ring.take(1)).toEqual([]);
});

it("delivers outside the call, in order, at most 256 items a turn", async () => {
  vi.useFakeTimers({ toFake: ["performance"] }); // no turn is cut short by its time
  const got: number[] = [];
  const delivery = new Delivery<number>({
    name: "write",
    capacity: 1000,
    size: 1,
    write: (items) => void got.push(...items),
  });
  for (let item = 0; item < 600; item += 1) delivery.push(item);
  expect(got).toEqual([]);
  const sizes: number[] = [];
  while (got.length < 600) {
    await turn();
    sizes.push(got.length);
  }
  vi.useRealTimers();
  expect(sizes).toEqual([256, 512, 600]);
  expect(got).toEqual(Array.from({ length: 600 }, (_, index) => index));
});

it("drops what has no room, counts it, and says so where it was", async () => {
  const got: (number | string)[] = [];
  const delivery = new Delivery<number | string>({
    name: "write",
    capacity: 3,
    size: 1,
    write: (items) => void got.push(...items),
    gap: (dropped) => `${dropped} dropped`,
  });
  for (let item = 0; item < 10; item += 1) delivery.push(item);
  expect(delivery.dropped).toBe(7);
  await delivery.settle(1000);
  delivery.push(10);
  await delivery.settle(1000);
  expect(got).toEqual([0, 1, 2, "7 dropped", 10]);
});

it("waits for the promise of a call before the next one", async () => {
  const open: (() => void)[] = [];
  const delivery = new Delivery<number>({
    name: "write",
    capacity: 10,
    size: 2,
    write: () => new Promise<void>((resolve) => open.push(resolve)),
  });
  for (let item = 0; item < 5; item += 1) delivery.push(item);
  for (const calls of [1, 2, 3]) {
    await turn();
    await turn();
    expect(open).toHaveLength(calls);
    open.at(-1)?.();
  }
  await delivery.settle(1000);
  expect(open).toHaveLength(3);
});

it("says what was dropped before what came behind it", async () => {
  const got: (number | string)[] = [];
  let next: () => void = () => undefined;
  const delivery = new Delivery<number | string>({
    name: "write",
    capacity: 4,
    size: 1,
    write: ([item]) => {
      got.push(item as number);
      return new Promise<void>((resolve) => {
        next = resolve;
      });
    },
    gap: (dropped) => `${dropped} dropped`,
  });
  const deliverAnother = async (): Promise<void> => {
    next();
    await turn();
    await turn();
  };
  for (let item = 0; item < 6; item += 1) delivery.push(item);
  for (let count = 0; count < 3; count += 1) await deliverAnother();
  delivery.push("behind");
  for (let count = 0; count < 4; count += 1) await deliverAnother();
  expect(got).toEqual([0, 1, 2, 3, "2 dropped", "behind"]);
});

it("goes on when a call throws or rejects, and warns once", async () => {
  const { texts, stop } = warnings();
  let calls = 0;
  const delivery = new Delivery<number>({
    name: "log.write()",
    capacity: 10,
    size: 1,
    write: () => {
      calls += 1;
      if (calls % 2 === 0) return Promise.reject(new Error("later"));
      throw new Error("at once");
    },
  });
  for (let item = 0; item < 6; item += 1) delivery.push(item);
  await delivery.settle(1000);
  await turn();
  stop();
  expect([calls, delivery.failures]).toEqual([6, 6]);
  expect(texts).toEqual([expect.stringContaining("log.write() threw; later failures are only")]);
});

it("does not wait longer than it was given for a call that hangs", async () => {
  const delivery = new Delivery<number>({
    name: "write",
    capacity: 2,
    size: 1,
    write: () => new Promise(() => undefined),
  });
  for (let item = 0; item < 5; item += 1) delivery.push(item);
  await delivery.settle(20);
  expect(delivery.dropped).toBe(3);
  delivery.flush(); // the process ends: what is left goes out all the same
});

it("shows what reaches the threshold: every level against every other", async () => {
  const shown: string[] = [];
  const write = ({ msg }: LogRecord): void => void shown.push(msg);
  const log = new Log(logSettings({ level: "trace", write }), "s", 1, fake);
  for (const threshold of LEVELS) {
    log.level = threshold;
    expect(log.level).toBe(threshold);
    for (const level of LEVELS) {
      if (level !== "silent") log.add(LOG_LEVELS[level], `${level} at ${threshold}`);
    }
  }
  await log.close(1000);
  const expected = LEVELS.flatMap((threshold, at) =>
    LEVELS.slice(at)
      .filter((level) => level !== "silent")
      .map((level) => `${level} at ${threshold}`),
  );
  expect(shown).toEqual(expected);
  expect(() => {
    log.level = "loud" as LogLevel;
  }).toThrow('logLevel must be one of "trace"');
});

it("makes records that pino could have written", async () => {
  const records: LogRecord[] = [];
  const write = (record: LogRecord): void => void records.push(record);
  const log = new Log(logSettings({ write }), "shop", 7, fake);
  log.add(LOG_LEVELS.warn, "hot", { loop: 1, connection: "1.2.3", cause: "TimedOut" });
  log.failed(LOG_LEVELS.error, "ERR_MILLRACE_HANDLER_FAILED", "it threw", new TypeError("no"));
  await log.close(1000);
  expect(JSON.parse(JSON.stringify(records[0]))).toEqual({
    level: 40,
    levelName: "warn",
    time: expect.any(Number) as number,
    msg: "hot",
    server: "shop",
    serverId: 7,
    thread: 0,
    loop: 1,
    connection: "1.2.3",
    cause: "TimedOut",
  });
  expect(records[1]).toMatchObject({
    level: 50,
    code: "ERR_MILLRACE_HANDLER_FAILED",
    err: { type: "TypeError", message: "no", stack: expect.stringContaining("at ") as string },
  });
});

it("tells failures as process warnings where no log was asked for, and only there", async () => {
  const { texts, stop } = warnings();
  const usual = new Log(logSettings(undefined), "s", 1, fake);
  usual.failed(
    LOG_LEVELS.error,
    "ERR_MILLRACE_HANDLER_FAILED",
    "told as a warning",
    new Error("x"),
  );
  const own = new Log(logSettings("warn"), "s", 1, fake);
  own.failed(LOG_LEVELS.error, "ERR_MILLRACE_HANDLER_FAILED", "told as a line", new Error("x"));
  const none = new Log(logSettings(false), "s", 1, fake);
  none.failed(LOG_LEVELS.error, "ERR_MILLRACE_HANDLER_FAILED", "not told", new Error("x"));
  await Promise.all([usual, own, none].map((log) => log.close(1000)));
  await turn();
  stop();
  expect(texts).toEqual([expect.stringContaining("told as a warning")]);
  expect(fake.logLines).toEqual([expect.stringContaining("ERROR  s - told as a line: Error: x (")]);
});

it("refuses what is no log", () => {
  const wrong: [unknown, string][] = [
    [true, "log must be false, a level or an object, got true"],
    ["loud", 'log must be one of "trace"'],
    [{ level: "loud" }, 'log.level must be one of "trace"'],
    [{ write: 1 }, "log.write must be a function"],
    [{ capacity: 1 }, "log.capacity must be an integer from 2 to"],
    [{ levels: "warn" }, 'log has no option "levels"; did you mean "level"?'],
  ];
  for (const [value, message] of wrong) expect(() => logSettings(value)).toThrow(message);
});

it("shortens texts of 200 characters and more to their ends, on one line", () => {
  const ends = ["a".repeat(50), "z".repeat(50)];
  expect(shortened("x".repeat(199))).toBe("x".repeat(199));
  expect(shortened(`${ends[0]}${"x".repeat(100)}${ends[1]}`)).toBe(
    `${ends[0]} ... (100 chars omitted) ... ${ends[1]}`,
  );
  expect(shortened(`${ends[0]}${"x".repeat(400)}${ends[1]}`)).toBe(
    `${ends[0]} ... (400 chars omitted) ... ${ends[1]}`,
  );
  expect(shortened("a\nb\x1b[31m\x9b")).toBe("a\\n b\\x1b[31m\\x9b");
});

it("prints time, level, server, loop and message, with colours and the stack for people", () => {
  const err = errOf(new RangeError("too far"));
  const record = {
    level: 50,
    levelName: "error",
    time: 0,
    msg: "it threw",
    server: "shop",
    loop: 2,
  };
  const plain = printed({ ...record, err } as LogRecord, false);
  expect(plain).toMatch(
    /^1970-01-01T00:00:00\.000Z ERROR {2}shop 2 it threw: RangeError: too far \(.+:\d+:\d+\)?\)\n$/,
  );
  const coloured = printed({ ...record, err } as LogRecord, true).replaceAll("\x1b", "^");
  expect(coloured).toMatch(/^\^\[31m.*too far\^\[0m\n {4}RangeError: too far\n {8}at /);
  const warn = { ...record, level: 40, levelName: "warn", loop: undefined };
  expect(printed(warn as unknown as LogRecord, false)).toBe(
    "1970-01-01T00:00:00.000Z WARN   shop - it threw\n",
  );
});

it("says of anything that can be thrown what it was", () => {
  expect(errOf("text")).toEqual({ type: "string", message: "text", stack: "text" });
  const proxy = new Proxy(new Error("x"), {
    get: () => {
      throw new Error("no");
    },
  });
  expect(errOf(proxy).type).toBe("unknown");
});

it("names a level's number", () => {
  expect(LEVELS.map((level) => levelName(LOG_LEVELS[level]))).toEqual(LEVELS);
  expect([levelName(0), levelName(45), levelName(999)]).toEqual(["trace", "warn", "silent"]);
});

it("writes lines of a FileLogger as JSON or text, and flushes behind errors", () => {
  const flushes: number[] = [];
  fake.flushLog = () => {
    flushes.push(fake.logLines.length);
    return true;
  };
  const json = new FileLogger("x.log");
  json.info("%s is %d", "a", 1, { b: 2 });
  json.error("it failed:", new TypeError("no"));
  json.fatal(new Error("alone"));
  json.log("silent", "never");
  const lines = fake.logLines.map((line) => JSON.parse(line) as LogRecord);
  expect(lines).toMatchObject([
    { level: 30, levelName: "info", msg: "a is 1 { b: 2 }" },
    { level: 50, msg: "it failed:", err: { type: "TypeError", message: "no" } },
    { level: 60, msg: "alone", err: { type: "Error" } },
  ]);
  expect(flushes).toEqual([2, 3]);
  const text = new FileLogger(2, { format: "text" });
  text.warn("two\nlines");
  expect(fake.logLines.at(-1)).toMatch(/^\d{4}-.*Z WARN {3}- - two\\n lines\n$/);
});

it("takes records of a server, and survives those without a JSON form", () => {
  const file = new FileLogger("x.log");
  const { write } = file;
  const record = { level: 30, levelName: "info", time: 5, msg: "hello", server: "s" } as const;
  write(record);
  expect(JSON.parse(fake.logLines.at(-1) as string)).toEqual(record);
  const circle: Record<string, unknown> = { ...record };
  circle["err"] = circle;
  write(circle as unknown as LogRecord);
  expect(JSON.parse(fake.logLines.at(-1) as string)).toMatchObject({ msg: "hello" });
});

it("counts lines that a FileLogger drops, but lets an error wait for room", async () => {
  const taken: string[] = [];
  let isFull = true;
  let dropped = 0;
  fake.writeLog = (_log, text) => {
    if (isFull) dropped += 1;
    else taken.push(text);
    return !isFull;
  };
  fake.logState = () => ({ dropped, waiting: 0, errno: 0 });
  fake.flushLog = () => {
    isFull = false;
    return true;
  };
  const file = new FileLogger("x.log");
  file.info("dropped");
  expect(file.dropped).toBe(1);
  file.error("kept");
  expect(taken).toHaveLength(1);
  expect(file.dropped).toBe(1);
  await file.close();
  file.info("too late");
  expect(file.dropped).toBe(2);
  expect(file.close()).toBe(file.close());
});

it("puts a FileLogger's arguments together as console.log does it, an Error aside", () => {
  const file = new FileLogger("x.log");
  const error = new TypeError("no");
  const other = new Error("other");
  const said = (...args: readonly unknown[]): string => {
    file.info(...args);
    return (JSON.parse(fake.logLines.at(-1) as string) as LogRecord).msg;
  };
  for (const args of [
    ["value:", undefined],
    [undefined],
    [],
    [undefined, null, 0],
    ["%s", undefined],
  ])
    expect(said(...args)).toBe(format(...args));
  expect(said("%s failed with %d", error, 5)).toBe("TypeError: no failed with 5");
  expect(said("%d%% of %s:", 5, error, "x")).toBe("5% of TypeError: no: x");
  expect(said("%d%%", 5, error, "x")).toBe("5% x");
  expect(said(error, "100%d", 5)).toBe("100%d 5");
  expect(said(error, { a: 1 })).toBe("{ a: 1 }");
  expect(said("both:", error, other)).toContain("Error: other");
  expect(said(error)).toBe("no");
});

it("waits once for a disk that does not answer, and again when it moves", () => {
  let [waiting, dropped, flushes] = [0, 0, 0];
  let room = 1000;
  let isFast = false;
  fake.writeLog = (_log, text) => {
    const isTaken = waiting + text.length <= room;
    if (isTaken) waiting += text.length;
    else dropped += 1;
    return isTaken;
  };
  fake.flushLog = () => {
    flushes += 1;
    if (isFast) waiting = 0;
    return isFast;
  };
  fake.logState = () => ({ dropped, waiting, errno: 0 });
  const file = new FileLogger("x.log");
  for (let i = 0; i < 3; i += 1) file.error("stuck");
  file.info("also stuck");
  file.error("stuck");
  expect([flushes, file.dropped]).toEqual([1, 0]);
  room = 0;
  file.error("no room");
  expect([flushes, file.dropped], "is not waited for").toEqual([1, 1]);
  room = 1000;
  waiting -= 1; // it moves
  file.error("stuck");
  expect([flushes, file.dropped]).toEqual([2, 1]);
  isFast = true;
  waiting -= 1;
  file.error("written");
  expect([flushes, file.dropped, waiting]).toEqual([3, 1, 0]);
  room = 0;
  file.error("neither time");
  expect([flushes, file.dropped], "one line").toEqual([4, 2]);
});

it("warns when nobody looks at a reopen() that failed, and rejects all the same", async () => {
  const warned = new Promise<Error>((resolve) => process.once("warning", resolve));
  fake.reopenLog = (_log, done) => void setImmediate(done, constants.errno.EACCES);
  void new FileLogger("x.log").reopen();
  expect((await warned).message).toContain("EACCES");
  await expect(new FileLogger("y.log").reopen()).rejects.toThrow("EACCES");
  await turn();
});

it("says which file failed, and why", async () => {
  const refused = Object.assign(new Error("no"), { code: "EACCES", syscall: "open" });
  fake.openLog = () => {
    throw refused;
  };
  const failure = (): unknown => new FileLogger("/var/x.log");
  expect(failure).toThrow('the log "/var/x.log" failed (open: EACCES)');
  expect(failure).toThrow(MillraceError);
  fake.openLog = () => 1;
  fake.reopenLog = (_log, done) => void setImmediate(done, 2);
  fake.closeLog = (_log, done) => void setImmediate(done, 28);
  const file = new FileLogger("x.log");
  await expect(file.reopen()).rejects.toThrow("open: ENOENT");
  await expect(file.close()).rejects.toThrow("ENOSPC");
  await expect(file.reopen()).rejects.toThrow("it is closed");
  for (const [target, options] of [
    ["", {}],
    [-1, {}],
    ["a\0b", {}],
    ["x", { capacity: 1 }],
    ["x", { format: "xml" }],
    ["x", { size: 1 }],
  ] as [string, object][])
    expect(() => new FileLogger(target, options)).toThrow("FileLogger");
});
