// Without a zlib in the process, and none in the system, compression is never agreed on.
import type { Binding, NativeSocketSettings } from "../native/binding.ts";
import { warn } from "../warnings.ts";

let isWarned = false;

/** Says once per thread that what a handler asks for cannot be had. */
export function warnWithoutZlib(native: Binding, settings: readonly NativeSocketSettings[]): void {
  if (isWarned || settings.every(({ deflate }) => deflate === null) || native.hasZlib()) return;
  isWarned = true;
  const message = "perMessageDeflate has no effect: no zlib was found, messages go uncompressed";
  warn("ERR_MILLRACE_INVALID_OPTION", message);
}
