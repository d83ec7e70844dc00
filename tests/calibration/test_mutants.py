"""Five wrong ways to calibrate, each put in the place of the right one: the measurements of these tests see all."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

import fanin
from fanin.calibration import forward, operand, run, target
from tests.calibration.helpers import batch, close, rms
from tests.calibration.test_traps import missed
from tests.calibration.traps import TRAPS


class Residual(nn.Module):
    """Eight pre-norm branches, whose last maps are meant to write less than one."""

    def __init__(self):
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(32) for _ in range(8))
        self.up, self.down = (nn.ModuleList(nn.Linear(32, 32) for _ in range(8)) for _ in range(2))
        self.head = nn.Linear(32, 10)

    def forward(self, x):
        for norm, up, down in zip(self.norms, self.up, self.down, strict=True):
            x = x + down(torch.nn.functional.gelu(up(norm(x))))
        return self.head(x)


def residual():
    torch.manual_seed(0)
    return Residual(), batch(64, 32)


def writer_ratios(model, x, plan):
    """What each branch writes without its bias, over what the plan predicts."""
    ratios = []
    with torch.no_grad():
        for i in range(8):
            y = torch.nn.functional.gelu(model.up[i](model.norms[i](x)))
            ratios.append(rms(y @ model.down[i].weight.T) / plan[f"down.{i}.weight"].predicted_rms[0])
            x = x + model.down[i](y)
    return ratios


def calibrated(model, x):
    return fanin.calibrate(model, x, tolerance=0.0, statistic="rms")


def missed_in(name):
    trap = TRAPS[name]
    model, x = trap.make()
    return missed(trap, model, x, calibrated(model, x))


def test_maps_that_write_into_a_stream_meet_the_plan_and_not_one():
    model, x = residual()
    plan = fanin.plan(model, x)
    calibrated(model, x)
    assert all(close(r, 1.0) for r in writer_ratios(model, x, plan))


def test_a_unit_target_is_seen(monkeypatch):
    model, x = residual()
    plan = fanin.plan(model, x)
    right = target.Targets.of
    monkeypatch.setattr(target.Targets, "of", lambda *a: dataclasses.replace(right(*a), rms=1.0))
    calibrated(model, x)
    assert not any(close(r, 1.0, 0.1) for r in writer_ratios(model, x, plan))


def biases(model):
    return {n: p.detach().clone() for n, p in model.named_parameters() if p.dim() == 1}


def biases_moved(model, before):
    return [n for n, p in biases(model).items() if not torch.equal(p, before[n])]


def test_biases_keep_every_bit():
    model, x = TRAPS["order"].make()
    before = biases(model)
    assert calibrated(model, x).changed
    assert not biases_moved(model, before)


def test_a_bias_that_is_multiplied_too_is_seen(monkeypatch):
    model, x = TRAPS["order"].make()
    before, right = biases(model), run.writes_of_factors

    def with_biases(plan, subjects, factors):
        with torch.no_grad():
            for name, factor in {n: f for (n, _), f in factors.items()}.items():
                model.get_parameter(name.replace("weight", "bias")).mul_(factor)
        return right(plan, subjects, factors)

    monkeypatch.setattr(run, "writes_of_factors", with_biases)
    calibrated(model, x)
    assert len(biases_moved(model, before)) == 3


def test_a_factor_from_the_output_with_its_bias_is_seen(monkeypatch):
    assert not missed_in("order")

    def with_bias(name, dims, place, func, args, kwargs, known):
        return {"product": lambda: func(*args, **kwargs)}

    monkeypatch.setattr(operand, "_without_bias", with_bias)
    assert len(missed_in("order")) == 3


def test_a_second_use_that_is_multiplied_twice_is_seen(monkeypatch):
    assert not missed_in("reused")
    right = run.writes_of_factors

    def for_each_use(plan, subjects, factors):
        squared = {key: f ** len(subjects[key[0]].places) for key, f in factors.items()}
        return right(plan, subjects, squared)

    monkeypatch.setattr(run, "writes_of_factors", for_each_use)
    assert ("cell.weight", "") in missed_in("reused")


@pytest.mark.parametrize("name", ["attention", "transpose", "einsum"])
def test_hooks_on_modules_in_place_of_operations_are_seen(monkeypatch, name):
    right = forward.CalibratingPass._subject

    def by_module(self, found):
        hooked = isinstance(self.frames.current.module, nn.Linear | nn.Conv2d)
        return right(self, found) if hooked else (None, (), "no module has it")

    monkeypatch.setattr(forward.CalibratingPass, "_subject", by_module)
    trap = TRAPS[name]
    model, x = trap.make()
    found = calibrated(model, x)
    wanted = {parameter for parameter, _ in trap.products(model, x)}
    assert wanted - {r.parameter for r in found.rows if r.target is not None}
