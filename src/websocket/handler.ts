// A WebSocketHandler: checked once, with messages that name the option, and made into what its
// sockets share.
import { constants } from "node:buffer";
import { callable, checkRecord, integer, invalidOption, oneOf, truth } from "../check.ts";
import { show } from "../errors.ts";
import type { NativeSocketSettings } from "../native/binding.ts";
import { COMMAND_FLAG } from "../native/tables.ts";
import type { DeflateOptions, UpgradeOptions, WebSocketHandler } from "./api.ts";
import type { SocketRules, SocketService } from "./service.ts";

const CALLBACKS = [
  "upgrade",
  "open",
  "message",
  "drain",
  "close",
  "error",
  "ping",
  "pong",
] as const;
const SETTINGS = [
  "allowedOrigins",
  "automaticPong",
  "backpressureLimit",
  "closeTimeout",
  "idleTimeout",
  "keepRequest",
  "maxPayloadLength",
  "maxQueue",
  "maxTopics",
  "messageTimeout",
  "onBackpressure",
  "perMessageDeflate",
  "protocols",
  "sendPings",
] as const;
/** The names that a WebSocketHandler may have. */
export const HANDLER_KEYS: readonly string[] = [...CALLBACKS, ...SETTINGS];
const DEFLATE_KEYS = [
  "contextTakeover",
  "level",
  "peerContextTakeover",
  "threshold",
  "windowBits",
] as const;
const OVERFLOWS = ["close", "drop", "buffer"] as const;

const SIZE_MAX = 2 ** 31 - 1;
const BACKLOG_MAX = 2 ** 30;
const DAY_MS = 86_400_000;
const MEBIBYTE = 1_048_576;
const HIGH_MARK_MAX = 131_072;
const QUEUE_MAX = 65_536;
const TOPICS = 1024;
const TOPICS_MAX = 1_048_576;
// "buffer" has a bound too: nothing of a peer's doing is endless.
const BUFFER_FACTOR = 16;
const TEXT = 1;
const BINARY = 2;
const COMPRESS = COMMAND_FLAG.compress << 16;
const SETTINGS_MAX = 1024;
/** The word for the request's own origin. */
export const SAME_ORIGIN = "same-origin";
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;

/** A handler as the server needs it. */
export interface SocketHandler {
  readonly rules: SocketRules;
  readonly upgrade: WebSocketHandler["upgrade"] | undefined;
  /** In lower case, SAME_ORIGIN among them; undefined: any. */
  readonly origins: ReadonlySet<string> | undefined;
  readonly protocols: ReadonlySet<string>;
  readonly keepsRequest: boolean;
}

/**
 * Checks `handler`; `name` is what messages call it. Its settings are added to `settings` unless
 * equal ones are there.
 * @throws {MillraceError} ERR_MILLRACE_INVALID_OPTION
 */
export function compileHandler(
  name: string,
  handler: unknown,
  where: string,
  settings: NativeSocketSettings[],
): SocketHandler {
  checkRecord(name, handler, HANDLER_KEYS);
  const given = handler as WebSocketHandler & Readonly<Record<string, unknown>>;
  for (const key of CALLBACKS) if (given[key] !== undefined) callable(`${name}.${key}`, given[key]);
  const own = settingsOf(name, given);
  const queueMax = intOf(name, given, "maxQueue", 64, 1, QUEUE_MAX, "messages");
  intOf(name, given, "maxTopics", TOPICS, 1, TOPICS_MAX, "topics");
  return {
    rules: rulesOf(given, where, own, indexOf(settings, own), queueMax, false),
    upgrade: given.upgrade?.bind(given),
    origins: originsOf(`${name}.allowedOrigins`, given.allowedOrigins),
    protocols: protocolsOf(`${name}.protocols`, given.protocols),
    keepsRequest: truthOf(name, given, "keepRequest", false),
  };
}

/** `keepsMessages`: until somebody iterates. */
export function rulesOf(
  handler: WebSocketHandler,
  where: string,
  settings: NativeSocketSettings,
  index: number,
  queueMax: number,
  keepsMessages: boolean,
): SocketRules {
  const highMark = Math.min(HIGH_MARK_MAX, settings.backlogMax >>> 1);
  const compress = settings.deflate === null ? 0 : COMPRESS;
  const isBuffer = settings.overflow === OVERFLOWS.indexOf("buffer");
  return {
    service: UNBOUND,
    where,
    settings: index,
    open: handler.open?.bind(handler),
    message: handler.message?.bind(handler),
    ping: handler.ping?.bind(handler),
    pong: handler.pong?.bind(handler),
    drain: handler.drain?.bind(handler),
    error: handler.error?.bind(handler),
    close: handler.close?.bind(handler),
    queueMax,
    topicsMax: handler.maxTopics ?? TOPICS,
    keepsMessages,
    highMark,
    lowMark: highMark >>> 1,
    // The native side takes 32 bits.
    backlogMax: Math.min(settings.backlogMax * (isBuffer ? BUFFER_FACTOR : 1), 0xffff_ffff),
    dropsMessages: settings.overflow === OVERFLOWS.indexOf("drop"),
    textFlags: TEXT | compress,
    binaryFlags: BINARY | compress,
  };
}

// Replaced when the server opens, before there is a socket.
const UNBOUND = undefined as unknown as SocketService;

