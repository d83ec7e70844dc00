"""However a watched run ends, no hook is left; a compiled model trains to the bit."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

import fanin
from tests.selection import few

ENDLESS = """
import signal
import torch, fanin
from torch import nn

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(16, 24), nn.ReLU(), nn.Linear(24, 4))
optimizer = torch.optim.Adam(model.parameters())
x, y = torch.randn(32, 16), torch.arange(32) % 4


def hooks():
    tables = [t for m in model.modules() for t in (m._forward_pre_hooks, m._forward_hooks)]
    tables += [p._backward_hooks or {} for p in model.parameters()]
    tables += [p._post_accumulate_grad_hooks or {} for p in model.parameters()]
    tables += [optimizer._optimizer_step_pre_hooks, optimizer._optimizer_step_post_hooks]
    return sum(map(len, tables))


n = 0
try:
    with fanin.watch(model, optimizer, steps=10**9, check=CHECK) as watched:
        print("first", hooks(), flush=True)
        while True:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            watched.step(loss=loss)
            n += 1
            if n == 3:
                print("training", flush=True)
except KeyboardInterrupt:
    print("left", hooks(), len(watched.watched.steps) >= 3 if n >= 3 else True, flush=True)
"""


@pytest.mark.skipif(os.name == "nt", reason="there Ctrl-C goes to a whole group of processes")
@pytest.mark.parametrize(("check", "after"), few([(True, "first"), (False, "training")], every=2))
def test_a_real_ctrl_c_leaves_no_hook(check, after):
    """While the first batch is checked, and in the middle of training."""
    program = textwrap.dedent(ENDLESS).replace("CHECK", str(check))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, _source())), "OMP_NUM_THREADS": "1"}
    seen = []
    started = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment)
    with started as child:
        for line in child.stdout:
            seen.append(line.split())
            if seen[-1][0] == after:
                child.send_signal(signal.SIGINT)
    assert int(seen[0][1]) > 0, "there are hooks while it is watched"
    assert seen[-1] == ["left", "0", "True"]


def _source():
    return [Path(fanin.__file__).parents[1], *filter(None, [os.environ.get("PYTHONPATH")])]


def compiled_run(backend, watch):
    torch._dynamo.reset()
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 24), nn.GELU(), nn.LayerNorm(24), nn.Dropout(0.1), nn.Linear(24, 4))
    x, y = torch.randn(32, 16), torch.arange(32) % 4
    run = torch.compile(model, backend=backend)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    watched = fanin.watch(run, optimizer, check=watch == "with the check") if watch else None
    for _ in range(24):
        optimizer.zero_grad()
        loss = functional.cross_entropy(run(x), y)
        loss.backward()
        optimizer.step()
        if watched is not None:
            watched.step(loss=loss)
    if watched is not None:
        watched.close()
        assert [s.step for s in watched.watched.steps] == [*range(1, 11), 15, 20]
        assert all(s.loss is not None for s in watched.watched.steps)
    return [p.detach().clone() for p in model.parameters()]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")  # inductor's import
@pytest.mark.parametrize("backend", ["eager", "aot_eager", "inductor"])
@pytest.mark.parametrize("watch", ["alone", "with the check"])
def test_a_compiled_model_ends_with_the_same_bits(backend, watch):
    if backend == "inductor" and not any(map(shutil.which, ("g++", "clang++"))):
        pytest.skip("inductor needs a C++ compiler")
    bare, same = compiled_run(backend, ""), compiled_run(backend, watch)
    assert all(torch.equal(a, b) for a, b in zip(bare, same, strict=True))
