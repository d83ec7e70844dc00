"""`fanin.watch`: check the first batch, then measure and judge the first steps of training."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from fanin.checking.report import Report
from fanin.errors import ArgumentError
from fanin.measure.steps import StepRecord, Watched
from fanin.model.untouched import working
from fanin.model.wrappers import unwrapped, wraps
from fanin.rules.base import Optimizer
from fanin.rules.config import Config, load_config
from fanin.rules.finding import Severity
from fanin.rules.result import CheckResult
from fanin.watching.entries import Entries, Moves, followed
from fanin.watching.first_batch import FirstBatch
from fanin.watching.judging import because, judged, unchecked
from fanin.watching.layers import Layers
from fanin.watching.live import Screen
from fanin.watching.schedule import measured_steps
from fanin.watching.store import Store

__all__ = ["Watch", "watch"]


def watch(
    model: torch.nn.Module,
    optimizer: Any,
    *,
    steps: int = 100,
    out: str | Path | None = None,
    loss: Callable[..., Any] | None = None,
    check: bool = True,
    live: bool = False,
    fail_on: Severity | None = None,
    config: str | Path | Config | None = None,
) -> Watch:
    """Watch the first steps of a training run; training goes on to the bit as without it.

    The first forward in training mode is checked by `fanin.check` with its very arguments. After that the optimizer's
    steps are measured: every step up to 10, every 5th up to 50, every 10th up to `steps`. Keep what is returned: the
    hooks are removed after the last step, at the end of the `with` block, by `close`, and when the object is gone.

    Args:
        model: what is trained.
        optimizer: a torch optimizer whose steps count, or several that step in turn; the first one counts.
        steps: how many steps to watch.
        out: a file (JSON Lines) that grows by a line for each measured step; `fanin report FILE` draws it.
        loss: a callable of the model's output, for the check of the first batch. Without it the output's own `.loss` is
            used, and else a random cotangent.
        check: whether to check the first batch.
        live: show each measured step on standard error.
        fail_on: severity of a finding that stops training by `CheckFailedError`; None never stops it.
        config: a pyproject.toml (or folder) to read [tool.fanin] from, or a `Config`.

    Returns:
        The watch, to use with `with` or to keep.

    Raises:
        ArgumentError: an argument that cannot be used.
        OutputError: `out` cannot be written.

    Example:
        >>> import torch, fanin
        >>> model = torch.nn.Linear(8, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> with fanin.watch(model, optimizer, steps=20) as watched:
        ...     for _ in range(20):
        ...         loss = model(torch.randn(16, 8)).square().mean()
        ...         optimizer.zero_grad()
        ...         loss.backward()
        ...         _ = optimizer.step()
        ...         watched.step(loss=loss)
        >>> watched.report.result.measurements.watched.steps[-1].step
        20
    """
    settings = config if isinstance(config, Config) else load_config(config)
    if steps < 1:
        raise ArgumentError(f"steps is {steps}; at least one is needed")
    optimizers = _optimizers(optimizer)
    first = FirstBatch(model, optimizers[0], loss, config=settings, fail_on=fail_on) if check else None
    return Watch(model, optimizers, first, steps=steps, out=out, live=live, fail_on=fail_on, config=settings)


def _optimizers(given: Any) -> list[Any]:
    """Torch optimizers, out of the wrappers that Accelerate puts around them.

    Raises:
        ArgumentError: one of them is no torch optimizer.
    """
    found = []
    for one in given if isinstance(given, list | tuple) else [given]:
        inner = one
        while isinstance(inside := getattr(inner, "optimizer", None), torch.optim.Optimizer):
            inner = inside
        if not isinstance(inner, torch.optim.Optimizer):
            raise ArgumentError(f"optimizer is a {type(one).__name__}; give a torch.optim.Optimizer, or several")
        found.append(inner)
    if not found:
        raise ArgumentError("optimizer is empty; give a torch.optim.Optimizer")
    return found


class Watch:
    """A training run that is watched, and its report.

    Attributes:
        first: the check of the first batch; None where none was asked for.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        optimizers: list[Any],
        first: FirstBatch | None,
        *,
        steps: int,
        out: str | Path | None,
        live: bool,
        fail_on: Severity | None,
        config: Config,
    ) -> None:
        self.first = first
        self._plain = unchecked(unwrapped(model), config)
        self._model, self._optimizers, self._config, self._fail_on = model, optimizers, config, fail_on
        self._measured, self._last = measured_steps(steps), steps
        self._store = Store(out) if out is not None else None
        self._screen = Screen() if live else None
        self._layers = None if _compiled(model) else Layers(model)
        self._entries: Entries | None = None
        self._records: list[StepRecord] = []
        self._losses: list[tuple[int, Any]] = []
        self._number, self._rates, self._effective, self._peak = 0, 0.0, 0.0, 0.0
        self._pending: _Pending | None = None
        own = weakref.ref(self)
        self._loss_hook = _LossHook(model, own)
        handles = [
            optimizers[0].register_step_pre_hook(_Hook(own, "_before_step")),
            optimizers[0].register_step_post_hook(_Hook(own, "_after_step")),
        ]
        self._finalizer = weakref.finalize(self, _remove_all, handles, self._layers, self._loss_hook)
        self._look(1)

    # ------------------------------------------------------------------ what a user calls
    def step(self, loss: Any = None) -> None:
        """Tell the loss of the step that was just made.

        Args:
            loss: a number or a tensor with one; None where it is not known. Nothing is read from its device now.
        """
        if loss is not None and (self.active or self._pending is not None):  # the last step ends the watch
            self._note_loss(loss)
        self._settle()

    def close(self) -> None:
        """End the watch: remove all hooks. The report stays."""
        self._settle(judge=False)
        self._finalizer()
        if self.first is not None:
            self.first.remove()
        if self._screen is not None:
            self._screen.close()

    @property
    def active(self) -> bool:
        """Whether steps are still measured."""
        return self._finalizer.alive

    @property
    def watched(self) -> Watched:
        """What was measured so far."""
        return Watched(
            optimizer=type(self._optimizers[0]).__name__,
            peak=self._peak,
            weights=self._entries.names if self._entries is not None else (),
            layers=self._layers.names if self._layers is not None else (),
            steps=tuple(self._records),
        )

    @property
    def report(self) -> Report:
        """The check of the first batch and the findings of the steps so far."""
        self._settle(judge=False)
        return Report(self._judged())

    def raise_for_findings(self, fail_on: Severity | None = None) -> None:
        """Raise if anything was found at or above a severity.

        Args:
            fail_on: "note", "warning" or "error"; that of the settings where None.

        Raises:
            CheckFailedError: with the whole report as its message.
        """
        self.report.raise_for_findings(fail_on)

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Watch of {self._plain.header.model_class}: {self._number} of {self._last} steps>"

    # ------------------------------------------------------------------ what the hooks call
    def _before_step(self) -> None:
        self._settle()
        if self._number + 1 in self._measured:
            weights = followed(self._model, self._optimizers)
            if self._entries is None or (not self._records and not self._entries.matches(weights)):
                self._entries = Entries(weights)
            self._entries.before_step()

    def _after_step(self) -> None:
        self._number += 1
        rate, peak = _rate(self._optimizers[0])
        self._peak = max(self._peak, peak)
        self._rates += rate
        if self._number in self._measured and self._entries is not None:
            seen = self._layers.taken() if self._layers is not None else {}
            self._pending = _Pending(self._number, rate, self._rates, self._entries.after_step(), seen)
        self._look(self._number + 1)
        if self._number >= self._last:
            self._finalizer()

    def _look(self, number: int) -> None:
        """Put hooks on the model for the forwards of a step that is measured; take them off for the others."""
        wanted = number in self._measured
        if wanted != self._loss_hook.is_open:
            for hooks in (self._loss_hook, *(() if self._layers is None else (self._layers,))):
                hooks.open() if wanted else hooks.close()

    def _note_loss(self, loss: Any) -> None:
        number = self._number if self._pending is not None or self._number else 1
        value = loss.detach().float().mean() if isinstance(loss, torch.Tensor) else float(loss)
        if not self._losses or self._losses[-1][0] != number:
            self._losses.append((number, value))
        else:
            self._losses[-1] = (number, value)

    def _settle(self, *, judge: bool = True) -> None:
        """Turn the step that waits into a record: the one place where values are read from the device."""
        pending, self._pending = self._pending, None
        if pending is None or self._entries is None:
            return
        updates, distances, lost = self._entries.ratios(pending.moves)
        activations, dead = self._layers.read(pending.layers) if self._layers is not None else ((), ())
        loss, bad = self._mean_loss(pending.number)
        record = StepRecord(
            step=pending.number,
            effective=pending.rates / self._peak if self._peak > 0 else 0.0,
            rate=pending.rate,
            loss=loss,
            updates=updates,
            distances=distances,
            activations=activations,
            dead=dead,
            nonfinite="loss" if bad else lost,
        )
        self._records.append(record)
        self._tell(record, judge=judge)

    def _mean_loss(self, number: int) -> tuple[float | None, bool]:
        """(mean of the losses up to this step since the last record, whether one of them is not finite)."""
        values = [float(value) for step, value in self._losses if step <= number]
        self._losses = [entry for entry in self._losses if entry[0] > number]
        finite = [v for v in values if abs(v) < float("inf")]
        return (sum(finite) / len(finite) if finite else None), len(finite) < len(values)

    def _tell(self, record: StepRecord, *, judge: bool) -> None:
        if self._store is not None:
            self._store.write(self._first_result(), self.watched, record, self._known_optimizer())
        if self._screen is not None:
            self._screen.add(record)
        if judge and self._fail_on is not None:
            Report(self._judged()).raise_for_findings(self._fail_on)

    def _first_result(self) -> CheckResult:
        if self.first is not None and self.first.report is not None:
            return self.first.report.result
        reason = (
            "it was not asked for" if self.first is None else self.first.reason or "no forward in training mode ran"
        )
        return because(self._plain, reason)

    def _known_optimizer(self) -> Optimizer | None:
        return self.first.optimizer if self.first is not None else None

    def _judged(self) -> CheckResult:
        return judged(self._first_result(), self.watched, self._config, self._known_optimizer())


