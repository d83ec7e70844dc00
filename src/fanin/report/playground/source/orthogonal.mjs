// Haar orthogonal matrices from Householder reflectors drawn directly (Stewart 1980), as fanin.streams.orthogonal makes them.

// An m x n matrix with orthonormal columns, m >= n, from m n normal numbers; the lower trapezoid holds the reflectors.
function tall(normal, m, n) {
  const q = new Float64Array(m * n),
    v = new Float64Array(m),
    sums = new Float64Array(n);
  for (let k = n - 1; k >= 0; k--) {
    let square = 0;
    for (let i = k; i < m; i++) square += (v[i] = normal(i, k)) ** 2;
    const sign = v[k] < 0 ? -1 : 1,
      length = Math.sqrt(square);
    v[k] += sign * length;
    const scale = 1 / (length * (length + Math.abs(v[k] - sign * length))); // 2 / |v|^2
    q[k * n + k] = -sign;
    sums.fill(0);
    for (let i = k; i < m; i++) for (let j = k; j < n; j++) sums[j] += v[i] * q[i * n + j];
    for (let i = k; i < m; i++) for (let j = k, f = scale * v[i]; j < n; j++) q[i * n + j] -= f * sums[j];
  }
  return q;
}

// Orthonormal rows where rows <= cols, columns otherwise; float64, row by row.
export function haar(unit, rows, cols) {
  if (rows >= cols) return tall((i, k) => unit[i * cols + k], rows, cols);
  const turned = tall((i, k) => unit[k * cols + i], cols, rows),
    out = new Float64Array(rows * cols);
  for (let i = 0; i < rows; i++) for (let j = 0; j < cols; j++) out[i * cols + j] = turned[j * rows + i];
  return out;
}
