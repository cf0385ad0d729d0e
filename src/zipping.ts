// The compression of one response: decides, and keeps the exchange open behind what has ended for
// the application until zlib is done.
import { type Choice, choose } from "./compress.ts";
import { MillraceError } from "./errors.ts";
import { LOG_LEVELS } from "./logging/levels.ts";
import type { Outgoing } from "./outgoing.ts";
import type { NativeReq } from "./request.ts";
import type { OpenExchange, Service } from "./service.ts";
import { type Encoding, ZippedOutgoing, ZippedWhole } from "./zipped.ts";

/** Made for responses of routes that compress, and for those that were told whether to. */
export class Zipping {
  /** As `res.compress()` was told. */
  isOn: boolean | undefined = undefined;
  readonly #service: Service;
  readonly #req: NativeReq;
  readonly #handle: number;
  readonly #generation: number;
  #work: ZippedOutgoing | ZippedWhole | undefined = undefined; // behind an ended response

  constructor(service: Service, req: NativeReq, handle: number, generation: number) {
    this.#service = service;
    this.#req = req;
    this.#handle = handle;
    this.#generation = generation;
  }

  /**
   * What becomes of header lines without Content-Length; undefined when they stay. `length`: of the
   * body, -1 when it is not known.
   */
  choose(status: number, lines: string, length: number): Choice | undefined {
    const { compress } = this.#req.target;
    if (compress === undefined || this.isOn === false) return undefined;
    const { headers } = this.#req;
    return choose(compress, {
      status,
      lines,
      length,
      isForced: this.isOn === true,
      accepted: headers.get("accept-encoding"),
      validators: headers.get("if-none-match"),
    });
  }

  /** Answers HEAD as GET would be: how long the body is, only compressing would tell. */
  sendHead(statusFlags: number, lines: string): boolean {
    const { native } = this.#service;
    return (
      native.begin(this.#handle, this.#generation, statusFlags, lines) &&
      native.finish(this.#handle, this.#generation, "")
    );
  }

  /** Sends a whole body when zlib is done; its response has ended already. */
  sendWhole(statusFlags: number, choice: Choice, body: string | Uint8Array): void {
    const { native } = this.#service;
    const { encoding, level, lines } = choice;
    const work = new ZippedWhole(encoding as Encoding, level, body, (bytes, error) => {
      if (bytes === undefined) {
        this.#fail(error);
        return;
      }
      this.letGo();
      native.respondBytes(this.#handle, this.#generation, statusFlags, lines, bytes);
    });
    this.keep(work);
  }

  /** Puts zlib before `outgoing`. `length`: as Content-Length announced it, -1 when it did not. */
  wrap(outgoing: Outgoing, choice: Choice, length: number): ZippedOutgoing {
    return new ZippedOutgoing(outgoing, {
      encoding: choice.encoding as Encoding,
      level: choice.level,
      where: this.#req.where,
      length,
      over: (error) => {
        if (error === undefined) this.letGo();
        else this.#fail(error);
      },
    });
  }

  /** Keeps the exchange of an ended response open: it takes news of the peer until work is done. */
  keep(work: ZippedOutgoing | ZippedWhole): void {
    this.#work = work;
    this.#req.compact();
    this.#service.open.set(this.#handle, this.#req.res as unknown as OpenExchange);
  }

  /** Nothing more is to be sent, or can be. */
  letGo(): void {
    const work = this.#work;
    if (work === undefined) return;
    this.#work = undefined;
    this.#service.open.delete(this.#handle);
    work.destroy();
  }

  // Takes a lack of memory.
  #fail(cause: unknown): void {
    const { where, res } = this.#req;
    const message = `${where}: the response could not be compressed; the connection was cut`;
    const error = new MillraceError("ERR_MILLRACE_SOURCE_FAILED", message, { cause });
    this.#service.log.failed(LOG_LEVELS.error, "ERR_MILLRACE_SOURCE_FAILED", message, cause);
    this.#req.blame(error);
    if (res?.state === "streaming") res.cut();
    else this.#service.native.cut(this.#handle, this.#generation);
    this.letGo();
  }
}
