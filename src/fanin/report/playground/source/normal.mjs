// Unit numbers of words, bit for bit those of fanin.streams.reference: every operation is rounded to float32 by itself.

const f = Math.fround;
// Coefficients of the inverse normal distribution function, exact float32 numbers, constant term first.
const LOG2 = [
  1.442699670791626, -0.7213758826255798, 0.48046502470970154, -0.3589618504047394, 0.29726263880729675,
  -0.2726978659629822, 0.17063423991203308,
];
const NUMERATOR = [
  1.2533141374588013, 0.3101317584514618, 0.043717291206121445, 0.004169550258666277, 0.000262591551290825,
  9.483615940553136e-6, 2.1170571073980682e-8,
];
const DENOMINATOR = [
  1.0, 0.06598364561796188, 0.01664692908525467, 0.0007695810636505485, 5.7316272432217374e-5, 5.97474638652784e-7,
];

const bits = new Int32Array(1);
const real = new Float32Array(bits.buffer);

function horner(coefficients, x) {
  let total = coefficients[coefficients.length - 1];
  for (let i = coefficients.length - 2; i >= 0; i--) total = f(f(total * x) + coefficients[i]);
  return total;
}

// Phi^-1((word + 1/2) / 2^32) in float32.
function normalOf(word) {
  const signed = word | 0;
  const magnitude = signed ^ (signed >> 31);
  const a = f(f(f(magnitude) + 0.5) * 2 ** -31);
  const b = f(f(f(magnitude ^ 0x7fffffff) + 0.5) * 2 ** -31);
  real[0] = f(a * f(b + 1)); // 4 p (1 - p), where p is the smaller tail
  const y = bits[0];
  const exponent = (y - 0x3f3504f3) >> 23;
  bits[0] = y - (exponent << 23);
  const fraction = f(real[0] - 1);
  const w = -f(f(exponent) + f(fraction * horner(LOG2, fraction)));
  const z = f(b * f(horner(NUMERATOR, w) / horner(DENOMINATOR, w)));
  return signed < 0 ? z : -z;
}

// Standard normal numbers of words.
export function normals(words) {
  const out = new Float32Array(words.length);
  for (let i = 0; i < out.length; i++) out[i] = normalOf(words[i]);
  return out;
}

// Uniform numbers in (-1, 1) of words.
export function uniforms(words) {
  const out = new Float32Array(words.length);
  for (let i = 0; i < out.length; i++) out[i] = f(f(f((words[i] ^ 0x80000000) >> 8) + 0.5) * 2 ** -23);
  return out;
}

// value = unit * width + 0, rounded to float32 once: what a law of that width makes of unit numbers.
export function scaledBy(unit, width) {
  const out = new Float32Array(unit.length),
    w = f(width);
  for (let i = 0; i < out.length; i++) out[i] = unit[i] * w;
  return out;
}
