"""What a check is given, as records: models and factories, optimizers, the head of a report."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import fanin
from fanin.checking.header import header_of
from fanin.checking.job import job_of, optimizer_of
from fanin.errors import ArgumentError

X = torch.ones(2, 4)


def test_a_factory_draws_from_the_seed_and_leaves_the_generator_alone():
    def make():
        return nn.Linear(4, 2), X

    torch.manual_seed(7)
    before = torch.get_rng_state()
    one, again, other = (job_of(make, None, None, None, seed).model.weight for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def loss(output):
    return output.sum()


def test_what_the_caller_gives_comes_before_what_the_factory_gives():
    made = (nn.Linear(4, 2), X, torch.zeros(2))
    job = job_of(lambda: made, None, None, None, 0)
    assert job.inputs is X
    assert job.targets is made[2]
    mine = torch.zeros(3, 4)
    given = job_of(lambda: (made[0], loss), mine, None, None, 0)
    assert given.inputs is mine
    assert given.loss is loss


def test_a_model_without_inputs_is_refused():
    with pytest.raises(ArgumentError, match="inputs is missing"):
        job_of(nn.Linear(4, 2), None, None, None, 0)


def test_what_rules_need_of_an_optimizer():
    layer = nn.Linear(4, 2)
    groups = [{"params": [layer.weight], "lr": 0.1}, {"params": [layer.bias], "lr": 0.5}]
    sgd, adam = optimizer_of(torch.optim.SGD([layer.bias], lr=0.2)), optimizer_of(torch.optim.Adam(groups, eps=1e-6))
    assert (adam.name, adam.lr, adam.eps, adam.adaptive) == ("Adam", 0.5, 1e-6, True)
    assert (sgd.eps, sgd.adaptive) == (None, False)
    assert optimizer_of(None) is None
    with pytest.raises(ArgumentError, match="without param_groups"):
        optimizer_of(nn.Linear(1, 1))


class Mine(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, x):
        return self.layer(x)


def test_the_head_says_what_was_checked_and_where_its_classes_are():
    model = Mine()
    model.layer.bias.requires_grad_(False)
    found = fanin.check(model, X, predict=False).measurements
    header = header_of(model, found, {"total": 1.0}, range(3), "nets.py:mine")
    assert (header.num_parameters, header.num_trainable, header.num_modules) == (10, 8, 2)
    assert header.seeds == (0, 1, 2)
    file, line = header.source_lines[""]
    assert file.endswith("test_job.py")
    assert line > 1
    assert "layer" not in header.source_lines, "classes of a library have no line of the user's"
