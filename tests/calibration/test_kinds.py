"""Every kind of weight is brought to its target, or named with the reason; nothing else in the model moves."""

from __future__ import annotations

import math
import warnings

import pytest
import torch

import fanin
from fanin.calibration.statistic import size_of
from tests.calibration.helpers import batch
from tests.calibration.kinds import EXPECTED, KINDS
from tests.selection import few


@pytest.mark.parametrize("kind", few(KINDS, every=2))
@pytest.mark.filterwarnings("ignore")
def test_a_kind_of_model_is_calibrated_and_what_cannot_be_is_named(kind):
    torch.manual_seed(0)
    model, inputs = KINDS[kind]()
    buffers = [b.clone() for b in model.buffers()]
    found = fanin.calibrate(model, inputs, tolerance=0.0, statistic="rms")
    left = {r.parameter: r.status for r in found.rows if r.status != "corrected"}
    assert left == EXPECTED.get(kind, {})
    assert all(r.reason for r in found.rows if r.status != "corrected")
    assert found.plan.verify(model).ok
    assert all(torch.equal(a, b) for a, b in zip(buffers, model.buffers(), strict=True))
    again = fanin.calibrate(model, inputs, tolerance=0.0, statistic="rms", dry_run=True)
    half = next(model.parameters()).dtype == torch.bfloat16
    assert max(abs(math.log(r.factor)) for r in again.rows) < (1e-2 if half else 2e-4)
    assert fanin.Plan.from_dict(found.plan.to_dict()) == found.plan


SHAPES = [((32, 40), -1), ((16, 8, 5, 5), 1), ((16, 7, 24), -1), ((9,), 0)]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("size", [1.0, 1e-3, 1e2])
@pytest.mark.parametrize(("shape", "channel"), [((32, 40), -1), ((16, 8, 5, 5), 1), ((16, 7, 24), -1), ((9,), 0)])
def test_a_size_is_the_root_mean_square_and_measuring_changes_nothing(dtype, size, shape, channel):
    x = (batch(*shape) * size).to(dtype)
    before, want = x.clone(), float(x.double().square().mean().sqrt())
    for statistic in ("rms", "robust"):
        got = size_of(x, batch=shape[0] if shape else None, channel=channel, statistic=statistic)
        assert got.rms == pytest.approx(want, rel=1e-5)
        assert got.value == pytest.approx(want, rel=1e-5)
    assert torch.equal(x, before)


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_sizes_beyond_the_squares_of_float32(size):
    x = batch(16, 50).double() * size
    assert size_of(x.float(), batch=16, channel=-1, statistic="rms").rms == pytest.approx(
        float(x.square().mean().sqrt()), rel=1e-5
    )


def test_warnings_of_a_repaired_model_are_none():
    torch.manual_seed(0)
    model, inputs = KINDS["inplace"]()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not fanin.calibrate(model, inputs).warnings
