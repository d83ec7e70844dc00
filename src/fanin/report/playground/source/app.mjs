// The page: settings in, charts and words out. Nothing is kept but the settings, the runs and what was drawn last.

import { ACTIVATIONS, mirrored } from "./activations.mjs";
import { cosineCurves, drawChart, drawHistogram, rmsCurves, table } from "./charts.mjs";
import { predict } from "./depth.mjs";
import { split, unpack } from "./digits.mjs";
import { lawOf } from "./laws.mjs";
import { PIXELS, asTheory, weightName } from "./network.mjs";
import { figure, percent } from "./numbers.mjs";
import { DEFAULTS, PRESETS } from "./presets.mjs";
import { SAMPLES, makeInputs, pairOf, simulate } from "./simulate.mjs";
import { CHOICES, WIDTHS, equal, fromHash, fromLog, isState, toHash } from "./state.mjs";
import { html } from "./svg.mjs";
import { trainingPanel } from "./panel.mjs";
import { judge, sizeWords } from "./verdict.mjs";

const OPENING = "too-small"; // the story that a page without an address begins with
const PAIR = [3, 6]; // two digits of the set that look unlike: a 3 and a 6
const FLAT = 0.01; // a unit with a smaller slope passes no gradient to speak of

const find = (id) => document.getElementById(id);

// Settings of a story.
const settingsOf = (preset) => ({ ...DEFAULTS, ...preset.set });

// Sixteen real digits with the page's numbers, the pair first.
function digitInputs({ train }) {
  const rows = [...PAIR, ...Array.from({ length: SAMPLES }, (_, i) => i + 10)].slice(0, SAMPLES);
  return rows.map((r) => Float64Array.from(train.x.subarray(r * PIXELS, (r + 1) * PIXELS)));
}

// All that is drawn, from the settings alone.
export function evaluate(settings, digits) {
  const inputs = makeInputs(settings, digits),
    pair = pairOf(inputs),
    network = asTheory(settings, pair);
  return { network, theory: predict(network), sim: simulate(settings, inputs) };
}

export function startApp(source) {
  const data = JSON.parse(find("digits").textContent),
    digits = digitInputs(split(unpack(data.pixels, data.count)));
  let settings = isState(location.hash) ? fromHash(location.hash) : settingsOf(PRESETS.find((p) => p.name === OPENING));
  let story = PRESETS.find((p) => equal(settingsOf(p), settings)) ?? null,
    shown = null,
    waiting = false;

  // Draws at most once a frame, however fast a slider moves.
  const later = () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      draw();
    });
  };

  const change = (next, { address = true } = {}) => {
    settings = { ...settings, ...next };
    story = PRESETS.find((p) => equal(settingsOf(p), settings)) ?? story;
    later();
    if (address) remember(settings);
  };

  function draw() {
    const began = performance.now();
    showControls(settings);
    showStory(story, settings);
    shown = evaluate(settings, digits);
    showCharts(settings, shown);
    showWords(settings, shown);
    showLayer(settings, shown);
    document.documentElement.dataset.redraw = (performance.now() - began).toFixed(1);
  }

  if (matchMedia("(max-width: 40rem)").matches) find("settings").open = false;
  makeChoices();
  makePresets((preset) => {
    story = preset;
    settings = settingsOf(preset);
    change({});
  });
  find("numbers").parentElement.addEventListener("toggle", later);
  listen(change, () => shown && showLayer(settings, shown));
  window.addEventListener(
    "hashchange",
    () => isState(location.hash) && change(fromHash(location.hash), { address: false }),
  );
  window.addEventListener("resize", later);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", later);
  trainingPanel(source, data, () => settings);
  draw();
  // for whoever measures the page: settings in, milliseconds of one redraw out
  globalThis.fanin = {
    set: (next) => (change(next), draw(), Number(document.documentElement.dataset.redraw)),
    get: () => ({ ...settings }),
  };
}

function remember(settings) {
  try {
    history.replaceState(null, "", toHash(settings));
  } catch {
    // inside some frames an address cannot be changed; the page works without
  }
}

function makeChoices() {
  for (const [name, options] of Object.entries(CHOICES))
    find(name).replaceChildren(...Object.entries(options).map(([value, label]) => html("option", { value }, label)));
}

function makePresets(choose) {
  find("presets").replaceChildren(
    ...PRESETS.map((preset) => {
      const button = html(
        "button",
        { type: "button", "data-preset": preset.name, "aria-pressed": "false" },
        preset.title,
      );
      button.addEventListener("click", () => choose(preset));
      return html("li", {}, button);
    }),
  );
}

// Controls -> change of settings.
function listen(change, layerMoved) {
  for (const name of Object.keys(CHOICES))
    find(name).addEventListener("change", (e) => change({ [name]: e.target.value }));
  find("depth").addEventListener("input", (e) => change({ depth: Number(e.target.value) }));
  find("width").addEventListener("input", (e) => change({ width: WIDTHS[Number(e.target.value)] }));
  for (const name of ["scale", "size"])
    find(name).addEventListener("input", (e) => change({ [name]: fromLog(e.target.value) }));
  find("redraw").addEventListener("click", () => change({ seed: Number(find("seed").value) + 1 }));
  find("seed").addEventListener("change", (e) => change({ seed: fromHash(`#seed=${e.target.value}`).seed }));
  find("layer").addEventListener("input", layerMoved);
  find("layer").addEventListener("input", () => (find("layer").dataset.touched = "yes"));
}

