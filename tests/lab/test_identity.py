"""What tells the runs of one experiment from those of another."""

from __future__ import annotations

import itertools

import torch
from torch import nn

from fanin.lab.compare import Task
from fanin.lab.identity import identity


def batches(seed):
    generator = torch.Generator().manual_seed(seed)
    for _ in itertools.count():
        yield torch.randn(8, 4, generator=generator), torch.randint(0, 3, (8,), generator=generator)


def fresh(seed):
    """Other numbers at every call."""
    while True:
        yield torch.rand(8, 4), torch.randint(0, 3, (8,))


def net(scale=1.0):
    model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3))
    with torch.no_grad():
        model[0].weight.mul_(scale)
    return model


def told(model=net, batches=batches, **more):
    task = Task(name="t", model=model, batches=batches, **more)
    return identity([task], {"default": None}, [0, 1], optimizer="sgd", steps=3)


def test_the_same_experiment_is_the_same_and_says_how_it_starts():
    found = told()
    assert told() == found
    for what in ("first batch under seed 0", "first batch under seed 1", "loss as constructed under seed 0"):
        assert f"{what} of t" in found


def test_what_differs_is_named():
    def differ(**more):
        one, other = told(), told(**more)
        return {k for k in one.keys() | other.keys() if one.get(k) != other.get(k)}

    assert differ(model=lambda: net(2.0)) == {"loss as constructed under seed 0 of t"}
    assert "loss of t" in differ(loss=nn.functional.multi_margin_loss)
    assert "model of t" in differ(model=lambda: nn.Linear(4, 3))


def test_batches_that_differ_each_time_tell_nothing():
    assert not any("seed" in what for what in told(batches=fresh))
