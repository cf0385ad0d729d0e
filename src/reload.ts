// server.reload(): other routes and handlers for a server that runs.
import { checkRecord } from "./check.ts";
import { MillraceError } from "./errors.ts";
import { checkAnswerers, type ServeOptions } from "./options.ts";
import { compileRoutes, ROUTES_MAX, type RouteTable, routeError } from "./routes.ts";
import type { Service } from "./service.ts";

const KEYS = [
  ...["compress", "fetch", "handler", "health"],
  ...["methodNotAllowed", "notFound", "routes"],
] as const;

/** What `server.reload()` takes: the options of `serve()` that say who answers. */
export interface ReloadOptions<R extends string = string>
  extends Pick<
    ServeOptions<R>,
    "compress" | "fetch" | "handler" | "health" | "methodNotAllowed" | "notFound" | "routes"
  > {}

/** What a reload needs to know of its server. */
export interface Reloading {
  /** The number of the native server. */
  readonly server: number;
  readonly loops: number;
  readonly service: Service;
  /** The first table; its targets are those of the service. */
  readonly table: Pick<RouteTable, "sockets" | "targets">;
  /** Whether the server has begun to close. */
  readonly isClosing: () => boolean;
}

/** Exchanges the routes of one server. */
export class Reload {
  readonly #of: Reloading;
  #last: Promise<void> = Promise.resolve();
  #left = 0; // loops that still have the former routes
  #done: (() => void) | undefined = undefined;

  constructor(of: Reloading) {
    this.#of = of;
  }

  /** One loop has the new routes. */
  rerouted(): void {
    this.#left -= 1;
    if (this.#left === 0) this.#done?.();
  }

  /** One after the other: the last that is asked for is what stays. */
  run(options: ReloadOptions): Promise<void> {
    const own = this.#last.then(() => this.#run(options));
    this.#last = own.catch(() => undefined);
    return own;
  }

  async #run(options: ReloadOptions): Promise<void> {
    checkRecord("reload()", options, KEYS);
    checkAnswerers("reload()", options);
    const { loops, server, service, table: first } = this.#of;
    const table = await compileRoutes(
      {
        ...options,
        // A method of the options object may use `this`.
        ...(options.fetch === undefined ? {} : { fetch: options.fetch.bind(options) }),
        ...(options.handler === undefined ? {} : { handler: options.handler.bind(options) }),
      },
      first,
    );
    this.#check(table);
    const { rows: routes, fallback, methodNotAllowed } = table;
    service.outbox.flush(); // what the handler that reloads has answered goes first
    try {
      service.native.reroute(server, { routes, fallback, methodNotAllowed });
    } catch (cause) {
      throw routeError(cause);
    }
    for (const { rules } of table.handlers) rules.service = service.sockets;
    // Events of requests that the former routes have matched still name their handlers.
    for (const target of table.targets.slice(first.targets.length)) first.targets.push(target);
    this.#left = loops;
    await new Promise<void>((resolve) => {
      this.#done = resolve;
    });
  }

  #check(table: RouteTable): void {
    const { isClosing, table: first } = this.#of;
    if (isClosing())
      throw new MillraceError("ERR_MILLRACE_CLOSED", "reload() of a server that closes");
    if (table.sockets.length > first.sockets.length) {
      const what = "has a WebSocketHandler with other limits, timeouts or compression than those";
      const fix = "give serve() one with the same, be it as its option websocket, or start another";
      const message = `reload() ${what} that serve() was given; ${fix} server`;
      throw new MillraceError("ERR_MILLRACE_INVALID_OPTION", message);
    }
    if (table.targets.length > ROUTES_MAX) {
      const what = `at most ${ROUTES_MAX} handlers in all reloads of a server; start another one`;
      throw new MillraceError("ERR_MILLRACE_INVALID_OPTION", `reload() takes ${what}`);
    }
  }
}
