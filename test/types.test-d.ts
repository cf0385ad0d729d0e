// The public types, asserted by the compiler. Never run: tsc fails where one of them changes.
import {
  type AccelOptions,
  type AccessRecord,
  accel,
  type accessLine,
  type CloseCauseName,
  type Connection,
  type Context,
  dir,
  type ErrorCode,
  type FetchHandler,
  FileLogger,
  type FileRoute,
  file,
  type LOG_LEVELS,
  type LogLevel,
  type LogRecord,
  MillraceError,
  type Params,
  type Part,
  type RawHandler,
  type ReadonlyHeaders,
  type Receipt,
  type Req,
  type Res,
  type RouteValue,
  raw,
  type SavedFile,
  type Server,
  type Socket,
  scgi,
  serve,
  type TrustProxy,
  type WebSocketHandler,
  websocket,
} from "millrace";

type Equal<A, B> =
  (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
declare function same<A, B>(...equal: Equal<A, B> extends true ? [] : ["these types differ"]): void;
type Flat<T> = { [K in keyof T]: T[K] };

// ── parameters from patterns ──
same<Flat<Params<"/users/:id">>, { readonly id: string }>();
same<Flat<Params<"/a/:b/c/:d">>, { readonly b: string; readonly d: string }>();
same<Flat<Params<"/a/@b">>, { readonly b: string }>();
same<Flat<Params<"/files/*">>, { readonly "*": string }>();
same<Flat<Params<"/files/**">>, { readonly "*": string }>();
same<Flat<Params<"/img/*.png">>, { readonly "*": string }>();
same<
  Flat<Params<"/:a/x-*/:b">>,
  { readonly a: string; readonly "*": string; readonly b: string }
>();
same<keyof Params<"/plain/a:b/a*b">, never>();
same<Params<string>, Readonly<Record<string, string>>>();

// ── handlers know the parameters of their pattern ──
const server: Server = await serve({
  port: 0,
  error: (error, ctx) => {
    same<typeof error, unknown>();
    same<typeof ctx, Context>();
    return error instanceof MillraceError ? new Response(error.code) : undefined;
  },
  handler: (req, res) => {
    same<typeof req, Req>();
    same<typeof res, Res>();
    const any = req.params["any"];
    same<typeof any, string | undefined>();
    res.end();
  },
  routes: {
    "/static": new Response("x"),
    "/users/:id": (request, ctx) => {
      same<typeof request, Request>();
      same<typeof ctx.params.id, string>();
      // @ts-expect-error the pattern has no such parameter
      ctx.params.name;
      return new Response(ctx.params.id);
    },
    "/raw/:id/**": raw((req, res) => {
      same<typeof req.params.id, string>();
      same<(typeof req.params)["*"], string>();
      // @ts-expect-error the pattern has no such parameter
      req.params.name;
      same<ReturnType<typeof res.end>, boolean>();
      same<typeof req.headers, ReadonlyHeaders>();
      res.status(200).header("a", "b").header("c", ["d", "e"]).cookie("f", "g").json({});
    }),
    "/table/:id": {
      GET: (_request, ctx) => Response.json(ctx.params.id),
      POST: raw(async (req, res) => void res.json(await req.json<{ a: number }>({ limit: 10 }))),
      body: "sized",
      maxBodySize: 10,
    },
  },
});

// ── handlers declared elsewhere fit every route ──
const anywhere = raw((req, res) => void res.end(req.params["id"] ?? ""));
const somewhere: RawHandler<"/users/:id"> = (req, res) => void res.end(req.params.id);
const standard: FetchHandler = (_request, ctx) => new Response(ctx.params["id"]);
await serve({
  routes: { "/users/:id": anywhere, "/:id": standard, "/users/:id/x": { GET: raw(somewhere) } },
});
// @ts-expect-error the handler needs a parameter that the pattern does not have
await serve({ routes: { "/users": raw(somewhere) } });
const table: Record<string, RouteValue> = { "/x": anywhere, "/y": standard };
await serve({ routes: table });

// ── raw handlers may return what they call, but not what would be taken for an answer ──
await serve({
  handler: (_req, res) => res.status(204),
  routes: {
    "/a": raw((_req, res) => res.json({})),
    "/b": { GET: raw(async (req, res) => (req.is("/b") ? res.end() : res.stream(["x"]))) },
    "/c": raw((_req, res) => new Set([res.events()])),
  },
});
// @ts-expect-error it answers through res
raw(() => new Response());
// @ts-expect-error it answers through res
raw(async () => new Response());
// @ts-expect-error it answers through res
raw((req, res) => (req.is("/") ? res.end() : Promise.resolve(new Response())));
// @ts-expect-error it answers through res
await serve({ handler: () => new Response() });

// ── hooks may say nothing, in both forms ──
await serve({ fetch: standard, error: () => undefined });
await serve({ fetch: standard, error: async () => undefined });
await serve({ fetch: standard, error: async () => new Response() });

// ── what does not exist is refused ──
// @ts-expect-error an option that is misspelt
await serve({ prot: 3000, fetch: standard });
// @ts-expect-error a limit that is misspelt
await serve({ fetch: standard, limits: { maxHeadersSize: 1 } });
await serve({ fetch: standard, limits: { maxHeaderSize: 8192 }, timeouts: { keepAlive: 0 } });
// @ts-expect-error a fetch handler answers with a Response
await serve({ fetch: () => "text" });
// @ts-expect-error methods are written as on the wire
await serve({ routes: { "/": { get: standard } } });

// ── the server and its errors ──
same<Flat<Awaited<Server["closed"]>>, { readonly completed: number; readonly forced: number }>();
same<MillraceError["code"], ErrorCode>();
same<MillraceError["status"], number | undefined>();
const code: ErrorCode = "ERR_MILLRACE_ADDR_IN_USE";
same<typeof code, "ERR_MILLRACE_ADDR_IN_USE">();
same<Server["signal"], AbortSignal>();
same<Server["stopping"], boolean>();
const takeBack = server.onShutdown((stopped) => same<typeof stopped, Server>());
same<typeof takeBack, () => void>();
await serve({ fetch: standard, onShutdown: async (stopped) => stopped.stopping });
// @ts-expect-error callbacks are functions
server.onShutdown("later");
async function owned(): Promise<void> {
  await using disposed = await serve({ fetch: standard, loops: "auto" });
  same<typeof disposed, Server>();
  same<(typeof disposed.metrics.responses)["2xx"], number>();
}
void [server, owned];

// ── streams ──
declare const req: Req;
declare const res: Res;
for await (const chunk of req) same<typeof chunk, Uint8Array>();
for await (const receipt of req.receive({ waitMs: 10, giveUpMs: 10, totalMs: 10 })) {
  same<typeof receipt, Receipt>();
  same<Receipt["state"], "progress" | "try-again" | "complete" | "fail">();
}
for await (const part of req.multipart({ fileSize: 10 })) {
  same<typeof part, Part>();
  same<typeof part.filename, string | undefined>();
  const saved = await part.saveTo("/tmp/x", { sha256: true, giveUpMs: 10 });
  same<typeof saved, SavedFile>();
  for await (const chunk of part) same<typeof chunk, Uint8Array>();
}
same<Awaited<typeof req.trailers>, ReadonlyHeaders>();
same<ReturnType<Res["write"]>, boolean>();
same<ReturnType<Res["drained"]>, Promise<void>>();
await res.stream(["a", new Uint8Array(1)], { length: 2, trailers: () => ({ a: "b" }) });
await res.stream(new ReadableStream<Uint8Array>());
const writable: import("node:stream").Writable = res.writable({ length: 2, giveUpMs: 100 });
writable.end();
await res.events()[Symbol.asyncDispose]();
// @ts-expect-error numbers are no body
await res.stream([1, 2]);
await res.file("a.txt", { root: "public" });
// @ts-expect-error headers are set on the response
await res.file("a.txt", { headers: {} });
same<typeof res.state, "open" | "streaming" | "ended" | "aborted">();
const files: FileRoute = dir("public", { dotfiles: "deny" });
await serve({ routes: { "/a": file("a.txt"), "/b/**": files, "/c": { GET: file("a.txt") } } });
await serve({
  routes: { "/up": { POST: raw((one) => one.bytes().then(() => {})), body: "stream" } },
});

// ── WebSockets ──
interface User {
  readonly name: string;
}
const chat: WebSocketHandler<User> = {
  upgrade: async (request, ctx) => {
    same<typeof request, Request>();
    same<typeof ctx.server, Server>();
    return { data: { name: "ann" }, protocol: "chat" };
  },
  open: (ws) => ws.subscribe(ws.data.name),
  message: async (ws, data) => {
    same<typeof data, string | Uint8Array>();
    same<ReturnType<typeof ws.send>, number>();
    for await (const more of ws) same<typeof more, string | Uint8Array>();
  },
  close: (_ws, code, reason) => {
    same<typeof code, number>();
    same<typeof reason, string>();
  },
};
// @ts-expect-error data is what the handler says
const wrong: WebSocketHandler<User> = { upgrade: () => ({ data: { nam: "ann" } }) };
// Typed and untyped handlers are values of routes, and parameters are inferred in place.
const sockets = await serve({
  routes: { "/chat": chat, "/echo": { message: (ws, data) => void ws.send(data) } },
  fetch: (_request, ctx) => ctx.upgrade({ data: 1, headers: { "x-a": "b" } }),
  websocket: { open: (ws) => same<typeof ws, Socket<unknown>>() },
});
// @ts-expect-error an option that is misspelt
await serve({ routes: { "/": { message() {}, maxPayload: 1 } } });
await serve({
  routes: {
    "/a": { allowedOrigins: "same-origin", upgrade: () => false },
    "/b": { allowedOrigins: ["same-origin", "https://b.example"], upgrade: async () => null },
  },
});
// @ts-expect-error a word that does not exist
await serve({ routes: { "/": { message() {}, allowedOrigins: "same-site" } } });
// @ts-expect-error whoever calls ctx.upgrade() decides, not a hook
await serve({ websocket: { message() {}, upgrade: () => false } });
// The refusal leaves the type of the data as it is.
websocket({
  upgrade: (_request, ctx) => (ctx.encrypted ? { data: { name: "ann" } } : false),
  open: (ws) => same<typeof ws.data, { name: string }>(),
});
// websocket() finds out what data is, and knows the parameters of the pattern.
await serve({
  routes: {
    "/rooms/:room": websocket({
      upgrade: (request, ctx) => {
        same<typeof request, Request>();
        same<typeof ctx.params.room, string>();
        // @ts-expect-error the pattern has no such parameter
        ctx.params.name;
        return { data: { room: ctx.params.room } };
      },
      open: (ws) => ws.subscribe(ws.data.room),
      message: (ws, text) => {
        same<typeof ws, Socket<{ room: string }>>();
        ws.publish(ws.data.room, text);
      },
      maxTopics: 1,
    }),
    "/later/:id": websocket({
      upgrade: async (_request, { params }) => ({ data: params.id }),
      close: (ws) => same<typeof ws.data, string>(),
    }),
    "/plain/:id": { upgrade: (_request, ctx) => void same<typeof ctx.params.id, string>() },
    "/table/:id": {
      GET: websocket({
        upgrade: (_request, ctx) => ({ data: ctx.params.id }),
        message: (ws) => void ws.data.length,
      }),
      POST: (_request, ctx) => new Response(ctx.params.id),
    },
    "/typed": { GET: chat },
    "/data": websocket<User>({ open: (ws) => ws.subscribe(ws.data.name) }),
  },
  topicSpace: "chat",
});
// @ts-expect-error handshakes are GET requests
await serve({ routes: { "/": { POST: chat } } });
const report = await sockets.sendMany(sockets.sockets, "x", { timeout: 100 });
same<typeof report.failed, Socket[]>();
same<typeof report.delivered, number>();
sockets.publish("t", new Uint8Array(1), { scope: "thread" });
// @ts-expect-error a scope that does not exist
sockets.publish("t", "x", { scope: "world" });
await serve({
  handler: (one) => {
    const ws = one.upgrade({ data: { name: "ann" } });
    same<typeof ws.data, { name: string }>();
    same<typeof ws.opened, Promise<void>>();
  },
});
void wrong;

// ── connections, logs ──
same<Connection["data"], unknown>(); // until an application merges into ConnectionData
await serve({
  port: 0,
  fetch: (_request, ctx) => {
    same<typeof ctx.connection, Connection>();
    same<typeof ctx.traceparent, string | undefined>();
    const own = ctx.connection as Connection<{ user: string }>;
    return new Response(own.data.user);
  },
  connectionData: () => ({ user: "nobody" }),
  onConnect: (connection) => {
    same<typeof connection.data, { user: string }>();
    same<typeof connection.proxy, Connection["proxy"]>();
    // @ts-expect-error flags change by setFlags() and clearFlags()
    connection.flags = 1;
  },
  onClose: (connection, cause, detail) => {
    same<typeof connection, Connection<{ user: string }>>();
    same<typeof cause, CloseCauseName>();
    same<typeof detail, string>();
  },
  log: {
    level: "notice",
    write: (record) => same<typeof record, LogRecord>(),
  },
  accessLog: (records) => {
    same<typeof records, readonly AccessRecord[]>();
    same<ReturnType<typeof accessLine>, string>();
  },
});
await serve({ port: 0, fetch: () => new Response("x"), log: false });
await serve({ port: 0, fetch: () => new Response("x"), log: "debug" });
// @ts-expect-error there is no such level
await serve({ port: 0, fetch: () => new Response("x"), log: "loud" });
// @ts-expect-error true says nothing of the level
await serve({ port: 0, fetch: () => new Response("x"), log: true });
const lines = new FileLogger("x.log", { format: "text" });
await serve({ port: 0, fetch: () => new Response("x"), log: { write: lines.write } });
const level: LogLevel = server.logLevel;
server.logLevel = level;
same<(typeof LOG_LEVELS)["notice"], 35>();
for (const connection of server.connections) {
  same<typeof connection, Connection>();
  connection.close("SecurityThreatened", "why", { reset: true });
  // @ts-expect-error no such cause
  connection.close("Bored");
}

// ── behind front ends ──
const app = (): Response => accel("/internal/a", { header: "X-Sendfile" } satisfies AccelOptions);
await serve({ protocol: "scgi", proxyProtocol: "require", trustProxy: ["loopback"], fetch: app });
await serve({
  listen: [{ port: 0 }, { protocol: "scgi", unix: "/run/x", proxyProtocol: false }],
  trustProxy: 2,
  handler: (req, res) => {
    same<typeof req.scgi, ReadonlyMap<string, string> | undefined>();
    same<typeof req.ctx.protocol, "http/1.0" | "http/1.1" | "scgi">();
    same<typeof req.peerAddress, typeof req.remoteAddress>();
    same<ReturnType<typeof res.accel>, boolean>();
    res.accel("/internal/a", { limitRate: false, expires: 5, download: "a.pdf" });
  },
});
same<TrustProxy, boolean | number | "loopback" | "unix" | readonly string[]>();
// @ts-expect-error no such protocol
await serve({ protocol: "fcgi", fetch: app });
// @ts-expect-error true does not say which
await serve({ proxyProtocol: true, fetch: app });
// @ts-expect-error addresses go into an array
await serve({ trustProxy: "10.0.0.0/8", fetch: app });
const door = await scgi.open({ port: 0 });
const next = await door.next(100);
same<typeof next, scgi.ScgiRequest | null>();
if (next !== null) {
  same<typeof next.headers, ReadonlyMap<string, string>>();
  same<typeof next.input, string>();
  same<typeof next.bytes, Uint8Array>();
}
await door.run((request) => request.uri === "/stop");
await door.run(async (request) => request.writeStatusOkTextContent());
same<InstanceType<typeof scgi.ScgiError>["code"], ErrorCode>();

// ── refusals: what loops refuse with, and nothing else ──
void serve({
  routes: {},
  refusals: { 413: Response.json({}), ERR_MILLRACE_BAD_HOST: new Response("no") },
});
// @ts-expect-error 404 is for notFound
void serve({ routes: {}, refusals: { 404: new Response() } });
// @ts-expect-error handlers throw it
void serve({ routes: {}, refusals: { ERR_MILLRACE_HANDLER_FAILED: new Response() } });
// @ts-expect-error a Response, as for a static route
void serve({ routes: {}, refusals: { 413: "too large" } });

// ── reload() knows the parameters of its patterns, and takes nothing else of serve() ──
await server.reload({
  routes: {
    "/mills/:mill": raw((req, res) => {
      same<Flat<typeof req.params>, { readonly mill: string }>();
      res.end();
    }),
  },
});
// @ts-expect-error: where it listens stays
await server.reload({ port: 80, routes: {} });
