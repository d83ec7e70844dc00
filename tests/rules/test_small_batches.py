"""A batch that is too small for a rule is said to be so, with the number of samples that the rule needs."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import fanin
from fanin.rules.table import RULES

NEEDS_MORE = {rule.code: rule.needs_samples for rule in RULES if rule.needs_samples > 1}


def checked(batch, width=32):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(width, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 5))
    return fanin.check(model, torch.randn(batch, width), targets=torch.randint(0, 5, (batch,)))


def test_the_rules_that_compare_samples_need_two():
    assert NEEDS_MORE == {"S205": 2, "A303": 2}


def test_a_batch_of_one_is_said_to_be_too_small():
    report = checked(1)
    told = {n.code: n for n in report.result.not_run if n.needs_samples}
    assert set(told) == set(NEEDS_MORE)
    assert all(n.reason == "a batch of 1 is too small: it compares samples, so give 2 or more" for n in told.values())
    text = str(report)
    assert "the batch is too small for A303 constant-channels, S205 sample-collapse: give 2 samples or more" in text


@pytest.mark.parametrize("batch", [2, 8])
def test_with_as_many_as_they_need_they_run(batch):
    report = checked(batch)
    assert not [n for n in report.result.not_run if n.needs_samples]
    assert set(report.result.checked) >= set(NEEDS_MORE)
    assert "too small" not in str(report)
