"""Constants of Deep Kernel Shaping and Tailored Activations: published values, and the papers' own conditions."""

from __future__ import annotations

import dataclasses

import mpmath as mp
import numpy as np
import pytest
from scipy import special
from torch import nn

from fanin.errors import TheoryError
from fanin.theory import dks, shifted, tat
from tests.selection import few

PUBLISHED = {  # (s_i, b_i, b_o, s_o)
    ("tanh", 100): (0.090438, 0.560107, -0.505004, 14.902526),
    ("tanh", 20): (0.205618, 0.602147, -0.523149, 6.829207),
    ("softplus", 100): (0.228024, 0.407510, -0.923720, 7.303253),
    ("silu", 100): (0.129494, 0.349475, -0.208893, 11.504550),
}
FUNCTIONS = {
    "tanh": mp.tanh,
    "sigmoid": lambda u: 1 / (1 + mp.exp(-u)),
    "gelu": lambda u: u * mp.ncdf(u),
    "silu": lambda u: u / (1 + mp.exp(-u)),
    "softplus": lambda u: mp.log1p(mp.exp(u)),
    "elu": lambda u: u if u > 0 else mp.expm1(u),
}
SLOPES = {
    "tanh": (lambda u: mp.sech(u) ** 2, lambda u: -2 * mp.tanh(u) * mp.sech(u) ** 2),
    "sigmoid": (
        lambda u: mp.sech(u / 2) ** 2 / 4,
        lambda u: -mp.tanh(u / 2) * mp.sech(u / 2) ** 2 / 4,
    ),
    "gelu": (lambda u: mp.ncdf(u) + u * mp.npdf(u), lambda u: (2 - u * u) * mp.npdf(u)),
    "elu": (lambda u: 1 if u > 0 else mp.exp(u), lambda u: 0 if u > 0 else mp.exp(u)),
}


@pytest.mark.parametrize(("name", "depth"), few(PUBLISHED, ("tanh", 100), ("softplus", 100)))
def test_the_published_constants(name, depth):
    found = dks(name, depth=depth)
    constants = (found.input_scale, found.input_shift, found.output_shift, found.output_scale)
    assert constants == pytest.approx(PUBLISHED[name, depth], abs=1e-5)


def conditions(name, c):
    """Q(1), Q'(1), C(0), C'(1), C''(1) of the activation with these constants, integrated by mpmath."""
    phi, (first, second) = FUNCTIONS[name], SLOPES[name]
    kink = -c.input_shift / c.input_scale
    points = sorted({-14, *range(-12, 13, 3), 14, *([kink] if name == "elu" and abs(kink) < 14 else [])})

    def mean(f):
        return mp.quad(lambda x: f(x) * mp.npdf(x), points)

    def value(x):
        return c.output_scale * (phi(c.input_scale * x + c.input_shift) + c.output_shift)

    def slope(x):
        return c.output_scale * c.input_scale * first(c.input_scale * x + c.input_shift)

    def bend(x):
        return c.output_scale * c.input_scale**2 * second(c.input_scale * x + c.input_shift)

    return [
        float(v)
        for v in (
            mean(lambda x: value(x) ** 2),
            mean(lambda x: value(x) * slope(x) * x),
            mean(value) ** 2,
            mean(lambda x: slope(x) ** 2),
            mean(lambda x: bend(x) ** 2),
        )
    ]


@pytest.mark.parametrize("name", few(SLOPES, "tanh"))
def test_the_conditions_of_dks_hold(name):
    found = dks(name, depth=30)
    q, q_slope, at_zero, slope, curvature = conditions(name, found)
    assert (q, q_slope, slope) == pytest.approx((1.0, 1.0, 1.5 ** (1 / 30)), abs=1e-9)
    assert at_zero < 1e-15
    assert (slope, curvature) == pytest.approx((found.slope, found.curvature), abs=1e-9)


@pytest.mark.parametrize("name", few(SLOPES, "tanh"))
def test_the_conditions_of_tat_hold(name):
    found = tat(name, depth=30)
    q, q_slope, at_zero, slope, curvature = conditions(name, found)
    assert (q, q_slope, slope, curvature) == pytest.approx((1.0, 1.0, 1.0, 0.3 / 30), abs=1e-9)
    assert at_zero == pytest.approx(found.at_zero, abs=1e-9)


