// Hand-over of listening sockets from a running process to the one that replaces it, so that nobody
// is refused while a server restarts. The old process listens at a path; who connects there gets
// its sockets, says "ready" when it serves them, and only then the old one leaves. All lines are
// text: a greeting, the sockets with their labels, "ready", "over".
import {
  chmodSync,
  closeSync,
  linkSync,
  lstatSync,
  mkdtempSync,
  readlinkSync,
  rmSync,
  unlinkSync,
} from "node:fs";
import { connect, createServer, type Server as NetServer, Socket } from "node:net";
import { dirname, join } from "node:path";
import { type ErrorCode, MillraceError } from "../errors.ts";
import type { Binding, NativeListener } from "../native/binding.ts";
import { ANY } from "./systemd.ts";

const VERSION = 1;
const RECEIVE_MS = 10_000; // for the sockets, from a process whose JavaScript may be busy
const READY_MS = 30_000; // for who was given them
const LINE_MAX = 65_536;
const ITSELF = "itself"; // instead of sockets
const FOLDER = ".h"; // and six letters
const CODE: ErrorCode = "ERR_MILLRACE_HAND_OVER";

/** A listener with what systemd or the process before called it, "" where its address says all. */
export type HandoverListener = NativeListener & { readonly label: string };

/** What identifies a listener in both processes: where it listens, whatever is spoken there. */
function keyOf({ fd, host, label, port, unix }: HandoverListener): string {
  if (label !== "") return label;
  if (unix !== "") return `unix:${unix}`;
  return host === "" ? `fd:${fd}` : `${host}|${port}`;
}

function failed(path: string, what: string, cause?: unknown): MillraceError {
  const message = `the hand-over at ${path} failed: ${what}`;
  return new MillraceError(CODE, message, cause === undefined ? undefined : { cause });
}

/** Two containers may share the folder of the path and have the same process ids. */
function pidNamespace(): string {
  try {
    return readlinkSync("/proc/self/ns/pid");
  } catch {
    return "";
  }
}

// --- the new process ---

interface TakenSocket {
  readonly key: string;
  readonly fd: number;
}

/** Sockets taken from the process that ran before; it goes on serving until finish(). */
export class Takeover {
  readonly pid: number;
  readonly #peer: Socket;
  #sockets: readonly TakenSocket[]; // open here
  #left: readonly TakenSocket[]; // of those, what no listener has got
  #line = "";
  #isOver = false;

