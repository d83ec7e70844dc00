"""Outputs that are too large: the output layer drawn smaller, and everything else as planned."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

import fanin
from fanin.initializers import Normal
from fanin.planning.calmer import smaller_alike, smaller_outputs


class Products(nn.Module):
    """Stacked products of maps without a bias: long tails."""

    def __init__(self, depth=2, width=32):
        super().__init__()
        self.one = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(depth))
        self.two = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(depth))
        self.head = nn.Linear(width, 10)

    def forward(self, x):
        for one, two in zip(self.one, self.two, strict=True):
            x = one(x) * two(x)
        return self.head(x)


def long_tailed(seed=0):
    torch.manual_seed(seed)
    x = torch.randn(64, 32) * torch.exp(0.3 * torch.randn(64, 1))
    return Products(), x / x.square().mean().sqrt(), torch.randint(0, 10, (64,))


@pytest.mark.parametrize("seed", range(2))
def test_only_the_output_layer_is_taken_back(seed):
    model, x, y = long_tailed(seed)
    first = functional.cross_entropy(model(x), y).item()
    whole = fanin.plan(model, x)
    made = fanin.init_(model, x, targets=y)
    assert functional.cross_entropy(model(x), y).item() <= first + math.log(2.0)
    assert made.extras["trial"]["smaller"] == ["head.weight"] + ["head.bias"] * (made["head.bias"].action == "draw")
    assert "kept" not in made.extras["trial"]
    assert made["head.weight"].std < whole["head.weight"].std
    assert {n: a.std for n, a in made.assignments.items() if n[:4] != "head"} == {
        n: a.std for n, a in whole.assignments.items() if n[:4] != "head"
    }
    assert "times that size" in made.warnings[0]
    assert made.verify(model).ok


def test_at_full_size_the_same_start_is_worse():
    model, x, y = long_tailed()
    first = functional.cross_entropy(model(x), y).item()
    fanin.init_(model, x, targets=y, trial=False)
    assert functional.cross_entropy(model(x), y).item() > first + math.log(2.0)


@pytest.mark.parametrize("name", ["one.0.weight", "head.weight"])
def test_where_a_law_itself_is_too_large_the_output_layer_is_not_blamed(name):
    model, x, y = long_tailed()
    made = fanin.plan(model, x, overrides={name: Normal(std=30.0)})
    assert smaller_outputs(made, made.trial(model, x, y)) == ({}, 1.0)


def test_a_trial_with_another_fault_is_no_matter_of_size():
    model, x, y = long_tailed()
    made = fanin.plan(model, x)
    first = made.trial(model, x, y)
    assert smaller_outputs(made, first)[0]
    fault = replace(first.worse[0], kind="prediction")
    assert not smaller_outputs(made, replace(first, worse=(*first.worse, fault)))[0]


def test_also_where_the_found_network_is_dead_the_first_loss_stays_near_it():
    torch.manual_seed(0)
    x, y = torch.randn(64, 32) * torch.exp(0.3 * torch.randn(64, 1)), torch.randint(0, 10, (64,))
    widths = [m for _ in range(8) for m in (nn.Linear(32, 32), Squared())]
    model = nn.Sequential(*widths, nn.Linear(32, 10))
    first = functional.cross_entropy(model(x), y).item()
    made = fanin.init_(model, x, targets=y)
    assert functional.cross_entropy(model(x), y).item() <= first + math.log(2.0)
    assert "times that size" in made.warnings[0]


class Squared(nn.Module):
    def forward(self, x):
        return torch.relu(x).square()


class Quartic(nn.Module):
    """Branches of the fourth power of a stream without norm: each enlarges what the one before it enlarged."""

    def __init__(self, depth=2, width=32):
        super().__init__()
        self.maps = nn.ModuleList(nn.Linear(width, 4 * width) for _ in range(depth))
        self.outs = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.head = nn.Linear(width, 10)

    def forward(self, x):
        for layer, out in zip(self.maps, self.outs, strict=True):
            a, b, c, d = layer(x).chunk(4, -1)
            x = x + out(a * b * c * d)
        return self.head(x)


def uneven(seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(64, 32, generator=generator) * torch.exp(0.6 * torch.randn(64, 1, generator=generator))
    return x / x.square().mean().sqrt(), torch.randint(0, 10, (64,), generator=generator)


def test_maps_of_one_rule_that_are_all_too_large_are_drawn_smaller_together():
    torch.manual_seed(0)
    model, (x, y) = Quartic(), uneven()
    first = functional.cross_entropy(model(x), y).item()
    made = fanin.init_(model, x, targets=y)
    assert functional.cross_entropy(model(x), y).item() <= first + math.log(2.0)
    assert {"outs.0.weight", "outs.1.weight"} <= set(made.extras["trial"]["smaller"])
    assert "kept" not in made.extras["trial"]
    assert "layer after layer" in made.warnings[0]


def test_one_law_that_is_too_large_does_not_shrink_the_others_of_its_rule():
    torch.manual_seed(0)
    model, (x, y) = Quartic(), uneven()
    even = x / x.square().mean(1, keepdim=True).sqrt()
    made = fanin.plan(model, even, overrides={"outs.1.weight": Normal(std=30.0)})
    assert smaller_alike(made, made.trial(model, even, y)) == ({}, 1.0)


class Dropped(nn.Module):
    """Maps with dropout before each: the first loss depends on what it drops."""

    def __init__(self, share=0.3, width=32):
        super().__init__()
        self.maps, self.head = nn.ModuleList(nn.Linear(width, 4 * width) for _ in range(3)), nn.Linear(width, 10)
        self.share = share

    def forward(self, x):
        for layer in self.maps:
            x = layer(functional.dropout(x, self.share, self.training)).unflatten(-1, (-1, 4)).amax(-1)
        return self.head(functional.dropout(x, self.share, self.training))


def near_its_limit(model, x, y):
    """A plan whose first loss, without dropout's chance, is a little below the limit, and its trial."""
    made = fanin.plan(model, x)
    for times in (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4):
        other = fanin.plan(model, x, overrides={"head.weight": Normal(std=times * made["head.weight"].std)})
        done = other.trial(model, x, y)
        if 0.5 * math.log(2.0) < done.planned.loss - done.found.loss < 0.95 * math.log(2.0):
            return done
    raise AssertionError("no plan is near the limit")


