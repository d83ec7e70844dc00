"""What plan and check did to memos of a forward pass, one reproduction each, and the belt for what no walk can see."""

from __future__ import annotations

import functools
import gc

import numpy as np
import pytest
import torch
from torch import nn

import fanin
from fanin.graph.recording.capture import capture
from fanin.model.kept_objects import object_keepers
from fanin.model.memo import lru_entries, set_lru_entries
from tests.model.observer import fakes


@functools.lru_cache
def table(n, d):
    return torch.outer(torch.arange(n).float(), 1e4 ** (-torch.arange(d).float() / d)).sin()


class Positions(nn.Module):
    def __init__(self):
        super().__init__()
        self.e, self.o = nn.Linear(8, 16), nn.Linear(16, 3)

    def forward(self, x):
        return self.o(torch.relu(self.e(x) + table(x.shape[1], 16))).mean(1)


def test_a_memoised_table_is_real_after_init():
    table.cache_clear()
    model, x = Positions(), torch.randn(4, 5, 8)
    fanin.init_(model, x)
    assert table.cache_info().currsize == 0
    assert type(model(x)) is torch.Tensor
    kept = table(5, 16)
    fanin.check(model, x)
    assert table(5, 16) is kept  # what was there before is still there


def test_inside_a_capture_constants_hold_numbers():
    seen = []
    tell = seen.append  # the walk does not enter builtin methods, so this list is not put back

    class Peek(nn.Linear):
        def forward(self, x):
            t = torch.arange(4).float().outer(torch.ones(8)).sin()
            tell((type(t), t.sum().item(), bool((t > 0).any())))
            t[0] = super().forward(x)[0]  # from here on the signal is in it
            tell(type(t + 0))
            return t * 2

    graph = capture(Peek(8, 8), torch.randn(4, 8))
    (kind, total, positive), later = seen
    assert kind is torch.Tensor
    assert total == pytest.approx(8 * float(torch.arange(4).sin().sum()), rel=1e-5)
    assert positive
    assert later is not torch.Tensor
    assert not graph.notes
    assert "0" in {op.module for op in graph.ops} or graph.uses("weight")


def test_a_shared_view_sees_the_signal_that_is_written_into_a_constant():
    class Views(nn.Linear):
        def forward(self, x):
            whole = torch.zeros(4, 8)
            part = whole[1:3]
            part.copy_(super().forward(x)[:2])
            return whole.relu()

    graph = capture(Views(8, 8), torch.randn(4, 8))
    reached, todo = set(), [o.value for o in graph.outputs]
    while todo:
        op = graph.producer(todo.pop())
        if op is not None and op.index not in reached:
            reached.add(op.index)
            todo += op.inputs
    assert "linear" in {graph.ops[i].name for i in reached}


HIDDEN = {}


def _hidden_append():
    kept = HIDDEN["list"] = []
    return kept.append


def test_a_survivor_is_named_and_taken_out():
    class Leaks(nn.Linear):
        def forward(self, x):
            h = super().forward(x)
            self.keep[0](h)
            return h

    model = Leaks(4, 4)
    # a bound method of a list: the walk does not enter builtin methods
    model.keep = (_hidden_append(),)
    graph = capture(model, torch.randn(2, 4))
    assert HIDDEN["list"] == []
    assert any("took out what its own pass had left there" in t for t in graph.traces)
    assert not fakes()


def test_the_plan_says_what_could_not_be_put_back():
    class Turns(nn.Linear):
        def forward(self, x):
            return super().forward(x) * next(self.turns)

    model = Turns(4, 4)
    model.turns = (1.0 + i for i in range(100))
    plan = fanin.plan(model, torch.randn(2, 4))
    assert any(w.startswith("this forward changes Turns.turns") for w in plan.warnings)
    model.turns = (1.0 + i for i in range(100))
    missing = fanin.check(model, torch.randn(2, 4)).measurements.missing
    assert missing["untouched"].startswith("this forward changes Turns.turns")


def test_a_generator_that_waits_at_the_same_yield_is_put_back():
    class Turns(nn.Linear):
        def forward(self, x):
            return super().forward(x) * next(self.turns)

    model = Turns(4, 4)
    model.turns = (1.0 + i for i in list(range(100)))  # of a range no position can be set since Python 3.12
    assert next(model.turns) == 1.0
    plan, report = fanin.plan(model, torch.randn(2, 4)), fanin.check(model, torch.randn(2, 4))
    assert not any("forward" in w for w in plan.warnings)
    assert "untouched" not in report.measurements.missing
    assert next(model.turns) == 2.0


