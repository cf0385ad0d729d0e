// What the main thread and a cluster's thread say to each other, over a port of their own.
import type { MessagePort } from "node:worker_threads";
import type { Address, CloseReport } from "../api.ts";
import type { ServerCloseOptions } from "../restart/options.ts";

/** In `workerData` under MARK. */
export interface Start {
  readonly data: unknown;
  readonly index: number;
  readonly line: MessagePort;
  readonly module: string; // a file: URL
  readonly port: number;
  readonly threads: number;
}

export const MARK = "millrace.cluster";

/** From the thread. */
export type Word =
  | { readonly kind: "ready"; readonly addresses: readonly Address[]; readonly url: string }
  | ({ readonly kind: "closed"; readonly problem?: unknown } & CloseReport);

/** To the thread: close with these. */
export type Order = Required<ServerCloseOptions>;
