"""Makes golden.json: the numbers that theory is held against, in 30-digit arithmetic and without a line of fanin.

Run:  python tests/theory/golden_mpmath.py     (a few minutes)

Integrals are composite Gauss-Legendre sums over panels of at most half a deviation, split at kinks; derivatives are
complex steps of 1e-25; two-variable moments are Mehler series, sum a_k^2 c^k with a_k the Hermite coefficients.
"""

import itertools
import json
from pathlib import Path

import mpmath as mp

mp.mp.dps = 34
STEP = mp.mpf(10) ** -25
NODES = 24


def relu(z):
    return z if z.real > 0 else mp.mpf(0) * z


def sigmoid(z):
    return 1 / (1 + mp.exp(-z))


def gelu(z):
    return z * (1 + mp.erf(z / mp.sqrt(2))) / 2


def clip(z, lo, hi):
    return mp.mpc(lo) if z.real <= lo else mp.mpc(hi) if z.real >= hi else z


def expm1_linear(alpha, outer=1):
    return lambda z: outer * (z if z.real > 0 else alpha * (mp.exp(z) - 1))


def softplus(z):
    return mp.log(1 + mp.exp(z)) if z.real < 60 else z + mp.log(1 + mp.exp(-z))


SELU_A, SELU_S = mp.mpf("1.6732632423543772848170429916717"), mp.mpf("1.0507009873554804934193349852946")
ROOT = mp.sqrt(2 / mp.pi)

# name -> (function of a complex argument that branches on the real part, kinks)
FUNCTIONS = {
    "linear": (lambda z: z, ()),
    "relu": (relu, (0,)),
    "leaky_relu": (lambda z: z if z.real > 0 else z / 100, (0,)),
    "leaky_relu(0.2)": (lambda z: z if z.real > 0 else z / 5, (0,)),
    "relu6": (lambda z: clip(z, 0, 6), (0, 6)),
    "relu2": (lambda z: relu(z) ** 2, (0,)),
    "elu": (expm1_linear(1), (0,)),
    "selu": (expm1_linear(SELU_A, SELU_S), (0,)),
    "gelu": (gelu, ()),
    "gelu_tanh": (lambda z: z * (1 + mp.tanh(ROOT * (z + mp.mpf("0.044715") * z**3))) / 2, ()),
    "quick_gelu": (lambda z: z * sigmoid(mp.mpf("1.702") * z), ()),
    "silu": (lambda z: z * sigmoid(z), ()),
    "mish": (lambda z: z * mp.tanh(softplus(z)), ()),
    "sigmoid": (sigmoid, ()),
    "tanh": (mp.tanh, ()),
    "hardtanh": (lambda z: clip(z, -1, 1), (-1, 1)),
    "hardsigmoid": (lambda z: clip(z / 6 + mp.mpf(1) / 2, 0, 1), (-3, 3)),
    "hardswish": (lambda z: z * clip(z / 6 + mp.mpf(1) / 2, 0, 1), (-3, 3)),
    "softplus": (softplus, ()),
    "softsign": (lambda z: z / (1 + z) if z.real > 0 else z / (1 - z), (0,)),
    "softshrink": (
        lambda z: z - mp.mpf(1) / 2 if z.real > 0.5 else z + mp.mpf(1) / 2 if z.real < -0.5 else 0 * z,
        (-0.5, 0.5),
    ),
    "hardshrink": (lambda z: z if abs(z.real) > 0.5 else 0 * z, (-0.5, 0.5)),
    "tanhshrink": (lambda z: z - mp.tanh(z), ()),
    "erf": (mp.erf, ()),
    "sin": (mp.sin, ()),
    "arctan": (mp.atan, ()),
}
TABLE = (
    "linear", "relu", "leaky_relu", "leaky_relu(0.2)", "tanh", "erf", "gelu", "silu", "mish", "elu", "selu", "sigmoid",
    "softplus", "softsign", "hardtanh", "sin", "hardswish", "relu2",
)  # fmt: skip
QS = ("0.001", "0.01", "0.1", "1", "10", "100")


