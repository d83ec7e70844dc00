"""Small choices inside rules, each with a case that comes out differently under the opposite choice."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import fanin
from fanin.measure.quantities.moments import pack, unpack
from fanin.rules.catalogue.buffer_values import BufferValues
from fanin.rules.catalogue.fan_mismatch import FanMismatch
from fanin.rules.catalogue.recurrent_scale import _Loop
from fanin.rules.finding import Finding, Fix
from fanin.rules.shared.biases import _share_above
from fanin.rules.shared.drifts import _between_layers
from tests.rules.test_each_rule import case, init, net, x


def codes(given):
    torch.manual_seed(0)
    return {f.code for f in fanin.check(**given, predict=False).findings}


# ---------------------------------------------------------------------- P502: what a systematic finding becomes
def systematic(severity, *, accounts=False):
    return Finding(
        code="P502",
        name="fan-mismatch",
        severity=severity,
        paths=("0.weight",),
        message="",
        fix=Fix(text=""),
        evidence={"systematic": True, "accounts": accounts},
    )


@pytest.mark.parametrize(
    ("severity", "accounts", "others", "becomes"),
    [
        ("note", False, {}, None),
        ("warning", False, {}, "warning"),
        ("warning", True, {"S201": "error"}, "note"),
        ("note", True, {"L801": "warning"}, "warning"),
        ("note", True, {"L801": "note"}, None),
        ("note", False, {"L801": "warning"}, None),
    ],
)
def test_weights_that_are_all_off_are_reported_beside_what_they_explain(severity, accounts, others, becomes):
    kept = FanMismatch().beside(systematic(severity, accounts=accounts), others)
    assert (None if kept is None else kept.severity) == becomes


def test_weights_that_stand_out_are_reported_by_themselves():
    finding = replace(systematic("note"), evidence={})
    assert FanMismatch().beside(finding, {}) is finding


# ---------------------------------------------------------------------- P506
def test_a_state_that_vanishes_at_once_has_a_finite_growth():
    """A float64 weight of 1e-200 has a square below the smallest number."""
    weight = SimpleNamespace(weight=SimpleNamespace(rms=1e-200), fan_in=4.0)
    growth = _Loop(weight, None, steps=2, reads=1.0).log_growth
    assert math.isfinite(growth)
    assert growth < math.log(1e-200)


# ---------------------------------------------------------------------- P509
class Positions(nn.Module):
    """Sines of a buffer and a second buffer, both added to the input."""

    def __init__(self, angles, added):
        super().__init__()
        self.register_buffer("angles", angles)
        self.register_buffer("added", added)
        self.head = nn.Linear(16, 10)

    def forward(self, h):
        return self.head(h + self.angles.sin() + self.added)


@pytest.mark.parametrize(
    ("angles", "added", "named"),
    [
        (torch.ones(16), torch.zeros(16), []),  # what is added may be zero
        (torch.zeros(16), torch.zeros(16), ["angles"]),
        (torch.tensor([1e7, *[1.0] * 15]), torch.zeros(16), ["angles"]),
        (torch.tensor([math.nan, 1e7, *[1.0] * 14]), torch.zeros(16), []),  # its NaN is what is reported
    ],
)
def test_buffers_are_named_for_what_is_done_with_them(angles, added, named):
    torch.manual_seed(0)
    report = fanin.check(**case(Positions(angles, added), torch.randn(32, 16)), predict=False)
    assert [p for f in report.findings if f.code == BufferValues.code for p in f.paths] == named


# ---------------------------------------------------------------------- drifts
class Gated(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = (nn.Linear(8, 8) for _ in range(3))

    def forward(self, x):
        return self.c(self.b(x) * torch.sigmoid(self.a(x)))


def measured(model):
    torch.manual_seed(0)
    return fanin.check(model, torch.randn(16, 8), targets=torch.randint(0, 8, (16,)), predict=False).measurements


def test_a_gate_is_no_activation_between_layers():
    plain = nn.Sequential(nn.Linear(8, 8), nn.Sigmoid(), nn.Linear(8, 8), nn.Tanh())
    assert _between_layers(measured(plain)) == {"sigmoid"}
    assert _between_layers(measured(Gated())) == set()


# ---------------------------------------------------------------------- biases
def test_no_bias_is_beyond_a_limit_that_the_largest_one_does_not_reach():
    """One number of 1 beside 999 small ones is far outside of the histogram, whose unit is their rms."""
    values = torch.full((1000,), 1e-3)
    values[0] = 1.0
    stats = unpack(pack(values))
    assert _share_above(stats, 1.5) == 0.0
    assert _share_above(stats, 0.5) == pytest.approx(1e-3)
    assert _share_above(unpack(pack(torch.zeros(8))), 0.5) == 0.0


def test_a_small_healthy_net_has_none_of_these():
    assert codes(case(init(net(depth=2), gain=2**0.5), x())) == set()
