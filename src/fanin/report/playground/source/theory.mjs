// What one wide random layer does to two inputs: moments of the activation and the map of their likeness.
// q is the mean square of a pre-activation, c the cosine of two inputs' pre-activations, gap = 1 - c.

import { DEGREES, cutsAt, edges, gaussianRule, hermite, hermiteRule, legendre } from "./quadrature.mjs";
import { tabulated } from "./special.mjs";

const KEPT = 4000; // moments remembered
const GOOD = 1e-8; // largest share of E f^2 that unseen Hermite degrees may hold at a correlation c
const ROUNDING = 1e-13; // what is smaller than this share is no unseen degree
const POINTS = 8; // nodes of a panel of the double integral
const NOTHING = 1e-12; // a weight that is left out
const OUTER = [-7.5, -3.4, -1.4, 0, 1.4, 3.4, 7.5];
const INNER = [-7, -2.6, 0, 2.6, 7];
const remembered = new Map();

// Moments of f(z), z ~ N(0, q), and its Hermite coefficients a; those of f^2 and f^3 are made when asked for.
export function moments(activation, q) {
  const id = `${activation.name} ${q}`;
  const known = remembered.get(id);
  if (known) return known;
  if (remembered.size > KEPT) remembered.clear();
  const made = q > 0 ? integrate(activation, q) : atRest(activation);
  remembered.set(id, made);
  return made;
}

function integrate(activation, q) {
  if (activation.left !== undefined && q !== 1) return resized(moments(activation, 1), q);
  const rule = hermiteRule(cutsAt(activation, q)),
    root = Math.sqrt(q),
    { z, weight } = rule,
    count = z.length;
  const f = new Float64Array(count),
    d = new Float64Array(count),
    squares = new Float64Array(count);
  let second = 0,
    fourth = 0,
    dsecond = 0,
    dfourth = 0,
    slope = 0;
  for (let i = 0; i < count; i++) {
    f[i] = activation.f(root * z[i]);
    d[i] = activation.d(root * z[i]);
    const s = (squares[i] = f[i] * f[i]),
      t = d[i] * d[i];
    second += weight[i] * s;
    fourth += weight[i] * s * s;
    dsecond += weight[i] * t;
    dfourth += weight[i] * t * t;
    slope += weight[i] * z[i] * f[i] * d[i]; // d E f^2 / dq, times sqrt(q)
  }
  return {
    q,
    second,
    fourth,
    dsecond,
    dfourth,
    slope: slope / root,
    a: lazily(() => hermite(f, rule)),
    squares: lazily(() => hermite(squares, rule)),
    cubes: lazily(() =>
      hermite(
        f.map((x) => x * x * x),
        rule,
      ),
    ),
  };
}

// Moments of a function of two straight lines at q, from those at 1.
function resized(m, q) {
  const times = (a, factor) => a.map((x) => x * factor);
  return {
    ...m,
    q,
    second: m.second * q,
    fourth: m.fourth * q * q,
    a: lazily(() => times(m.a(), Math.sqrt(q))),
    squares: lazily(() => times(m.squares(), q)),
    cubes: lazily(() => times(m.cubes(), q ** 1.5)),
  };
}

function lazily(make) {
  let made = null;
  return () => (made ??= make());
}

// Moments without a signal: f(0) and nothing else.
function atRest(activation) {
  const value = activation.f(0),
    slope = activation.d(0),
    only = (x) => Float64Array.from({ length: DEGREES + 1 }, (_, k) => (k ? 0 : x));
  return {
    q: 0,
    second: value ** 2,
    fourth: value ** 4,
    dsecond: slope ** 2,
    dfourth: slope ** 4,
    slope: slope ** 2,
    a: () => only(value),
    squares: () => only(value ** 2),
    cubes: () => only(value ** 3),
  };
}

// E (f(u1) - f(u2))^2 / 2 of two N(0, q) with correlation 1 - gap: what q (1 - c) becomes, before the weights.
export function pairGap(activation, q, gap) {
  if (!(q > 0) || gap <= 0) return 0;
  if (activation.left !== undefined) return (activation.factor ?? 1) ** 2 * twoSlopesGap(activation.left, q, gap);
  if (activation.name === "sin") return sinGap(q, gap);
  const m = moments(activation, q),
    c = 1 - gap,
    a = m.a();
  const unseen = Math.max(m.second - a.reduce((sum, x) => sum + x * x, 0), 0);
  if (unseen * Math.abs(c) ** (DEGREES + 1) < GOOD * m.second)
    return hermiteGap(a, gap) + (unseen > ROUNDING * m.second ? unseen : 0);
  if (activation.name === "gelu") return geluGap(q, c);
  return integratedGap(activation, q, gap);
}

