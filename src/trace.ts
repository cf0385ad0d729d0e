// The field traceparent of W3C Trace Context: read strictly, never made.

// Version, trace, span, flags; a later version may go on behind a dash.
const FORM = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-[\x21-\x7e]*)?$/;
const ZEROS = /^0+$/;

/** The value as it is when it is valid, else undefined: then no trace is to be joined. */
export function traceparentOf(value: string | null): string | undefined {
  if (value === null) return undefined;
  const [, version, trace = "", span = "", more] = FORM.exec(value) ?? [];
  if (version === undefined || version === "ff") return undefined;
  if (version === "00" && more !== undefined) return undefined;
  return ZEROS.test(trace) || ZEROS.test(span) ? undefined : value;
}
