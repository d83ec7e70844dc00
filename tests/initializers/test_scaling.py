"""Predicted moments scale as the numbers do, and follow from their law."""

from __future__ import annotations

import numpy as np
import pytest

import fanin
from fanin.initializers import ChronoBias, ConvOrthogonal, DeltaOrthogonal, Orthogonal, VarianceScaling

GAINED = (ConvOrthogonal, DeltaOrthogonal, Orthogonal, VarianceScaling)


@pytest.mark.parametrize("law", GAINED, ids=lambda law: law.__name__)
@pytest.mark.parametrize("gain", [0.5, 3.0])
def test_the_predicted_variance_goes_with_the_square_of_the_gain(law, gain):
    shape = (8, 4, 3, 3)
    one, other = law().moments(shape), law(gain=gain).moments(shape)
    assert other.var == pytest.approx(gain**2 * one.var, rel=1e-12)
    drawn = law(gain=gain).sample(shape, key=fanin.key(0, "w"), dtype="float64")
    assert np.square(drawn).mean() == pytest.approx(other.var, rel=0.2)
    if one.bound is not None and np.isfinite(one.bound):
        assert other.bound == pytest.approx(gain * one.bound, rel=1e-12)
        assert np.abs(drawn).max() <= other.bound


@pytest.mark.parametrize("t_max", [5.0, 100.0])
def test_chrono_times_have_the_moments_of_the_logarithm_of_a_uniform_number(t_max):
    """The forget and the input gate are opposite, the other two zero."""
    u = np.linspace(1.0, t_max - 1.0, 2_000_001)
    second = np.square(np.log(u)).mean()
    found = ChronoBias(t_max=t_max).moments((40,))
    assert found.mean == pytest.approx(0.0, abs=1e-12)
    assert found.var == pytest.approx(second / 2.0, rel=1e-5)
