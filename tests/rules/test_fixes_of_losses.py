"""L802 advises about the loss that was called, not about another one."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import fanin

CASES = {
    "softmax, cross_entropy": (nn.Softmax(-1), F.cross_entropy, "cross_entropy(logits, y)  # no softmax in the model"),
    "sigmoid, bce": (
        nn.Sigmoid(),
        lambda o, y: F.binary_cross_entropy_with_logits(o, F.one_hot(y, 10).float()),
        "binary_cross_entropy_with_logits(logits, y)  # no sigmoid in the model",
    ),
    "logits, nll": (nn.Identity(), F.nll_loss, "nll_loss(torch.log_softmax(logits, dim=1), y)"),
}


@pytest.mark.parametrize("case", CASES)
def test_the_advice_fits_the_loss(case):
    last, loss, code = CASES[case]
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 10), last)
    x, y = torch.randn(64, 16), torch.randint(0, 10, (64,))
    report = fanin.check(model, x, y, loss, predict=False, trial=False, select=["L802"])
    assert [f.fix.code for f in report.findings] == [f"loss = torch.nn.functional.{code}"]


def test_a_model_that_follows_the_advice_is_not_advised():
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 10))
    x, y = torch.randn(64, 16), torch.randint(0, 10, (64,))
    followed = fanin.check(model, x, y, lambda o, t: F.nll_loss(torch.log_softmax(o, dim=1), t), select=["L802"])
    assert followed.findings == ()
    assert "L802" in followed.result.checked