// sum a_k^2 (1 - c^k), each term without cancellation.
function hermiteGap(a, gap) {
  const c = 1 - gap,
    logarithm = Math.log1p(-gap);
  let total = 0,
    power = 1;
  for (let k = 1; k < a.length; k++) {
    power *= c;
    total += a[k] * a[k] * (gap < 0.1 ? -Math.expm1(k * logarithm) : 1 - power);
  }
  return total;
}

// pi times (gap - the gap that a ReLU makes of it): sin t - t cos t, t the angle of the two inputs.
function angleBracket(gap) {
  const t = 2 * Math.asin(Math.sqrt(0.5 * gap)),
    s = t * t;
  if (t >= 0.3) return Math.sin(t) - t * Math.cos(t);
  return t * s * (1 / 3 - s * (1 / 30 - s * (1 / 840 - s * (1 / 45360 - s / 3991680))));
}

// Linear, ReLU and leaky ReLU: Cho and Saul 2009.
function twoSlopesGap(left, q, gap) {
  return 0.5 * q * ((1 - left) ** 2 * (gap - angleBracket(gap) / Math.PI) + 2 * left * gap);
}

// exp(-q) (sinh q - sinh(q c)).
function sinGap(q, gap) {
  const middle = 0.5 * q * (2 - gap);
  return (Math.exp(middle - q) + Math.exp(-middle - q)) * Math.sinh(0.5 * q * gap);
}

// Kedia et al. 2024 (arXiv 2403.09635, appendix A).
function geluProduct(q, c) {
  const r = (q * c) / (1 + q),
    bothOpen = 0.25 + Math.asin(r) / (2 * Math.PI);
  const density = 1 / (2 * Math.PI * (1 + q) * Math.sqrt((1 - r) * (1 + r)));
  return q * c * bothOpen + q * q * density * (1 + (c * c * (1 - q)) / (1 + q));
}

const geluGap = (q, c) => Math.max(geluProduct(q, 1) - geluProduct(q, c), 0);

// The double integral itself, cut at every bend: for functions whose Hermite series converges slowly.
function integratedGap(activation, q, gap) {
  const c = 1 - gap,
    s = Math.sqrt(gap * (2 - gap)),
    root = Math.sqrt(q),
    cuts = cutsAt(activation, q);
  const sharp = activation.kinks.length ? activation.kinks : [0];
  const near = sharp.flatMap((x) => [-4, -1, 1, 4].map((step) => x / root + step * s));
  const { z, weight } = gaussianRule([...cuts, ...near], OUTER, POINTS),
    inner = new Float64Array(INNER.length + cuts.length);
  const f = fast(activation);
  let total = 0;
  for (let i = 0; i < z.length; i++) {
    if (weight[i] < NOTHING) continue;
    const count = innerEdges(inner, cuts, c * z[i], s),
      own = f(root * z[i]);
    total += weight[i] * squaredStep(f, own, root * c * z[i], root * s, inner, count);
  }
  return 0.5 * total;
}

// Edges of the panels for u2 given u1, sorted, in `inner`; returns how many.
function innerEdges(inner, cuts, centre, s) {
  let count = INNER.length;
  inner.set(INNER);
  for (const cut of cuts) {
    const y = (cut - centre) / s;
    if (!(Math.abs(y) < INNER[INNER.length - 1])) continue;
    let at = count++;
    for (; inner[at - 1] > y; at--) inner[at] = inner[at - 1];
    inner[at] = y;
  }
  return count;
}

const fine = legendre(POINTS);
const tables = new Map();
const density = tabulated(
  (y) => Math.exp(-0.5 * y * y),
  (y) => -y * Math.exp(-0.5 * y * y),
  8,
);

// The activation as integrals take it: a kink is not tabulated.
function fast(activation) {
  if (activation.kinks.length) return activation.f;
  if (!tables.has(activation.name)) tables.set(activation.name, tabulated(activation.f, activation.d, 32));
  return tables.get(activation.name);
}

// E (own - f(mean + std y))^2, y standard normal.
function squaredStep(f, own, mean, std, ends, count) {
  const { x, w } = fine;
  let total = 0;
  for (let p = 0; p + 1 < count; p++) {
    const half = 0.5 * (ends[p + 1] - ends[p]),
      middle = 0.5 * (ends[p + 1] + ends[p]);
    for (let i = 0; i < POINTS; i++) {
      const y = middle + half * x[i],
        step = own - f(mean + std * y);
      total += half * w[i] * density(y) * step * step;
    }
  }
  return total * 0.3989422804014327;
}
