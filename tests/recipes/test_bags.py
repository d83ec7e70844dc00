"""Tables whose rows are summed or averaged over a text are embeddings, however the text is given."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import fanin

IDS = torch.randint(0, 100, (40,), generator=torch.Generator().manual_seed(0))


class Text(nn.Module):
    def __init__(self, mode, **options):
        super().__init__()
        self.bag = nn.EmbeddingBag(100, 16, mode=mode, **options)
        self.fc = nn.Linear(16, 4)

    def forward(self, text, offsets=None, weights=None):
        return self.fc(self.bag(text, offsets, per_sample_weights=weights))


class Bare(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.randn(100, 16))
        self.fc = nn.Linear(16, 4)

    def forward(self, ids):
        return self.fc(F.embedding_bag(ids, self.table, mode="mean"))


CASES = {
    **{
        f"{mode}, offsets": (lambda mode=mode: Text(mode), (IDS, torch.arange(0, 40, 5)), "bag.weight")
        for mode in ("mean", "sum", "max")
    },
    "rows of ids": (lambda: Text("mean"), IDS.view(8, 5), "bag.weight"),
    "weighted": (lambda: Text("sum"), (IDS.view(8, 5), None, torch.rand(8, 5)), "bag.weight"),
    "last offset": (
        lambda: Text("mean", include_last_offset=True),
        (IDS, torch.tensor([0, 10, 20, 40])),
        "bag.weight",
    ),
    "padded": (lambda: Text("mean", padding_idx=0), IDS.view(8, 5), "bag.weight"),
    "sparse": (lambda: Text("mean", sparse=True), IDS.view(8, 5), "bag.weight"),
    "function": (Bare, IDS.view(8, 5), "table"),
    "alone": (lambda: nn.EmbeddingBag(100, 16), IDS.view(8, 5), "weight"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_bag_is_an_embedding_in_the_plan_and_in_the_check(case):
    make, inputs, name = CASES[case]
    torch.manual_seed(0)
    model = make()
    assert fanin.plan(model, inputs)[name].role == "embedding"
    if case != "alone":
        found = {p.path: p.role for p in fanin.check(model, inputs, trial=False).measurements.parameters}
        assert found[name] == "embedding"


def test_a_table_that_is_added_is_none():
    class Added(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.place = nn.Linear(16, 16), nn.Embedding(8, 16)

        def forward(self, x):
            return self.fc(x) + self.place(torch.arange(8))

    assert fanin.plan(Added(), torch.randn(2, 8, 16))["place.weight"].role == "position"
