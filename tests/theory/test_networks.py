"""q, c and gradients of real torch networks, layer by layer, within five standard errors of what theory says.

The tolerance is derived, not chosen: a layer's log q, log gradient and correlation have the variances of `spread` and
`correlation_spread` over draws of the weights (first order in 1 / width); the mean of a logarithm lies Var / 2 below
the log of the mean, and as much again is allowed for the curvature of the maps. Orthogonal weights spread less, so the
bound holds for them too.
"""

import functools
import math

import numpy as np
import pytest

from fanin.theory import classic_law, correlation_spread, log_q_var, propagate, propagate_law, spread
from tests.selection import few

torch = pytest.importorskip("torch")

ACTIVATIONS = {
    "relu": torch.nn.ReLU(),
    "tanh": torch.nn.Tanh(),
    "gelu": torch.nn.GELU(),
    "silu": torch.nn.SiLU(),
    "selu": torch.nn.SELU(),
    "sigmoid": torch.nn.Sigmoid(),
}
LAWS = {
    "glorot": torch.nn.init.xavier_normal_,
    "he": functools.partial(torch.nn.init.kaiming_normal_, mode="fan_in", nonlinearity="relu"),
    "lecun": functools.partial(torch.nn.init.kaiming_normal_, mode="fan_in", nonlinearity="linear"),
    "classic_uniform": lambda w, generator: torch.nn.init.uniform_(
        w, -(w.shape[1] ** -0.5), w.shape[1] ** -0.5, generator=generator
    ),
    "orthogonal": torch.nn.init.orthogonal_,
}
C0 = 0.5


def linears(law, depth, width, seed, factor=1.0):
    """depth - 1 torch layers with the law's weights, std multiplied by factor."""
    generator = torch.Generator().manual_seed(seed)
    layers = []
    for _ in range(depth - 1):
        layer = torch.nn.Linear(width, width, bias=False, dtype=torch.float64)
        LAWS[law](layer.weight, generator=generator)
        with torch.no_grad():
            layer.weight.mul_(factor)
        layers.append(layer.requires_grad_(False))
    return layers


def measured(layers, phi, seed):
    """log q, c and log of the squared gradient relative to the last layer, (3, depth), for one input pair."""
    generator = torch.Generator().manual_seed(1000 + seed)
    width = layers[0].in_features
    first, other = torch.randn(2, width, generator=generator, dtype=torch.float64)
    h = torch.stack((first, C0 * first + math.sqrt(1 - C0**2) * other)).requires_grad_()
    seen = [h]
    for layer in layers:
        seen.append(layer(phi(seen[-1])))
        seen[-1].retain_grad()
    out = torch.randn(width, generator=generator, dtype=torch.float64)
    (seen[-1][0] * out).sum().backward()
    q = [x[0].square().mean().log().item() for x in seen]
    # not torch's cosine_similarity, which takes norms below 1e-8 for 1e-8: the classic uniform law gets there
    c = [((x[0] @ x[1]) / (x[0].norm() * x[1].norm())).item() for x in seen]
    g = np.array([x.grad[0].square().mean().log().item() for x in seen])
    return np.array([q, c, g - g[-1]])


def assert_predicted(draws, name, law, *, width, z=5.0):
    """Means over draws, (draws, 3, depth), within z standard errors of theory, every layer, every quantity."""
    depth, count = draws.shape[2], draws.shape[0]
    widths = [width] * depth
    curves = propagate_law(name, law, widths=widths, c0=C0)
    of_q, of_g = (lambda s: (s.log_q, s.log_gradient))(spread(name, curves, widths=widths))
    of_g = np.append(of_g[:-1] + 2.0 * 2.0 / width, 1e-20)  # both ends of the ratio are measured on `width` units
    of_c = correlation_spread(
        name, curves, widths=widths, sigma_w2=[classic_law(law).sigma_w2(width, width)] * (depth - 1)
    )
    got = draws.mean(axis=0)
    for what, values, want, var, slack in (
        ("log q", got[0], np.log(curves.q) - of_q / 2, of_q, of_q / 2),
        ("c", got[1], curves.c, of_c.c**2, of_c.bias + 1e-12),
        ("log gradient", got[2], np.log(curves.gradient) - of_g / 2, of_g, of_g / 2),
    ):
        off = np.abs(values - want) / (z * np.sqrt(var / count) + slack + 1e-9)
        worst = int(off.argmax())
        assert off.max() < 1.0, (
            f"{what} of {name} under {law} at layer {worst}: {values[worst]:.5g}, want {want[worst]:.5g} "
            f"({off[worst]:.2f} of the tolerance)"
        )
    return off


