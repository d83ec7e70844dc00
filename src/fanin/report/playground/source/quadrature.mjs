// Integrals over a standard normal number z: Gauss-Legendre panels, cut where the activation bends, and Hermite coefficients.

const NODES = 20; // of one panel
const FEW = 8; // of a narrow one
const NARROW = 0.25; // its half width, at most
const EDGE = 9; // P(|z| > 9) = 2e-19
const PANELS = [-EDGE, -6.2, -4.4, -2.8, -1.3, 0, 1.3, 2.8, 4.4, 6.2, EDGE]; // ten panels: 200 nodes
const WIDE = 2; // standard deviation from which bends are cut
export const DEGREES = 90; // Hermite coefficients kept

const rules = new Map();

// Nodes and weights of Gauss and Legendre on (-1, 1), by Newton's method.
export function legendre(n) {
  if (rules.has(n)) return rules.get(n);
  const x = new Float64Array(n),
    w = new Float64Array(n);
  for (let i = 0; i < n; i++) {
    let z = Math.cos((Math.PI * (i + 0.75)) / (n + 0.5)),
      slope = 1;
    for (let step = 0; step < 50; step++) {
      let p = 1,
        before = 0;
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
  const low = given[0],
    high = given[given.length - 1];
  const all = [...given, ...cuts.filter((c) => c > low && c < high)].sort((a, b) => a - b);
  return all.filter((e, i) => i === 0 || e > all[i - 1]);
}

// Nodes z and weights of E g(z), z standard normal, with `points` nodes between each two edges, fewer where they are close.
export function gaussianRule(cutsInZ, given = PANELS, points = NODES) {
  const ends = edges(given, cutsInZ),
    z = [],
    weight = [];
  for (let p = 0; p + 1 < ends.length; p++) {
    const half = 0.5 * (ends[p + 1] - ends[p]),
      middle = 0.5 * (ends[p + 1] + ends[p]),
      { x, w } = legendre(half < NARROW ? FEW : points);
    for (let i = 0; i < x.length; i++) {
      const at = middle + half * x[i];
      z.push(at);
      weight.push(half * w[i] * Math.exp(-0.5 * at * at) * 0.3989422804014327);
    }
  }
  return { z: Float64Array.from(z), weight: Float64Array.from(weight) };
}

// Where the cuts of an activation lie for z, when its input is N(0, q): kinks always, bends where a panel would span several.
export function cutsAt({ kinks, bends }, q) {
  const scale = Math.sqrt(q),
    points = scale > WIDE ? [...kinks, ...bends] : kinks;
  return points.map((x) => x / scale);
}

const ROOTS = Float64Array.from({ length: DEGREES + 2 }, (_, k) => Math.sqrt(k));
const bases = new Map();

// A rule of 200 nodes and more.
export function hermiteRule(cutsInZ) {
  const inside = cutsInZ.filter((c) => Math.abs(c) < EDGE && c !== 0),
    id = inside.join(" ");
  if (!bases.has(id)) {
    if (bases.size > 100) bases.clear();
    bases.set(id, gaussianRule(inside));
  }
  return bases.get(id);
}

// weight h_k(z) at every node of a rule, degree after degree, h_k the normalised Hermite polynomials; made once.
function basisOf(rule) {
  if (rule.basis) return rule.basis;
  const { z, weight } = rule,
    count = z.length,
    basis = new Float64Array(count * (DEGREES + 1));
  basis.set(weight);
  for (let i = 0; i < count; i++) basis[count + i] = z[i] * weight[i];
  for (let k = 1; k < DEGREES; k++) {
    const at = k * count,
      before = at - count,
      next = at + count;
    for (let i = 0; i < count; i++)
      basis[next + i] = (z[i] * basis[at + i] - ROOTS[k] * basis[before + i]) / ROOTS[k + 1];
  }
  return (rule.basis = basis);
}

// Hermite coefficients of g, given at the nodes: a_k = E g(z) h_k(z), k = 0 .. DEGREES.
export function hermite(values, rule) {
  const basis = basisOf(rule),
    count = values.length,
    a = new Float64Array(DEGREES + 1);
  for (let k = 0; k <= DEGREES; k++) {
    let even = 0,
      odd = 0;
    const from = k * count;
    for (let i = 0; i + 1 < count; i += 2) {
      even += values[i] * basis[from + i];
      odd += values[i + 1] * basis[from + i + 1];
    }
    a[k] = even + odd;
  }
  return a;
}
