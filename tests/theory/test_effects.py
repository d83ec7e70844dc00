"""Effects of single operations against torch itself, golden numbers and identities; each with five standard errors."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from fanin.errors import TheoryError
from fanin.theory import gain
from fanin.theory.effects import (
    activated_tokens,
    average_pool_moments,
    batch_norm_growth,
    dropout_moments,
    dropout_scales,
    effective_taps,
    gated_moments,
    layer_norm_slope,
    linear_tokens,
    max_pool_moments,
    pooled_tokens,
    pre_norm_q,
    residual_chi,
    residual_depth_q,
    residual_q,
    rms_norm_slope,
)
from fanin.theory.effects.tokens import TokenMoments

torch = pytest.importorskip("torch")
GOLDEN = json.loads(Path(__file__).with_name("golden.json").read_text())


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def assert_mean(values, want, z=5.0):
    """Mean of independent values within z standard errors of want."""
    values = torch.as_tensor(values).double().flatten()
    error = values.std().item() / math.sqrt(values.numel())
    assert abs(values.mean().item() - want) < z * error, (
        f"mean {values.mean().item():.6g}, want {want:.6g} +- {z * error:.2g}"
    )


def test_the_comparison_can_fail():
    x = draw(100_000) ** 2
    assert_mean(x, 1.0)
    with pytest.raises(AssertionError, match="want"):
        assert_mean(x, 1.03**2)


@pytest.mark.parametrize("p", [0.1, 0.5])
@pytest.mark.parametrize("mean", [0.0, 0.8])
def test_dropout(p, mean):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        out = torch.nn.Dropout(p)(draw(400_000) + mean)
    got_mean, var = dropout_moments(mean=mean, var=1.0, p=p)
    assert_mean(out, got_mean)
    assert_mean(out**2, var + got_mean**2)


def test_dropout_behind_relu_has_second_moment_one_at_one_half():
    m, v = 1 / math.sqrt(2 * math.pi), 0.5 - 1 / (2 * math.pi)
    mean, var = dropout_moments(mean=m, var=v, p=0.5)
    assert mean**2 + var == pytest.approx(1.0)  # a rule without the mean term gives 0.841


def test_dropout_ends_criticality():
    got = [dropout_scales("tanh", sigma_w2=1.7609546396, sigma_b2=0.05, p=p) for p in (0.01, 0.05, 0.1, 0.2)]
    assert [s.xi_c for s in got] == pytest.approx([14.5, 6.8, 4.7, 2.9], abs=0.06)
    assert all(s.c_star < 1.0 for s in got)
    none = dropout_scales("tanh", sigma_w2=1.5, sigma_b2=0.05, p=0.0)
    assert (none.c_star, none.xi_c) == (1.0, pytest.approx(15.790994, rel=1e-6))


@pytest.mark.parametrize(
    ("name", "want"),
    [("relu", math.pi / (math.pi - 1)), ("gelu", 1.318845), ("silu", 1.212081), ("tanh", 1.177807), ("selu", 1.071575),
     ("linear", 1.0)],
)  # fmt: skip
def test_batch_norm_growth(name, want):
    assert batch_norm_growth(name) == pytest.approx(want, abs=3e-6)


def test_batch_norm_growth_in_torch():
    """Ratio of squared gradients over five plain linear + BatchNorm + relu layers; the statistics of a large batch."""
    width, batch, depth = 512, 1024, 6
    growth = []
    for seed in range(6):
        x = draw(batch, width, seed=seed).float().requires_grad_()
        h, kept = x, []
        for layer in range(depth):
            w = draw(width, width, seed=100 * seed + layer + 7).float() / math.sqrt(width)
            h = torch.nn.functional.batch_norm(torch.relu(h) @ w.T if layer else h @ w.T, None, None, training=True)
            h.retain_grad()
            kept.append(h)
        (h * draw(batch, width, seed=seed + 1000).float()).sum().backward()
        sizes = [k.grad.double().square().mean().item() for k in kept]
        growth.append((sizes[0] / sizes[-1]) ** (1 / (depth - 1)))
    error = np.std(growth, ddof=1) / math.sqrt(len(growth))
    # batch statistics take a share O(1 / batch + 1 / width) per layer: allowed beside five standard errors
    assert abs(np.mean(growth) - batch_norm_growth("relu")) < 5 * error + 1.5 * (1 / width + 1 / batch) * 5


@pytest.mark.parametrize("features", [8, 64])
def test_norm_slopes_are_the_jacobians(features):
    for seed in range(3):
        x = 1.7 * draw(features, seed=seed) + 0.4
        jac = torch.autograd.functional.jacobian(lambda v: torch.nn.functional.layer_norm(v, (features,), eps=0.0), x)
        want = layer_norm_slope(var=x.var(correction=0).item(), features=features)
        assert jac.square().sum().item() / features == pytest.approx(want, rel=1e-9)
        jac = torch.autograd.functional.jacobian(lambda v: torch.nn.functional.rms_norm(v, (features,), eps=0.0), x)
        want = rms_norm_slope(second=x.square().mean().item(), features=features)
        assert jac.square().sum().item() / features == pytest.approx(want, rel=1e-9)


def test_residuals():
    x, f = draw(200_000), 2.0 * draw(200_000, seed=1)
    assert_mean((x + 0.5 * f) ** 2, residual_q(1.0, 4.0, branch_multiplier=0.5))
    assert_mean((x + 0.5 * (x + f)) ** 2, residual_q(1.0, 5.0, branch_multiplier=0.5, correlation=1 / math.sqrt(5.0)))
    assert residual_depth_q(10_000, branch_gain2=1.0, branch_multiplier=0.01) == pytest.approx(math.e, rel=1e-4)
    assert pre_norm_q(10, branch=0.3, q0=2.0) == pytest.approx(5.0)
    assert residual_chi(0.5, skip=0.9, branch_multiplier=0.2) == pytest.approx(0.83)


@pytest.mark.parametrize("taps", GOLDEN["max_pool"])
def test_max_pool_moments(taps):
    want = {k: float(v) for k, v in GOLDEN["max_pool"][taps].items()}
    pooled = max_pool_moments(int(taps))
    assert pooled.mean == pytest.approx(want["mean"], abs=1e-12)
    assert pooled.second == pytest.approx(want["second"], rel=1e-12)


def test_pools_in_torch():
    shared, own = draw(4000, 8, 1, 1), draw(4000, 8, 6, 6, seed=1)
    x = 0.3 + math.sqrt(0.4) * shared + math.sqrt(0.6) * own
    for pool, moments in (
        (torch.nn.functional.max_pool2d, max_pool_moments(9, mean=0.3, correlation=0.4)),
        (torch.nn.functional.avg_pool2d, average_pool_moments(9, mean=0.3, correlation=0.4)),
    ):
        out = pool(x, 3)[:, :, 0, 0]  # one window an image: independent
        assert_mean(out, moments.mean)
        assert_mean(out**2, moments.second)
    assert max_pool_moments(9).second == pytest.approx(2.5626, abs=1e-4)


@pytest.mark.parametrize(("stride", "dilation", "padding"), [(1, 1, 1), (2, 1, 2), (1, 2, 2), (3, 1, 0)])
def test_padding_counts_taps(stride, dilation, padding):
    ones, kernel = torch.ones(1, 1, 7, 9), torch.ones(1, 1, 3, 5)
    out = torch.nn.functional.conv2d(ones, kernel, stride=stride, dilation=dilation, padding=padding)
    got = effective_taps((7, 9), (3, 5), padding=(padding,) * 2, stride=(stride,) * 2, dilation=(dilation,) * 2)
    assert got == pytest.approx(out.mean().item())


def test_gated_units():
    value, gate = 1.3 * draw(400_000), math.sqrt(0.7) * draw(400_000, seed=1)
    m = gated_moments("silu", gate_q=0.7, value_second=1.69)
    assert_mean((value * torch.nn.functional.silu(gate)) ** 2, m.second)
    gate.requires_grad_()
    (slope,) = torch.autograd.grad((value * torch.nn.functional.silu(gate)).sum(), gate)
    assert_mean(slope**2, m.gate_slope)
    assert gated_moments("silu").gain == pytest.approx(gain("silu"))


def test_tokens_through_a_block():
    start = TokenMoments(mean=0.0, second=1.0, product=0.3)
    hidden = activated_tokens(linear_tokens(start, sigma_w2=2.0, sigma_b2=0.1))
    shared = draw(300_000)
    h = math.sqrt(2.1) * torch.stack(
        [math.sqrt(0.7 / 2.1) * shared + math.sqrt(1.4 / 2.1) * draw(300_000, seed=s) for s in (1, 2, 3)]
    )
    a = torch.relu(h)
    assert_mean(a[0] ** 2, hidden.second)
    assert_mean(a[0] * a[1], hidden.product)
    assert_mean(a.mean(0) ** 2, pooled_tokens(hidden, 3))


def test_bad_input():
    for call, match in (
        (lambda: dropout_moments(mean=0.0, var=1.0, p=1.0), "share of entries dropped"),
        (lambda: batch_norm_growth(lambda x: 0.0 * x + 1.0), "constant function"),
        (lambda: layer_norm_slope(var=1.0, features=2), "at least 3 features"),
        (lambda: residual_q(-1.0, 1.0), "must be >= 0"),
        (lambda: max_pool_moments(0), "taps >= 1"),
        (lambda: max_pool_moments(4, correlation=-0.1), "must be >= 0 for a maximum"),
        (lambda: effective_taps((4,), (3, 3), padding=(1,)), "one number per axis"),
        (lambda: effective_taps((2,), (5,), padding=(0,)), "does not fit"),
        (lambda: gated_moments("silu", value_second=0.0), "value_second"),
        (lambda: activated_tokens(TokenMoments(mean=1.0, second=2.0, product=1.5)), "centred tokens"),
    ):
        with pytest.raises(TheoryError, match=match):
            call()
