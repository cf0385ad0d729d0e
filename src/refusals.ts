// The option `refusals`: what loops say, without JavaScript, to requests that they refuse.
import { invalidOption, nearest } from "./check.ts";
import { MillraceError, show } from "./errors.ts";
import { HeaderLines } from "./lines.ts";
import type { NativeRefusal } from "./native/binding.ts";
import { ERRORS } from "./native/tables.ts";

// What a loop answers by itself. Other errors that have a status are thrown to handlers.
const REFUSED = [
  "BadRequest",
  "BadRequestLine",
  "BadHeader",
  "BadHost",
  "BadContentLength",
  "BadFraming",
  "BadChunk",
  "BadTrailer",
  "Incomplete",
  "BadScgi",
  "HeadersTimeout",
  "ReceiveTimeout",
  "LengthRequired",
  "BodyTooLarge",
  "UriTooLong",
  "ExpectationFailed",
  "HeadersTooLarge",
  "CodingNotImplemented",
  "VersionNotSupported",
  "HandlerTimeout",
  "Unavailable",
  "Overloaded",
  "TooManyConnections",
  "WsHandshake",
  "WsVersion",
  "WsRequired",
] as const;

type RefusalRow = Extract<(typeof ERRORS)[number], { name: (typeof REFUSED)[number] }>;

/** The codes of errors that loops answer by themselves. */
export type RefusalCode = RefusalRow["code"];

/** Their statuses. */
export type RefusalStatus = RefusalRow["status"];

/**
 * What refused requests are answered with, by status or by error code; a code goes before its
 * status. Of each Response the header fields and the body are taken, the status stays that of the
 * refusal.
 */
export type Refusals = { readonly [Key in RefusalCode | RefusalStatus]?: Response };

const ANSWER_BYTES_MAX = 65_536;
const OVERLOADED = ERRORS.findIndex((row) => row.name === "Overloaded");
const UPGRADE_REQUIRED = 426;

const rows: readonly { readonly number: number; readonly code: string; readonly status: number }[] =
  ERRORS.map(({ code, status }, number) => ({ number, code, status })).filter(({ number }) =>
    (REFUSED as readonly string[]).includes(ERRORS[number]?.name ?? ""),
  );

/** @throws {MillraceError} ERR_MILLRACE_INVALID_OPTION, ERR_MILLRACE_INVALID_HEADER */
export async function compileRefusals(value: unknown): Promise<readonly NativeRefusal[]> {
  if (value === undefined) return [];
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw invalidOption("refusals", "must be an object", value);
  const table = value as Readonly<Record<string, unknown>>;
  const refusals: NativeRefusal[] = [];
  for (const [key, answer] of Object.entries(table)) {
    if (answer === undefined) continue;
    const matched = rows.filter(({ code, status }) => key === code || key === `${status}`);
    if (matched.length === 0) throw unknownKey(key);
    const name = `refusals[${show(key)}]`;
    const own = await answerOf(name, answer, matched[0]?.status as number);
    for (const { number, code, status } of matched) {
      if (key !== code && table[code] !== undefined) continue;
      refusals.push({ code: number, status, ...forCode(own, number) });
    }
  }
  return refusals;
}

interface StaticAnswer {
  readonly headers: string;
  readonly content: Uint8Array;
}

// Unread, as those of routes are: the same options may be used again.
async function answerOf(name: string, value: unknown, status: number): Promise<StaticAnswer> {
  if (!(value instanceof Response)) throw invalidOption(name, "must be a Response", value);
  if (value.bodyUsed) throw invalidOption(name, "must be unread; make a new Response", value);
  if (value.status !== 200 && value.status !== status)
    throw invalidOption(name, `keeps the status ${status}; give the Response none`, value.status);
  const content = new Uint8Array(await value.clone().arrayBuffer());
  const lines = new HeaderLines();
  lines.takeFrom(value, false);
  if (lines.flags !== 0)
    throw invalidOption(name, "must have no Date or Connection; they are written for you", value);
  if (lines.length >= 0 && lines.length !== content.length) {
    const what = `has a body of ${content.length} bytes and a Content-Length that differs`;
    throw invalidOption(name, what, lines.length);
  }
  if (status === UPGRADE_REQUIRED)
    for (const field of ["upgrade", "sec-websocket-version"]) lines.take(field);
  const bytes = lines.text.length + content.length;
  if (bytes > ANSWER_BYTES_MAX) {
    const what = `must have at most ${ANSWER_BYTES_MAX} bytes of header fields and body`;
    throw invalidOption(name, what, bytes);
  }
  return { headers: lines.text, content };
}

// Who is turned away is told when to come again.
function forCode(answer: StaticAnswer, number: number): StaticAnswer {
  if (number !== OVERLOADED || /^retry-after:/im.test(answer.headers)) return answer;
  return { ...answer, headers: `${answer.headers}Retry-After: 1\r\n` };
}

function unknownKey(key: string): MillraceError {
  const codes = rows.map((row) => row.code);
  const statuses = [...new Set(rows.map((row) => row.status))].sort((a, b) => a - b);
  const near = /^\d+$/.test(key) ? undefined : nearest(key, codes);
  const hint =
    near === undefined
      ? `loops refuse with ${statuses.join(", ")} and ${codes.join(", ")}`
      : `did you mean ${show(near)}?`;
  const message = `refusals has no option ${show(key)}; ${hint}`;
  return new MillraceError("ERR_MILLRACE_INVALID_OPTION", message);
}
