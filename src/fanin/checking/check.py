"""`fanin.check`: measure the first step of a network, say what is wrong, why, and what to do."""

from __future__ import annotations

import inspect
import json
import platform
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fanin._version import __version__
from fanin.errors import ArgumentError, CheckFailedError, MissingDependencyError
from fanin.rules.config import Config, load_config
from fanin.rules.finding import SEVERITIES, Finding, Severity
from fanin.rules.result import CheckResult, Header

if TYPE_CHECKING:
    import torch

    from fanin.measure.record import Measurements

__all__ = ["Report", "check", "read_baseline"]

_ADAPTIVE = ("adam", "adagrad", "rmsprop", "lion", "adafactor", "lamb")


class Report:
    """What `fanin.check` found.

    Attributes:
        result: all data behind the report.

    Example:
        >>> import torch, fanin
        >>> model = torch.nn.Sequential(torch.nn.Linear(20, 64), torch.nn.ReLU(), torch.nn.Linear(64, 3))
        >>> report = fanin.check(model, torch.randn(32, 20), targets=torch.randint(0, 3, (32,)))
        >>> report.ok, report.findings
        (True, ())
        >>> report
        <Report of Sequential: healthy: ... checks, ... not run>
    """

    __slots__ = ("result",)

    def __init__(self, result: CheckResult) -> None:
        self.result = result

    @property
    def ok(self) -> bool:
        """At least one rule ran, and no finding is at or above the severity that fails."""
        return self.result.ok

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Root causes, worst first."""
        return self.result.findings

    @property
    def consequences(self) -> tuple[Finding, ...]:
        """Findings that follow from one of those."""
        return self.result.consequences

    @property
    def measurements(self) -> Measurements:
        """Everything that was measured."""
        return self.result.measurements

    @property
    def verdict(self) -> str:
        """One sentence."""
        return self.result.verdict

    def show(self) -> None:
        """Print the report."""
        from fanin.report import terminal

        terminal.show(self.result)

    def save(self, path: str | Path) -> Path:
        """Write the report; the suffix says how (.html, .json, .sarif, .xml for JUnit, .md, .txt).

        Returns:
            The path written.

        Raises:
            ArgumentError: no format has this suffix.
        """
        from fanin.report.formats import save

        return save(self.result, path)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return self.result.to_dict()

    def raise_for_findings(self, fail_on: Severity | None = None) -> None:
        """Raise where anything was found at or above a severity; for a test suite.

        Args:
            fail_on: "note", "warning" or "error"; the severity given to `check` where None.

        Raises:
            CheckFailedError: with the whole report as its message; also where no rule ran.
        """
        level = SEVERITIES.index(fail_on or self.result.fail_on)
        found = (*self.findings, *self.consequences)
        if not self.result.checked or any(SEVERITIES.index(f.severity) >= level for f in found):
            from fanin.report import terminal

            raise CheckFailedError(f"{self.verdict}\n{terminal.to_text(self.result)}")

    def __str__(self) -> str:
        from fanin.report import terminal

        return terminal.to_text(self.result)

    def __repr__(self) -> str:
        return f"<Report of {self.result.header.model_class}: {self.verdict}>"

    def _repr_html_(self) -> str:
        from fanin.report.formats import notebook

        return notebook(self.result)


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
    select: Iterable[str] | None = None,
    ignore: Iterable[str] | None = None,
    per_module_ignores: Mapping[str, Iterable[str]] | None = None,
    thresholds: Mapping[str, Mapping[str, float]] | None = None,
    fail_on: Severity | None = None,
    config: str | Path | Config | None = None,
    baseline: str | Path | None = None,
    target: str = "",
) -> Report:
    """Run one forward and backward, measure everything on the way, and judge it.

    The model is left bit for bit as found.

    Args:
        model: a module, or a factory that gives one (or `(model, inputs)`, `(model, inputs, targets or loss)`); with
            `seeds` above 1 a factory is called once per seed, so that findings say in how many draws they hold.
        inputs: a tensor, a tuple of positional arguments, or a dict of keyword arguments.
        targets: class indices (cross-entropy) or values (squared error), or the second argument of `loss`.
        loss: a callable of the model's output, or of (output, targets). With neither loss nor targets the output's own
            `.loss` is used, and else a random unit cotangent on the outputs.
        optimizer: what will train the model; adds the rules on step size and eps.
        seed: for dropout and the like; all generators are put back afterwards.
        seeds: how many draws to check.
        training: run in this mode instead of the model's own.
        predict: capture the graph and put what theory expects of every operation, forward and backward, beside what
            was measured. None: where the forward makes at most 2,000 operations (it takes about a millisecond each).
        select: codes, prefixes or names of the rules to run.
        ignore: of the rules not to run.
        per_module_ignores: glob over module paths -> codes to ignore there.
        thresholds: code -> threshold -> value.
        fail_on: severity from which the report is not ok ("warning").
        config: a pyproject.toml (or folder) to read [tool.fanin] from, or a `Config`.
        baseline: a JSON report whose findings are known and left out.
        target: what the command line was given, for the header.

    Returns:
        The report.

    Raises:
        ArgumentError: something that cannot be checked.
        CaptureError: the model or the loss raised.
        MissingDependencyError: torch is not installed.
    """
    settings = _config(config, select, ignore, per_module_ignores, thresholds, fail_on)
    if seeds < 1:
        raise ArgumentError(f"seeds is {seeds}; at least one is needed")
    known = read_baseline(baseline) if baseline is not None else frozenset[str]()
    jobs = (_job(model, inputs, targets, loss, n) for n in range(seed, seed + seeds))
    options = {"training": training, "predict": predict}
    return Report(_judged(jobs, range(seed, seed + seeds), options, settings, _optimizer(optimizer), known, target))


def _judged(
    jobs: Iterable[dict[str, Any]],
    seeds: range,
    options: dict[str, Any],
    config: Config,
    optimizer: dict[str, Any],
    known: frozenset[str],
    target: str,
) -> CheckResult:
    """Measure and judge one job a seed; measurements, header and inline ignores are those of the first."""
    from fanin.measure.run import Task, measure
    from fanin.model.eager import eager_module
    from fanin.rules.engine import judge_all, result_of

    first: tuple[Header, Measurements] | None = None
    judgements = []
    for seed, job in zip(seeds, jobs, strict=True):
        found, seconds = measure(Task(**job, seed=seed, **options))
        if first is None:
            module = eager_module(job["model"])
            config = _with_inline_ignores(config, module)
            first = _header(module, job["inputs"], found, seconds, seeds, target), found
            options = {**options, "predict": False}
        judgements.append(judge_all(found, config, optimizer))
    if first is None:
        raise ArgumentError("there is nothing to check: no seeds")
    return result_of(*first, judgements, config, known)


def read_baseline(path: str | Path) -> frozenset[str]:
    """Fingerprints of the findings in a JSON report.

    Raises:
        ArgumentError: the file is no such report.
    """
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
        findings = [*document["findings"], *document["ignored"]]
        return frozenset(f"{f['code']}:{f['pattern'] or (f['paths'] or [''])[0]}" for f in findings)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArgumentError(
            f"{path} cannot be used as a baseline ({type(error).__name__}: {error}). It must be a report saved as "
            "JSON: report.save('baseline.json')."
        ) from error


def _config(
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
        from dataclasses import asdict

        return load_config(None, **{**asdict(config), **{k: v for k, v in changes.items() if v is not None}})
    return load_config(config, **changes)


def _job(model: Any, inputs: Any, targets: Any, loss: Any, seed: int) -> dict[str, Any]:
    """Model, inputs, targets and loss; a factory is called from the seed, with the generators put back."""
    try:
        import torch
    except ImportError as error:
        raise MissingDependencyError.of("torch", extra="torch", needed_for="fanin.check") from error

    if not isinstance(model, torch.nn.Module) and callable(model):
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            made = model()
        model, *rest = made if isinstance(made, tuple) else (made,)
        if rest and inputs is None:
            inputs, rest = rest[0], rest[1:]
        for extra in rest:
            if callable(extra) and loss is None:
                loss = extra
            elif isinstance(extra, torch.Tensor) and targets is None:
                targets = extra
    if inputs is None:
        raise ArgumentError(
            "inputs is missing: give a tensor, a tuple of positional arguments or a dict of keyword arguments."
        )
    return {"model": model, "inputs": inputs, "targets": targets, "loss": loss}


def _optimizer(optimizer: Any) -> dict[str, Any]:
    if optimizer is None:
        return {}
    groups = getattr(optimizer, "param_groups", None)
    if not groups:
        raise ArgumentError(
            f"optimizer is a {type(optimizer).__name__} without param_groups; give a torch.optim.Optimizer."
        )
    name = type(optimizer).__name__
    eps = groups[0].get("eps")
    return {
        "name": name,
        "lr": max(float(g.get("lr", 0.0)) for g in groups),
        "eps": float(eps) if isinstance(eps, float) else None,
        "adaptive": any(word in name.lower() for word in _ADAPTIVE),
    }


def _with_inline_ignores(config: Config, model: torch.nn.Module) -> Config:
    """A module's `_fanin_ignore` (codes) keeps the rules quiet in it and below."""
    scoped = dict(config.per_module_ignores)
    for name, module in model.named_modules():
        codes = getattr(module, "_fanin_ignore", None)
        if codes:
            scoped[name or "*"] = (codes,) if isinstance(codes, str) else tuple(codes)
    return load_config(None, **{**{f: getattr(config, f) for f in config.__slots__}, "per_module_ignores": scoped})


