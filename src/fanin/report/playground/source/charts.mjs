// Three charts over the layers and one histogram. A chart is a line (theory), a band (this width) and dots (one network).

import { decades, figure, layerTicks, raised } from "./numbers.mjs";
import { html, path, svg } from "./svg.mjs";

const HEIGHT = 210;
const LEFT = 46;
const RIGHT = 10;
const TOP = 10;
const BOTTOM = 34;
const Z95 = 1.96;

const finite = (x) => Number.isFinite(x);

// Curves of rms from those of mean squares: the line, and where 95 of 100 networks of this width lie.
export function rmsCurves(square, variance, middle = variance.map((v) => -0.5 * v)) {
  const line = square.map((q) => Math.sqrt(q));
  const edge = (sign) =>
    Array.from(line, (x, i) => x * Math.exp(0.5 * (middle[i] + sign * Z95 * Math.sqrt(variance[i]))));
  return { line: Array.from(line), low: edge(-1), high: edge(1) };
}

// Curves of the cosine, likewise.
export function cosineCurves(gap, std) {
  const at = (sign) => gap.map((g, i) => Math.min(Math.max(1 - g + sign * Z95 * std[i], -1), 1));
  return { line: gap.map((g) => 1 - g), low: at(-1), high: at(1) };
}

// Vertical axis: value -> place, and its labelled values. Logarithmic ones show powers of ten, none twice.
function axis({ log, values }) {
  if (!log) return linear(values);
  const known = values.filter((x) => finite(x) && x > 0).map(Math.log10);
  let low = Math.floor(Math.min(0, ...known) - 0.05),
    high = Math.ceil(Math.max(0, ...known) + 0.05);
  if (high - low < 2) [low, high] = [low - 0.5, high + 0.5];
  const place = (x) => (Math.log10(x) - low) / (high - low);
  return {
    place,
    ticks: decades(low, high).map((p) => ({
      at: (p - low) / (high - low),
      label: p === 0 ? "1" : p === 1 ? "10" : `10${raised(p)}`,
    })),
  };
}

function linear(values) {
  const low = Math.min(...values.filter(finite)) < -0.02 ? -1 : 0,
    ticks = low ? [-1, -0.5, 0, 0.5, 1] : [0, 0.25, 0.5, 0.75, 1];
  const place = (x) => 0.04 + (0.92 * (x - low)) / (1 - low);
  return { place, ticks: ticks.map((x) => ({ at: place(x), label: String(x).replace("-", "−") })) };
}

// Draws one chart into `host`: {title, log, line, low, high, dots, words}.
export function drawChart(host, { title, log, line, low, high, dots, words }) {
  const width = Math.max(host.clientWidth, 240),
    depth = dots.length,
    { place, ticks } = axis({ log, values: [...line, ...low, ...high, ...dots] });
  const x = (i) => LEFT + ((width - LEFT - RIGHT) * (i + 0.5)) / depth,
    y = (share) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - Math.min(Math.max(share, 0), 1));
  const point = (values) => (i) => (finite(values[i]) && (!log || values[i] > 0) ? [x(i), y(place(values[i]))] : null);
  const layers = dots.map((_, i) => i),
    upper = layers.map(point(high)),
    lower = layers.map(point(low));
  const whole = upper.every(Boolean) && lower.every(Boolean);
  host.replaceChildren(
    svg(
      "svg",
      { viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, role: "img", "aria-label": `${title}. ${words}` },
      ...ticks.flatMap((t) => [
        svg("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(t.at), y2: y(t.at) }),
        svg("text", { x: LEFT - 7, y: y(t.at) + 4, "text-anchor": "end" }, t.label),
      ]),
      ...layerTicks(depth, width < 420 ? 5 : 8).map((l) =>
        svg("text", { x: x(l - 1), y: HEIGHT - BOTTOM + 16, "text-anchor": "middle" }, String(l)),
      ),
      svg("text", { x: LEFT + (width - LEFT - RIGHT) / 2, y: HEIGHT - 3, "text-anchor": "middle" }, "layer"),
      ...(whole ? [svg("path", { class: "band", d: `${path([...upper, ...lower.reverse()])}Z` })] : []),
      svg("path", { class: "theory", d: path(layers.map(point(line))) }),
      ...dots.map((value, i) => mark(value, point(dots)(i), [x(i), y(0)])),
    ),
  );
}

// A dot; a cross at the bottom for what has no place on a logarithmic axis.
function mark(value, at, [cx, floor]) {
  if (at) return svg("circle", { class: "dot", cx: at[0].toFixed(1), cy: at[1].toFixed(1), r: 3 });
  return svg(
    "path",
    { class: "nothing", d: `M${cx - 3} ${floor - 7}l6 6m0 -6l-6 6` },
    svg("title", {}, finite(value) ? "zero" : "not finite"),
  );
}

const BINS = 41;
const REACH = 4;

