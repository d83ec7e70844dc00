"""Values that are added to a signal before the largest or least is taken keep the size that their module chose."""

import pytest
import torch
from torch import nn

import fanin

X = torch.randn(64, 6, 9, generator=torch.Generator().manual_seed(0))

PICKED = {
    "dilation": lambda x, w: (x[:, :, None] + w).amax(-1),
    "erosion": lambda x, w: (x[:, :, None] - w).amin(-1),
    "max of two outputs": lambda x, w: (x[:, :, None] + w).max(-1).values,
    "soft": lambda x, w: torch.logsumexp(4 * (x[:, :, None] + w), -1),
    "rectified": lambda x, w: torch.relu(x[:, :, None] + w).amax(-1),
    "turned": lambda x, w: -((-(w - x[:, :, None])).amin(-1)),
    "best two": lambda x, w: (x[:, :, None] + w).topk(2, -1).values.flatten(2),
}
READ = {
    "mean": lambda x, w: (x[:, :, None] + w).mean(-1),
    "distance": lambda x, w: (x[:, :, None] - w).abs().amin(-1),
    "bent": lambda x, w: torch.sin(x[:, :, None] + w).amax(-1),
}


class Compared(nn.Module):
    def __init__(self, way) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.w, self.way = nn.Parameter(0.05 * torch.randn(12, 9)), way
        self.out = nn.LazyLinear(10)

    def forward(self, x):
        return self.out(self.way(x, self.w).flatten(1))


def planned(way):
    model = Compared(way)
    model(X)
    return fanin.plan(model, X)["w"]


@pytest.mark.parametrize("name", PICKED)
def test_structuring_elements_keep_their_size(name):
    found = planned(PICKED[name])
    assert (found.action, "largest (or least)" in found.reason) == ("keep", True)


@pytest.mark.parametrize("name", READ)
def test_what_is_read_otherwise_is_another_thing(name):
    assert "largest (or least)" not in planned(READ[name]).reason


class Limited(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.w, self.out = nn.Parameter(0.05 * torch.randn(6, 9)), nn.Linear(54, 10)

    def forward(self, x):
        return self.out(torch.maximum(x, self.w).flatten(1))


def test_learned_bounds_of_a_signal_keep_their_size():
    assert fanin.plan(Limited(), X)["w"].action == "keep"
