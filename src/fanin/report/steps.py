"""The measured steps of a run: rows of a table, and series to draw over the steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import median

from fanin.measure.steps import StepRecord, Watched
from fanin.text.names import clean
from fanin.text.numbers import figures, share, to_figures
from fanin.text.spacing import evenly

__all__ = [
    "CUT",
    "HEADS",
    "QUANTITIES",
    "Quantity",
    "Series",
    "cells",
    "chosen",
    "rows_of",
    "scalars",
    "series_of",
    "span",
]

HEADS = ("step", "rate", "loss", "update", "distance", "signal", "dead")
CUT = "last line of the file"
"""Key of `Measurements.missing` where a stored run ends in the middle of a line."""

_OF_WEIGHTS = ("distance", "update")
_Values = Iterable[float | None]


@dataclass(frozen=True, slots=True)
class Quantity:
    """One number a step, or one a weight or layer and step.

    Attributes:
        name: under which it is shown in tables.
        title: of its chart.
        code: of the rule that judges it.
        values: of one step, one a weight or layer.
        steady: whether it is left out where it is the same at all steps, since it says nothing then.
    """

    name: str
    title: str
    code: str
    values: Callable[[StepRecord], _Values]
    steady: bool = True


QUANTITIES = (
    Quantity("loss", "Loss", "W904", lambda s: (s.loss,)),
    Quantity("distance", "Distance from init: change / initial weight", "W901", lambda s: s.distances),
    Quantity("update", "Update ratio: change in the step / weight", "W902", lambda s: s.updates),
    Quantity("signal", "Signal: rms of what a layer reads", "", lambda s: s.activations),
    Quantity("dead", "Dead share: features that are zero for the whole batch", "W906", lambda s: s.dead, False),
    Quantity("rate", "Learning rate", "W908", lambda s: (s.rate,), False),
)


@dataclass(frozen=True, slots=True)
class Series:
    """A quantity over the measured steps.

    Attributes:
        quantity: what it is.
        steps: their numbers.
        middle: the median over weights or layers; None where nothing is known.
        low: the least.
        high: the largest.
    """

    quantity: Quantity
    steps: tuple[int, ...]
    middle: tuple[float | None, ...]
    low: tuple[float | None, ...]
    high: tuple[float | None, ...]

    @property
    def shown(self) -> tuple[float | None, ...]:
        """What a single line shows: the worst layer's dead share, medians of all else."""
        return self.high if self.quantity.name == "dead" else self.middle


def series_of(watched: Watched) -> tuple[Series, ...]:
    """What was measured, over the steps; a dead share of nothing and a constant rate are left out.

    Example:
        >>> steps = tuple(StepRecord(step=n, effective=n, rate=0.1, updates=(0.1, 0.3 * n)) for n in (1, 2))
        >>> series, = series_of(Watched(optimizer="SGD", peak=0.1, steps=steps))
        >>> series.quantity.name, series.steps, series.middle
        ('update', (1, 2), (0.2, 0.35))
    """
    made = (_series(quantity, watched.steps) for quantity in QUANTITIES)
    return tuple(s for s in made if _tells(s))


def _series(quantity: Quantity, steps: tuple[StepRecord, ...]) -> Series:
    known = [[v for v in quantity.values(s) if v is not None] or _lost(quantity, s) for s in steps]
    return Series(
        quantity,
        tuple(s.step for s in steps),
        tuple(to_figures(median(v), 12) if v else None for v in known),
        tuple(min(v, default=None) for v in known),
        tuple(max(v, default=None) for v in known),
    )


def _lost(quantity: Quantity, step: StepRecord) -> list[float]:
    """NaN where the step has no value because it was not finite."""
    lost = step.nonfinite == "loss" if quantity.name == "loss" else quantity.name in _OF_WEIGHTS and step.nonfinite
    return [math.nan] if lost else []


def _tells(series: Series) -> bool:
    known = {v for v in (*series.low, *series.high) if v is not None}
    return len(known) > 1 if not series.quantity.steady else bool(known)


def chosen(names: Iterable[str], codes: Iterable[str], most: int = 4) -> list[str]:
    """The quantities to show first: those of rules that found something, then the others, in the order of `QUANTITIES`.

    Args:
        names: of the quantities that there are.
        codes: of the rules that found something.
        most: how many.

    Example:
        >>> chosen(["loss", "distance", "update", "signal", "dead"], ["W906"])
        ['loss', 'distance', 'update', 'dead']
    """
    known, found = set(names), set(codes)
    there = [q for q in QUANTITIES if q.name in known]
    first = sorted(there, key=lambda q: q.code not in found)[:most]
    return [q.name for q in there if q in first]


def scalars(step: StepRecord) -> dict[str, float]:
    """The step in at most six numbers: medians over weights and layers, and the worst layer's dead share.

    Example:
        >>> scalars(StepRecord(step=1, effective=1.0, rate=0.1, updates=(0.1, 0.3, None)))
        {'rate': 0.1, 'update': 0.2}
    """
    made = {q.name: _series(q, (step,)).shown[0] for q in QUANTITIES}
    return {name: value for name in HEADS if (value := made.get(name)) is not None}


def cells(step: StepRecord) -> tuple[str, ...]:
    """One row under `HEADS`."""
    known = scalars(step)
    written = (figures(known.get(name)) for name in HEADS[1:-1])
    return (str(step.step), *written, share(known.get("dead")))


def rows_of(watched: Watched, most: int | None = None) -> list[tuple[str, ...]]:
    """All rows, or about `most` of them, evenly spaced, the last one among them."""
    steps = watched.steps
    places = evenly(len(steps), len(steps) if most is None else most, keep=(0, len(steps) - 1))
    return [cells(steps[i]) for i in places]


def span(watched: Watched) -> str:
    """Which steps of which optimizer were measured, and what is followed, in words.

    Example:
        >>> steps = tuple(StepRecord(step=n, effective=n, rate=0.1) for n in (1, 2))
        >>> span(Watched(optimizer="AdamW", peak=0.1, weights=("a", "b"), layers=("c",), steps=steps))
        'steps 1 to 2 of AdamW, measured on 2 weights and 1 layer'
    """
    name, steps = clean(watched.optimizer), watched.steps
    if not steps:
        return f"no step of {name} was measured"
    first, last = steps[0].step, steps[-1].step
    every = len(steps) == last - first + 1
    which = f"step {first}" if len(steps) == 1 else f"{'' if every else f'{len(steps)} of the '}steps {first} to {last}"
    weights = f"{len(watched.weights)} weight{'s' * (len(watched.weights) != 1)}"
    layers = f"{len(watched.layers)} layer{'s' * (len(watched.layers) != 1)}"
    return f"{which} of {name}, measured on {weights} and {layers}"
