"""Modules that no forward calls, and those that training skips."""

from __future__ import annotations

import torch
from torch import nn

import fanin


class Dropped(nn.Module):
    """Layers of which training skips the second, and a module that nothing calls."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(3))
        self.norm, self.extra = nn.BatchNorm1d(8), nn.Linear(8, 8)

    def forward(self, x):
        for i, layer in enumerate(self.layers):
            if not (self.training and i == 1):
                x = layer(x).relu()
        return self.norm(x)


def test_a_layer_that_training_skips_at_random_is_no_module_that_is_never_called():
    torch.manual_seed(0)
    model = Dropped()
    model.layers[2].eval()
    report = fanin.check(model, torch.randn(16, 8), predict=False, trial=False)
    assert report.measurements.never_called == ("extra",)
    assert [m.training for m in model.layers] == [True, True, False]
    assert model.norm.num_batches_tracked == 0
    severities = {f.severity: f.paths for f in (*report.findings, *report.consequences) if f.code == "G401"}
    assert severities == {"warning": ("extra",), "note": ("layers.1.weight", "layers.1.bias")}
