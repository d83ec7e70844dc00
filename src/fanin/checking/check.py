"""`fanin.check`: run the first step of a network and report what is wrong, why, and what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fanin.checking.baseline import read_baseline
from fanin.checking.header import header_of
from fanin.checking.job import Job, jobs_of
from fanin.checking.loss_words import loss_words
from fanin.checking.report import Report
from fanin.checking.trainer import Trainer, trainer_of
from fanin.errors import ArgumentError, MissingDependencyError
from fanin.rules.config import Config, load_config
from fanin.rules.finding import Severity
from fanin.rules.result import CheckResult, Header
from fanin.streams.keys import assert_seed
from fanin.text.given import assert_count, assert_switch
from fanin.timing import part

if TYPE_CHECKING:
    import torch

    from fanin.measure.record import Measurements
    from fanin.model.roles import Seen

__all__ = ["check"]


def check(
    model: torch.nn.Module | Callable[[], Any],
    inputs: Any = None,
    targets: Any = None,
    loss: Callable[..., Any] | None = None,
    *,
    optimizer: Any = None,
    seed: int = 0,
    seeds: int = 1,
    training: bool | None = None,
    predict: bool | None = None,
    trial: bool = True,
    select: Iterable[str] | None = None,
    ignore: Iterable[str] | None = None,
    per_module_ignores: Mapping[str, Iterable[str]] | None = None,
    thresholds: Mapping[str, Mapping[str, float]] | None = None,
    fail_on: Severity | None = None,
    config: str | Path | Config | None = None,
    baseline: str | Path | None = None,
    target: str = "",
) -> Report:
    """Run one forward and one backward pass, measure every operation, and report what is wrong.

    The model is left bit for bit as found.

    Args:
        model: a module, or a factory that gives one (or `(model, inputs)`, `(model, inputs, targets or loss)`); with
            `seeds` above 1 a factory is called once per seed, and a finding gives the number of draws that have it.
        inputs: a tensor, a tuple of positional arguments, or a dict of keyword arguments.
        targets: class indices (cross-entropy) or values (squared error), or the second argument of `loss`.
        loss: a callable of the model's output, or of (output, targets). With neither loss nor targets the output's own
            `.loss` is used, and else a random unit cotangent on the outputs.
        optimizer: what will train the model, or a function of its parameters that makes it, such as its class; adds
            the rules on step size and eps. One that holds no trainable parameter of the model is refused.
        seed: of random operations such as dropout; all generators are put back afterwards.
        seeds: how many draws to check.
        training: run in this mode instead of the model's own.
        predict: capture the graph and compare what theory expects of every operation, forward and backward, with what
            was measured. None: where the forward makes at most 2,000 operations (it takes about a millisecond each).
        trial: where a finding that fails recommends other initial values, try `fanin.init_` on a copy and say whether
            the finding is gone. It costs a copy of the model and one more pass, only where something was found.
        select: codes, prefixes ("S2") or names of the rules to run.
        ignore: likewise, the rules not to run.
        per_module_ignores: glob over module paths -> codes to ignore there.
        thresholds: code -> threshold -> value.
        fail_on: severity from which the report is not ok ("warning").
        config: a pyproject.toml (or folder) to read [tool.fanin] from, or a `Config`.
        baseline: a JSON report whose findings are known and left out.
        target: what the command line was given, for the header.

    Returns:
        The report.

    Raises:
        ArgumentError: an argument that a check cannot use; the message names it.
        CaptureError: the model or the loss raised.
        MissingDependencyError: torch is not installed.
    """
    settings = _settings(config, select, ignore, per_module_ignores, thresholds, fail_on)
    assert_count("seeds", seeds)
    assert_seed(seed)
    assert_seed(seed + seeds - 1)
    assert_switch("trial", trial)
    for name, value in (("training", training), ("predict", predict)):
        assert_switch(name, value, others=(None,))
    if not isinstance(target, str):
        raise ArgumentError(
            f"target is of type {type(target).__name__}; it is a text for the header. Did you mean targets=?"
        )
    known = read_baseline(baseline) if baseline is not None else frozenset[str]()
    draws = range(seed, seed + seeds)
    jobs = jobs_of(model, inputs, targets, loss, draws)
    first = next(jobs)
    trainer = trainer_of(optimizer, first.model, must_hold=first.model is model)
    judged = _judged(
        chain([first], jobs),
        draws,
        settings,
        trainer,
        known,
        target,
        training=training,
        predict=predict,
        trial=trial,
    )
    return Report(judged)


def _judged(
    jobs: Iterable[Job],
    seeds: range,
    config: Config,
    trainer: Trainer,
    known: frozenset[str],
    target: str,
    *,
    training: bool | None,
    predict: bool | None,
    trial: bool,
) -> CheckResult:
    """Measure and judge one job a seed; measurements, header and inline ignores are those of the first."""
    from fanin.checking.trial import with_trial

    MissingDependencyError.unless_installed("torch", extra="torch", needed_for="fanin.check")
    from fanin.measure.run import measure
    from fanin.measure.seen import seen_before
    from fanin.measure.task import MeasureTask
    from fanin.model.eager import eager_module
    from fanin.rules.engine import judge_all, result_of

    first: tuple[Header, Measurements, MeasureTask] | None = None
    seen: Mapping[str, Seen] = {}
    judgements = []
    for seed, job in zip(seeds, jobs, strict=True):
        task = MeasureTask(
            model=job.model,
            inputs=job.inputs,
            targets=job.targets,
            loss=job.loss,
            seed=seed,
            training=training,
            predict=predict if first is None else False,
            seen=seen,
            optimized=trainer.held,
            first_step=trainer.first_step if first is None else None,
        )
        with part("measure"):
            found, seconds = measure(task)
        if first is None:
            module = eager_module(job.model)
            config = _with_inline_ignores(config, module)
            header = header_of(module, found, seconds, seeds, target)
            said = loss_words(found.loss, job.loss, compiled=job.compiled)
            first = replace(header, loss=said, optimizer=trainer.said), found, task
            seen = seen_before(found.parameters)
        with part("judge"):
            judgements.append(judge_all(found, config, trainer.settings))
    if first is None:
        raise ArgumentError("there is nothing to check: no seeds")
    header, measurements, task = first
    result = result_of(header, measurements, judgements, config, known)
    with part("trial"):
        return with_trial(result, task, config=config, optimizer=trainer.settings, wanted=trial)


def _settings(
    config: str | Path | Config | None,
    select: Iterable[str] | None,
    ignore: Iterable[str] | None,
    per_module_ignores: Mapping[str, Iterable[str]] | None,
    thresholds: Mapping[str, Mapping[str, float]] | None,
    fail_on: Severity | None,
) -> Config:
    changes: dict[str, Any] = {
        "select": select,
        "ignore": ignore,
        "per_module_ignores": per_module_ignores,
        "thresholds": thresholds,
        "fail_on": fail_on,
    }
    if isinstance(config, Config):
        return load_config(None, **{**asdict(config), **{k: v for k, v in changes.items() if v is not None}})
    return load_config(config, **changes)


def _with_inline_ignores(config: Config, model: torch.nn.Module) -> Config:
    """A module's `_fanin_ignore` (codes) lists rules that are ignored in it and below."""
    scoped = dict(config.per_module_ignores)
    for name, module in model.named_modules():
        codes = getattr(module, "_fanin_ignore", None)
        if codes:
            scoped[name or "*"] = (codes,) if isinstance(codes, str) else tuple(codes)
    return load_config(None, **{**{f: getattr(config, f) for f in config.__slots__}, "per_module_ignores": scoped})
