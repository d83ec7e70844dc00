"""A check leaves every bit as it was, whatever the model does and however it ends."""

from __future__ import annotations

import atexit
import gc
import random
import sys
import threading
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import fanin
from fanin.errors import CaptureError
from tests.selection import few

BATCH, LABELS = torch.randn(8, 16), torch.randint(0, 4, (8,))


def bits(tensor):
    # a copy: NumPy's view of a tensor's own memory would forbid to resize it
    return tensor.detach().cpu().clone().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def snapshot(model):
    """Everything a check might touch, as bytes and identities."""
    containers = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_parameters", "_buffers", "_modules")
    return {
        "values": {n: bits(t) for n, t in (*model.named_parameters(), *model.named_buffers())},
        "identities": {n: id(t) for n, t in (*model.named_parameters(), *model.named_buffers())},
        "pointers": {n: t.data_ptr() for n, t in model.named_parameters()},
        "resizable": {
            n: t.untyped_storage().resizable() for n, t in (*model.named_parameters(), *model.named_buffers())
        },
        "requires": {n: p.requires_grad for n, p in model.named_parameters()},
        "grads": {n: (id(p.grad), None if p.grad is None else bits(p.grad)) for n, p in model.named_parameters()},
        "tensor hooks": {n: dict(p._backward_hooks or {}) for n, p in model.named_parameters()},
        "training": {n: m.training for n, m in model.named_modules()},
        "attributes": {
            n: {k: (id(v), repr(v) if isinstance(v, list | int | float) else "") for k, v in m.__dict__.items()}
            for n, m in model.named_modules()
        },
        "containers": {(n, c): list(m.__dict__[c].items()) for n, m in model.named_modules() for c in containers},
        "rng": (
            torch.get_rng_state().numpy().tobytes(),
            random.getstate(),
            np.random.get_state()[1].tobytes(),  # noqa: NPY002
        ),
        "global hooks": (
            len(torch.nn.modules.module._global_forward_hooks),
            len(torch.nn.modules.module._global_forward_pre_hooks),
        ),
        "function": torch.nn.functional.has_torch_function,
        "fastpath": torch.backends.mha.get_fastpath_enabled(),
        "grad mode": torch.is_grad_enabled(),
        "autocast": torch.is_autocast_enabled("cpu"),
    }


def assert_untouched(before, after):
    for key in before:
        assert before[key] == after[key], f"{key} changed"


class Restless(nn.Module):
    """Keeps state, draws random numbers, writes into its input and its buffers."""

    def __init__(self, end=None):
        super().__init__()
        self.a, self.norm, self.b = nn.Linear(16, 32), nn.BatchNorm1d(32), nn.Linear(32, 4)
        self.drop, self.seen, self.end = nn.Dropout(0.3), [], end
        self.register_buffer("count", torch.zeros(()))
        self.a.bias.requires_grad_(False)

    def forward(self, x):
        self.count += 1
        self.seen.append(x.shape)
        self.cache = x.detach()
        self.last = random.random() + float(np.random.rand())  # noqa: NPY002
        self.norm.running_mean = self.norm.running_mean + 1
        with torch.no_grad():
            self.b.weight.data.mul_(1.5)
        x.mul_(2)
        h = torch.relu_(self.norm(self.a(x)))
        if self.end is not None:
            raise self.end
        return self.b(self.drop(h)) + torch.randn(())


def prepared(model):
    for p in model.parameters():
        if p.requires_grad:
            p.grad = torch.randn_like(p)
    model.a.register_forward_hook(lambda *a: None)
    model.b.eval()
    return model


def test_a_restless_model_comes_back_bit_for_bit():
    model, x = prepared(Restless()), BATCH.clone()
    before, given = snapshot(model), bits(x)
    fanin.check(model, x, targets=LABELS)
    assert_untouched(before, snapshot(model))
    assert bits(x) == given


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_asked_for_is_put_back(training):
    model = prepared(Restless())
    before = snapshot(model)
    report = fanin.check(model, BATCH, training=training)
    assert report.measurements.training is training
    assert_untouched(before, snapshot(model))


