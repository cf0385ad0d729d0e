// The public names of millrace, and nothing else.
export type {
  Address,
  CloseReport,
  Context,
  ErrorHandler,
  FetchHandler,
  MaybePromise,
  Metrics,
  RawHandler,
  Req,
  Res,
  Server,
} from "./api.ts";
export type { BodyOptions, Bytes } from "./body.ts";
export type { CookieOptions } from "./cookies.ts";
export { type ErrorCode, MillraceError, type MillraceErrorOptions } from "./errors.ts";
export type { ReadonlyHeaders } from "./headers.ts";
export type { HeadersInit } from "./lines.ts";
export type {
  LimitOptions,
  ListenOptions,
  ServeOptions,
  ShutdownOptions,
  TimeoutOptions,
} from "./options.ts";
export type { Params } from "./params.ts";
export {
  type MethodTable,
  raw,
  type RawRoute,
  type RouteAnswer,
  type RouteOptions,
  type Routes,
  type RouteValue,
} from "./routes.ts";
export { serve } from "./server.ts";
