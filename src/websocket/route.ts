// A WebSocket as the value of a route: asks the upgrade hook, and does what it says.
import type { RawHandler } from "../api.ts";
import { invalidOption } from "../check.ts";
import { isResponse, sendResponse } from "../fetch.ts";
import type { NativeReq } from "../request.ts";
import type { NativeRes } from "../response.ts";
import type { SocketHandler } from "./handler.ts";
import { acceptMarked, acceptWith, checkOrigin } from "./upgrade.ts";

/** Called with valid handshakes only; others are answered natively. */
export function socketRoute(handler: SocketHandler): RawHandler {
  return (req, res) => answer(handler, req as NativeReq, res as NativeRes);
}

function answer(handler: SocketHandler, req: NativeReq, res: NativeRes): Promise<void> | undefined {
  checkOrigin(handler, req);
  if (handler.upgrade === undefined) {
    acceptWith(handler, req, res, undefined);
    return undefined;
  }
  const { ctx } = req;
  const result: unknown = handler.upgrade(ctx.request, ctx);
  if (result instanceof Promise || isThenable(result))
    return answerLater(handler, req, res, result);
  return conclude(handler, req, res, result);
}

async function answerLater(
  handler: SocketHandler,
  req: NativeReq,
  res: NativeRes,
  pending: PromiseLike<unknown>,
): Promise<void> {
  const result = await pending;
  // The client has not waited; there is nobody to answer.
  if (res.isAborted) return;
  await conclude(handler, req, res, result);
}

function conclude(
  handler: SocketHandler,
  req: NativeReq,
  res: NativeRes,
  result: unknown,
): Promise<void> | undefined {
  if (isResponse(result)) {
    if (acceptMarked(req, res, result)) return undefined;
    return sendResponse(req, res, result);
  }
  if (result === false) {
    const code = "ERR_MILLRACE_WS_HANDSHAKE";
    res.send(400, `${code}: the handshake was refused\n`, { "Content-Type": "text/plain" });
    return undefined;
  }
  const given = result === true || result === null ? undefined : result;
  if (given !== undefined && typeof given !== "object") {
    const what = "must give { data, protocol, headers }, a Response, true, false or nothing";
    throw invalidOption(`upgrade() of ${req.where}`, what, given);
  }
  acceptWith(handler, req, res, given);
  return undefined;
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  if (typeof value !== "object" || value === null) return false;
  return typeof (value as { then?: unknown }).then === "function";
}