def test_also_when_the_forward_raises():
    model = prepared(Restless(ValueError("no")))
    before = snapshot(model)
    with pytest.raises(CaptureError, match=r"the forward raised ValueError .*: no"):
        fanin.check(model, BATCH)
    assert_untouched(before, snapshot(model))


def test_also_when_the_forward_would_end_the_process():
    model = prepared(Restless(SystemExit(3)))
    before = snapshot(model)
    with pytest.raises(CaptureError, match=r"the forward raised SystemExit"):
        fanin.check(model, BATCH)
    assert_untouched(before, snapshot(model))


def test_also_when_interrupted():
    model = prepared(Restless(KeyboardInterrupt()))
    before = snapshot(model)
    with pytest.raises(KeyboardInterrupt):
        fanin.check(model, BATCH)
    assert_untouched(before, snapshot(model))


def test_also_when_the_loss_raises():
    model = prepared(Restless())
    before = snapshot(model)

    def loss(output):
        raise ZeroDivisionError

    with pytest.raises(CaptureError, match="the loss raised ZeroDivisionError"):
        fanin.check(model, BATCH, loss=loss)
    assert_untouched(before, snapshot(model))


class Stopper(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, g):
        raise KeyboardInterrupt


def test_also_when_interrupted_in_the_backward():
    model = prepared(Restless())
    before = snapshot(model)
    with pytest.raises(KeyboardInterrupt):
        fanin.check(model, BATCH, loss=lambda o: Stopper.apply(o).sum())
    assert_untouched(before, snapshot(model))


def test_the_comparison_can_fail():
    model = prepared(Restless())
    before = snapshot(model)
    with torch.no_grad():
        model.a.weight[0, 0] += 1e-3
    with pytest.raises(AssertionError, match="values changed"):
        assert_untouched(before, snapshot(model))


class Checkpointed(nn.Module):
    def __init__(self, *, reentrant):
        super().__init__()
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(16, 16), nn.ReLU(inplace=True)) for _ in range(3))
        self.head = nn.Linear(16, 4)
        self.reentrant = reentrant

    def forward(self, x):
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=self.reentrant)
        return self.head(x)


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointing_leaves_no_trace_and_has_all_gradients(reentrant):
    model = Checkpointed(reentrant=reentrant)
    before = snapshot(model)
    inputs = BATCH.clone().requires_grad_(reentrant)
    found = fanin.check(model, inputs, targets=LABELS).measurements
    assert_untouched(before, snapshot(model))
    assert inputs.grad is None
    assert all(p.state == "nonzero" for p in found.parameters)
    assert [s.backward is not None for s in found.weight_sites()] == [True] * 4


def test_reentrant_checkpointing_cuts_the_graph_where_its_input_asks_for_no_gradient():
    with pytest.warns(UserWarning, match="None of the inputs have requires_grad"):
        report = fanin.check(Checkpointed(reentrant=True), BATCH, targets=LABELS)
    assert report.findings[0].code == "G401"
    assert report.findings[0].severity == "error"
    assert "use_reentrant=False" in report.findings[0].fix.text


class KeepsItsFirst(torch.nn.Module):
    """Keeps the first hidden state with its graph, and adds it to all later ones."""

    def __init__(self):
        super().__init__()
        self.e, self.o, self.kept = torch.nn.Linear(6, 8), torch.nn.Linear(8, 3), {}

    def forward(self, x):
        h = torch.tanh(self.e(x)) * torch.sigmoid(self.e(x))
        return self.o(h + self.kept.setdefault(len(x), h))


def test_a_graph_that_the_caller_holds_can_still_be_sent_backward():
    model, x = KeepsItsFirst(), torch.randn(4, 6)
    y = model(x)
    fanin.check(model, x)
    fanin.check(model, x, targets=torch.zeros(4, 3), loss=torch.nn.functional.mse_loss)
    y.sum().backward()
    assert model.e.weight.grad is not None


def test_a_graph_in_the_model_is_used_up_by_a_backward_of_ones_own():
    model, x = KeepsItsFirst(), torch.randn(4, 6)
    y = model(x)
    model(x).sum().backward()
    with pytest.raises(RuntimeError, match="a second time"):
        y.sum().backward()


