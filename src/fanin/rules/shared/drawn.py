"""Whether parameters look as they were just drawn, and not trained."""

from __future__ import annotations

import math
from collections.abc import Iterable

from fanin.measure.record import ParameterRecord

__all__ = ["look_drawn"]

_MANY = 64  # entries, from which on a law can be told
_ERRORS = 4.0  # standard errors that a uniform law may be off


def look_drawn(parameters: Iterable[ParameterRecord]) -> bool:
    """Whether all of these look drawn: none that tells was trained, and one at least tells that it was not.

    A matrix that is uniform was just drawn, and so was a vector that is constant; training leaves neither. A vector of
    a norm that is not constant was trained, and so was one that is neither constant nor uniform, as PyTorch draws
    biases. A matrix of another law says nothing: trained ones are close to a normal law.
    """
    votes = [_untrained(p) for p in parameters if p.weight.numel]
    return False not in votes and True in votes


def _untrained(p: ParameterRecord) -> bool | None:
    """Whether a parameter is as it was drawn; None where it does not tell."""
    weight, vector = p.weight, len(p.shape) < 2
    largest = max(abs(weight.min), abs(weight.max))
    if weight.std <= 1e-6 * max(largest, 1e-30):
        return True if vector and weight.numel > 1 else None
    if vector and "Norm" in p.owner_class:
        return False
    if weight.sampled < _MANY:
        return None
    # n uniform numbers: rms / max is 1 / sqrt(3), with a relative error of 1 / sqrt(5 n); the largest is 1 - 1 / n of
    # the bound
    error = _ERRORS / math.sqrt(5 * weight.sampled) + 2 / weight.sampled
    uniform = abs(math.sqrt(3) * weight.rms / largest - 1) < error
    return (None if uniform else False) if vector else (uniform or None)
