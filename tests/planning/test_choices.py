"""Small choices of the planning verbs, each with a case that comes out differently under the opposite choice."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

import fanin
from fanin.planning.diff import _fields


# ---------------------------------------------------------------------- diff
def test_a_std_that_follows_from_the_shape_is_no_difference_and_hides_none():
    one = fanin.plan(nn.Linear(8, 4), torch.ones(2, 8))["weight"]
    assert list(_fields(one, replace(one, std=2 * one.std))) == []
    fields = [d.field for d in _fields(one, replace(one, std=2 * one.std, aliases=("tied",), zero_rows=(1,)))]
    assert fields == ["aliases", "zero_rows"]
    other = replace(one, initializer=fanin.initializers.Normal(std=3.0), std=3.0)
    assert [d.field for d in _fields(one, other)] == ["initializer", "std"]


# ---------------------------------------------------------------------- apply
def on_one_memory(second):
    """Two 4 x 4 weights in one flat tensor; the second begins at that number."""
    flat = torch.randn(64)
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Tanh(), nn.Linear(4, 4, bias=False))
    model[0].weight = nn.Parameter(flat[:16].view(4, 4))
    model[2].weight = nn.Parameter(flat[second : second + 16].view(4, 4))
    return model


@pytest.mark.parametrize("second", [16, 20, 48])
def test_weights_beside_each_other_in_one_memory_are_written(second):
    model = on_one_memory(second)
    plan = fanin.init_(model, torch.ones(2, 4))
    assert plan.verify(model).ok


@pytest.mark.parametrize("second", [1, 15])
def test_weights_that_share_a_part_of_their_memory_are_not(second):
    with pytest.raises(
        fanin.errors.PlanError, match=r"0\.weight and 2\.weight: different parameters in the same memory"
    ):
        fanin.init_(on_one_memory(second), torch.ones(2, 4))


# ---------------------------------------------------------------------- verify
class Times(nn.Module):
    """A parametrization by a number that is no parameter."""

    def __init__(self):
        super().__init__()
        self.register_buffer("factor", torch.ones(()))

    def forward(self, weight):
        return weight * self.factor

    def right_inverse(self, weight):
        return weight


@pytest.mark.parametrize(("factor", "ok"), [(1.0, True), (float("nan"), False), (float("inf"), False)])
def test_a_weight_that_is_computed_to_be_no_number_is_found(factor, ok):
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 4))
    parametrize.register_parametrization(model[0], "weight", Times())
    plan = fanin.init_(model, torch.ones(2, 4), on_unknown="keep")
    model[0].parametrizations.weight[0].factor.fill_(factor)
    assert plan.verify(model).ok == ok
