// Route patterns as text: what is wrong with one, and the names of its parameters. Matching is
// native.
import { invalidRoute } from "./check.ts";

const PARAMS_MAX = 8;
const NAME = /^[\w$\-\u0080-\uffff]+$/;
// biome-ignore lint/suspicious/noControlCharactersInRegex: the point is to find them.
const NOT_IN_PATTERN = /[\x00-\x20\x7f?#]/;

/** @throws {MillraceError} ERR_MILLRACE_INVALID_ROUTE */
export function checkPattern(pattern: string): void {
  if (typeof pattern !== "string" || !pattern.startsWith("/"))
    throw invalidRoute(pattern, 'must begin with "/"');
  const bad = NOT_IN_PATTERN.exec(pattern)?.[0];
  if (bad !== undefined)
    throw invalidRoute(pattern, `holds ${JSON.stringify(bad)}, which no path does`);
  const names = segmentsOf(pattern).map(nameOf);
  if (names.filter((name) => name !== undefined).length > PARAMS_MAX) {
    throw invalidRoute(pattern, `has more than ${PARAMS_MAX} parameters and wildcards`);
  }
  for (const [index, name] of names.entries()) {
    if (name === undefined || name === "*") continue;
    if (!NAME.test(name))
      throw invalidRoute(
        pattern,
        `has a parameter ${JSON.stringify(name)}; names are letters, digits, _, - and $`,
      );
    if (names.indexOf(name) !== index)
      throw invalidRoute(pattern, `uses the parameter ${JSON.stringify(name)} twice`);
  }
}

/** Names in the order of the segments; those with wildcards are all called "*". */
export function paramsOf(pattern: string): readonly string[] {
  return segmentsOf(pattern)
    .map(nameOf)
    .filter((name) => name !== undefined);
}

function segmentsOf(pattern: string): readonly string[] {
  return pattern.split("/").slice(1);
}

function nameOf(segment: string): string | undefined {
  if (segment.startsWith(":") || segment.startsWith("@")) return segment.slice(1);
  return segment.startsWith("*") || segment.endsWith("*") ? "*" : undefined;
}
