"""What the rules on the first steps of training share: medians over weights, and which steps count."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import median

from fanin.measure.record import Measurements
from fanin.measure.steps import StepRecord, Watched
from fanin.rules.base import Context

__all__ = ["EARLY", "early", "has_learned", "ranked", "runs", "start_loss", "trained_before", "typical"]

EARLY = 20.0  # steps at the peak rate within which a start is judged
_TRAINED = 0.7  # of the loss of a constant prediction: below it, the weights were trained before


def runs(context: Context) -> tuple[Watched | None, str]:
    """What was watched, or the reason why there is nothing to judge."""
    watched = context.measurements.watched
    if watched is None:
        return None, "no training was watched (fanin.watch)"
    if not watched.steps:
        return None, "no step of the optimizer was seen"
    return watched, ""


def early(watched: Watched) -> list[StepRecord]:
    """The measured steps up to twenty steps at the peak rate."""
    return [s for s in watched.steps if s.effective <= EARLY + 1e-9]


def typical(values: Iterable[float | None]) -> float | None:
    """The median of the known values; None where there is none."""
    known = [v for v in values if v is not None]
    return median(known) if known else None


def ranked(names: tuple[str, ...], values: tuple[float | None, ...], *, largest: bool) -> list[str]:
    """Names with a known value, the largest first or the smallest first."""
    known = [(v, n) for n, v in zip(names, values, strict=True) if v is not None]
    return [n for _, n in sorted(known, reverse=largest)]


def start_loss(watched: Watched) -> float | None:
    """The loss of the first step, before anything has moved."""
    return next((s.loss for s in watched.steps[:1] if s.loss is not None), None)


def trained_before(context: Context) -> bool:
    """Whether the first loss is clearly below that of a constant prediction: these weights were trained before."""
    watched, loss = context.measurements.watched, context.measurements.loss
    first = start_loss(watched) if watched is not None else None
    if first is None and loss.source != "cotangent":
        first = loss.value
    baseline = _constant_loss(context.measurements)
    return baseline is not None and first is not None and first < _TRAINED * baseline


def has_learned(context: Context, loss: float | None, losses: Sequence[float | None]) -> tuple[bool, bool]:
    """Whether a loss is below half of the first one; and whether a single optimizer brings it below a tenth for good.

    The tenth is that of the first loss and of a constant prediction's, whichever is smaller. Nothing is said of first
    losses far below that of a constant prediction: such losses have no scale, as that of a policy.

    Args:
        context: with what was watched.
        loss: of the step that is judged.
        losses: of all steps that count; the last three that are known tell what is for good.
    """
    watched, base = context.measurements.watched, _constant_loss(context.measurements)
    first = start_loss(watched) if watched is not None else None
    if watched is None or first is None or first <= 0:
        return False, False
    known = [v for v in losses if v is not None][-3:]
    sized = base is not None and first >= _SIZED * base and watched.optimizers == 1
    low = sized and len(known) == 3 and max(known) < 0.1 * min(first, base or first)
    return bool(loss) and (loss or 0.0) < 0.5 * first, low


_SIZED = 0.3  # of the loss of a constant prediction


def _constant_loss(measurements: Measurements) -> float | None:
    """The loss of a constant prediction; ln of the number of outputs where the check was not told the loss."""
    if measurements.loss.baseline is not None:
        return measurements.loss.baseline
    shapes = [s.shape for s in measurements.sites if s.kind != "loss" and s.shape]
    if measurements.loss.source != "cotangent" or not shapes:
        return None
    return math.log(max(shapes[-1][-1], 2))
