"""Layers of functions of single numbers: how sharp a basis is, small splines beside a map, calm maps before a basis."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

import fanin
from fanin.graph.recording.capture import capture
from fanin.graph.roles.label import roles
from fanin.recipes.auto.evidence import BESIDE_SHARE
from fanin.recipes.engine.expansions import expansions, sharpness


class Basis(nn.Module):
    """Layers sum_k W_k f_k(x), beside a plain map of silu(x) or alone."""

    def __init__(self, functions, depth=2, width=24, *, beside=False):
        super().__init__()
        self.functions, self.count = functions, depth
        sizes = [*[width] * depth, 5]
        self.weights = nn.ParameterList(
            nn.Parameter(torch.randn(b, width, functions(torch.zeros(1)).shape[-1])) for b in sizes
        )
        self.base = nn.ModuleList(nn.Linear(width, b) for b in sizes) if beside else None

    def forward(self, x):
        for n, weight in enumerate(self.weights):
            out = torch.einsum("nik,oik->no", self.functions(x), weight)
            x = out if self.base is None else self.base[n](functional.silu(x)) + out
        return x


def waves(*speeds):
    return lambda x: torch.stack([f(w * x) for w in speeds for f in (torch.sin, torch.cos)], -1)


def bumps(x):
    return torch.exp(-((x[..., None] - torch.linspace(-2, 2, 5)) ** 2))


def found_in(model):
    graph = capture(model, torch.randn(16, 24))
    return graph, expansions(graph, roles(graph).parameters)


@pytest.mark.parametrize("q", [0.2, 1.0])
def test_the_sharpness_of_waves_is_the_mean_square_of_their_speeds(q):
    """sum f_k² is the number of speeds, sum f_k'² the sum of their squares, at every z."""
    graph, found = found_in(Basis(waves(1.0, 3.0)))
    assert set(found) == {"weights.0", "weights.1", "weights.2"}
    assert {e.count for e in found.values()} == {4}
    for expansion in found.values():
        assert sharpness(graph, expansion, q) == pytest.approx(q * (1.0 + 9.0) / 2.0, rel=1e-4)


def test_the_function_in_front_of_a_basis_belongs_to_it():
    graph, found = found_in(Basis(lambda x: waves(1.0, 3.0)(torch.tanh(x))))
    assert sharpness(graph, found["weights.1"], 1.0) < 0.9 * 5.0  # tanh is flat where z is large


def test_a_plain_map_and_two_functions_are_no_basis():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Linear(24, 24), nn.Linear(48, 5)

        def forward(self, x):
            h = torch.tanh(self.one(x))
            return self.two(torch.cat([h, h * h], -1))

    assert found_in(Two())[1] == {}


def test_a_basis_beside_a_map_starts_small():
    torch.manual_seed(0)
    x = torch.randn(64, 24)
    beside, alone = fanin.plan(Basis(bumps, beside=True), x), fanin.plan(Basis(bumps), x)
    for name in ("weights.0", "weights.1", "weights.2"):
        assert beside[name].rule == "beside a map"
        assert beside[name].predicted_rms[0] == pytest.approx(BESIDE_SHARE, rel=0.02)
        assert alone[name].rule != "beside a map"
    assert beside["base.1.weight"].predicted_rms[0] == pytest.approx(1.0, rel=0.02)


def test_maps_before_a_sharp_basis_are_calm_and_before_a_smooth_one_are_not():
    torch.manual_seed(0)
    x = torch.randn(64, 24)
    plan = fanin.plan(Basis(waves(1.0, 3.0)), x)
    for name in ("weights.0", "weights.1"):
        assert plan[name].rule == "sharp"
        q = plan[name].predicted_rms[0] ** 2
        assert (5.0 * q) ** 3 <= 2.0 < (5.0 * q * 1.13) ** 3
    assert {a.rule for a in fanin.plan(Basis(waves(0.5, 1.0)), x).assignments.values()} == {"forward", "head"}


def test_where_the_functions_cannot_be_run_again_their_sharpness_is_unknown():
    def refuses(*args, **kwargs):
        raise RuntimeError("not outside its model")

    graph, found = found_in(Basis(waves(1.0, 3.0)))
    broken = replace(graph, ops=tuple(replace(op, func=refuses) for op in graph.ops))
    assert sharpness(broken, found["weights.0"], 1.0) is None
