// The words of a command line: options with a value, and flags. Knows no option by name.
import { nearest } from "../check.ts";
import { MillraceError } from "../errors.ts";

/** What was given: values by option, and the flags. */
export interface Words {
  readonly values: Readonly<Record<string, string | undefined>>;
  readonly flags: ReadonlySet<string>;
}

/**
 * Takes "--name value", "--name=value" and "--flag".
 *
 * @throws {MillraceError} ERR_MILLRACE_INVALID_OPTION
 */
export function readWords(
  words: readonly string[],
  options: Readonly<Record<string, "flag" | "value">>,
): Words {
  const values: Record<string, string> = {};
  const flags = new Set<string>();
  const left = [...words];
  for (let word = left.shift(); word !== undefined; word = left.shift()) {
    const [, name = "", given] = /^--([a-z-]+)(?:=(.*))?$/s.exec(word) ?? [];
    const kind = Object.hasOwn(options, name) ? options[name] : undefined;
    if (kind === undefined) throw unknown(word, name, Object.keys(options));
    if (flags.has(name) || name in values) throw wrong(`--${name} was given twice`);
    if (kind === "flag") {
      if (given !== undefined) throw wrong(`--${name} takes no value`);
      flags.add(name);
      continue;
    }
    const value = given ?? left.shift();
    if (value === undefined || value === "") throw wrong(`--${name} needs a value`);
    values[name] = value;
  }
  return { values, flags };
}

function unknown(word: string, name: string, known: readonly string[]): MillraceError {
  const near = nearest(name, known);
  const hint = near === undefined ? "see millrace --help" : `did you mean --${near}?`;
  return wrong(`there is no option ${JSON.stringify(word)}; ${hint}`);
}

function wrong(message: string): MillraceError {
  return new MillraceError("ERR_MILLRACE_INVALID_OPTION", message);
}
