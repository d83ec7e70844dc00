"""Too little memory ends in one sentence that says what to give, status 2, and nothing is written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import fanin
from fanin.errors import CaptureError, FillError
from fanin.memory import ran_out

LIMIT = 4_000_000  # kilobytes of addresses; torch alone takes about a third of them
SOURCE = """
import torch
from torch import nn

def wide():  # the weights are small, what they make of the batch is not
    return nn.Sequential(nn.Linear(1000, 20000), nn.ReLU(), nn.Linear(20000, 10)), torch.randn(20000, 1000)

def huge():
    return nn.Linear(200000, 300000), torch.randn(4, 200000)
"""


class Greedy(nn.Linear):
    """Its forward pass asks for more memory than there is."""

    def forward(self, x):
        return super().forward(x) + torch.empty(1 << 46).sum()


class Old(nn.Linear):
    """Its forward pass fails for another reason."""

    def forward(self, x):
        raise RuntimeError("the disk is out of order")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits of addresses are Linux's")
@pytest.mark.parametrize(
    ("line", "cure"),
    [
        (["check", "big.py:wide", "--no-trial"], "give a smaller batch"),
        (["check", "big.py:huge"], "--meta"),
        (["init", "big.py:huge", "--out", "w.safetensors"], "--meta"),
    ],
)
def test_a_process_with_little_memory_says_what_to_do(tmp_path, line, cure):
    (tmp_path / "big.py").write_text(SOURCE)
    command = ["bash", "-c", f'ulimit -v {LIMIT}; exec "$@"', "-", sys.executable, "-m", "fanin", *line]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 2, done.stderr
    assert cure in done.stderr
    assert "Traceback" not in done.stderr
    assert [p.name for p in Path(tmp_path).iterdir() if p.name != "__pycache__"] == ["big.py"]


def test_a_check_names_the_place_and_the_cure():
    with pytest.raises(CaptureError, match=r"not enough memory.*give a smaller batch"):
        fanin.check(nn.Sequential(nn.Linear(8, 8), Greedy(8, 4)), torch.randn(4, 8))
    with pytest.raises(CaptureError) as other:
        fanin.check(Old(8, 4), torch.randn(4, 8))
    assert "memory" not in str(other.value)


def test_a_start_without_memory_for_a_trial_says_so():
    plan = fanin.plan(nn.Linear(8, 4), torch.randn(4, 8))

    class Later(nn.Linear):
        def forward(self, x):
            if not isinstance(x, torch._subclasses.FakeTensor):
                raise MemoryError
            return super().forward(x)

    made = fanin.init_(Later(8, 4), torch.randn(4, 8))
    assert "not enough memory" in made.extras["trial"]["why"]
    assert list(made) == list(plan)


def test_a_write_without_memory_says_that_copies_can_be_left_out(monkeypatch):
    model = nn.Linear(8, 4)
    before = [p.clone() for p in model.parameters()]
    plan = fanin.plan(model, torch.randn(4, 8))

    def no_memory(*args, **kwargs):
        raise MemoryError

    monkeypatch.setattr("fanin.planning.apply._fill", no_memory)
    with pytest.raises(FillError, match="rollback=False"):
        plan.apply_(model)
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))


def test_errors_that_say_that_memory_ran_out():
    wrapped = ValueError("x")
    wrapped.__cause__ = MemoryError()
    assert ran_out(wrapped)
    assert not ran_out(ValueError("out of memory"))  # words of somebody else
    assert not ran_out(RuntimeError("shapes differ"))