def legendre(n, x):
    """P_n and its derivative."""
    before, here = mp.mpf(1), x
    for k in range(1, n):
        before, here = here, ((2 * k + 1) * x * here - k * before) / (k + 1)
    return here, n * (x * here - before) / (x * x - 1)


def gauss_legendre(n):
    nodes = []
    for i in range(1, n + 1):
        x = mp.cos(mp.pi * (i - mp.mpf(1) / 4) / (n + mp.mpf(1) / 2))
        for _ in range(8):
            value, slope = legendre(n, x)
            x -= value / slope
        nodes.append((x, 2 / ((1 - x * x) * legendre(n, x)[1] ** 2)))
    return nodes


RULE = gauss_legendre(NODES)


def grid(q, kinks, cut=13):
    """(z, weight with the density of N(0, q)) over the line."""
    std = mp.sqrt(mp.mpf(q))
    edges = {std * k / 2 for k in range(-2 * cut, 2 * cut + 1)} | {mp.mpf(k) for k in kinks}
    edges |= {mp.mpf(k) / 2 for k in range(-24, 25)}
    edges = sorted(e for e in edges if abs(e) <= cut * std)
    points = []
    for lo, hi in itertools.pairwise(edges):
        for x, w in RULE:
            z = (hi + lo) / 2 + (hi - lo) / 2 * x
            points.append((z, (hi - lo) / 2 * w * mp.exp(-z * z / (2 * mp.mpf(q))) / (std * mp.sqrt(2 * mp.pi))))
    return points


def moments(f, kinks, q):
    total = [mp.mpf(0)] * 8
    for z, w in grid(q, kinks):
        value = mp.mpc(f(mp.mpc(z, STEP)))
        y, d = value.real, value.imag / STEP
        for i, part in enumerate((y, y * y, y**4, d, d * d, d**4, y * d, z * y * d / mp.mpf(q))):
            total[i] += w * part
    names = ("mean", "second", "fourth", "dmean", "dsecond", "dfourth", "ffprime", "second_slope")
    result = dict(zip(names, total, strict=True))
    result["var"] = result["second"] - result["mean"] ** 2
    return result


def hermite_squares(f, kinks, q, terms):
    """a_k^2, a_k = E f(sqrt(q) z) He_k(z) / sqrt(k!)."""
    std = mp.sqrt(mp.mpf(q))
    sums = [mp.mpf(0)] * terms
    for z, w in grid(q, kinks):
        x = z / std
        wf = w * mp.mpc(f(mp.mpc(z, 0))).real
        before, here = mp.mpf(0), mp.mpf(1)
        for k in range(terms):
            sums[k] += wf * here
            before, here = here, (x * here - mp.sqrt(k) * before) / mp.sqrt(k + 1)
    return [a * a for a in sums]


def product(squares, c):
    return mp.fsum(a * c**k for k, a in enumerate(squares))


def product_slope(squares, c):
    return mp.fsum(k * a * c ** (k - 1) for k, a in enumerate(squares) if k)


def fast_pair(name, q):
    """E f^2 and E f'^2 only."""
    f, kinks = FUNCTIONS[name]
    m = moments(f, kinks, q)
    return m["second"], m["dsecond"]


def critical(name, sigma_b2, guess):
    def gap(q):
        second, dsecond = fast_pair(name, q)
        return q - second / dsecond - mp.mpf(sigma_b2)

    q = mp.findroot(gap, (guess, guess * mp.mpf("1.01")), solver="secant", tol=1e-24)
    return {"sigma_w2": 1 / fast_pair(name, q)[1], "q_star": q}


def fixed_q(name, sigma_w2, sigma_b2, guess):
    def drift(q):
        return mp.mpf(sigma_w2) * fast_pair(name, q)[0] + mp.mpf(sigma_b2) - q

    return mp.findroot(drift, (guess, guess * mp.mpf("1.01")), solver="secant", tol=1e-24)


