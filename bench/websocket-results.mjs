// What bench/websocket.mjs reports of its rounds: medians, ratios within a round, targets, tables.
import { median, ratioOf, table } from "./results.mjs";
import { clients, groups, idles, targets } from "./sockets.mjs";

/** All tables of what was measured, as text. */
export function tablesOf(result) {
  const loads = groups.flatMap(({ scenarios }) => scenarios);
  const measured = ({ key }) => Object.keys(result.rounds[key] ?? {}).length > 0;
  const said = [
    ...[...loads, clients].filter(measured).map((scenario) => loadTable(result, scenario)),
    ...idles.filter(measured).map((scenario) => idleTable(result, scenario)),
  ];
  const rows = targetsOf(result).map(({ target, most, measured: values }) => [
    target,
    most,
    ...Object.entries(values).map(
      ([name, value]) => `${name} ${value}${value > most ? " NO" : ""}`,
    ),
  ]);
  const width = Math.max(0, ...rows.map((row) => row.length));
  const filled = rows.map((row) => [...row, ...Array(width - row.length).fill("")]);
  const head = ["target", "at most", ...Array(Math.max(0, width - 2)).fill("")];
  if (rows.length > 0) said.push(`Targets\n\n${table(head, filled)}`);
  return said.join("\n\n");
}

function middle(result, key, name, value) {
  return median(result.rounds[key][name][value]);
}

function ratioTo(result, key, name, base, value) {
  return ratioOf(result, [key, name], [key, base], value)?.toFixed(3) ?? "";
}

function loadTable(result, { key, title, connections, depth }) {
  const head = ["", "CPU µs/message", "to ws", "to Bun", "messages/s", "p50 µs", "RSS MiB"];
  const rows = Object.keys(result.rounds[key]).map((name) => [
    name,
    middle(result, key, name, "cpu_us").toFixed(2),
    ratioTo(result, key, name, "ws", "cpu_us"),
    ratioTo(result, key, name, "Bun", "cpu_us"),
    middle(result, key, name, "messages_per_s").toFixed(0),
    result.rounds[key][name].p50_us === undefined
      ? ""
      : middle(result, key, name, "p50_us").toFixed(0),
    (middle(result, key, name, "rss_kib") / 1024).toFixed(0),
  ]);
  const load = connections === undefined ? "" : `: ${connections} connections, ${depth} in flight`;
  return `${title}${load}\n\n${table(head, rows)}`;
}

function idleTable(result, { key, title, most }) {
  const count = Math.min(result.settings.idle, most);
  const head = ["server", "user bytes each", "to ws", "to Bun", "RSS bytes each", "RSS MiB"];
  const rows = Object.keys(result.rounds[key]).map((name) => [
    name,
    middle(result, key, name, "user_bytes").toFixed(0),
    ratioTo(result, key, name, "ws", "user_bytes"),
    ratioTo(result, key, name, "Bun", "user_bytes"),
    middle(result, key, name, "rss_bytes").toFixed(0),
    (middle(result, key, name, "rss_kib_after") / 1024).toFixed(0),
  ]);
  return `${title}: growth over ${count} that were answered once\n\n${table(head, rows)}`;
}

/** Each target that was measured, with what ours reached. */
export function targetsOf(result) {
  return targets.flatMap(({ scenario, value, against, most }) => {
    const rounds = result.rounds[scenario] ?? {};
    const ours = Object.keys(rounds).filter((name) => name.startsWith("millrace"));
    if (ours.length === 0 || (against !== undefined && rounds[against] === undefined)) return [];
    const what = value === "cpu_us" ? "CPU" : "user bytes";
    const reach = (name) =>
      against === undefined
        ? middle(result, scenario, name, value)
        : ratioOf(result, [scenario, name], [scenario, against], value);
    return {
      target: `${scenario}: ${what}${against === undefined ? "" : ` to ${against}`}`,
      most,
      measured: Object.fromEntries(ours.map((name) => [name, rounded(reach(name))])),
    };
  });
}

function rounded(number) {
  return Math.round(number * 1000) / 1000;
}
