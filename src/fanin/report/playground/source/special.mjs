// The error function and what is made of it, to one or two units in the last place.
// Source: the rational approximations of fdlibm's s_erf.c (Sun Microsystems, 1993).

const SMALL_TOP = [
  1.28379167095512558561e-1, -3.2504210724700149937e-1, -2.84817495755985104766e-2, -5.77027029648944159157e-3,
  -2.37630166566501626084e-5,
];
const SMALL_LOW = [
  1, 3.97917223959155352819e-1, 6.50222499887672944485e-2, 5.08130628187576562776e-3, 1.32494738004321644526e-4,
  -3.9602282787753681232e-6,
];
const NEAR_ONE = 8.45062911510467529297e-1;
const MID_TOP = [
  -2.36211856075265944077e-3, 4.14856118683748331666e-1, -3.72207876035701323847e-1, 3.18346619901161753674e-1,
  -1.10894694282396677476e-1, 3.54783043256182359371e-2, -2.166375594868790843e-3,
];
const MID_LOW = [
  1, 1.06420880400844228286e-1, 5.40397917702171048937e-1, 7.18286544141962662868e-2, 1.26171219808761642112e-1,
  1.36370839120290507362e-2, 1.1984499846799107417e-2,
];
const FAR_TOP = [
  -9.86494403484714822705e-3, -6.93858572707181764372e-1, -1.05586262253232909814e1, -6.23753324503260060396e1,
  -1.62396669462573470355e2, -1.84605092906711035994e2, -8.12874355063065934246e1, -9.81432934416914548592,
];
const FAR_LOW = [
  1, 1.96512716674392571292e1, 1.376577541435190426e2, 4.34565877475229228821e2, 6.45387271733267880336e2,
  4.29008140027567833386e2, 1.08635005541779435134e2, 6.57024977031928170135, -6.04244152148580987438e-2,
];
const TAIL_TOP = [
  -9.86494292470009928597e-3, -7.99283237680523006574e-1, -1.77579549177547519889e1, -1.60636384855821916062e2,
  -6.37566443368389627722e2, -1.02509513161107724954e3, -4.83519191608651397019e2,
];
const TAIL_LOW = [
  1, 3.03380607434824582924e1, 3.25792512996573918826e2, 1.53672958608443695994e3, 3.19985821950859553908e3,
  2.55305040643316442583e3, 4.74528541206955367215e2, -2.24409524465858183362e1,
];

function polynomial(coefficients, x) {
  let total = 0;
  for (let i = coefficients.length - 1; i >= 0; i--) total = total * x + coefficients[i];
  return total;
}

// erfc(x) for x >= 1.25.
function tail(x) {
  const s = 1 / (x * x),
    far = x < 1 / 0.35;
  const ratio = far
    ? polynomial(FAR_TOP, s) / polynomial(FAR_LOW, s)
    : polynomial(TAIL_TOP, s) / polynomial(TAIL_LOW, s);
  const z = Math.fround(x);
  return (Math.exp(-z * z - 0.5625) * Math.exp((z - x) * (z + x) + ratio)) / x;
}

// (2 / sqrt(pi)) times the integral of exp(-t^2) from 0 to x.
export function erf(x) {
  const a = Math.abs(x),
    sign = x < 0 ? -1 : 1;
  if (a < 0.84375) return x + (x * polynomial(SMALL_TOP, x * x)) / polynomial(SMALL_LOW, x * x);
  if (a < 1.25) return sign * (NEAR_ONE + polynomial(MID_TOP, a - 1) / polynomial(MID_LOW, a - 1));
  return a > 6 ? sign : sign * (1 - tail(a));
}

// 1 - erf(x), exact also where it is tiny.
export function erfc(x) {
  if (x < 1.25) return 1 - erf(x);
  return x > 27 ? 0 : tail(x);
}

// P(g < x) of a standard normal number g.
export const normalCdf = (x) => 0.5 * erfc(-x * Math.SQRT1_2);

// Density of a standard normal number.
export const normalPdf = (x) => Math.exp(-0.5 * x * x) * 0.3989422804014327;

export const logistic = (x) => (x >= 0 ? 1 / (1 + Math.exp(-x)) : Math.exp(x) / (1 + Math.exp(x)));

export const softplus = (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));

// A smooth function from a table of its values and slopes on (-reach, reach), by cubic pieces: within 1e-9, and fast.
export function tabulated(f, d, reach) {
  const step = 1 / 64,
    size = Math.round(reach / step),
    values = new Float64Array(2 * size + 1),
    slopes = new Float64Array(2 * size + 1);
  for (let i = 0; i < values.length; i++) {
    values[i] = f((i - size) * step);
    slopes[i] = step * d((i - size) * step);
  }
  return (x) => {
    const place = x / step + size,
      i = Math.floor(place);
    if (!(i >= 0 && i < 2 * size)) return f(x);
    const t = place - i,
      v = values[i],
      rise = values[i + 1] - v,
      a = slopes[i],
      b = slopes[i + 1];
    return v + t * (a + t * (3 * rise - 2 * a - b + t * (a + b - 2 * rise)));
  };
}
