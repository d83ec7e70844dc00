"""Whatever interrupts a calibration, the model and the process are bit for bit as they were."""

from __future__ import annotations

import random
import warnings

import numpy as np
import pytest
import torch
from torch import nn

import fanin
from fanin.calibration import run
from fanin.errors import CalibrationError, CaptureError, FillError
from fanin.memory import as_array
from tests.calibration.helpers import batch, mlp, same_state, state
from tests.selection import few


class Sudden(BaseException):
    """No error that code would catch."""


class Broken(nn.Module):
    """A network whose k-th map raises."""

    def __init__(self, k: int, error: BaseException) -> None:
        super().__init__()
        self.net, self.norm, self.k, self.error = mlp(), nn.BatchNorm1d(10), k, error

    def forward(self, x):
        for i, layer in enumerate(self.net):
            if i == self.k and type(x) is torch.Tensor:
                raise self.error
            x = layer(x)
        return self.norm(x)


def surroundings(model):
    flags = [m.training for m in model.modules()]
    grads = [p.requires_grad for p in model.parameters()]
    generators = (random.getstate(), np.random.get_state()[1].tobytes(), torch.get_rng_state().tolist())  # noqa: NPY002
    return flags, grads, generators, torch.is_grad_enabled()


@pytest.mark.parametrize(
    ("k", "error"),
    few([*((k, ValueError("in the middle")) for k in range(0, 23, 2)), (0, Sudden()), (22, Sudden())], every=2),
)
def test_an_exception_at_any_operation_of_the_forward_leaves_every_bit(k, error):
    model, x = Broken(k, error), batch(32, 64)
    model.eval()
    plan = fanin.plan(Broken(-1, error), x)  # a forward that raises cannot be planned
    before, around = state(model), surroundings(model)
    with pytest.raises((CaptureError, Sudden)):
        fanin.calibrate(model, x, plan)
    assert same_state(model, before)
    assert surroundings(model) == around


@pytest.mark.parametrize("k", range(12))
def test_ctrl_c_at_any_write_puts_everything_back(k, monkeypatch):
    model, x = mlp(), batch(64, 64)
    before, right = state(model), run.writes_of_factors

    def interrupted(*arguments):
        writes = right(*arguments)
        assert len(writes) > k

        def stop():
            writes[k].run()
            raise KeyboardInterrupt

        return [w if i != k else type(w)(assignment=w.assignment, keep=w.keep, run=stop) for i, w in enumerate(writes)]

    monkeypatch.setattr(run, "writes_of_factors", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fanin.calibrate(model, x, tolerance=0.0)
    assert same_state(model, before)


def test_an_error_in_a_write_is_told_and_undone(monkeypatch):
    model, x = mlp(), batch(64, 64)
    before = state(model)

    def broken(*_):
        raise RuntimeError("no room")

    monkeypatch.setattr("fanin.calibration.write.scale_", broken)
    with pytest.raises(FillError, match="bit for bit as it was"):
        fanin.calibrate(model, x)
    assert same_state(model, before)


def test_nan_stops_at_its_operation_with_its_name():
    model, x = mlp(depth=4), batch(32, 64)
    with torch.no_grad():
        model[2].weight[0, 0] = float("nan")
    before = model[0].weight.clone()
    with pytest.raises(CalibrationError, match=r"linear in 2 with 2\.weight holds NaN"):
        fanin.calibrate(model, x)
    assert torch.equal(model[0].weight, before)


def test_a_table_that_renormalises_itself_in_the_forward_keeps_its_rows():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(20, 16, max_norm=1.0), nn.Linear(16, 4))
    before = model[0].weight.detach().clone()
    assert float(before.norm(dim=1).max()) > 1.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = fanin.calibrate(model, torch.arange(20).view(4, 5), only=["1.*"])
    assert torch.equal(model[0].weight.detach(), before)
    assert found.changed == ("1.weight",)


def test_a_buffer_that_the_forward_counts_in_is_put_back():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(8, 8)
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x):
            self.calls += 1
            return self.fc(x)

    model = Counting()
    fanin.calibrate(model, batch(16, 8))
    assert float(model.calls) == 0.0


def test_a_dry_run_writes_nothing_and_says_what_it_would():
    model, x = mlp(), batch(64, 64)
    before = state(model)
    dry = fanin.calibrate(model, x, dry_run=True)
    assert same_state(model, before)
    assert dry.changed
    assert not dry.written
    assert dry.forwards == 1
    assert [r.factor for r in dry.rows] == [r.factor for r in fanin.calibrate(model, x).rows]


def test_strict_refuses_before_a_byte_changes():
    model, x = mlp(), batch(64, 64)
    model[0].weight.requires_grad_(False)
    before = state(model)
    with pytest.raises(CalibrationError, match=r"0\.weight in 0: linear: frozen"):
        fanin.calibrate(model, x, strict=True)
    assert same_state(model, before)


def sharing():
    """A network that also holds the memory of its first map in other ways, and that map's weight before."""
    model = mlp(depth=4)
    weight = model[0].weight.detach()
    model.flat, model.array = weight.view(-1), as_array(weight)
    return model, weight.clone()


def test_whatever_shares_memory_with_a_weight_has_its_new_numbers():
    model, before = sharing()
    found = fanin.calibrate(model, batch(64, 64))
    after = before * found.rows[0].factor
    assert not torch.equal(after, before)
    assert torch.equal(model[0].weight, after)
    assert torch.equal(model.flat, after.view(-1))
    assert np.array_equal(model.array, after.numpy())


def test_that_test_sees_numbers_that_are_put_back_as_they_were_before_the_writes(monkeypatch):
    model, before = sharing()
    monkeypatch.setattr(run, "renew_kept", lambda: None)
    fanin.calibrate(model, batch(64, 64))
    assert torch.equal(model[0].weight, before)
