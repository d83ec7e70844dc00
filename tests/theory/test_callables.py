"""Names, NumPy and torch callables, and modules all become the same activations; what is not one is named."""

import math

import numpy as np
import pytest

from fanin.errors import ArgumentError, TheoryError, UnknownNameError
from fanin.theory import activation, activation_names, gain, gaussian_moments, propagate, resolve
from fanin.theory.activations import FAMILIES
from fanin.theory.bivariate import bivariate, bivariate_gap
from fanin.theory.callables import elementwise
from fanin.theory.kinks import find_kinks

torch = pytest.importorskip("torch")

GRID = np.linspace(-4.3, 4.7, 181)


@pytest.mark.parametrize("name", activation_names())
def test_the_derivative_of_the_table_is_that_of_its_function(name):
    act = activation(name)
    far = np.min(np.abs(GRID[:, None] - np.array(act.kinks or (99.0,))), axis=1) > 1e-2
    x, h = GRID[far], 1e-3
    central = (8 * (act.fn(x + h) - act.fn(x - h)) - (act.fn(x + 2 * h) - act.fn(x - 2 * h))) / (12 * h)
    np.testing.assert_allclose(act.derivative(x), central, rtol=1e-8, atol=1e-10)


TORCH_NAMED = [(alias, name) for name, family in FAMILIES.items() for alias in family.torch]


@pytest.mark.parametrize(("theirs", "name"), TORCH_NAMED)
def test_torch_calls_it_by_this_name_and_means_the_same(theirs, name):
    if theirs == "Threshold":
        fn = torch.nn.Threshold(0.0, 0.0)
    elif theirs[0].isupper():
        fn = getattr(torch.nn, theirs)().eval()
    else:
        fn = getattr(torch.nn.functional, theirs, None) or getattr(torch, theirs)
    with torch.no_grad():
        got = fn(torch.from_numpy(GRID.copy())).numpy()
    np.testing.assert_allclose(
        got, activation(name).fn(GRID), rtol=1e-9, atol=3e-9
    )  # torch's softplus is linear from 20 on
    assert resolve(fn) == activation(name)


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (torch.nn.GELU(approximate="tanh"), activation("gelu_tanh")),
        (torch.nn.GELU(), activation("gelu")),
        (torch.nn.LeakyReLU(0.2), activation("leaky_relu", negative_slope=0.2)),
        (torch.nn.Hardtanh(-2.0, 1.0), activation("hardtanh", min_val=-2.0)),
        (torch.nn.PReLU(), activation("prelu(0.25)")),
    ],
)
def test_modules_keep_their_parameters(module, expected):
    assert resolve(module) == expected


def test_a_torch_callable_is_wrapped():
    assert gain(lambda x: torch.relu(x) * 2) == pytest.approx(math.sqrt(0.5), rel=1e-12)
    assert gain(lambda x: x * torch.sigmoid(x)) == pytest.approx(gain("silu"), rel=1e-12)


def test_a_module_of_ones_own_is_wrapped():
    class Twice(torch.nn.Module):
        def forward(self, x):
            return 2 * x.clamp(min=0)

    assert gain(Twice()) == pytest.approx(math.sqrt(0.5), rel=1e-12)


def test_a_float32_callable_is_as_good_as_float32():
    m = gaussian_moments(lambda x: np.tanh(x.astype(np.float32)))
    assert m.second == pytest.approx(gaussian_moments("tanh").second, rel=1e-6)


def test_state_is_never_read_from_a_cache():
    slope = [0.0]

    def phi(x):
        return np.where(x > 0, x, slope[0] * x)

    first = gain(phi)
    slope[0] = 1.0
    assert gain(phi) == pytest.approx(1.0)
    assert first == pytest.approx(math.sqrt(2))


@pytest.mark.parametrize(
    ("phi", "match"),
    [
        (lambda x: x / np.sum(x), "not an elementwise function"),
        (lambda x: np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True), "not an elementwise function"),
        (lambda x: torch.softmax(x, -1), "not an elementwise function"),
        (lambda x: np.random.default_rng().normal(size=x.shape), "not an elementwise function"),
        (lambda x: np.log(x), "not finite: f\\(-3.7\\) = nan"),
        (lambda x: x[:2], "gave shape \\(2,\\)"),
        (lambda x: x + 1j, "not an elementwise real function"),
        (lambda: 1.0, "could not be evaluated"),
        (3, "got int 3"),
    ],
)
def test_what_is_no_activation_is_refused(phi, match):
    with pytest.raises(TheoryError, match=match):
        gain(phi)


def test_a_function_that_blows_up_far_out_is_refused_with_the_place():
    with pytest.raises(TheoryError, match="not finite at"):
        gaussian_moments(lambda x: np.where(np.abs(x) < 6, x, np.nan))


