"""Trends along depth: the slope of Theil and Sen, of all places or of places spread evenly over many."""

import tracemalloc

import numpy as np
import pytest
from scipy import stats

from fanin.rules.shared.depth import drift


def noisy(count, slope):
    rng = np.random.default_rng(count)
    return np.exp(rng.normal(size=count) * 0.3 + slope * np.arange(count))


@pytest.mark.parametrize("count", [2, 3, 40, 1000])
def test_a_trend_is_that_of_all_pairs(count):
    values = noisy(count, -0.05)
    found, wanted = drift(values), stats.theilslopes(np.log(values))
    assert found.log_factor == pytest.approx(wanted.slope * (count - 1))
    assert found.tau == pytest.approx(stats.kendalltau(np.arange(count), values).statistic)


def test_a_trend_over_many_places_takes_little_memory_and_comes_out_the_same():
    values = noisy(5000, -0.01)
    tracemalloc.start()
    found = drift(values)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40e6  # all pairs: 600 MB
    # the standard error of a least-squares slope over 1,000 places, which that of the median is 1.05 times
    error = 1.05 * 0.3 * np.sqrt(12 / 1000)
    assert abs(found.log_factor - -0.01 * 4999) < 5 * error
    assert found.num_sites == 5000
