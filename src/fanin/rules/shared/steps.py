"""What the rules on the first steps of training share: medians over weights, and which steps count."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import median

from fanin.measure.record import Measurements
from fanin.measure.steps import StepRecord, Watched
from fanin.rules.base import Context
from fanin.rules.shared.losses import loss_of

__all__ = [
    "EARLY",
    "constant_share",
    "early",
    "has_learned",
    "ranked",
    "runs",
    "start_loss",
    "trained_before",
    "typical",
]

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
    """Whether the first loss is clearly below that of a constant prediction: these weights were trained before.

    A loss below zero is none that a constant prediction's can be compared with.
    """
    ratio = _over_constant(context)
    return ratio is not None and 0.0 <= ratio < _TRAINED


def has_learned(context: Context, loss: float | None, losses: Sequence[float | None]) -> tuple[bool, bool]:
    """Whether a loss is below 0.7 of the first one; and whether a single optimizer brings it below a tenth for good.

    The tenth is that of the first loss and of a constant prediction's, whichever is smaller. Nothing is said of first
    losses far below that of a constant prediction: such losses have no scale, as that of a policy.

    Args:
        context: with what was watched.
        loss: of the step that is judged.
        losses: of all steps that count; the last three that are known tell what is for good.
    """
    watched, ratio = context.measurements.watched, _over_constant(context)
    first = start_loss(watched) if watched is not None else None
    if watched is None or first is None or first <= 0:
        return False, False
    known = [v for v in losses if v is not None][-3:]
    sized = ratio is not None and ratio >= _SIZED and watched.optimizers == 1
    low = sized and len(known) == 3 and max(known) < 0.1 * first * min(1.0, 1.0 / (ratio or 1.0))
    return bool(loss) and (loss or 0.0) < _LEARNED * first, low


def constant_share(context: Context) -> float | None:
    """The loss of a constant prediction over the first loss; None where one of them is not known."""
    ratio = _over_constant(context)
    return 1.0 / ratio if ratio else None


_LEARNED = 0.7  # of the first loss
_SIZED = 0.3  # of the loss of a constant prediction


def _over_constant(context: Context) -> float | None:
    """The first loss over that of a constant prediction.

    What the loss function gave in the check of the first batch is compared, where it is known: the loss that a loop
    tells may be a part of it, as with accumulation, or a mean where the function gave a sum. Elsewhere the loss that
    was told is compared with the logarithm of the number of outputs; a loop that runs the model several times before
    its first step may tell that part of it, so the loss counts as many times.
    """
    measured, watched = context.measurements, context.measurements.watched
    loss = loss_of(context)
    if loss.baseline:
        own = loss.value if loss.own_value is None else loss.own_value
        return own / loss.baseline if math.isfinite(own) else None
    first, base = None if watched is None else start_loss(watched), _constant_loss(measured)
    if watched is None or first is None or base is None:
        return None
    return first * max(watched.passes, 1) / base


def _constant_loss(measurements: Measurements) -> float | None:
    """The logarithm of the number of outputs, where the check was not told the loss."""
    shapes = [s.shape for s in measurements.sites if s.kind != "loss" and s.shape]
    if measurements.loss.source != "cotangent" or not shapes:
        return None
    return math.log(max(shapes[-1][-1], 2))
