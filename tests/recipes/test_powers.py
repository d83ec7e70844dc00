"""Stacks of powers, and of functions that are mostly mean: shaped at any depth, so that samples stay apart."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import nn

import fanin
from fanin.graph.analysis.activations import LIBRARY, FoundActivation
from fanin.recipes.auto.shaped import is_power
from fanin.recipes.engine.activation_facts import moments_of
from fanin.theory import gaussian_moments
from tests.selection import few


class Do(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def stack(function, depth, width=64, bias=True):
    sizes = [64, *[width] * depth]
    layers = [m for a, b in itertools.pairwise(sizes) for m in (nn.Linear(a, b, bias=bias), Do(function))]
    return nn.Sequential(*layers, nn.Linear(width, 10, bias=bias))


def batch(seed=0):
    """Samples whose sizes differ: q from half to twice the mean."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(256, 64, generator=generator) * torch.exp(0.2 * torch.randn(256, 1, generator=generator))
    return x / x.square().mean().sqrt(), torch.randint(0, 10, (256,), generator=generator)


POWERS = {
    "squared relu": lambda x: torch.relu(x).square(),
    "square": lambda x: x * x,
    "x |x|": lambda x: x * x.abs(),
    "log cosh": lambda x: torch.log(torch.cosh(x)),
    "cube, clipped": lambda x: (x**3).clamp(-2, 2),
    "cube": lambda x: x**3,
    "tanh squared": lambda x: torch.tanh(x).square(),
    "tanhshrink": nn.functional.tanhshrink,
}
MOSTLY_MEAN = {"gaussian": lambda x: torch.exp(-x * x), "sech": lambda x: 1 / torch.cosh(x)}


def spread_of_sizes(model, x):
    """Std over samples of the logarithm of a sample's size at the outputs."""
    return float(model(x).detach().square().mean(1).log().std())


@pytest.mark.parametrize("depth", few([2, 4], 2))
@pytest.mark.parametrize("name", few(POWERS, every=3))
def test_a_power_keeps_the_sizes_of_samples_apart_by_what_they_were(name, depth):
    model, (x, y) = stack(POWERS[name], depth), batch()
    plan = fanin.init_(model, x, targets=y)
    assert plan["2.weight"].rule == "shaped"
    assert "kept" not in plan.extras["trial"]
    assert spread_of_sizes(model, x) < 1.5


def test_maps_that_only_keep_the_mean_size_take_them_apart():
    model, (x, _) = stack(POWERS["squared relu"], 4), batch()
    torch.manual_seed(0)
    for layer in model:
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=(64 * 1.5) ** -0.5)
            nn.init.zeros_(layer.bias)
    assert spread_of_sizes(model, x) > 2.5


@pytest.mark.parametrize("name", MOSTLY_MEAN)
def test_the_mean_that_all_samples_share_is_taken_off(name):
    model, (x, _) = stack(MOSTLY_MEAN[name], 3), batch()
    assert fanin.init_(model, x, trial=False)["2.weight"].rule == "shaped"
    assert float(model(x).detach().mean(0).square().mean().sqrt()) < 0.3


@pytest.mark.parametrize("function", [torch.relu, torch.tanh, torch.sin, lambda x: x + torch.sin(x).square()])
def test_functions_that_keep_sizes_are_left_to_the_other_rules(function):
    x, _ = batch()
    assert fanin.plan(stack(function, 3), x)["2.weight"].rule != "shaped"


def test_without_biases_there_is_nowhere_to_shift():
    x, _ = batch()
    assert fanin.plan(stack(POWERS["squared relu"], 3, bias=False), x)["2.weight"].rule != "shaped"


@pytest.mark.parametrize(("power", "is_one"), [(1.0, False), (1.2, False), (1.5, True), (2.0, True), (3.0, True)])
def test_powers_are_told_by_how_a_size_grows(power, is_one):
    fn = lambda x: np.maximum(x, 0.0) ** power  # noqa: E731
    assert is_power(FoundActivation(f"custom({power})", fn=fn)) is is_one


@pytest.mark.parametrize("name", ["cube", "sin2", "snake", "asinh"])
def test_names_that_the_theory_does_not_know_are_integrated_as_functions(name):
    found = FoundActivation(name, fn=LIBRARY[name])
    m = moments_of(found)
    assert m is not None
    assert m.second == pytest.approx(gaussian_moments(LIBRARY[name]).second)


def test_a_stack_of_convolutions_of_powers_is_shaped_too():
    kernels = [m for i in range(4) for m in (nn.Conv2d(12 if i else 3, 12, 3, padding=1), Do(POWERS["squared relu"]))]
    model = nn.Sequential(*kernels, nn.Flatten(), nn.Linear(12 * 64, 10))
    plan = fanin.plan(model, torch.randn(8, 3, 8, 8))
    assert {plan[f"{i}.weight"].rule for i in (0, 2, 4, 6, 9)} == {"shaped"}


