// The public names of millrace, and nothing else.

// Node reads all that a module imports at once: these with the files below, so that fewer are open
// when it reads what those import.
import "./logging/delivery.ts";
import "./metrics.ts";
import "./outbox.ts";
import "./pattern.ts";
import "./proxies.ts";
import "./refusals.ts";
import "./websocket/tls.ts";
import "./websocket/topics.ts";
import "./websocket/url.ts";
import "./websocket/zlib.ts";

export { type AccelOptions, accel } from "./accel.ts";
export type {
  Address,
  CloseReport,
  Context,
  ErrorHandler,
  FetchHandler,
  MaybePromise,
  Metrics,
  RawHandler,
  RawResult,
  Req,
  Res,
  Server,
  ShutdownCallback,
  StreamOptions,
} from "./api.ts";
export type { BodyOptions, Bytes } from "./body.ts";
export type {
  Cluster,
  ClusterContext,
  ClusterModule,
  ClusterOptions,
  ClusterReport,
  ClusterThread,
} from "./cluster/api.ts";
export { cluster } from "./cluster/cluster.ts";
export type { CompressLevels, CompressOptions } from "./compress.ts";
export type {
  CloseCauseName,
  Connection,
  ConnectionCloseOptions,
  ConnectionHooks,
  ProxyDetails,
  ProxySSL,
} from "./connection/api.ts";
export type * from "./connection/data.ts";
export type { CookieOptions } from "./cookies.ts";
export { type ErrorCode, MillraceError, type MillraceErrorOptions } from "./errors.ts";
export type { EventStream, EventStreamOptions, ServerEvent } from "./events.ts";
export { type Fds, fds } from "./fds.ts";
export {
  type DirOptions,
  dir,
  type FileOptions,
  type FileRoute,
  file,
  type SendFileOptions,
} from "./files.ts";
export type { ReadonlyHeaders } from "./headers.ts";
export type { Receipt, ReceiveOptions } from "./incoming.ts";
export type { HeadersInit } from "./lines.ts";
export { type AccessRecord, accessLine } from "./logging/access.ts";
export { FileLogger, type FileLoggerOptions } from "./logging/file.ts";
export { LOG_LEVELS, type LogLevel } from "./logging/levels.ts";
export type { AccessLogOptions, LogOptions } from "./logging/options.ts";
export type { LogDetails, LogError, LogLine, LogRecord } from "./logging/record.ts";
export type { MultipartOptions, Part } from "./multipart.ts";
export type {
  LimitOptions,
  ListenEntry,
  ListenOptions,
  ServeOptions,
  ShutdownOptions,
  TimeoutOptions,
} from "./options.ts";
export type { DrainOptions } from "./outgoing.ts";
export type { Params } from "./params.ts";
export type { TrustProxy } from "./proxies.ts";
export type { RefusalCode, RefusalStatus, Refusals } from "./refusals.ts";
export type { ReloadOptions } from "./reload.ts";
export type { HandoverOptions, ServerCloseOptions } from "./restart/options.ts";
export {
  type HealthPaths,
  type MethodTable,
  type RawRoute,
  type RouteAnswer,
  type RouteOptions,
  type Routes,
  type RouteValue,
  raw,
  websocket,
} from "./routes.ts";
export type { SavedFile, SaveOptions } from "./saving.ts";
export * as scgi from "./scgi/index.ts";
export { serve } from "./server.ts";
export type { Source } from "./sources.ts";
export type { SyncAdapter, SyncContext, SyncDriver, SyncMessage } from "./sync/adapter.ts";
export type {
  DeflateOptions,
  PublishOptions,
  SendManyOptions,
  SendManyReport,
  SendOptions,
  Socket,
  UpgradedHandler,
  UpgradeOptions,
  WebSocketHandler,
} from "./websocket/api.ts";
export {
  type ClientHandler,
  type ClientSettings,
  type ClientSocket,
  type ConnectOptions,
  connect,
  type SocketClose,
} from "./websocket/client.ts";
export {
  type Client,
  type ClientConnectOptions,
  type Clientele,
  type ClienteleOptions,
  type ClientOptions,
  type ClientSendOptions,
  clientele,
} from "./websocket/clientele.ts";
export type { HandshakeOptions } from "./websocket/dial.ts";
export {
  type BinaryType,
  CloseEvent,
  type CloseEventInit,
  WebSocket,
  type WebSocketData,
  type WebSocketEvents,
  type WebSocketOptions,
} from "./websocket/standard.ts";
export type { ClientTLSOptions } from "./websocket/tls.ts";
export type { Encoding } from "./zipped.ts";
