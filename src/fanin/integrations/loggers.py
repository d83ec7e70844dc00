"""Log a check or a watched run to TensorBoard, Weights & Biases or MLflow."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any, Protocol

from fanin.checking.report import Report
from fanin.errors import ArgumentError
from fanin.integrations.logged import HEADS, Logged, logged
from fanin.text.files import write_text

if TYPE_CHECKING:
    from fanin.watching.watcher import Watch

__all__ = ["log"]

_PREFIX = "fanin/"


def log(report_or_watch: Report | Watch, to: Any) -> None:
    """Log the steps, one table of layers and the page to a logger that you use.

    A step has at most 12 names, all below `fanin/`: its loss, learning rate, update, distance from init, signal and
    dead share, and three histograms over weights and layers. There is no chart for a parameter. Step 0 has the number
    of findings and the loss before training. Call it once, when the steps that you watch are done.

    W&B shows the page as HTML and MLflow keeps it as an artifact. TensorBoard shows no HTML: it gets the report as
    text, and the page is written as `fanin.html` beside its events, where these are in a folder of this machine; the
    text names the file.

    Args:
        report_or_watch: what `fanin.check` or `fanin.watch` gave.
        to: a `SummaryWriter` of torch.utils.tensorboard or tensorboardX; a run of wandb, or the module `wandb` where
            one is active; a run of mlflow, or the module `mlflow` where one is active.

    Raises:
        ArgumentError: the first argument is no report, or the logger is none of these.

    Example:
        >>> import tempfile, torch, fanin
        >>> from torch.utils.tensorboard import SummaryWriter
        >>> report = fanin.check(torch.nn.Linear(8, 1), torch.randn(4, 8))
        >>> with tempfile.TemporaryDirectory() as folder, SummaryWriter(folder) as writer:
        ...     log(report, to=writer)
    """
    report = getattr(report_or_watch, "report", report_or_watch)
    if not isinstance(report, Report):
        raise ArgumentError(
            f"a {type(report_or_watch).__name__} cannot be logged; give what fanin.check or fanin.watch gave"
        )
    write = _writer_of(to)
    write(logged(report.result))


class _Writer(Protocol):
    def __call__(self, content: Logged, /) -> None: ...


def _writer_of(to: Any) -> _Writer:
    """The function that writes to this logger, found by the names of its type: no library is imported for it."""
    active = _run_of_module(to) if isinstance(to, ModuleType) else to
    for kind in type(active).__mro__:
        for (module, name), make in _WRITERS.items():
            if kind.__name__ == name and f"{kind.__module__}.".startswith(f"{module}."):
                return make(active)
    raise ArgumentError(
        f"a {type(to).__module__}.{type(to).__qualname__} is no logger that fanin knows; give a SummaryWriter of "
        "TensorBoard, a run of wandb or a run of mlflow. report.save and report.to_dict serve all others"
    )


def _run_of_module(module: ModuleType) -> Any:
    """The active run of wandb or mlflow."""
    if module.__name__ not in _ACTIVE:
        return module
    run = _ACTIVE[module.__name__](module)
    if run is None:
        raise ArgumentError(f"no run of {module.__name__} is active; begin one, or give the run itself")
    return run


_ACTIVE: MappingProxyType[str, Callable[[Any], Any]] = MappingProxyType(
    {"wandb": lambda wandb: wandb.run, "mlflow": lambda mlflow: mlflow.active_run()}
)


# ------------------------------------------------------------------ TensorBoard
def _tensorboard(writer: Any) -> _Writer:
    def write(content: Logged) -> None:
        for step in content.steps:
            for name, value in step.scalars.items():
                writer.add_scalar(_PREFIX + name, value, step.step)
            for name, bins in step.histograms.items():
                writer.add_histogram_raw(
                    _PREFIX + name,
                    min=bins.edges[0],
                    max=bins.edges[-1],
                    num=sum(bins.counts),
                    sum=bins.total,
                    sum_squares=bins.squares,
                    bucket_limits=list(bins.edges),
                    bucket_counts=[0, *bins.counts],  # the first bucket ends at the first edge
                    global_step=step.step,
                )
        page = _page_beside(writer, content.page)
        told = f"{content.text}\n\nThe page with all charts: `{page}`\n" if page else content.text
        writer.add_text(_PREFIX + "report", told, 0)  # the layers are a table in it
        writer.flush()

    return write


def _page_beside(writer: Any, page: str) -> Path | None:
    """Where the page was written: beside the events; None where these are not in a folder of this machine."""
    folder = getattr(writer, "log_dir", None) or getattr(writer, "logdir", None)
    if folder is None or not Path(folder).is_dir():
        return None
    place = Path(folder) / "fanin.html"
    write_text(place, page)
    return place


# ------------------------------------------------------------------ Weights & Biases
def _wandb(run: Any) -> _Writer:
    def write(content: Logged) -> None:
        wandb = sys.modules["wandb"]
        # An axis of our own: wandb refuses a step below one that was logged before.
        run.define_metric(f"{_PREFIX}step", hidden=True)
        run.define_metric(f"{_PREFIX}*", step_metric=f"{_PREFIX}step")
        for step in content.steps:
            row: dict[str, Any] = {"step": step.step, **step.scalars}
            for name, bins in step.histograms.items():
                row[name] = wandb.Histogram(np_histogram=(list(bins.counts), list(bins.edges)))
            run.log({_PREFIX + name: value for name, value in row.items()})
        table = wandb.Table(columns=list(HEADS), data=[list(row) for row in content.table])
        run.log({f"{_PREFIX}layers": table, f"{_PREFIX}report": wandb.Html(content.page, inject=False)})
        run.summary[f"{_PREFIX}verdict"] = content.verdict
        for name, value in content.facts.items():
            run.summary[_PREFIX + name] = value

    return write


# ------------------------------------------------------------------ MLflow
def _mlflow(run: Any) -> _Writer:
    def write(content: Logged) -> None:
        mlflow = sys.modules["mlflow"]
        metric, tag = mlflow.entities.Metric, mlflow.entities.RunTag
        client, name, now = mlflow.MlflowClient(), run.info.run_id, int(time.time() * 1000)
        metrics = [
            metric(_PREFIX + key, value, now, step.step)
            for step in content.steps
            for key, value in step.scalars.items()
        ]
        facts = {"verdict": content.verdict, **content.facts}
        client.log_batch(name, metrics=metrics, tags=[tag(_PREFIX + key, value) for key, value in facts.items()])
        table = json.dumps({"columns": HEADS, "data": content.table}, allow_nan=False)
        client.log_text(name, table, f"{_PREFIX}layers.json")
        client.log_text(name, content.page, f"{_PREFIX}report.html")

    return write


_WRITERS: MappingProxyType[tuple[str, str], Callable[[Any], _Writer]] = MappingProxyType(
    {
        ("torch.utils.tensorboard", "SummaryWriter"): _tensorboard,
        ("tensorboardX", "SummaryWriter"): _tensorboard,
        ("wandb", "Run"): _wandb,
        ("mlflow", "Run"): _mlflow,
    }
)
