// A Request that is standard to whoever gets it, and builds the real one only when something beyond
// the cheap parts is touched. Building one costs more than everything else about a small request.
import { Body, markBadJson } from "./body.ts";
import { MillraceError } from "./errors.ts";
import { readableOf } from "./incoming.ts";
import type { NativeReq } from "./request.ts";
import type { Service } from "./service.ts";

const ORIGINS_MAX = 256;
const utf8 = new TextDecoder();
// Targets that URL parsing would leave alone: none of what it encodes, and no dot segments.
const PLAIN_TARGET = /^\/(?!.*(?:\/\.|%2e))[\w\-.~!$&()*+,;=:@/?%]*$/i;
const BODILESS: ReadonlySet<string> = new Set(["GET", "HEAD"]);
const FORBIDDEN: ReadonlySet<string> = new Set(["CONNECT", "TRACE", "TRACK"]);
const origins = new Map<string, string>();

type Make = (req: NativeReq, service: Service) => Request;
let make: Make | undefined;

/** The standard Request for a native one. */
export function standardRequest(req: NativeReq, service: Service): Request {
  // The global is looked at here and not at import: it loads undici, which raw handlers never need.
  make ??= prepare();
  return make(req, service);
}

/**
 * What `request.url` says: scheme and Host in front of the target, serialised as URL parsing does.
 */
export function urlOf(req: NativeReq, service: Service): string {
  const target = req.url;
  if (!target.startsWith("/")) return absoluteUrl(req, service);
  const url = originOf(req, service) + target;
  if (PLAIN_TARGET.test(target)) return url;
  return URL.canParse(url) ? new URL(url).href : url;
}

