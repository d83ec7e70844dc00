"""Real runs of `model.fit` on two backends with the callbacks, each in a process that has no other backend."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("keras")


@functools.cache
def told(backend):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.integrations.keras_runs"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONWARNINGS": "", "KERAS_BACKEND": backend},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_a_watched_fit_ends_with_the_same_bits_and_is_judged(backend):
    run = told(backend)
    assert run["same weights"]
    assert run["same history"]
    assert not run["left on the model"]
    assert run["weights"] == ["sequential_1/fc0/kernel", "sequential_1/head/kernel"]
    assert run["steps"] == [*range(1, 11), 15, 20]
    assert all(1.0 < loss < 3.0 for loss in run["losses"])
    assert run["findings"] == []
    assert "W901" in run["too fast"]
    assert run["stored"]
    assert run["goes on"], "a second fit is neither watched nor started anew"
    assert run["started"]
    assert run["started by the seed"]
    assert "gradient_accumulation_steps is 2" in run["accumulated"]


@pytest.mark.slow
def test_the_first_batch_is_checked_on_the_torch_backend():
    run = told("torch")
    assert run["reason"] == ""
    assert run["batch hash"] == run["wanted hash"]
    assert 1.0 < run["checked loss"] < 3.0
    assert "L801" in run["stopped"]
    assert run["untouched"], "weights times eight stop before the first step"
    assert not run["left after the stop"]


@pytest.mark.slow
def test_another_backend_says_that_the_first_batch_is_not_checked():
    run = told("jax")
    assert "KERAS_BACKEND=torch" in run["refused"]
    assert "KERAS_BACKEND=torch" in run["missing"]["check of the first batch"]
    assert run["batch hash"] == ""
