// Which answers of a batch cross into native code together, over a fake binding.
import { beforeEach, expect, it } from "vitest";
import { type Req, type Res, raw, type Server, serve } from "../../src/index.ts";
import { setBinding } from "../../src/native/binding.ts";
import { COMMAND } from "../../src/native/tables.ts";
import { FakeBinding, type FakeRequest } from "./fake.ts";

let fake: FakeBinding;
let handler: (req: Req, res: Res) => void;
let server: Server;

beforeEach(async () => {
  fake = new FakeBinding();
  setBinding(fake);
  server = await serve({ loops: 0, routes: { "/": raw((req, res) => handler(req, res)) } });
});

const requests = (count: number): FakeRequest[] => Array.from({ length: count }, () => ({}));
const bodies = (): (string | undefined)[] => fake.answers.map(({ body }) => body);

it("takes the short answers of a batch across together", () => {
  let count = 0;
  handler = (_req, res) => void res.header("x-n", (count += 1)).end(`ü${count}`);
  const handles = fake.batch(requests(3));
  expect(fake.crossings).toEqual([3]);
  expect(fake.answers).toMatchObject(
    handles.map((handle, at) => ({
      handle,
      generation: handle + 100,
      status: 200,
      headers: `x-n: ${at + 1}\r\n`,
      body: `ü${at + 1}`,
    })),
  );
});

it("goes in several crossings when answers are many or long", () => {
  handler = (_req, res) => void res.end("x");
  fake.batch(requests(300));
  expect(fake.crossings).toEqual([128, 128, 44]);
  fake.crossings.length = 0;
  handler = (_req, res) => void res.end("y".repeat(2000));
  fake.batch(requests(40));
  expect(fake.crossings).toEqual([17, 17, 6]);
  expect(fake.answers).toHaveLength(340);
});

it("loses no answer when crossing fails", () => {
  const respondMany = fake.respondMany.bind(fake);
  let failures = 0;
  fake.respondMany = (words, count, text) => {
    if (failures === 0) {
      failures += 1;
      throw new RangeError("Maximum call stack size exceeded");
    }
    respondMany(words, count, text);
  };
  let count = 0;
  handler = (_req, res) => {
    count += 1;
    const body = `${count}`;
    try {
      res.end(body);
    } catch {
      expect(res.state).toBe("open");
      res.end(body);
    }
  };
  fake.batch(requests(300));
  expect(failures).toBe(1);
  expect(bodies()).toEqual(Array.from({ length: 300 }, (_, at) => `${at + 1}`));
});

it("leaves long texts, bytes and late answers to themselves", () => {
  const late: Res[] = [];
  const answers = ["z".repeat(3000), new Uint8Array([65]), undefined, "short"];
  handler = (_req, res) => {
    const body = answers.shift();
    if (body === undefined) late.push(res.detach());
    else res.end(body);
  };
  fake.batch(requests(4));
  expect(fake.crossings).toEqual([1]);
  expect(bodies().map((body) => body?.slice(0, 5))).toEqual(["zzzzz", "A", "short"]);
  late[0]?.end("late");
  expect(fake.crossings).toEqual([1]);
  expect(bodies().at(-1)).toBe("late");
});

it("sends what was answered before a handler throws or closes the server", () => {
  const order: string[] = [];
  const control = fake.control.bind(fake);
  fake.control = (id, kind, waitMs) => {
    order.push(kind === COMMAND.Close ? "close" : "drain");
    control(id, kind, waitMs);
  };
  const respondMany = fake.respondMany.bind(fake);
  fake.respondMany = (words, count, text) => {
    order.push("answers");
    respondMany(words, count, text);
  };
  handler = (_req, res) => {
    res.end("bye");
    server.drain();
    void server.close();
    throw new Error("after the answer");
  };
  fake.one({});
  expect(order).toEqual(["answers", "drain", "close"]);
  expect(bodies()).toEqual(["bye"]);
});
