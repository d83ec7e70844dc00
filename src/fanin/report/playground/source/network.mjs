// A stack of layers on a batch of inputs: h_1 = W_1 x, h_l = [h_{l-1} +] alpha W_l f(norm(h_{l-1})); forward and back.

import { drawWeight, lawOf, sigma2Of } from "./laws.mjs";
import { ACTIVATIONS } from "./activations.mjs";

export const PIXELS = 64; // numbers of an input
export const CLASSES = 10;

// out[i, j] = sum over k of a[i, k] b[j, k]: the one product that everything is made of, in tiles of two rows by four.
export function product(a, b, rows, cols, inner, out) {
  const evenRows = rows & ~1;
  const evenCols = cols & ~3;
  for (let i = 0; i < evenRows; i += 2) {
    for (let j = 0; j < evenCols; j += 4) tile(a, b, i, j, cols, inner, out);
    for (let j = evenCols; j < cols; j++) for (const row of [i, i + 1]) entry(a, b, row, j, cols, inner, out);
  }
  if (evenRows < rows) for (let j = 0; j < cols; j++) entry(a, b, evenRows, j, cols, inner, out);
  return out;
}

function entry(a, b, i, j, cols, inner, out) {
  let sum = 0;
  for (let k = 0; k < inner; k++) sum += a[i * inner + k] * b[j * inner + k];
  out[i * cols + j] = sum;
}

// Eight entries at once: each number that is read is used several times.
function tile(a, b, i, j, cols, inner, out) {
  const a0 = i * inner;
  const a1 = a0 + inner;
  const b0 = j * inner;
  const b1 = b0 + inner;
  const b2 = b1 + inner;
  const b3 = b2 + inner;
  let s0 = 0;
  let s1 = 0;
  let s2 = 0;
  let s3 = 0;
  let t0 = 0;
  let t1 = 0;
  let t2 = 0;
  let t3 = 0;
  for (let k = 0; k < inner; k++) {
    const x = a[a0 + k];
    const y = a[a1 + k];
    const v = b[b0 + k];
    const w = b[b1 + k];
    s0 += x * v;
    t0 += y * v;
    s1 += x * w;
    t1 += y * w;
    const p = b[b2 + k];
    const q = b[b3 + k];
    s2 += x * p;
    t2 += y * p;
    s3 += x * q;
    t3 += y * q;
  }
  const at = i * cols + j;
  const below = at + cols;
  out[at] = s0;
  out[at + 1] = s1;
  out[at + 2] = s2;
  out[at + 3] = s3;
  out[below] = t0;
  out[below + 1] = t1;
  out[below + 2] = t2;
  out[below + 3] = t3;
}

// The transpose of a rows x cols matrix.
export function transposed(a, rows, cols) {
  const out = new a.constructor(a.length);
  for (let i = 0; i < rows; i++) for (let j = 0; j < cols; j++) out[j * rows + i] = a[i * cols + j];
  return out;
}

// Name of a layer's weight, the name that its stream is drawn under.
export const weightName = (layer) => `layers.${layer}.weight`;

// Weights of the settings of the page; `real` is the kind of array that signals are held in.
export function buildNetwork({ depth, width, law, scale, activation, norm, residual, seed }, real) {
  const act = ACTIVATIONS[activation],
    drawn = lawOf(law, scale, act);
  const weight = (name, out, fanIn, side) => drawWeight(drawn, { seed, name, out, fanIn, side });
  const weights = Array.from({ length: depth }, (_, l) =>
    weight(weightName(l), width, l ? width : PIXELS, l ? "both" : "output"),
  );
  return {
    depth,
    width,
    weights,
    norm,
    real,
    activation: act,
    skip: residual === "none" ? 0 : 1,
    alpha: residual === "scaled" ? 1 / Math.sqrt(2 * depth) : 1,
    head: () => weight("head.weight", CLASSES, width, "input"),
  };
}

