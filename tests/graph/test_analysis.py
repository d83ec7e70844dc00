"""The flat record of facts about a graph, and walks that end."""

from __future__ import annotations

import collections
import dataclasses

import torch
from torch import nn

from fanin.graph.analysis import walks
from fanin.graph.analysis.analyse import analyse
from fanin.graph.analysis.analysis import Analysis
from fanin.graph.analysis.bounded import reach
from fanin.graph.analysis.walks import downstream, sources
from fanin.graph.recording.capture import capture


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(8), nn.Linear(8, 16), nn.Linear(16, 8)
        self.unread = nn.Parameter(torch.zeros(8))

    def forward(self, x):
        return x + self.down(torch.relu(self.up(self.norm(x))))


def analysed() -> Analysis:
    return analyse(capture(Block(), torch.randn(3, 8)))


def test_the_record_is_flat():
    names = [f.name for f in dataclasses.fields(Analysis)]
    assert names[:1] == ["graph"]
    assert len(names) <= 12
    assert not any(isinstance(getattr(analysed(), n), Analysis) for n in names)


def test_questions_about_values_and_ops():
    a = analysed()
    graph = a.graph
    weight = graph.parameters["up.weight"].value
    (add,) = (op for op in graph.live_ops() if op.name == "add")
    (relu,) = (op for op in graph.live_ops() if op.name == "relu")
    maps = [op for op in graph.live_ops() if a.is_map(op)]
    assert a.depends(graph.inputs[0])
    assert not a.depends(weight)
    assert [op.name for op in maps] == ["linear", "linear"]
    assert a.signals(maps[0]) == [graph.ops[maps[0].index].inputs[0]]
    assert a.signals(add)[0] == graph.inputs[0]
    assert a.is_activated(relu.output)
    assert not a.is_activated(add.output)
    assert set(a.residuals) == {add.index}
    assert [a.depth[op.output] for op in maps] == [1, 2]


def test_facts_by_another_key_agree_with_the_fields():
    a = analysed()
    (residual,) = a.residuals.values()
    assert set(a.branch_around) == set(residual.maps) == set(a.contractions)
    assert a.branches_of == {0: (residual,)}
    up = a.graph.parameters["up.weight"].value
    (seen,) = a.sightings[up]
    assert seen.use in a.contractions[seen.use.op]
    assert a.graph.parameters["unread"].value not in a.sightings
    assert a.outputs == {o.value for o in a.graph.outputs}


def test_a_walk_downstream_is_made_once():
    a = analysed()
    first = next(op for op in a.graph.live_ops() if op.name == "linear")
    events = downstream(a, first.output)
    assert [e.kind for e in events] == ["act"]
    assert downstream(a, first.output) is events


class Dense(nn.Module):
    """Every layer reads the outputs of all layers before it, side by side."""

    def __init__(self, count):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(4 + 2 * i, 2) for i in range(count)])

    def forward(self, x):
        for layer in self.layers:
            x = torch.cat([x, torch.relu(layer(x))], -1)
        return x


def test_what_a_dense_block_reads_is_found_once_for_each_value(monkeypatch):
    asked = []
    monkeypatch.setattr(walks, "_source", lambda a, v, look=walks._source: asked.append(v) or look(a, v))
    a = analyse(capture(Dense(30), torch.randn(3, 4)))
    reads = [op.inputs[0] for op in a.graph.ops if op.name == "linear"]
    found = [sources(a, v) for v in reads]
    assert found[:3] == [("input",), ("input", "act:relu"), ("act:relu", "input")]  # the nearest first
    assert set(found[3:]) == {("act:relu", "input")}
    assert len(asked) == len(set(asked)) <= 2 * len(reads) + 1


def test_walks_of_a_dense_block_end_after_some_events():
    a = analyse(capture(Dense(90), torch.randn(3, 4)))
    first = next(op for op in a.graph.ops if op.name == "relu")
    events = downstream(a, first.output)
    assert 60 <= len(events) < 80
    assert {e.kind for e in events} == {"linear"}


def test_a_walk_ends_at_its_limit_and_steps_no_further():
    asked = []

    def step(v: int) -> list[int]:
        asked.append(v)
        return [v + 1]

    assert list(reach(0, step, limit=4)) == [0, 1, 2, 3]
    assert asked == [0, 1, 2]
    assert list(reach(0, lambda v: [0, v % 3 + 1], limit=100)) == [0, 1, 2, 3]


def test_a_walk_is_lazy():
    def fails(v: int) -> list[int]:
        raise AssertionError(v)

    assert next(reach(7, fails)) == 7


class Counted(nn.Module):
    """Two maps, and numbers that are made of nothing."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x):
        return self.b(torch.relu(self.a(x)) + torch.arange(8.0))


def test_the_depth_of_a_value_is_the_number_of_maps_before_it():
    a = analyse(capture(Counted(), torch.randn(3, 8)))
    depth = {op.name: a.depth[op.output] for op in a.graph.live_ops() if op.name != "linear"}
    assert depth == {"relu": 1, "arange": 0, "add": 1}
    assert [a.depth[op.output] for op in a.graph.live_ops() if op.name == "linear"] == [1, 2]
    assert a.depth[a.graph.inputs[0]] == 0


Pair = collections.namedtuple("Pair", "one two")


class Joined(nn.Module):
    """Gives torch a named tuple of tensors, and one inside a list."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(8, 8), nn.Linear(16, 4)

    def forward(self, x):
        return self.b(torch.cat(Pair(x, self.a(x)), -1))


def test_tensors_in_a_named_tuple_are_operands():
    graph = capture(Joined(), torch.randn(3, 8))
    (cat,) = (op for op in graph.live_ops() if op.name == "cat")
    assert [graph.producer(v) is None for v in cat.inputs] == [True, False]
    assert analyse(graph).depth[cat.output] == 1
