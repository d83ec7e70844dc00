"""`fanin diff` of weight files: with each other, and with a plan."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_model
from torch import nn

import fanin
from fanin.commands.diff import difference
from fanin.errors import InputError, MissingFileError, TargetError


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.head = nn.Embedding(20, 8), nn.Linear(8, 20)
        self.head.weight = self.table.weight

    def forward(self, ids):
        return self.head(self.table(ids))


@pytest.fixture
def files(tmp_path):
    model = Tied()
    plan = fanin.init_(model, torch.randint(0, 20, (4, 6)))
    plan.save(tmp_path / "plan.json")
    save_model(model, tmp_path / "a.safetensors")
    with torch.no_grad():
        model.head.bias += 0.5
    save_model(model, tmp_path / "b.safetensors")
    return lambda name: str(tmp_path / name)


def test_a_file_differs_from_itself_in_nothing(files):
    assert not difference(files("a.safetensors"), files("a.safetensors"))


def test_what_differs_is_named_with_its_size(files):
    found = difference(files("a.safetensors"), files("b.safetensors"))
    assert {d.name for d in found.differences} == {"head.bias"}
    assert found.differences[-1].right == pytest.approx(0.5)


def test_a_plan_and_its_own_checkpoint_agree_and_another_does_not(files):
    assert not difference(files("plan.json"), files("a.safetensors"))
    found = difference(files("plan.json"), files("b.safetensors"))
    assert {d.name for d in found.differences} == {"head.bias"}


def test_what_cannot_be_compared_is_named(files, tmp_path):
    (tmp_path / "torn.safetensors").write_bytes(b"\x01")
    with pytest.raises(InputError, match="cannot be read as safetensors"):
        difference(files("a.safetensors"), files("torn.safetensors"))
    with pytest.raises(MissingFileError, match="no file"):
        difference(files("a.safetensors"), files("nowhere.safetensors"))
    with pytest.raises(TargetError, match="compared with another"):
        difference(files("a.safetensors"), files("plan.json"))
