"""`center=True`: biases take the mean of each channel off, and what must stay stays."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import fanin
from fanin.errors import FillError
from tests.calibration.helpers import batch, close, rms


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4))


def means(model, x):
    """Largest mean of a channel over the size of the output, for every map."""
    found = []
    for layer in model:
        x = layer(x).detach()
        if not isinstance(layer, nn.ReLU | nn.Flatten):
            over = [d for d in range(x.dim()) if d != 1]
            found.append(float(x.mean(over).abs().max()) / rms(x))
    return found


def test_every_channel_has_mean_zero_and_the_size_is_at_its_target():
    model, x = net(), batch(256, 16) + 0.5
    assert max(means(model, x)) > 0.2
    found = fanin.calibrate(model, x, tolerance=0.0, center=True)
    assert max(means(model, x)) < 0.01
    assert all(close(r.after, r.target) for r in found.rows if r.status == "corrected")
    assert (
        {r.parameter for r in found.rows if r.status == "centred"} == {"0.bias", "2.bias", "4.bias"} < {*found.changed}
    )
    again = fanin.calibrate(model, x, center=True)
    assert not again.changed
    assert again.ok


def test_images_too():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(128, 4))
    x = batch(64, 1, 8, 8).abs()
    fanin.calibrate(model, x, center=True)
    assert max(means(model, x)) < 0.01


def test_without_it_no_bias_moves():
    model, x = net(), batch(256, 16) + 0.5
    before = [model[i].bias.detach().clone() for i in (0, 2, 4)]
    fanin.calibrate(model, x)
    assert all(torch.equal(b, model[i].bias) for b, i in zip(before, (0, 2, 4), strict=True))


def test_the_bits_do_not_depend_on_the_order_of_the_batch():
    one, two, x = net(), net(), batch(256, 16) + 0.5
    fanin.calibrate(one, x, center=True)
    fanin.calibrate(two, x.flip(0), center=True)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def test_what_may_not_change_stays():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell, self.first, self.norm, self.head = (
                nn.Linear(16, 16), nn.Linear(16, 16), nn.LayerNorm(16), nn.Linear(16, 4)
            )  # fmt: skip

        def forward(self, x):
            x = torch.relu(self.cell(torch.relu(self.cell(x))))
            return self.head(self.norm(self.first(x)))

    torch.manual_seed(0)
    model, x = Twice(), batch(64, 16) + 0.5
    model.head.bias.requires_grad_(False)
    found = fanin.calibrate(model, x, center=True, tolerance=0.0)
    assert not any(name.endswith("bias") for name in found.changed)  # used twice; before a norm; frozen
    narrow = net()
    assert fanin.calibrate(narrow, x, only=["2.*"], center=True, tolerance=0.0).changed == ("2.weight", "2.bias")
    assert not fanin.calibrate(net(), x, only=["*.weight"], center=True).changed[3:]


def test_a_dry_run_and_a_failing_write_leave_every_bit(monkeypatch):
    model, x = net(), batch(64, 16) + 0.5
    before = [p.detach().clone() for p in model.parameters()]
    dry = fanin.calibrate(model, x, center=True, dry_run=True)
    assert "4.bias" in dry.changed
    assert not dry.written
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))

    def fails(tensor, values):
        def run():
            tensor.detach().zero_()
            raise RuntimeError("no more memory")

        return run

    monkeypatch.setattr("fanin.calibration.write._set", fails)
    with pytest.raises(FillError, match="no more memory"):
        fanin.calibrate(model, x, center=True)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_the_plan_keeps_such_a_bias(tmp_path):
    model, x = net(), batch(256, 16) + 0.5
    plan = fanin.init_(model, x)
    found = fanin.calibrate(model, x, plan, center=True)
    assert found.plan["0.bias"].action == "keep"
    assert "minus the mean of each channel" in found.plan["0.bias"].reason
    found.plan.save(tmp_path / "plan.json")
    loaded = fanin.Plan.load(tmp_path / "plan.json")
    held = [p.detach().clone() for p in model.parameters()]
    loaded.apply_(model)
    assert all(torch.equal(a, b) for a, b in zip(held, model.parameters(), strict=True))
