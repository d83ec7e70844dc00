"""Two correlated inputs: closed forms, Mehler series in 40 digits, stability near c = 1, Monte Carlo."""

import json
import math
from pathlib import Path

import mpmath
import numpy as np
import pytest

from fanin.errors import TheoryError
from fanin.theory import activation, bivariate, bivariate_gap, bivariate_slope, c_map, gaussian_moments, q_map, resolve
from fanin.theory.bivariate import gap_in_one_pass, pair_fourths
from fanin.theory.closed_forms import CLOSED_BIVARIATE, arc_cosine_1_gap
from tests.selection import few

GOLDEN = json.loads(Path(__file__).with_name("golden.json").read_text())
CASES = [(name, c) for name, row in GOLDEN["bivariate"].items() for c in row]


@pytest.mark.parametrize(("name", "c"), few(CASES, every=4))
def test_against_mehler_series(name, c):
    want = GOLDEN["bivariate"][name][c]
    second = gaussian_moments(name).second
    act = activation(name)
    assert bivariate(name, float(c)) == pytest.approx(float(want["product"]), abs=1e-10 * second)
    assert bivariate(lambda x: act.fn(x), float(c)) == pytest.approx(float(want["product"]), abs=1e-10 * second)
    assert bivariate_slope(name, 1.0 - float(c)) == pytest.approx(float(want["slope"]), abs=1e-9)


@pytest.mark.parametrize("name", few(sorted(CLOSED_BIVARIATE), every=2))
@pytest.mark.parametrize("q", few([0.1, 1.0, 10.0], 1.0))
@pytest.mark.parametrize("c", [-1.0, -0.6, 0.0, 0.3, 0.97, 1.0 - 1e-7])
def test_closed_forms_meet_quadrature(name, q, c):
    if name == "exp":
        q = min(q, 1.0)
    act = activation(name)
    by_nodes = bivariate(lambda x: act.fn(x), c, q=q)
    assert bivariate(name, c, q=q) == pytest.approx(by_nodes, abs=1e-10 * gaussian_moments(name, q=q).second)


@pytest.mark.parametrize("gap", [1e-12, 1e-9, 1e-6, 1e-3, 0.02, 0.1, 0.5, 1.3, 2.0])
def test_the_relu_gap_keeps_its_digits(gap):
    with mpmath.workdps(50):
        c = 1 - mpmath.mpf(gap)
        mapped = (mpmath.sqrt(1 - c * c) + c * (mpmath.pi - mpmath.acos(c))) / mpmath.pi
        want = float(1 - mapped)
    assert arc_cosine_1_gap(gap) == pytest.approx(want, rel=1e-13)
    assert 2.0 * bivariate_gap("relu", gap) == pytest.approx(want, rel=1e-9)


@pytest.mark.parametrize("name", ["tanh", "gelu", "silu", "erf"])
def test_smooth_gaps_are_linear_near_one(name):
    m = gaussian_moments(name)
    assert bivariate_gap(name, 1e-10) / 1e-10 == pytest.approx(m.dsecond, rel=1e-7)
    assert bivariate_slope(name, 1e-8) == pytest.approx(m.dsecond, rel=1e-6)


@pytest.mark.parametrize("name", few(["hardtanh", "softsign", "elu", "hardswish", "relu6", "selu"], every=2))
@pytest.mark.parametrize("q", few([0.1, 1.0, 10.0], 1.0))
@pytest.mark.parametrize("c", [-0.7, 0.2, 0.95])
def test_gap_and_product_are_two_ways_to_one_number(name, q, c):
    second = gaussian_moments(name, q=q).second
    assert second - bivariate_gap(name, 1.0 - c, q=q) == pytest.approx(bivariate(name, c, q=q), abs=1e-10 * second)


@pytest.mark.parametrize("c", [0.5, -0.5])
def test_a_steep_function_takes_more_panels_than_the_first(c):
    """E (f1 - f2)² / 2 and E f² - E f1 f2 are integrated apart."""

    def steep(x):
        return np.tanh(100.0 * x)

    second = gaussian_moments(steep).second
    assert bivariate_gap(steep, 1.0 - c) == pytest.approx(second - bivariate(steep, c), rel=1e-9)


