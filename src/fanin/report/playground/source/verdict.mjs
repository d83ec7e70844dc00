// What the curves mean, in words: how the network starts, why, and what the theory says of its size.

import { moments } from "./theory.mjs";
import { figure, percent } from "./numbers.mjs";
import { RATE } from "./train.mjs";

// Smallest over largest rms of signal or gradient, over the layers.
const BROKEN = 1e-4;
const HARD = 0.02;
// A first step over the size of the weights: 20 plain layers behind norms learned the digits at 0.01 and not at 0.05.
const FAST = 0.04;
// 1 - cosine of two inputs at the last layer.
const SAME = 1e-5;
const NEARLY_SAME = 0.005;
const GRID = Array.from({ length: 97 }, (_, i) => 10 ** ((i - 48) / 8));

// {level: "fine" | "hard" | "broken", head, reasons}
export function judge({ norm, residual }, { q, gap, gradient }, weightStd) {
  const turned = norm !== "none" && residual === "none" ? ofSteps(weightStd) : null;
  const found = [ofSignal(q), ofGradient(gradient), ofLikeness(q, gap), turned].filter(Boolean);
  const level = found.some((f) => f.level === "broken") ? "broken" : found.length ? "hard" : "fine";
  return { level, head: HEADS[level], reasons: found.length ? found.map((f) => f.words) : [healthy(q, gradient, gap)] };
}

const HEADS = {
  fine: "This network can learn",
  hard: "This start makes learning hard",
  broken: "This network cannot learn",
};

const worse = (ratio) => (ratio < BROKEN ? "broken" : ratio < HARD ? "hard" : null);
const rms = (square) => figure(Math.sqrt(square));

function ofSignal(q) {
  const last = q.length - 1,
    dead = q.findIndex((x) => x === 0),
    lost = q.findIndex((x) => !Number.isFinite(x));
  if (dead >= 0)
    return { level: "broken", words: `The signal is zero from layer ${dead + 1} on: no input makes a difference.` };
  if (lost >= 0)
    return { level: "broken", words: `The signal is too large for floating point from layer ${lost + 1} on.` };
  const ratio = Math.sqrt(q[last] / q[0]),
    level = worse(Math.min(ratio, 1 / ratio));
  if (!level) return null;
  const how = ratio < 1 ? "shrinks" : "grows";
  return { level, words: `The signal ${how} from ${rms(q[0])} in layer 1 to ${rms(q[last])} in layer ${last + 1}.` };
}

function ofGradient(gradient) {
  const smallest = Math.min(...gradient),
    largest = Math.max(...gradient);
  if (smallest === 0) return { level: "broken", words: "No gradient reaches the first layers, so they never change." };
  const level = worse(Math.sqrt(smallest / largest));
  if (!level) return null;
  const times = figure(Math.sqrt(gradient[0]));
  const words =
    gradient[0] < 1
      ? `The gradient at layer 1 is ${times} times that at the last layer: the first layers hardly learn.`
      : `The gradient at layer 1 is ${times} times that at the last layer: steps that suit one are wrong for the other.`;
  return { level, words };
}

function ofLikeness(q, gap) {
  const end = gap[gap.length - 1];
  if (!(q[q.length - 1] > 0) || end >= NEARLY_SAME || gap[0] < 2 * NEARLY_SAME) return null;
  const level = end < SAME ? "broken" : "hard";
  return {
    level,
    words: `Two different inputs come out ${level === "broken" ? "the same" : "almost the same"}: 1 − cosine falls from ${figure(gap[0])} to ${figure(end)}.`,
  };
}

// Behind a norm only the direction of weights counts, and a step turns small weights further.
function ofSteps(weightStd) {
  const share = RATE / weightStd;
  if (!(weightStd > 0) || share < FAST) return null;
  const words = `Weights of ${figure(weightStd)} are small beside Adam's first steps of ${RATE}: each changes them by ${percent(share)}, which turns a plain stack of norms too fast.`;
  return { level: "hard", words };
}

const healthy = (q, gradient, gap) =>
  `Signal (${rms(q[0])} to ${rms(q[q.length - 1])}) and gradient (${rms(gradient[0])} to 1) neither vanish nor explode, and two inputs stay apart (cosine ${figure(1 - gap[gap.length - 1])}).`;

// Fixed points of the map of q in a plain network: [{q, stable}], or the factor of a function of two straight lines.
export function fixedPoints(activation, sigma2) {
  if (activation.left !== undefined) return { factor: sigma2 * moments(activation, 1).second, points: [] };
  const excess = (q) => Math.log((sigma2 * moments(activation, q).second) / q),
    values = GRID.map(excess),
    points = [];
  for (let i = 0; i + 1 < GRID.length; i++) {
    if (values[i] > 0 === values[i + 1] > 0) continue;
    points.push({ q: bisected(excess, GRID[i], GRID[i + 1], values[i] > 0), stable: values[i] > 0 });
  }
  return { factor: null, points };
}

// Root of `excess` between two q, which is positive at the lower one or not.
function bisected(excess, low, high, positive) {
  for (let i = 0; i < 40; i++) {
    const middle = Math.sqrt(low * high);
    if (excess(middle) > 0 === positive) low = middle;
    else high = middle;
  }
  return Math.sqrt(low * high);
}

function ofFactor(factor, rotation) {
  if (Math.abs(factor - 1) > 1e-6) return `Theory: each layer multiplies the mean square by ${figure(factor)}.`;
  return rotation
    ? "Theory: after the first layer every size is kept, in every network: it starts as a rotation."
    : "Theory: every size is kept, on average; nothing pulls a chance deviation back.";
}

// One sentence on where the theory sends the signal's size; `first` is q of the first layer.
export function sizeWords({ norm, residual }, { sigma2, first, effective, factorOfSkip, exact }) {
  if (!(sigma2 > 0)) return "Theory: without weights there is no signal.";
  if (norm !== "none") return "Theory: the norm gives every layer an input of size 1, whatever the weights.";
  if (residual === "scaled")
    return `Theory: all branches together multiply the mean square by at most about e^(branch/2), here ${figure(factorOfSkip)}.`;
  if (residual === "sum")
    return `Theory: the skips add up, and the mean square grows ${figure(factorOfSkip)} times over the layers.`;
  const { factor, points } = fixedPoints(effective, sigma2);
  if (factor !== null) return ofFactor(factor, exact && Math.abs(effective.left) === 1);
  if (!points.length) return "Theory: the size has no fixed point here; it goes on to zero or without bound.";
  const nearest = points.reduce((a, b) => (Math.abs(Math.log(a.q / first)) <= Math.abs(Math.log(b.q / first)) ? a : b));
  const size = figure(Math.sqrt(nearest.q));
  if (nearest.stable) return `Theory: size ${size} is a stable fixed point: other sizes move towards it.`;
  return `Theory: size ${size} is a fixed point, but an unstable one: what is a little larger grows, what is a little smaller shrinks. Chance decides where one network goes, and more widely than the band says.`;
}
