"""What an output should measure without its bias: the plan's prediction at that use, or what the caller asks for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np

from fanin.calibration.subject import Subject
from fanin.errors import ArgumentError
from fanin.graph.roles.data import Part
from fanin.planning.data import PlanData
from fanin.streams import key as stream_key
from fanin.text.paths import matches

__all__ = ["Target", "TargetOption", "Targets", "read_target"]

TargetOption: TypeAlias = "Literal['plan', 'unit'] | float | Mapping[str, float]"

_BATCH_SE = 0.02  # of ln(rms), from the batch: the largest seen over six batches is 0.03, the median 0.005
_MOST_DRAWN = 1 << 22  # entries of a law that are drawn to see how its parts differ
_ALIKE = 0.05  # relative difference of two parts that a draw may have by chance


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What one output should measure.

    Attributes:
        rms: root mean square without the bias; None where unknown.
        se: standard error of its natural logarithm.
        why: why it is unknown.
        normed: only norms read the output, so its size is lost.
    """

    rms: float | None
    se: float = _BATCH_SE
    why: str = ""
    normed: bool = False


def read_target(target: TargetOption) -> None:
    """Check what the caller asks for.

    Raises:
        ArgumentError: neither "plan", "unit", a positive number, nor a mapping of globs to positive numbers.
    """
    numbers = list(target.values()) if isinstance(target, Mapping) else [target]
    if target in ("plan", "unit") if isinstance(target, str) else numbers and all(map(_is_size, numbers)):
        return
    raise ArgumentError(
        "target must be 'plan', 'unit', a number above 0, or a mapping of globs on names to such numbers; got "
        f"{target!r}"
    )


def _is_size(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0.0 < value < math.inf


@dataclass(kw_only=True)
class Targets:
    """The targets of a run.

    Attributes:
        plan: where predictions come from.
        wanted: what the caller asks for.
    """

    plan: PlanData
    wanted: TargetOption = "plan"
    _shares: dict[tuple[str, Part], float] = field(default_factory=dict, init=False)

    def of(self, subject: Subject, place: int | None, part: Part | None, added: float) -> Target:
        """The target of one use.

        Args:
            subject: the weight.
            place: which use of the captured pass it is; None where it is none.
            part: which of its parts; None for all of it.
            added: mean square of what the operation adds to the product, as the plan has it.
        """
        own = self._asked(subject)
        if own is not None:
            explicit = isinstance(self.wanted, Mapping)
            return Target(rms=own, normed=not explicit and subject.is_normed(place))
        if place is None:
            return Target(rms=None, why="the captured forward pass has no such use: it leads to no output")
        rms, se = _at(subject.assignment.predicted_rms, place), _at(subject.assignment.predicted_se, place)
        if rms is None:
            return Target(rms=None, why="the plan predicts no size here", normed=subject.is_normed(place))
        square = rms**2 - added
        if square < 0.0:
            return Target(rms=None, why="the plan predicts an output smaller than its bias", normed=False)
        share = 1.0 if part is None else self._share(subject, part)
        return Target(
            rms=math.sqrt(square) * share, se=math.hypot(_BATCH_SE, se or 0.0), normed=subject.is_normed(place)
        )

    def _asked(self, subject: Subject) -> float | None:
        """The number that the caller gave for a weight; None where the plan decides."""
        if isinstance(self.wanted, str):
            return 1.0 if self.wanted == "unit" else None
        if not isinstance(self.wanted, Mapping):
            return float(self.wanted)
        names = (*subject.slot.names, subject.slot.through)
        return next((float(v) for g, v in self.wanted.items() if any(matches(n, g) for n in names)), None)

    def _share(self, subject: Subject, part: Part) -> float:
        """Root mean square of the law in a part over that of the whole."""
        key = (subject.name, part)
        if key not in self._shares:
            self._shares[key] = _share(self.plan, subject, part)
        return self._shares[key]


def _at(numbers: tuple[float | None, ...], place: int) -> float | None:
    return numbers[place] if place < len(numbers) else None


def _share(plan: PlanData, subject: Subject, part: Part) -> float:
    a = subject.assignment
    law = a.initializer
    if law is None or a.layout is None or math.prod(a.shape) > _MOST_DRAWN or law.draw(a.shape, a.layout) is not None:
        return 1.0
    values = law.sample(a.shape, key=stream_key(plan.seed, a.key), layout=a.layout)
    inside = np.take(values, range(part.start, part.start + part.size), axis=a.layout.out_axes[0])
    sizes = [math.sqrt(float(np.mean(np.square(v, dtype=np.float64)))) for v in (inside, values)]
    share = sizes[0] / sizes[1] if sizes[1] > 0.0 else 1.0
    return 1.0 if abs(share - 1.0) < _ALIKE else share
