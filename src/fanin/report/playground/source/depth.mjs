// The theory's curves over depth: signal, likeness and gradient of a wide network, and how far a real width strays from them.

import { mirrored } from "./activations.mjs";
import { gaussianPair, pairNoise, through } from "./noise.mjs";
import { moments, pairGap } from "./theory.mjs";

const STEP = 1e-3;
const ZERO = [
  [0, 0, 0],
  [0, 0, 0],
  [0, 0, 0],
];
const combine = (...parts) =>
  ZERO.map((row, i) => row.map((_, j) => parts.reduce((sum, [k, m]) => sum + k * m[i][j], 0)));

// Facts that every layer shares. `family` is "gaussian", "orthogonal" or "mirrored".
function setting(network) {
  const { activation, family, norm, residual, depth, width } = network;
  const paired = family === "mirrored";
  return {
    ...network,
    effective: paired ? mirrored(activation) : activation,
    exact: family !== "gaussian", // orthogonal maps keep every length and angle
    units: paired ? width / 2 : width,
    normed: norm !== "none",
    centred: norm === "layer",
    skip: residual === "none" ? 0 : 1,
    share: residual === "scaled" ? 1 / (2 * depth) : 1, // alpha^2, what the branch's square is multiplied by
  };
}

// Curves of a network: arrays over its layers. q and gap are those of the pre-activations (of the stream, with skips);
// gradient is the mean square of dL/dh over that of the last layer; the rest are variances over draws of the weights.
export function predict(network) {
  const s = setting(network),
    forward = [firstLayer(s)];
  while (forward.length < s.depth) forward.push(nextLayer(s, forward[forward.length - 1]));
  const curves = { q: forward.map((l) => l.q), gap: forward.map((l) => l.gap) };
  return { ...curves, gradient: backward(s, forward), ...spread(s, forward) };
}

// Mean square of what the activation reads; nothing stays nothing.
const afterNorm = (s, q) => (s.normed && q > 0 ? 1 : q);

const firstLayer = (s) => ({ q: s.sigma2First * s.inputSquare, gap: s.inputGap });

function nextLayer(s, { q, gap }) {
  const at = afterNorm(s, q);
  const branch = s.share * s.sigma2 * moments(s.effective, at).second,
    apart = s.share * s.sigma2 * pairGap(s.effective, at, gap);
  const total = s.skip * q + branch;
  return { q: total, gap: total > 0 ? (s.skip * q * gap + apart) / total : 0 };
}

// Mean square of the gradient at each layer; `felt` is what a pair of mirrored units feels together.
function backward(s, forward) {
  const gradient = new Float64Array(s.depth).fill(1);
  let felt = 1;
  for (let layer = s.depth - 2; layer >= 0; layer--) {
    const { q } = forward[layer],
      size = s.share * s.sigma2 * normFactor(s, q),
      at = afterNorm(s, q);
    const single = s.family === "mirrored" ? 2 * moments(s.activation, at).dsecond : moments(s.activation, at).dsecond;
    gradient[layer] = s.skip * gradient[layer + 1] + size * single * felt;
    felt = felt * (s.skip + size * moments(s.effective, at).dsecond);
  }
  return gradient;
}

// What a norm multiplies the squared gradient by: 1 / q, less one direction in n. (A LayerNorm takes out two, and is smaller
// by one.) A network that starts as a rotation loses that direction once, not in every layer.
function normFactor(s, q) {
  if (!s.normed || !(q > 0)) return 1;
  return (1 - (s.effective.factor ? 0 : 1 / s.units)) / q;
}

// Over draws of the weights, to first order in 1 / width: the variances of ln q and of ln gradient, where the middle of the
// latter lies above the theory's line, and the standard deviation of c.
function spread(s, forward) {
  const n = s.units,
    logQ = [],
    stdC = [],
    fresh = [],
    slopes = [];
  let measured = combine([
      s.exact ? Math.max(1 / n - 1 / s.inputs, 0) : 1 / n,
      gaussianPair(forward[0].q, 1 - forward[0].gap),
    ]),
    shared = ZERO;
  for (const [layer, here] of forward.entries()) {
    logQ.push(here.q > 0 ? measured[0][0] / here.q ** 2 : 0);
    stdC.push(likenessStd(measured, here));
    if (layer + 1 < forward.length)
      ({ measured, shared } = carry(s, here, forward[layer + 1], { measured, shared, fresh, slopes }));
  }
  return { logQ, stdC, ...gradientSpread(s, forward, { fresh, slopes, logQ }) };
}

function likenessStd(m, { q, gap }) {
  if (!(q > 0)) return 0;
  const c = 1 - gap,
    g = [(-0.5 * c) / q, (-0.5 * c) / q, 1 / q];
  return Math.sqrt(
    Math.max(
      g.reduce((sum, x, i) => sum + x * g.reduce((t, y, j) => t + m[i][j] * y, 0), 0),
      0,
    ),
  );
}

