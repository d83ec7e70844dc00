"""Mirrored weights: theory sees the two halves, and is exact on signals, their likeness and gradients."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import nn

import fanin
from fanin.lab.models import mlp
from fanin.moments import weights
from fanin.moments.halves import halved_axes
from fanin.moments.hermite import gaussian_image
from tests.selection import few


def deep(act, width=64):
    widths = [64, *[width] * 16]
    layers = [m for a, b in itertools.pairwise(widths) for m in (nn.Linear(a, b), act())]
    return nn.Sequential(*layers, nn.Linear(width, 10))


def convolutional(channels=16):
    layers = [m for n in (3, *[channels] * 5) for m in (nn.Conv2d(n, channels, 3), nn.ReLU())]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))


def flattened():
    layers = [m for n in (3, 15, 15, 15, 15, 15) for m in (nn.Conv2d(n, 15, 3), nn.ReLU())]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(15 * 16, 10))


NETS = {
    "demo": (lambda: mlp([784, *[128] * 19, 10]), (64, 784)),
    "gelu": (lambda: deep(nn.GELU), (64, 64)),
    "leaky relu": (lambda: deep(nn.LeakyReLU), (64, 64)),
    "convolutions": (convolutional, (32, 3, 16, 16)),
    "odd relu": (lambda: deep(nn.ReLU, 63), (64, 64)),
    "odd gelu": (lambda: deep(nn.GELU, 33), (64, 64)),
    "odd convolutions": (lambda: convolutional(15), (32, 3, 16, 16)),
    "odd channels, flattened": (flattened, (32, 3, 16, 16)),
}


def started(name):
    build, shape = NETS[name]
    torch.manual_seed(0)
    model, x = build(), torch.randn(shape)
    fanin.init_(model, x, trial=False)
    assert any(halved_axes(p.detach().numpy()) for p in model.parameters())
    report = fanin.check(model, x, targets=torch.randint(0, 10, shape[:1]), trial=False)
    return [s for s in report.measurements.sites if s.kind in ("weight", "activation")]


@pytest.mark.parametrize("name", few(NETS, every=2))
def test_mirrored_layers_lie_where_theory_says(name):
    found = started(name)
    for site in found:
        assert abs(site.predicted.z) <= 4
        assert abs(site.predicted_backward.z) <= 4
    for site in found[:-1]:  # the head has ten outputs, which scatter
        assert site.predicted.rms == pytest.approx(site.forward.rms, rel=0.1)


@pytest.mark.parametrize("name", few(["demo", "odd relu", "odd gelu"], "odd gelu"))
def test_halves_taken_as_independent_are_noticed(monkeypatch, name):
    monkeypatch.setattr(weights, "halved_axes", lambda array: {})
    assert max(abs(site.predicted.z) for site in started(name)) > 10


def test_independent_halves_are_not_taken_for_mirrored():
    rng = np.random.default_rng(0)
    assert not any(halved_axes(rng.normal(size=(n, m))) for n in range(8, 40) for m in (1, 2, 8, 31))


@pytest.mark.parametrize("f", [np.sign, np.exp, lambda z: np.maximum(z, 0), lambda z: (z > 0) * 1.0])
def test_opposite_arguments_are_exact(f):
    image = gaussian_image(f, mean=0.0, var=1.0)
    z = np.random.default_rng(0).normal(size=400_000)
    drawn = f(z) * f(-z)
    assert image.pair(np.array(-1.0)) == pytest.approx(drawn.mean(), abs=5 * drawn.std() / 400_000**0.5 + 1e-4)
