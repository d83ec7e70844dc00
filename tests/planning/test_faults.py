"""Faults at random points: a model is as before or complete, never between."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

import fanin
from fanin.commands.app import main
from fanin.errors import FaninError
from fanin.initializers import Normal, Orthogonal
from tests.selection import few

X = torch.randn(8, 16, generator=torch.Generator().manual_seed(0))
ERRORS = (MemoryError, OSError, KeyboardInterrupt, SystemExit)


def build():
    torch.manual_seed(3)
    model = nn.Sequential(*(m for _ in range(3) for m in (nn.Linear(16, 16), nn.Tanh())), nn.Linear(16, 4))
    parametrizations.orthogonal(model[2])
    parametrizations.weight_norm(model[4])
    return model


def state(model):
    return {n: t.detach().clone() for n, t in (*model.named_parameters(), *model.named_buffers())}


def same(model, want):
    have = state(model)
    return have.keys() == want.keys() and all(torch.equal(have[n], want[n]) for n in want)


class Fault:
    """Raises one error when the n-th line of fanin's own code runs."""

    def __init__(self, error, at):
        self.error, self.left = error, at

    def __call__(self, frame, event, arg):
        if "fanin" not in frame.f_code.co_filename or "tests" in frame.f_code.co_filename:
            return None
        if event == "line":
            self.left -= 1
            if self.left == 0:
                sys.settrace(None)
                raise self.error("injected")
        return self


def lines_of(run):
    fault = Fault(RuntimeError, -1)
    before = sys.gettrace()
    sys.settrace(fault)
    try:
        run()
    finally:
        sys.settrace(before)
    return -1 - fault.left


def injected(run, error, at):
    """Whether the fault was met."""
    before = sys.gettrace()
    sys.settrace(Fault(error, at))
    try:
        run()
    except (FaninError, *ERRORS):
        return True
    finally:
        sys.settrace(before)
    return False


def trials(count, seed):
    rng = random.Random(seed)
    plan = fanin.plan(build(), X, recipe="torch", overrides={"0.weight": Normal(std=0.2), "6.weight": Orthogonal()})
    complete = build()
    plan.apply_(complete)
    after, before = state(complete), state(build())
    total = lines_of(lambda: plan.apply_(build()))
    met = 0
    for trial in range(count):
        model = build()
        met += injected(lambda m=model: plan.apply_(m), ERRORS[trial % 4], rng.randrange(1, total))
        assert same(model, before) or same(model, after)
    return met


def test_a_fault_in_apply_leaves_the_model_as_before_or_complete():
    assert trials(16, seed=0) >= 8


@pytest.mark.slow
def test_eighty_faults_in_apply():
    assert trials(80, seed=1) >= 40


def test_the_comparison_can_fail():
    model, want = build(), state(build())
    assert same(model, want)
    with torch.no_grad():
        model[0].weight[0, 0] += 1e-6
    assert not same(model, want)


@pytest.mark.slow
def test_forty_faults_in_init():
    complete = build()
    fanin.init_(complete, X, recipe="torch")
    after, before = state(complete), state(build())
    total = lines_of(lambda: fanin.init_(build(), X, recipe="torch"))
    rng, met = random.Random(5), 0
    for trial in range(40):
        model = build()
        run = lambda m=model: fanin.init_(m, X, recipe="torch")  # noqa: E731
        met += injected(run, ERRORS[trial % 4], rng.randrange(1, total))
        assert same(model, before) or same(model, after)
    assert met >= 20


@pytest.mark.parametrize("error", few(ERRORS, every=2))
def test_a_fault_in_init_leaves_the_model_as_before_or_complete(error):
    complete = build()
    fanin.init_(complete, X, recipe="torch")
    after, before = state(complete), state(build())
    total = lines_of(lambda: fanin.init_(build(), X, recipe="torch"))
    for share in (0.3, 0.7, 0.9, 0.99):
        model = build()
        injected(lambda m=model: fanin.init_(m, X, recipe="torch"), error, int(share * total))
        assert same(model, before) or same(model, after)


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("count", few([6, 10], 6))
def test_a_fault_in_materialize_leaves_the_model_on_meta_or_complete(error, count):
    def on_meta():
        with torch.device("meta"):
            return nn.Sequential(nn.Linear(16, 8), nn.BatchNorm1d(8), nn.Linear(8, 4))

    plan = fanin.plan(on_meta(), recipe="torch")
    complete = on_meta()
    plan.materialize(complete)
    total = lines_of(lambda: plan.materialize(on_meta()))
    rng = random.Random(count)
    for _ in range(count):
        model = on_meta()
        injected(lambda m=model: plan.materialize(m), error, rng.randrange(1, total))
        on = {t.device.type for t in (*model.parameters(), *model.buffers())}
        assert on == {"meta"} or (on == {"cpu"} and same(model, state(complete)))


SMALL = """
import torch
from torch import nn
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 4)), torch.randn(2, 8)
"""


def command(folder):
    """The command ``fanin init`` in this process: its status."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["fanin", "init", "net.py:model", "--out", "w.safetensors", "--recipe", "torch"])
        try:
            main()
        except SystemExit as end:
            return end.code
    return 0


@pytest.mark.parametrize("count", few([4, 40], 4))
def test_a_fault_in_the_command_leaves_the_old_file_or_the_new_one_and_no_other(tmp_path, count, capsys):
    (tmp_path / "net.py").write_text(SMALL)
    out = tmp_path / "w.safetensors"
    assert not command(tmp_path)
    whole = out.read_bytes()
    out.unlink()
    total = lines_of(lambda: command(tmp_path))
    rng, met = random.Random(count), 0
    for trial in range(count):
        out.write_bytes(b"old")
        injected(lambda: command(tmp_path), ERRORS[trial % 4], rng.randrange(1, total))
        met += out.read_bytes() == b"old"
        assert out.read_bytes() in (b"old", whole)
        assert {p.name for p in tmp_path.iterdir()} - {"__pycache__"} == {"net.py", "w.safetensors"}
    assert met  # some faults came before the file was written


TARGET = """
import torch
from torch import nn
def model():
    torch.manual_seed(0)
    return nn.Sequential(*(nn.Linear(256, 256) for _ in range(8))), torch.randn(2, 256)
"""


@pytest.mark.slow
def test_a_killed_command_leaves_the_old_file_or_the_new_one(tmp_path):
    (tmp_path / "net.py").write_text(TARGET)
    out = tmp_path / "w.safetensors"
    command = [sys.executable, "-m", "fanin", "init", "net.py:model", "--out", str(out), "--recipe", "torch"]
    env = os.environ | {"PYTHONPATH": str(Path(fanin.__file__).parents[1])}
    begun = time.monotonic()
    subprocess.run(command, cwd=tmp_path, env=env, check=True, capture_output=True)
    whole, seconds = out.read_bytes(), time.monotonic() - begun
    rng = random.Random(4)
    for _ in range(12):
        out.write_bytes(b"old")
        process = subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        killer = threading.Timer(rng.uniform(0.5, 1.05) * seconds, process.send_signal, (signal.SIGKILL,))
        killer.start()
        process.wait()
        killer.cancel()
        assert out.read_bytes() in (b"old", whole)