def draws_of(name, law, *, depth, width, count, factor=1.0):
    nets = (linears(law, depth, width, seed, factor) for seed in range(count))
    return np.stack([measured(net, ACTIVATIONS[name], seed) for seed, net in enumerate(nets)])


@pytest.mark.parametrize(
    ("name", "law"),
    few(
        [(name, law) for name in ACTIVATIONS for law in LAWS],
        *(("relu", law) for law in LAWS),
        ("gelu", "he"),
        ("selu", "orthogonal"),
    ),
)
def test_networks_do_what_theory_says(name, law):
    assert_predicted(draws_of(name, law, depth=8, width=256, count=8), name, law, width=256)


@pytest.mark.parametrize(
    ("name", "law"),
    few(
        [("relu", "he"), ("tanh", "orthogonal"), ("sigmoid", "lecun"), ("gelu", "classic_uniform"), ("silu", "glorot")],
        ("gelu", "classic_uniform"),
    ),
)
def test_three_per_cent_of_std_are_seen(name, law):
    draws = draws_of(name, law, depth=20, width=512, count=6, factor=1.03)
    with pytest.raises(AssertionError, match="of the tolerance"):
        assert_predicted(draws, name, law, width=512)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("law", LAWS)
def test_fifty_layers_of_1024_units(law):
    nets = [linears(law, 50, 1024, seed) for seed in range(4)]
    failures = []
    for name, phi in ACTIVATIONS.items():
        draws = np.stack([measured(net, phi, seed) for seed, net in enumerate(nets)])
        try:
            assert_predicted(draws, name, law, width=1024)
        except AssertionError as error:
            failures.append(str(error))
    wrong = [measured(linears(law, 50, 1024, seed, 1.03), ACTIVATIONS["tanh"], seed) for seed in range(2)]
    assert not failures, "\n".join(failures)
    with pytest.raises(AssertionError, match="of the tolerance"):
        assert_predicted(np.stack(wrong), "tanh", law, width=1024)


@pytest.mark.parametrize(("width", "simulated"), [(128, 1.69), (512, 0.393)])
def test_the_spread_of_relu(width, simulated):
    """40 layers: Var log q = 5 * 40 / n to first order, against the field's simulation."""
    predicted = log_q_var("relu", [width] * 40)
    assert predicted == pytest.approx(200 / width)
    assert simulated == pytest.approx(predicted, rel=0.1)
    curves = propagate("relu", depth=41, sigma_w2=2.0)
    assert spread("relu", curves, widths=[width] * 41).log_q[-1] == pytest.approx(predicted + 2 / width)


def test_the_spread_of_relu_by_simulation():
    width, depth, count = 96, 20, 600
    rng = np.random.default_rng(0)
    h = rng.standard_normal((count, width))
    for _ in range(depth):
        # given |relu(h)|^2, the next layer is Gaussian: no weights need be drawn
        h = np.sqrt(2 * np.square(np.maximum(h, 0)).mean(axis=1, keepdims=True)) * rng.standard_normal((count, width))
    logs = np.log(np.square(h).mean(axis=1))
    want = spread("relu", propagate("relu", depth=depth + 1, sigma_w2=2.0), widths=[width] * (depth + 1)).log_q[-1]
    assert logs.var() == pytest.approx(want, rel=5 * math.sqrt(2 / count) + 0.1)  # five standard errors and 1 / n^2
    assert abs(logs.mean() + want / 2) < 5 * math.sqrt(want / count) + 0.1 * want
