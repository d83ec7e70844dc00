"""The result is the same bits whatever the order of the batch, the threads, and the place where the plan is applied."""

from __future__ import annotations

import copy
import dataclasses
import math
import statistics

import pytest
import torch
from torch import nn

import fanin
from fanin.calibration.judge import rounded
from tests.calibration.helpers import batch, mlp, rms
from tests.selection import few


class Block(nn.Module):
    """Attention, a packed map, a norm and a convolution."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv1d(16, 32, 3, padding=1), nn.BatchNorm1d(32)
        self.mix, self.head = nn.MultiheadAttention(32, 4, batch_first=True), nn.Linear(32, 5)

    def forward(self, x):
        x = torch.relu(self.norm(self.conv(x))).transpose(1, 2)
        return self.head(x + self.mix(x, x, x, need_weights=False)[0])


def drawn(build, x):
    """A model that holds a plan whose laws are smaller than the sizes that it asks for: every map is corrected."""
    model = build()
    wanted = fanin.plan(model, x)
    small = {n: fanin.initializers.Normal(std=0.01) for n, a in wanted.items() if a.role == "weight"}
    plan = fanin.plan(model, x, overrides=small)
    plan.apply_(model)
    aimed = {n: dataclasses.replace(a, predicted_rms=wanted[n].predicted_rms) for n, a in plan.items()}
    return model, dataclasses.replace(plan, assignments=aimed)


def values(model):
    return [p.detach().clone() for p in model.parameters()]


def same(one, two):
    return all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


CASES = {"mlp": (mlp, (256, 64)), "block": (Block, (64, 16, 12))}


@pytest.mark.parametrize("case", few(CASES, every=2))
def test_a_permuted_batch_and_any_number_of_threads_give_the_same_bits(case):
    build, shape = CASES[case]
    torch.manual_seed(0)
    first, x = build(), batch(*shape)
    models = [copy.deepcopy(first) for _ in range(4)]
    threads = torch.get_num_threads()
    try:
        for model, count in zip(models, (1, 2, 8), strict=False):
            torch.set_num_threads(count)
            fanin.calibrate(model, x)
    finally:
        torch.set_num_threads(threads)
    order = torch.randperm(shape[0], generator=torch.Generator().manual_seed(3))
    fanin.calibrate(models[3], x[order])
    assert not same(values(models[0]), values(first))
    assert all(same(values(m), values(models[0])) for m in models[1:])


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_saved_plan_draws_the_calibrated_start_anywhere_without_data(case, dtype, tmp_path):
    build, shape = CASES[case]
    x = batch(*shape).to(dtype)
    model, plan = drawn(lambda: build().to(dtype), x)
    found = fanin.calibrate(model, x, plan)
    assert len(found.changed) >= 2
    assert all(found.plan[n].action == "draw" for n in found.changed)
    found.plan.save(tmp_path / "plan.json")
    with torch.device("meta"):
        fresh = build().to(dtype)
    loaded = fanin.Plan.load(tmp_path / "plan.json")
    loaded.materialize(fresh)
    assert same(values(fresh), values(model))
    assert loaded.verify(model, bits=True).ok
    assert found.plan == loaded


def test_values_of_the_models_own_are_multiplied_and_their_plan_says_so():
    torch.manual_seed(0)
    model, x = mlp(depth=4), batch(256, 64)
    before = copy.deepcopy(model)
    found = fanin.calibrate(model, x)
    assert found.plan.recipe == "keep"
    for name in found.changed:
        a = found.plan[name]
        assert a.action == "keep"
        assert torch.equal(model.get_parameter(name), before.get_parameter(name) * a.factor)
    assert found.plan.verify(model).ok
    assert not found.plan.verify(before).ok
    twice = copy.deepcopy(model)
    found.plan.apply_(twice)
    assert same(values(twice), values(model)), "what is kept was multiplied once, and stays"
    redrawn = found.plan.redrawn()
    redrawn.apply_(twice)
    assert fanin.calibrate(twice, x).changed == ()


def test_a_second_calibration_multiplies_the_factor_in_the_plan():
    x = batch(256, 64)
    model, plan = drawn(lambda: mlp(depth=3), x)
    first = fanin.calibrate(model, x, plan)
    second = fanin.calibrate(model, 3.0 * x, first.plan, target="unit")
    name = "0.weight"
    step = next(r.factor for r in second.rows if r.parameter == name)
    assert second.plan[name].factor == pytest.approx(first.plan[name].factor * step)
    assert second.plan.verify(model, bits=True).ok


def test_factors_have_eight_significant_bits():
    found = fanin.calibrate(mlp(), batch(256, 64))
    factors = [r.factor for r in found.rows if r.factor != 1.0]
    assert factors
    assert all((math.frexp(f)[0] * 2**8).is_integer() for f in factors)
    assert not (math.frexp(rounded(0.8459, 16))[0] * 2**8).is_integer(), "a finer one is seen"


# ---------------------------------------------------------------------- wild samples
def clean_ratio(statistic):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 8))
    x = batch(256, 32)
    x[7] *= 1000.0
    found = fanin.calibrate(model, x, statistic=statistic, target="unit", tolerance=0.0)
    clean = torch.cat([x[:7], x[8:]])
    return rms(clean @ model[0].weight.T), found.rows[0].reason


def test_one_row_that_is_a_thousand_times_too_large_moves_nothing():
    size, reason = clean_ratio("robust")
    assert 0.9 < size < 1.1
    assert "heavy-tailed here" in reason


def test_the_plain_root_mean_square_is_ruined_by_it():
    assert clean_ratio("rms")[0] < 0.1


def spread(statistic):
    """Standard deviation over 20 batches of Student-t(2) inputs of the log of each factor."""
    torch.manual_seed(0)
    first = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 8))
    logs = []
    for seed in range(20):
        chi = batch(256, 32, 2, seed=seed + 100).square().sum(-1) / 2.0
        x = batch(256, 32, seed=seed) / chi.sqrt()
        model = copy.deepcopy(first)
        found = fanin.calibrate(model, x, target="unit", tolerance=0.0, statistic=statistic, verify=False)
        logs.append([math.log(r.factor) for r in found.rows])
    return max(map(statistics.stdev, zip(*logs, strict=True)))


@pytest.mark.slow
def test_heavy_tailed_inputs_give_nearly_the_same_factors():
    assert spread("robust") <= 0.05
    assert spread("rms") > 0.06
