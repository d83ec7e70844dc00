// The activations of the page, by the names and with the defaults of fanin.theory.

import { erf, logistic, normalCdf, normalPdf, softplus } from "./special.mjs";

const SELU_ALPHA = 1.6732632423543772848;
const SELU_SCALE = 1.0507009873554804934;
const LEAK = 0.01;
// Where a smooth activation bends: integrals over wide distributions are cut there, as they are at every kink.
const BENDS = [-20, -6, -2, 0, 2, 6, 20];

const exponentialLinear = (alpha, outer) => ({
  f: (x) => outer * (x > 0 ? x : alpha * Math.expm1(x)),
  d: (x) => outer * (x > 0 ? 1 : alpha * Math.exp(x)),
  kinks: [0],
  bends: [-20, -6, -2],
});

const twoSlopes = (left) => ({
  f: (x) => (x > 0 ? x : left * x),
  d: (x) => (x > 0 ? 1 : left),
  kinks: [0],
  bends: [],
  left,
});

// tanh(softplus(x)) = n / (n + 2) with n = e^x (e^x + 2).
function mishGate(x) {
  const e = Math.exp(Math.min(x, 20)),
    n = e * (e + 2);
  return n / (n + 2);
}

function silu(x) {
  return x * logistic(x);
}

function siluSlope(x) {
  const gate = logistic(x);
  return gate + x * gate * (1 - gate);
}

function mishSlope(x) {
  const t = mishGate(x);
  return t + x * (1 - t * t) * logistic(x);
}

function tanhSlope(x) {
  return 4 * logistic(2 * x) * logistic(-2 * x);
}

// name -> function, derivative, and the points at which integrals are cut. `left`: f(x) = left x for x < 0, x above.
export const ACTIVATIONS = {
  relu: { label: "ReLU", ...twoSlopes(0) },
  leaky_relu: { label: "Leaky ReLU (0.01)", ...twoSlopes(LEAK) },
  gelu: {
    label: "GELU",
    f: (x) => x * normalCdf(x),
    d: (x) => normalCdf(x) + x * normalPdf(x),
    kinks: [],
    bends: BENDS,
  },
  silu: { label: "SiLU (Swish)", f: silu, d: siluSlope, kinks: [], bends: BENDS },
  mish: { label: "Mish", f: (x) => x * mishGate(x), d: mishSlope, kinks: [], bends: BENDS },
  elu: { label: "ELU", ...exponentialLinear(1, 1) },
  selu: { label: "SELU", ...exponentialLinear(SELU_ALPHA, SELU_SCALE) },
  softplus: { label: "Softplus", f: softplus, d: logistic, kinks: [], bends: BENDS },
  tanh: { label: "tanh", f: Math.tanh, d: tanhSlope, kinks: [], bends: BENDS },
  sigmoid: { label: "Logistic (sigmoid)", f: logistic, d: (x) => logistic(x) * logistic(-x), kinks: [], bends: BENDS },
  hardtanh: {
    label: "Hardtanh",
    f: (x) => Math.min(Math.max(x, -1), 1),
    d: (x) => (x > -1 && x < 1 ? 1 : 0),
    kinks: [-1, 1],
    bends: [],
  },
  erf: { label: "erf", f: erf, d: (x) => 1.1283791670955126 * Math.exp(-x * x), kinks: [], bends: BENDS },
  sin: { label: "sin", f: Math.sin, d: Math.cos, kinks: [], bends: [] },
  linear: { label: "none (linear)", f: (x) => x, d: () => 1, kinks: [], bends: [], left: 1 },
};
for (const [name, activation] of Object.entries(ACTIVATIONS)) activation.name = name;

// What two mirrored units u and -u pass on together: f(x) - f(-x). For ReLU, GELU, SiLU and softplus it is x itself.
export function mirrored({ name, f, d, kinks, bends }) {
  const straight = { relu: 1, gelu: 1, silu: 1, softplus: 1, leaky_relu: 1 + LEAK, linear: 2 }[name];
  if (straight)
    return {
      name: `mirrored ${name}`,
      f: (x) => straight * x,
      d: () => straight,
      kinks: [],
      bends: [],
      left: 1,
      factor: straight,
    };
  const both = (points) => [...new Set([...points, ...points.map((x) => -x)])].sort((a, b) => a - b);
  return {
    name: `mirrored ${name}`,
    f: (x) => f(x) - f(-x),
    d: (x) => d(x) + d(-x),
    kinks: both(kinks),
    bends: both(bends),
  };
}
