"""What a check reads of a loss: labels that count, shares of classes, complex numbers."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, one_hot

import fanin
from fanin.errors import ArgumentError
from fanin.measure.calls import Call
from fanin.measure.origins import Origin, join
from fanin.measure.products import Products


def net(classes=10):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, classes))


def record(loss, targets, model=None, x=None):
    x = torch.randn(64, 32) if x is None else x
    return fanin.check(model or net(), x, targets=targets, loss=loss, predict=False, trial=False).measurements.loss


@pytest.mark.parametrize("ignored", [-100, 255, 0])
def test_an_ignored_label_is_no_term_and_no_class(ignored):
    labels = torch.arange(1, 65) % 9 + 1
    labels[4:] = ignored
    found = record(lambda z, y: cross_entropy(z, y, ignore_index=ignored), labels)
    assert (found.num_terms, found.prior) == (4, pytest.approx(math.log(4)))
    assert record(cross_entropy, labels.clamp(0, 9)).num_terms == 64


def test_shares_of_classes_are_one_term_a_sample():
    labels = torch.arange(64) % 10
    hard, soft = (record(lambda z, y: cross_entropy(z, y, reduction="sum"), y) for y in (labels, one_hot(labels) * 1.0))
    assert hard.num_terms == soft.num_terms == 64
    assert hard.baseline == soft.baseline == pytest.approx(64 * math.log(10))
    assert record(nn.functional.mse_loss, torch.randn(64, 10)).num_terms == 640


def test_many_classes_are_looked_at_in_few_samples():
    found = record(cross_entropy, torch.randint(0, 50_000, (64,)), net(50_000))
    assert found.baseline == pytest.approx(math.log(50_000))


class Complex(nn.Module):
    """A complex map, times a complex number or over it."""

    def __init__(self, divides=False):
        super().__init__()
        torch.manual_seed(0)
        self.weight = nn.Parameter(torch.randn(32, 10, dtype=torch.cfloat) / 6)
        self.number, self.divides = nn.Parameter(torch.tensor(3 + 4j)), divides

    def forward(self, x):
        y = x.to(torch.cfloat) @ self.weight
        return y / self.number if self.divides else self.number * y


@pytest.mark.parametrize("divides", [False, True])
@pytest.mark.parametrize("dtype", [torch.float, torch.cfloat])
def test_complex_numbers_are_read(divides, dtype):
    x, y = torch.randn(64, 32, dtype=dtype), torch.randint(0, 10, (64,))
    found = record(lambda z, y: cross_entropy(z.abs(), y), y, Complex(divides), x)
    assert found.op == "cross_entropy"
    assert record(None, None, Complex(divides), x).source == "cotangent"
    assert record(None, 1j * torch.randn(64, 10), Complex(divides), x).num_terms == 1280


def test_a_complex_scalar_counts_by_its_modulus():
    products, number = Products(), torch.tensor(3 + 4j)
    origins = [Origin(parameters=frozenset(("number",))), Origin(data=True, sites=(0,))]
    for op, size in (("mul", 5.0), ("div", 0.2)):
        args = (number, torch.ones(3))
        call = Call(op=op, kind="other", args=args, kwargs={}, batch=None, unit_axis=None, made_by="")
        products.note(call, origins, join(origins))
        assert products.scales["number"] == pytest.approx(size)


def test_a_complex_loss_is_refused_with_a_way_out():
    with pytest.raises(ArgumentError, match=r"complex number.*\.abs\(\) or \.real"):
        record(lambda z: (z * z.conj()).mean(), None, Complex())
