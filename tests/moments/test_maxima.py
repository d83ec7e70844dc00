"""Max pooling: of joined tensors, at padded borders, and behind the gate of a channel; each with a twin that fails."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import fanin
from fanin.moments.backward import maxima as backward
from fanin.moments.forward import maxima as forward
from tests.moments import ensembles
from tests.moments.test_rules import Fn, images
from tests.selection import few

CASES = {
    "joined": lambda m, x: F.max_pool2d(torch.cat([F.relu(x), 4.0 * F.relu(x[:, :8] - 1.0)], 1), 2),
    "joined twice": lambda m, x: F.max_pool2d(torch.cat([torch.cat([x, F.relu(x)], 1), 4.0 * torch.tanh(x)], 1), 2),
    "padded": lambda m, x: F.max_pool2d(x, 3, 2, 1),
    "cut at the end": lambda m, x: F.max_pool2d(x, 3, 2, ceil_mode=True),
    "uneven": lambda m, x: F.adaptive_max_pool2d(x, 5),
    "channels last": lambda m, x: F.max_pool2d(F.relu(x.permute(0, 2, 3, 1) - 0.5).permute(0, 3, 1, 2), 2),
    "turned": lambda m, x: F.max_pool2d(torch.tanh(2.0 * x).mT.permute(0, 2, 1, 3).transpose(1, 2), (1, 3)),
    "gated": lambda m, x: F.max_pool2d(F.relu(x) * torch.sigmoid(3.0 * m.a(x.mean((2, 3), keepdim=True))), 2),
}


SMALL = torch.zeros(2, 16, 6, 6)


def apart(name, run=ensembles.forward_case):
    """How far the predicted mean square is from that of drawn networks, in units of the tolerance."""
    torch.manual_seed(0)
    model = Fn(CASES[name], **({"a": nn.Conv2d(16, 16, 1)} if name == "gated" else {}))
    predicted, _, ensemble = run(model, (SMALL,), [images(p=0.0, shape=(2, 16, 6, 6))], draws=40)
    measured = ensemble.kernels[(slice(None), *(1,) * predicted.kernel.ndim)]
    error = 5.0 * measured.std(ddof=1) / len(measured) ** 0.5
    return abs(predicted.second_moment - measured.mean()) / (error + 0.02 * measured.mean())


@pytest.mark.parametrize("name", CASES)
def test_the_largest_of_a_window_is_as_large_as_in_drawn_networks(name):
    assert apart(name) < 1.0


@pytest.mark.parametrize("name", few(CASES, every=2))
def test_its_gradient_too(name):
    assert apart(name, ensembles.backward_case) < 1.0


@pytest.mark.parametrize("name", ["channels last", "turned"])
def test_functions_in_another_order_of_dimensions_are_followed_by_formula(name):
    model, given = Fn(CASES[name]), [images(p=0.0, shape=(2, 16, 6, 6))]
    assert ensembles.forward_case(model, (SMALL,), given, draws=2)[1] == "theory"


@pytest.mark.parametrize("name", ["joined", "joined twice"])
def test_one_law_for_all_channels_is_noticed(monkeypatch, name):
    def one(frame, value, start=0):
        return [forward.Part(value, start, frame.graph.value(value).shape[1])]

    monkeypatch.setattr(forward, "parts_of", one)
    assert apart(name) > 1.0


@pytest.mark.parametrize("name", ["padded", "cut at the end"])
def test_windows_taken_as_full_are_noticed(monkeypatch, name):
    monkeypatch.setattr(forward, "tap_shares", lambda op, before, after: {9: 1.0})
    assert apart(name) > 1.0


class Gated(nn.Module):
    """Channels times a gate made of their means, and the largest of each window."""

    def __init__(self, width=64):
        super().__init__()
        self.first, self.norm, self.gate = nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.Conv2d(width, width, 1)
        self.last = nn.Conv2d(width, 32, 3)

    def forward(self, x):
        x = torch.relu(self.norm(self.first(x)))
        x = F.max_pool2d(x * torch.sigmoid(self.gate(x.mean((2, 3), keepdim=True))), 3)
        return self.last(x).mean((2, 3))


def gate_ratio():
    torch.manual_seed(0)
    report = fanin.check(Gated(), torch.randn(32, 3, 26, 26), predict=True)
    (site,) = [s for s in report.measurements.sites if s.path == "gate"]
    return site.predicted_backward.rms / site.backward.rms


def test_a_gate_receives_the_signal_where_it_is_the_largest():
    assert 0.85 < gate_ratio() < 1.15


def test_a_gate_that_receives_it_everywhere_is_noticed(monkeypatch):
    monkeypatch.setattr(backward, "largest_gradients", lambda frame, op, g: None)
    assert gate_ratio() < 0.7
