"""A chain of elementwise operations of one signal is one function: its moments are those of what it computes."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import fanin
from fanin.graph.recording.capture import capture
from fanin.moments import JointMoments, forward_sweep, propagate
from tests.selection import few

DRAWS = 200_000
Z = 5.0
GRID = 2e-3  # the grid's own error, relative to the second moment


def written(x):
    y = x.clone()
    y[x < 0] = 0
    return y * y


def horner(x):
    return ((0.1 * x - 1) * x + 1) * x


def long_chain(x):
    y = x
    for _ in range(30):
        y = 0.9 * y + 0.1 * torch.sin(y)
    return y


CHAINS = {
    "pole in the branch not taken": lambda x: torch.where(x > 0, x / (1 + x), 0.05 * x),
    "square over a pole": lambda x: torch.where(x > 0, x * x / (1 + x), 0.05 * x),
    "softsign": lambda x: x / (1 + x.abs()),
    "swish": lambda x: x * torch.sigmoid(1.7 * x),
    "polynomial": horner,
    "x exp(-x^2)": lambda x: x * torch.exp(-(x**2)),
    "sinc with a guard": lambda x: torch.where(x.abs() > 1e-3, torch.sin(3 * x) / x, 3.0 * torch.ones_like(x)),
    "logarithm of negatives not taken": lambda x: torch.where(x > 0, torch.log1p(x), torch.expm1(x)),
    "overflow not taken": lambda x: torch.where(x < 2, x, torch.exp(90 * x).reciprocal()),
    "written by a mask": written,
    "filled by a mask": lambda x: x.masked_fill(x < -0.5, 0.2) * x,
    "masks times the signal": lambda x: (x > 0) * x - 0.3 * (x <= 0) * x,
    "masks combined": lambda x: (~((x > 1) | (x < -1))).float() * x,
    "hard tanh by two masks": lambda x: torch.where((x > -1) & (x < 1), x, x.sign()),
    "mask as a number": lambda x: x * (x > 0).to(x.dtype) * torch.tanh(x),
    "thirty links": long_chain,
}
BY_MASK = [name for name in CHAINS if "mask" in name or "not taken" in name]


class Chain(nn.Module):
    def __init__(self, name):
        super().__init__()
        self.name = name

    def forward(self, x):
        return CHAINS[self.name](x)


def predicted(name, q):
    """Mean, second moment, and second moment of the gradient at the input of a chain of N(0, q)."""
    graph = capture(Chain(name), torch.zeros(4, 16))
    source = graph.inputs[0]
    moments = propagate(graph, {}, {source: JointMoments.iid((4, 16), var=q)}, cotangent="unit")
    out, back = moments[graph.outputs[0].value].moments, moments[source].gradient
    return out.mean, out.second_moment, 0.0 if back is None else back.second_moment


def drawn(name, q):
    """The same and their standard errors, from draws of the function itself."""
    x = (
        math.sqrt(q) * torch.randn(DRAWS, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    ).requires_grad_()
    y = CHAINS[name](x)
    (slope,) = torch.autograd.grad(y.sum(), x)
    values = [y.detach(), y.detach() ** 2, slope[slope.isfinite()] ** 2]  # torch gives nan where a branch overflows
    return [(float(v.mean()), float(v.std()) / math.sqrt(len(v))) for v in values]


def apart(name, q):
    """How far predicted moments are from drawn ones, in units of the tolerance."""
    truth = drawn(name, q)
    size = [math.sqrt(truth[1][0]), truth[1][0], truth[2][0]]
    return [
        abs(p - t) / (Z * error + GRID * s) for p, (t, error), s in zip(predicted(name, q), truth, size, strict=True)
    ]


@pytest.mark.parametrize("name", few(CHAINS, every=2))
def test_a_chain_has_the_moments_of_what_it_computes(name):
    assert max(apart(name, 1.0)) < 1.0


@given(st.sampled_from(sorted(CHAINS)), st.floats(0.05, 4.0))
@settings(max_examples=8, deadline=None)
def test_at_any_variance(name, q):
    assert max(apart(name, q)) < 1.0


@pytest.mark.parametrize("name", BY_MASK)
def test_a_mask_taken_as_independent_of_what_it_compares_is_noticed(monkeypatch, name):
    if name == "overflow not taken":
        pytest.skip("its two branches have moments of their own even so")
    monkeypatch.setattr(forward_sweep, "as_function", lambda frame, op, drawn: drawn)
    assert max(apart(name, 1.0)) > 1.0


class Guarded(nn.Module):
    def forward(self, x):
        return torch.where(x > 0, x / (1 + x), 0.05 * x)


def guarded_net(width=64, out=10):
    return nn.Sequential(nn.Linear(64, width), Guarded(), nn.Linear(width, width), Guarded(), nn.Linear(width, out))


def test_a_plan_reads_a_guarded_function_as_it_is():
    torch.manual_seed(0)
    x = torch.randn(256, 64)
    plan = fanin.plan(guarded_net(), x)
    z = torch.randn(1_000_000, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    second = float(Guarded()(z).square().mean())
    right = 1 / math.sqrt(64 * second)
    assert plan["2.weight"].std == pytest.approx(right, rel=0.02)


@pytest.mark.slow
def test_a_wide_guarded_network_has_the_predicted_rms():
    torch.manual_seed(0)
    x = torch.randn(512, 64)
    model = guarded_net(width=2048, out=2048)
    fanin.init_(model, x)
    for site in fanin.check(model, x).measurements.sites:
        if site.kind == "weight":
            assert site.forward.rms == pytest.approx(site.predicted.rms, rel=0.02)
