"""A comparison on a real (local) Ray cluster, with a worker killed in the middle of a run."""

from __future__ import annotations

import os
import signal
import sys
import time
import warnings

import pytest

from fanin.lab.compare import compare
from fanin.lab.data import load
from fanin.lab.models import mlp
from fanin.lab.workers import carry_out

ray = pytest.importorskip("ray", reason="the ray extra is not installed")


@pytest.fixture(scope="module")
def cluster():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        paths = {"env_vars": {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}}
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR", runtime_env=paths)
    yield
    ray.shutdown()


def small():
    return mlp([64, 16, 10])


OPTIONS = {"inits": {"default": None}, "seeds": 4, "lrs": [1e-2], "steps": 5, "progress": False}


@pytest.mark.slow
def test_ray_gives_the_same_losses(cluster):
    here = compare(small, load("digits"), **OPTIONS)
    there = compare(small, load("digits"), on="ray", **OPTIONS)
    assert {s: r.losses for s, r in here.runs.items()} == {s: r.losses for s, r in there.runs.items()}


@pytest.mark.slow
def test_a_killed_worker_loses_nothing_and_repeats_nothing(cluster, tmp_path):
    mark = tmp_path / "killed-once"

    def run(n):
        if n == 2 and not mark.exists():
            mark.touch()
            time.sleep(0.2)  # in the middle of the run
            os.kill(os.getpid(), signal.SIGKILL)
        return n * n

    results = list(carry_out(run, [0, 1, 2, 3, 4], on="ray"))
    assert mark.exists()
    assert sorted(results) == [(n, n * n) for n in range(5)]
