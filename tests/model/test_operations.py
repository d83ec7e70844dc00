"""Where the operations of torch take what a check reads of them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import fanin

NORMS = {
    "batch_norm": (nn.BatchNorm2d(4, eps=0.25), True),
    "group_norm": (nn.GroupNorm(2, 4, eps=0.25), True),
    "instance_norm": (nn.InstanceNorm2d(4, eps=0.25, affine=True), True),
    "layer_norm": (nn.LayerNorm((4, 6, 6), eps=0.25), True),
    "rms_norm": (nn.RMSNorm((4, 6, 6), eps=0.25), False),
}


@pytest.mark.parametrize("name", NORMS)
def test_a_norm_is_read_with_its_eps_scale_and_shift(name):
    norm, shifts = NORMS[name]
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), norm, nn.Flatten(), nn.Linear(144, 5))
    report = fanin.check(model, torch.randn(16, 3, 6, 6), targets=torch.randint(0, 5, (16,)), predict=False)
    (site,) = [s for s in report.measurements.sites if s.kind == "norm"]
    assert site.norm.eps == 0.25
    roles = {p.path: p.role for p in report.measurements.parameters}
    assert roles["1.weight"] == "norm_scale"
    assert not shifts or roles["1.bias"] == "norm_shift"
