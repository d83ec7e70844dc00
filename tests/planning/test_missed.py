"""Which maps count as far from what their own plan predicts."""

from dataclasses import replace

import pytest
import torch
from torch import nn

import fanin
from fanin.initializers import Normal
from fanin.planning.missed import missed_predictions


def measured(factor, error):
    """The misses of a map that is drawn so many times as large as its prediction, with that standard error."""
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10)), torch.randn(64, 32)
    made = fanin.plan(model, x)
    a = made["2.weight"]
    law = Normal(std=factor * a.std)
    other = replace(made, assignments={**made.assignments, a.name: replace(a, initializer=law, predicted_se=(error,))})
    return missed_predictions(other, other.trial(model, x).planned.sites)


@pytest.mark.parametrize(("error", "missed"), [(None, True), (0.5, True), (1.0, True), (1.01, False), (9.0, False)])
def test_a_size_that_the_plan_does_not_know_is_not_missed_by_a_factor_of_fifteen(error, missed):
    assert bool(measured(15.0, error)) is missed


def test_it_is_missed_beyond_three_of_its_errors():
    assert measured(200.0, 1.5)
    assert not measured(50.0, 1.5)