@pytest.mark.slow
def test_other_constants_break_the_conditions():
    found = dks("tanh", depth=30)
    for field in ("input_scale", "input_shift", "output_shift", "output_scale"):
        off = dataclasses.replace(found, **{field: getattr(found, field) + 1e-5})
        q, q_slope, at_zero, slope, _ = conditions("tanh", off)
        assert max(abs(q - 1.0), abs(q_slope - 1.0), at_zero**0.5, abs(slope - found.slope)) > 1e-7


@pytest.mark.slow
def test_the_solution_nearest_zero_is_taken_at_every_depth():
    """Roots on the flank, where an activation is all but straight, are solutions too."""
    scales = [tat("gelu", depth=depth) for depth in (10, 20, 50, 100)]
    assert all(0.3 < c.input_shift < 0.4 for c in scales)
    assert np.all(np.diff([c.input_scale for c in scales]) < 0.0)
    assert dks("tanh", depth=30).input_shift > 0.0


def test_modules_and_functions_are_shaped_like_names():
    by_name = dks("gelu", depth=20)
    for phi in (nn.GELU(), lambda x: x * special.ndtr(x)):
        assert dks(phi, depth=20).input_scale == pytest.approx(by_name.input_scale, rel=1e-6)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: dks("relu", depth=10), "no constants for relu"),
        (lambda: dks("leaky_relu", depth=10), "no constants"),
        (lambda: dks("identity", depth=10), "no constants"),
        (lambda: tat("selu", depth=10), "jumps at 0"),
        (lambda: tat("relu", depth=10), "jumps at 0"),
        (lambda: dks("tanh", depth=0), "whole number >= 1"),
        (lambda: dks("tanh", depth=10, total_slope=1.0), "total_slope must be finite and > 1"),
        (lambda: tat("tanh", depth=10, total_curvature=0.0), "total_curvature must be finite and > 0"),
    ],
)
def test_what_cannot_be_shaped_is_refused(make, match):
    with pytest.raises(TheoryError, match=match):
        make()


def test_the_curvature_is_infinite_where_the_slope_jumps():
    assert dks("selu", depth=30).curvature == float("inf")


# ---------------------------------------------------------------------- a shift alone
def of_square(b):
    return (4 + 4 * b**2) / (2 + 4 * b**2)


def of_cube(b):
    return 9 * (b**4 + 6 * b**2 + 3) / (b**6 + 15 * b**4 + 45 * b**2 + 15 - (b**3 + 3 * b) ** 2)


@pytest.mark.parametrize("depth", few([1, 3, 12], 1, 3))
@pytest.mark.parametrize(("phi", "slope"), [("square", of_square), (lambda x: x**3, of_cube)])
def test_a_shift_meets_the_closed_forms(phi, slope, depth):
    found = shifted(phi, depth=depth)
    assert found.input_scale == 1.0
    assert slope(found.input_shift) == pytest.approx(1.5 ** (1 / depth), abs=1e-9)
    assert found.slope == pytest.approx(1.5 ** (1 / depth), abs=1e-9)
    assert found.at_zero == 0.0
    assert slope(found.input_shift + 1e-3) != pytest.approx(1.5 ** (1 / depth), abs=1e-6)


def test_the_shifted_square_has_mean_zero_and_rms_one():
    c = shifted("square", depth=5)
    b, power = c.input_shift, c.output_scale**2
    assert 1 + b**2 + c.output_shift == pytest.approx(0.0, abs=1e-9)
    assert power * (2 + 4 * b**2) == pytest.approx(1.0, abs=1e-9)
    assert c.curvature == pytest.approx(4 * power, abs=1e-9)


def test_of_two_shifts_the_smaller_one_is_taken_then_the_positive():
    assert shifted("relu2", depth=3).input_shift > 0.0
    assert shifted("square", depth=3).input_shift > 0.0
    assert shifted(lambda x: np.maximum(-x, 0.0) ** 2, depth=3).input_shift < 0.0


def test_a_slope_that_jumps_or_turns_too_fast_has_no_curvature():
    assert shifted("abs", depth=3).curvature == float("inf")
    assert shifted(lambda x: np.maximum(x, 0.0) ** 1.5, depth=3).curvature == float("inf")


@pytest.mark.parametrize("phi", few([lambda x: 0.0 * x, lambda x: np.sin(40.0 * x)], every=2))
def test_where_no_shift_is_enough_that_is_said(phi):
    with pytest.raises(TheoryError, match="no shift of the input"):
        shifted(phi, depth=3)
