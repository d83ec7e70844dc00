"""The moments of cut normal laws against numerical integration with mpmath."""

from __future__ import annotations

import math

import mpmath
import pytest

from fanin.errors import ArgumentError
from fanin.initializers import TruncatedNormal
from fanin.initializers.catalogue.truncated import window_moments


def integrated(lower: float, upper: float) -> tuple[float, float, float]:
    with mpmath.workdps(30):
        ends = [lower, *(x for x in (-4.0, -1.0, 0.0, 1.0, 4.0) if lower < x < upper), upper]

        def mean_of(f):
            return mpmath.quad(lambda x: f(x) * mpmath.npdf(x), ends)

        mass = mean_of(lambda x: 1)
        mean = mean_of(lambda x: x) / mass
        var = mean_of(lambda x: (x - mean) ** 2) / mass
        fourth = mean_of(lambda x: (x - mean) ** 4) / mass
        return float(mean), float(var), float(fourth / var**2)


@pytest.mark.parametrize("window", [(-2.0, 2.0), (-1.0, 3.0), (0.0, 1e-2), (5.0, 6.0), (-8.0, 8.0), (2.0, 2.001)])
def test_window_moments_agree_with_quadrature(window):
    assert window_moments(*window) == pytest.approx(integrated(*window), rel=1e-9)


def test_half_normal_and_whole_normal_are_the_known_ones():
    assert window_moments(0.0, math.inf)[:2] == pytest.approx((math.sqrt(2 / math.pi), 1 - 2 / math.pi), rel=1e-14)
    assert window_moments(-math.inf, math.inf) == pytest.approx((0.0, 1.0, 3.0), abs=1e-15)


@pytest.mark.parametrize("bounds", [(-0.04, 0.04), (-0.03, 0.05), (-math.inf, 0.03)])
def test_absolute_bounds_compensated_give_the_asked_std(bounds):
    law = TruncatedNormal(std=0.02, lower=bounds[0], upper=bounds[1], bounds="absolute")
    assert law.std_for((2, 2)) == pytest.approx(0.02, rel=1e-9)
    assert law.mean + law.parent_std() * law.window()[1] == pytest.approx(bounds[1])


def test_a_std_that_no_cut_law_has_is_refused():
    with pytest.raises(ArgumentError, match=r"no normal law cut to \[-1, 1\] has std 0\.6"):
        TruncatedNormal(std=0.6, lower=-1.0, upper=1.0, bounds="absolute")
