"""The loss that a check used and where it comes from, in words for the header."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fanin.measure.record import LossRecord, TensorStats

__all__ = ["loss_words"]

_EXACT = 1e-6  # mean square minus mean, where every target is 0 or 1


def loss_words(record: LossRecord, given: Any, *, compiled: bool = False) -> str:
    """Name of the loss and where it comes from.

    Args:
        record: what was measured of it.
        given: the loss of the caller, whose name stands in where no loss function of torch was called.
        compiled: whether the model brought it, from `compile`.

    Example:
        >>> loss_words(LossRecord(source="cross_entropy", value=2.3, op="cross_entropy"), None)
        'cross_entropy (chosen: the targets are whole numbers)'
    """
    name = record.op or _name(given)
    if record.source == "given" and compiled:
        return f"{name} (compiled with the model)"
    return _SAID[record.source](name, record)


def _name(loss: Any) -> str:
    return str(getattr(loss, "__name__", "") or type(loss).__name__)


def _squared(name: str, record: LossRecord) -> str:
    labels = "; for labels of 0 and 1 give loss=, such as binary_cross_entropy" if _binary(record.targets) else ""
    return f"{name} (chosen: the targets are real numbers{labels})"


def _binary(targets: TensorStats | None) -> bool:
    """Whether every target is 0 or 1: among numbers from 0 to 1 only those are their own squares."""
    if targets is None or not 0 <= targets.min <= targets.max <= 1:
        return False
    return abs(targets.rms**2 - targets.mean) < _EXACT


_SAID: dict[str, Callable[[str, LossRecord], str]] = {
    "given": lambda name, _: f"{name} (given)",
    "model": lambda _, record: f"{record.op or 'a loss'} (the output's own)",
    "cross_entropy": lambda _, record: "cross_entropy (chosen: the targets are whole numbers)",
    "mse": lambda _, record: _squared("mse_loss", record),
    "cotangent": lambda _, record: "none (a random direction of the outputs)",
    "gradient": lambda _, record: f"{record.op} (read from its gradient)",
}
