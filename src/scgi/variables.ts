// The variables of a request by SCGI: "name\0value\0" each, as bytes in a latin1 text.

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * By name, in the order sent. Values are UTF-8 where they are valid as such, else latin1. Only
 * header fields can come twice: those are joined as Headers does it, cookies with "; ".
 */
export function variablesOf(text: string): ReadonlyMap<string, string> {
  const variables = new Map<string, string>();
  let at = 0;
  while (at < text.length) {
    const middle = text.indexOf("\0", at);
    const end = middle < 0 ? -1 : text.indexOf("\0", middle + 1);
    if (end < 0) break; // the native side checks the form
    const name = decoded(text.slice(at, middle));
    const value = decoded(text.slice(middle + 1, end));
    const before = variables.get(name);
    const separator = name === "HTTP_COOKIE" ? "; " : ", ";
    variables.set(name, before === undefined ? value : `${before}${separator}${value}`);
    at = end + 1;
  }
  return variables;
}

function decoded(bytes: string): string {
  if (!/[\x80-\xff]/.test(bytes)) return bytes;
  try {
    return utf8.decode(Buffer.from(bytes, "latin1"));
  } catch {
    return bytes;
  }
}
