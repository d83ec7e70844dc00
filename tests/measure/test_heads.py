"""Gradients before the last norm, where what the output receives is partly a multiple of the output."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import fanin

VOCAB, WIDTH, TOKENS = 200, 128, 32


class Copies(nn.Module):
    """A residual language model whose labels are its own inputs; the head is the embedding or a map of its own."""

    def __init__(self, *, tied: bool, bias: bool) -> None:
        super().__init__()
        self.embed, self.norm = nn.Embedding(VOCAB, WIDTH), nn.LayerNorm(WIDTH)
        self.maps = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.head = nn.Linear(WIDTH, VOCAB, bias=False)
        nn.init.normal_(self.embed.weight, std=0.02)
        nn.init.normal_(self.head.weight, std=0.02)
        for layer in self.maps:
            nn.init.normal_(layer.weight, std=0.02)
        if tied:
            self.head.weight = self.embed.weight
        self.register_buffer("bias", torch.zeros(1, VOCAB) if bias else None)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.embed(tokens))
        for layer in self.maps:
            x = self.norm(x + layer(F.relu(x)))
        out = self.head(x)
        return out if self.bias is None else out + self.bias


def farthest(*, tied: bool, bias: bool = False, own: bool = True) -> float:
    """The largest |z| of a gradient before the head."""
    torch.manual_seed(1)
    model = Copies(tied=tied, bias=bias)
    tokens = torch.randint(0, VOCAB, (8, TOKENS))
    labels = tokens if own else torch.randint(0, VOCAB, (8, TOKENS))

    def loss(output: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(output.flatten(0, 1), labels.flatten())

    sites = fanin.check(model, tokens, None, loss, predict=True).measurements.sites
    z = [abs(s.predicted_backward.z) for s in sites if s.predicted_backward and s.kind != "loss"]
    assert len(z) >= 8
    return max(z)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("tied", [False, True])
def test_a_norm_before_the_head_passes_on_what_is_across_its_output(tied, own, bias):
    assert farthest(tied=tied, bias=bias, own=own) < 5.0


def test_without_the_share_along_the_output_the_gradient_of_a_tied_head_is_off(monkeypatch):
    from fanin.measure import passes

    monkeypatch.setattr(passes, "_along_output", lambda *_: 0.0)
    assert farthest(tied=True) > 5.0
