// Answers what Python asks of the page's own modules: one JSON object on standard input, one on standard output.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const load = (name) => import(`${pathToFileURL(process.argv[2])}/${name}.mjs`);
const [{ ACTIVATIONS }, theory, { streamKey }, { words }, { normals, scaledBy, uniforms }, laws, depth, network] = await Promise.all(
  ["activations", "theory", "keys", "philox", "normal", "laws", "depth", "network"].map(load),
);
const asked = JSON.parse(readFileSync(0, "utf8"));
const bits = (array) => Array.from(new Uint32Array(array.buffer, array.byteOffset, array.length));

function point({ name, q, gap, sigma2 }) {
  const m = theory.moments(ACTIVATIONS[name], q);
  const next = sigma2 * m.second, apart = sigma2 * theory.pairGap(ACTIVATIONS[name], q, gap);
  return { next, chi: sigma2 * m.dsecond, c: 1 - apart / next, slope: m.slope, fourth: m.fourth, dfourth: m.dfourth };
}

function stream({ seed, name, count, first }) {
  const key = streamKey(seed, name), drawn = words(key, count, first);
  return { key: [key.k0, key.k1, key.c2, key.c3], words: Array.from(drawn), normal: bits(normals(drawn)), uniform: bits(uniforms(drawn)) };
}

const weight = ({ law, activation, factor, ...where }) => {
  const made = laws.lawOf(law, factor, ACTIVATIONS[activation]);
  return { gain: made.gain, python: made.python(made.gain, where.side), bits: bits(laws.drawWeight(made, where)) };
};
const curve = ({ settings, input }) => depth.predict(network.asTheory(settings, input));

const answers = {
  points: asked.points?.map(point),
  streams: asked.streams?.map(stream),
  weights: asked.weights?.map(weight),
  curves: asked.curves?.map(curve),
  activations: Object.keys(ACTIVATIONS),
  laws: Object.keys(laws.LAWS),
};
// JSON has no infinities: they are asked for by name
process.stdout.write(JSON.stringify(answers, (_, x) => (typeof x === "number" && !Number.isFinite(x) ? String(x) : x)));
