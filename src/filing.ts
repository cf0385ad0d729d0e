// What res.file() asks the native side for: its options, what the response says already, and the
// conditions of the request.
import { type SendFileOptions, sendFileText } from "./files.ts";
import type { HeaderLines } from "./lines.ts";
import type { NativeReq } from "./request.ts";

/** A file that is being looked for. */
export interface Filing {
  readonly path: string;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Takes Content-Type out of `lines`: it goes with what the file says of itself.
 * @throws {MillraceError} ERR_MILLRACE_INVALID_OPTION, ERR_MILLRACE_FILE_NOT_FOUND
 */
export function fileTexts(
  req: NativeReq,
  isHead: boolean,
  lines: HeaderLines | undefined,
  path: string,
  options: SendFileOptions | undefined,
): string {
  const { headers } = req;
  // Conditions and ranges concern GET and HEAD (RFC 9110 13.1, 14.2).
  const isRead = isHead || req.isMethod("GET");
  const field = (name: string): string | null => {
    return isRead || name === "accept-encoding" ? headers.get(name) : null;
  };
  return sendFileText(path, optionsBeside(lines, options), field, isHead);
}

function optionsBeside(
  lines: HeaderLines | undefined,
  options: SendFileOptions | undefined,
): SendFileOptions | undefined {
  if (lines === undefined || (options !== undefined && typeof options !== "object")) return options;
  const [type] = lines.has("content-type") ? lines.take("content-type") : [];
  const isEncoded = lines.has("content-encoding");
  if (type === undefined && !isEncoded) return options;
  return {
    ...(type === undefined ? {} : { type }),
    ...options,
    // The file is encoded as the response says; those beside it are so in another way.
    ...(isEncoded ? { precompressed: false } : {}),
  };
}
