"""Predicted beside measured, in standard errors; and the sentence where an assumption fails."""

from __future__ import annotations

import statistics

import torch
from torch import nn

import fanin


def he_net(width=256, depth=6):
    layers, n = [], 64
    for _ in range(depth):
        layer = nn.Linear(n, width)
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.zeros_(layer.bias)
        layers += [layer, nn.ReLU()]
        n = width
    return nn.Sequential(*layers, nn.Linear(n, 10))


def sites(model, x):
    report = fanin.check(model, x, predict=True)
    assert "prediction" not in report.measurements.missing
    return report.measurements.sites


def test_a_random_network_lies_where_theory_says():
    torch.manual_seed(0)
    found = sites(he_net(), torch.randn(64, 64))
    assert all(s.predicted is not None for s in found)
    assert max(abs(s.predicted.z) for s in found) < 5
    assert all(s.predicted.assumption == "" for s in found)


def test_standard_errors_are_about_right():
    torch.manual_seed(1)
    z = [s.predicted.z for _ in range(8) for s in sites(he_net(64), torch.randn(32, 64)) if s.kind == "weight"]
    assert 0.1 < statistics.pstdev(z) < 2.0


def test_weights_that_depend_on_the_data_are_noticed():
    torch.manual_seed(0)
    model, x = he_net(), torch.randn(64, 64)
    x[:, :] = x[:1] + 0.01 * torch.randn(64, 64)
    with torch.no_grad():
        model[0].weight += 0.1 * x[:1] / x[:1].norm() * torch.randn(256, 1).abs() * 10
    found = sites(model, x)
    assert abs(found[0].predicted.z) > 5
    assert found[0].predicted.assumption


def test_copies_of_one_draw_are_named():
    torch.manual_seed(0)
    encoder = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(64, 4, 128, dropout=0.0, batch_first=True, norm_first=True),
        6,
        enable_nested_tensor=False,
    )
    far = [
        s.predicted.assumption
        for s in sites(encoder, torch.randn(16, 20, 64))
        if s.predicted and s.predicted.assumption
    ]
    assert far
    assert "copies" in far[0]


def test_what_theory_cannot_follow_is_said():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(8, 4)

        def forward(self, x):
            if type(x) is not torch.Tensor:
                raise RuntimeError("only the real thing")
            return self.layer(x)

    report = fanin.check(Odd(), torch.randn(8, 8), predict=True)
    assert report.ok
    assert all(s.predicted is None for s in report.measurements.sites) or report.measurements.missing == {}
