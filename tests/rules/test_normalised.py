"""What normalisation does by itself is not blamed on the weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import fanin


def _chain(depth: int, factor: float = 1.0) -> nn.Module:
    """Linear, batch norm, ReLU `depth` times, without skips; then a hidden layer with weights times `factor`."""
    blocks = [nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU()) for _ in range(depth)]
    hidden = nn.Linear(64, 64)
    with torch.no_grad():
        hidden.weight *= factor
    return nn.Sequential(*blocks, hidden, nn.ReLU(), nn.Linear(64, 10))


def _check(model: nn.Module, code: str, inputs: torch.Tensor) -> list[fanin.Finding]:
    targets = torch.randint(0, 10, (len(inputs),))
    return fanin.check(model, inputs, targets=targets, select=[code], predict=False, trial=False).findings


def test_the_growth_of_batch_norms_alone_is_a_note():
    torch.manual_seed(0)
    (found,) = _check(_chain(48), "S206", torch.randn(64, 64))
    assert found.value > 1e6  # beyond the limit of a warning
    assert found.severity == "note"
    assert "batch norm" in found.message


def test_a_weight_too_large_behind_them_is_still_a_warning():
    torch.manual_seed(0)
    (found,) = _check(_chain(48, factor=100.0), "S206", torch.randn(64, 64))
    assert found.severity == "warning"


class Embedded(nn.Module):
    """A table of very small values, a norm, and what reads it: a second norm or a map."""

    def __init__(self, second: nn.Module, eps: float = 1e-5) -> None:
        super().__init__()
        self.table = nn.Embedding(32, 64)
        nn.init.uniform_(self.table.weight, -1e-4, 1e-4)
        self.first = nn.LayerNorm(64)
        self.second, self.map, self.head = second, nn.Linear(64, 64), nn.Linear(64, 10)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        h = self.first(self.table(tokens))
        return self.head(h + torch.relu(self.map(self.second(h))))


@pytest.mark.parametrize(
    ("second", "severities"),
    [
        (nn.LayerNorm(64), ["note"]),
        (nn.Identity(), ["warning"]),
        (nn.LayerNorm(64, eps=0.1), ["warning"]),  # the second one does not bring it to unit scale either
    ],
)
def test_a_weak_norm_before_a_second_norm_is_a_note(second, severities):
    torch.manual_seed(0)
    found = _check(Embedded(second), "N602", torch.randint(0, 32, (64,)))
    assert [f.severity for f in found] == severities
