"""What may not be drawn is found without reading the numbers of a model in which everything may."""

import pytest
import torch
from torch import nn

import fanin.model.standing as module
from fanin.model.parameters import slots_of
from fanin.model.standing import standing_of, what_stays


def plain():
    return nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))


def frozen(model, *, empty=False):
    model[0].weight.requires_grad_(False)
    if empty:
        with torch.no_grad():
            model[0].weight.fill_(float("nan"))
    return model


def whole_numbers(model):
    model[1].register_parameter("table", nn.Parameter(torch.zeros(3, dtype=torch.int64), requires_grad=False))
    return model


MODELS = {
    "free": plain,
    "frozen": lambda: frozen(plain()),
    "frozen and empty": lambda: frozen(plain(), empty=True),
    "whole numbers": lambda: whole_numbers(plain()),
    "frozen behind a parametrization": lambda: nn.Sequential(
        nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)).requires_grad_(False)
    ),
}


@pytest.mark.parametrize("build", MODELS.values(), ids=MODELS)
def test_what_stays_is_what_standing_keeps(build):
    model = build()
    slots = slots_of(model)
    assert dict(what_stays(model, slots)) == dict(standing_of(model, slots).keep)


def test_the_numbers_are_read_only_where_something_may_stay(monkeypatch):
    looked = []
    monkeypatch.setattr(module, "why_empty", lambda tensor: looked.append(tensor) or "")
    for build in (plain, lambda: frozen(plain())):
        model = build()
        what_stays(model, slots_of(model))
        assert bool(looked) == (not model[0].weight.requires_grad)