class _Pending:
    """A measured step whose values are still on their device."""

    def __init__(self, number: int, rate: float, rates: float, moves: Moves, layers: dict[int, torch.Tensor]) -> None:
        self.number, self.rate, self.rates, self.moves, self.layers = number, rate, rates, moves, layers


class _Hook:
    """A hook of an optimizer that calls a method of a watch while there is one."""

    def __init__(self, owner: weakref.ref[Watch], method: str) -> None:
        self._owner, self._method = owner, method

    def __call__(self, *_: Any) -> None:
        watch = self._owner()
        if watch is not None:
            getattr(watch, self._method)()


class _LossHook:
    """A forward hook that keeps the loss where the model's own output holds it."""

    def __init__(self, model: torch.nn.Module, owner: weakref.ref[Watch]) -> None:
        self._model, self._owner = weakref.ref(model), owner
        self._handle: Any = None

    @property
    def is_open(self) -> bool:
        return self._handle is not None

    def open(self) -> None:
        model = self._model()
        if model is not None:
            self._handle = model.register_forward_hook(self)

    def close(self) -> None:
        if self._handle is not None:
            self._handle.remove()
            self._handle = None

    def __call__(self, module: torch.nn.Module, args: Any, output: Any) -> None:
        if torch.compiler.is_compiling() or working() or not (module.training and torch.is_grad_enabled()):
            return
        watch, loss = self._owner(), _loss_in(output)
        if watch is not None and loss is not None and watch.active:
            watch._losses.append((watch._number + 1, loss.detach().float()))


def _loss_in(output: Any) -> torch.Tensor | None:
    """The scalar that an output is, or that it holds as its `loss`."""
    found = output.get("loss") if isinstance(output, dict) else getattr(output, "loss", output)
    return found if isinstance(found, torch.Tensor) and found.numel() == 1 and found.requires_grad else None


def _rate(optimizer: Any) -> tuple[float, float]:
    """(the largest rate of the groups now, the largest that they name)."""
    rates = [float(g["lr"]) for g in optimizer.param_groups if "lr" in g]
    peaks = [float(g[k]) for g in optimizer.param_groups for k in ("initial_lr", "max_lr") if k in g]
    return max(rates, default=0.0), max((*rates, *peaks), default=0.0)


def _compiled(model: torch.nn.Module) -> bool:
    """Whether torch.compile runs the model: hooks on its layers would break its graphs."""
    return any(wraps(m) == "_orig_mod" or getattr(m, "_compiled_call_impl", None) is not None for m in model.modules())


def _remove_all(handles: Iterable[Any], layers: Layers | None, loss: _LossHook) -> None:
    for handle in handles:
        handle.remove()
    loss.close()
    if layers is not None:
        layers.close()