  private constructor(pid: number, sockets: readonly TakenSocket[], fd: number) {
    this.pid = pid;
    this.#sockets = sockets;
    this.#left = sockets;
    this.#peer = new Socket({ fd, readable: true, writable: true });
    this.#peer.setEncoding("latin1").on("data", (text: string) => {
      this.#line = (this.#line + text).slice(-LINE_MAX);
    });
    this.#peer.on("error", () => undefined); // "close" follows
    this.#peer.once("close", () => {
      this.#isOver = true;
    });
  }

  /**
   * Undefined when no process listens at the path, or it died before it had sent all.
   *
   * @throws {MillraceError} ERR_MILLRACE_HAND_OVER when one listens there that does not hand over
   */
  static async begin(native: Binding, path: string): Promise<Takeover | undefined> {
    const namespace = pidNamespace();
    const greeting = `${JSON.stringify({ millrace: VERSION, pid: process.pid, namespace })}\n`;
    return new Promise((resolve, reject) => {
      native.receiveListeners(path, greeting, RECEIVE_MS, (error, fds, text, fd) => {
        if (error === "") {
          try {
            resolve(Takeover.#read(path, fds, text, fd));
          } catch (cause) {
            for (const each of [...fds, fd]) closeSync(each);
            reject(cause);
          }
        } else if (["ENOENT", "ECONNREFUSED", "ECONNRESET", "EPIPE"].includes(error)) {
          resolve(undefined);
        } else {
          reject(failed(path, `the process there sent no sockets (${error})`));
        }
      });
    });
  }

  static #read(path: string, fds: readonly number[], text: string, fd: number): Takeover {
    if (text === ITSELF) throw failed(path, "another server of this process has that path");
    const said = parse(text);
    const { listeners, millrace: version, pid } = said ?? {};
    const isWhole =
      version === VERSION &&
      typeof pid === "number" &&
      Array.isArray(listeners) &&
      listeners.length === fds.length;
    if (!isWhole) throw failed(path, `the process there said ${JSON.stringify(text.slice(0, 80))}`);
    const sockets = fds.map((each, at) => ({ key: String(listeners[at]), fd: each }));
    return new Takeover(pid, sockets, fd);
  }

  /**
   * The listeners, those with a socket of the old process on it; the others are to be bound. Where
   * several go by one key they are given out in order, those of systemd all at once.
   */
  fillIn(listeners: readonly HandoverListener[]): readonly HandoverListener[] {
    // Who takes any comes last.
    const byName = listeners.map((each) => (each.label === ANY ? [each] : this.#filled(each)));
    return byName.flat().flatMap((each) => (each.label === ANY ? this.#filled(each) : [each]));
  }

  #filled(listener: HandoverListener): readonly HandoverListener[] {
    const wanted = keyOf(listener);
    const isPassed = wanted.startsWith("systemd:");
    const isWanted = ({ key }: TakenSocket): boolean =>
      key === wanted || (wanted === ANY && key.startsWith("systemd:"));
    const matching = this.#left.filter(isWanted);
    const found = isPassed ? matching : matching.slice(0, 1);
    this.#left = this.#left.filter((each) => !found.includes(each));
    // The label keeps the key: the descriptor has another number in the next process.
    if (found.length > 0) return found.map(({ key, fd }) => ({ ...listener, fd, label: key }));
    const hasOther = isPassed && this.#sockets.some(isWanted);
    return hasOther ? [] : [listener];
  }

  /** The native side has its duplicates, or never will. */
  closeSockets(): void {
    for (const { fd } of this.#sockets) closeSync(fd);
    this.#sockets = [];
    this.#left = [];
  }

  /** Before finish(): the old process goes on as if nothing had happened. */
  abandon(): void {
    this.closeSockets();
    this.#peer.destroy();
  }

  /** The process may end before the old one has answered. */
  unref(): void {
    this.#peer.unref();
  }

  /**
   * We serve. Resolves with true when the old process has stopped accepting, with false when it is
   * gone or had given up waiting for us.
   */
  async finish(): Promise<boolean> {
    this.closeSockets();
    this.#peer.write("ready\n");
    const hasLeft = (): boolean => this.#line.includes("over\n");
    await new Promise<void>((resolve) => {
      const look = (): void => {
        if (this.#isOver || hasLeft()) resolve();
      };
      this.#peer.on("data", look).once("close", look);
      look();
    });
    this.#peer.destroy();
    return hasLeft();
  }
}

function parse(text: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null
      ? (value as Readonly<Record<string, unknown>>)
      : undefined;
  } catch {
    return undefined;
  }
}

// --- the old process ---

/** What an offer tells the server whose sockets it hands over. */
export interface OfferEvents {
  /** A process was given the sockets. */
  readonly onBegin: () => void;
  /** It left before it served. */
  readonly onFailed: (why: string) => void;
  /** It serves: stop accepting now. */
  readonly onTaken: () => void;
  /** It knows that this process has stopped. */
  readonly onOver: (pid: number) => void;
}

/** Waits at a path for the process that will replace this one. */
export class Offer {
  readonly #native: Binding;
  readonly #server: number;
  readonly #path: string;
  readonly #text: string;
  readonly #events: OfferEvents;
  readonly #listener: NetServer;
  readonly #peers = new Set<Socket>();
  #taker: Socket | undefined = undefined;
  #inode = -1n; // of the path, when it is ours
  #isClosed = false;

  private constructor(
    native: Binding,
    server: number,
    path: string,
    listeners: readonly HandoverListener[],
    events: OfferEvents,
  ) {
    this.#native = native;
    this.#server = server;
    this.#path = path;
    const keys = listeners.map(keyOf);
    this.#text = JSON.stringify({ millrace: VERSION, pid: process.pid, listeners: keys });
    this.#events = events;
    this.#listener = createServer((socket) => this.#met(socket));
    this.#listener.unref();
  }

  /** @throws {MillraceError} ERR_MILLRACE_HAND_OVER when nobody can listen at the path */
  static async open(
    native: Binding,
    server: number,
    path: string,
    listeners: readonly HandoverListener[],
    events: OfferEvents,
  ): Promise<Offer> {
    const offer = new Offer(native, server, path, listeners, events);
    try {
      await offer.#listen();
    } catch (cause) {
      offer.close();
      throw failed(path, `cannot listen there (${(cause as NodeJS.ErrnoException).code})`, cause);
    }
    return offer;
  }

  // In a folder of ours first: at no time may anybody else connect.
  async #listen(): Promise<void> {
    const folder = mkdtempSync(join(dirname(this.#path), FOLDER));
    try {
      const made = join(folder, "s");
      await new Promise<void>((resolve, reject) => {
        this.#listener.once("error", reject);
        this.#listener.listen({ path: made, exclusive: true }, () => {
          this.#listener.removeListener("error", reject);
          this.#listener.on("error", () => undefined);
          resolve();
        });
      });
      chmodSync(made, 0o600);
      await place(made, this.#path);
      this.#inode = lstatSync(made, { bigint: true }).ino;
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  }

  /** Whether a process has the sockets and has not said yet that it serves. */
  get hasTaker(): boolean {
    return this.#taker !== undefined;
  }

  /** Nobody can take over any more, but for who is about to. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#listener.close();
    if (this.#inode >= 0n) removeSocket(this.#path, this.#inode);
    for (const peer of this.#peers) if (peer !== this.#taker) peer.destroy();
  }

  #met(peer: Socket): void {
    this.#peers.add(peer);
    let line = "";
    let pid = 0;
    const late = setTimeout(() => peer.destroy(), READY_MS);
    late.unref();
    peer.setEncoding("latin1").unref();
    peer.on("data", (text: string) => {
      line += text;
      const end = line.indexOf("\n");
      if (end < 0 && line.length < LINE_MAX) return;
      const words = line.slice(0, end);
      line = line.slice(end + 1);
      if (this.#taker !== peer) pid = this.#give(peer, words);
      else if (words === "ready") this.#taken(peer, pid);
      else peer.destroy();
    });
    peer.on("error", () => undefined); // "close" follows
    peer.once("close", () => {
      clearTimeout(late);
      this.#peers.delete(peer);
      if (this.#taker !== peer) return;
      this.#taker = undefined;
      if (!this.#isClosed) this.#events.onFailed(`process ${pid} left before it was ready`);
    });
  }

  // The pid of who was given the sockets.
  #give(peer: Socket, words: string): number {
    const said = parse(words);
    const { millrace: version, namespace, pid } = said ?? {};
    if (pid === process.pid && namespace === pidNamespace()) {
      peer.end(`${ITSELF}\n`);
      return 0;
    }
    if (this.#taker !== undefined || version !== VERSION || typeof pid !== "number") {
      peer.end(`${this.#taker === undefined ? "not understood" : "busy"}\n`);
      return 0;
    }
    this.#taker = peer;
    this.#events.onBegin();
    const error = this.#native.sendListeners(this.#server, fdOf(peer), this.#text);
    if (error !== "") peer.destroy(new Error(error));
    return pid;
  }

  #taken(peer: Socket, pid: number): void {
    this.close();
    this.#events.onTaken();
    peer.end("over\n");
    this.#events.onOver(pid);
  }
}

// Node has no public way to it; descriptors travel in no other.
function fdOf(socket: Socket): number {
  const { _handle: handle } = socket as unknown as { readonly _handle?: { readonly fd?: number } };
  return handle?.fd ?? -1;
}

// Gives the socket its path, where at most a stale one may be.
async function place(made: string, path: string): Promise<void> {
  for (;;) {
    try {
      linkSync(made, path);
      return;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
      if (await isInUse(path)) throw error;
    }
    removeSocket(path);
  }
}

async function isInUse(path: string): Promise<boolean> {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return false;
  if (!found.isSocket()) return true;
  return new Promise((resolve) => {
    const probe = connect(path, () => {
      probe.destroy();
      resolve(true);
    });
    // Being refused is the only proof that nobody listens.
    probe.once("error", ({ code }: NodeJS.ErrnoException) => {
      resolve(code !== "ECONNREFUSED" && code !== "ENOENT");
    });
  });
}

function removeSocket(path: string, inode?: bigint): void {
  try {
    const found = lstatSync(path, { bigint: true });
    if (found.isSocket() && (inode === undefined || inode === found.ino)) unlinkSync(path);
  } catch {
    // It is not there, or not ours: who listens next is told.
  }
}
