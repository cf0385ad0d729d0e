// Draws the results of one run as an SVG that needs nothing else: one panel per scenario, one bar
// per contender, on a ground of its own so that it reads in light and dark pages alike.
//   node bench/draw.mjs bench/results/RUN.json docs/bench.svg
import { readFileSync, writeFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { medianOf, ratioOf } from "./results.mjs";
import { idle, loadOf, scenarioOf } from "./scenarios.mjs";

const PANELS = ["plaintext", "pipeline", "json", "echo", "async", "static", "single", idle.key];
const WIDTH = 960;
const MARGIN = 32;
const GAP = 32;
const COLUMN = (WIDTH - 2 * MARGIN - GAP) / 2;
const NAMES = 124; // room for the contenders' names, left of the bars
const FIGURES = 116; // room for a bar's figures, right of the longest
const ROW = 24;
const HEAD = 46; // of a panel
const TOP = 128; // of the picture

const INK = "#1f2328";
const FAINT = "#59636e";
const FILLS = { floor: "#dfe4e9", theirs: "#9aa4af", inline: "#1a6fd4", loops: "#5ea3ec" };

/** The picture of one result of run.mjs. */
export function drawing(result) {
  const keys = PANELS.filter((key) => Object.keys(result.rounds[key] ?? {}).length > 0);
  const parts = [];
  let y = TOP;
  for (let i = 0; i < keys.length; i += 2) {
    const row = keys.slice(i, i + 2).map((key) => panelOf(result, key));
    for (const [column, panel] of row.entries()) {
      const x = MARGIN + column * (COLUMN + GAP);
      parts.push(`<g transform="translate(${x} ${y})">\n${panel.text}\n</g>`);
    }
    y += Math.max(...row.map(({ height }) => height));
  }
  const height = y + 76;
  const size = `viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}"`;
  const label = `role="img" aria-label="${escaped(summary(result))}"`;
  return `${[
    `<svg xmlns="http://www.w3.org/2000/svg" ${size} ${label}>`,
    STYLE,
    `<rect class="ground" x="0.5" y="0.5" width="${WIDTH - 1}" height="${height - 1}" rx="12"/>`,
    titles(result),
    ...parts,
    footer(result, height),
    "</svg>",
  ].join("\n")}\n`;
}

const STYLE = `<style>
text { fill: ${INK}; font-size: 12px; }
text { font-family: -apple-system, "Segoe UI", "Noto Sans", Helvetica, Arial, sans-serif; }
.ground { fill: #ffffff; stroke: #d1d9e0; }
.rule { stroke: #d1d9e0; }
.title { font-size: 22px; font-weight: 600; }
.panel { font-size: 14px; font-weight: 600; }
.faint { fill: ${FAINT}; }
.name { text-anchor: end; }
.ours { font-weight: 600; }
</style>`;

function titles({ settings }) {
  const what = "User and system time of all its threads, in µs. Each panel has its own scale.";
  const how =
    `Medians of ${settings.rounds} interleaved rounds of ${settings.seconds} s; ` +
    "in brackets the ratio to node:http in the same round.";
  return [
    words(MARGIN, 46, "title", "CPU time of the server per request: shorter is better"),
    words(MARGIN, 72, "", what),
    words(MARGIN, 92, "faint", how),
  ].join("\n");
}

function footer({ command, machine, millrace, node, contenders, date }, height) {
  const others = contenders.filter(
    ({ name, ours, version }) => !ours && version !== null && name !== "node:http",
  );
  const versions = others.map(({ name, version }) => ` · ${name} ${version}`).join("");
  const commit = `millrace ${millrace.commit.slice(0, 7)}${millrace.dirty ? " and changes" : ""}`;
  const what = `${commit} · Node ${node}${versions} · ${date.slice(0, 10)} · ${command}`;
  const where = `${machine.cores} × ${machine.cpu} · Linux ${machine.kernel}`;
  return [
    `<path class="rule" d="M ${MARGIN} ${height - 68} H ${WIDTH - MARGIN}"/>`,
    words(MARGIN, height - 44, "faint", what),
    words(MARGIN, height - 24, "faint", where),
  ].join("\n");
}

function panelOf(result, key) {
  const { title, load, unit, value } = key === idle.key ? idlePanel(result) : loadPanel(key);
  const bars = Object.keys(result.rounds[key]).map((name) => ({
    name,
    amount: medianOf(result, key, name, value),
    ratio: ratioOf(result, [key, name], [key, "node:http"], value),
  }));
  const longest = Math.max(...bars.map(({ amount }) => amount), Number.MIN_VALUE);
  const lines = [words(0, 14, "panel", title), words(0, 32, "faint", load)];
  for (const [index, bar] of bars.entries())
    lines.push(barOf(bar, HEAD + index * ROW, longest, unit));
  return { text: lines.join("\n"), height: HEAD + bars.length * ROW + 30 };
}

function loadPanel(key) {
  const scenario = scenarioOf(key);
  return {
    title: scenario.title,
    load: scenario.remark ?? loadOf(scenario),
    unit: "µs",
    value: "cpu_us",
  };
}

function idlePanel({ settings }) {
  const title = "Memory of an idle connection";
  const load = `bytes of user memory for each of ${settings.idle} kept alive after one answer`;
  return { title, load, unit: "B", value: "user_bytes" };
}

function barOf({ name, amount, ratio }, y, longest, unit) {
  const isOurs = name.startsWith("millrace");
  const fill =
    name === "recv + send"
      ? FILLS.floor
      : !isOurs
        ? FILLS.theirs
        : name.endsWith("inline")
          ? FILLS.inline
          : FILLS.loops;
  const width = Math.max(2, (COLUMN - NAMES - FIGURES) * (Math.max(0, amount) / longest));
  const share = ratio === undefined ? "" : ` <tspan class="faint">(${shareOf(ratio)})</tspan>`;
  const middle = y + 16;
  const end = (NAMES + width + 8).toFixed(1);
  const style = isOurs ? ' class="ours"' : "";
  const figures = `<text x="${end}" y="${middle}"${style}>${figureOf(amount, unit)}${share}</text>`;
  const place = `x="${NAMES}" y="${y + 3}" width="${width.toFixed(1)}" height="${ROW - 7}"`;
  return [
    words(NAMES - 10, middle, isOurs ? "name ours" : "name", name),
    `<rect ${place} rx="2" fill="${fill}"/>`,
    figures,
  ].join("\n");
}

function figureOf(amount, unit) {
  if (unit === "B") return `${Math.max(0, Math.round(amount))} B`;
  return `${amount.toFixed(amount < 10 ? 2 : 1)} ${unit}`;
}

function shareOf(ratio) {
  return Math.max(0, ratio).toFixed(ratio < 0.1 ? 3 : 2);
}

function summary(result) {
  const keys = PANELS.filter((key) => key !== idle.key && result.rounds[key] !== undefined);
  const sentences = keys.map((key) => {
    const figures = Object.keys(result.rounds[key]).map(
      (name) => `${name} ${figureOf(medianOf(result, key, name, "cpu_us"), "µs")}`,
    );
    return `${scenarioOf(key).title}: ${figures.join(", ")}.`;
  });
  return `CPU time per request. ${sentences.join(" ")}`;
}

function words(x, y, style, text) {
  const kind = style === "" ? "" : ` class="${style}"`;
  return `<text x="${x}" y="${y}"${kind}>${escaped(text)}</text>`;
}

function escaped(text) {
  const names = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };
  return text.replace(/[&<>"]/g, (sign) => names[sign]);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  const [from, to] = process.argv.slice(2);
  if (to === undefined) {
    process.stderr.write("usage: node bench/draw.mjs RESULT.json PICTURE.svg\n");
    process.exit(1);
  }
  writeFileSync(to, drawing(JSON.parse(readFileSync(from, "utf8"))));
}
