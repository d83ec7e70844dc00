// Integrals over a standard normal number z: Gauss-Legendre panels, cut where the activation bends, and Hermite coefficients.

const NODES = 20; // of one panel
const EDGE = 9; // P(|z| > 9) = 2e-19
const PANELS = [-EDGE, -6.2, -4.4, -2.8, -1.3, 0, 1.3, 2.8, 4.4, 6.2, EDGE]; // ten panels: 200 nodes
const WIDE = 2; // standard deviation from which bends are cut
export const DEGREES = 90; // Hermite coefficients kept

const rules = new Map();

// Nodes and weights of Gauss and Legendre on (-1, 1), by Newton's method.
export function legendre(n) {
  if (rules.has(n)) return rules.get(n);
  const x = new Float64Array(n), w = new Float64Array(n);
  for (let i = 0; i < n; i++) {
    let z = Math.cos((Math.PI * (i + 0.75)) / (n + 0.5)), slope = 1;
    for (let step = 0; step < 50; step++) {
      let p = 1, before = 0;
      for (let k = 0; k < n; k++) [p, before] = [((2 * k + 1) * z * p - k * before) / (k + 1), p];
      slope = (n * (z * p - before)) / (z * z - 1);
      const move = p / slope;
      z -= move;
      if (Math.abs(move) < 1e-15) break;
    }
    x[i] = z;
    w[i] = 2 / ((1 - z * z) * slope * slope);
  }
  rules.set(n, { x, w });
  return rules.get(n);
}

// Edges of panels: the given ones and the cuts that lie among them, in order.
export function edges(given, cuts) {
  const low = given[0], high = given[given.length - 1];
  const all = [...given, ...cuts.filter((c) => c > low && c < high)].sort((a, b) => a - b);
  return all.filter((e, i) => i === 0 || e > all[i - 1]);
}

// Nodes z and weights of E g(z), z standard normal, with `points` nodes between each two edges.
export function gaussianRule(cutsInZ, given = PANELS, points = NODES) {
  const ends = edges(given, cutsInZ), { x, w } = legendre(points);
  const z = new Float64Array((ends.length - 1) * points), weight = new Float64Array(z.length);
  for (let p = 0, at = 0; p + 1 < ends.length; p++) {
    const half = 0.5 * (ends[p + 1] - ends[p]), middle = 0.5 * (ends[p + 1] + ends[p]);
    for (let i = 0; i < points; i++, at++) {
      z[at] = middle + half * x[i];
      weight[at] = half * w[i] * Math.exp(-0.5 * z[at] * z[at]) * 0.3989422804014327;
    }
  }
  return { z, weight };
}

// Where the cuts of an activation lie for z, when its input is N(0, q): kinks always, bends where a panel would span several.
export function cutsAt({ kinks, bends }, q) {
  const scale = Math.sqrt(q), points = scale > WIDE ? [...kinks, ...bends] : kinks;
  return points.map((x) => x / scale);
}

const ROOTS = Float64Array.from({ length: DEGREES + 2 }, (_, k) => Math.sqrt(k));
const bases = new Map();

// A rule of 200 nodes and more.
export function hermiteRule(cutsInZ) {
  const inside = cutsInZ.filter((c) => Math.abs(c) < EDGE && c !== 0), id = inside.join(" ");
  if (!bases.has(id)) {
    if (bases.size > 100) bases.clear();
    bases.set(id, gaussianRule(inside));
  }
  return bases.get(id);
}

// weight h_k(z) at every node of a rule, h_k the normalised Hermite polynomials; made once.
function basisOf(rule) {
  if (rule.basis) return rule.basis;
  const { z, weight } = rule, size = DEGREES + 1, basis = new Float64Array(z.length * size);
  for (let i = 0; i < z.length; i++) {
    let h = weight[i], before = 0;
    for (let k = 0; k < size; k++) {
      basis[i * size + k] = h;
      const next = (z[i] * h - ROOTS[k] * before) / ROOTS[k + 1];
      before = h;
      h = next;
    }
  }
  return (rule.basis = basis);
}

// Hermite coefficients of g, given at the nodes: a_k = E g(z) h_k(z), k = 0 .. DEGREES.
export function hermite(values, rule) {
  const basis = basisOf(rule), size = DEGREES + 1, a = new Float64Array(size);
  for (let i = 0; i < values.length; i++) {
    const v = values[i], from = i * size;
    for (let k = 0; k < size; k++) a[k] += v * basis[from + k];
  }
  return a;
}