@pytest.mark.parametrize("gap", [1e-4, 0.01, 0.3, 1.5])
def test_the_gap_of_a_sine_is_known_in_closed_form(gap):
    """E sin(w u1) sin(w u2) = (exp(-w² gap) - exp(-w² (2 - gap))) / 2 for unit variances and c = 1 - gap."""
    w = 3.0
    want = 0.5 * (1.0 - math.exp(-2.0 * w * w)) - 0.5 * (math.exp(-w * w * gap) - math.exp(-w * w * (2.0 - gap)))
    slope = 0.5 * w * w * (math.exp(-w * w * gap) + math.exp(-w * w * (2.0 - gap)))
    assert bivariate_gap(lambda x: np.sin(w * x), gap) == pytest.approx(want, rel=1e-9)
    assert bivariate_slope(lambda x: np.sin(w * x), gap) == pytest.approx(slope, rel=1e-8, abs=1e-9)


def test_ends():
    for name in ("tanh", "relu6", "silu"):
        m = gaussian_moments(name, q=0.4)
        assert bivariate(name, 1.0, q=0.4) == pytest.approx(m.second, rel=1e-12)
        assert bivariate(name, 0.0, q=0.4) == pytest.approx(m.mean**2, abs=1e-12)
    assert bivariate("tanh", -1.0) == pytest.approx(-gaussian_moments("tanh").second, rel=1e-11)
    assert bivariate_gap("gelu", 0.0) == 0.0


@pytest.mark.parametrize("seed", range(3))
def test_unequal_means_variances_and_functions(seed):
    rng = np.random.default_rng(seed)
    z1, z2 = rng.standard_normal((2, 400_000))
    u1 = 0.3 + math.sqrt(0.5) * z1
    u2 = -0.2 + math.sqrt(2.0) * (0.6 * z1 + 0.8 * z2)
    values = np.maximum(u1, 0.0) * np.tanh(u2)
    got = bivariate("relu", 0.6, q=0.5, mean=0.3, g="tanh", q2=2.0, mean2=-0.2)
    assert abs(values.mean() - got) < 5.0 * values.std() / math.sqrt(values.size)


def test_monte_carlo_sees_three_per_cent():
    z1, z2 = np.random.default_rng(0).standard_normal((2, 400_000))
    values = np.maximum(z1, 0.0) * np.maximum(0.6 * z1 + 0.8 * z2, 0.0)
    error = values.std() / math.sqrt(values.size)
    assert abs(values.mean() - bivariate("relu", 0.6)) < 5.0 * error
    assert abs(values.mean() - bivariate("relu", 0.6, q=1.03**2)) > 5.0 * error


def test_fourth_order_pairs_of_relu():
    product, squares, cube = pair_fourths(activation("relu"), 0.0, q=1.0)
    assert (product, squares, cube) == pytest.approx((1 / (2 * math.pi), 0.25, 2 / (2 * math.pi)), rel=1e-10)


def test_maps_are_built_from_them():
    assert q_map("tanh", 0.5, sigma_w2=1.5, sigma_b2=0.1) == 1.5 * gaussian_moments("tanh", q=0.5).second + 0.1
    c = c_map("relu", 0.0, q=1.0, sigma_w2=2.0)
    assert c == pytest.approx(1 / math.pi, rel=1e-14)


def test_bad_input():
    with pytest.raises(TheoryError, match="correlation"):
        bivariate("relu", 1.2)
    with pytest.raises(TheoryError, match="gap is 1 - c"):
        bivariate_gap("relu", -0.1)
    with pytest.raises(TheoryError, match="variances must be finite"):
        bivariate("tanh", 0.2, q=0.5, q2=-1.0)
    with pytest.raises(TheoryError, match="sigma_w2"):
        q_map("tanh", 0.5, sigma_w2=0.0)
    with pytest.raises(TheoryError, match="sigma_b2"):
        q_map("tanh", 0.5, sigma_w2=1.0, sigma_b2=-1.0)


@pytest.mark.parametrize("name", few(["tanh", "gelu", "relu6", "elu", "hardshrink", "sigmoid"], every=2))
@pytest.mark.parametrize("gap", few([1e-11, 1e-6, 1e-2, 0.5, 1.6], 1e-11, 1e-2, 1.6))
def test_one_pass_is_as_good_as_it_says(name, gap):
    act = resolve(name)
    for q in (1e-4, 0.3, 1.0, 30.0):
        if gaussian_moments(act, q=q).second > 1e-12:  # hardshrink of a small signal is 0
            rel = 5e-3 if name == "hardshrink" and gap < 1e-8 else 1e-5  # a jump, by its leading power
            assert gap_in_one_pass(act, gap, q=q) == pytest.approx(bivariate_gap(act, gap, q=q), rel=rel)