def pixels(background):
    """Pictures of one channel, most of which is near zero if asked for."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 1, 8, 8, generator=generator)
    x = torch.where(torch.rand(x.shape, generator=generator) < background, 0.1 * x, x)
    return x / x.square().mean().sqrt(), torch.randint(0, 10, (64,), generator=generator)


def convolutions():
    layers = [m for a in (1, 16, 16) for m in (nn.Conv2d(a, 16, 3, padding=1), Do(lambda x: torch.relu(x).square()))]
    return nn.Sequential(*layers, nn.AvgPool2d(2), nn.Flatten(), nn.Linear(256, 10))


def test_a_power_is_shaped_at_the_size_of_the_large_places():
    x, y = pixels(0.8)
    torch.manual_seed(0)
    model = convolutions()
    plan = fanin.init_(model, x, targets=y)
    spread = float(x.square().square().mean().sqrt() / x.square().mean())
    assert {s.quantity: s.value for s in plan["0.weight"].steps}["spread"] == pytest.approx(spread, rel=1e-5)
    assert spread > 3.0
    assert plan["0.weight"].rule == "shaped"
    assert float(model(x).detach().square().mean().sqrt()) < 2.0


def test_without_that_the_same_start_is_refused(monkeypatch):
    x, y = pixels(0.8)
    monkeypatch.setattr("fanin.recipes.auto.shaped.size_spread", lambda network, first: 1.0)
    with pytest.raises(fanin.errors.WorseStartError):
        fanin.init_(convolutions(), x, targets=y)


GROWING = {"sinh": torch.sinh, "x + x³": lambda x: x + x**3, "x (1 + x)": lambda x: x * (1 + x)}


@pytest.mark.parametrize("name", few(GROWING, every=2))
def test_a_function_that_is_a_power_only_where_it_is_large_gets_small_inputs(name):
    x, y = batch()
    torch.manual_seed(0)
    model = stack(GROWING[name], 4)
    plan = fanin.init_(model, x, targets=y)
    hidden = [plan[f"{n}.weight"] for n in (0, 2, 4, 6)]
    assert {a.rule for a in hidden} == {"growing"}
    q = hidden[1].predicted_rms[0] ** 2
    assert 0.001 < q < 0.5
    start = torch.randn(100_000, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * q**0.5
    moments = [float(GROWING[name](s * start).square().mean()) for s in (0.99, 1.01)]
    slope = np.log(moments[1] / moments[0]) / (2 * np.log(1.01 / 0.99))
    assert slope**4 == pytest.approx(1.2, abs=0.04)  # the largest of the q that are tried, a ninth apart
    assert spread_of_sizes(model, x) < 2.0 * float(x.square().mean(1).log().std())


@pytest.mark.slow
def test_powers_near_zero_are_still_shaped():
    for name in ("squared relu", "square", "log cosh"):
        assert fanin.plan(stack(POWERS[name], 3), batch()[0])["2.weight"].rule == "shaped"


class Learned(nn.Module):
    """Layers of a learned polynomial."""

    def __init__(self, depth=4):
        super().__init__()
        self.maps, self.head = nn.ModuleList(nn.Linear(64, 64) for _ in range(depth)), nn.Linear(64, 10)
        self.p = nn.ParameterList(nn.Parameter(torch.tensor([0.1, 0.5, 0.8, 0.2])) for _ in range(depth))

    def forward(self, x):
        for layer, p in zip(self.maps, self.p, strict=True):
            x = layer(x)
            x = (p[0] + x * (p[1] + x * (p[2] + x * p[3]))) / (1 + x * x)
        return self.head(x)


def test_a_stack_is_not_planned_by_a_function_with_other_numbers_than_its_own():
    torch.manual_seed(0)
    model, (x, _) = Learned(), batch()
    plan = fanin.init_(model, x, trial=False)
    assert {plan[f"maps.{n}.weight"].rule for n in (1, 2, 3)} == {"forward"}
    seen = []
    model.maps[3].register_forward_hook(lambda module, args, output: seen.append(output.detach()))
    model(x)
    assert float(seen[0].square().mean().sqrt()) == pytest.approx(plan["maps.3.weight"].predicted_rms[0], rel=0.2)


def test_a_logistic_function_of_8_x_is_one_of_x_with_weights_8_times_larger():
    x = batch()[0]
    plain, sharp = (fanin.plan(stack(lambda x, a=a: torch.sigmoid(a * x), 4), x) for a in (1.0, 8.0))
    for name in ("0.weight", "2.weight", "6.weight"):
        assert sharp[name].rule == plain[name].rule == "centred"
        assert sharp[name].std == pytest.approx(plain[name].std / 8.0, rel=1e-3)
    assert sharp["8.weight"].std == pytest.approx(plain["8.weight"].std, rel=1e-3)
