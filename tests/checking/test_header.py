"""What a report says of the model that was checked."""

from __future__ import annotations

import inspect
from pathlib import Path

import torch
from torch import nn

import fanin


class Mine(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        return self.layer(x)


def test_classes_of_ones_own_have_a_place_in_the_source_and_those_of_a_library_none():
    header = fanin.check(nn.Sequential(Mine(), nn.ReLU()), torch.randn(8, 4), predict=False).result.header
    assert set(header.source_lines) == {"0"}
    file, line = header.source_lines["0"]
    assert Path(file) == Path(__file__)
    assert line == inspect.getsourcelines(Mine)[1]


def test_a_class_that_was_typed_in_has_no_place():
    made = {}
    exec(compile("import torch.nn\nclass Typed(torch.nn.Linear): pass", "<typed>", "exec"), made)
    assert fanin.check(made["Typed"](4, 4), torch.randn(8, 4), predict=False).result.header.source_lines == {}
