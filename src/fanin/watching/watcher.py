"""`fanin.watch`: check the first batch, then measure and judge the first steps of training."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import torch

from fanin.checking.report import Report
from fanin.errors import ArgumentError
from fanin.measure.record import LossRecord
from fanin.measure.steps import StepRecord, Watched
from fanin.model.foreign import as_trainable
from fanin.model.given import assert_loss
from fanin.model.wrappers import unwrapped
from fanin.rules.base import Optimizer
from fanin.rules.config import Config, load_config
from fanin.rules.finding import SEVERITIES, Severity
from fanin.rules.result import CheckResult
from fanin.rules.shared.steps import typical
from fanin.text.given import assert_count
from fanin.text.reading import shown
from fanin.watching.entries import Entries, followed, left_out, trained
from fanin.watching.first_batch import FirstBatch
from fanin.watching.gradients import Clearing
from fanin.watching.hooks import LossHook, StepHook, is_compiled, rate_of
from fanin.watching.judging import because, judged, unchecked
from fanin.watching.layers import Layers, Sight, dropout_of, inert, numbers_in
from fanin.watching.live import Screen
from fanin.watching.outputs import FirstOutputs
from fanin.watching.ratios import Ratios
from fanin.watching.schedule import is_measured
from fanin.watching.store import Store

__all__ = ["Watch", "watch"]

_TOGETHER = 10  # steps whose layers are read from their device together,
_NUMBERS = 1 << 20  # unless they hold more numbers


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
    assert_count("steps", steps)
    if fail_on is not None and fail_on not in SEVERITIES:
        raise ArgumentError(f"fail_on is None or one of {', '.join(map(repr, SEVERITIES))}; got {shown(fail_on)}")
    assert_loss(loss)
    as_trainable(model, "watch")
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
            raise ArgumentError(
                f"optimizer is a {type(one).__name__}; give a torch.optim.Optimizer, or several. In "
                "model.fit of Keras, give callbacks=[fanin.integrations.keras.WatchCallback()]"
            )
        found.append(inner)
    if not found:
        raise ArgumentError("optimizer is empty; give a torch.optim.Optimizer")
    return found


class _Look(Protocol):
    """Hooks that are there for measured steps only."""

    def open(self) -> None: ...
    def close(self) -> None: ...


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
        self._last = steps
        self._store = Store(out) if out is not None else None
        self._screen = Screen() if live else None
        compiled = is_compiled(model)
        self._layers = None if compiled else Layers(model)
        self._entries: list[Entries] = []
        self._counts = [0] * len(optimizers)
        self._foreign = False
        self._passes = self._evaluations = 0
        self._dropout = dropout_of(model)
        self._left_out: tuple[str, ...] = ()
        self._outputs: FirstOutputs | None = FirstOutputs()
        self._read: LossRecord | None = None
        self._records: list[StepRecord] = []
        self._unread: list[tuple[StepRecord, dict[int, Sight]]] = []
        self._losses: list[tuple[int, Any]] = []
        self._number, self._told, self._rates, self._peak = 0, 0, 0.0, 0.0
        self._pending: _Pending | None = None
        own = weakref.ref(self)
        self._clearing = None if compiled else Clearing(trained(optimizers[0]))
        self._loss_hook = LossHook(model, own)
        self._looks: list[_Look] = [k for k in (self._loss_hook, self._layers, self._clearing) if k is not None]
        before = [StepHook(optimizer, own, place, before=True) for place, optimizer in enumerate(optimizers)]
        after = [StepHook(optimizer, own, place, before=False) for place, optimizer in enumerate(optimizers)]
        for hook in (*before, *after):
            hook.open()
        self._first_hook = before[0]
        self._finalizer = weakref.finalize(self, _close_all, [*self._looks, *before, *after])
        self._look(1)

    # ------------------------------------------------------------------ what a user calls
    def step(self, loss: Any = None) -> None:
        """Tell the loss of the step that was just made.

        Args:
            loss: a number or a tensor with one; None where it is not known. Nothing is read from its device now.
        """
        self._told += 1
        if loss is not None and (self._pending is not None or self.active):  # the last step ends the watch
            self._note_loss(loss)
        if self._pending is not None:
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
        self._read_layers()
        return Watched(
            optimizer=type(self._optimizers[0]).__name__,
            peak=self._peak,
            weights=tuple(name for entries in self._entries for name in entries.names),
            layers=self._layers.names if self._layers is not None else (),
            steps=tuple(self._records),
            optimizers=len(self._optimizers),
            foreign=self._foreign,
            passes=max(self._passes, 1),
            unstepped=self._told if self._number == 0 else 0,
            loss=self._read,
            left_out=self._left_out,
            dropout=tuple(self._dropout),
            dropped=tuple(self._dropout.values()),
            inert=inert(self._model) if self._evaluations and not self._passes else (),
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
    def _before_step(self, place: int) -> None:
        if place == 0:
            self._settle()
        if self._is_measured(place):
            self._begin()
            self._entries[place].before_step()

    def _after_step(self, place: int) -> None:
        self._counts[place] += 1
        if self._is_measured(place) and self._entries:
            self._entries[place].after_step(self._counts[place])
        if place == 0:
            self._count_step()

    def _is_measured(self, place: int) -> bool:
        """Whether a step of this optimizer belongs to one that is measured: the first counts, others follow or lead."""
        return self._wanted or (place > 0 and is_measured(self._number, self._last))

    def _begin(self) -> None:
        """Follow the weights from where they are before the first step."""
        if not self._entries:
            found = followed(self._model, self._optimizers)
            self._entries = [
                Entries(weights, optimizer, foreign=found.foreign)
                for weights, optimizer in zip(found.of, self._optimizers, strict=True)
            ]
            self._foreign = found.foreign

    def _count_step(self) -> None:
        self._number += 1
        if self._number == 1 and not self._foreign:
            self._left_out = left_out(self._model, self._optimizers)
        rate, peak = rate_of(self._optimizers[0])
        self._peak = max(self._peak, peak)
        self._rates += rate
        if self._wanted:
            seen = self._layers.taken() if self._layers is not None else {}
            kept = self._clearing.taken() if self._clearing is not None else []
            self._pending = _Pending(self._number, rate, self._rates, seen, kept if self._number > 1 else [])
        self._look(self._number + 1)
        if self._number >= self._last:
            self._finalizer()

    def _look(self, number: int) -> None:
        """Put hooks on the model for a step that is measured; take them off for the others."""
        self._wanted = wanted = is_measured(number, self._last)
        if wanted != self._loss_hook.is_open:
            for look in self._looks:
                look.open() if wanted else look.close()
        needed = wanted or self._pending is not None  # what waits is read before the next step
        if needed != self._first_hook.is_open:
            self._first_hook.open() if needed else self._first_hook.close()

    def _see_evaluation(self) -> None:
        """Count a pass in eval mode whose gradients are wanted."""
        self._evaluations += 1

    def _see_pass(self, output: Any, loss: torch.Tensor | None) -> None:
        """Count the pass, look at the first outputs, and keep the loss that the model itself gave."""
        self._passes += self._number == 0 or not self._passes
        if self._outputs is not None and loss is None:
            self._outputs.look(output)
        if loss is not None and self.active:
            self._losses.append((self._number + 1, loss))

    def _note_loss(self, loss: Any) -> None:
        number = self._number if self._pending is not None or self._number else 1
        value = _number_of(loss)
        if not self._losses or self._losses[-1][0] != number:
            self._losses.append((number, value))
        else:
            self._losses[-1] = (number, value)

    def _settle(self, *, judge: bool = True) -> None:
        """Turn the step that waits into a record: the one place where values are read from the device."""
        pending, self._pending = self._pending, None
        if pending is None:
            return
        found = [entries.ratios() for entries in self._entries] or [Ratios()]
        ratios = sum(found[1:], found[0])
        loss, bad = self._mean_loss(pending.number)
        if self._outputs is not None:  # the first step
            self._read = self._outputs.record(loss if self._passes == 1 else None)
            self._outputs = None
        record = StepRecord(
            step=pending.number,
            effective=pending.rates / self._peak if self._peak > 0 else 0.0,
            rate=pending.rate,
            loss=loss,
            updates=ratios.updates,
            distances=ratios.distances,
            outside=ratios.outside,
            kept=bool(pending.kept) and all(map(bool, pending.kept)),
            agreement=typical(ratios.turns),
            repeated=ratios.repeated,
            restored=ratios.restored,
            decay=typical(ratios.decays),
            nonfinite="loss" if bad else ratios.lost,
        )
        self._unread.append((record, pending.seen))
        self._tell(judge=judge)

    def _mean_loss(self, number: int) -> tuple[float | None, bool]:
        """(mean of the losses up to this step since the last record, whether one of them is not finite)."""
        values = [float(value) for step, value in self._losses if step <= number]
        self._losses = [entry for entry in self._losses if entry[0] > number]
        finite = [v for v in values if abs(v) < float("inf")]
        return (sum(finite) / len(finite) if finite else None), len(finite) < len(values)

    def _read_layers(self) -> None:
        """Complete the records by what the layers read: for several steps at once, which takes less time."""
        waiting, self._unread = self._unread, []
        if self._layers is None:
            self._records += [record for record, _ in waiting]
            return
        values = self._layers.read([seen for _, seen in waiting])
        for (record, _), (activations, dead) in zip(waiting, values, strict=True):
            self._records.append(replace(record, activations=activations, dead=dead))

    def _tell(self, *, judge: bool) -> None:
        told = self._store is not None or self._screen is not None or self._fail_on is not None
        if told or len(self._unread) >= _TOGETHER or sum(numbers_in(seen) for _, seen in self._unread) > _NUMBERS:
            self._read_layers()
        if self._store is not None:
            self._store.write(self._first_result(), self.watched, self._records[-1], self._known_optimizer())
        if self._screen is not None:
            self._screen.add(self._records[-1])
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


def _number_of(loss: Any) -> Any:
    """The loss as one number, still on its device where it is a tensor.

    Raises:
        ArgumentError: it is no number.
    """
    if isinstance(loss, torch.Tensor) and loss.numel():
        if loss.numel() > 1 or not loss.is_cpu:
            return loss.detach().float().mean()
        loss = loss.item()
    try:
        return float(loss)
    except (TypeError, ValueError):
        raise ArgumentError(f"loss is {shown(loss)}; give a number or a tensor with one, or leave it out") from None


class _Pending:
    """A measured step whose values are still on their device."""

    def __init__(self, number: int, rate: float, rates: float, seen: dict[int, Sight], kept: Iterable[Any]) -> None:
        self.number, self.rate, self.rates, self.seen, self.kept = number, rate, rates, seen, list(kept)


def _close_all(looks: Iterable[_Look]) -> None:
    for look in looks:
        look.close()
