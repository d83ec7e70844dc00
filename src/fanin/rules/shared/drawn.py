"""Whether parameters look as they were just drawn, and not trained."""

from __future__ import annotations

import math
from collections.abc import Iterable

from fanin.measure.record import ParameterRecord

__all__ = ["look_drawn"]

_MANY = 64  # entries, from which on a law can be told
_UNIFORM = 0.08  # relative, of rms / max over 1 / sqrt(3)


def look_drawn(parameters: Iterable[ParameterRecord]) -> bool:
    """Whether all of these look drawn: no vector has been trained, and a matrix or a constant vector says so.

    A vector counts as untrained where it is constant (a norm, a bias of zero) or uniform as PyTorch draws biases.
    Training leaves neither; a matrix of normal law says nothing, since trained ones are close to it.
    """
    votes = [_untrained(p) for p in parameters if p.weight.numel]
    return False not in votes and True in votes


def _untrained(p: ParameterRecord) -> bool | None:
    """Whether a parameter is as it was drawn; None where it does not tell."""
    weight, vector = p.weight, len(p.shape) < 2
    largest = max(abs(weight.min), abs(weight.max))
    if weight.std <= 1e-6 * max(largest, 1e-30):
        return True if vector and weight.numel > 1 else None
    uniform = abs(math.sqrt(3) * weight.rms / largest - 1) < _UNIFORM
    if weight.sampled < _MANY:
        return None
    return True if uniform else False if vector else None
