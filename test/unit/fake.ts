// A Binding without native code: encodes requests as the loop would, and keeps what is answered.
import type {
  Binding,
  Dispatch,
  NativeOptions,
  NativePart,
  OpenedServer,
} from "../../src/native/binding.ts";
import { COMMAND, COMMAND_FLAG, EVENT, EVENT_FLAG, METHODS } from "../../src/native/tables.ts";

export interface FakeRequest {
  readonly route?: number;
  readonly method?: string;
  readonly target?: string;
  readonly headers?: readonly (readonly [string, string])[];
  readonly body?: string | Uint8Array;
  readonly asBlob?: boolean;
  readonly peer?: string;
  readonly flags?: number;
  /** Index and generation of its connection, each 0 unless told otherwise. */
  readonly connection?: readonly [index: number, generation: number];
  /** Variables of a request by SCGI. */
  readonly scgi?: readonly (readonly [string, string])[];
  readonly params?: readonly (readonly [offset: number, length: number])[];
}

export interface FakeNews {
  readonly kind: number;
  readonly handle: number;
  readonly generation?: number;
  readonly body?: string | Uint8Array;
  readonly asBlob?: boolean;
  readonly status?: number;
  readonly head?: readonly [number, number];
}

export interface FakeAnswer {
  readonly handle: number;
  readonly generation: number;
  readonly status: number;
  readonly flags: number;
  readonly headers: string;
  readonly body: string;
}

export class FakeBinding implements Binding {
  readonly answers: FakeAnswer[] = [];
  readonly informationals: { status: number; headers: string }[] = [];
  readonly cuts: number[] = [];
  readonly controls: [kind: number, waitMs: number][] = [];
  options: NativeOptions | undefined = undefined;
  released = 0;
  zlib = true;
  textsAreTooLong = false;
  accepts = true;
  failure: Error | undefined = undefined;
  #dispatch: Dispatch | undefined = undefined;
  #batch: Uint8Array = new Uint8Array(0);
  #blobs: Uint8Array[] = [];
  #slot = 0;

  open(options: NativeOptions, batch: Uint8Array, dispatch: Dispatch): OpenedServer {
    if (this.failure !== undefined) throw this.failure;
    this.options = options;
    this.#batch = batch;
    this.#dispatch = dispatch;
    const addresses = [{ family: "IPv4", address: "127.0.0.1", port: 8080 }] as const;
    return { server: 1, addresses, poller: "fake" };
  }

  respond(
    handle: number,
    generation: number,
    statusFlags: number,
    headers: string,
    body: string,
  ): boolean {
    const answer = { handle, generation, status: statusFlags & 0xffff, flags: statusFlags >>> 16 };
    if (this.accepts) this.answers.push({ ...answer, headers, body });
    return this.accepts;
  }

  respondBytes(
    handle: number,
    generation: number,
    statusFlags: number,
    headers: string,
    body: Uint8Array,
  ): boolean {
    return this.respond(handle, generation, statusFlags, headers, Buffer.from(body).toString());
  }

  /** How many answers crossed together, call by call. */
  readonly crossings: number[] = [];

  respondMany(words: Int32Array, count: number, text: string): void {
    this.crossings.push(count);
    let at = 0;
    for (let i = 0; i < count; i += 1) {
      const [handle = 0, generation = 0, statusFlags = 0, ...lengths] = words.subarray(i * 5);
      const [headerLength = 0, bodyLength = 0] = lengths;
      const headers = text.slice(at, at + headerLength);
      at += headerLength + bodyLength;
      this.respond(handle, generation, statusFlags, headers, text.slice(at - bodyLength, at));
    }
  }

  informational(_handle: number, _generation: number, status: number, headers: string): boolean {
    this.informationals.push({ status, headers });
    return true;
  }

  readonly begun: FakeAnswer[] = [];
  readonly chunks: string[] = [];
  readonly finished: string[] = [];
  readonly credits: number[] = [];

  begin(handle: number, generation: number, statusFlags: number, headers: string): boolean {
    const answer = { handle, generation, status: statusFlags & 0xffff, flags: statusFlags >>> 16 };
    if (this.accepts) this.begun.push({ ...answer, headers, body: "" });
    return this.accepts;
  }

  write(_handle: number, _generation: number, chunk: string): boolean {
    this.chunks.push(chunk);
    return this.accepts;
  }

