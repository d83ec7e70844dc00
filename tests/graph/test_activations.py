"""Activations are recognised by value, whatever they are called and however they are written."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fanin.graph.analysis.activations import LIBRARY, identify
from fanin.graph.recording.capture import capture
from fanin.graph.roles.label import roles
from zoo.odd_models import Wrap, x


def found(function):
    model = Wrap(lambda m, s: m.out(function(m.f(s))), f=nn.Linear(4, 8), out=nn.Linear(8, 2))
    return roles(capture(model, x(3, 4)))["f.weight"].activation


WRITTEN = {
    "relu": [
        torch.relu,
        lambda h: h.clamp(min=0),
        lambda h: torch.where(h > 0, h, torch.zeros_like(h)),
        lambda h: h * (h > 0),
    ],
    "silu": [F.silu, lambda h: h * torch.sigmoid(h), lambda h: h / (1 + torch.exp(-h))],
    "gelu": [F.gelu, lambda h: 0.5 * h * (1 + torch.erf(h / 2**0.5))],
    "gelu_tanh": [
        lambda h: F.gelu(h, approximate="tanh"),
        lambda h: 0.5 * h * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (h + 0.044715 * h.pow(3)))),
    ],
    "quick_gelu": [lambda h: h * torch.sigmoid(1.702 * h)],
    "relu2": [lambda h: F.relu(h).square(), lambda h: F.relu(h) ** 2],
    "tanh": [torch.tanh, lambda h: 2 * torch.sigmoid(2 * h) - 1],
    "softcap": [lambda h: 30 * torch.tanh(h / 30)],
    "leaky_relu(0.2)": [lambda h: F.leaky_relu(h, 0.2), lambda h: torch.maximum(h, 0.2 * h)],
    "elu": [F.elu, lambda h: torch.where(h > 0, h, torch.exp(h) - 1)],
    "elu(0.5)": [lambda h: F.elu(h, 0.5)],
    "selu": [F.selu],
    "mish": [F.mish, lambda h: h * torch.tanh(F.softplus(h))],
    "hardswish": [F.hardswish, lambda h: h * F.relu6(h + 3) / 6],
    "sin": [torch.sin, lambda h: torch.sin(30 * h)],
    "abs": [torch.abs],
}


@pytest.mark.parametrize(("name", "index"), [(n, i) for n, ways in WRITTEN.items() for i in range(len(ways))])
def test_the_name_is_that_of_the_function(name, index):
    assert found(WRITTEN[name][index]).name == name


def test_factors_are_kept():
    act = found(lambda h: 0.98 * F.silu(h))
    assert (act.name, act.gain) == ("silu", pytest.approx(0.98))
    act = found(lambda h: torch.sin(30 * h))
    assert (act.inner, act.label) == (30.0, "sin(30x)")


def test_an_unknown_function_keeps_its_exact_callable():
    act = found(lambda h: torch.log1p(h.abs()) * torch.cos(h))
    grid = np.linspace(-3, 3, 13)
    assert act.name.startswith("custom")
    np.testing.assert_allclose(act.fn(grid), np.log1p(np.abs(grid)) * np.cos(grid), rtol=1e-12, atol=1e-12)


def test_affine_regions_are_looked_through():
    assert found(lambda h: torch.relu(2 * h + 1)).name.startswith("custom")
    assert found(lambda h: 3 * h - 1) is None


@pytest.mark.parametrize("name", sorted(LIBRARY))
def test_no_library_function_is_taken_for_another(name):
    got = identify(LIBRARY[name])
    grid = np.linspace(-2, 2, 41)
    known = LIBRARY.get(got.name)
    if known is not None:
        np.testing.assert_allclose(got.gain * known(got.inner * grid), LIBRARY[name](grid), rtol=1e-4, atol=1e-6)


def test_a_nearby_function_is_not_taken_for_it():
    assert identify(lambda z: z / (1 + np.exp(-1.03 * z))).name.startswith("custom")
    assert identify(lambda z: np.tanh(z) + 0.001 * z).name.startswith("custom")


def test_a_function_that_ends_within_one_is_no_error():
    found = identify(lambda x: np.sqrt(1.0 - x * x), ops=("sqrt",))
    assert found.label.startswith("custom")
