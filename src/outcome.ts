// Calls a handler and sees to it that its exchange ends: answered, failed with a status, or kept
// open on purpose.
import type { FetchHandler } from "./api.ts";
import { clientStatusOf, FULL, isOurs, MillraceError, publicTextOf } from "./errors.ts";
import { sendResponse } from "./fetch.ts";
import { LOG_LEVELS } from "./logging/levels.ts";
import type { Log } from "./logging/logger.ts";
import { errOf } from "./logging/record.ts";
import type { NativeReq } from "./request.ts";
import type { NativeRes } from "./response.ts";
import type { Service } from "./service.ts";

/** Never throws. Asynchronous only when the handler is. */
export function runHandler(service: Service, req: NativeReq, res: NativeRes): void {
  const { raw } = req.target;
  let pending: PromiseLike<unknown> | undefined;
  try {
    if (raw !== undefined) {
      const result: unknown = raw(req, res);
      if (isThenable(result)) pending = result;
      else if (!res.leave() && !req.isGivenUp) throw res.failure ?? noReply(req);
    } else {
      const { ctx } = req;
      const result: unknown = (req.target.fetch as FetchHandler)(ctx.request, ctx);
      pending = isThenable(result) ? result : sendResponse(req, res, result);
    }
  } catch (error) {
    void fail(service, req, res, error);
    if (res.isOpen) res.track();
    return;
  }
  if (res.isOpen) res.track();
  if (pending !== undefined) void settle(service, req, res, pending);
}

// A fetch-style handler's promise gives a Response, or nothing when sendResponse() has seen to it.
async function settle(
  service: Service,
  req: NativeReq,
  res: NativeRes,
  pending: PromiseLike<unknown>,
): Promise<void> {
  try {
    const result = await pending;
    if (req.target.raw !== undefined) {
      if (!res.leave() && !req.isGivenUp) throw res.failure ?? noReply(req);
    } else if (result !== undefined || res.isOpen) {
      await sendResponse(req, res, result);
    }
  } catch (error) {
    await fail(service, req, res, error);
  }
}

/**
 * Ends the exchange of a handler that has failed: the application's hook first; what it leaves open
 * gets the default. Returns a promise only when the hook does.
 */
export function fail(
  service: Service,
  req: NativeReq,
  res: NativeRes,
  error: unknown,
): Promise<void> | undefined {
  const isExpected = isLeft(req, error);
  const hook = service.error;
  if (hook === undefined || isExpected) {
    answerFailure(service, req, res, error, isExpected);
    return undefined;
  }
  res.reset();
  try {
    const result: unknown = hook(error, req.ctx);
    if (isThenable(result)) return failLater(service, req, res, error, result);
    const sending = result === undefined ? undefined : sendResponse(req, res, result);
    if (sending !== undefined) return failLater(service, req, res, error, sending);
  } catch (second) {
    answerFailure(service, req, res, second, false);
    return undefined;
  }
  answerFailure(service, req, res, error, true);
  return undefined;
}

async function failLater(
  service: Service,
  req: NativeReq,
  res: NativeRes,
  error: unknown,
  pending: PromiseLike<unknown>,
): Promise<void> {
  try {
    const result = await pending;
    if (result !== undefined) await sendResponse(req, res, result);
  } catch (second) {
    answerFailure(service, req, res, second, false);
    return;
  }
  answerFailure(service, req, res, error, true);
}

// What is thrown can be made so that looking at it throws. The exchange ends all the same, and the
// rest of its batch is served.
function answerFailure(
  service: Service,
  req: NativeReq,
  res: NativeRes,
  error: unknown,
  isKnown: boolean,
): void {
  try {
    answerDefault(service, req, res, error, isKnown);
  } catch {
    answerBare(service, req, res, isKnown);
  }
}

function answerBare({ log }: Service, req: NativeReq, res: NativeRes, isKnown: boolean): void {
  try {
    if (res.isOpen) {
      res.reset();
      res.send(500);
    }
    res.cut(undefined, "Excepted", "ERR_MILLRACE_HANDLER_FAILED");
    if (isKnown) return;
    const what = `${req.where}: the handler threw something that cannot be looked at`;
    log.failed(LOG_LEVELS.error, "ERR_MILLRACE_HANDLER_FAILED", what);
  } catch {
    // Neither answering nor warning works: nothing is left that could be told anybody.
  }
}

// Sends the default answer unless there is one, and warns unless the peer is to blame or somebody
// knows already.
function answerDefault(
  { log }: Service,
  req: NativeReq,
  res: NativeRes,
  error: unknown,
  isKnown: boolean,
): void {
  const status = clientStatusOf(error);
  const wasOpen = res.isOpen;
  if (wasOpen) {
    res.reset();
    // As the native side words its refusals.
    const text = status === 0 ? "Internal Server Error" : publicTextOf(error, status);
    res.send(status === 0 ? 500 : status, `${text}\n`, PLAIN_TEXT);
  }
  // What has begun cannot be answered any more, and must not look whole.
  const wasStreaming = res.state === "streaming";
  const isMillrace = error instanceof MillraceError;
  const code = isMillrace ? error.code : "ERR_MILLRACE_HANDLER_FAILED";
  if (wasStreaming && isLeft(req, error)) res.cut(undefined, "ClosedByClient");
  else if (wasStreaming) res.cut(undefined, "Excepted", code);
  if (isKnown) return;
  if (status !== 0 && status !== FULL && wasOpen) {
    noteRefusal(log, req, error, status);
    return;
  }
  const begun = wasStreaming ? "the connection was cut" : "its response was over";
  const ending = wasOpen ? "500 was sent" : begun;
  const own = isMillrace ? error.message : `the handler threw; ${ending}`;
  const what = own.includes(req.where) ? own : `${req.where}: ${own}`;
  // Nobody threw a missing reply: its stack leads only here.
  const thrown = code === "ERR_MILLRACE_NO_REPLY" ? [] : [error];
  log.failed(LOG_LEVELS.error, code, what, ...thrown);
}

const PLAIN_TEXT = {
  "Content-Type": "text/plain;charset=utf-8",
  "X-Content-Type-Options": "nosniff",
} as const;

// The peer is to blame, says the error; but a foreign one may be of a request that we made.
function noteRefusal(log: Log, req: NativeReq, error: unknown, status: number): void {
  if (log.threshold > LOG_LEVELS.debug || isOurs(error)) return;
  const what = `${req.where}: the handler threw; ${status} was sent`;
  log.add(LOG_LEVELS.debug, what, { err: errOf(error) });
}

function noReply(req: NativeReq): MillraceError {
  const fix =
    "call res.end() or a relative, return a Response from a fetch handler, or res.detach() to answer later";
  return new MillraceError(
    "ERR_MILLRACE_NO_REPLY",
    `${req.where} returned without answering; 500 was sent. Fix: ${fix}`,
  );
}

// A handler that gives up because its peer has gone has done what the signal is for.
function isLeft(req: NativeReq, error: unknown): boolean {
  return req.aborted && isAbort(error, req);
}

function isAbort(error: unknown, req: NativeReq): boolean {
  try {
    return error === req.signal.reason || (error instanceof Error && error.name === "AbortError");
  } catch {
    return false;
  }
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  if (typeof value !== "object" || value === null) return false;
  return typeof (value as { then?: unknown }).then === "function";
}
