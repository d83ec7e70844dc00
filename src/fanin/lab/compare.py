"""Compare initializations fairly: the same batches, coupled draws, tuned learning rates, several seeds."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fanin.errors import ArgumentError, CaptureError, sentence
from fanin.lab.comparison import Comparison
from fanin.lab.identity import identity
from fanin.lab.runs import RunResult, RunSpec, RunStore
from fanin.lab.starts import Init, assert_start, start_
from fanin.lab.training import accuracy, batches, make_optimizer, one_thread, train
from fanin.lab.workers import carry_out
from fanin.model.cures import cure_of_forward, cure_of_loss
from fanin.model.foreign import as_trainable
from fanin.model.fresh import assert_callable_with, assert_fresh
from fanin.model.given import assert_loss
from fanin.streams.keys import assert_seed
from fanin.text.files import assert_place
from fanin.text.given import assert_count, assert_positive
from fanin.text.names import one_line
from fanin.text.reading import shown

__all__ = ["Task", "compare", "task_from"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A model, its data and its loss.

    Attributes:
        name: of the task, in tables and figures.
        model: callable without arguments that builds the model.
        batches: callable of a seed that yields (inputs, targets) without end; the same seed must give the same batches.
        loss: callable of (output, targets).
        score: callable of the trained model, larger is better; None where there is no held-out score.
    """

    name: str
    model: Callable[[], nn.Module]
    batches: Callable[[int], Iterable[tuple[Any, Any]]]
    loss: Callable[[Any, Any], Tensor] = nn.functional.cross_entropy
    score: Callable[[nn.Module], float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """One run as a pure function of its spec; picklable, so that any worker can carry it out."""

    tasks: Mapping[str, Task]
    inits: Mapping[str, Init]
    optimizer: Any
    steps: int
    setup_counts: bool = field(default=True)

    def __call__(self, spec: RunSpec) -> RunResult:
        # Sums split over threads round differently: one thread gives one answer everywhere.
        with one_thread(), torch.random.fork_rng(devices=[]):
            return self._run(spec)

    def _run(self, spec: RunSpec) -> RunResult:
        task = self.tasks[spec.task]
        stream = iter(task.batches(spec.seed))
        first = next(stream)
        torch.manual_seed(spec.seed)
        model = as_trainable(task.model(), "compare")
        begin = time.perf_counter()
        spent, params = _started(model, self.inits[spec.init], spec, first[0])
        setup = time.perf_counter() - begin
        torch.manual_seed(spec.seed + 1)  # dropout masks are paired, whatever the start has drawn
        curve = train(
            model,
            _chain(first, stream),
            loss=task.loss,
            optimizer=make_optimizer(self.optimizer, params, spec.lr),
            steps=max(0, self.steps - spent) if self.setup_counts else self.steps,
        )
        score = None if task.score is None else (math.nan if curve.diverged else task.score(model))
        return RunResult(
            losses=curve.loss,
            diverged=curve.diverged,
            score=None if score is None or math.isnan(score) else score,
            setup_steps=spent,
            setup_seconds=setup,
            seconds=curve.seconds,
        )


def _started(model: nn.Module, init: Init, spec: RunSpec, inputs: Any) -> tuple[int, Iterable[Any]]:
    """Updates that the start has spent, and what the optimizer trains: groups where the start brings them."""
    if hasattr(init, "grouped"):
        return 0, init.grouped(model, seed=spec.seed, inputs=inputs, lr=spec.lr)
    return start_(model, init, seed=spec.seed, inputs=inputs), model.parameters()


def _assert_runs(task: Task, seed: int) -> None:
    """Run one forward and the loss of it, before anything is trained.

    Raises:
        ArgumentError: `model` gives no module.
        CaptureError: the model or the loss raised; the message says what to give.
    """
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = task.model()
        trained = as_trainable(model, "compare")
        if not hasattr(trained, "parameters"):
            raise ArgumentError(f"model gives {type(model).__name__}; it must give a torch.nn.Module")
        inputs, targets = next(iter(task.batches(seed)))
        try:
            output = trained(inputs)
        except (RuntimeError, TypeError, ValueError, IndexError, NotImplementedError) as error:
            words = f"{type(error).__name__}: {sentence(one_line(error))} {cure_of_forward(model, inputs)}"
            raise CaptureError(f"the forward of the first batch raised {words}") from error
        try:
            task.loss(output, targets)
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            words = f"{type(error).__name__}: {sentence(one_line(error))} {cure_of_loss(output, targets, task.loss)}"
            raise CaptureError(f"the loss of the first batch raised {words}") from error


def _chain(first: tuple[Any, Any], rest: Iterator[tuple[Any, Any]]) -> Iterator[tuple[Any, Any]]:
    yield first
    yield from rest


def _loader_batches(loader: Iterable[Any], seed: int) -> Iterator[tuple[Any, Any]]:
    """Endless passes over a data loader, each shuffled by the seed alone, the caller's random state untouched."""
    epoch = 0
    while True:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1_000_003 * seed + epoch)
            passing = iter(loader)
            batch = next(passing, None)
        if batch is None:
            raise ArgumentError("the data gives no batch at all; a comparison needs at least one")
        while batch is not None:
            if not isinstance(batch, tuple | list) or len(batch) != 2:
                raise ArgumentError(
                    f"the data gives {type(batch).__name__} as a batch; give pairs (inputs, targets), with a callable "
                    "of a seed that yields them where the loader makes others"
                )
            yield batch[0], batch[1]
            batch = next(passing, None)
        epoch += 1