// Shares of the values per bin, from -edge to edge; what lies outside counts in the outermost bins.
export function histogram(values, edge) {
  const counts = new Array(BINS).fill(0);
  for (const v of values) counts[Math.min(BINS - 1, Math.max(0, Math.floor(((v + edge) / (2 * edge)) * BINS)))]++;
  return counts.map((c) => c / values.length);
}

// The histogram of one layer with the normal law of the theory over it, on a canvas.
export function drawHistogram(canvas, { values, q }) {
  const width = Math.max(canvas.parentElement.clientWidth, 240),
    sharp = globalThis.devicePixelRatio || 1,
    style = getComputedStyle(canvas);
  canvas.width = width * sharp;
  canvas.height = HEIGHT * sharp;
  canvas.style.height = `${HEIGHT}px`;
  const own = Math.sqrt(values.reduce((s, v) => s + v * v, 0) / values.length),
    edge = REACH * (own || Math.sqrt(q) || 1);
  const pen = canvas.getContext("2d"),
    floor = HEIGHT - BOTTOM,
    shares = histogram(values, edge),
    normal = normalShares(edge, Math.sqrt(q));
  const top = Math.min(Math.max(...shares, ...normal), 1.2 * Math.max(...shares)),
    wide = width / BINS,
    y = (share) => floor - ((floor - TOP) * Math.min(share, top)) / top;
  pen.scale(sharp, sharp);
  pen.fillStyle = style.getPropertyValue("--bar");
  shares.forEach((share, i) => pen.fillRect(i * wide + 0.5, y(share), wide - 1, floor - y(share)));
  pen.strokeStyle = style.getPropertyValue("--forward");
  pen.lineWidth = 2;
  pen.beginPath();
  normal.forEach((share, i) => pen.lineTo((i + 0.5) * wide, y(share)));
  if (q > 0) pen.stroke();
  axisBelow(pen, { width, floor, edge, style });
  return { rms: own, edge };
}

function normalShares(edge, std) {
  const step = (2 * edge) / BINS;
  return Array.from({ length: BINS }, (_, i) =>
    std > 0 ? (step / std) * 0.3989 * Math.exp(-0.5 * (((i + 0.5) * step - edge) / std) ** 2) : 0,
  );
}

function axisBelow(pen, { width, floor, edge, style }) {
  pen.fillStyle = style.getPropertyValue("--muted");
  pen.fillRect(0, floor, width, 1);
  pen.font = `12px ${style.fontFamily}`;
  for (const [share, align] of [
    [0, "left"],
    [0.5, "center"],
    [1, "right"],
  ]) {
    pen.textAlign = align;
    pen.fillText(figure((2 * share - 1) * edge), share * width, floor + 16);
  }
  pen.textAlign = "center";
  pen.fillText("pre-activation", width / 2, HEIGHT - 3);
}

// The loss of a run over its steps.
export function drawLosses(host, { losses, steps, chance }) {
  const width = Math.max(host.clientWidth, 240),
    tall = 150,
    top = Math.max(1.15 * chance, Math.min(losses[0] ?? 0, 3 * chance)),
    floor = tall - 32;
  const x = (i) => LEFT + ((width - LEFT - RIGHT) * i) / steps,
    y = (loss) => TOP + (floor - TOP) * (1 - Math.min(loss, top) / top);
  host.replaceChildren(
    svg(
      "svg",
      {
        viewBox: `0 0 ${width} ${tall}`,
        width,
        height: tall,
        role: "img",
        "aria-label":
          `Loss over ${losses.length} steps` +
          (losses.length ? `: from ${figure(losses[0])} to ${figure(losses[losses.length - 1])}` : ""),
      },
      svg("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(0), y2: y(0) }),
      svg("text", { x: LEFT - 7, y: y(0) + 4, "text-anchor": "end" }, "0"),
      svg("line", { class: "guess", x1: LEFT, x2: width - RIGHT, y1: y(chance), y2: y(chance) }),
      svg("text", { x: width - RIGHT, y: y(chance) - 5, "text-anchor": "end" }, "guessing"),
      svg("text", { x: LEFT - 7, y: y(chance) + 4, "text-anchor": "end" }, chance.toFixed(1)),
      ...[0, 100, 200, 300]
        .filter((s) => s <= steps)
        .map((s) => svg("text", { x: x(s), y: floor + 15, "text-anchor": "middle" }, String(s))),
      svg("text", { x: LEFT + (width - LEFT - RIGHT) / 2, y: tall - 2, "text-anchor": "middle" }, "step"),
      svg("path", { class: "loss", d: path(losses.map((l, i) => (finite(l) ? [x(i + 1), y(l)] : null))) }),
    ),
  );
}

// A table of numbers: heads, and rows of cells; the first cell names its row.
export function table(caption, heads, rows) {
  const row = (cells) =>
    html("tr", {}, html("th", { scope: "row" }, cells[0]), ...cells.slice(1).map((c) => html("td", {}, c)));
  return html(
    "table",
    {},
    html("caption", {}, caption),
    html("thead", {}, html("tr", {}, ...heads.map((h) => html("th", { scope: "col" }, h)))),
    html("tbody", {}, ...rows.map(row)),
  );
}
