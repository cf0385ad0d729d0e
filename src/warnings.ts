// Warnings to the operator through process.emitWarning, bounded per second so that a failing route
// cannot flood.
import { docsOf, type ErrorCode } from "./errors.ts";

const PER_SECOND_MAX = 20;
let second = 0;
let given = 0;
let held = 0;

/** Emits a warning of type MillraceWarning; `detail` is usually a stack. */
export function warn(code: ErrorCode, message: string, detail?: string): void {
  const now = Math.floor(performance.now() / 1000);
  if (now !== second) {
    second = now;
    given = 0;
  }
  if (given >= PER_SECOND_MAX) {
    held += 1;
    return;
  }
  given += 1;
  const more = held > 0 ? ` (${held} more warnings were held back)` : "";
  held = 0;
  const text = `${message}${more} [${docsOf(code)}]`;
  process.emitWarning(
    text,
    detail === undefined
      ? { type: "MillraceWarning", code }
      : { type: "MillraceWarning", code, detail },
  );
}

/** What is worth printing of something thrown. Never throws, whatever was. */
export function stackOf(error: unknown): string {
  try {
    return printed(error);
  } catch {
    return "what was thrown cannot be printed";
  }
}

function printed(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const cause =
    error.cause instanceof Error ? `\ncaused by: ${error.cause.stack ?? error.cause.message}` : "";
  return `${error.stack ?? error.message}${cause}`;
}
