"""Gated units, value times phi(gate): GLU, SwiGLU, GEGLU, LSTM and GRU gates."""

from __future__ import annotations

from dataclasses import dataclass

from fanin.errors import TheoryError
from fanin.theory.callables import ActivationLike
from fanin.theory.moments import gaussian_moments

__all__ = ["GatedMoments", "gated_moments"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GatedMoments:
    """Moments of value * phi(gate), value and gate independent.

    Attributes:
        mean: 0 where the value is centred.
        second: E value^2 E phi(gate)^2.
        value_slope: mean square of the derivative by the value, E phi(gate)^2.
        gate_slope: mean square of the derivative by the gate, E value^2 E phi'(gate)^2.
        gain: multiplies the std of the next weights to keep the size: 1 / sqrt(second / value's).
    """

    mean: float
    second: float
    value_slope: float
    gate_slope: float
    gain: float


def gated_moments(
    phi: ActivationLike, *, gate_q: float = 1.0, value_second: float = 1.0, value_mean: float = 0.0
) -> GatedMoments:
    """What a gated unit gives for a Gaussian gate of variance gate_q and an independent value.

    Independent they are where two weight matrices read the same input, as in SwiGLU.

    Example:
        >>> round(gated_moments("silu").gain, 6)  # SwiGLU
        1.676532
    """
    if value_second <= 0.0:
        raise TheoryError(f"value_second must be > 0, got {value_second!r}")
    m = gaussian_moments(phi, q=gate_q)
    return GatedMoments(
        mean=value_mean * m.mean,
        second=value_second * m.second,
        value_slope=m.second,
        gate_slope=value_second * m.dsecond,
        gain=m.second**-0.5,
    )