@pytest.mark.slow
def test_a_generator_keeps_no_tensor_of_a_capture():
    def echo():
        h = yield 0
        while True:
            h = yield h

    class Sends(nn.Linear):
        def forward(self, x):
            return self.echo.send(super().forward(x))

    model = Sends(4, 4)
    model.echo = echo()
    next(model.echo)
    plan = fanin.plan(model, torch.randn(2, 4))
    assert any(w.startswith("this forward changes Sends.echo") for w in plan.warnings)
    assert not fakes()


def test_a_walk_that_ends_early_says_so(monkeypatch):
    import fanin.model.reachable

    model = nn.Linear(4, 4)
    assert not any("forward" in w for w in fanin.plan(model, torch.randn(2, 4)).warnings)
    monkeypatch.setattr(fanin.model.reachable, "MOST_OBJECTS", 3)
    said = "this forward can reach more than 400,000 Python objects"
    assert any(w.startswith(said) for w in fanin.plan(model, torch.randn(2, 4)).warnings)
    assert fanin.check(model, torch.randn(2, 4)).measurements.missing["untouched"].startswith(said)


def test_a_traced_graph_is_put_back_like_a_module():
    model = torch.fx.symbolic_trace(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)))
    before = model.get_submodule("1").running_mean.clone()
    fanin.check(model, torch.randn(6, 4))
    assert torch.equal(model.get_submodule("1").running_mean, before)
    model(torch.randn(6, 4))
    assert not torch.equal(model.get_submodule("1").running_mean, before)


def test_bytes_of_a_storage_are_put_back():
    class Writes(nn.Linear):
        def forward(self, x):
            self.memory[0] = 7
            return super().forward(x)

    model = Writes(4, 4)
    model.memory = torch.zeros(4).untyped_storage()
    fanin.check(model, torch.randn(2, 4), predict=False)
    assert model.memory[0] == 0


@pytest.mark.parametrize("bound", [None, 2, 128])
def test_a_cache_that_was_filled_before_can_be_used_afterwards(bound):
    @functools.lru_cache(bound)
    def memo(n):
        return {n: n}

    memo(1)
    before, again = memo(1), object_keepers(memo)[0](memo)
    for n in range(2, 6):
        memo(n)
    assert again()
    assert memo(1) is before
    assert lru_entries(memo) == [(1, {1: 1})]
    for n in range(200):  # written wrongly, the links of the cache end the process here
        memo(n)
        memo(n // 2)


@pytest.mark.parametrize("fails", [False, True])
def test_an_input_keeps_its_memory(fails):
    class Writes(nn.Linear):
        def forward(self, x):
            x.mul_(2)
            h = super().forward(x)
            if fails:
                raise ValueError("no")
            return h

    array = np.ones((4, 4), np.float32)
    x = torch.from_numpy(array)
    try:
        fanin.check(Writes(4, 4), x)
    except fanin.errors.CaptureError as raised:
        error = raised
    assert array.tolist() == np.ones((4, 4)).tolist()
    x.add_(1)
    assert array[0, 0] == 2.0
    assert fails == ("error" in locals())


@pytest.mark.parametrize("maxsize", [None, 2, 4, 128])
@pytest.mark.parametrize("typed", [False, True])
def test_entries_of_a_cache_are_put_back_with_their_values(maxsize, typed):
    cached = functools.lru_cache(maxsize, typed)(lambda *a, **k: object())
    calls = [((1,), {}), ((1, "a"), {}), ((), {"k": 2}), ((1.0,), {"k": (3,), "l": None}), (((1, 2),), {})]
    for args, kwargs in calls[:3]:
        cached(*args, **kwargs)
    before, info = lru_entries(cached), cached.cache_info()
    for args, kwargs in calls:
        cached(*args, **kwargs)
    assert lru_entries(cached) != before or maxsize == 2
    assert set_lru_entries(cached, before, hits=info.hits, misses=info.misses)
    assert {id(v) for _, v in lru_entries(cached)} == {id(v) for _, v in before}
    assert cached.cache_info().currsize == info.currsize
    if maxsize is not None:
        assert cached.cache_info() == info
    for (args, kwargs), (_, value) in zip(calls[3 - len(before) : 3], before, strict=True):
        assert cached(*args, **kwargs) is value


def test_a_failing_forward_leaves_no_fake_tensor_alive():
    class Fails(nn.Linear):
        def forward(self, x):
            super().forward(x)
            raise ValueError("no")

    with pytest.raises(fanin.errors.CaptureError) as caught:
        capture(Fails(4, 4), torch.randn(2, 4))
    assert caught.value is not None
    gc.collect()
    assert not fakes()