def _array_batches(x: Any, y: Any, size: int, seed: int) -> Iterator[tuple[Any, Any]]:
    return batches(x, y, size=size, seed=seed)


def task_from(
    model: Callable[[], nn.Module],
    data: Any,
    *,
    loss: Callable[[Any, Any], Tensor],
    score: Callable[[nn.Module], float] | None,
    batch_size: int,
) -> Task:
    """The task of one model and its data, in any of the forms that `compare` takes."""
    if not callable(model) or isinstance(model, nn.Module):
        raise ArgumentError(
            "model must be a callable that builds a fresh model, so that every run starts from its own; got "
            f"{type(model).__name__}. Write compare(lambda: MyModel(...), ...)."
        )
    assert_callable_with("model", model, 0)
    assert_loss(loss)
    _assert_data(data)
    if hasattr(data, "x_held"):
        held = functools.partial(accuracy, x=data.x_held, y=data.y_held) if data.num_classes else None
        stream = functools.partial(_array_batches, data.x, data.y, batch_size)
        return Task(name=data.name, model=model, batches=stream, loss=loss, score=score or held)
    if isinstance(data, tuple) and len(data) == 2:
        if len(data[0]) != len(data[1]):
            raise ArgumentError(
                f"inputs and targets have {len(data[0])} and {len(data[1])} rows; give one target for each row"
            )
        stream = functools.partial(_array_batches, data[0], data[1], batch_size)
        return Task(name="task", model=model, batches=stream, loss=loss, score=score)
    stream = data if callable(data) else functools.partial(_loader_batches, data)
    return Task(name="task", model=model, batches=stream, loss=loss, score=score)


def _assert_data(data: Any) -> None:
    if isinstance(data, torch.utils.data.Dataset):
        raise ArgumentError(
            f"data is a {type(data).__name__}; give a loader of it: torch.utils.data.DataLoader(data, batch_size=64)"
        )
    pair = isinstance(data, tuple) and len(data) == 2
    whole = isinstance(data, tuple | str | Mapping) or hasattr(data, "__array__")
    if not pair and (whole or not (callable(data) or isinstance(data, Iterable) or hasattr(data, "x_held"))):
        raise ArgumentError(
            f"data is a {type(data).__name__}; give a pair (inputs, targets), a loader of such pairs, or a callable of "
            "a seed that yields them"
        )


def _listed(name: str, given: Any, example: str) -> tuple[Any, ...]:
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise ArgumentError(f"{name} is a list, as in {example}; got {shown(given)}")
    return tuple(given)


def _check(
    tasks: Sequence[Task], inits: Mapping[str, Init], seeds: Sequence[int], lrs: Sequence[float], steps: int
) -> None:
    if not isinstance(inits, Mapping):
        raise ArgumentError(
            f"inits is of type {type(inits).__name__}; give a dict of names and starts, as in "
            "{'default': None, 'fanin': 'auto'}"
        )
    for name, init in inits.items():
        assert_start(name, init)
    assert_count("steps", steps, least=0)
    if not tasks or not inits or not seeds or not lrs or steps < 1:
        raise ArgumentError(
            "a comparison needs at least one task, init, seed, learning rate and step; got "
            f"{len(tasks)} tasks, {len(inits)} inits, {len(seeds)} seeds, {len(lrs)} learning rates, {steps} steps"
        )
    for lr in lrs:
        assert_positive("a learning rate", lr)
    names = [t.name for t in tasks]
    if len(set(names)) != len(names):
        raise ArgumentError(f"tasks need different names; got {names}")