  writeBytes(_handle: number, _generation: number, chunk: Uint8Array): boolean {
    this.chunks.push(Buffer.from(chunk).toString());
    return this.accepts;
  }

  finish(_handle: number, _generation: number, trailers: string): boolean {
    this.finished.push(trailers);
    return this.accepts;
  }

  sendFile(): boolean {
    return this.accepts;
  }

  /** What was done to WebSockets, in order: "send 3 text hello", "hold 3 true", … */
  readonly log: string[] = [];
  /** What buffered() and, above the limit, a send say; by handle. */
  readonly waiting = new Map<number, number>();
  /** Whether a send adds to what waits. */
  keeps = false;

  upgrade(handle: number, _generation: number, headers: string, settings: number): boolean {
    this.log.push(`upgrade ${handle} ${settings} ${headers}`.trim());
    return this.accepts;
  }

  sendText(
    handle: number,
    _generation: number,
    flags: number,
    limit: number,
    text: string,
  ): number {
    return this.#send(handle, flags, limit, Buffer.from(text));
  }

  sendBytes(
    handle: number,
    _generation: number,
    flags: number,
    limit: number,
    bytes: Uint8Array,
  ): number {
    return this.#send(handle, flags, limit, bytes);
  }

  #send(handle: number, flags: number, limit: number, bytes: Uint8Array): number {
    const before = this.waiting.get(handle) ?? 0;
    if (before > limit) return -1;
    const isCompressed = flags >>> 16 === COMMAND_FLAG.compress;
    const text = bytes.length > 32 ? `${bytes.length} bytes` : Buffer.from(bytes).toString();
    this.log.push(`send ${handle} ${flags & 0xffff}${isCompressed ? "z" : ""} ${text}`);
    if (this.keeps) this.waiting.set(handle, before + bytes.length);
    return before + bytes.length;
  }

  buffered(handle: number): number {
    return this.waiting.get(handle) ?? 0;
  }

  report(handle: number, _generation: number, low: number, number: number): void {
    this.log.push(`report ${handle} ${low} ${number}`);
  }

  closeSocket(handle: number, _generation: number, code: number, reason: string): void {
    this.log.push(`close ${handle} ${code} ${reason}`.trim());
  }

  hold(handle: number, _generation: number, on: boolean): void {
    this.log.push(`hold ${handle} ${on}`);
  }

  expire(handle: number): void {
    this.log.push(`expire ${handle}`);
  }

  subscribe(handle: number, _generation: number, topic: string): void {
    this.log.push(`subscribe ${handle} ${topic}`);
  }

  unsubscribe(handle: number, _generation: number, topic: string): void {
    this.log.push(`unsubscribe ${handle} ${topic}`);
  }

  publish(
    server: number,
    topic: string,
    flags: number,
    data: string | Uint8Array,
    handle: number,
    generation: number,
  ): number {
    this.log.push(`publish ${server} ${topic} ${flags & 0xffff} ${data} ${handle} ${generation}`);
    return 7;
  }

  subscriberCount(): number {
    return 7;
  }

  sendMany(
    words: Int32Array,
    count: number,
    flags: number,
    data: string | Uint8Array,
    number: number,
  ): void {
    const handles = Array.from({ length: count }, (_, index) => words[index * 2]);
    this.log.push(`many ${handles.join(",")} ${flags & 0xffff} ${data} ${number}`);
  }

  connect(): boolean {
    return this.accepts;
  }

  hasZlib(): boolean {
    return this.zlib;
  }

  takeText(blob: number): string | undefined {
    if (this.textsAreTooLong) return undefined;
    return Buffer.from(this.takeBody(blob)).toString();
  }

  socketPair(): readonly [number, number] {
    return [-1, -1];
  }

  parts(): void {}

  takePart(): void {}

  save(): boolean {
    return this.accepts;
  }

  multipartBoundary(): string | number {
    return "b";
  }

  decodeParts(): NativePart[] | number {
    return [];
  }

  read(_handle: number, _generation: number, bytes: number): void {
    this.credits.push(bytes);
  }

  readonly cutCauses: number[] = [];
  readonly cutCodes: number[] = [];

  cut(handle: number, _generation = 0, cause = 0, code = 0): void {
    this.cuts.push(handle);
    this.cutCauses.push(cause);
    this.cutCodes.push(code);
  }

  takeBody(blob: number): Uint8Array {
    return this.#blobs[blob] as Uint8Array;
  }

  control(_server: number, kind: number, waitMs: number): void {
    this.controls.push([kind, waitMs]);
    if (kind === COMMAND.Close) setImmediate(() => this.event(EVENT.Drained, 0, 0, [3, 1]));
  }

  readonly watched: [handle: number, index: number, generation: number][] = [];
  readonly closedConnections: [index: number, generation: number, cause: number, reset: boolean][] =
    [];
  readonly logLines: string[] = [];

  watchConnection(handle: number, index: number, generation: number): void {
    this.watched.push([handle, index, generation]);
  }

  closeConnection(
    _handle: number,
    index: number,
    generation: number,
    cause: number,
    reset: boolean,
  ): void {
    this.closedConnections.push([index, generation, cause, reset]);
  }

  prometheus(): string {
    return "";
  }

  openLog(): number {
    return 1;
  }

  writeLog(_log: number, text: string): boolean {
    this.logLines.push(text);
    return true;
  }

  flushLog(): boolean {
    return true;
  }

  reopenLog(_log: number, done: (errno: number) => void): void {
    setImmediate(done, 0);
  }

  closeLog(_log: number, done: (errno: number) => void): void {
    setImmediate(done, 0);
  }

  logState(): { dropped: number; waiting: number; errno: number } {
    return { dropped: 0, waiting: 0, errno: 0 };
  }

  reroute(): void {}

  tell(): boolean {
    return true;
  }

  fdLimit(): { soft: number; hard: number } {
    return { soft: 1024, hard: 1024 };
  }

  setFdLimit(): string {
    return "";
  }

  sendDatagram(): string {
    return "";
  }

  sendListeners(): string {
    return "";
  }

  receiveListeners(
    _path: string,
    _greeting: string,
    _timeoutMs: number,
    done: (error: string, fds: number[], text: string, fd: number) => void,
  ): void {
    setImmediate(done, "ENOENT", [], "", -1);
  }

  metrics(_server: number, into: Float64Array): void {
    into.fill(0);
  }

  ref(): void {}

  release(): void {
    this.released += 1;
  }

  census(): { servers: number; lanes: number; blobs: number } {
    return { servers: 0, lanes: 0, blobs: 0 };
  }

  /** One batch of requests; gives their handles, and the generation is the handle plus 100. */
  batch(requests: readonly FakeRequest[]): number[] {
    let text = "";
    let offset = 0;
    const handles: number[] = [];
    this.#blobs = [];
    this.#batch.fill(0xee);
    for (const request of requests) {
      this.#slot += 1;
      handles.push(this.#slot);
      const [size, own] = this.#encode(request, this.#slot, offset);
      text += own;
      offset += size;
    }
    this.#dispatch?.(requests.length, text);
    this.#batch.fill(0xdd); // Reused: nobody may look at it any more.
    return handles;
  }

  one(request: FakeRequest): number {
    return this.batch([request])[0] as number;
  }

  event(kind: number, handle: number, generation: number, head: readonly [number, number]): void {
    const words = new Int32Array(this.#batch.buffer, 0, 16).fill(0);
    words.set([64, kind, handle, generation]);
    words.set(head, 14);
    this.#dispatch?.(1, "");
  }

  /** One event of any kind: words by their place, the text, and an inline body. */
  emit(
    kind: number,
    values: Readonly<Record<number, number>>,
    text = "",
    body: Uint8Array = new Uint8Array(0),
  ): void {
    this.#batch.fill(0xee);
    const size = (64 + body.length + 7) & ~7;
    const words = new Int32Array(this.#batch.buffer, this.#batch.byteOffset, size >>> 2).fill(0);
    words[0] = size;
    words[8] = body.length;
    for (const [at, value] of Object.entries(values)) words[Number(at)] = value;
    words[1] = kind | ((values[1] ?? 0) << 16);
    this.#batch.set(body, 64);
    this.#dispatch?.(1, text);
    this.#batch.fill(0xdd);
  }

  /** A connection comes. */
  connected(index: number, generation: number, peer = "10.0.0.1", body?: Uint8Array): void {
    const values = { 9: 40_000 | (peer.length << 16), 11: generation << 16, 14: index };
    this.emit(EVENT.Connected, values, peer, body);
  }

  /** And goes; `word` says why. */
  disconnected(index: number, generation: number, word: number): void {
    this.emit(EVENT.Disconnected, { 11: generation << 16, 14: index, 15: word });
  }

  /** One batch of WebSocket events; their generation is the handle plus 100. */
  news(events: readonly FakeNews[]): void {
    this.#blobs = [];
    this.#batch.fill(0xee);
    let offset = 0;
    for (const { kind, handle, body = "", status = 0, head = [0, 0], ...rest } of events) {
      const bytes = new Uint8Array(Buffer.from(body));
      const { asBlob = false, generation = handle + 100 } = rest;
      const size = (64 + (asBlob ? 0 : bytes.length) + 7) & ~7;
      const words = new Int32Array(this.#batch.buffer, this.#batch.byteOffset + offset, size >>> 2);
      words.fill(0);
      const isText = typeof body === "string" && kind === EVENT.Message;
      const isAscii = isText && bytes.every((each) => each < 0x80);
      const flags =
        (isText ? EVENT_FLAG.text : 0) |
        (isAscii ? EVENT_FLAG.ascii : 0) |
        (asBlob ? EVENT_FLAG.bodyIsBlob : 0);
      words.set([size, kind | (flags << 16), handle, generation]);
      words[8] = bytes.length;
      words[11] = status << 16;
      words[12] = asBlob ? this.#blobs.push(bytes) - 1 : 0;
      words.set(head, 14);
      if (!asBlob) this.#batch.set(bytes, offset + 64);
      offset += size;
    }
    this.#dispatch?.(events.length, "");
    this.#batch.fill(0xdd);
  }

  /** The last answer, waiting a little for handlers that are asynchronous. */
  async answer(): Promise<FakeAnswer> {
    for (let i = 0; i < 50 && this.answers.length === 0; i += 1) {
      await new Promise((resolve) => setImmediate(resolve));
    }
    const answer = this.answers.pop();
    if (answer === undefined) throw new Error("nothing was answered");
    return answer;
  }

  #encode(request: FakeRequest, slot: number, offset: number): [size: number, text: string] {
    const {
      method = "GET",
      target = "/",
      headers = [["host", "a.example"]],
      peer = "10.0.0.1",
    } = request;
    const { params = [], route = 0, asBlob = false, flags = 0 } = request;
    const body =
      request.body === undefined ? new Uint8Array(0) : new Uint8Array(Buffer.from(request.body));
    const head = `\n${headers.map(([name, value]) => `${name}\0${value}\n`).join("")}`;
    const inline = asBlob ? 0 : body.length;
    const size = (64 + params.length * 4 + inline + 7) & ~7;
    const words = new Int32Array(this.#batch.buffer, this.#batch.byteOffset + offset, size >>> 2);
    const query = target.indexOf("?");
    const number = Math.max(0, (METHODS as readonly string[]).indexOf(method));
    const tail = request.scgi?.map(([name, value]) => `${name}\0${value}\0`).join("") ?? "";
    const bits =
      flags |
      (request.scgi === undefined ? 0 : EVENT_FLAG.scgi) |
      (asBlob ? EVENT_FLAG.bodyIsBlob : 0) |
      (method === "HEAD" ? EVENT_FLAG.head : 0);
    words.set([size, EVENT.Request | (bits << 16), slot, slot + 100]);
    words[4] = route | (number << 16) | (method.length << 24);
    words[5] = target.length;
    words[6] = query < 0 ? target.length : query;
    words[7] = head.length;
    words[8] = body.length;
    words[9] = 40_000 | (peer.length << 16) | (params.length << 24);
    const [seconds, nanoseconds] = process.hrtime();
    words[10] = seconds * 1000 + Math.floor(nanoseconds / 1e6);
    const [index, generation] = request.connection ?? [0, 0];
    words[11] = generation << 16;
    words[14] = index;
    words[15] = tail.length;
    words[12] = asBlob ? this.#blobs.push(body) - 1 : 0;
    for (const [index, [at, length]] of params.entries()) words[16 + index] = at | (length << 16);
    if (!asBlob) this.#batch.set(body, offset + 64 + params.length * 4);
    return [size, method + target + peer + head + tail];
  }
}
