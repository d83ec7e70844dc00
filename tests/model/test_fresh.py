"""A function that gives the same model again is refused before anything is trained."""

import copy
import functools

import pytest
import torch
from torch import nn

import fanin
from fanin.errors import ArgumentError
from fanin.lab.rates import rate_sweep

X, Y = torch.randn(16, 4), torch.randint(0, 3, (16,))


def net():
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))


def compared(build, _):
    fanin.compare(
        build, (X, Y), inits={"a": None, "b": None}, seeds=1, lrs=[0.1], steps=2, batch_size=8, progress=False
    )


def swept(build, tmp_path):
    rate_sweep(
        lambda width: build(), (4, 8), (X, Y), starts={"a": None}, lrs=(0.01, 0.1), steps=2, seeds=1, batch_size=8,
        progress=False, out=tmp_path / "runs.jsonl",
    )  # fmt: skip


def coordinates(build, _):
    fanin.coordinate_check(lambda width: build(), (4, 8), X, Y, lr=0.1, optimizer="sgd", recipe=None, seeds=1)


def checked(build, _):
    fanin.check(build, X, targets=Y, seeds=2, trial=False, predict=False)


VERBS = (compared, swept, coordinates, checked)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("wrap", [lambda m: m, lambda m: nn.Sequential(m)])
def test_the_same_model_is_refused_and_nothing_of_it_changes(verb, wrap, tmp_path):
    model = net()
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    with pytest.raises(ArgumentError, match=r"returned (the same model twice|a model that shares parameters)"):
        verb(lambda: wrap(model), tmp_path)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("verb", [compared, checked])
def test_a_copy_each_time_is_taken(verb, tmp_path):
    verb(functools.partial(copy.deepcopy, net()), tmp_path)


def test_one_draw_of_a_factory_may_be_a_model_that_is_held():
    model = net()
    for _ in range(2):
        fanin.check(lambda: model, X, targets=Y, trial=False, predict=False)
