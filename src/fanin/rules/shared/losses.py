"""Which record of the loss a rule judges."""

from __future__ import annotations

from fanin.measure.loss import LossRecord
from fanin.rules.base import Context

__all__ = ["loss_of"]


def loss_of(context: Context) -> LossRecord:
    """The loss function that was called in the check; where none was seen, the one that a training loop used."""
    watched, own = context.measurements.watched, context.measurements.loss
    return own if own.op or watched is None or watched.loss is None else watched.loss
