"""Entries that are not Gaussian: sums of rectified signals, norms of them, and the gradients that come back through."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

import fanin
from fanin import moments
from fanin.moments.backward import norms as backward_norms
from fanin.moments.forward import arithmetic, contractions
from fanin.moments.laws import GRID, WEIGHTS, of_points, of_sum


def relu(z):
    return np.maximum(z, 0.0)


class Rectified(nn.Module):
    """Blocks that end in relu(x + f(x)), as residual networks do."""

    def __init__(self, width=256, blocks=6):
        super().__init__()
        self.first = nn.Linear(32, width)
        self.maps = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(blocks))
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) for _ in range(blocks))
        self.last = nn.Linear(width, 64)

    def forward(self, x):
        x = self.first(x)
        for linear, norm in zip(self.maps, self.norms, strict=True):
            x = F.relu(x + norm(linear(x)))
        return self.last(x)


class Joined(nn.Module):
    """Channels far from zero beside channels around it, each divided by its own spread."""

    def __init__(self, width=64):
        super().__init__()
        self.first, self.norm = nn.Conv2d(96, width, 3), nn.BatchNorm2d(width)
        self.second = nn.Conv2d(width, width, 1, bias=False)
        self.joint, self.last = nn.BatchNorm2d(2 * width), nn.Conv2d(2 * width, 64, 1)

    def forward(self, x):
        x = F.relu(self.norm(self.first(x)))
        return self.last(F.relu(self.joint(torch.cat([x + 3.0, self.second(x)], 1))))


class Cut(nn.Module):
    """A norm of rectified channels, of which some are cut off far more than others."""

    def __init__(self, width=128):
        super().__init__()
        self.first, self.norm = nn.Conv2d(96, width, 1), nn.BatchNorm2d(width)
        nn.init.normal_(self.first.bias, std=0.4)
        self.last = nn.Conv2d(width, 64, 1)

    def forward(self, x):
        return self.last(self.norm(F.relu(self.first(x))))


class Positions(nn.Module):
    """Attention whose logits are mostly a known term of distances."""

    def __init__(self, width=32, length=24):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(width, width) for _ in range(3))
        slope = -0.5 * (torch.arange(length)[:, None] - torch.arange(length)).abs().float()
        self.register_buffer("slope", slope.expand(8, -1, -1).contiguous())

    def forward(self, x):
        logits = torch.baddbmm(self.slope, self.q(x), self.k(x).transpose(1, 2), alpha=0.2)
        return logits.softmax(-1) @ self.v(x)


class Rejoined(nn.Module):
    """Class attention: the other tokens come back beside the new one, and are added to themselves."""

    def __init__(self, width=64):
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x):
        y = self.norm(x)
        x = x + torch.cat([self.up(y[:, :1]), y[:, 1:]], 1)
        return x + torch.cat([self.down(x[:, :1]), x[:, 1:]], 1)


def off(model, x, *, backward, seed=0):
    """Largest distance of a predicted from a measured rms, in logarithms, over the outputs of all operations."""
    torch.manual_seed(seed)
    sites = [s for s in fanin.check(model(), x, predict=True).measurements.sites if s.kind != "loss"]
    pairs = [(s.predicted_backward, s.backward) if backward else (s.predicted, s.forward) for s in sites]
    return max(abs(np.log(p.rms / m.rms)) for p, m in pairs if p and m)


IMAGES = torch.randn(32, 96, 8, 8, generator=torch.Generator().manual_seed(3))
ROWS = torch.randn(512, 32, generator=torch.Generator().manual_seed(3))


def test_sums_of_rectified_signals_are_followed():
    assert off(Rectified, ROWS, backward=False) < 0.03
    assert off(Rectified, ROWS, backward=True) < 0.12


def test_gaussian_sums_are_noticed(monkeypatch):
    monkeypatch.setattr(arithmetic, "_law_of_sum", lambda frame, terms: None)
    assert off(Rectified, ROWS, backward=False) > 0.04


def test_a_gradient_that_forgets_the_last_rectifier_is_noticed(monkeypatch):
    monkeypatch.setattr(moments.backward_sweep, "of_term", lambda *_: None)
    assert off(Rectified, ROWS, backward=True) > 0.2


def test_joined_channels_are_divided_by_their_spread(monkeypatch):
    assert off(Joined, IMAGES, backward=True) < 0.15
    monkeypatch.setattr(backward_norms, "_within", lambda frame, op, x, dims: x)
    assert off(Joined, IMAGES, backward=True) > 1.0


def test_a_gate_behind_a_norm_is_known_before_it(monkeypatch):
    monkeypatch.setattr(moments.backward_sweep, "of_norm", lambda *_: [])
    assert off(Joined, IMAGES, backward=True) > 0.15


def test_channels_that_are_cut_off_receive_more(monkeypatch):
    assert off(Cut, IMAGES, backward=True) < 0.1
    monkeypatch.setattr(backward_norms, "_of_unlike", lambda frame, op, dims, eps, g: g)
    assert off(Cut, IMAGES, backward=True) > 0.3


def test_logits_keep_a_known_term(monkeypatch):
    x = torch.randn(8, 24, 32, generator=torch.Generator().manual_seed(3))
    assert off(Positions, x, backward=False) < 0.1
    monkeypatch.setattr(contractions, "_is_spread_out", lambda *_: False)
    assert off(Positions, x, backward=False) > 0.2


def test_tokens_that_are_added_to_themselves_double(monkeypatch):
    x = torch.randn(8, 24, 64, generator=torch.Generator().manual_seed(3))
    assert off(Rejoined, x, backward=False) < 0.1
    assert off(Rejoined, x, backward=True) < 0.1  # where the gradient arrives twice there is none
    monkeypatch.setattr(arithmetic, "_rejoined", lambda frame, values: False)
    assert off(Rejoined, x, backward=False) > 0.3
    assert off(Rejoined, x, backward=True) > 0.2


@given(st.lists(st.tuples(st.floats(0.1, 3.0), st.booleans()), min_size=2, max_size=4), st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_a_law_of_a_sum_has_the_shape_of_drawn_sums(terms, seed):
    law = of_sum([(s, of_points(relu(GRID), WEIGHTS) if cut else None) for s, cut in terms])
    z = np.random.default_rng(seed).standard_normal((len(terms), 200_000))
    unit = (0.5 - 0.5 / np.pi) ** 0.5
    drawn = sum(
        s * ((relu(n) - (2 * np.pi) ** -0.5) / unit if cut else n) for (s, cut), n in zip(terms, z, strict=True)
    )
    drawn = (drawn - drawn.mean()) / drawn.std()
    skew = float(np.mean(drawn**3))
    predicted = 0.0 if law is None else float(law.values**3 @ WEIGHTS)
    assert abs(predicted - skew) < 5 * (15 / 200_000) ** 0.5 * 2 + 0.03