// Noise of (q1, q2, q12) after one more layer. What a layer's units add stays, in part, where a skip keeps the units.
function carry(s, here, next, { measured, shared, fresh, slopes }) {
  if (!(here.q > 0) || !(next.q > 0)) return { measured: ZERO, shared: ZERO };
  const n = s.units,
    c = 1 - here.gap,
    size = s.share * s.sigma2,
    m = moments(s.effective, s.normed ? 1 : here.q);
  const { jacobian, noise } = pairNoise(m, c, s),
    follows = s.normed ? onlyLikeness(jacobian, here) : jacobian;
  const map = follows.map((row, i) => row.map((x, j) => size * x + (i === j ? s.skip : 0)));
  const kept = s.skip * Math.sqrt(here.q / next.q);
  const mixed = multiply(map, shared),
    added = combine([size, mixed], [size, transpose(mixed)], [size ** 2 / n, noise]);
  const weights = drawn(s, here, next);
  slopes.push((map[0][0] * here.q) / next.q);
  fresh.push(
    (size ** 2 * noise[0][0]) / n / next.q ** 2 + innovation(s, weights[0][0] / next.q ** 2, slopes[slopes.length - 1]),
  );
  return {
    measured: combine([1, through(map, measured)], [1, added], [1, weights]),
    shared: combine([kept, mixed], [(kept * size) / n, noise]),
  };
}

// What a layer's draw adds to the ln q that the next factor of the gradient sees: with skips its own, else that of the layer before.
const innovation = (s, own, slope) => (s.skip ? own : s.exact ? 0 : (2 * slope ** 2) / s.units);

// Noise that drawing Gaussian weights adds: none of orthogonal ones, but for the angle between branch and skip.
function drawn(s, here, next) {
  const all = gaussianPair(next.q, 1 - next.gap),
    old = s.skip ? gaussianPair(here.q, 1 - here.gap) : ZERO;
  const q = next.q - s.skip * here.q,
    gap = q > 0 ? (next.q * next.gap - s.skip * here.q * here.gap) / q : 0;
  return combine([1 / s.units, all], [-1 / s.units, old], [s.exact ? -1 / s.units : 0, gaussianPair(q, 1 - gap)]);
}

// A norm passes on only the cosine: the derivatives with respect to q1 and q2 act through it.
function onlyLikeness(jacobian, { q, gap }) {
  const c = 1 - gap;
  return jacobian.map((row) => [(-0.5 * c * row[2]) / q, (-0.5 * c * row[2]) / q, row[2] / q]);
}

const multiply = (a, b) => a.map((row) => ZERO.map((_, j) => row.reduce((sum, x, k) => sum + x * b[k][j], 0)));
const transpose = (a) => a.map((row, i) => row.map((_, j) => a[j][i]));

// Variance of ln (gradient over the last layer's): what each layer's units and weights add, and what follows the signal's
// noise. A factor whose mean is right has its middle half the variance lower; one over a noisy size has it higher.
function gradientSpread(s, forward, { fresh, slopes, logQ }) {
  const layers = forward.map((l) => gradientLayer(s, l.q)),
    last = s.depth - 1;
  const logGradient = new Float64Array(s.depth),
    middle = new Float64Array(s.depth);
  let own = s.family === "mirrored" ? 1 / s.units : 0,
    sizes = 0,
    above = 0;
  for (let layer = last - 1; layer >= 0; layer--) {
    const { sense } = layers[layer],
      size = s.normed ? logQ[layer] : 0;
    own += layers[layer].own;
    sizes += sense ** 2 * size;
    above += 0.5 * Math.abs(sense) * size;
    const followed = s.normed ? 0 : followedNoise(s, layers, layer, { fresh, slopes });
    logGradient[layer] = own + sizes + followed;
    middle[layer] = above - 0.5 * (own + followed);
  }
  return { logGradient, middle };
}

// Variance of ln gradient at a layer that comes from the noise of ln q at this and all later layers.
function followedNoise(s, layers, from, { fresh, slopes }) {
  const first = s.exact ? 0 : 2 / s.units;
  let reach = 0,
    total = 0;
  for (let l = s.depth - 2; l >= 0; l--) {
    reach = (l >= from ? layers[l].sense : 0) + (slopes[l] ?? 0) * reach;
    total += reach ** 2 * (l > 0 ? (fresh[l - 1] ?? 0) : s.skip * first);
  }
  return total;
}

// One layer of the way back: variance of its own factor, and the logarithmic slope of that factor in q.
function gradientLayer(s, q) {
  if (!(q > 0)) return { own: 0, sense: 0 };
  const at = s.normed ? 1 : q,
    m = moments(s.effective, at),
    n = s.units;
  const ratio = s.share * s.sigma2 * m.dsecond * normFactor(s, q),
    part = s.skip ? ratio / (1 + ratio) : 1;
  const noise =
    part ** 2 * (3 * (m.dfourth / m.dsecond ** 2) - (s.exact ? 3 : 1)) + (s.skip ? (4 * part) / (1 + ratio) : 0);
  const above = moments(s.effective, at * (1 + STEP)).dsecond,
    below = moments(s.effective, at * (1 - STEP)).dsecond;
  return { own: m.dsecond > 0 ? noise / n : 0, sense: part * (s.normed ? -1 : Math.log(above / below) / (2 * STEP)) };
}
