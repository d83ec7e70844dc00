// Answers what Python asks of the page's own modules: one JSON object on standard input, one on standard output.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const load = (name) => import(`${pathToFileURL(process.argv[2])}/${name}.mjs`);
const [
  { ACTIVATIONS },
  theory,
  { streamKey },
  { words },
  { normals, uniforms },
  laws,
  depth,
  network,
  simulation,
  charts,
] = await Promise.all(
  ["activations", "theory", "keys", "philox", "normal", "laws", "depth", "network", "simulate", "charts"].map(load),
);
const asked = JSON.parse(readFileSync(0, "utf8"));
const bits = (array) => Array.from(new Uint32Array(array.buffer, array.byteOffset, array.length));

function point({ name, q, gap, sigma2 }) {
  const m = theory.moments(ACTIVATIONS[name], q);
  const next = sigma2 * m.second,
    apart = sigma2 * theory.pairGap(ACTIVATIONS[name], q, gap);
  return { next, chi: sigma2 * m.dsecond, c: 1 - apart / next, slope: m.slope, fourth: m.fourth, dfourth: m.dfourth };
}

function stream({ seed, name, count, first }) {
  const key = streamKey(seed, name),
    drawn = words(key, count, first);
  return {
    key: [key.k0, key.k1, key.c2, key.c3],
    words: Array.from(drawn),
    normal: bits(normals(drawn)),
    uniform: bits(uniforms(drawn)),
  };
}

const weight = ({ law, activation, factor, ...where }) => {
  const made = laws.lawOf(law, factor, ACTIVATIONS[activation]);
  return { gain: made.gain, python: made.python(made.gain, where.side), bits: bits(laws.drawWeight(made, where)) };
};
const curve = ({ settings, input }) => depth.predict(network.asTheory(settings, input));

// Share of layers of `draws` real networks whose signal, gradient and likeness lie inside the band of `width` units.
function coverage({ settings, draws, width }) {
  const inside = [0, 0, 0];
  let count = 0;
  for (let seed = 0; seed < draws; seed++) {
    const own = { ...settings, seed },
      inputs = simulation.makeInputs(own).slice(0, 2),
      real = simulation.simulate(own, inputs);
    const curves = depth.predict(network.asTheory({ ...own, width }, simulation.pairOf(inputs)));
    const bands = [
      charts.rmsCurves(curves.q, curves.logQ),
      charts.rmsCurves(curves.gradient, curves.logGradient, curves.middle),
      charts.cosineCurves(curves.gap, curves.stdC),
    ];
    const found = [real.q.map(Math.sqrt), real.gradient.map(Math.sqrt), real.gap.map((g) => 1 - g)];
    for (let l = 0; l + 1 < settings.depth; l++, count++)
      found.forEach((f, i) => (inside[i] += f[l] >= bands[i].low[l] && f[l] <= bands[i].high[l] ? 1 : 0));
  }
  return inside.map((n) => n / count);
}

const answers = {
  points: asked.points?.map(point),
  streams: asked.streams?.map(stream),
  weights: asked.weights?.map(weight),
  curves: asked.curves?.map(curve),
  coverage: asked.coverage?.map(coverage),
  activations: Object.keys(ACTIVATIONS),
  laws: Object.keys(laws.LAWS),
};
// JSON has no infinities: they are asked for by name
process.stdout.write(JSON.stringify(answers, (_, x) => (typeof x === "number" && !Number.isFinite(x) ? String(x) : x)));
