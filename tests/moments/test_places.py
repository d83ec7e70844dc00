"""Places unlike others, such as a class token or features joined to reused ones: gradients are those of each place."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import fanin
from fanin.moments import moments
from fanin.moments.places import divided, joined, mixed, only
from tests.selection import few


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x):
        return x + 0.3 * self.down(torch.relu(self.up(self.norm(x))))


class ClassToken(nn.Module):
    """Reads the answer off a small token that stands before, or behind, the others."""

    def __init__(self, width=128, first=True):
        super().__init__()
        self.token = nn.Parameter(0.05 * torch.randn(1, 1, width))
        self.blocks = nn.Sequential(*[Block(width) for _ in range(4)])
        self.norm, self.head, self.first = nn.LayerNorm(width), nn.Linear(width, 64), first

    def forward(self, x):
        token = self.token.expand(x.shape[0], -1, -1)
        x = self.blocks(torch.cat([token, x] if self.first else [x, token], 1))
        return self.head(self.norm(x)[:, 0 if self.first else -1])


class Reuse(nn.Module):
    """Joins features of different sizes, normalises each channel, and goes on."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.last = nn.Conv2d(3, 32, 1, bias=False), nn.BatchNorm2d(64), nn.Conv2d(64, 32, 1)
        self.small = nn.Conv2d(32, 32, 1, bias=False)
        nn.init.normal_(self.small.weight, std=0.02)

    def forward(self, x):
        h = self.first(x)
        return self.last(torch.relu(self.norm(torch.cat([h, self.small(h)], 1))))


def gradients(model, x):
    torch.manual_seed(1)
    found = fanin.check(model, x).measurements.sites
    return [(s.path, s.predicted_backward.rms / s.backward.rms) for s in found if s.predicted_backward]


def tokens(first):
    torch.manual_seed(0)
    return ClassToken(first=first), torch.randn(32, 17, 128)


@pytest.mark.parametrize("first", few([True, False], every=2))
def test_the_gradient_of_one_token_is_divided_by_its_own_size(first):
    ratios = gradients(*tokens(first))
    assert len(ratios) > 15
    assert all(0.7 < r < 1.4 for _, r in ratios), ratios


def test_tokens_taken_as_alike_are_noticed(monkeypatch):
    monkeypatch.setattr("fanin.moments.backward.norms.divided", lambda g, x, floor: (1.0, g))
    assert min(r for _, r in gradients(*tokens(True))) < 0.5


def test_joined_channels_are_divided_each_by_their_own_size():
    torch.manual_seed(0)
    ratios = dict(gradients(Reuse(), torch.randn(64, 3, 8, 8)))
    assert 0.6 < ratios["small"] < 1.6
    assert 0.6 < ratios["first"] < 1.6


def test_places_follow_sums_joins_and_selections():
    x = joined(1, [(3, 1.0, None), (1, 4.0, None)])
    assert x.energies.tolist() == pytest.approx([4 / 7, 4 / 7, 4 / 7, 16 / 7])
    assert mixed([(1.75, x), (1e9, None)]) is None  # what is added hides the difference
    assert mixed([(1.0, x), (1.0, x.moved(0))]) is None
    gain, places = divided(only(1, 4, 3, 1), x, 0.0)
    assert gain == pytest.approx(7 / 16)
    assert places.part(3, 1) == (4.0, None)
    wide = moments.JointMoments.iid((8, 4, 16))
    assert wide.permuted((1, 0, 2)).places is None
    unlike = replace(wide, places=x)
    assert unlike.permuted((1, 0, 2)).places.dim == 0
    assert unlike.expanded((2, 8, 4, 16)).places.dim == 2
    assert unlike.reshaped((32, 16)).places is None
    assert np.allclose(unlike.scaled(3.0).places.energies, x.energies)
