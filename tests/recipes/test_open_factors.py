"""Stacked products of two maps of one input: one factor starts at one, so that the powers do not add up."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

import fanin
from fanin.initializers import Normal, Ones


class Products(nn.Module):
    def __init__(self, combine, depth=4, width=48, bias=True):
        super().__init__()
        self.combine = combine
        self.one = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.two = nn.ModuleList(nn.Linear(width, width, bias=bias) for _ in range(depth))
        self.head = nn.Linear(width, 10)

    def forward(self, x):
        for one, two in zip(self.one, self.two, strict=True):
            x = self.combine(x, one, two)
        return self.head(x)


def batch():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 48, generator=generator) * torch.exp(0.3 * torch.randn(64, 1, generator=generator))
    return x / x.square().mean().sqrt(), torch.randint(0, 10, (64,), generator=generator)


OPEN = {
    "bilinear": lambda x, a, b: a(x) * b(x),
    "the other order": lambda x, a, b: b(x) * functional.gelu(a(x)),
    "silu gate": lambda x, a, b: functional.silu(a(x)) * b(x),
    "relu gate through a view": lambda x, a, b: torch.relu(a(x)) * b(x).view(-1, 12, 4).flatten(1),
    "with its input": lambda x, a, b: torch.relu(x) * b(x),
}
CLOSED = {
    "sigmoid gate": lambda x, a, b: torch.sigmoid(a(x)) * b(x),
    "a function of both": lambda x, a, b: torch.relu(a(x)) * torch.tanh(b(x)),
    "residual": lambda x, a, b: x + a(x) * b(x),
    "another input": lambda x, a, b: a(x) * b(torch.tanh(x.flip(-1)) + x),
}


@pytest.mark.parametrize("name", OPEN)
def test_one_factor_starts_at_one(name):
    model, (x, y) = Products(OPEN[name]), batch()
    plan = fanin.init_(model, x, targets=y)
    assert [plan[f"two.{i}.bias"].initializer for i in range(4)] == [Ones()] * 4
    assert {plan[f"two.{i}.weight"].rule for i in range(4)} == {"open factor"}
    assert "open factor" not in {plan[f"one.{i}.weight"].rule for i in range(4)}
    assert not {"kept", "smaller"} & set(plan.extras["trial"])
    assert 0.4 < float(model(x).detach().square().mean().sqrt()) < 1.8


@pytest.mark.parametrize("name", CLOSED)
def test_other_products_keep_their_rules(name):
    plan = fanin.plan(Products(CLOSED[name]), batch()[0])
    assert "open factor" not in {a.rule for a in plan.assignments.values()}


def test_both_factors_at_rms_one_give_outputs_without_bound():
    model, (x, _) = Products(OPEN["silu gate"]), batch()
    laws = {f"two.{i}.weight": Normal(std=48**-0.5) for i in range(4)}
    fanin.init_(model, x, trial=False, overrides={**laws, **{f"two.{i}.bias": Normal(std=0.0) for i in range(4)}})
    sizes = model(x).detach().square().mean(1).sqrt()
    assert float(sizes.max() / sizes.median()) > 20.0


def test_the_factors_of_other_samples_stay_near_those_of_all():
    model, (x, _) = Products(OPEN["silu gate"]), batch()
    fanin.init_(model, x, trial=False)
    sizes = model(x).detach().square().mean(1).sqrt()
    assert float(sizes.max() / sizes.median()) < 10.0


def test_a_factor_without_a_bias_and_a_single_product_are_left_to_the_forward_rule():
    x, _ = batch()
    for model in (Products(OPEN["bilinear"], depth=1), Products(OPEN["silu gate"], bias=False)):
        assert "open factor" not in {a.rule for a in fanin.plan(model, x).assignments.values()}


def test_a_frozen_bias_leaves_its_map_to_the_forward_rule():
    model, (x, _) = Products(OPEN["silu gate"]), batch()
    model.two[0].bias.requires_grad_(False)
    plan = fanin.plan(model, x)
    assert plan["two.0.weight"].rule == "first layer"
    assert plan["two.1.weight"].rule == "open factor"


class Fused(nn.Module):
    """Layers whose factors are cut out of one map."""

    def __init__(self, combine, parts, depth=3, width=48):
        super().__init__()
        self.combine, self.parts = combine, parts
        self.maps = nn.ModuleList(nn.Linear(width, parts * width) for _ in range(depth))
        self.down = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.head = nn.Linear(width, 10)

    def forward(self, x):
        for layer, down in zip(self.maps, self.down, strict=True):
            x = down(self.combine(x, *layer(x).chunk(self.parts, -1)))
        return self.head(x)


@pytest.mark.parametrize(
    ("combine", "parts", "part"),
    [
        (lambda x, a, b: functional.silu(a) * b, 2, 1),
        (lambda x, a, b: a * functional.gelu(b), 2, 0),
        (lambda x, a, b, c: torch.relu(a * b + c), 3, 1),
        (lambda x, a, b: torch.relu(x * a + b), 2, 0),
    ],
)
def test_one_part_of_a_fused_map_starts_at_one(combine, parts, part):
    model, (x, y) = Fused(combine, parts), batch()
    plan = fanin.init_(model, x, targets=y)
    weight, bias = model.maps[1].weight.detach().view(parts, 48, 48), model.maps[1].bias.detach().view(parts, 48)
    assert [float(b.unique()) for b in bias] == [1.0 if n == part else 0.0 for n in range(parts)]
    sizes = weight.flatten(1).std(1)
    assert float(sizes[part]) < 0.2 * float(min(s for n, s in enumerate(sizes) if n != part))
    assert plan["maps.1.weight"].rule == plan["maps.1.bias"].rule == "open factor"
    assert 0.4 < float(model(x).detach().square().mean().sqrt()) < 1.8


def test_a_gate_cut_out_of_a_fused_map_keeps_its_rules():
    plan = fanin.plan(Fused(lambda x, a, b: torch.sigmoid(a) * b, 2), batch()[0])
    assert "open factor" not in {a.rule for a in plan.assignments.values()}


def test_a_part_with_a_bias_of_its_own_has_moments_of_its_own():
    """E silu(z)², z ~ N(0, 1), is 0.356; with both parts as one, of mean 1/2 and variance 3/4, it would be 0.58."""
    model, (x, _) = Fused(lambda x, a, b: functional.silu(a) * b, 2), batch()
    plan = fanin.plan(model, x)
    assert (1.0 / (plan["down.1.weight"].std * 48**0.5)) ** 2 == pytest.approx(0.356, rel=0.1)
