"""Plain networks of many activations and sizes: good starts pass, starts off by a factor are caught as such."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import fanin
from tests.selection import few

ACTIVATIONS = (nn.ReLU, nn.GELU, nn.SiLU, nn.Tanh, nn.ELU, nn.LeakyReLU, nn.SELU, nn.Mish)
TOO_SMALL = {"S201", "S203", "S205"}
TOO_LARGE = {"S202", "S204", "A302", "L801"}


def stack(act, width=128, depth=12):
    layers, n = [], 32
    for _ in range(depth):
        layers += [nn.Linear(n, width), act()]
        n = width
    return nn.Sequential(*layers, nn.Linear(n, 10))


def scaled(model, gain):
    for layer in model:
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=gain / layer.in_features**0.5)
            nn.init.zeros_(layer.bias)
    return model


def check(model, batch=64, **options):
    return fanin.check(model, torch.randn(batch, 32), targets=torch.randint(0, 10, (batch,)), **options)


@pytest.mark.parametrize("act", few(ACTIVATIONS, nn.ReLU))
def test_twelve_layers_from_init_pass(act):
    torch.manual_seed(1)
    model = stack(act)
    fanin.init_(model, torch.randn(64, 32))
    report = check(model)
    assert report.ok, str(report)


@pytest.mark.parametrize("act", few(ACTIVATIONS, nn.ReLU, nn.GELU, nn.Tanh))
def test_three_default_layers_pass(act):
    torch.manual_seed(2)
    report = check(stack(act, depth=3))
    assert report.ok, str(report)


@pytest.mark.parametrize(
    ("width", "depth", "batch"), few([(8, 2, 16), (64, 3, 4), (256, 5, 128), (1024, 4, 32)], (8, 2, 16), (256, 5, 128))
)
def test_he_passes_at_any_width_and_batch(width, depth, batch):
    torch.manual_seed(3)
    report = check(scaled(stack(nn.ReLU, width, depth), 2**0.5), batch)
    assert report.ok, str(report)


@pytest.mark.parametrize("act", few([nn.ReLU, nn.GELU, nn.SiLU, nn.Tanh], nn.ReLU))
@pytest.mark.parametrize(("gain", "codes"), [(0.3, TOO_SMALL), (6.0, TOO_LARGE)])
def test_a_wrong_gain_is_caught_as_one(act, gain, codes):
    torch.manual_seed(4)
    report = check(scaled(stack(act), gain), trial=False)
    assert not report.ok
    assert report.findings[0].code in codes, str(report)