def tensors_alive():
    gc.collect()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return sum(isinstance(o, torch.Tensor) for o in gc.get_objects())


@pytest.mark.parametrize("predict", few([None, False], False))
def test_no_tensor_of_a_check_outlives_it(predict):
    model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    x = torch.randn(4, 6)
    fanin.check(model, x, predict=predict)
    before = tensors_alive()
    report = fanin.check(model, x, predict=predict)
    assert tensors_alive() == before
    assert report.measurements.sites


class OutOfSight:
    """Its one object is in no variable that the forward names; the forward asks the garbage collector for it."""

    def __init__(self):
        self.kept = []


class KeepsOutOfSight(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.o = torch.nn.Linear(6, 3)

    def forward(self, x):
        y = self.o(x)
        next(o for o in gc.get_objects() if type(o) is OutOfSight).kept.append(y)
        return y


REGISTER = """
{how}
import torch

class Registers(torch.nn.Linear):
    def forward(self, x):
        {call}(len, ())
        return super().forward(x)
"""


@pytest.mark.parametrize(
    ("how", "call", "is_named"),
    [("import atexit", "atexit.register", False), ("from atexit import register", "register", True)],
)
def test_a_function_for_the_end_of_the_program_is_not_registered_or_named(how, call, is_named):
    space = {"__name__": "their_model"}
    exec(REGISTER.format(how=how, call=call), space)
    model, x = space["Registers"](6, 3), torch.randn(4, 6)
    fanin.check(nn.Linear(6, 3), x), fanin.plan(nn.Linear(6, 3), x)  # libraries register when they are first used
    before, register = atexit._ncallbacks(), atexit.register
    told = [fanin.check(model, x).measurements.missing.get("untouched", ""), *fanin.plan(model, x).warnings]
    assert any("what Python calls at the end of the program" in s for s in told) is is_named
    assert (atexit._ncallbacks() > before) is is_named
    assert atexit.register is register
    model(x)
    assert atexit._ncallbacks() > before


def test_a_thread_that_a_forward_starts_and_that_runs_on_is_named():
    ends = threading.Event()

    class Starts(nn.Linear):
        def forward(self, x):
            threading.Thread(target=lambda: ends.wait(60), daemon=True).start()
            return super().forward(x)

    x = torch.randn(4, 6)
    try:
        told = fanin.plan(Starts(6, 3), x).warnings
        assert any(s.startswith("this forward changes the threads that run") for s in told)
        missing = fanin.check(Starts(6, 3), x, predict=False).measurements.missing
        assert missing["untouched"].startswith("this forward changes the threads that run")
        assert not fanin.plan(nn.Linear(6, 3), x).warnings
    finally:
        ends.set()


def test_a_thread_that_has_ended_is_no_matter():
    class Asks(nn.Linear):
        def forward(self, x):
            thread = threading.Thread(target=lambda: None)
            thread.start()
            thread.join()
            return super().forward(x)

    assert not [w for w in fanin.plan(Asks(6, 3), torch.randn(4, 6)).warnings if "forward" in w]


def test_what_an_import_registers_for_the_end_of_the_program_stays(tmp_path, monkeypatch):
    (tmp_path / "their_helper.py").write_text("import atexit\natexit.register(len, ())\n")
    monkeypatch.syspath_prepend(tmp_path)

    class Imports(nn.Linear):
        def forward(self, x):
            import their_helper  # noqa: F401

            return super().forward(x)

    fanin.plan(nn.Linear(6, 3), torch.randn(4, 6))
    before = atexit._ncallbacks()
    plan = fanin.plan(Imports(6, 3), torch.randn(4, 6))
    assert atexit._ncallbacks() == before + 1
    assert not [w for w in plan.warnings if "forward" in w]


@pytest.mark.slow
def test_a_result_that_stays_where_fanin_does_not_look_is_named():
    hidden = OutOfSight()
    said = fanin.check(KeepsOutOfSight(), torch.randn(4, 6), predict=False).measurements.missing["untouched"]
    assert hidden.kept
    assert "OutOfSight" in said or sys.version_info < (3, 11)  # there a list in the attributes is named as a list
    assert "could not put it back" in said
