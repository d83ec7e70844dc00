"""Sparse inputs, such as the adjacency of a graph, are planned, checked and calibrated."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import fanin


class Graph(nn.Module):
    """One layer over the neighbours of each node."""

    def __init__(self):
        super().__init__()
        self.inner, self.out = nn.Linear(8, 16), nn.Linear(16, 4)

    def forward(self, adjacency, x):
        return self.out(torch.relu(adjacency @ self.inner(x)))


def ring(n=64):
    """Each node reads its neighbour, as a dense matrix."""
    return torch.eye(n).roll(1, 0)


@pytest.mark.parametrize("kept", ["coo", "csr"])
@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")
def test_a_sparse_input_gives_what_the_dense_one_gives(kept):
    torch.manual_seed(0)
    model, x, y = Graph(), torch.randn(64, 8), torch.arange(64) % 4
    sparse = ring().to_sparse() if kept == "coo" else ring().to_sparse_csr()
    plans = [fanin.plan(model, (a, x)) for a in (ring(), sparse)]
    assert [a.initializer for a in plans[0].assignments.values()] == [
        a.initializer for a in plans[1].assignments.values()
    ]
    dense, found = (fanin.check(model, (a, x), targets=y, trial=False) for a in (ring(), sparse))
    pairs = zip(dense.measurements.sites, found.measurements.sites, strict=True)
    assert all(one.forward.rms == pytest.approx(other.forward.rms, rel=1e-6) for one, other in pairs)
    assert found.measurements.inputs[0].stats.rms == pytest.approx(64**-0.5)
    assert fanin.calibrate(model, (sparse, x), dry_run=True).rows


def test_a_sparse_input_that_a_layer_cannot_read_is_named():
    with pytest.raises(fanin.errors.CaptureError, match="to_dense"):
        fanin.check(nn.Conv1d(8, 4, 1), torch.eye(8).to_sparse()[None])
