"""Attention scores are reported, in the model as it is after the calibration, and have no factor of their own."""

from __future__ import annotations

import math

import torch
from torch import nn

import fanin
from tests.calibration.helpers import batch, close


class ByHand(nn.Module):
    """One head that multiplies and takes the softmax itself; classes at the end, by another softmax."""

    def __init__(self):
        super().__init__()
        self.qkv, self.head = nn.Linear(16, 48, bias=False), nn.Linear(16, 10)

    def probabilities(self, x):
        q, k, _ = self.qkv(x).chunk(3, -1)
        return (q @ k.transpose(-1, -2) / 4).softmax(-1)

    def forward(self, x):
        return self.head(self.probabilities(x) @ self.qkv(x)[..., 32:]).softmax(-1)


def test_the_entropy_is_that_of_the_calibrated_model():
    torch.manual_seed(0)
    model, x = ByHand(), batch(2, 12, 16)
    (one,) = fanin.calibrate(model, x, tolerance=0.0).scores  # the softmax over classes is none
    p = model.probabilities(x).detach().double()
    entropy = float(-(p * p.log()).sum(-1).mean()) / math.log(12)
    assert one.keys == 12
    assert close(one.entropy, entropy)
    logits = p.log()
    spread = float(logits.var(-1, correction=0).mean().sqrt())
    assert close(one.spread, spread)


def test_fused_attention_is_seen_in_every_layer():
    layers = nn.TransformerEncoder(nn.TransformerEncoderLayer(32, 2, 32, batch_first=True), 3)
    found = fanin.calibrate(layers, batch(4, 16, 32))
    assert [s.module for s in found.scores] == [f"layers.{i}.self_attn" for i in range(3)]
    assert all(0.0 < s.entropy < 1.0 for s in found.scores)
    assert "attention: 3 softmaxes" in str(found)
    assert len(found.to_dict()["scores"]) == 3
    assert not fanin.calibrate(nn.Linear(4, 4), batch(8, 4)).scores
