"""What a capture in training mode follows: dropout, and no choice that a generator outside torch makes."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import nn

import fanin
from fanin.graph.recording.capture import capture


class Masked(nn.Module):
    """In training mode a learned token takes the place of some positions, chosen by `choose`."""

    def __init__(self, choose) -> None:
        super().__init__()
        self.map, self.token, self.drop = nn.Linear(8, 16), nn.Parameter(torch.randn(16)), nn.Dropout(0.5)
        self.choose, self.head = choose, nn.Linear(16, 4)

    def forward(self, x):
        h = self.drop(torch.relu(self.map(x)))
        if self.training and self.choose is not None:
            h[torch.from_numpy(self.choose(len(x)))] = self.token
        return self.head(h)


CHOICES = {
    "NumPy": lambda n: np.random.rand(n) < 0.5,  # noqa: NPY002
    "NumPy, a permutation": lambda n: np.random.permutation(n) < n // 2,  # noqa: NPY002
    "Python": lambda n: np.array([random.random() < 0.5 for _ in range(n)]),
}


@pytest.mark.parametrize("name", CHOICES)
def test_a_choice_of_another_generator_is_not_followed(name):
    model, x = Masked(CHOICES[name]), torch.randn(32, 8)
    before = random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    assert "dropout" not in [op.name for op in capture(model, x, training=True).ops]
    assert random.getstate() == before[0]
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002
    report = fanin.check(model, x, targets=torch.randint(0, 4, (32,)), trial=False)
    (checked,) = [p.role for p in report.result.measurements.parameters if p.path == "token"]
    assert checked == fanin.plan(model, x)["token"].role == "unused"


def test_dropout_alone_is_followed():
    assert "dropout" in [op.name for op in capture(Masked(None), torch.randn(32, 8), training=True).ops]
