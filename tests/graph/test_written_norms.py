"""Norms that models write out: each way of computing the variance, the scale before or after the signal."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import fanin
from fanin.initializers import Ones, Zeros

EPS = 1e-6


def mean(x):
    return x.mean(-1, keepdim=True)


def two_pass(x, g, h):
    return (x - mean(x)) * torch.rsqrt(mean((x - mean(x)) ** 2) + EPS) * g + h


def one_pass(x, g, h):
    var = (mean(x * x) - mean(x) ** 2).clamp(min=0.0)
    return g * ((x - mean(x)) / (var + EPS).sqrt()) + h


def one_pass_scale_first(x, g, h):
    var = torch.maximum(torch.zeros(()), mean(torch.square(x)) - torch.square(mean(x)))
    return (x - mean(x)) * (torch.rsqrt(var + EPS) * g) + h


def rms(x, g, h):
    return x * torch.rsqrt(mean(x * x) + EPS) * g + h


def rms_scale_first(x, g, h):
    return x * (g * torch.rsqrt(mean(x.pow(2)) + EPS)) + h


def rms_by_sum(x, g, h):
    return x / torch.sqrt((x * x).sum(-1, keepdim=True) / x.shape[-1] + EPS) * g + h


def moved(x, g, h):
    m = mean(x)
    a = torch.rsqrt(mean((x - m) ** 2) + EPS) * g
    return x * a + (h - m * a)


def moved_shift_last(x, g, h):
    m = mean(x)
    a = torch.rsqrt(mean((x - m) ** 2) + EPS) * g
    return (x * a - m * a) + h


def reciprocal(x, g, h):
    return x * (mean(x * x) + EPS).pow(-0.5) * g + h


FORMS = (
    moved,
    moved_shift_last,
    two_pass,
    one_pass,
    one_pass_scale_first,
    rms,
    rms_scale_first,
    rms_by_sum,
    reciprocal,
)


class Branch(nn.Module):
    def __init__(self, norm, width=32):
        super().__init__()
        self.norm, self.entry = norm, nn.Linear(16, width)
        self.up, self.down, self.head = nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, 3)
        self.scale, self.shift = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))

    def forward(self, x):
        x = self.entry(x)
        return self.head(x + self.down(torch.relu(self.up(self.norm(x, self.scale, self.shift)))))


@pytest.fixture(scope="module")
def x():
    return torch.randn(64, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("norm", FORMS, ids=lambda f: f.__name__)
def test_a_written_norm_is_seen_and_its_output_is_of_size_one(norm, x):
    plan = fanin.plan(Branch(norm), x)
    assert (plan["scale"].role, plan["scale"].initializer) == ("norm_scale", Ones())
    assert (plan["shift"].role, plan["shift"].initializer) == ("norm_shift", Zeros())
    assert plan["up.weight"].std == pytest.approx(32**-0.5, rel=0.03)  # one pass leaves 1 / width of the mean in
    assert not plan.warnings


def other_size(x, g, h):
    return x * (torch.rsqrt(mean(g * g) + EPS) * g) + h


def gate(x, g, h):
    return x * torch.sigmoid(mean(x) / 2) * g + h


def gate_scale_first(x, g, h):
    return x * (g * torch.sigmoid(x.sum(-1, keepdim=True) / x.shape[-1])) + h


def grown(x, g, h):
    return x * torch.sqrt(mean(x * x) + EPS) * g + h


@pytest.mark.parametrize("form", [other_size, gate, gate_scale_first, grown], ids=lambda f: f.__name__)
def test_what_only_looks_like_a_norm_has_no_norm_scale(form, x):
    plan = fanin.plan(Branch(form), x, on_unknown="keep")
    assert plan["scale"].role != "norm_scale"
