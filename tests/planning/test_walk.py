"""A plan reads a model once: its way through the files of fanin returns seldom to a file that it has left."""

from __future__ import annotations

import torch
from torch import nn

import fanin
from fanin.model.owners import owners
from fanin.model.parameters import slots_of
from fanin.model.reading import read
from tools.walk import Call, returns, stays, steps


def test_the_way_of_a_model_returns_at_most_six_times():
    count, found = returns()
    assert count <= 6
    assert [stay[0].file for stay in found][:3] == ["planning/build.py", "model/foreign.py", "model/reading.py"]


def test_a_way_back_is_counted_and_loops_are_not():
    def call(file, line=1, made=(), is_step=True):
        return Call(file, "f", line, is_step, list(made))

    walk = call(
        "", made=[call("a", made=[call("b"), call("a", 2), call("c", 3), call("c", 3), call("d", made=[call("b")])])]
    )
    assert [s[0].file for s in stays(list(steps(walk)))] == ["a", "b", "a", "d", "b"]


def test_a_plan_asks_the_model_for_its_parameters_once(monkeypatch):
    asked = []
    for place, function in (("parameters", slots_of), ("owners", owners)):

        def noted(*args, function=function, place=place):
            asked.append(place)
            return function(*args)

        monkeypatch.setattr(f"fanin.model.reading.{function.__name__}", noted)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    for recipe in ("auto", "torch", "keep"):
        asked.clear()
        fanin.plan(model, torch.randn(3, 4), recipe=recipe)
        assert asked == ["parameters", "owners"]


def test_a_reading_has_the_shapes_that_fans_are_counted_on():
    found = read(nn.utils.parametrizations.weight_norm(nn.Linear(4, 8)))
    shapes = {name: found.shape(name) for name in found.slots}
    assert shapes == {
        "bias": (8,),
        "parametrizations.weight.original0": (8, 1),
        "parametrizations.weight.original1": (8, 4),
    }
    assert set(found.tensors) == {"bias", "parametrizations.weight.original1"}
