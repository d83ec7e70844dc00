"""Gaussian moments against 30-digit golden numbers, Monte Carlo and identities."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from fanin.theory import activation, activation_names, gain, gaussian_moments, kappa
from fanin.theory.closed_forms import CLOSED_MOMENTS
from fanin.theory.moments import _by_quadrature
from tests.selection import few

GOLDEN = json.loads(Path(__file__).with_name("golden.json").read_text())
FIELDS = ("mean", "second", "var", "fourth", "dmean", "dsecond", "dfourth", "ffprime", "second_slope")
# an odd function's mean is exactly 0: errors are relative to the size of the integrand, E |f| <= sqrt(E f^2)
SIZE = {
    "mean": lambda g: math.sqrt(g["second"]),
    "dmean": lambda g: math.sqrt(g["dsecond"]),
    "ffprime": lambda g: math.sqrt(g["second"] * g["dsecond"]),
    "second_slope": lambda g: max(abs(g["second_slope"]), g["dsecond"]),
}


def golden(name, q):
    return {k: float(v) for k, v in GOLDEN["moments"][name][q].items()}


def assert_accurate(m, want, rtol, skip=()):
    for field in FIELDS:
        if field in skip:
            continue
        size = SIZE.get(field, lambda g, field=field: abs(g[field]))(want)
        assert abs(getattr(m, field) - want[field]) <= rtol * size, (
            f"{field}: {getattr(m, field)!r}, want {want[field]!r}"
        )


def test_the_comparison_can_fail():
    want = golden("tanh", "1")
    with pytest.raises(AssertionError, match="second"):
        assert_accurate(gaussian_moments("tanh", q=1.0 + 1e-8), {**want, "mean": 0.0}, 1e-10)


@pytest.mark.parametrize("q", GOLDEN["moments"]["tanh"])
@pytest.mark.parametrize("name", GOLDEN["moments"])
def test_known_activations_reach_1e_10(name, q):
    assert_accurate(gaussian_moments(name, q=float(q)), golden(name, q), 1e-10)


@pytest.mark.parametrize("q", few(GOLDEN["moments"]["tanh"], every=2))
@pytest.mark.parametrize("name", GOLDEN["moments"])
def test_callables_nothing_is_known_of_reach_1e_10(name, q):
    fn = activation(name).fn
    want = golden(name, q)
    # a variance 1e-3 deep inside a function's constant part keeps fewer digits of the slope: rounding of f itself
    assert_accurate(gaussian_moments(lambda x: fn(x), q=float(q)), want, 1e-10)


@pytest.mark.parametrize("name", GOLDEN["moments"])
def test_the_error_estimate_is_honest(name):
    for q in ("0.01", "1", "100"):
        m = gaussian_moments(name, q=float(q))
        want = golden(name, q)
        scale = max(abs(want[f]) for f in FIELDS)
        assert all(abs(getattr(m, f) - want[f]) <= 1e-13 * scale + 100.0 * m.error for f in FIELDS)


@pytest.mark.parametrize("name", sorted(CLOSED_MOMENTS))
@pytest.mark.parametrize("q", [1e-3, 0.3, 1.0, 7.0])
def test_closed_forms_meet_quadrature(name, q):
    if name == "exp" and q > 1.0:
        q = 1.5  # E exp(4 z) = e^(8 q)
    act = activation(name)
    closed = gaussian_moments(act, q=q)
    by_nodes = _by_quadrature(act, 0.0, q, act.kinks)
    want = {f: getattr(by_nodes, f) for f in FIELDS}
    assert_accurate(closed, want, 2e-12)


@pytest.mark.parametrize("name", ["relu", "tanh", "gelu", "silu", "softplus", "hardtanh", "selu"])
@pytest.mark.parametrize("mean", [-1.3, 0.4])
def test_a_mean_shifts_the_function(name, mean):
    act = activation(name)
    shifted = gaussian_moments(lambda x: act.fn(x + mean), q=0.8)
    direct = gaussian_moments(act, mean=mean, q=0.8)
    for field in ("mean", "second", "var", "dsecond", "ffprime", "second_slope"):
        assert getattr(direct, field) == pytest.approx(getattr(shifted, field), rel=1e-10, abs=1e-13)


@pytest.mark.parametrize("name", activation_names())
def test_identities(name):
    m = gaussian_moments(name, q=0.7)
    assert m.var == pytest.approx(m.second - m.mean**2, rel=1e-9, abs=1e-12)
    assert m.kappa >= -1e-12
    jumps = {"hardshrink"}
    if name not in jumps:  # Stein: d/dq E f^2 by difference
        h = 1e-4
        difference = (gaussian_moments(name, q=0.7 + h).second - gaussian_moments(name, q=0.7 - h).second) / (2 * h)
        assert m.second_slope == pytest.approx(difference, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("name", ["relu", "gelu", "tanh", "hardswish", "hardshrink", "mish"])
@pytest.mark.parametrize("seed", range(3))
def test_monte_carlo_agrees(name, seed):
    act = activation(name)
    z = math.sqrt(1.7) * np.random.default_rng(seed).standard_normal(200_000)
    m = gaussian_moments(act, q=1.7)
    for values, want in ((act.fn(z) ** 2, m.second), (act.derivative(z) ** 2, m.dsecond), (act.fn(z), m.mean)):
        assert abs(values.mean() - want) < 5.0 * values.std() / math.sqrt(z.size)


def test_monte_carlo_sees_three_per_cent():
    z = 1.03 * math.sqrt(1.7) * np.random.default_rng(0).standard_normal(200_000)
    values = activation("gelu").fn(z) ** 2
    assert abs(values.mean() - gaussian_moments("gelu", q=1.7).second) > 5.0 * values.std() / math.sqrt(z.size)


# as printed in the field, 1e-5: forward gain, backward gain, kappa to its printed digits
PRINTED = {
    "linear": (1.0, 1.0, 2),
    "relu": (1.414214, 1.414214, 5),
    "leaky_relu": (1.414143, 1.414143, 4.999),
    "leaky_relu(0.2)": (1.386750, 1.386750, 4.556),
    "tanh": (1.592537, 1.467414, 0.627),
    "erf": (1.467167, 1.325218, 0.560),
    "gelu": (1.533530, 1.481114, 6.216),
    "silu": (1.676532, 1.623320, 6.262),
    "mish": (1.486848, 1.444755, 5.349),
    "elu": (1.245198, 1.223429, 2.776),
    "selu": (1.0, 0.966026, 1.503),
    "sigmoid": (1.846229, 4.722646, 0.529),
    "softplus": (1.041867, 1.846229, 1.754),
    "softsign": (2.337533, 2.095781, 0.588),
    "sin": (1.520867, 1.327251, 0.645),
    "relu2": (0.816497, 0.707107, 22.33),
}


@pytest.mark.parametrize("name", GOLDEN["table"])
def test_the_gain_table(name):
    want = golden(name, "1")
    forward, backward = gain(name), gain(name, direction="backward")
    assert forward == pytest.approx(want["second"] ** -0.5, rel=1e-10)
    assert backward == pytest.approx(want["dsecond"] ** -0.5, rel=1e-10)
    assert gain(name, direction="mean") == pytest.approx((0.5 * (want["second"] + want["dsecond"])) ** -0.5, rel=1e-10)
    assert gain(name, centred=True) == pytest.approx(want["var"] ** -0.5, rel=1e-10)
    if name in PRINTED:
        assert (forward, backward) == pytest.approx(PRINTED[name][:2], abs=1e-5)
        assert kappa(name) == pytest.approx(PRINTED[name][2], abs=6e-4 if PRINTED[name][2] < 20 else 6e-3)


def test_hardtanh_has_the_exact_slope():
    # P(|z| < 1); a rule whose nodes ignore the kink gives 0.677458
    assert gaussian_moments("hardtanh").dsecond == pytest.approx(math.erf(math.sqrt(0.5)), rel=1e-13)
