"""Weights that are told as arrays give the numbers that hooks on a torch model give."""

from __future__ import annotations

import math

import numpy as np
import pytest
from torch import nn

import fanin
from fanin.checking.job import optimizer_of
from fanin.errors import CheckFailedError
from fanin.rules.config import Config
from fanin.watching.arrays import ArrayWatch, Followed
from fanin.watching.judging import unchecked
from fanin.watching.store import read_run
from tests.watching.test_watch import X, Y, made

CONFIG = Config()


def entries(model):
    return [p.detach().numpy().reshape(-1)[:: max(p.numel() // 1024, 1) | 1][:1024] for p in matrices(model).values()]


def matrices(model):
    return {n: p for n, p in model.named_parameters() if p.dim() == 2}


def array_watch(model, optimizer, steps, **more):
    weights = [Followed(name, p.shape[1]) for name, p in matrices(model).items()]
    plain = unchecked(model, CONFIG)
    known = optimizer_of(optimizer)
    return ArrayWatch(
        weights, lambda: entries(model), lambda step: optimizer.param_groups[0]["lr"], known, steps=steps,
        config=CONFIG, first=lambda: plain, **more,
    )  # fmt: skip


def train_both(rate, steps, **more):
    model, optimizer = made(lr=rate, dropout=0.0)
    told = array_watch(model, optimizer, steps, **more)
    with fanin.watch(model, optimizer, steps=steps, check=False) as hooked:
        for _ in range(steps):
            told.before()
            loss = nn.functional.cross_entropy(model(X), Y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            told.after(loss.item())
            hooked.step(loss=loss)
    return told, hooked


@pytest.mark.parametrize("rate", [1e-3, 0.3])
def test_arrays_and_hooks_measure_the_same(rate, tmp_path):
    told, hooked = train_both(rate, 12, out=tmp_path / "run.jsonl")
    assert told.watched.weights == hooked.watched.weights
    for one, other in zip(told.watched.steps, hooked.watched.steps, strict=True):
        assert (one.step, one.rate) == (other.step, other.rate)
        assert one.effective == pytest.approx(other.effective)
        assert one.loss == pytest.approx(other.loss)
        assert one.updates == pytest.approx(other.updates, rel=1e-4)
        assert one.distances == pytest.approx(other.distances, rel=1e-4)
    assert ("W901" in {f.code for f in told.report.findings}) == (rate > 0.1)
    assert read_run(tmp_path / "run.jsonl").watched == told.watched
    assert not told.active


def test_a_weight_that_is_zero_is_measured_by_its_fan_in():
    values = [np.zeros(4), np.ones(4)]
    watch = ArrayWatch(
        [Followed("zero", 16), Followed("one", 16)], lambda: values, lambda step: 0.1,
        optimizer_of(made()[1]), steps=2, config=CONFIG, first=lambda: unchecked(nn.Linear(1, 1), CONFIG),
    )  # fmt: skip
    watch.before()
    values = [np.full(4, 0.5), np.full(4, 1.5)]
    watch.after(None)
    assert watch.watched.steps[0].distances == (2.0, 0.5)
    watch.before()
    values = [np.full(4, math.inf), np.full(4, 1.5)]
    watch.after(1.0)
    assert watch.watched.steps[1].nonfinite == "zero"
    assert watch.watched.steps[1].updates == (None, 0.0)


def test_a_run_that_goes_wrong_is_stopped():
    with pytest.raises(CheckFailedError, match="W901"):
        train_both(0.3, 5, fail_on="warning")