function absoluteUrl(req: NativeReq, service: Service): string {
  if (/^https?:\/\//i.test(req.url) && URL.canParse(req.url)) return new URL(req.url).href;
  return `${originOf(req, service)}/`; // OPTIONS *
}

function originOf(req: NativeReq, service: Service): string {
  const isPlain = service.proxies.trust.isUnsaid && !req.isScgi && !req.isSecured;
  const client = isPlain ? undefined : req.client;
  const scheme = client?.scheme ?? "http";
  const host = client?.host ?? req.headers.get("host") ?? "";
  const known = scheme === "http" ? origins.get(host) : undefined;
  if (known !== undefined) return known;
  const local = service.addresses[req.listener];
  const url = `${scheme}://${host}`;
  if (host === "" || !URL.canParse(url)) {
    if (local === undefined || local.family === "unix") return `${scheme}://localhost`;
    const name = local.family === "IPv6" ? `[${local.address}]` : local.address;
    return new URL(`${scheme}://${name}:${local.port}`).origin;
  }
  const { origin } = new URL(url);
  if (scheme === "http" && origins.size < ORIGINS_MAX) origins.set(host, origin);
  return origin;
}

function headersOf(req: NativeReq): Headers {
  const headers = new Headers();
  for (const [name, value] of req.headers) headers.append(name, value);
  return headers;
}

function initOf(req: NativeReq): RequestInit {
  const { method, signal } = req;
  const init: RequestInit = { method, headers: headersOf(req), signal };
  if (BODILESS.has(method) || !req.hasBody || req.bodyUsed) return init;
  if (req.incoming === undefined) return { ...init, body: req.body.take(undefined) };
  req.incoming.use();
  return { ...init, body: readableOf(req.incoming), duplex: "half" };
}

/** Own members are cheap; prepare() adds the rest of Request's, which build the real one. */
class LightRequest {
  readonly #req: NativeReq;
  readonly #service: Service;
  #real: Request | undefined = undefined;
  #headers: Headers | undefined = undefined;

  constructor(req: NativeReq, service: Service) {
    this.#req = req;
    this.#service = service;
  }

  get method(): string {
    return this.#req.method;
  }

  get url(): string {
    return urlOf(this.#req, this.#service);
  }

  get headers(): Headers {
    if (this.#real !== undefined) return this.#real.headers;
    return (this.#headers ??= headersOf(this.#req));
  }

  get signal(): AbortSignal {
    return this.#req.signal;
  }

  get bodyUsed(): boolean {
    return this.#real?.bodyUsed ?? this.#req.bodyUsed;
  }

  async arrayBuffer(): Promise<ArrayBuffer> {
    if (this.#req.incoming !== undefined) return (await this.#collect()).slice().buffer;
    if (this.#real !== undefined) return this.#real.arrayBuffer();
    const bytes = await this.#take();
    if (bytes.byteLength === bytes.buffer.byteLength) return bytes.buffer as ArrayBuffer;
    return new Uint8Array(bytes).buffer;
  }

  async blob(): Promise<Blob> {
    if (this.#req.incoming === undefined) return this.toReal(globalThis.Request).blob();
    return blobOf(await this.#collect(), this.#req);
  }

  async bytes(): Promise<Uint8Array> {
    if (this.#req.incoming !== undefined) return this.#collect();
    if (this.#real !== undefined) return new Uint8Array(await this.#real.arrayBuffer());
    return this.#take();
  }

  async formData(): Promise<FormData> {
    if (this.#req.incoming === undefined) return this.toReal(globalThis.Request).formData();
    return formOf(await this.#collect(), this.#req);
  }

  async text(): Promise<string> {
    if (this.#req.incoming !== undefined) return utf8.decode(await this.#collect());
    if (this.#real !== undefined) return this.#real.text();
    this.#checkUnused();
    return this.#req.text();
  }

  async json(): Promise<unknown> {
    if (this.#req.incoming !== undefined)
      return new Body(await this.#collect(), this.#req.where).standardJson();
    if (this.#real !== undefined) return readJson(this.#real.json(), this.#req);
    this.#checkUnused();
    return this.#req.body.standardJson();
  }

  // Of a streamed body, the real one's too, no more is held than of a buffered one.
  #collect(): Promise<Uint8Array> {
    if (this.#real === undefined) return this.#take();
    return collectFrom(this.#real, this.#service, this.#req);
  }

  /** The real one, with the body if nobody has read it. */
  toReal(Standard: typeof Request): Request {
    if (this.#real === undefined) {
      this.#real = new Standard(urlOf(this.#req, this.#service), initOf(this.#req));
      this.#headers = undefined;
    }
    return this.#real;
  }

  #take(): Promise<Uint8Array> {
    this.#checkUnused();
    return this.#req.bytes();
  }

  #checkUnused(): void {
    if (this.#req.bodyUsed) throw new TypeError("Body is unusable: Body has already been read");
  }
}

async function collectFrom(
  request: Request,
  { bodyMax }: Service,
  { where }: NativeReq,
): Promise<Uint8Array> {
  if (request.bodyUsed) throw new TypeError("Body is unusable: Body has already been read");
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of request.body ?? []) {
    chunks.push(chunk);
    size += chunk.length;
    if (size > bodyMax) {
      const message = `the body of ${where} has more than ${bodyMax} bytes`;
      throw new MillraceError("ERR_MILLRACE_BODY_TOO_LARGE", message);
    }
  }
  return new Uint8Array(Buffer.concat(chunks, size));
}

function blobOf(bytes: Uint8Array, req: NativeReq): Blob {
  return new Blob([bytes], { type: req.headers.get("content-type") ?? "" });
}

function formOf(bytes: Uint8Array, req: NativeReq): Promise<FormData> {
  const type = req.headers.get("content-type");
  return new Response(bytes, type === null ? {} : { headers: { "content-type": type } }).formData();
}

async function readJson(reading: Promise<unknown>, req: NativeReq): Promise<unknown> {
  try {
    return await reading;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw markBadJson(error, `the body of ${req.where} is not valid JSON: ${error.message}`);
  }
}

function prepare(): Make {
  const Standard = globalThis.Request;
  delegate(Standard);
  const light: Make = (req, service) => new LightRequest(req, service) as unknown as Request;
  return knowsLight(Standard) ? light : makeEager(Standard, light);
}

// Gives LightRequest every member that Request has and it lacks, the symbols of an instance too:
// `new Request(light)` and `fetch(light)` read those.
function delegate(Standard: typeof Request): void {
  const own = LightRequest.prototype;
  Object.setPrototypeOf(own, Standard.prototype);
  Object.defineProperty(own, "constructor", {
    value: Standard,
    configurable: true,
    writable: true,
  });
  const descriptors = Object.getOwnPropertyDescriptors(Standard.prototype);
  for (const [name, descriptor] of Object.entries(descriptors)) {
    if (Object.hasOwn(own, name)) continue;
    if (typeof descriptor.value === "function") {
      const method = descriptor.value as (...rest: unknown[]) => unknown;
      const value = function (this: LightRequest, ...rest: unknown[]): unknown {
        return method.apply(this.toReal(Standard), rest);
      };
      Object.defineProperty(own, name, { value, configurable: true, writable: true });
    } else if (descriptor.get !== undefined) {
      defineDelegate(own, name, Standard);
    }
  }
  const probe = new Standard("http://localhost/");
  for (const symbol of Object.getOwnPropertySymbols(probe)) defineDelegate(own, symbol, Standard);
}

function defineDelegate(own: object, key: string | symbol, Standard: typeof Request): void {
  const get = function (this: LightRequest): unknown {
    return Reflect.get(this.toReal(Standard), key) as unknown;
  };
  Object.defineProperty(own, key, { get, configurable: true });
}

// Newer Node versions keep a Request's state in private fields, which no other object can have.
function knowsLight(Standard: typeof Request): boolean {
  const real = new Standard("http://localhost/probe", { method: "POST", headers: { probe: "1" } });
  const light = Object.create(LightRequest.prototype, { toReal: { value: () => real } }) as Request;
  try {
    const copy = new Standard(light);
    return copy.url === real.url && copy.method === "POST" && copy.headers.get("probe") === "1";
  } catch {
    return false;
  }
}

// There, handlers get a real one from the start, of a class that adds what a light one does better.
// It costs 2 microseconds, and 4 more for its signal (Node 24.21); without that a copy made by
// `new Request(request)` would not learn that the peer has left. Only methods that fetch forbids
// stay light.
function makeEager(Standard: typeof Request, light: Make): Make {
  const standardJson = Standard.prototype.json;
  class OwnRequest extends Standard {
    readonly #req: NativeReq;
    readonly #service: Service;

    constructor(url: string, init: RequestInit, req: NativeReq, service: Service) {
      super(url, init);
      this.#req = req;
      this.#service = service;
    }

    static collect(request: OwnRequest): Promise<Uint8Array> {
      return collectFrom(request, request.#service, request.#req);
    }

    static reqOf(request: OwnRequest): NativeReq {
      return request.#req;
    }

    static signalOf(request: OwnRequest): AbortSignal {
      return request.#req.signal;
    }

    static jsonOf(request: OwnRequest): Promise<unknown> {
      const { incoming, where } = request.#req;
      if (incoming !== undefined)
        return collectFrom(request, request.#service, request.#req).then((bytes) =>
          new Body(bytes, where).standardJson(),
        );
      return readJson(standardJson.call(request), request.#req);
    }
  }
  // Not as members of the class: the types have them as fields, which none may override.
  Object.defineProperties(OwnRequest.prototype, {
    constructor: { value: Standard },
    json: { value: jsonOfThis },
    signal: { get: signalOfThis },
  });
  limitStreams(OwnRequest);
  function jsonOfThis(this: OwnRequest): Promise<unknown> {
    return OwnRequest.jsonOf(this);
  }
  function signalOfThis(this: OwnRequest): AbortSignal {
    return OwnRequest.signalOf(this);
  }
  return (req, service) => {
    if (FORBIDDEN.has(req.method.toUpperCase())) return light(req, service);
    return new OwnRequest(urlOf(req, service), initOf(req), req, service);
  };
}

interface OwnClass {
  readonly prototype: object;
  collect(request: object): Promise<Uint8Array>;
  reqOf(request: object): NativeReq;
}

// As LightRequest has it: methods that hold a whole body stop at limits.maxRequestBodySize.
function limitStreams(own: OwnClass): void {
  const ways: Readonly<Record<string, (bytes: Uint8Array, req: NativeReq) => unknown>> = {
    arrayBuffer: (bytes) => bytes.slice().buffer,
    blob: blobOf,
    bytes: (bytes) => bytes,
    formData: formOf,
    text: (bytes) => utf8.decode(bytes),
  };
  for (const [name, make] of Object.entries(ways)) {
    const standard = Reflect.get(own.prototype, name) as (() => Promise<unknown>) | undefined;
    const value = async function (this: object): Promise<unknown> {
      const req = own.reqOf(this);
      if (req.incoming === undefined && standard !== undefined) return standard.call(this);
      return make(await own.collect(this), req);
    };
    Object.defineProperty(own.prototype, name, { value, configurable: true, writable: true });
  }
}
