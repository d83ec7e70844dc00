// The laws of the page, by their names in fanin.initializers, and the weights that they give: those of fanin.key(seed, name).

import { mirrored } from "./activations.mjs";
import { streamKey } from "./keys.mjs";
import { normals, scaledBy, uniforms } from "./normal.mjs";
import { haar } from "./orthogonal.mjs";
import { words } from "./philox.mjs";
import { moments } from "./theory.mjs";

const SMALL_STD = 0.01;
const NEAR_ZERO = 1e-3;
const CACHED = 400; // matrices of unit numbers that are kept

// gain = 1 / sqrt(E f(z)^2): keeps the mean square of a signal of size 1.
export const gainOf = (activation) => 1 / Math.sqrt(moments(activation, 1).second);

// 1 / slope at zero of what two mirrored units pass on.
const mirroredGain = (activation) => NEAR_ZERO / mirrored(activation).f(NEAR_ZERO);

const scaling = (gain, mode, law) => ({
  kind: law,
  gain,
  mode,
  python: (g) => `VarianceScaling(gain=${g}, mode="${mode}", law="${law}")`,
});

// name -> label, and what it is for an activation.
export const LAWS = {
  he_normal: { label: "He normal: gain √2", of: () => scaling(Math.SQRT2, "fan_in", "normal") },
  he_uniform: { label: "He uniform: gain √2", of: () => scaling(Math.SQRT2, "fan_in", "uniform") },
  glorot_uniform: { label: "Glorot uniform", of: () => scaling(1, "fan_avg", "uniform") },
  glorot_normal: { label: "Glorot normal", of: () => scaling(1, "fan_avg", "normal") },
  glorot_logistic: { label: "Glorot × 4, for the logistic", of: () => scaling(4, "fan_avg", "uniform") },
  lecun_normal: { label: "LeCun normal: gain 1", of: () => scaling(1, "fan_in", "normal") },
  classic_uniform: {
    label: "Classic uniform ±1/√n (PyTorch's default)",
    of: () => scaling(Math.sqrt(1 / 3), "fan_in", "uniform"),
  },
  variance_scaling: {
    label: "Gain of the activation",
    of: (activation) => scaling(gainOf(activation), "fan_in", "normal"),
  },
  orthogonal: {
    label: "Orthogonal × gain of the activation",
    of: (activation) => ({
      kind: "orthogonal",
      gain: gainOf(activation),
      python: (g) => `Orthogonal(gain=${g}, scaled=True)`,
    }),
  },
  mirrored_orthogonal: {
    label: "Mirrored orthogonal",
    of: (activation) => ({
      kind: "mirrored",
      gain: mirroredGain(activation),
      python: (g, side) => `MirroredOrthogonal(side="${side}", gain=${g})`,
    }),
  },
  normal: {
    label: "N(0, 0.01²), any width",
    of: () => ({ kind: "normal", gain: SMALL_STD, mode: "none", python: (g) => `Normal(std=${g})` }),
  },
  zeros: { label: "All zeros", of: () => ({ kind: "zeros", gain: 0, python: () => "Zeros()" }) },
};

// The law of that name, its gain multiplied by `factor`.
export function lawOf(name, factor, activation) {
  const law = LAWS[name].of(activation);
  return { ...law, gain: law.gain * factor };
}

const FANS = { fan_in: (out, fanIn) => fanIn, fan_avg: (out, fanIn) => 0.5 * (out + fanIn), none: () => 1 };

// Standard deviation of a weight of an independent law.
export const stdOf = (law, out, fanIn) => law.gain / Math.sqrt(FANS[law.mode](out, fanIn));

// fan_in Var(w): what a signal's mean square is multiplied by (of a mirrored map: by A).
export function sigma2Of(law, out, fanIn) {
  if (law.kind === "zeros") return 0;
  return law.mode === undefined ? law.gain ** 2 : fanIn * stdOf(law, out, fanIn) ** 2;
}

const units = new Map();

// Unit numbers of a parameter, or the orthogonal matrix made of them: drawn once, scaled as often as asked for.
function unitOf(kind, seed, name, out, fanIn) {
  const id = `${kind} ${seed} ${name} ${out} ${fanIn}`;
  if (!units.has(id)) {
    if (units.size > CACHED) units.clear();
    const drawn = words(streamKey(seed, name), out * fanIn);
    units.set(
      id,
      kind === "uniform" ? uniforms(drawn) : kind === "normal" ? normals(drawn) : haar(normals(drawn), out, fanIn),
    );
  }
  return units.get(id);
}

function rounded(matrix, gain) {
  const out = new Float32Array(matrix.length);
  for (let i = 0; i < out.length; i++) out[i] = matrix[i] * gain;
  return out;
}

// [A; -A], [[A, -A], [-A, A]] or [A, -A].
function mirror(map, out, fanIn, side) {
  const weight = new Float32Array(out * fanIn),
    rows = side === "input" ? out : out / 2,
    cols = side === "output" ? fanIn : fanIn / 2;
  for (let i = 0; i < out; i++) {
    for (let j = 0; j < fanIn; j++)
      weight[i * fanIn + j] = map[(i % rows) * cols + (j % cols)] * (i < rows === j < cols ? 1 : -1);
  }
  return weight;
}

function mirroredWeight(law, seed, name, out, fanIn, side) {
  const rows = side === "input" ? out : out / 2,
    cols = side === "output" ? fanIn : fanIn / 2;
  const map = rounded(unitOf("orthogonal", seed, name, rows, cols), law.gain * Math.max(1, Math.sqrt(rows / cols)));
  return mirror(map, out, fanIn, side);
}

// The float32 weight of that parameter, row by row; `side` says which sides a mirrored map has its copies on.
export function drawWeight(law, { seed, name, out, fanIn, side }) {
  if (law.kind === "zeros") return new Float32Array(out * fanIn);
  if (law.kind === "mirrored") return mirroredWeight(law, seed, name, out, fanIn, side);
  const unit = unitOf(law.kind, seed, name, out, fanIn);
  if (law.kind === "orthogonal") return rounded(unit, law.gain * Math.max(1, Math.sqrt(out / fanIn)));
  const std = stdOf(law, out, fanIn);
  return scaledBy(unit, law.kind === "uniform" ? Math.sqrt(3) * std : std);
}
