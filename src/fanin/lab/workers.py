"""Where the runs of a comparison run: this process, all cores, or a Ray cluster.

A worker gets a pure function and its arguments and returns a result; only the calling process writes. So a killed
worker loses one run, which is done again, and nothing is ever counted twice.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from fanin.errors import MissingDependencyError, UnknownNameError, did_you_mean

__all__ = ["WORKERS", "carry_out"]

S = TypeVar("S")
R = TypeVar("R")


def _process(function: Callable[[S], R], specs: Sequence[S], workers: int | None) -> Iterator[tuple[S, R]]:
    for spec in specs:
        yield spec, function(spec)


def _joblib(function: Callable[[S], R], specs: Sequence[S], workers: int | None) -> Iterator[tuple[S, R]]:
    try:
        from joblib import Parallel, delayed
    except ImportError as error:
        raise MissingDependencyError.of("joblib", extra="lab", needed_for="on='joblib'") from error

    def both(spec: S) -> tuple[S, R]:
        return spec, function(spec)

    pool = Parallel(n_jobs=workers or -1, return_as="generator_unordered", pre_dispatch="2*n_jobs", batch_size=1)
    yield from pool(delayed(both)(spec) for spec in specs)


def _ray(function: Callable[[S], R], specs: Sequence[S], workers: int | None) -> Iterator[tuple[S, R]]:
    try:
        import ray
    except ImportError as error:
        raise MissingDependencyError.of("ray", extra="ray", needed_for="on='ray'") from error
    began_here = not ray.is_initialized()
    if began_here:
        # Workers import what this process can import, from wherever it was started.
        paths = {"env_vars": {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}}
        ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False, runtime_env=paths)
    try:
        # A run is a pure function of its spec: doing it again after a worker died cannot change the result.
        remote = ray.remote(max_retries=-1, num_cpus=1)(lambda held, spec: held(spec))
        held = ray.put(function)
        pending: dict[Any, S] = {remote.remote(held, spec): spec for spec in specs}
        while pending:
            done, _ = ray.wait(list(pending), num_returns=1)
            for reference in done:
                yield pending.pop(reference), ray.get(reference)
    finally:
        if began_here:
            ray.shutdown()


WORKERS: dict[str, Callable[[Callable[[Any], Any], Sequence[Any], int | None], Iterator[tuple[Any, Any]]]] = {
    "process": _process,
    "joblib": _joblib,
    "ray": _ray,
}


def carry_out(
    function: Callable[[S], R], specs: Sequence[S], *, on: str = "process", workers: int | None = None
) -> Iterator[tuple[S, R]]:
    """Pairs of (spec, result) as they come.

    Args:
        function: pure, picklable by cloudpickle.
        specs: its arguments, one a run.
        on: "process", "joblib" (all cores of this machine) or "ray" (the cluster that is connected, else a local one).
        workers: how many at a time; None takes all.

    Example:
        >>> sorted(carry_out(abs, [-2, 1]))
        [(-2, 2), (1, 1)]
    """
    if on not in WORKERS:
        raise UnknownNameError(f"there is no place {on!r} to run on; {did_you_mean(on, WORKERS)}")
    return WORKERS[on](function, specs, workers)
