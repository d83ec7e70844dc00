"""`init_(seed=None)`: the seed is drawn from torch's generator; every other call leaves that generator as it is."""

from __future__ import annotations

import torch
from torch import nn

import fanin


def started(seed: int | None) -> torch.Tensor:
    model = nn.Linear(8, 4)
    fanin.init_(model, recipe="torch", seed=seed)
    return model.weight.detach().clone()


def test_manual_seed_decides_and_two_calls_differ():
    torch.manual_seed(3)
    first, second = started(None), started(None)
    torch.manual_seed(3)
    assert torch.equal(started(None), first)
    assert not torch.equal(first, second)


def test_the_plan_says_which_seed_was_drawn():
    model = nn.Linear(8, 4)
    plan = fanin.init_(model, recipe="torch", seed=None)
    assert 0 <= plan.seed < 2**63
    assert f"seed {plan.seed}" in str(plan)
    again = nn.Linear(8, 4)
    fanin.init_(again, recipe="torch", seed=plan.seed)
    assert torch.equal(again.weight, model.weight)


def test_with_a_seed_the_generator_is_not_touched():
    model = nn.Linear(8, 4)
    before = torch.get_rng_state()
    fanin.init_(model, recipe="torch")
    assert torch.equal(torch.get_rng_state(), before)
    fanin.init_(model, recipe="torch", seed=None)
    assert not torch.equal(torch.get_rng_state(), before)
