"""A gradient that a sum hands on as it is is read once, unless it holds something else by then."""

import pytest
import torch
from torch import nn

import fanin.measure.sites as sites_module
from fanin.measure.run import measure
from fanin.measure.task import MeasureTask


class Written(torch.autograd.Function):
    """The identity; its backward doubles the gradient in its memory, as fused kernels do, and torch does not count."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        gradient.data.mul_(2.0)
        return gradient


class Block(nn.Module):
    def __init__(self, way=None):
        super().__init__()
        self.first, self.second, self.way = nn.Linear(16, 16), nn.Linear(16, 16), way

    def forward(self, x):
        x = self.first(x)
        branch = self.second(x)
        return x + (branch if self.way is None else self.way(branch))


def measured(model):
    x = torch.randn(32, 16, generator=torch.Generator().manual_seed(0))
    found, _ = measure(MeasureTask(model=model, inputs=x, predict=False))
    return {(s.path, s.op): s.backward for s in found.sites}


def test_what_a_sum_hands_on_is_read_once(monkeypatch):
    torch.manual_seed(0)
    reduced, pack = [], sites_module.pack_signal
    monkeypatch.setattr(sites_module, "pack_signal", lambda x: reduced.append(x.shape) or pack(x))
    found = measured(Block())
    assert found["second", "linear"] == found["", "add"]
    assert found["first", "linear"] != found["", "add"]
    assert len(reduced) == 2 * len(found) - 1


def test_a_gradient_that_was_written_into_is_read_again():
    torch.manual_seed(0)
    found = measured(Block(Written.apply))
    assert found["second", "linear"].rms == pytest.approx(2.0 * found["", "add"].rms, rel=1e-6)
