// From raw values of rounds to what is reported: medians, ratios taken within a round, targets,
// tables and the text of the JSON file.
import { groups, idle, loadOf, scenarioOf, targets } from "./scenarios.mjs";

export function median(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

/** Values of one contender by round, as { cpu_us: [...] }; undefined where it was not measured. */
export function roundsOf(result, scenario, contender) {
  return result.rounds[scenario]?.[contender];
}

export function medianOf(result, scenario, contender, value) {
  const rounds = roundsOf(result, scenario, contender);
  return rounds === undefined ? undefined : median(rounds[value]);
}

/** Median of the ratios round by round: in one round the machine was the same for both. */
export function ratioOf(result, [scenario, contender], [baseScenario, baseContender], value) {
  const rounds = roundsOf(result, scenario, contender);
  const base = roundsOf(result, baseScenario, baseContender);
  if (rounds === undefined || base === undefined) return undefined;
  return median(rounds[value].map((one, round) => one / base[value][round]));
}

/** The measured value of a target for one contender. */
function reach(result, { scenario, value, against, beside }, contender) {
  if (against === undefined && beside === undefined) {
    return medianOf(result, scenario, contender, value);
  }
  const base = [beside ?? scenario, against ?? contender];
  return ratioOf(result, [scenario, contender], base, value);
}

/** Adds what one round measured. */
export function record(result, scenario, contender, figures) {
  const rounds = ((result.rounds[scenario] ??= {})[contender] ??= {});
  for (const [value, figure] of Object.entries(figures)) (rounds[value] ??= []).push(figure);
}

export function tablesOf(result) {
  const measured = groups.flat().filter(({ key }) => result.rounds[key] !== undefined);
  const tables = measured.map((scenario) => scenarioTable(result, scenario));
  if (result.rounds[idle.key] !== undefined) tables.push(idleTable(result));
  if (targetsOf(result).length > 0) tables.push(targetTable(result));
  const absent = result.left_out.map(
    ({ name, scenarios, reason }) => `${name}, ${scenarios}: ${reason}`,
  );
  if (absent.length > 0) tables.push(`Left out\n\n${absent.join("\n")}`);
  return tables.join("\n\n");
}

function scenarioTable(result, scenario) {
  const { key, title, beside, remark } = scenario;
  const besideTitle = beside === undefined ? [] : [`to own ${beside}`];
  const ratios = ["to node:http", "to Bun", ...besideTitle];
  const head = ["server", "CPU µs/request", ...ratios, "requests/s", "p50 µs", "p99 µs", "RSS MiB"];
  const rows = Object.keys(result.rounds[key]).map((name) => {
    const of = (value) => medianOf(result, key, name, value);
    const to = (...base) => fixed(ratioOf(result, [key, name], base, "cpu_us"), 3);
    return [
      name,
      of("cpu_us").toFixed(2),
      to(key, "node:http"),
      to(key, "Bun"),
      ...(beside === undefined ? [] : [to(beside, name)]),
      of("rps").toFixed(0),
      of("p50_us").toFixed(0),
      of("p99_us").toFixed(0),
      (of("rss_kib") / 1024).toFixed(0),
    ];
  });
  const notes = [loadOf(scenario), ...(remark === undefined ? [] : [remark])].join("; ");
  return `${title}: ${notes}\n\n${table(head, rows)}`;
}

function idleTable(result) {
  const rounds = result.rounds[idle.key];
  const count = result.settings.idle;
  const rows = Object.keys(rounds).map((name) => {
    const of = (value) => medianOf(result, idle.key, name, value);
    const blocks = rounds[name].blocks === undefined ? "" : of("blocks");
    return [
      name,
      of("user_bytes").toFixed(0),
      of("rss_bytes").toFixed(0),
      (of("rss_kib_after") / 1024).toFixed(0),
      blocks,
    ];
  });
  const head = ["server", "user bytes each", "RSS bytes each", "RSS MiB", "blocks held by all"];
  return `${idle.title}: growth over ${count} that were answered once\n\n${table(head, rows)}`;
}

/** Each target of a scenario that was measured, with what our contenders reached. */
export function targetsOf(result) {
  const ours = result.contenders.filter((contender) => contender.ours).map(({ name }) => name);
  return targets
    .filter(({ scenario }) => result.rounds[scenario] !== undefined)
    .map((target) => ({
      target: titleOf(target),
      most: target.most,
      measured: Object.fromEntries(
        ours.map((name) => [name, rounded(reach(result, target, name))]),
      ),
    }));
}

function rounded(number) {
  return number === undefined ? null : Math.round(number * 1000) / 1000;
}

function targetTable(result) {
  const rows = targetsOf(result).map(({ target, most, measured }) => [
    target,
    most,
    ...Object.values(measured).flatMap((value) => verdict(most, value)),
  ]);
  const ours = result.contenders.filter((contender) => contender.ours).map(({ name }) => name);
  const head = ["target", "at most", ...ours.flatMap((name) => [name, "reached"])];
  return `Targets\n\n${table(head, rows)}`;
}

function titleOf({ scenario, value, against, beside }) {
  if (scenario === idle.key) return "user bytes of an idle connection";
  const what = value === "cpu_us" ? "CPU" : "p50";
  const base = against ?? `own ${beside}`;
  return `${scenarioOf(scenario).title}: ${what} to ${base}`;
}

function verdict(most, measured) {
  if (measured === null) return ["", "not measured"];
  return [fixed(measured, most >= 10 ? 0 : 3), measured <= most ? "yes" : "NO"];
}

function fixed(number, digits) {
  return number === undefined ? "" : number.toFixed(digits);
}

export function table(head, rows) {
  const cells = [head, ...rows].map((row) => row.map(String));
  const widths = head.map((_, column) => Math.max(...cells.map((row) => [...row[column]].length)));
  const padded = (cell, i) => (i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i]));
  const line = (row) => `| ${row.map(padded).join(" | ")} |`;
  const rule = widths.map(
    (width, i) => "-".repeat(width - (i === 0 ? 0 : 1)) + (i === 0 ? "" : ":"),
  );
  return [line(cells[0]), line(rule), ...cells.slice(1).map(line)].join("\n");
}

/** JSON with the rounds of a value in one line, in the form that the formatter leaves alone. */
export function jsonText(value, indent = "", taken = 0) {
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const entries = Array.isArray(value)
    ? value.map((item) => ["", item])
    : Object.entries(value).map(([key, item]) => [`${JSON.stringify(key)}: `, item]);
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  if (entries.length === 0) return open + close;
  if (entries.every(([, item]) => typeof item !== "object" || item === null)) {
    const flat = entries.map(([key, item]) => key + JSON.stringify(item)).join(", ");
    const line = Array.isArray(value) ? `[${flat}]` : `{ ${flat} }`;
    if (indent.length + taken + line.length < 100) return line;
  }
  const inner = `${indent}  `;
  const lines = entries.map(([key, item]) => inner + key + jsonText(item, inner, key.length));
  return `${open}\n${lines.join(",\n")}\n${indent}${close}`;
}
