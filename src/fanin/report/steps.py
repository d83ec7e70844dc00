"""The measured steps of a run as rows: medians over weights and layers, written for readers."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median

from fanin.measure.steps import StepRecord, Watched
from fanin.text.numbers import figures, share

__all__ = ["HEADS", "cells", "rows_of", "scalars"]

HEADS = ("step", "rate", "loss", "update", "distance", "signal", "dead")


def scalars(step: StepRecord) -> dict[str, float]:
    """The step in at most eight numbers: medians over weights and layers, and the worst layer's dead share.

    Example:
        >>> scalars(StepRecord(step=1, effective=1.0, rate=0.1, updates=(0.1, 0.3, None)))
        {'rate': 0.1, 'update': 0.2}
    """
    found = {
        "rate": step.rate,
        "loss": step.loss,
        "update": _middle(step.updates),
        "distance": _middle(step.distances),
        "signal": _middle(step.activations),
        "dead": max((v for v in step.dead if v is not None), default=None),
    }
    return {name: round(value, 12) for name, value in found.items() if value is not None}


def _middle(values: Iterable[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return median(known) if known else None


def cells(step: StepRecord) -> tuple[str, ...]:
    """One row under `HEADS`."""
    known = scalars(step)
    written = (figures(known.get(name)) for name in HEADS[1:-1])
    return (str(step.step), *written, share(known.get("dead")))


def rows_of(watched: Watched, most: int | None = None) -> list[tuple[str, ...]]:
    """All rows, or about `most` of them, evenly spaced, the last one among them."""
    steps = watched.steps
    if most is not None and len(steps) > most:
        from fanin.text.spacing import evenly

        steps = tuple(steps[i] for i in evenly(len(steps), most, keep=(0, len(steps) - 1)))
    return [cells(step) for step in steps]
