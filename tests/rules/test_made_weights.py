"""Weights that the model makes of a parameter: judged by what the signal meets, not by the parameter's own numbers."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import fanin

KEEPS = math.sqrt(2 / 64)  # std of a ReLU layer of 64 inputs (He et al. 2015, arXiv 1502.01852, eq. 10)
X = torch.randn(256, 64, generator=torch.Generator().manual_seed(0))
Y = torch.randint(0, 10, (256,), generator=torch.Generator().manual_seed(1))


class Made(nn.Module):
    def __init__(self, make, std) -> None:
        super().__init__()
        self.make, self.w = make, nn.Parameter(std * torch.randn(64, 64))

    def forward(self, x):
        return F.linear(x, self.make(self.w))


def report_of(make, std):
    """Of a stack of He's layers, one of which makes its weight."""
    torch.manual_seed(0)
    layers = [Made(make, std) if n == 2 else Made(lambda w: w, KEEPS) for n in range(5)]
    return fanin.check(nn.Sequential(*[m for x in layers for m in (x, nn.ReLU())], nn.Linear(64, 10)), X, Y)


FACTORS = {"times 50": (lambda w: 50 * w, 50.0), "over 30": (lambda w: w / 30, 1 / 30)}


@pytest.mark.parametrize("name", FACTORS)
def test_a_factor_that_is_made_up_for_is_no_fault(name):
    make, factor = FACTORS[name]
    assert report_of(make, KEEPS / factor).findings == ()


@pytest.mark.parametrize("name", FACTORS)
def test_a_factor_that_is_forgotten_is_the_cause(name):
    make, _ = FACTORS[name]
    first = report_of(make, KEEPS).findings[0]
    assert (first.code, first.paths) == ("P502", ("4.w",))


@pytest.mark.parametrize("std", [1e-3, 30.0])
def test_the_size_of_what_is_divided_by_its_size_is_none_of_the_signal_s(std):
    report = report_of(lambda w: F.normalize(w) * math.sqrt(2.0), std)
    assert "P502" not in {f.code for f in report.findings}
    record = next(p for p in report.measurements.parameters if p.path == "4.w")
    assert record.effective == pytest.approx(math.sqrt(2 / 64), rel=1e-3)


def test_what_is_read_as_it_is_has_no_other_size():
    record = next(p for p in report_of(lambda w: w.t().t(), KEEPS).measurements.parameters if p.path == "4.w")
    assert record.effective is None
    assert record.rms_read == record.weight.rms


class Bumps(nn.Module):
    """Bumps around points: what divides a squared distance is no factor of the map that makes the signal."""

    def __init__(self, divisor) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 16))
        self.points, self.out, self.divisor = nn.Parameter(torch.randn(40, 16)), nn.Linear(40, 10), divisor

    def forward(self, x):
        return self.out(torch.exp(-(torch.cdist(self.body(x), self.points) ** 2) / self.divisor))


@pytest.mark.parametrize("divisor", [16.0, 32.0, 64.0])
def test_a_factor_behind_a_function_is_none_of_the_map_before_it(divisor):
    model = Bumps(divisor)
    fanin.plan(model, X).apply_(model)
    assert "P502" not in {f.code for f in fanin.check(model, X, targets=Y).findings}