def compare(
    model: Callable[[], nn.Module] | None = None,
    data: Any = None,
    *,
    inits: Mapping[str, Init],
    tasks: Sequence[Task] = (),
    seeds: int | Sequence[int] = 3,
    lrs: Sequence[float] = (1e-3, 3e-3, 1e-2),
    steps: int = 200,
    loss: Callable[[Any, Any], Tensor] = nn.functional.cross_entropy,
    score: Callable[[nn.Module], float] | None = None,
    optimizer: Any = "adam",
    batch_size: int = 64,
    target: float | None = None,
    out: str | Path | None = None,
    on: str = "process",
    workers: int | None = None,
    progress: bool | Callable[[str, float], None] = True,
) -> Comparison:
    """Train the same model from different starts, and report which is better and how certain that is.

    Runs are paired: under one seed every init sees the same batches in the same order, and laws drawn by fanin use
    the same stream, so that differences are those of the inits. The learning rate is tuned for each init on the same
    grid: an init is judged at its own best rate (smallest mean final loss over the seeds). Each run uses one thread, so
    the losses of a seed are the same in one process, with joblib and on Ray.

    Args:
        model: callable that builds the model; with `data` it makes the one task of the comparison.
        data: a `fanin.lab.split.Split`, a pair of arrays (x, y), a data loader of (inputs, targets), or a callable of
            a seed that yields such batches without end.
        inits: name -> None (as constructed), a recipe's name, a `Plan`, an initializer, a callable of (model, seed), or
            a `fanin.lab.transfer.Transfer`, which also brings parameter groups. The first is the one the others are
            tested against. A callable may return the number of updates it has spent
            (pre-training); they are taken from the run's budget.
        tasks: several tasks, in place of `model` and `data`.
        seeds: how many, or which.
        lrs: learning rates tried, each > 0.
        steps: updates of each run.
        loss: callable of (output, targets).
        score: callable of the trained model, larger is better.
        optimizer: "sgd" (momentum 0.9), "plain_sgd", "adam", "adamw", "muon" (with groups for it), or a callable of
            (parameters, learning rate).
        batch_size: for a Split or arrays.
        target: a loss; steps and seconds to reach it are reported.
        out: JSON Lines file that keeps the runs; a comparison that was killed goes on from it. It is locked meanwhile,
            and refused where it holds runs of another experiment: another model, first batch, law, loss or optimizer.
        on: "process", "joblib" or "ray".
        workers: how many at a time; None takes all.
        progress: show a bar on stderr; or a callable of (what was done, share done in 0..1).

    Raises:
        ArgumentError: nothing to compare, `model` gives the same model twice, or `out` holds runs of another
            experiment or is in use by another process.
        OutputError: `out` cannot be written.

    Example:
        >>> from fanin.lab.data import load
        >>> from fanin.lab.models import mlp
        >>> def zeros(model, seed):
        ...     for p in model.parameters():
        ...         nn.init.zeros_(p)
        >>> result = compare(lambda: mlp([64, 32, 10]), load("digits"), inits={"default": None, "zeros": zeros},
        ...                  seeds=1, lrs=[1e-2], steps=30, progress=False)
        >>> result.best("default").final_loss < result.best("zeros").final_loss
        True
    """
    if (model is None) == (not tasks):
        raise ArgumentError("give either model and data, or tasks")
    if model is not None:
        tasks = (task_from(model, data, loss=loss, score=score, batch_size=batch_size),)
    seed_list = tuple(range(seeds)) if isinstance(seeds, int) else _listed("seeds", seeds, "[0, 1, 2]")
    for seed in seed_list:
        assert_seed(seed)
    lrs = _listed("lrs", lrs, "[1e-3, 1e-2]")
    _check(tasks, inits, seed_list, lrs, steps)
    specs = [RunSpec(t.name, i, s, lr) for t, i, s, lr in product(tasks, inits, seed_list, map(float, lrs))]
    run = _Run(tasks={t.name: t for t in tasks}, inits=dict(inits), optimizer=optimizer, steps=steps)
    settings: dict[str, Any] = {}
    if out is not None:
        assert_place(out)  # before any work
    assert_fresh([t.model for t in tasks], "model" if model is not None else "the model of a task", seed=seed_list[0])
    for task in tasks:
        _assert_runs(task, seed_list[0])
    if out is not None:
        settings = {"batch_size": batch_size, **identity(tasks, inits, seed_list, optimizer=optimizer, steps=steps)}
    with RunStore(None if out is None else Path(out), settings) as store:
        missing = [s for s in specs if s not in store.runs]
        results = carry_out(run, missing, on=on, workers=workers)
        for spec, result in _watched(results, len(specs), len(missing), progress):
            store.add(spec, result)
    return Comparison(
        runs={s: store.runs[s] for s in specs}, inits=tuple(inits), tasks=tuple(t.name for t in tasks), target=target
    )


def _said(spec: RunSpec, result: RunResult) -> str:
    mark = "diverged" if result.diverged else f"loss {result.final_loss():.3f}"
    return f"{spec.init} lr {spec.lr:g} seed {spec.seed}: {mark}"


def _watched(
    results: Iterator[tuple[RunSpec, RunResult]],
    total: int,
    missing: int,
    show: bool | Callable[[str, float], None],
) -> Iterator[tuple[RunSpec, RunResult]]:
    if callable(show):
        for done, (spec, result) in enumerate(results, total - missing + 1):
            show(_said(spec, result), done / total)
            yield spec, result
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not show, transient=True) as bar:
        row = bar.add_task("comparing", total=total, completed=total - missing)
        for spec, result in results:
            bar.update(row, advance=1, description=_said(spec, result))
            yield spec, result
