"""Recipes `dks` and `tat`: the same function as with shaped activations, in the unmodified network."""

from __future__ import annotations

import copy
import itertools
import json
import math

import pytest
import torch
from torch import nn

import fanin
from fanin import theory
from fanin.errors import ArgumentError, PlanError
from fanin.moments.answers import MeanMapped
from fanin.theory.moments import gaussian_moments
from tests.selection import few

SHAPES = {"dks": theory.dks, "tat": theory.tat}
FOLDED = ("gelu", "sigmoid", "elu")
ACTIVATIONS = {"gelu": nn.GELU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "elu": nn.ELU, "silu": nn.SiLU}


def normal(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def stack(activation, depth=30, width=64, inputs=64, outputs=10):
    sizes = [inputs, *[width] * depth]
    layers = [m for a, b in itertools.pairwise(sizes) for m in (nn.Linear(a, b), activation())]
    return nn.Sequential(*layers, nn.Linear(width, outputs))


def convolutions(activation, depth=20):
    layers = [m for a in (1, *[16] * (depth - 1)) for m in (nn.Conv2d(a, 16, 3, padding=1), activation())]
    return nn.Sequential(*layers, nn.AvgPool2d(4), nn.Flatten(), nn.Linear(64, 10))


class Shaped(nn.Module):
    """An activation with the papers' four constants around it."""

    def __init__(self, activation, c):
        super().__init__()
        self.activation, self.c = activation, c

    def forward(self, x):
        return self.c.output_scale * (
            self.activation(self.c.input_scale * x + self.c.input_shift) + self.c.output_shift
        )


def swapped(model, c):
    """The network of the papers: orthogonal maps without bias, shaped activations."""
    other = copy.deepcopy(model)
    maps = [m for m in other if isinstance(m, (nn.Linear, nn.Conv2d))]
    for i, layer in enumerate(maps):
        gain = (c.input_scale if i < len(maps) - 1 else 1.0) * (c.output_scale if i else 1.0)
        layer.weight.data /= gain
        layer.bias.data.zero_()
    return nn.Sequential(*(m if hasattr(m, "weight") or not _shapes(m) else Shaped(m, c) for m in other))


def _shapes(module):
    return isinstance(module, tuple(ACTIVATIONS.values()))


CASES = [
    (recipe, name, build) for recipe in SHAPES for name in ("gelu", "sigmoid", "elu") for build in (stack, convolutions)
]


@pytest.mark.parametrize(
    ("recipe", "name", "build"), few(CASES, ("dks", "elu", stack), ("tat", "elu", stack), ("dks", "elu", convolutions))
)
def test_a_folded_start_computes_what_shaped_activations_do(recipe, name, build):
    model, x = build(ACTIVATIONS[name]), normal(16, 64) if build is stack else normal(4, 1, 8, 8)
    plan = fanin.init_(model, x, recipe=recipe, trial=False)
    other = swapped(model, SHAPES[recipe](name, depth=30 if build is stack else 20))
    with torch.no_grad():
        difference = (model(x) - other(x)).square().mean().sqrt() / other(x).std()
    assert float(difference) < 1e-4
    assert plan.verify(model).ok
    assert plan.verify(model, bits=True).ok


def test_a_map_without_its_shift_computes_something_else():
    model, x = stack(nn.GELU), normal(16, 64)
    fanin.init_(model, x, recipe="dks", trial=False)
    other = swapped(model, theory.dks("gelu", depth=30))
    model[30].bias.data.zero_()
    with torch.no_grad():
        assert float((model(x) - other(x)).std() / other(x).std()) > 0.1


def signals(total_slope=1.5, depth=10, width=512):
    """q, correlation and distance after a deep wide stack, over those of its inputs, and their standard errors."""
    x = normal(2, width).double()
    x[1] -= x[0] * (x[0] @ x[1]) / (x[0] @ x[0])
    x *= math.sqrt(width) / x.norm(dim=1, keepdim=True)
    near = x[0] + 1e-5 * normal(3, width)[2].double()
    model = stack(nn.Tanh, depth=depth, width=width, inputs=width, outputs=width).double()
    fanin.init_(model, x, recipe="dks", total_slope=total_slope, trial=False)
    with torch.no_grad():
        y = model(torch.cat([x, near[None]]))
    c = theory.dks("tanh", depth=depth, total_slope=total_slope)
    m = gaussian_moments(
        lambda z: c.output_scale * (torch.tanh(c.input_scale * torch.as_tensor(z) + c.input_shift) + c.output_shift)
    )
    q = float(y[0].square().mean())
    cosine = float(torch.cosine_similarity(y[0], y[1], dim=0))
    distance = float((y[2] - y[0]).square().sum() / (near - x[0]).square().sum())
    errors = [
        math.sqrt(depth * (m.fourth - 1.0) / width),
        math.sqrt((depth + 1.0) / width),
        distance * math.sqrt(depth * (3.0 * m.dfourth / m.dsecond**2 - 1.0) / width),
    ]
    return (q, cosine, distance), errors


@pytest.mark.slow
def test_a_wide_stack_keeps_q_and_uncorrelated_inputs_and_has_the_slope_asked_for():
    found, errors = signals()
    for value, want, error in zip(found, (1.0, 0.0, 1.5), errors, strict=True):
        assert abs(value - want) < 5.0 * error


def test_another_slope_would_be_noticed():
    (_, _, distance), (_, _, error) = signals(total_slope=8.0)
    assert abs(distance - 1.5) > 5.0 * min(error, 0.5)
    assert distance == pytest.approx(8.0, abs=5.0 * error)


@pytest.mark.parametrize("recipe", few(SHAPES, every=2))
def test_predictions_follow_biases_that_were_made_from_their_weights(recipe, monkeypatch):
    model, x = stack(nn.Sigmoid), normal(64, 64)

    def worst():
        report = fanin.check(model, x, targets=torch.arange(64) % 10)
        sites = [s for s in report.measurements.sites if s.kind in ("weight", "activation")]
        return max(max(abs(s.predicted.z), abs(s.predicted_backward.z)) for s in sites)

    plan = fanin.init_(model, x, recipe=recipe, trial=False)
    assert worst() < 4.0
    assert plan["30.weight"].predicted_rms[0] == pytest.approx(
        float(model[:31](x).detach().square().mean().sqrt()), rel=0.05
    )
    monkeypatch.setattr(MeanMapped, "answered", lambda self, out: out)
    assert worst() > 10.0


def test_a_large_input_is_divided_out():
    model, x = stack(nn.Tanh, depth=4), 20.0 * normal(64, 64)
    fanin.init_(model, x, recipe="dks", trial=False)
    c = theory.dks("tanh", depth=4)
    z = (model[0](x) - c.input_shift) / c.input_scale
    assert float(z.detach().square().mean()) == pytest.approx(1.0, rel=1e-4)


@pytest.mark.slow
def test_a_plan_is_json_and_back_and_starts_the_same_on_meta():
    plan = fanin.plan(convolutions(nn.SiLU), normal(2, 1, 8, 8), recipe="tat")
    assert fanin.Plan.from_dict(json.loads(plan.to_json())) == plan
    model = plan.apply_(convolutions(nn.SiLU))
    with torch.device("meta"):
        empty = convolutions(nn.SiLU)
    plan.materialize(empty)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), empty.parameters(), strict=True))


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(64, 64), nn.Linear(64, 10)

    def forward(self, x):
        return self.b(x + torch.tanh(self.a(x)))


