"""A graph network keeps its adjacency matrix as a sparse tensor; planning it ended in a RuntimeError of torch."""

import pytest
import torch
from torch import nn

import fanin


class Neighbours(nn.Module):
    def __init__(self):
        super().__init__()
        self.map = nn.Linear(8, 3)
        self.adjacency = torch.eye(6).to_sparse()

    def forward(self, x):
        return torch.sparse.mm(self.adjacency, self.map(x))


@pytest.mark.parametrize("verb", [fanin.plan, fanin.init_, fanin.check])
def test_a_sparse_tensor_of_the_model_is_read_and_kept(verb):
    torch.manual_seed(0)
    model = Neighbours()
    before = model.adjacency
    verb(model, torch.randn(6, 8))
    assert model.adjacency is before
    assert model.adjacency.is_sparse
    assert torch.equal(model.adjacency.to_dense(), torch.eye(6))