def tanh_scales(sigma_w2, guess):
    w, b = mp.mpf(sigma_w2), mp.mpf("0.05")
    q = fixed_q("tanh", w, b, guess)
    chi = w * fast_pair("tanh", q)[1]
    if chi < 1:
        return {"q_star": q, "chi_1": chi, "c_star": mp.mpf(1), "xi_c": -1 / mp.log(chi)}
    squares = hermite_squares(mp.tanh, (), q, 160)
    c = mp.findroot(lambda t: (w * product(squares, t) + b) / q - t, (mp.mpf("0.3"), mp.mpf("0.31")), solver="secant")
    return {"q_star": q, "chi_1": chi, "c_star": c, "xi_c": -1 / mp.log(w * product_slope(squares, c) / q)}


def relu_c(layers):
    c, found = mp.mpf(0), {}
    for layer in range(1, layers + 1):
        c = (mp.sqrt(1 - c * c) + c * (mp.pi - mp.acos(c))) / mp.pi
        if layer in (1, 2, 5, 10, 20, 50, 100):
            found[str(layer)] = c
    return found


def largest(count):
    """First and second moment of the largest of `count` standard normals."""
    first = second = mp.mpf(0)
    for z, w in grid(1, ()):
        share = count * w * (mp.erfc(-z / mp.sqrt(2)) / 2) ** (count - 1)
        first, second = first + share * z, second + share * z * z
    return {"mean": first, "second": second}


def text(value):
    if isinstance(value, dict):
        return {k: text(v) for k, v in value.items()}
    return mp.nstr(mp.re(value), 20, min_fixed=-3, max_fixed=5)


def main():
    tanh = {"0.00001": 0.02, "0.0001": 0.045, "0.001": 0.107, "0.01": 0.273, "0.02": 0.371, "0.05": 0.57}
    critical_guesses = {
        "tanh": tanh | {"0.1": 0.8, "0.2": 1.16},
        "erf": {"0.01": 0.25, "0.05": 0.517, "0.1": 0.7},
        "hardtanh": {"0.05": 0.46},
    }
    q_guesses = {"1.0": 0.19, "1.3": 0.315, "1.5": 0.418, "1.7": 0.533, "1.8": 0.594}
    q_guesses |= {"2.0": 0.72, "2.5": 1.06, "3.0": 1.43, "4.0": 2.2}
    mehler = {"tanh": 120, "gelu": 100, "silu": 100, "sigmoid": 100, "softplus": 100, "erf": 100}
    mehler |= {"hardtanh": 130, "relu": 130, "elu": 130, "relu2": 130}
    correlations = {True: ("-0.9", "-0.3", "0", "0.5", "0.9"), False: ("-0.5", "-0.3", "0", "0.3", "0.5")}
    golden = {
        "moments": {n: {q: moments(f, k, mp.mpf(q)) for q in QS} for n, (f, k) in FUNCTIONS.items()},
        "table": list(TABLE),
        "critical": {n: {b: critical(n, b, mp.mpf(g)) for b, g in gs.items()} for n, gs in critical_guesses.items()},
        "tanh_scales": {w: tanh_scales(w, mp.mpf(g)) for w, g in q_guesses.items()},
        "relu_c": relu_c(100),
        "max_pool": {str(k): largest(k) for k in (1, 2, 3, 4, 9, 16)},
        "bivariate": {},
    }
    for name, terms in mehler.items():
        f, kinks = FUNCTIONS[name]
        squares = hermite_squares(f, kinks, mp.mpf(1), terms)
        golden["bivariate"][name] = {
            c: {"product": product(squares, mp.mpf(c)), "slope": product_slope(squares, mp.mpf(c))}
            for c in correlations[not kinks]
        }
    golden = {k: v if k == "table" else text(v) for k, v in golden.items()}
    Path(__file__).with_name("golden.json").write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
