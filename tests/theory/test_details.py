"""Single numbers inside the theory, each against another way to compute what depends on it."""

import math

import numpy as np
import pytest

from fanin.theory import admits_isometry, bivariate, gaussian_moments, propagate, resolve, spread
from fanin.theory.effects import softmax_moments
from fanin.theory.phase import phase_diagram
from fanin.theory.power_laws import power_law
from tests.selection import few


# ---------------------------------------------------------------------- finite width
def follow(q, start, *, sigma_w2, sigma_b2, last):
    """Sum of log E f'² over the layers from `start` to `last`, with q at layer 0."""
    total = 0.0
    for layer in range(last + 1):
        m = gaussian_moments("tanh", q=q)
        total += math.log(m.dsecond) if layer >= start else 0.0
        q = sigma_w2 * m.second + sigma_b2
    return total


@pytest.mark.parametrize("first", [0, 2, 3])
def test_noise_of_each_layer_reaches_a_gradient_through_all_later_slopes(first):
    """d log gradient / d log q by moving q of one layer, in place of the product of slopes."""
    depth, width, w, b, step = 6, 100, 1.6, 0.1, 1e-4
    curves = propagate("tanh", depth=depth, sigma_w2=w, sigma_b2=b, q0=0.8)
    here = [gaussian_moments("tanh", q=float(q)) for q in curves.q]
    want = sum(3.0 * m.dfourth / m.dsecond**2 - 1.0 for m in here[first : depth - 1]) / width
    for layer in range(1, depth - 1):

        def moved(factor, layer=layer):
            start, last = max(first - layer, 0), depth - 2 - layer
            return follow(curves.q[layer] * factor, start, sigma_w2=w, sigma_b2=b, last=last)

        reach = (moved(1.0 + step) - moved(1.0 - step)) / (2.0 * step)
        through_weights = 1.0 - b / curves.q[layer]
        want += reach**2 * through_weights**2 * here[layer - 1].kappa / width
    assert spread("tanh", curves, widths=[width] * depth, sigma_b2=b).log_gradient[first] == pytest.approx(
        want, rel=1e-4
    )


# ---------------------------------------------------------------------- pairs
def test_two_functions_of_one_variable_have_the_moment_of_their_product():
    """At correlation 1, where the second direction has no width, with kinks in both."""
    want = gaussian_moments(lambda u: np.maximum(u, 0.0) * np.clip(u, -1.0, 1.0)).mean
    assert bivariate("relu", 1.0, g="hardtanh") == pytest.approx(want, rel=1e-9)


# ---------------------------------------------------------------------- softmax
@pytest.mark.parametrize("std", few([0.5, 3.0, 7.0, 10.0], 0.5))
def test_two_logits_are_one_logistic_function_of_their_difference(std):
    def kept(d):
        p = 1.0 / (1.0 + np.exp(-d))
        return p * p + (1.0 - p) ** 2

    def entropy(d):
        p = 1.0 / (1.0 + np.exp(-np.abs(d)))
        return -p * np.log(p) + (1.0 - p) * (np.abs(d) - np.log(p))

    found = softmax_moments(2, logit_var=std**2)
    assert found.participation == pytest.approx(gaussian_moments(kept, q=2.0 * std**2).mean, rel=1e-6)
    assert found.entropy == pytest.approx(gaussian_moments(entropy, q=2.0 * std**2).mean, rel=1e-5)


# ---------------------------------------------------------------------- fixed points
@pytest.mark.parametrize("slope", few([0.0, 0.407, 0.543, 0.679, 0.95], 0.407))
def test_a_critical_rectifier_keeps_whatever_signal_it_is_given(slope):
    """Rounding is no drift: every q is a fixed point."""
    found = phase_diagram(
        lambda x: np.where(x > 0, x, slope * x),
        sigma_w2=np.array([2.0 / (1.0 + slope**2)]),
        sigma_b2=np.array([0.0]),
        q0=0.3,
    )
    assert found.q_star[0, 0] == pytest.approx(0.3, rel=1e-6)


@pytest.mark.parametrize(("offset", "admitted"), [(0.0, True), (0.9e-4, True), (1.1e-4, False)])
def test_isometry_needs_a_function_that_is_zero_at_zero(offset, admitted):
    assert admits_isometry(lambda x: np.tanh(x) + offset) == admitted


def test_a_power_law_is_read_where_the_signal_is_large():
    """x + 0.005 is x to a signal of std 1e4; at three deviations the constant is 2e-7 of it."""
    law = power_law(resolve(lambda x: np.where(x > 0, x + 0.005, 0.0)), q=1e8)
    assert law.right == pytest.approx(1.0, abs=3e-7)
    assert law.left == 0.0
    mirrored = power_law(resolve(lambda x: np.where(x < 0, -x + 0.005, 0.0)), q=1e8)
    assert mirrored.left == pytest.approx(1.0, abs=3e-7)
    with pytest.raises(AttributeError):
        law.right = 2.0
