"""Bare parameters have the fans of the graph, also where no graph is captured; unknown ones have none."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import fanin
from tests.selection import few

N = 8
# name -> (shape of the parameter, what it makes of x (N, 8))
READERS: dict[str, tuple[tuple[int, ...], Callable[[torch.Tensor, torch.Tensor], torch.Tensor]]] = {
    "x @ W": ((8, 12), lambda x, w: x @ w),
    "x @ W.T": ((12, 8), lambda x, w: x @ w.T),
    "square x @ W.T": ((8, 8), lambda x, w: x @ w.T),
    "W @ x": ((12, 8), lambda x, w: (w @ x.T).mT),
    "linear": ((12, 8), lambda x, w: F.linear(x, w)),
    "linear of a scaled weight": ((12, 8), lambda x, w: F.linear(x, w * 2)),
    "linear of a transposed weight": ((8, 12), lambda x, w: F.linear(x, w.t())),
    "addmm": ((8, 12), lambda x, w: torch.addmm(torch.zeros(12), x, w)),
    "experts": ((4, 8, 6), lambda x, w: torch.bmm(x.expand(4, -1, -1), w).mean(0)),
    "experts, transposed": ((4, 6, 8), lambda x, w: torch.matmul(x, w.transpose(1, 2)).mean(0)),
    "conv1d": ((6, 8, 3), lambda x, w: F.conv1d(x[:, :, None].expand(-1, -1, 9), w)),
    "grouped conv1d": ((6, 4, 3), lambda x, w: F.conv1d(x[:, :, None].expand(-1, -1, 9), w, groups=2)),
    "conv_transpose1d": ((8, 2, 3), lambda x, w: F.conv_transpose1d(x[:, :, None].expand(-1, -1, 9), w, stride=2)),
    "einsum of heads": ((8, 4, 3), lambda x, w: torch.einsum("nd,dhk->nhk", x, w)),
    "einsum of experts": ((4, 8, 3), lambda x, w: torch.einsum("nd,edk->nek", x, w)),
}
UNKNOWN: dict[str, tuple[tuple[int, ...], Callable[[torch.Tensor, torch.Tensor], torch.Tensor]]] = {
    "reshaped": ((12, 8), lambda x, w: x @ w.reshape(8, 12)),
    "einsum that sums the weight alone": ((8, 4, 3), lambda x, w: torch.einsum("nd,dhk->nh", x, w)),
}


class Bare(nn.Module):
    def __init__(self, name: str) -> None:
        super().__init__()
        shape, self.read = {**READERS, **UNKNOWN}[name]
        self.w = nn.Parameter(0.3 * torch.randn(shape))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.read(x, self.w)


def weight_of(name: str, *, predict: bool | None):
    torch.manual_seed(0)
    (record,) = fanin.check(Bare(name), torch.randn(N, 8), predict=predict, trial=False).measurements.parameters
    return record


@pytest.mark.parametrize("name", few(READERS, every=2))
def test_the_call_tells_the_fans_that_the_graph_tells(name):
    graph, call = weight_of(name, predict=None), weight_of(name, predict=False)
    assert (graph.role_from, call.role_from) == ("graph", "call")
    assert call.fan_in is not None
    assert (call.fan_in, call.fan_out) == (graph.fan_in, graph.fan_out)


@pytest.mark.parametrize("name", UNKNOWN)
def test_where_the_call_does_not_tell_there_are_no_fans(name):
    record = weight_of(name, predict=False)
    assert record.fan_in is None
    assert record.layout is None
    assert not record.is_map


def test_wrong_fans_would_be_seen():
    assert len({weight_of(n, predict=False).fan_in for n in ("x @ W", "square x @ W.T", "conv1d")}) > 1
    assert weight_of("x @ W", predict=False).layout != weight_of("linear", predict=False).layout
