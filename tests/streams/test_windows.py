"""Truncated normal laws: exact windows, and samples against scipy."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
from scipy import stats

import fanin
from fanin.errors import ArgumentError
from fanin.streams import Draw
from fanin.streams.sampling import sample
from fanin.streams.windows import probability, window
from tests.selection import few

WINDOWS = [
    (-2.0, 2.0),
    (1.0, 2.0),
    (3.0, 5.0),
    (5.0, 6.0),
    (-1000.0, 1000.0),
    (-6.0, -5.0),
    (-math.inf, 1.0),
    (2.5, math.inf),
]
SIZE = 1 << 18


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize(("lower", "upper"), WINDOWS[:6])
def test_windows_hold_exactly_the_words_between_the_edges(lower, upper, bits):
    """By bisection on the other side: the quantile of each edge word, from erfinv in 60 digits."""
    low, size = window(lower, upper, bits)
    with mpmath.workdps(60):

        def quantile(word: int) -> mpmath.mpf:
            return mpmath.sqrt(2) * mpmath.erfinv(2 * (mpmath.mpf(word) + 0.5) / 2**bits - 1)

        assert low == 0 or quantile(low - 1) < lower
        assert quantile(low) >= lower
        assert quantile(low + size - 1) <= upper
        assert low + size == 2**bits or quantile(low + size) > upper
    assert probability(lower, upper) == pytest.approx(size / 2**bits, rel=1e-3 if bits == 32 else 1e-9)


def assert_follows(values: np.ndarray, lower: float, upper: float) -> None:
    """Inside the window, and Kolmogorov-Smirnov at 1e-6 against scipy."""
    x = values.astype(np.float64).ravel()
    if not (x.min() >= lower and x.max() <= upper):
        raise AssertionError(f"[{x.min()}, {x.max()}] leaves [{lower}, {upper}]")
    found = stats.kstest(x, stats.truncnorm(lower, upper).cdf)
    if not found.pvalue > 1e-6:
        raise AssertionError(f"KS {found.statistic:.4g}, p = {found.pvalue:.2g}")


@pytest.mark.parametrize(
    ("lower", "upper", "dtype"),
    few(
        [(*window, dtype) for window in WINDOWS for dtype in ("float32", "float64")],
        *((*window, "float32") for window in WINDOWS[::2]),
        (-2.0, 2.0, "float64"),
    ),
)
def test_samples_follow_scipy(lower, upper, dtype):
    values = sample(Draw(kind="truncated_normal", lower=lower, upper=upper), fanin.key(1, "w"), (SIZE,), dtype=dtype)
    assert_follows(values, np.float32(lower), np.float32(upper))
    assert np.unique(values).size > 0.8 * SIZE


@pytest.mark.parametrize(("lower", "upper"), [(-2.0, 2.0), (1.0, 2.0), (3.0, 5.0)])
def test_the_check_sees_three_percent(lower, upper):
    values = sample(Draw(kind="truncated_normal", lower=lower / 1.03, upper=upper / 1.03), fanin.key(1, "w"), (SIZE,))
    with pytest.raises(AssertionError, match=r"KS|leaves"):
        assert_follows(values * np.float32(1.03) * np.float32(0.99999), lower, upper)


def test_windows_too_small_to_follow_the_law_are_refused():
    for lower, upper in ((9.0, 10.0), (0.0, 1e-13), (-12.0, -8.0)):
        with pytest.raises(ArgumentError, match="too few"):
            sample(Draw(kind="truncated_normal", lower=lower, upper=upper), fanin.key(0, "w"), (3,))
    wide = sample(Draw(kind="truncated_normal", lower=-1000.0, upper=1000.0), fanin.key(0, "w"), (999,))
    assert (wide == sample(Draw(kind="normal"), fanin.key(0, "w"), (999,))).all()
