"""Kinds of runs that were judged wrongly once: what an optimizer holds, losses of another scale, steps that decay."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional

import fanin
from fanin.measure.record import LossRecord, Measurements
from fanin.measure.steps import StepRecord, Watched
from fanin.rules.base import Context
from fanin.rules.config import load_config
from fanin.rules.engine import judge_all
from fanin.rules.shared.steps import trained_before

X, Y = torch.randn(64, 16), torch.arange(64) % 4


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 24), nn.ReLU(), nn.LayerNorm(24), nn.Linear(24, 4))


def run(model, optimizer, steps=8):
    with fanin.watch(model, optimizer, check=False) as watched:
        for _ in range(steps):
            loss = functional.cross_entropy(model(X), Y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            watched.step(loss=loss)
    return watched


def found(watched):
    return {f.code: f for f in (*watched.report.findings, *watched.report.consequences)}


# ------------------------------------------------------------------ what an optimizer holds
def test_an_optimizer_of_frozen_weights_alone_trains_nothing():
    model = net()
    model[0].requires_grad_(False)
    watched = run(model, torch.optim.Adam(model[0].parameters(), 1e-2))
    assert watched.watched.foreign
    assert watched.watched.weights == ("3.weight",)
    assert "no trained parameter" in found(watched)["W902"].message
    both = run(model, torch.optim.Adam(model.parameters(), 1e-2))
    assert not both.watched.foreign
    assert "W902" not in found(both)


def test_vectors_are_followed_where_nothing_else_is_trained():
    model = net().requires_grad_(False)
    model[2].requires_grad_(True)
    still = run(model, torch.optim.Adam(model[2].parameters(), 1e-8))
    assert still.watched.weights == ("2.weight", "2.bias")
    assert "W902" in found(still)
    assert "W902" not in found(run(model, torch.optim.Adam(model[2].parameters(), 1e-2)))


# ------------------------------------------------------------------ what the first loss says
def measured(loss, told, passes=1):
    step = StepRecord(step=1, effective=1.0, rate=0.1, loss=told)
    site = SimpleNamespace(kind="weight", shape=(8, 10))
    run = Watched(optimizer="Adam", peak=0.1, steps=(step,), passes=passes)
    return Context(
        measurements=Measurements(sites=(site,), parameters=(), inputs=(), loss=loss, watched=run, training=True)
    )


@pytest.mark.parametrize(("own", "trained"), [(249.5, False), (1141.0, False), (100.0, True)])
def test_a_sum_is_compared_with_a_sum(own, trained):
    """A loss that sums over tokens is told as a mean, and with accumulation as a part of it."""
    loss = LossRecord(source="model", value=own / 60, own_value=own, baseline=249.5, reduction="sum")
    assert trained_before(measured(loss, told=own / 120)) == trained


@pytest.mark.parametrize(("passes", "trained"), [(4, False), (1, True)])
def test_a_part_of_a_loss_is_no_small_loss(passes, trained):
    """ln 10 / 4, told by a loop that divides by the number of its passes."""
    loss = LossRecord(source="cotangent", value=0.1)
    assert trained_before(measured(loss, told=2.303 / 4, passes=passes)) == trained


def test_passes_before_the_first_step_are_counted():
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with fanin.watch(model, optimizer, check=False) as watched:
        for n in range(2):
            for _ in range(3):
                (functional.cross_entropy(model(X), Y) / 3).backward()
            optimizer.step()
            optimizer.zero_grad()
            assert watched.watched.passes == 3, n


# ------------------------------------------------------------------ steps as they are written down
def judged(losses, distance=0.1, rates=None, peak=0.1, optimizers=1):
    rates = rates or [peak] * len(losses)
    steps = tuple(
        StepRecord(
            step=n,
            effective=sum(rates[:n]) / peak,
            rate=rates[n - 1],
            loss=loss,
            updates=(1e-3,),
            distances=(distance,),
        )
        for n, loss in enumerate(losses, 1)
    )
    run = Watched(optimizer="LBFGS", peak=peak, weights=("w",), steps=steps, optimizers=optimizers)
    loss = LossRecord(source="given", value=losses[0], own_value=losses[0], baseline=1.1)
    data = Measurements(sites=(), parameters=(), inputs=(), loss=loss, watched=run, training=True)
    judgement = judge_all(data, load_config(select=("W901", "W908")), None)
    return {f.code: f.severity for f in judgement.findings}


def test_weights_may_move_far_in_a_run_that_has_learned():
    solved, stuck = [1.0, 0.3, 0.01, 1e-3, 1e-4], [1.0, 0.6, 0.5, 0.4, 0.4]
    assert judged(solved, distance=5.0) == {"W901": "note"}
    assert judged(stuck, distance=5.0) == {"W901": "error"}
    assert judged([*solved[:-1], 0.9], distance=5.0) == {"W901": "error"}, "it came back"
    assert judged(solved, distance=5.0, optimizers=2) == {"W901": "error"}, "the loss of one of two that oppose"
    assert judged([1e-8, 1e-9, 0.0, 0.0, 0.0], distance=5.0) == {"W901": "error"}, "a loss without a scale"


def test_a_rate_that_waits_is_a_note():
    losses = [1.0] * 12
    assert judged(losses, rates=[1e-4] * 12) == {"W908": "note"}
    assert judged(losses, rates=[1e-4 * 1.1**n for n in range(12)]) == {}
    assert judged(losses, rates=[2e-3] * 12) == {}
    assert judged(losses, rates=[0.0] * 12) == {"W908": "warning"}


# ------------------------------------------------------------------ the first step
def first_step(optimizer):
    model = net()
    report = fanin.check(
        model,
        X,
        targets=Y,
        optimizer=optimizer(model.parameters()),
        predict=False,
        trial=False,
        config=load_config(select=("O901",)),
    )
    return report.findings


@pytest.mark.parametrize(
    "optimizer",
    [lambda p: torch.optim.Adafactor(p, lr=1e-2), lambda p: torch.optim.AdamW(p, lr=2e-3, weight_decay=10.0)],
    ids=["relative steps", "decay"],
)
def test_the_step_is_that_which_the_optimizer_makes(optimizer):
    assert first_step(optimizer) == ()


def test_a_step_of_weight_decay_is_told_as_such():
    (finding,) = first_step(lambda p: torch.optim.AdamW(p, lr=2e-3, weight_decay=330.0))
    assert finding.value == pytest.approx(0.66, rel=0.02)
    assert "weight decay" in finding.fix.text
    (finding,) = first_step(lambda p: torch.optim.AdamW(p, lr=0.5))
    assert "weight decay" not in finding.fix.text


def test_a_warm_up_from_zero_is_judged_at_its_peak():
    def warmed(parameters):
        optimizer = torch.optim.AdamW(parameters, lr=0.5)
        torch.optim.lr_scheduler.LambdaLR(optimizer, lambda n: n / 10)
        return optimizer

    (finding,) = first_step(warmed)
    assert "at the peak rate 0.5" in finding.message


def test_an_optimizer_that_steps_every_third_time_does_not_step_again():
    """Its last step is read again with those of the other one."""
    x, y = torch.randn(64, 8), torch.randint(0, 4, (64,))
    model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 4))
    one, two = (torch.optim.SGD(model[i].parameters(), lr=0.1) for i in (0, 2))
    with fanin.watch(model, [one, two], check=False) as watched:
        for n in range(12):
            loss = torch.nn.functional.cross_entropy(model(x), y)
            for optimizer in (one, two):
                optimizer.zero_grad()
            loss.backward()
            one.step()
            if n % 3 == 0:
                two.step()
            watched.step(loss=loss)
    assert not any(step.repeated for step in watched.watched.steps)


def course(loss, steps=60):
    """Codes of L803 in a run of Adam with this loss of the outputs."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 4))
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    with fanin.watch(model, optimizer, steps=steps, check=False) as watched:
        for n in range(steps):
            x = torch.randn(64, 16, generator=torch.Generator().manual_seed(n))
            value = loss(model(x), x[:, :4])
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            watched.step(loss=value)
    return [f.severity for f in watched.report.findings if f.code == "L803"]


def test_a_loss_that_falls_below_zero_ever_faster_is_named():
    def tilted(z, y):  # no known loss: errors to one side count half
        return torch.maximum(y - z, (z - y) / 2).square().mean()

    assert course(lambda z, y: -tilted(z, y)) == ["warning"]
    assert course(tilted) == []
    assert course(lambda z, y: -0.01 - nn.functional.cosine_similarity(z, 0.2 * z.detach() + y).mean()) == []