/** The native settings of a handler, every default filled in. */
export function settingsOf(
  name: string,
  handler: WebSocketHandler & Readonly<Record<string, unknown>>,
): NativeSocketSettings {
  const overflow = handler.onBackpressure ?? "close";
  oneOf(`${name}.onBackpressure`, overflow, OVERFLOWS);
  const mebi = MEBIBYTE;
  return {
    payloadMax: intOf(name, handler, "maxPayloadLength", mebi, 0, SIZE_MAX, "bytes"),
    textMax: constants.MAX_STRING_LENGTH,
    backlogMax: intOf(name, handler, "backpressureLimit", 16 * mebi, 1024, BACKLOG_MAX, "bytes"),
    overflow: OVERFLOWS.indexOf(overflow),
    pings: truthOf(name, handler, "sendPings", true),
    automaticPong: truthOf(name, handler, "automaticPong", true),
    idleTimeout: intOf(name, handler, "idleTimeout", 120_000, 0, DAY_MS, "milliseconds"),
    closeTimeout: intOf(name, handler, "closeTimeout", 10_000, 1, DAY_MS, "milliseconds"),
    messageTimeout: intOf(name, handler, "messageTimeout", 120_000, 0, DAY_MS, "milliseconds"),
    deflate: deflateOf(`${name}.perMessageDeflate`, handler.perMessageDeflate),
  };
}

/** The index of equal settings, which are added when there are none. */
export function indexOf(settings: NativeSocketSettings[], own: NativeSocketSettings): number {
  const text = JSON.stringify(own);
  const found = settings.findIndex((each) => JSON.stringify(each) === text);
  if (found >= 0) return found;
  if (settings.length >= SETTINGS_MAX)
    throw invalidOption(
      "routes",
      `have more than ${SETTINGS_MAX} kinds of WebSocket`,
      SETTINGS_MAX,
    );
  return settings.push(own) - 1;
}

/** @throws {MillraceError} ERR_MILLRACE_INVALID_OPTION */
export function deflateOf(name: string, value: unknown): NativeSocketSettings["deflate"] {
  if (value === undefined || value === false) return null;
  if (value !== true) checkRecord(name, value, DEFLATE_KEYS);
  const given = (value === true ? {} : value) as DeflateOptions & Readonly<Record<string, unknown>>;
  return {
    level: intOf(name, given, "level", 6, 1, 9, ""),
    contextTakeover: truthOf(name, given, "contextTakeover", false),
    peerContextTakeover: truthOf(name, given, "peerContextTakeover", false),
    windowBits: intOf(name, given, "windowBits", 15, 9, 15, ""),
    peerWindowBits: 15,
    threshold: intOf(name, given, "threshold", 1024, 0, SIZE_MAX, "bytes"),
  };
}

/** @throws {MillraceError} ERR_MILLRACE_INVALID_OPTION */
export function protocolsOf(name: string, value: unknown): ReadonlySet<string> {
  if (value === undefined) return new Set();
  const list: readonly unknown[] = Array.isArray(value) ? value : [undefined];
  for (const each of list) {
    if (typeof each !== "string" || !TOKEN.test(each))
      throw invalidOption(name, `must be an array of tokens, it holds ${show(each)}`, value);
  }
  return new Set(list as readonly string[]);
}

// RFC 6454 6.2: scheme, host and a port that is not the scheme's own; in lower case, no path.
function originsOf(name: string, value: unknown): ReadonlySet<string> | undefined {
  if (value === undefined || value === "*") return undefined;
  const list: unknown = value === SAME_ORIGIN ? [value] : value;
  if (!Array.isArray(list))
    throw invalidOption(name, `must be an array, "*" or "${SAME_ORIGIN}"`, value);
  const origins = new Set<string>();
  for (const each of list as readonly unknown[]) {
    const origin = typeof each === "string" ? originOf(each) : undefined;
    if (origin === undefined) {
      const what = `has entries like "https://app.example", and "${SAME_ORIGIN}"`;
      throw invalidOption(name, what, each);
    }
    origins.add(origin);
  }
  return origins;
}

// "null" is what sandboxed documents and files send.
function originOf(text: string): string | undefined {
  if (text === SAME_ORIGIN) return text;
  const lower = text.toLowerCase();
  if (lower === "null") return lower;
  if (!/^[a-z][a-z0-9+.-]*:\/\/[^/?#\s]+$/.test(lower)) return undefined;
  if (!URL.canParse(lower)) return undefined;
  const { origin } = new URL(lower);
  return origin === "null" ? lower : origin;
}

/** Checks what a hook or `upgrade()` gave. @throws {MillraceError} ERR_MILLRACE_INVALID_OPTION */
export function checkUpgrade(name: string, value: unknown): UpgradeOptions {
  checkRecord(name, value, ["data", "headers", "protocol"]);
  return value as UpgradeOptions;
}

type Given = Readonly<Record<string, unknown>>;

function intOf(
  name: string,
  given: Given,
  key: string,
  other: number,
  floor: number,
  ceiling: number,
  unit: string,
): number {
  const value = given[key];
  return value === undefined ? other : integer(`${name}.${key}`, value, floor, ceiling, unit);
}

function truthOf(name: string, given: Given, key: string, other: boolean): boolean {
  const value = given[key];
  return value === undefined ? other : truth(`${name}.${key}`, value);
}
