"""Who carries out the runs of a comparison."""

from __future__ import annotations

import sys
from types import SimpleNamespace

from fanin.lab.workers import carry_out


def test_one_process_does_one_after_the_other():
    assert list(carry_out(lambda n: n * n, [3, 1, 2], on="process")) == [(3, 9), (1, 1), (2, 4)]


def test_ray_repeats_a_run_as_often_as_its_worker_dies(monkeypatch):
    asked = []

    def remote(**options):
        asked.append(options)
        return lambda function: SimpleNamespace(remote=lambda held, spec: (held, spec))

    ray = SimpleNamespace(
        is_initialized=lambda: True,
        remote=remote,
        put=lambda held: held,
        wait=lambda pending, num_returns: (pending[:1], pending[1:]),
        get=lambda reference: reference[0](reference[1]),
    )
    monkeypatch.setitem(sys.modules, "ray", ray)
    assert sorted(carry_out(lambda n: n * n, [3, 1, 2], on="ray")) == [(1, 1), (2, 4), (3, 9)]
    assert asked == [{"max_retries": -1, "num_cpus": 1}]  # -1: without an end