@pytest.mark.slow
def test_a_first_loss_near_its_limit_is_that_of_several_draws_of_dropout():
    torch.manual_seed(0)
    x, y = torch.randn(64, 32), torch.randint(0, 10, (64,))
    random, still = near_its_limit(Dropped(), x, y), near_its_limit(Dropped(0.0), x, y)
    assert random.planned.loss_above > random.planned.loss
    assert random.to_dict()["planned"]["loss_above"] == random.planned.most_loss
    assert still.planned.loss_above is None
    assert "loss_above" not in still.to_dict()["planned"]


def test_what_is_judged_is_the_loss_of_the_worst_of_most_draws():
    torch.manual_seed(0)
    x, y = torch.randn(64, 32), torch.randint(0, 10, (64,))
    model = Dropped()
    done = near_its_limit(model, x, y)
    limit = done.found.loss + math.log(2.0)
    below = replace(done, worse=(), planned=replace(done.planned, loss=limit - 0.01, loss_above=None))
    assert not below.rises
    assert replace(below, planned=replace(below.planned, loss_above=limit + 0.01)).rises


def test_outputs_are_not_drawn_at_their_own_size_a_second_time():
    model, x, y = long_tailed()
    made = fanin.plan(model, x)
    first = made.trial(model, x, y)
    level = replace(first.planned, loss=first.found.loss + 0.1, output_rms=0.5)
    assert smaller_outputs(made, first)[0]
    assert smaller_outputs(made, replace(first, planned=level)) == ({}, 1.0)
