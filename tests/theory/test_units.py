"""Saturation, symmetry, dead units, isometry: exact laws against enumeration, simulation and each other."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanin.errors import ArgumentError, TheoryError
from fanin.theory import (
    admits_isometry,
    backward_var,
    chebyshev_bound,
    classic_law,
    collapse_layer,
    compromise_var,
    dead_unit_share,
    distinct_units,
    exceedance,
    forward_var,
    identical_pairs,
    isometry,
    jacobian_moments,
    most_distinct_units,
    propagate,
    saturated_share,
    saturation_edge,
    variance_share,
)
from fanin.theory.saturation import _by_corners, _by_inversion


def test_two_uniforms_make_a_triangle():
    # z = w1 + w2, each uniform on [-1, 1]: P(|z| > t) = (2 - t)^2 / 4
    for t in (0.3, 1.0, 1.9):
        assert exceedance(t, inputs=[1, 1], weight_std=1 / math.sqrt(3), law="uniform") == pytest.approx(
            (2 - t) ** 2 / 4
        )
    assert exceedance(0.25, inputs=[0.5], weight_std=1 / math.sqrt(3), law="uniform") == pytest.approx(0.5)
    assert exceedance(2.1, inputs=[1, 1], weight_std=1 / math.sqrt(3), law="uniform") == 0.0


@given(st.lists(st.floats(0.3, 1.5), min_size=8, max_size=12), st.floats(0.2, 3.0))
def test_corners_and_inversion_agree(reach, edge):
    reach = np.array(reach)
    if edge < reach.sum():
        assert _by_corners(edge, reach) == pytest.approx(_by_inversion(edge, reach), abs=2e-8)


@pytest.mark.parametrize("law", ["normal", "uniform"])
@pytest.mark.parametrize("count", [3, 40])
def test_exceedance_by_simulation(law, count):
    rng = np.random.default_rng(count)
    x, n = rng.uniform(0.2, 1.0, count), 200_000
    std = 1.0 / math.sqrt(count)
    bound = math.sqrt(3) * std
    w = rng.normal(0, std, (n, count)) if law == "normal" else rng.uniform(-bound, bound, (n, count))
    z = np.abs(w @ x)
    for t in (0.5, 1.0):
        want = exceedance(t, inputs=x, weight_std=std, law=law)
        assert abs((z > t).mean() - want) < 5 * math.sqrt(want * (1 - want) / n)
        assert want <= chebyshev_bound(t, q=std**2 * float(x @ x))
    wrong = exceedance(0.5, inputs=x, weight_std=1.03 * std, law=law)
    assert abs((z > 0.5).mean() - wrong) > 5 * math.sqrt(wrong * (1 - wrong) / n)


def test_saturated_units():
    assert [round(saturated_share("tanh", q=s**2, edge=2.09).share, 2) for s in (1, 5 / 3, 3, 8)] == [
        0.04,
        0.21,
        0.49,
        0.79,
    ]
    s = saturated_share("sigmoid", q=1.0, edge=4.0)
    assert s.slope == pytest.approx(math.exp(-4) / (1 + math.exp(-4)) ** 2)
    assert s.peak == pytest.approx(0.25)
    assert s.share <= s.bound
    assert saturation_edge("sigmoid") == 2 * saturation_edge("tanh")
    assert saturated_share("tanh", q=1.0).slope == pytest.approx(0.05)


@pytest.mark.parametrize(("fan_in", "fan_out", "values"), [(1, 3, 2), (2, 3, 2), (2, 2, 3), (3, 3, 2)])
def test_distinct_units_by_enumeration(fan_in, fan_out, values):
    rows = list(itertools.product(range(values), repeat=fan_in))
    layers = list(itertools.product(rows, repeat=fan_out))
    assert distinct_units(fan_in=fan_in, fan_out=fan_out, values=values) == pytest.approx(
        sum(len(set(layer)) for layer in layers) / len(layers)
    )
    assert most_distinct_units(fan_in=fan_in, fan_out=fan_out, values=values) == max(len(set(x)) for x in layers)
    pairs = sum(sum(a == b for a, b in itertools.combinations(layer, 2)) for layer in layers) / len(layers)
    assert identical_pairs(fan_in=fan_in, fan_out=fan_out, probabilities=[1 / values] * values) == pytest.approx(pairs)


def test_symmetry_limits():
    assert distinct_units(fan_in=5, fan_out=7, values=1) == 1.0
    assert most_distinct_units(fan_in=10_000, fan_out=512, values=2) == 512
    assert identical_pairs(fan_in=10, fan_out=100, probabilities=[0.9]) == pytest.approx(4950 * 0.81**10)


@pytest.mark.parametrize("samples", [1, 4, 16, 256])
def test_dead_units_at_one_half(samples):
    assert dead_unit_share(0.5, samples) == pytest.approx(1 / (samples + 1), abs=1e-12)
    assert dead_unit_share(1e-9, samples) == pytest.approx(0.5**samples, abs=1e-4)


def test_dead_units_of_a_real_relu_layer():
    torch = pytest.importorskip("torch")
    g = torch.Generator().manual_seed(3)
    width, units, samples, c = 400, 40_000, 16, 0.9
    x = math.sqrt(c) * torch.randn(1, width, generator=g) + math.sqrt(1 - c) * torch.randn(samples, width, generator=g)
    x = x / x.norm(dim=1, keepdim=True)
    cosine = ((x @ x.T).sum() - samples) / (samples * (samples - 1))
    h = x @ torch.randn(width, units, generator=g)
    want = dead_unit_share(float(cosine), samples)
    assert 0.17 < want < 0.29
    dead = (h <= 0).all(dim=0).double().mean().item()
    assert abs(dead - want) < 5 * math.sqrt(want * (1 - want) / units) + 0.004  # cosines differ a little between pairs


def test_collapse():
    assert variance_share(1.0, 5) == 0.0
    curves = propagate("tanh", depth=10, sigma_w2=3.0, sigma_b2=0.05)
    assert collapse_layer(curves) is None


@pytest.mark.parametrize("weights", ["gaussian", "orthogonal"])
@pytest.mark.parametrize("name", ["tanh", "relu", "gelu", "erf", "linear"])
def test_the_spread_is_the_second_moment_of_the_spectrum(name, weights):
    for depth in (1, 3, 10):
        moments = jacobian_moments(name, depth=depth, q=0.3, weights=weights)
        spread = isometry(name, depth=depth, q=0.3, weights=weights)
        assert moments[0] == pytest.approx(1.0, rel=1e-10)
        assert moments[1] - moments[0] ** 2 == pytest.approx(spread.relative_var, rel=1e-9, abs=1e-9)


def test_products_of_gaussian_matrices_are_fuss_catalan():
    depth = 3
    want = [math.comb((depth + 1) * k, k) / (depth * k + 1) for k in (1, 2, 3, 4)]
    np.testing.assert_allclose(jacobian_moments("linear", depth=depth, q=1.0, weights="gaussian"), want, rtol=1e-10)


def test_a_real_jacobian():
    """Width 300, 8 layers of tanh at q* = 1/8, orthogonal and Gaussian: moments of J J^T."""
    rng = np.random.default_rng(0)
    width, depth, q = 300, 8, 0.125
    from fanin.theory import gaussian_moments

    m = gaussian_moments("tanh", q=q)
    sigma_w2 = 1 / m.dsecond
    sigma_b2 = q - sigma_w2 * m.second
    for weights in ("orthogonal", "gaussian"):
        h, jac = math.sqrt(q) * rng.standard_normal(width), np.eye(width)
        for _ in range(depth):
            raw = rng.standard_normal((width, width))
            w = np.linalg.qr(raw)[0] if weights == "orthogonal" else raw / math.sqrt(width)
            w = w * math.sqrt(sigma_w2)
            jac = w @ (np.cosh(h)[:, None] ** -2.0 * jac)
            h = w @ np.tanh(h) + math.sqrt(sigma_b2) * rng.standard_normal(width)
        squares = np.linalg.svd(jac, compute_uv=False) ** 2
        want = isometry("tanh", depth=depth, q=q, weights=weights).relative_var
        got = squares.var() / squares.mean() ** 2
        assert got == pytest.approx(want, rel=0.35)  # one draw, 1 / width corrections


def test_who_admits_isometry():
    names = ("tanh", "erf", "hardtanh", "sin", "linear", "relu", "gelu", "sigmoid", "leaky_relu")
    assert [n for n in names if admits_isometry(n)] == [
        "tanh", "erf", "hardtanh", "sin", "linear", "gelu",
    ]  # fmt: skip
    # tanh at q* = 1 / depth stays flat; relu's spread is the depth
    assert isometry("tanh", depth=1000, q=0.001).relative_var < isometry("tanh", depth=10, q=0.1).relative_var * 2
    assert isometry("relu", depth=1000, q=0.001).relative_var == 1000.0


def test_one_layer_by_hand():
    assert forward_var(fan_in=50, weight_var=0.04, second=0.5, bias_var=0.1) == pytest.approx(1.1)
    assert backward_var(fan_out=50, weight_var=0.04, gradient_var=2.0) == pytest.approx(4.0)
    assert compromise_var(fan_in=50, fan_out=50, gain=2.0) == pytest.approx(4 / 50)
    assert classic_law("glorot").weight_var(100, 300) == compromise_var(fan_in=100, fan_out=300)


def test_bad_input():
    with pytest.raises(ArgumentError, match="law must be"):
        exceedance(1.0, inputs=[1.0], weight_std=1.0, law="cauchy")
    with pytest.raises(TheoryError, match="edge > 0"):
        exceedance(0.0, inputs=[1.0], weight_std=1.0)
    with pytest.raises(ArgumentError, match="saturation is defined"):
        saturated_share("relu", q=1.0)
    with pytest.raises(TheoryError, match="slope_share"):
        saturation_edge("tanh", slope_share=1.0)
    with pytest.raises(TheoryError, match="counts >= 1"):
        distinct_units(fan_in=0, fan_out=1, values=2)
    with pytest.raises(TheoryError, match="sum to at most 1"):
        identical_pairs(fan_in=1, fan_out=2, probabilities=[0.9, 0.9])
    with pytest.raises(TheoryError, match="mean correlation"):
        dead_unit_share(1.1, 3)
    with pytest.raises(ArgumentError, match="weights must be"):
        isometry("tanh", depth=2, q=1.0, weights="sparse")
    with pytest.raises(ArgumentError, match="order must be"):
        jacobian_moments("tanh", depth=2, q=1.0, order=9)
    with pytest.raises(TheoryError, match="no known derivative"):
        jacobian_moments(lambda x: x**3, depth=2, q=1.0)
    with pytest.raises(TheoryError, match="fan_in counts"):
        forward_var(fan_in=0, weight_var=1.0, second=1.0)
