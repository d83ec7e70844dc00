"""The image of a Gaussian under a function against the adaptive quadrature of `fanin.theory`."""

from __future__ import annotations

import numpy as np
import pytest

from fanin.moments.hermite import gaussian_image
from fanin.theory import bivariate, gaussian_moments

FUNCTIONS = {
    "relu": (lambda z: np.maximum(z, 0.0), 1e-5, 2e-3),
    "tanh": (np.tanh, 1e-9, 1e-6),
    "silu": (lambda z: z / (1.0 + np.exp(-z)), 1e-9, 1e-6),
    "sin": (np.sin, 1e-9, 1e-9),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize(("mean", "q"), [(0.0, 1.0), (0.7, 0.5), (-1.0, 2.0)])
def test_against_theory(name, mean, q):
    f, tolerance, pair_tolerance = FUNCTIONS[name]
    image = gaussian_image(f, mean=mean, var=q)
    exact = gaussian_moments(name, mean=mean, q=q)
    assert image.mean == pytest.approx(exact.mean, abs=tolerance * exact.second**0.5)
    assert image.second == pytest.approx(exact.second, rel=tolerance)
    assert image.kappa == pytest.approx(exact.kappa, rel=1e-4)
    for c in (-0.9, 0.0, 0.5, 0.95):
        want = bivariate(name, c, q=q, mean=mean)
        assert float(image.pair(np.array(c))) == pytest.approx(want, abs=pair_tolerance * exact.second)


def test_what_is_not_finite_is_counted():
    image = gaussian_image(lambda z: np.log(z), mean=0.0, var=1.0)
    assert image.lost == pytest.approx(0.5, abs=1e-3)
    assert np.isfinite(image.second)