function say(id, text) {
  if (find(id).textContent !== text) find(id).textContent = text;
}

// Settings -> controls, with the words that a screen reader says for a slider.
function showControls(settings) {
  for (const name of [...Object.keys(CHOICES), "depth", "seed"]) find(name).value = settings[name];
  find("width").value = WIDTHS.indexOf(settings.width);
  for (const name of ["scale", "size"])
    if (fromLog(find(name).value) !== settings[name]) find(name).value = Math.log10(settings[name]);
  const words = {
    depth: `${settings.depth} layers`,
    width: `${settings.width} units`,
    scale: `× ${figure(settings.scale)}`,
    size: figure(settings.size),
  };
  for (const [name, text] of Object.entries(words)) {
    say(`${name}-value`, text);
    find(name).setAttribute("aria-valuetext", text);
  }
}

function showStory(story, settings) {
  for (const button of find("presets").querySelectorAll("button")) {
    const preset = PRESETS.find((p) => p.name === button.dataset.preset);
    button.setAttribute("aria-pressed", String(equal(settingsOf(preset), settings)));
  }
  find("story").hidden = !story;
  if (!story) return;
  say("story-title", story.title + (equal(settingsOf(story), settings) ? "" : " (settings changed)"));
  if (find("story-text").dataset.name !== story.name)
    find("story-text").replaceChildren(...story.text.map((sentence) => html("p", {}, sentence)));
  find("story-text").dataset.name = story.name;
}

const rootOf = (squares) => Array.from(squares, Math.sqrt);

function showCharts(settings, { theory, sim }) {
  const signal = rmsCurves(theory.q, theory.logQ),
    back = rmsCurves(theory.gradient, theory.logGradient, theory.middle),
    like = cosineCurves(theory.gap, theory.stdC);
  const cosine = sim.gap.map((g) => 1 - g),
    signals = rootOf(sim.q),
    gradients = rootOf(sim.gradient);
  const ends = (values, what) =>
    `${what}: ${figure(values[0])} in layer 1, ${figure(values[values.length - 1])} in layer ${values.length}.`;
  drawChart(find("signal"), {
    title: "Signal",
    log: true,
    ...signal,
    dots: signals,
    words: ends(signals, "This network") + ends(signal.line, " Theory"),
  });
  drawChart(find("gradient"), {
    title: "Gradient",
    log: true,
    ...back,
    dots: gradients,
    words: ends(gradients, "This network") + ends(back.line, " Theory"),
  });
  drawChart(find("likeness"), {
    title: "Likeness",
    log: false,
    ...like,
    dots: cosine,
    words: ends(cosine, "This network") + ends(like.line, " Theory"),
  });
  find("zeros").hidden = [...signals, ...gradients].every((x) => x > 0 && Number.isFinite(x));
  if (!find("numbers").parentElement.open) return;
  const heads = ["layer", "signal", "theory", "gradient", "theory", "likeness", "theory"];
  const rows = sim.q.map((_, l) => [
    String(l + 1),
    ...[signals[l], signal.line[l], gradients[l], back.line[l]].map(figure),
    cosine[l].toFixed(4),
    like.line[l].toFixed(4),
  ]);
  find("numbers").replaceChildren(table("Signal and gradient (rms), likeness (cosine)", heads, rows));
}

function showWords(settings, { network, theory, sim }) {
  const { level, head, reasons } = judge(settings, sim, Math.sqrt(network.sigma2 / settings.width)),
    act = network.activation;
  find("verdict").className = `verdict ${level}`;
  say("verdict-sign", { fine: "✓", hard: "!", broken: "✕" }[level]);
  say("verdict-head", head);
  say("verdict-text", reasons.join(" "));
  const effective = network.family === "mirrored" ? mirrored(act) : act,
    last = theory.q[theory.q.length - 1];
  say(
    "size-text",
    sizeWords(settings, {
      sigma2: network.sigma2,
      first: theory.q[0],
      effective,
      factorOfSkip: last / theory.q[0],
      exact: network.family !== "gaussian",
    }),
  );
  const drawn = lawOf(settings.law, settings.scale, act),
    side = "both";
  say(
    "python",
    `fanin.initializers.${drawn.python(drawn.gain, side)}.sample(\n    (${settings.width}, ${settings.width}), key=fanin.key(${settings.seed}, "${weightName(1)}"))`,
  );
}

// The histogram of the layer that the slider shows; it follows the last layer until it is moved.
function showLayer(settings, { theory, sim, network }) {
  const slider = find("layer");
  slider.max = settings.depth;
  if (!slider.dataset.touched) slider.value = settings.depth;
  const layer = Number(slider.value),
    values = sim.streams[layer - 1],
    q = theory.q[layer - 1],
    normed = settings.norm !== "none";
  const { rms } = drawHistogram(find("histogram"), { values, q });
  const reads = normed ? values.map((v) => v / (rms || 1)) : values;
  const flat = reads.reduce((n, v) => n + (Math.abs(network.activation.d(v)) < FLAT ? 1 : 0), 0) / reads.length;
  const text = `Layer ${layer} of ${settings.depth}: rms ${figure(rms)}, theory ${figure(Math.sqrt(q))}. ${percent(flat)} of the values fall where the activation is flat and pass no gradient.`;
  say("layer-text", text);
  slider.setAttribute("aria-valuetext", `layer ${layer}`);
  find("histogram").setAttribute("aria-label", `Histogram of pre-activations. ${text}`);
}
