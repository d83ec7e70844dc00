"""Where a deep network's q and c settle."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from fanin.errors import TheoryError
from fanin.theory.callables import ActivationLike, resolve
from fanin.theory.maps import check_variances, chi_1, gap_map, q_map

__all__ = ["FixedPoint", "c_star", "q_star", "solve_bracketed"]

_SMALLEST: Final = 1e-14
_LARGEST: Final = 1e12
_AT_REST: Final = 1e-13


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedPoint:
    """What a solver found.

    Attributes:
        value: the fixed point.
        residual: map(value) - value.
        iterations: map evaluations spent.
        converged: the residual is rounding, or the value is a limit that the map cannot leave (0).
    """

    value: float
    residual: float
    iterations: int
    converged: bool


def solve_bracketed(f: Callable[[float], float], lo: float, hi: float) -> FixedPoint:
    """Root of f in [lo, hi], where f changes sign (Brent's method).

    Raises:
        TheoryError: it did not converge.

    Example:
        >>> round(solve_bracketed(lambda x: x * x - 2.0, 1.0, 2.0).value, 9)
        1.414213562
    """
    from scipy import optimize  # a quarter of a second to import, and gains do without

    root, info = optimize.brentq(
        f, lo, hi, xtol=1e-15 * max(abs(lo), abs(hi)), rtol=1e-14, full_output=True, disp=False
    )
    if not info.converged:
        raise TheoryError(f"no root found between {lo:g} and {hi:g} in {info.iterations} steps; narrow the range")
    return FixedPoint(value=float(root), residual=float(f(root)), iterations=int(info.function_calls), converged=True)


def q_star(phi: ActivationLike, *, sigma_w2: float, sigma_b2: float = 0.0, q0: float = 1.0) -> FixedPoint:
    """The q that a deep network's pre-activations settle at, starting from q0.

    Followed by doubling or halving in the direction in which the q-map moves, then solved in the octave where it turns.

    Args:
        phi: activation.
        sigma_w2: fan_in Var(w), > 0.
        sigma_b2: variance of the bias, >= 0.
        q0: where the first layer starts; only matters where there are several fixed points (relu at sigma_w2 = 2,
            sigma_b2 = 0 keeps any q).

    Returns:
        `FixedPoint`; value 0.0 where the signal dies out.

    Raises:
        TheoryError: q grows without bound, or arguments out of range.

    Accuracy:
        residual < 1e-12 q* (tests/theory/test_criticality.py); tanh at sigma_b2 = 0.05, sigma_w2 = 1.760955 gives
        0.570048.

    Example:
        >>> round(q_star("tanh", sigma_w2=1.5, sigma_b2=0.05).value, 6)
        0.418037
        >>> q_star("relu", sigma_w2=1.0).value
        0.0
    """
    check_variances(sigma_w2, sigma_b2)
    act = resolve(phi)

    def drift(q: float) -> float:
        return q_map(act, q, sigma_w2=sigma_w2, sigma_b2=sigma_b2) - q

    q, start = q0, drift(q0)
    if abs(start) <= _AT_REST * q0:
        return FixedPoint(value=q0, residual=start, iterations=1, converged=True)
    factor = 2.0 if start > 0.0 else 0.5
    steps = 1
    while drift(q * factor) * start > 0.0:
        q, steps = q * factor, steps + 1
        if q < _SMALLEST:
            return FixedPoint(value=0.0, residual=drift(q), iterations=steps, converged=True)
        if q > _LARGEST:
            raise TheoryError(
                f"q grows without bound for {act} at sigma_w2 = {sigma_w2:g}, sigma_b2 = {sigma_b2:g}: every layer "
                "makes the "
                f"signal larger, beyond {_LARGEST:g}. Lower sigma_w2 (relu keeps q at sigma_w2 = 2, sigma_b2 = 0)"
            )
    found = solve_bracketed(drift, min(q, q * factor), max(q, q * factor))
    return FixedPoint(
        value=found.value, residual=found.residual, iterations=found.iterations + steps, converged=found.converged
    )


def c_star(phi: ActivationLike, *, sigma_w2: float, sigma_b2: float = 0.0, q: float | None = None) -> FixedPoint:
    """The correlation that two inputs settle at, deep in the network.

    1 in the ordered phase (chi_1 <= 1). In the chaotic phase the c-map, convex on [0, 1], crosses the diagonal once
    below 1.

    Args:
        phi: activation.
        sigma_w2: fan_in Var(w), > 0.
        sigma_b2: variance of the bias, >= 0.
        q: the q of both inputs; q* if left out.

    Example:
        >>> round(c_star("tanh", sigma_w2=2.0, sigma_b2=0.05).value, 5)
        0.74408
    """
    act = resolve(phi)
    q = q_star(act, sigma_w2=sigma_w2, sigma_b2=sigma_b2).value if q is None else q
    if q == 0.0 or chi_1(act, q=q, sigma_w2=sigma_w2) <= 1.0 + 1e-12:
        return FixedPoint(value=1.0, residual=0.0, iterations=1, converged=True)

    def drift(gap: float) -> float:
        return gap_map(act, gap, q=q, sigma_w2=sigma_w2, sigma_b2=sigma_b2) - gap

    at_zero = drift(1.0)
    if at_zero >= -1e-12:  # c = 0 stays at 0: an odd function without bias
        return FixedPoint(value=0.0, residual=-at_zero, iterations=1, converged=abs(at_zero) < 1e-9)
    low = 1e-2
    while drift(low) <= 0.0:
        low *= 1e-2
        if low < 1e-14:
            return FixedPoint(value=1.0, residual=0.0, iterations=8, converged=True)
    found = solve_bracketed(drift, low, 1.0)
    return FixedPoint(
        value=1.0 - found.value,
        residual=-found.residual,
        iterations=found.iterations,
        converged=math.isfinite(found.value),
    )