def without_bias():
    model = stack(nn.Tanh, depth=3)
    model[2] = nn.Linear(64, 64, bias=False)
    return model


def frozen():
    model = stack(nn.Tanh, depth=3)
    model[2].weight.requires_grad_(False)
    return model


class Dropped(nn.Module):
    def forward(self, x):
        return nn.functional.dropout(torch.tanh(x), 0.5, training=True)


def with_dropout():
    return nn.Sequential(nn.Linear(64, 64), Dropped(), nn.Linear(64, 10))


def padded_beyond():
    return nn.Sequential(nn.Conv2d(1, 8, 3, padding=2), nn.Tanh(), nn.Flatten(), nn.Linear(800, 10))


def pooled():
    return nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.Tanh(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(128, 10))


@pytest.mark.parametrize(
    ("build", "shape", "why"),
    [
        (Residual, (8, 64), "plain stacks"),
        (without_bias, (8, 64), r"2\.weight has no bias"),
        (frozen, (8, 64), "stays as it is"),
        (with_dropout, (8, 64), "dropout stands between"),
        (padded_beyond, (2, 1, 8, 8), "reads padding"),
        (pooled, (2, 1, 8, 8), "max_pool2d.* stands between"),
        (lambda: stack(nn.ReLU, depth=5), (8, 64), "no constants for relu"),
    ],
)
def test_what_cannot_be_folded_is_named(build, shape, why):
    with pytest.raises(PlanError, match=why):
        fanin.plan(build(), normal(*shape), recipe="dks")


def test_tat_needs_a_slope_without_jumps():
    with pytest.raises(PlanError, match="jumps at 0"):
        fanin.plan(stack(nn.SELU, depth=5), normal(8, 64), recipe="tat")
    assert fanin.plan(stack(nn.SELU, depth=5), normal(8, 64), recipe="dks")["2.weight"].rule == "shaped"


@pytest.mark.parametrize(("recipe", "option"), [("dks", "total_slope"), ("tat", "total_curvature")])
def test_options_out_of_range_are_refused(recipe, option):
    with pytest.raises(ArgumentError, match=option):
        fanin.plan(stack(nn.Tanh, depth=3), normal(8, 64), recipe=recipe, **{option: 0.0})


def test_different_activations_each_get_their_own_constants():
    model = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 10))
    plan = fanin.plan(model, normal(8, 64), recipe="dks")
    tanh, silu = theory.dks("tanh", depth=2), theory.dks("silu", depth=2)
    assert plan["2.weight"].initializer.gain == pytest.approx(silu.input_scale * tanh.output_scale)
    assert plan["2.bias"].initializer.factor == pytest.approx(tanh.output_shift)
    assert plan["2.bias"].initializer.shift == pytest.approx(silu.input_shift)


@pytest.mark.slow
def test_a_bias_inside_the_curved_part_of_a_smooth_activation_is_no_finding():
    model, x = stack(nn.Tanh), normal(64, 64)
    fanin.init_(model, x, recipe="dks", trial=False)
    assert float(model[0].bias.detach().abs().min()) > 3.0 * 0.167
    assert "P503" not in {f.code for f in fanin.check(model, x, targets=torch.arange(64) % 10).findings}
    model[0].bias.data.fill_(4.0)
    assert "P503" in {f.code for f in fanin.check(model, x, targets=torch.arange(64) % 10).findings}


@pytest.mark.parametrize(("recipe", "depth"), few([("tat", 30), ("dks", 60)], ("tat", 30)))
def test_a_small_first_map_that_the_output_layer_makes_up_for_is_no_finding(recipe, depth):
    model, x = stack(nn.GELU, depth=depth), normal(64, 64)
    fanin.init_(model, x, recipe=recipe, trial=False)

    def codes():
        return {f.code for f in fanin.check(model, x, targets=torch.arange(64) % 10, trial=False).findings}

    assert "P502" not in codes()
    with torch.no_grad():
        model[-1].weight.mul_(0.1)
        model[-1].bias.mul_(0.1)
    assert "P502" in codes()