// The same settings as the theory takes them.
export function asTheory({ depth, width, law, scale, activation, norm, residual }, { square, gap }) {
  const act = ACTIVATIONS[activation],
    drawn = lawOf(law, scale, act);
  const family = drawn.kind === "orthogonal" || drawn.kind === "mirrored" ? drawn.kind : "gaussian";
  return {
    depth,
    width,
    norm,
    residual,
    family,
    activation: act,
    inputs: PIXELS,
    inputSquare: square,
    inputGap: gap,
    sigma2First: sigma2Of(drawn, width, PIXELS),
    sigma2: sigma2Of(drawn, width, width),
  };
}

// Normalised rows, and 1 / their size; a row of zeros stays one. A norm here has no epsilon.
function normalise(h, { norm, width, real }, batch) {
  const n = new real(h.length),
    inverse = new real(batch);
  for (let b = 0; b < batch; b++) {
    let mean = 0,
      square = 0;
    const from = b * width;
    if (norm === "layer") for (let i = 0; i < width; i++) mean += h[from + i] / width;
    for (let i = 0; i < width; i++) square += (h[from + i] - mean) ** 2 / width;
    inverse[b] = square > 0 ? 1 / Math.sqrt(square) : 0;
    for (let i = 0; i < width; i++) n[from + i] = (h[from + i] - mean) * inverse[b];
  }
  return { n, inverse };
}

// Gradient with respect to what a norm read.
function normaliseBack(g, { n, inverse }, { norm, width, real }, batch) {
  const out = new real(g.length);
  for (let b = 0; b < batch; b++) {
    let mean = 0,
      along = 0;
    const from = b * width;
    for (let i = 0; i < width; i++) {
      if (norm === "layer") mean += g[from + i] / width;
      along += (g[from + i] * n[from + i]) / width;
    }
    for (let i = 0; i < width; i++) out[from + i] = (g[from + i] - mean - n[from + i] * along) * inverse[b];
  }
  return out;
}

// What the next map reads: f of the (normalised) stream.
function activate(net, h, batch) {
  const state = net.norm === "none" ? { n: h } : normalise(h, net, batch),
    x = new net.real(h.length),
    f = net.activation.f;
  for (let i = 0; i < x.length; i++) x[i] = f(state.n[i]);
  return { ...state, x };
}

// Streams h of every layer and what was read on the way, of `batch` inputs of PIXELS numbers.
export function forward(net, inputs, batch) {
  const { width, weights, real, skip, alpha } = net,
    states = [];
  const h = [product(inputs, weights[0], batch, width, PIXELS, new real(batch * width))];
  for (let l = 1; l < weights.length; l++) {
    const state = activate(net, h[l - 1], batch),
      next = product(state.x, weights[l], batch, width, width, new real(batch * width));
    states.push(state);
    if (skip) for (let i = 0; i < next.length; i++) next[i] = h[l - 1][i] + alpha * next[i];
    h.push(next);
  }
  return { h, states, last: () => activate(net, h[h.length - 1], batch) };
}

// Gradient at the stream that `state` was made of, from the gradient at what it gave.
export function activateBack(net, state, g, batch) {
  const d = net.activation.d,
    inner = new net.real(g.length);
  for (let i = 0; i < g.length; i++) inner[i] = g[i] * d(state.n[i]);
  return net.norm === "none" ? inner : normaliseBack(inner, state, net, batch);
}

// Gradients at the streams of all layers, given that at the last; `seen(layer, g)` is called with alpha times each of them.
export function backward(net, { states }, top, batch, seen = () => {}) {
  const { width, weights, real, skip, alpha } = net,
    gradients = [top];
  for (let l = weights.length - 1; l >= 0; l--) {
    const g = gradients[0],
      branch = skip && l ? g.map((x) => alpha * x) : g;
    seen(l, branch);
    if (l === 0) break;
    const back = product(branch, transposed(weights[l], width, width), batch, width, width, new real(batch * width));
    const before = activateBack(net, states[l - 1], back, batch);
    if (skip) for (let i = 0; i < before.length; i++) before[i] += g[i];
    gradients.unshift(before);
  }
  return gradients;
}
