// Reads the parts of native/core/model that TypeScript shares: table rows, enums, flag constants,
// record layouts. Understands the plain forms used there and nothing more of C++; what it does not
// understand is an error.

/**
 * The arguments of every `MACRO(…)` row of a .def file; quotes are taken off, rows may span lines.
 */
export function parseRows(text, macro) {
  const source = text.replace(/^\s*\/\/.*$/gm, "");
  const rows = [];
  let at = 0;
  while ((at = source.indexOf(`${macro}(`, at)) !== -1) {
    const { row, end } = parseArguments(source, at + macro.length + 1);
    rows.push(row);
    at = end;
  }
  if (rows.length === 0) throw new Error(`no rows of ${macro}`);
  return rows;
}

function parseArguments(source, from) {
  const row = [];
  let word = "";
  for (let at = from; at < source.length; at++) {
    const c = source[at];
    if (c === '"') {
      const close = closingQuote(source, at);
      word += JSON.parse(source.slice(at, close + 1));
      at = close;
    } else if (c === "," || c === ")") {
      row.push(word.trim());
      word = "";
      if (c === ")") return { row, end: at };
    } else if (c !== "\n") {
      word += c;
    }
  }
  throw new Error(`row without an end: ${source.slice(from, from + 40)}`);
}

function closingQuote(source, open) {
  for (let at = open + 1; at < source.length; at++) {
    if (source[at] === "\\") at++;
    else if (source[at] === '"') return at;
  }
  throw new Error(`text without an end: ${source.slice(open, open + 40)}`);
}

/** The names of an enum in order; only enums that count from 0 by one are understood. */
export function parseEnum(header, name) {
  const body = new RegExp(`enum class ${name} : uint\\d+_t \\{([^}]*)\\}`).exec(header)?.[1];
  if (body === undefined) throw new Error(`no enum class ${name}`);
  const names = body
    .replace(/\/\/.*$/gm, "")
    .split(",")
    .map((word) => word.trim())
    .filter((word) => word !== "");
  const odd = names.find((word) => !/^[A-Z]\w*$/.test(word));
  if (odd !== undefined) throw new Error(`enum class ${name}: "${odd}" is not a plain name`);
  return names;
}

/**
 * Every `constexpr uint16_t kPrefixName = number;` as [name, number], the name in camelCase
 * without the prefix.
 */
export function parseConstants(header, prefix) {
  const found = header.matchAll(new RegExp(`^constexpr uint16_t ${prefix}(\\w+) = (\\d+);`, "gm"));
  const entries = [...found].map(([, name, number]) => [
    name[0].toLowerCase() + name.slice(1),
    Number(number),
  ]);
  if (entries.length === 0) throw new Error(`no constants ${prefix}…`);
  return entries;
}

const sizes = { uint8_t: 1, uint16_t: 2, uint32_t: 4, uint64_t: 8 };

/**
 * Name, offset in bytes and the word number its comment begins with, for every field of a record.
 */
export function parseStruct(header, name) {
  const body = new RegExp(`struct ${name} \\{\\n([\\s\\S]*?)\\n\\};`).exec(header)?.[1];
  if (body === undefined) throw new Error(`no struct ${name}`);
  const fields = [];
  let offset = 0;
  for (const line of body.split("\n")) {
    if (/^\s*(\/\/|$)/.test(line)) continue;
    const found = /^\s*(\w+) (\w+)(?: = \d+)?;(?:\s*\/\/\s*(\d+)?)?/.exec(line);
    const size = found === null ? undefined : found[1] === "ExchangeId" ? 8 : sizes[found[1]];
    if (size === undefined) throw new Error(`struct ${name}: not understood: ${line.trim()}`);
    const alignment = Math.min(size, found[1] === "ExchangeId" ? 4 : 8);
    offset = Math.ceil(offset / alignment) * alignment;
    fields.push({
      name: found[2],
      offset,
      word: found[3] === undefined ? undefined : Number(found[3]),
    });
    offset += size;
  }
  return fields;
}
