// What a request goes through when somebody looks on: hooks of connections, a verbose log,
// subscribers of diagnostics_channel. Without any of them nothing of this runs.
import { idOf } from "./connection/connection.ts";
import { Diagnosis, isWatched } from "./diagnostics.ts";
import { LOG_LEVELS } from "./logging/levels.ts";
import type { Log } from "./logging/logger.ts";
import { EVENT } from "./native/tables.ts";
import { runHandler } from "./outcome.ts";
import type { NativeReq } from "./request.ts";
import type { NativeRes } from "./response.ts";
import type { Service } from "./service.ts";

const NAMES: readonly string[] = Object.entries(EVENT).reduce<string[]>((names, [name, kind]) => {
  names[kind] = name;
  return names;
}, []);

/** Whether nobody looks on. Asked once per batch. */
export function isPlain({ connections, log }: Service): boolean {
  return log.threshold > LOG_LEVELS.debug && !connections.isFollowed && !isWatched();
}

/** Notes a request before its handler is called. */
export function follow({ connections, log }: Service, req: NativeReq): void {
  if (connections.isFollowed) req.connection;
  if (log.threshold > LOG_LEVELS.debug) return;
  const id = idOf(req.place);
  const line = `${req.method} ${req.url} HTTP/${req.httpVersion}`;
  log.add(LOG_LEVELS.debug, `${id}: ${line}`, { connection: id });
}

/** Runs the handler; in its async scope, so that it inherits what subscribers enter. */
export function runObserved(service: Service, req: NativeReq, res: NativeRes): void {
  if (!isWatched()) {
    runHandler(service, req, res);
    return;
  }
  const { log } = service;
  const diagnosis = new Diagnosis(req, res, (error) => {
    const what = `${req.where}: a watcher of diagnostics_channel threw`;
    log.failed(LOG_LEVELS.error, "ERR_MILLRACE_HANDLER_FAILED", what, error);
  });
  res.diagnosis = diagnosis;
  diagnosis.begin(() => runHandler(service, req, res));
}

/** Notes an event of a loop. */
export function traceEvent(log: Log, kind: number, handle: number): void {
  log.add(LOG_LEVELS.trace, `event ${NAMES[kind] ?? kind} of exchange ${handle}`);
}
