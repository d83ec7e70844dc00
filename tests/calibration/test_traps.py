"""Every use that can be reached is at its target by the test's own measurement; every other one is named."""

from __future__ import annotations

import math

import pytest
import torch

import fanin
from tests.calibration.helpers import counted_forwards
from tests.calibration.traps import TRAPS


def calibrated(trap, log):
    model, x = trap.make()
    with counted_forwards(model, log):
        found = fanin.calibrate(model, x, tolerance=0.0, statistic="rms")
    return model, x, found, log.stat().st_size


def missed(trap, model, x, found):
    """(parameter, part) -> measured over target, of each use that is off by more than the accuracy."""
    targets: dict[tuple[str, str], list[float]] = {}
    for r in found.rows:
        targets.setdefault((r.parameter, r.part), []).append(r.target)
    off = {}
    with torch.no_grad():
        for key, sizes in trap.products(model, x).items():
            ratios = [size / target for size, target in zip(sizes, targets[key], strict=True)]
            ratios = [math.exp(sum(map(math.log, ratios)) / len(ratios))] if key[0] in trap.reused else ratios
            furthest = max(ratios, key=lambda r: abs(r - 1.0))
            if abs(furthest - 1.0) > trap.accuracy:
                off[key] = furthest
    return off


@pytest.mark.parametrize("name", TRAPS)
def test_all_that_can_be_reached_is_at_its_target_and_all_else_is_named(name, tmp_path):
    trap = TRAPS[name]
    model, x, found, calls = calibrated(trap, tmp_path / "calls")
    assert not missed(trap, model, x, found)
    assert calls == found.forwards <= trap.passes
    named = {r.parameter: r.status for r in found.rows if r.status != "corrected"}
    assert named == trap.named
    assert all(r.reason for r in found.rows if r.parameter in named)


@pytest.mark.parametrize("name", ["order", "reused", "attention", "packed", "weight-norm", "conv-transpose"])
def test_the_measurement_sees_a_model_that_was_not_calibrated(name):
    trap = TRAPS[name]
    model, x = trap.make()
    found = fanin.calibrate(model, x, tolerance=0.0, statistic="rms", dry_run=True)
    assert missed(trap, model, x, found)


def test_a_norms_running_statistics_and_flags_are_as_before():
    model, x = TRAPS["batch-norm"].make()
    model.eval()
    before = [b.clone() for b in model.buffers()]
    fanin.calibrate(model, x)
    assert all(torch.equal(a, b) for a, b in zip(before, model.buffers(), strict=True))
    assert not any(m.training for m in model.modules())
