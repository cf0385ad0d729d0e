// The header block of a CGI response (RFC 3875 6), taken off what an application writes piece by
// piece. Knows nothing of requests.
import { show } from "../errors.ts";
import { ScgiError } from "./error.ts";

/** A parsed header block. */
export interface CgiHead {
  readonly status: number;
  /** Names as written, without Status; latin1. */
  readonly fields: readonly (readonly [name: string, value: string])[];
  /** What stood behind the empty line. */
  readonly rest: Uint8Array;
}

const BYTES_MAX = 65_536;
const NAME = /^[!#$%&'*+\-.^_`|~\w]+$/;
const LF = 0x0a;
const CR = 0x0d;

/** Collects the block. One per response. */
export class CgiHeadReader {
  #bytes: Uint8Array = new Uint8Array(0);
  #from = 0; // where the line begins that is not whole yet
  #status = 0;
  readonly #fields: [string, string][] = [];

  /** Whether a byte has come. */
  get hasBegun(): boolean {
    return this.#bytes.length > 0;
  }

  /**
   * The head once it is whole. Each line is judged when it is there, so that a text without a block
   * is noticed at its first line.
   * @throws {ScgiError} ERR_MILLRACE_INVALID_HEADER, ERR_MILLRACE_INVALID_STATUS
   */
  push(chunk: Uint8Array): CgiHead | undefined {
    this.#bytes = this.#bytes.length === 0 ? chunk : Buffer.concat([this.#bytes, chunk]);
    const bytes = this.#bytes;
    for (;;) {
      const end = bytes.indexOf(LF, this.#from);
      if (end < 0) {
        if (bytes.length > BYTES_MAX) throw malformed(`has more than ${BYTES_MAX} bytes`);
        this.#bytes = bytes.slice();
        return undefined;
      }
      const to = end > this.#from && bytes[end - 1] === CR ? end - 1 : end;
      const line = Buffer.from(bytes.subarray(this.#from, to)).toString("latin1");
      this.#from = end + 1;
      if (end > BYTES_MAX) throw malformed(`has more than ${BYTES_MAX} bytes`);
      if (line === "") return this.#whole(bytes.subarray(this.#from));
      this.#add(line);
    }
  }

  #add(line: string): void {
    const colon = line.indexOf(":");
    const name = line.slice(0, Math.max(colon, 0));
    if (!NAME.test(name)) throw malformed(`has the line ${show(line)}, which is no header field`);
    const value = line.slice(colon + 1).replace(/^[\t ]+|[\t ]+$/g, "");
    if (name.toLowerCase() !== "status") {
      this.#fields.push([name, value]);
      return;
    }
    if (this.#status !== 0) throw malformed("has two Status fields");
    const match = /^([2-5]\d\d)(?: |$)/.exec(value);
    if (match === null) {
      const what = `Status of a CGI response is 200 to 599 and a reason, got ${show(value)}`;
      throw new ScgiError("ERR_MILLRACE_INVALID_STATUS", what);
    }
    this.#status = Number(match[1]);
  }

  #whole(rest: Uint8Array): CgiHead {
    const isRedirect = this.#fields.some(([name]) => name.toLowerCase() === "location");
    const status = this.#status === 0 ? (isRedirect ? 302 : 200) : this.#status;
    if (this.#status === 0 && this.#fields.length === 0) throw malformed("is empty");
    return { status, fields: this.#fields, rest };
  }
}

/** What is thrown when the response ends before its block does. */
export function missingHead(hasBegun: boolean): ScgiError {
  return malformed(hasBegun ? "has no empty line at its end" : "is missing");
}

function malformed(what: string): ScgiError {
  const fix =
    'write "Status: 200 OK\\r\\nContent-Type: text/plain\\r\\n\\r\\n" first, or call ' +
    "writeStatusOkTextContent()";
  const message = `the header block of a CGI response ${what}; ${fix}`;
  return new ScgiError("ERR_MILLRACE_INVALID_HEADER", message);
}