def test_a_function_that_outgrows_the_gaussian_is_refused():
    with pytest.raises(TheoryError, match="do not converge"):
        gaussian_moments(lambda x: np.exp(np.minimum(0.45 * x**2, 300.0)))


def test_unknown_names_and_parameters():
    with pytest.raises(UnknownNameError, match="did you mean 'gelu'"):
        gain("gellu")
    with pytest.raises(ArgumentError, match="has no parameter 'slope'"):
        activation("leaky_relu", slope=0.1)
    with pytest.raises(ArgumentError, match="must be a finite number"):
        activation("elu", alpha=math.nan)
    with pytest.raises(ArgumentError, match="2 parameters, it has 1"):
        activation("elu(1, 2)")
    with pytest.raises(ArgumentError, match="is not a number"):
        activation("elu(x)")
    with pytest.raises(UnknownNameError, match="torch has no gain"):
        gain("gelu", like="torch")
    with pytest.raises(ArgumentError, match="direction"):
        gain("relu", direction="sideways")
    with pytest.raises(TheoryError, match="no weight scale keeps the backward signal"):
        gain(np.sign, direction="backward")
    with pytest.raises(TheoryError, match="finite and > 0"):
        gain("relu", q=0.0)


@pytest.mark.parametrize("name", ["linear", "sigmoid", "tanh", "relu", "leaky_relu", "selu"])
def test_torch_gains(name):
    assert gain(name, like="torch") == pytest.approx(torch.nn.init.calculate_gain(name), rel=1e-15)


@pytest.mark.parametrize("name", [n for n in activation_names() if activation(n).kinks])
@pytest.mark.parametrize("std", [0.7, 3.1])
def test_kinks_are_found(name, std):
    act = activation(name)
    # further out nothing depends on them, and where f' is continuous the panels may resolve them as they are
    jump = {k: abs(act.derivative(np.array(k + 1e-9)) - act.derivative(np.array(k - 1e-9))) for k in act.kinks}
    expected = [k for k in act.kinks if abs(k) < 7 * std and jump[k] > 1e-6]
    found = find_kinks(resolve(lambda x: act.fn(x)), mean=0.0, std=std)
    assert len(found) >= len(expected)
    assert all(min(abs(k - f) for f in found) < 1e-6 for k in expected)


@pytest.mark.parametrize("kink", [0.7 + 4e-12, -1.3 - 3e-12, 2.123456789876])
def test_a_kink_is_found_to_twelve_digits(kink):
    (found,) = find_kinks(resolve(lambda x: np.abs(x - kink)), mean=0.0, std=1.0)
    assert found == pytest.approx(kink, rel=0.0, abs=1e-12)


def test_elementwise_gives_back_the_function():
    np.testing.assert_array_equal(elementwise(np.tanh)(GRID), np.tanh(GRID))


def test_a_partial_over_an_array_is_read_afresh():
    """The array may change between two calls; a cached answer would be that of the old numbers."""
    from functools import partial

    slopes = np.array([1.0, 1.0])
    steep = partial(_scaled_by, slopes=slopes)
    before = gaussian_moments(steep, q=1.0).second
    slopes[:] = 2.0
    assert gaussian_moments(steep, q=1.0).second == pytest.approx(4.0 * before)


def _scaled_by(x, slopes):
    return slopes[0] * np.tanh(x)


def stairs(x):
    return np.round(8 * x) / 8


def test_a_function_of_many_jumps_is_drawn():
    """Rounding to 1 / 8 adds the variance of a uniform of that width, 1 / 768, to that of the Gaussian."""
    for q in (1.0, 4.0, 100.0):
        m = gaussian_moments(stairs, q=q)
        assert m.second == pytest.approx(q + 1 / 768, rel=3e-3)
        assert m.kinks == ()
    assert gaussian_moments(np.tanh, q=4.0).error < 1e-9  # a smooth function is integrated as before


def test_pairs_of_a_function_of_many_jumps_are_drawn():
    assert bivariate(stairs, 0.5, q=4.0) == pytest.approx(2.0, rel=0.02)
    assert bivariate_gap(stairs, 0.5, q=4.0) == pytest.approx(2.0 + 1 / 768, rel=0.02)
    # at a small gap the jumps count: E (f(u) - f(v))^2 / 2 is (1 / 8) E |u - v| / 2, with u - v of variance 2 q gap
    small = bivariate_gap(stairs, 1e-6, q=4.0)
    assert small == pytest.approx(0.5 / 8 * (2 * 4e-6) ** 0.5 * (2 / np.pi) ** 0.5, rel=0.2)


def test_curves_of_a_rough_function_need_few_evaluations():
    calls = []

    def counted(x):
        calls.append(np.size(x))
        return x - np.floor(x)

    propagate(counted, depth=1000, sigma_w2=1.5, c0=0.5)
    assert sum(calls) < 100_000_000
