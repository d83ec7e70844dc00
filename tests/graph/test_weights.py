"""What the axes of weights mean, and what scales their branches, in small models."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fanin.graph.analysis.axes import _agreed
from fanin.graph.recording.capture import capture
from fanin.graph.roles.label import roles


@pytest.mark.parametrize(
    ("meanings", "agreed"),
    [
        ({"in"}, "in"),
        ({"batch", "out"}, "out"),
        ({"batch", "in"}, "in"),
        ({"in", "out"}, None),
        ({"batch", "in", "out"}, None),
    ],
)
def test_a_split_axis_means_what_its_parts_agree_on(meanings, agreed):
    assert _agreed(meanings) == agreed


class Heads(nn.Module):
    """Four maps from 8 to 6 in one matrix: stacked along the outputs, or along the inputs."""

    def __init__(self, along):
        super().__init__()
        self.along = along
        self.weight = nn.Parameter(torch.randn(24, 8) if along == "out" else torch.randn(6, 32))

    def forward(self, x):
        if self.along == "out":
            return torch.einsum("hoi,bhi->bho", self.weight.view(4, 6, 8), x)
        return torch.einsum("ohi,bhi->bho", self.weight.view(6, 4, 8), x)


@pytest.mark.parametrize("along", ["out", "in"])
def test_maps_stacked_in_one_matrix_keep_their_own_fan_in(along):
    role = roles(capture(Heads(along), torch.zeros(3, 4, 8)))["weight"]
    assert role.fan_in == 8.0
    assert role.role == "weight"


class Scaled(nn.Module):
    def __init__(self, place):
        super().__init__()
        self.place = place
        self.up, self.down, self.head = nn.Linear(8, 16), nn.Linear(16, 8), nn.Linear(8, 4)
        self.gamma = nn.Parameter(torch.full((8,), 1e-3))

    def forward(self, x):
        branch = self.down(torch.relu(self.up(x)))
        return self.head(x + (self.gamma * branch if self.place == "branch" else branch))


@pytest.mark.parametrize(("place", "scale"), [("branch", "gamma"), ("nowhere", "")])
def test_a_branch_knows_the_parameter_that_scales_it(place, scale):
    found = roles(capture(Scaled(place), torch.zeros(3, 8)))
    assert found["down.weight"].branch.layer_scale == scale
    assert found["up.weight"].branch.layer_scale == scale


@pytest.mark.parametrize(("mode", "bag"), [("sum", 5), ("mean", 1), ("max", 1)])
def test_only_a_sum_adds_the_rows_of_a_bag(mode, bag):
    bags = nn.Sequential(nn.EmbeddingBag(50, 8, mode=mode), nn.Linear(8, 4))
    role = roles(capture(bags, torch.arange(15).reshape(3, 5)))["0.weight"]
    assert role.layout.lookup
    assert role.layout.bag == bag


def test_bags_of_several_sizes_count_as_their_mean():
    class Bags(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.EmbeddingBag(50, 8, mode="sum")

        def forward(self, ids, offsets):
            return self.table(ids, offsets)

    found = roles(capture(Bags(), (torch.arange(12), torch.tensor([0, 1, 5]))))["table.weight"]
    assert found.layout.bag == 4


@pytest.mark.parametrize("function", [lambda a: a**2, lambda a: a * a, lambda a: a.square(), lambda a: 7 * a - 3])
def test_units_are_followed_and_never_computed_with(function):
    """Numbers stand for the units of a weight while it is followed; 7 squared is no unit of 40."""

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.out = nn.Parameter(torch.eye(40)), nn.Linear(40, 10)

        def forward(self, x):
            return self.out((x @ self.a.T).tanh() + (x * x) @ function(self.a).T)

    (part,) = roles(capture(Twice(), torch.randn(8, 40))).parameters["a"].parts or (None,)
    assert part is None or part.size == 40