def _header(
    model: torch.nn.Module, inputs: Any, found: Measurements, seconds: Mapping[str, float], seeds: range, target: str
) -> Header:
    import torch

    parameters = list(model.parameters())
    tensors = [*parameters, *model.buffers()]
    dtypes = [str(p.dtype).removeprefix("torch.") for p in parameters]
    return Header(
        model_class=type(model).__name__,
        num_parameters=sum(p.numel() for p in parameters),
        num_trainable=sum(p.numel() for p in parameters if p.requires_grad),
        num_modules=sum(1 for _ in model.modules()),
        batch=", ".join(f"{i.name} {list(i.shape)} {i.dtype}" for i in found.inputs) or "no tensor",
        dtype=max(set(dtypes), key=dtypes.count) if dtypes else "none",
        device=str(tensors[0].device) if tensors else "cpu",
        training=found.training,
        seeds=tuple(seeds),
        seconds=dict(seconds),
        versions={"fanin": __version__, "torch": torch.__version__, "python": platform.python_version()},
        source_lines=_source_lines(model),
        target=target,
    )


def _source_lines(model: torch.nn.Module) -> dict[str, tuple[str, int]]:
    """Module path -> (file, line) of its class, for classes that are not a library's."""
    found: dict[str, tuple[str, int]] = {}
    by_class: dict[type, tuple[str, int] | None] = {}
    for name, module in model.named_modules():
        kind = type(module)
        if kind not in by_class:
            by_class[kind] = _place(kind)
        place = by_class[kind]
        if place is not None:
            found[name] = place
    return found


def _place(kind: type) -> tuple[str, int] | None:
    try:
        file = inspect.getsourcefile(kind)
        if file is None or "site-packages" in file or not Path(file).is_file():
            return None
        return file, inspect.getsourcelines(kind)[1]
    except (OSError, TypeError):
        return None
