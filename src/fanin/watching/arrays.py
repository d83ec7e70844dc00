"""Watch a run whose weights are arrays of any library: somebody tells what they are before and after a step."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fanin.checking.report import Report
from fanin.measure.steps import StepRecord, Watched
from fanin.rules.base import Optimizer
from fanin.rules.config import Config
from fanin.rules.finding import Severity
from fanin.rules.result import CheckResult
from fanin.watching.judging import judged
from fanin.watching.live import Screen
from fanin.watching.schedule import is_measured
from fanin.watching.sizes import size_now, size_of_start
from fanin.watching.store import Store

__all__ = ["ArrayWatch", "Followed"]

_Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Followed:
    """A weight that is followed.

    Attributes:
        name: under which it is shown.
        fan_in: a matrix that starts at zero is measured relative to 1 / sqrt(fan_in).
    """

    name: str
    fan_in: int


class ArrayWatch:
    """The first steps of a run, told by `before` and `after`.

    Args:
        weights: what is followed.
        entries: gives the same entries of each weight, at most 1,024 of each; called at measured steps alone.
        rate: gives the learning rate of a step; the first one is 1.
        optimizer: what trains them.
        steps: how many steps to watch.
        out: a file (JSON Lines) that grows by a line for each measured step.
        live: show each measured step on standard error.
        fail_on: severity of a finding that stops training by `CheckFailedError`.
        config: which rules judge the run.
        first: gives the check of the first batch as it is then.
    """

    def __init__(
        self,
        weights: Sequence[Followed],
        entries: Callable[[], Sequence[npt.ArrayLike]],
        rate: Callable[[int], float],
        optimizer: Optimizer,
        *,
        steps: int,
        config: Config,
        first: Callable[[], CheckResult],
        out: str | Path | None = None,
        live: bool = False,
        fail_on: Severity | None = None,
    ) -> None:
        self._weights, self._entries, self._rate, self._optimizer = tuple(weights), entries, rate, optimizer
        self._last = steps
        self._store = Store(out) if out is not None else None
        self._screen = Screen() if live else None
        self._first, self._config, self._fail_on = first, config, fail_on
        self._start = self._read()
        self._before: list[_Array] | None = None
        self._records: list[StepRecord] = []
        self._losses: list[float] = []
        self._number, self._rates, self._peak = 0, 0.0, max(optimizer.lr, optimizer.peak or 0.0)

    @property
    def active(self) -> bool:
        """Whether steps are still measured."""
        return self._number < self._last

    @property
    def watched(self) -> Watched:
        """What was measured so far."""
        names = tuple(w.name for w in self._weights)
        return Watched(optimizer=self._optimizer.name, peak=self._peak, weights=names, steps=tuple(self._records))

    @property
    def report(self) -> Report:
        """The check of the first batch and the findings of the steps so far."""
        return Report(judged(self._first(), self.watched, self._config, self._optimizer))

    def before(self) -> None:
        """A step is about to be made."""
        self._before = self._read() if is_measured(self._number + 1, self._last) else None

    def after(self, loss: float | None) -> None:
        """A step was made.

        Args:
            loss: of its batch; None where it is not known.

        Raises:
            CheckFailedError: something was found at or above `fail_on`.
        """
        self._number += 1
        now = None if self._before is None else self._read()  # first: it brings what is read up to date
        rate = self._rate(self._number)
        self._rates, self._peak = self._rates + rate, max(self._peak, rate)
        self._losses += [] if loss is None else [loss]
        if self._before is None or now is None:
            return
        record = self._record(now, self._before, rate)
        self._records.append(record)
        self._tell(record)

    def close(self) -> None:
        """End the watch; the report stays."""
        self._number = max(self._number, self._last)
        if self._screen is not None:
            self._screen.close()

    def _read(self) -> list[_Array]:
        return [np.array(values, dtype=np.float64) for values in self._entries()]

    def _record(self, now: Sequence[_Array], before: Sequence[_Array], rate: float) -> StepRecord:
        finite = [v for v in self._losses if math.isfinite(v)]
        bad = [w.name for w, values in zip(self._weights, now, strict=True) if not np.isfinite(values).all()]
        lost = "loss" if len(finite) < len(self._losses) else next(iter(bad), "")
        self._losses, losses = [], finite
        planned = [1.0 / math.sqrt(max(w.fan_in, 1)) for w in self._weights]
        sizes = [size_now(_rms(v), p) for v, p in zip(before, planned, strict=True)]
        starts = [size_of_start(_rms(v), p) for v, p in zip(self._start, planned, strict=True)]
        return StepRecord(
            step=self._number,
            effective=self._rates / self._peak if self._peak > 0 else 0.0,
            rate=rate,
            loss=sum(losses) / len(losses) if losses else None,
            updates=tuple(_ratio(a - b, size) for a, b, size in zip(now, before, sizes, strict=True)),
            distances=tuple(_ratio(a - b, size) for a, b, size in zip(now, self._start, starts, strict=True)),
            nonfinite=lost,
        )

    def _tell(self, record: StepRecord) -> None:
        if self._store is not None:
            self._store.write(self._first(), replace(self.watched, steps=()), record, self._optimizer)
        if self._screen is not None:
            self._screen.add(record)
        if self._fail_on is not None:
            self.report.raise_for_findings(self._fail_on)


def _rms(values: _Array) -> float:
    with np.errstate(over="ignore", invalid="ignore"):
        return float(np.sqrt(np.mean(np.square(values)))) if values.size else math.nan


def _ratio(change: _Array, size: float) -> float | None:
    value = _rms(change) / size
    return value if math.isfinite(value) else None
