"""The laws by their moments and their distribution, on three keys that were fixed before anything was looked at."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import special, stats

import fanin
from fanin.streams import Draw
from fanin.streams.sampling import sample

KEYS = [fanin.key(seed, "laws") for seed in (11, 12, 13)]
PIECE = 1 << 20
MOMENTS = {"normal": (1.0, 3.0, 15.0, 105.0), "uniform": (1 / 3, 1 / 5, 1 / 7, 1 / 9)}  # E x^2, x^4, x^6, x^8
CDF = {"normal": special.ndtr, "uniform": lambda x: (x + 1.0) / 2.0}


def power_sums(kind: str, key, count: int, width: float) -> np.ndarray:
    """Mean of x, x^2, x^3, x^4 over the first `count` elements, in float64, piece by piece."""
    total = np.zeros(4)
    for first in range(0, count, PIECE):
        x = sample(Draw(kind=kind, width=width), key, (count,), box=[slice(first, min(first + PIECE, count))])
        x = x.astype(np.float64)
        square = x * x
        total += [x.sum(), square.sum(), (square * x).sum(), (square * square).sum()]
    return total / count


def standard_errors(kind: str, key, count: int, width: float = 1.0) -> dict[str, float]:
    """How many standard errors the sample mean, variance, skewness and kurtosis lie from the law's."""
    m2, m4, m6, m8 = MOMENTS[kind]
    m = power_sums(kind, key, count, width)
    var = m[1] - m[0] ** 2
    third = m[2] - 3 * m[0] * m[1] + 2 * m[0] ** 3
    fourth = m[3] - 4 * m[0] * m[2] + 6 * m[0] ** 2 * m[1] - 3 * m[0] ** 4
    # asymptotic variances times n, by the delta method, of symmetric laws
    var_skew = m6 / m2**3 - 6 * m4 / m2**2 + 9
    beta = m4 / m2**2
    var_kurt = m8 / m2**4 - 4 * beta * m6 / m2**3 + 4 * beta**3 - beta**2
    found = {
        "mean": m[0] / math.sqrt(m2),
        "variance": (var / m2 - 1.0) / math.sqrt(beta - 1.0),
        "skewness": third / var**1.5 / math.sqrt(var_skew),
        "kurtosis": (fourth / var**2 - beta) / math.sqrt(var_kurt),
    }
    return {name: value * math.sqrt(count) for name, value in found.items()}


def assert_moments(kind: str, key, count: int, width: float = 1.0) -> None:
    errors = standard_errors(kind, key, count, width)
    if not all(abs(z) < 5.0 for z in errors.values()):
        raise AssertionError(f"standard errors away from the law: {errors}")


def assert_distribution(kind: str, key, count: int, width: float = 1.0) -> None:
    x = np.sort(sample(Draw(kind=kind, width=width), key, (count,)))
    p = CDF[kind](x.astype(np.float64))
    steps = np.arange(count + 1) / count
    distance = max(np.max(steps[1:] - p), np.max(p - steps[:-1]))
    chance = stats.kstwobign.sf(distance * math.sqrt(count))
    if not 1e-3 < chance < 1 - 1e-3:
        raise AssertionError(f"Kolmogorov-Smirnov p = {chance:.2g}")


@pytest.mark.parametrize("key", KEYS, ids=lambda k: str(k.seed))
@pytest.mark.parametrize("kind", MOMENTS)
def test_four_million(kind, key):
    assert_moments(kind, key, 1 << 22)
    assert_distribution(kind, key, 1 << 20)


@pytest.mark.slow
@pytest.mark.parametrize("key", KEYS, ids=lambda k: str(k.seed))
@pytest.mark.parametrize("kind", MOMENTS)
def test_a_hundred_million(kind, key):
    assert_moments(kind, key, 10**8)
    assert_distribution(kind, key, 10**8)


@pytest.mark.parametrize("kind", MOMENTS)
def test_the_checks_see_a_width_that_is_three_percent_off(kind):
    with pytest.raises(AssertionError, match="standard errors away"):
        assert_moments(kind, KEYS[0], 1 << 20, width=1.03)
    with pytest.raises(AssertionError, match="Kolmogorov-Smirnov"):
        assert_distribution(kind, KEYS[0], 1 << 20, width=1.03)


def test_neighbours_and_other_streams_are_uncorrelated():
    count = 1 << 20
    x = sample(Draw(kind="normal"), KEYS[0], (count,)).astype(np.float64)
    for lag in (1, 2, 3, 4, 8, 1024):
        assert abs((x[lag:] * x[:-lag]).mean()) < 5.0 / math.sqrt(count)
    for other in (KEYS[1], KEYS[0].for_purpose("low"), fanin.key(11, "laws2")):
        y = sample(Draw(kind="normal"), other, (count,)).astype(np.float64)
        assert abs((x * y).mean()) < 5.0 / math.sqrt(count)


def test_tails_reach_as_far_as_thirty_two_bits_can():
    """Beyond 5.77 a float32 Box-Muller finds nothing; here 2e8 numbers hold about 4e0 of them on each side."""
    count, edge = 1 << 26, 5.2
    beyond = 0
    for first in range(0, count, PIECE * 8):
        beyond += int(
            (np.abs(sample(Draw(kind="normal"), KEYS[0], (count,), box=[slice(first, first + PIECE * 8)])) > edge).sum()
        )
    wanted = 2.0 * special.ndtr(-edge) * count
    assert abs(beyond - wanted) < 5.0 * math.sqrt(wanted)
