// How numbers are written for readers.

const POWERS = "⁰¹²³⁴⁵⁶⁷⁸⁹";

export const raised = (power) =>
  (power < 0 ? "⁻" : "") + [...String(Math.abs(power))].map((digit) => POWERS[digit]).join("");

// Three figures at most; powers of ten where it is very large or small.
export function figure(x) {
  if (!Number.isFinite(x)) return Number.isNaN(x) ? "not a number" : x > 0 ? "∞" : "−∞";
  const size = Math.abs(x),
    sign = x < 0 ? "−" : "";
  if (size === 0) return "0";
  if (size >= 1e-3 && size < 1e4) return sign + String(Number(size.toPrecision(3)));
  const power = Math.floor(Math.log10(size)),
    lead = Number((size / 10 ** power).toPrecision(2));
  return (
    sign + (lead >= 10 ? `10${raised(power + 1)}` : lead === 1 ? `10${raised(power)}` : `${lead}·10${raised(power)}`)
  );
}

export const percent = (share) => `${(100 * share).toFixed(share > 0.995 && share < 1 ? 1 : 0)} %`;

// Decades that label a logarithmic axis: at most `most`, evenly apart, none twice.
export function decades(low, high, most = 6) {
  const first = Math.ceil(low - 1e-9),
    last = Math.floor(high + 1e-9),
    step = Math.max(1, Math.ceil((last - first) / (most - 1)));
  const found = [];
  for (let power = Math.ceil(first / step) * step; power <= last; power += step) found.push(power);
  return found;
}

// Labels 1, 5, 10, ... of layers.
export function layerTicks(depth, most = 7) {
  const step = [1, 2, 5, 10, 20].find((s) => depth / s <= most) ?? 20,
    found = [1];
  for (let layer = step === 1 ? 2 : step; layer <= depth; layer += step) if (layer > 1) found.push(layer);
  return found;
}
