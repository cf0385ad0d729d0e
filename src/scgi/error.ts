// The error of the classic loop: a MillraceError that tells by its class where it comes from.
import { type ErrorCode, MillraceError, type MillraceErrorOptions } from "../errors.ts";

/** What `scgi.open()`, `next()` and the requests of them throw; codes as everywhere. */
export class ScgiError extends MillraceError {
  constructor(code: ErrorCode, message: string, options?: MillraceErrorOptions) {
    super(code, message, options);
  }

  override get name(): string {
    return "ScgiError";
  }
}

/** The same as a ScgiError, if it is a MillraceError. */
export function asScgiError(error: unknown): unknown {
  if (!(error instanceof MillraceError) || error instanceof ScgiError) return error;
  return new ScgiError(error.code, error.message, { cause: error });
}
