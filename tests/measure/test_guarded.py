"""Predictions through functions that torch guards: division by zero, underflow and overflow raise nothing of ours."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
import torch
from torch import nn

import fanin
from tests.selection import few

Fn = Callable[[torch.Tensor], torch.Tensor]

SHOWN: dict[str, Fn] = {
    "branch not taken": lambda x: torch.where(x < 2, x, torch.exp(90 * x).reciprocal()),
    "over zero": lambda x: torch.where(x > 0, x, x / 0.0),
    "underflow": lambda x: torch.exp(-700 - x) * x,
    "square beyond range": lambda x: torch.clamp((1e20 * x) ** 8, -1.0, 1.0),
    "fourth power too small": lambda x: (1e-20 * x) ** 8 + 1e-90 * x,
    "over itself": lambda x: torch.nan_to_num(x / x),
    "log of what is not positive": lambda x: torch.log(x).masked_fill(x < 0.5, 0.0),
}

FUNCTIONS: list[Fn] = [
    torch.exp,
    torch.reciprocal,
    torch.log,
    torch.sqrt,
    torch.rsqrt,
    torch.sinh,
    torch.expm1,
    torch.relu,
    torch.atanh,
    torch.floor,
    lambda x: x**-2,
    lambda x: x.pow(8),
    lambda x: x / 0.0,
    lambda x: x * 0.0,
    lambda x: x / x,
    lambda x: x - x,
]


class Guarded(nn.Module):
    """Maps with guarded functions between them."""

    def __init__(self, functions: list[Fn], norm: int) -> None:
        super().__init__()
        self.maps = nn.ModuleList(nn.Linear(32, 32) for _ in functions)
        self.norms = nn.ModuleList(nn.LayerNorm(32) if norm else nn.Identity() for _ in functions)
        self.functions, self.head = functions, nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer, norm, f in zip(self.maps, self.norms, self.functions, strict=True):
            x = norm(f(layer(x)))
        return self.head(x)


def ours(model: nn.Module) -> dict[str, str]:
    """What the report says of errors of fanin's own."""
    report = fanin.check(model, torch.randn(16, 32), predict=True, trial=False)
    return {k: v for k, v in report.measurements.missing.items() if "an error in fanin" in v}


@pytest.mark.parametrize("name", few(SHOWN, every=2))
def test_a_guarded_function_raises_nothing_of_ours(name):
    torch.manual_seed(0)
    assert ours(Guarded([SHOWN[name]], 0)) == {}


def composed(r: random.Random, depth: int) -> Fn:
    """A random expression of one tensor."""
    f, scale = r.choice(FUNCTIONS), r.choice([1e-30, 1e-8, 0.1, 1.0, 90.0, 700.0, 1e20])
    if depth == 0:
        return lambda x: f(scale * x)
    g, way = composed(r, depth - 1), r.randrange(4)
    ways: list[Fn] = [
        lambda x: f(scale * g(x)),
        lambda x: f(x) + g(x),
        lambda x: f(scale * x) * g(x),
        lambda x: g(x) / (f(x) + 1e-12),
    ]
    return ways[way]


def guarded(r: random.Random) -> Fn:
    """A random expression behind one of torch's guards."""
    e, limit = composed(r, r.randrange(3)), r.choice([-2.0, 0.0, 0.5, 50.0])
    guards: list[Fn] = [
        lambda x: torch.where(x < limit, x, e(x)),
        lambda x: torch.where(x.abs() > limit, e(x), 0.0),
        lambda x: torch.clamp(e(x), -1e6, 1e6),
        lambda x: e(x).masked_fill(x < limit, 0.0),
        lambda x: torch.nan_to_num(e(x), 0.0, 1e20, -1e20),
    ]
    return r.choice(guards)


@pytest.mark.parametrize("seed", few(range(200), *range(3)))
def test_random_guarded_functions_raise_nothing_of_ours(seed):
    r = random.Random(seed)
    torch.manual_seed(seed)
    assert ours(Guarded([guarded(r) for _ in range(r.randrange(1, 4))], r.randrange(2))) == {}


def test_an_error_of_a_backward_rule_is_named_and_costs_no_prediction_but_its_own(monkeypatch):
    """The twin: an error in a formula is found by the question above, and the other operations keep theirs."""
    from fanin.moments import backward_sweep

    def broken(*_: object) -> bool:
        raise ZeroDivisionError("float division by zero")

    monkeypatch.setattr(backward_sweep, "_largest_step", broken)
    torch.manual_seed(0)
    report = fanin.check(Guarded([torch.relu], 0), torch.randn(16, 32), predict=True)
    assert "ZeroDivisionError" in report.measurements.missing["prediction of some operations"]
    assert any(s.predicted_backward for s in report.measurements.sites)
