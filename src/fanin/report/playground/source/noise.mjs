// First-order noise of a layer of finite width, for two inputs: what its units add to (q1, q2, q12), and what they pass on.

// sum over k of first[k] second[k] c^k.
const series = (first, second, c) => {
  let total = 0,
    power = 1;
  for (let k = 0; k < first.length; k++, power *= c) total += first[k] * second[k] * power;
  return total;
};

// First-order noise of a layer: how E f1^2, E f2^2 and E f1 f2 follow (q1, q2, q12), and the covariance of
// (f1^2, f2^2, f1 f2) that does not come from those three (nor from the means, where a norm removes them).
export function pairNoise(m, c, { centred }) {
  const { q } = m,
    a = m.a(),
    squares = m.squares(),
    across = derivative(a, c) / q,
    own = curvature(a, c) / (2 * q);
  const along = (derivative(a, 1) + curvature(a, 1)) / q;
  const jacobian = [
    [along, 0, 0],
    [0, along, 0],
    [own, own, across],
  ];
  const product = series(a, a, c),
    second = series(a, a, 1);
  const v = series(squares, squares, 1) - second ** 2,
    w = series(squares, squares, c) - second ** 2;
  const x = series(m.cubes(), a, c) - second * product,
    y = series(squares, squares, c) - product ** 2;
  const explained = through(jacobian, gaussianPair(q, c));
  const means = centred
    ? ofMeans(a, squares, c)
    : [
        [0, 0, 0],
        [0, 0, 0],
        [0, 0, 0],
      ];
  const noise = [
    [v, w, x],
    [w, v, x],
    [x, x, y],
  ].map((row, i) => row.map((value, j) => value - explained[i][j] - means[i][j]));
  return { jacobian, noise };
}

// sum k a_k^2 c^(k-1), which is q E f'(u1) f'(u2).
function derivative(a, c) {
  let total = 0,
    power = 1;
  for (let k = 1; k < a.length; k++, power *= c) total += k * a[k] * a[k] * power;
  return total;
}

// q E f''(u1) f(u2).
function curvature(a, c) {
  let total = 0,
    power = 1;
  for (let k = 0; k + 2 < a.length; k++, power *= c) total += Math.sqrt((k + 1) * (k + 2)) * a[k + 2] * a[k] * power;
  return total;
}

// The part of the covariance that comes from the means of the two pre-activations.
function ofMeans(a, squares, c) {
  let mixed = 0,
    power = 1;
  for (let k = 0; k + 1 < a.length; k++, power *= c) mixed += Math.sqrt(k + 1) * a[k + 1] * a[k] * power;
  const b = squares[1],
    rows = [
      [b, 0],
      [0, b],
      [mixed, mixed],
    ];
  const between = [
    [1, c],
    [c, 1],
  ];
  return rows.map((left) =>
    rows.map((right) => left.reduce((sum, x, i) => sum + x * right.reduce((t, y, j) => t + between[i][j] * y, 0), 0)),
  );
}

// Covariance of (h1^2, h2^2, h1 h2) of a Gaussian pair.
export function gaussianPair(q, c) {
  return [
    [2, 2 * c * c, 2 * c],
    [2 * c * c, 2, 2 * c],
    [2 * c, 2 * c, 1 + c * c],
  ].map((row) => row.map((x) => x * q * q));
}

// A M A'.
export function through(a, m) {
  return a.map((left) =>
    a.map((right) => left.reduce((sum, x, i) => sum + x * right.reduce((t, y, j) => t + m[i][j] * y, 0), 0)),
  );
}
