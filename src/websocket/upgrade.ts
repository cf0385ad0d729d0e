// Accepting a handshake: what goes into the 101, and the socket that comes of it. What is no valid
// handshake never gets here.
import type { Req, Res } from "../api.ts";
import { invalidOption } from "../check.ts";
import { MillraceError, sentenceOf, show } from "../errors.ts";
import { HeaderLines } from "../lines.ts";
import type { NativeReq } from "../request.ts";
import type { NativeRes } from "../response.ts";
import type { Service } from "../service.ts";
import type { Socket, UpgradeOptions } from "./api.ts";
import { checkUpgrade, SAME_ORIGIN, type SocketHandler } from "./handler.ts";
import { NativeSocket } from "./socket.ts";

const OWN_FIELD = /^(sec-websocket-[^:]*|upgrade|connection|content-length|transfer-encoding):/im;
// Shorter ones V8 copies out of the batch's text by itself.
const SLICE_LENGTH_MIN = 13;

/** A handshake that is going to be accepted. */
interface Acceptance {
  readonly req: NativeReq;
  readonly handler: SocketHandler;
  readonly data: unknown;
  readonly protocol: string;
  readonly lines: string;
}

const marked = new WeakMap<Response, Acceptance>();

/**
 * The Response of `ctx.upgrade()`: returning it is what accepts.
 * @throws {MillraceError} ERR_MILLRACE_WS_HANDSHAKE, ERR_MILLRACE_WS_ORIGIN,
 * ERR_MILLRACE_INVALID_OPTION, ERR_MILLRACE_INVALID_HEADER
 */
export function upgradeResponse(service: Service, req: NativeReq, options: unknown): Response {
  const handler = handlerOf(service, req, "ctx.upgrade()");
  const acceptance = acceptanceOf(handler, req, "ctx.upgrade()", options);
  const response = new Response(null);
  // The constructor takes no 101, and whoever logs the response should see what is sent.
  Object.defineProperty(response, "status", { value: 101 });
  marked.set(response, acceptance);
  return response;
}

/**
 * Accepts if it is a Response of upgradeResponse().
 * @throws {MillraceError} ERR_MILLRACE_INVALID_OPTION when it is another request's
 */
export function acceptMarked(req: NativeReq, res: NativeRes, response: Response): boolean {
  const acceptance = marked.get(response);
  if (acceptance === undefined) return false;
  if (acceptance.req !== req) {
    const what = "was given the Response that ctx.upgrade() made for another request";
    throw invalidOption(req.where, what, response);
  }
  accept(acceptance, req, res);
  return true;
}

/** What `req.upgrade()` does; the errors are those of upgradeResponse(). */
export function upgradeNow(service: Service, req: Req, options: unknown): Socket {
  const own = req as NativeReq;
  const handler = handlerOf(service, own, "req.upgrade()");
  const acceptance = acceptanceOf(handler, own, "req.upgrade()", options);
  return accept(acceptance, own, own.res as Res as NativeRes);
}

/** Accepts with what a hook gave. */
export function acceptWith(
  handler: SocketHandler,
  req: NativeReq,
  res: NativeRes,
  options: unknown,
): void {
  accept(acceptanceOf(handler, req, `upgrade() of ${req.where}`, options), req, res);
}

/** @throws {MillraceError} ERR_MILLRACE_WS_ORIGIN, which is answered with 403 */
export function checkOrigin(handler: SocketHandler, req: NativeReq): void {
  const { origins } = handler;
  if (origins === undefined) return;
  const origin = req.headers.get("origin")?.toLowerCase();
  if (origin === undefined || origins.has(origin)) return;
  if (origins.has(SAME_ORIGIN) && isOwnOrigin(req, origin)) return;
  const code = "ERR_MILLRACE_WS_ORIGIN";
  throw new MillraceError(code, `${req.where}: ${show(origin)}: ${sentenceOf(code)}`);
}

// Where nobody tells the request's scheme, TLS may end in front of us: then it is the Origin's.
function isOwnOrigin(req: NativeReq, origin: string): boolean {
  const [, said] = /^(https?):\/\//.exec(origin) ?? [];
  const { client } = req;
  const host = client.host ?? req.headers.get("host") ?? "";
  const own = `${client.scheme ?? said}://${host}`;
  return said !== undefined && URL.canParse(own) && new URL(own).origin === origin;
}

function handlerOf(service: Service, req: NativeReq, name: string): SocketHandler {
  const handler = service.websocket;
  if (handler === undefined)
    throw invalidOption(name, "needs the option websocket of serve()", undefined);
  if (!req.isHandshake) {
    const code = "ERR_MILLRACE_WS_HANDSHAKE";
    throw new MillraceError(code, `${req.where} cannot be upgraded: ${sentenceOf(code)}`);
  }
  checkOrigin(handler, req);
  return handler;
}

function acceptanceOf(
  handler: SocketHandler,
  req: NativeReq,
  name: string,
  options: unknown,
): Acceptance {
  const given: UpgradeOptions = options === undefined ? {} : checkUpgrade(name, options);
  const protocol = protocolOf(handler, req, name, given.protocol);
  let lines = linesOf(name, given.headers);
  if (protocol !== "") lines += `Sec-WebSocket-Protocol: ${protocol}\r\n`;
  return { req, handler, data: given.data, protocol, lines };
}

function accept(acceptance: Acceptance, req: NativeReq, res: NativeRes): Socket {
  const { handler, data, protocol, lines } = acceptance;
  const { address, port } = req.remoteAddress;
  // Before the exchange ends, as the async context of its handler is the socket's too.
  const peer = copyOf(address);
  const { handle, generation } = res;
  const socket = new NativeSocket(
    handler.rules,
    handle,
    generation,
    data,
    protocol,
    peer,
    port,
    req.place,
    req.listener,
  );
  if (handler.keepsRequest) socket.keep(req.ctx.request);
  if (res.upgrade(lines, handler.rules.settings)) {
    socket.register();
  } else {
    socket.belongsTo(req.known);
    socket.aborted();
  }
  return socket;
}

function protocolOf(handler: SocketHandler, req: NativeReq, name: string, chosen: unknown): string {
  if (chosen === undefined && handler.protocols.size === 0) return "";
  const field = req.headers.get("sec-websocket-protocol") ?? "";
  const offered = field.split(",").map((each) => each.trim());
  if (chosen === undefined)
    return copyOf(offered.find((each) => handler.protocols.has(each)) ?? "");
  if (typeof chosen === "string" && chosen !== "" && offered.includes(chosen))
    return copyOf(chosen);
  throw invalidOption(`${name} protocol`, `must be one that the client offered (${field})`, chosen);
}

function linesOf(name: string, headers: UpgradeOptions["headers"]): string {
  if (headers === undefined) return "";
  const lines = new HeaderLines();
  lines.setAll(headers);
  const own = OWN_FIELD.exec(lines.text)?.[1];
  if (own === undefined && lines.flags === 0 && lines.length < 0) return lines.text;
  const what = own ?? "Connection, Content-Length or Date";
  const message = `${name}: ${what} cannot be set, it is written for you`;
  throw new MillraceError("ERR_MILLRACE_INVALID_HEADER", message);
}

// A slice would keep the text of its whole batch.
function copyOf(latin1: string): string {
  if (latin1.length < SLICE_LENGTH_MIN) return latin1;
  return Buffer.from(latin1, "latin1").toString("latin1");
}
