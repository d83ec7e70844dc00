"""The table of quantities: each is named after what holds it, and the recorder knows none of them."""

from __future__ import annotations

import dataclasses
import inspect
from typing import get_args

import pytest
import torch
from torch import nn

import fanin
from fanin.measure import recorder
from fanin.measure.quantities import table
from fanin.measure.quantities.table import QUANTITIES, Quantity
from fanin.measure.record import OperationOutput, Site, SiteKind

OF_SITES = {q.name for found in QUANTITIES.values() for q in found if not q.of_pass}


def test_kinds_and_names_exist():
    assert set(QUANTITIES) <= set(get_args(SiteKind))
    fields = {f.name for f in dataclasses.fields(Site)} - {f.name for f in dataclasses.fields(OperationOutput)}
    assert fields >= OF_SITES
    for found in QUANTITIES.values():
        assert len({q.name for q in found}) == len(found)


def test_every_measured_field_of_a_site_has_a_quantity():
    elsewhere = {"forward", "backward", "follower", "follower_factor", "follower_bent", "multiplied", "role"}
    elsewhere |= {"predicted", "predicted_backward", "unpredicted", "unpredicted_backward"}
    own = {f.name for f in dataclasses.fields(Site)} - {f.name for f in dataclasses.fields(OperationOutput)}
    assert own - elsewhere == OF_SITES


def test_the_recorder_names_no_quantity():
    source = inspect.getsource(recorder)
    assert not [name for name in OF_SITES - {"norm", "attention"} if name in source]
    assert "fanin.measure.quantities" not in source.replace("fanin.measure.quantities.table", "")


def test_a_new_quantity_needs_one_line(monkeypatch: pytest.MonkeyPatch):
    seen = []
    new = Quantity("saturation", lambda call: seen.append((call.op, tuple(call.result.shape))))
    monkeypatch.setitem(table.QUANTITIES, "activation", (new,))
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2), nn.ReLU())
    fanin.check(model, torch.randn(6, 4), predict=False, trial=False)
    assert seen == [("tanh", (6, 8)), ("relu", (6, 2))]


def test_what_an_operation_in_place_overwrites_is_read_before(monkeypatch: pytest.MonkeyPatch):
    before, after = [], []
    new = Quantity(
        "activity",
        lambda call: after.append(float(call.input.detach().min())),
        before=lambda call: before.append(float(call.input.detach().min())),
    )
    monkeypatch.setitem(table.QUANTITIES, "activation", (new,))
    torch.manual_seed(0)
    fanin.check(nn.Sequential(nn.Linear(4, 64), nn.ReLU(inplace=True)), torch.randn(6, 4), predict=False)
    assert before[0] < 0
    assert after[0] == 0
