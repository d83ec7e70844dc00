"""Every threshold of every rule lies between two models, and both would be judged alike if it moved by a factor 1.5."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

import fanin
from fanin.checking.job import optimizer_of
from fanin.rules.base import Context
from fanin.rules.table import RULES
from tests.rules import close_cases as close
from tests.rules.test_each_rule import Angles, adam, attention, case, init, net, recurrence, tokens, x
from tests.rules.watched_cases import written
from tests.selection import few

FACTOR = 1.5
BY_CODE = {rule.code: rule for rule in RULES}


def started(gain=None, std=None, **more):
    return case(init(net(**more), gain=gain, std=std))


# (code, threshold) -> (a model to turn, the setting just beyond the threshold, the one just before it)
CASES = {
    ("D101", "high"): (lambda k: case(net(), k * x()), 6.0, 4.2),
    ("D101", "low"): (lambda k: case(net(), k * x()), 0.042, 0.06),
    ("D101", "bytes"): (lambda k: case(net(), k * torch.rand(64, 32)), 62.0, 42.0),
    ("D102", "offset"): (lambda k: case(net(), k + x()), 3.64, 2.47),
    ("D102", "ratio"): (lambda k: close.features(ratio=k), 1070.0, 664.0),
    ("D102", "constant"): (lambda k: close.features(constant=k), 20, 13),
    ("D103", "spread"): (close.constant_input, 100, 260),
    ("D104", "high"): (lambda k: close.targets(k, 30.0), 125.0, 78.0),
    ("D104", "low"): (close.targets, 0.008, 0.0125),
    ("D104", "ratio"): (lambda k: close.targets(5.0, 1 / k), 23.5, 15.6),
    ("D104", "unreachable"): (close.out_of_reach, 7, 2),
    ("P501", "warning"): (lambda k: close.rows(k, 0.1), 8, 5),
    ("P501", "error"): (lambda k: close.rows(k, 0.1), 40, 26),
    ("P502", "low"): (lambda k: started(k, depth=3), 0.5, 0.6),
    ("P502", "high"): (lambda k: started(k, depth=3), 4.07, 3.29),
    ("P502", "outweighed"): (close.outweighed, 40, 26),
    ("P502", "table"): (close.table, 6.0, 4.0),
    ("P502", "beside"): (close.positions, 24.0, 16.0),
    ("P503", "stds"): (lambda k: close.biases(64, -k), 2.11, 1.45),
    ("P503", "share"): (lambda k: close.biases(k, -6.0), 20, 13),
    ("P503", "all"): (lambda k: close.biases(k, -6.0), 64, 52),
    ("P507", "huge"): (lambda k: started(std=k), 357000.0, 232000.0),
    ("P507", "beyond"): (close.one_large, 121.0, 82.0),
    ("P507", "subnormal"): (close.subnormal, 130, 83),
    ("P508", "ratio"): (tokens, 6.4, 4.1),
    ("P509", "zero"): (lambda k: case(Angles(k)), 8e-31, 1.25e-30),
    ("P509", "statistics"): (close.statistics, 12.5, 8.4),
    ("P509", "angle"): (lambda k: case(close.Positions(k)), 1.25e6, 8.4e5),
    ("P510", "share"): (close.frozen_maps, 4, 7),
    ("P506", "std-warning"): (close.read_large, 12.0, 9.0),
    ("P506", "state-warning"): (lambda k: recurrence(nn.RNN, k), 0.35, 0.25),
    ("P506", "loop-warning"): (lambda k: close.gated(3, k, std=0.65), -0.5, -0.9),
    ("P506", "keep"): (lambda k: close.gated(1, k), -3.6, -2.4),
    ("P506", "std-error"): (lambda k: recurrence(nn.LSTM, k), 3.11, 2.18),
    ("P506", "growth-warning"): (close.grows, 125.0, 84.0),
    ("P506", "growth-error"): (close.grows, 12500.0, 8400.0),
    ("N601", "warning"): (close.batch, 7, 10),
    ("N601", "error"): (close.batch, 2, 4),
    ("N602", "note"): (close.normed, 0.134, 0.17),
    ("N602", "warning"): (close.normed, 0.042, 0.053),
    ("S205", "warning"): (close.apart, 0.035, 0.0417),
    ("S205", "error"): (close.apart, 0.00345, 0.00417),
    ("S206", "low"): (close.scaled, 9.2e-5, 1.17e-4),
    ("S206", "high"): (close.scaled, 1170.0, 920.0),
    ("S206", "note_low"): (close.scaled, 0.029, 0.0367),
    ("S206", "note_high"): (close.scaled, 36.7, 28.9),
    ("A301", "excess"): (close.dead, 20, 13),
    ("A301", "all"): (close.dead, 64, 52),
    ("A302", "note"): (lambda k: started(std=k, act=nn.Tanh), 0.353, 0.294),
    ("A302", "warning"): (lambda k: started(std=k, act=nn.Tanh), 0.75, 0.46),
    ("A303", "share"): (lambda k: close.rows(k, 0.0), 8, 5),
    ("G404", "spread"): (close.one_small, 0.0106, 0.0139),
    ("T701", "warning"): (attention, 1.95, 1.78),
    ("T701", "error"): (attention, 2.35, 2.07),
    ("T702", "note"): (close.like_tokens, 0.22, 0.286),
    ("T702", "warning"): (close.like_tokens, 0.12, 0.22),
    ("L801", "note"): (close.logits, 2.8, 1.7),
    ("L801", "warning"): (close.logits, 4.4, 2.9),
    ("L801", "error"): (close.logits, 7.2, 4.7),
    ("L801", "leak"): (close.knows_its_targets, 1.69, 0.92),
    ("L801", "predictions"): (close.predictions, 12.5, 8.4),
    ("L803", "times"): (lambda k: written(losses=(-1.0, -k), bend=4.0, distance=1.0), 12.0, 8.0),
    ("L803", "faster"): (lambda k: written(losses=(-1.0, -20.0), bend=k, distance=1.0), 2.35, 1.92),
    ("L803", "moved"): (lambda k: written(losses=(-1.0, -20.0), bend=4.0, distance=k), 0.6, 0.4),
    ("O901", "warning"): (adam, 0.045, 0.03),
    ("O901", "error"): (adam, 0.178, 0.119),
    ("O901", "note"): (adam, 5.8e-8, 9.2e-8),
    ("O902", "large"): (close.far_up, 5, 3),
    ("O902", "tiny"): (partial(close.half, 0.1), 2.1e-5, 1.54e-4),
    ("O902", "eps"): (close.eps, 4.08e-5, 3.35e-5),
    ("W901", "warning"): (lambda k: written(distance=k, losses=(2.3, 2.0)), 1.6, 1.2),
    ("W901", "error"): (lambda k: written(distance=k, losses=(2.3, 2.0)), 3.6, 2.4),
    ("W902", "ratio"): (lambda k: written(update=k), 1.6e-5, 2.4e-5),
    ("W902", "losses"): (lambda k: written(unstepped=round(k)), 24, 16),
    ("W903", "left"): (lambda k: written(losses=(2.0, 2.0 * k), distance=1.0), 1.1, 0.8),
    ("W903", "noise"): (lambda k: written(losses=(2.0, 2.0), noise=k, distance=1.0), 0.04, 0.06),
    ("W903", "moved"): (lambda k: written(losses=(2.0, 2.0), distance=k), 0.24, 0.16),
    ("W904", "growth"): (lambda k: written(losses=(2.0, 2.0 * k)), 1.85, 1.2),
    ("W906", "dead"): (lambda k: written(dead=(0.0, k)), 0.97, 0.9),
    ("W906", "before"): (lambda k: written(dead=(k, 1.0)), 0.64, 0.94),
    ("W907", "steps"): (lambda k: written(kept=round(k)), 3, 2),
    ("W908", "share"): (lambda k: written(fall=k, peak=1.0, rate=1.0, last=8), 0.008, 0.012),
    ("W908", "steps"): (lambda k: written(fall=1e-3, peak=1.0, rate=1.0, last=round(k)), 9, 12),
    ("W909", "large"): (lambda k: written(outside=(k, 1)), 0.6, 0.4),
    ("W909", "undone"): (lambda k: written(outside=(k * 1e-3, 3)), 0.6, 0.4),
    ("D105", "labels"): (lambda k: close.alike(round(k), 10), 20, 12),
    ("D105", "classes"): (lambda k: close.alike(64, round(k)), 4, 2),
    ("W902", "drawn"): (lambda k: written(update=k, losses=(2.3, 2.3), vector=(1.0, 1.0)), 8e-5, 1.2e-4),
    ("W903", "agreement"): (lambda k: written(losses=(2.0, 2.0), agreement=k), 0.033, 0.05),
    ("W908", "idle"): (lambda k: written(rate=k, peak=1.0), 4e-4, 6e-4),
    ("W911", "steps"): (lambda k: written(last=round(k), inert=("norm",)), 4, 2),
    ("W912", "steps"): (lambda k: written(repeated=round(k)), 4, 2),
    ("W913", "ratio"): (lambda k: written(decay=k), 2.4, 1.6),
    ("W914", "share"): (lambda k: written(dropped=(k,)), 0.95, 0.8),
    ("W909", "steps"): (lambda k: written(outside=(1e-3, round(k))), 3, 2),
    ("S204", "normalised"): (close.normed_chaos, 9.4, 7.4),
}
# Signals that grow or shrink with depth; gradients do the opposite towards the input, and one map more counts.
for code, sign, warning, error, turns in (
    ("S201", -1, (125.0, 84.0), (12500.0, 8400.0), (9, 17)),
    ("S202", 1, (125.0, 84.0), (12500.0, 8400.0), (9, 17)),
    ("S203", -1, (66.0, 48.0), (3800.0, 2600.0), (9, 18)),
    ("S204", 1, (66.0, 48.0), (3800.0, 2600.0), (8, 17)),
):
    CASES[code, "warning"] = (lambda k, e=sign: close.trend(k**e), *warning)
    CASES[code, "error"] = (lambda k, e=sign: close.trend(k**e), *error)
    CASES[code, "tau"] = (lambda k, e=sign: close.uneven(k, 6.0**e), *turns)
    CASES[code, "bands"] = (lambda k, e=sign: close.trend(k**e, 24, 2), 1.2e6, 1.17e4)
# What is measured stops at the same number: a lower threshold finds nothing more.
ONE_SIDED = {("P507", "beyond"), ("P508", "ratio")}


def measured(given):
    torch.manual_seed(0)
    given = given()
    if isinstance(given, tuple):  # measurements that are written down
        return given
    report = fanin.check(**given, select=["D103"], predict=False)
    return report.measurements, optimizer_of(given.get("optimizer"))


def judged(code, name, seen, factor):
    """What a rule says of a measured model, where one threshold is `factor` times its value: severities."""
    rule, (measurements, optimizer) = BY_CODE[code], seen
    limits = {code: {name: factor * rule.thresholds[name]}}
    context = Context(measurements=measurements, thresholds=limits, optimizer=optimizer)
    assert rule.cannot_run(context) is None
    return [f.severity for f in rule.check(context)]


def test_every_threshold_has_a_pair_of_models():
    assert sorted(CASES) == sorted((rule.code, name) for rule in RULES for name in rule.thresholds)


@pytest.mark.parametrize(("code", "name"), few(sorted(CASES), every=2))
def test_a_threshold_that_moves_is_noticed(code, name):
    model, beyond, before = CASES[code, name]
    far, near = measured(lambda: model(beyond)), measured(lambda: model(before))

    def alike(factor):
        return judged(code, name, far, factor) == judged(code, name, near, factor)

    assert judged(code, name, far, 1.0), "the model beyond the threshold is not found"
    assert not alike(1.0)
    assert alike(FACTOR)
    assert (code, name) in ONE_SIDED or alike(1 / FACTOR)


SIDES = {("D101", "low"), ("D101", "high"), ("D104", "low"), ("D104", "high"), ("S206", "low"), ("S206", "high")}


@pytest.mark.parametrize(
    ("code", "name"), few(sorted({k for k in CASES if k[1] in ("warning", "error")} | SIDES), every=2)
)
def test_a_finding_names_the_threshold_that_it_passed(code, name):
    model, beyond, _ = CASES[code, name]
    seen, limit = measured(lambda: model(beyond)), BY_CODE[code].thresholds[name]
    context = Context(measurements=seen[0], optimizer=seen[1])
    named = [
        f.threshold
        for f in BY_CODE[code].check(context)
        if name not in ("warning", "error") or f.severity in (name, "error")
    ]
    drift = code in ("S201", "S203")  # what shrinks is compared with one over the limit
    assert named == [pytest.approx(1 / limit if drift else limit)]
