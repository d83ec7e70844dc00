"""Follow a map over many layers without computing each: the increments of ln q and ln (1 - c) change slowly.

A leap over k layers computes the increment at four places, and interpolates those between as a parabola in
1 / (layer + 1): exact where increments stay the same (a signal that grows or dies by a factor a layer) or go as
1 / layer (the critical line). Where the parabola through three places misses the fourth, the leap is halved.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from fanin.theory._types import Array

__all__ = ["follow"]

_FIRST = 48  # layers that are computed one by one: transients
_SHORTEST = 8
_TOLERANCE = 3e-5  # of ln q and ln (1 - c) at the end of one leap
_PATIENCE = 100  # computed layers from which the tolerance doubles every 20, up to 1e-2: a rough map never meets it
_MOST = 200  # computed layers from which it doubles every 10 without limit, so that the work has an end

_LARGEST = 700.0  # of ln q: beyond, float64 ends

State: TypeAlias = tuple[float, float]


def follow(step: Callable[[float, float], State], start: State, *, layers: int) -> tuple[Array, Array]:
    """The states from `start` on, (q, gap) of each layer, both (layers,).

    Args:
        step: (q, gap) of one layer -> of the next.
        start: (q, gap) of the first layer.
        layers: how many states, the first included.

    Example:
        >>> q, gap = follow(lambda q, gap: (0.5 * q, 0.9 * gap), (1.0, 0.5), layers=100)
        >>> bool(abs(q[-1] / 0.5**99 - 1) < 1e-6)
        True
    """
    states = np.zeros((layers, 2))
    states[0] = start
    computed = 0

    def counted(q: float, gap: float) -> State:
        nonlocal computed
        computed += 1
        return step(q, gap)

    layer, leap = 0, _FIRST // 4
    while layer < layers - 1:
        leap = min(leap, layers - 1 - layer)
        allowed = _allowed(computed)
        able = layer >= _FIRST and leap >= _SHORTEST
        reached = _leap(counted, states[layer], layer, leap, allowed) if able else None
        if reached is None:
            states[layer + 1] = counted(*states[layer])
            layer += 1
            leap = leap // 2 if layer > _FIRST and leap > _SHORTEST else _FIRST // 4
        else:
            following, missed = reached
            states[layer + 1 : layer + 1 + leap] = following
            layer, leap = layer + leap, int(leap * min(2.0, 0.8 * (allowed / max(missed, 1e-12)) ** 0.25))
    return states[:, 0], states[:, 1]


def _allowed(computed: int) -> float:
    """Error that a leap may have after so many computed layers."""
    patient = min(_TOLERANCE * 2.0 ** min(max(0.0, (computed - _PATIENCE) / 20.0), 100.0), 1e-2)
    return float(patient * 2.0 ** min(max(0.0, (computed - _MOST) / 10.0), 100.0))


def _leap(
    step: Callable[[float, float], State], state: Array, layer: int, leap: int, allowed: float
) -> tuple[Array, float] | None:
    """The next `leap` states, (leap, 2), and the error met; None where they cannot be interpolated."""
    if not np.all(state > 0.0):
        return None
    here = np.log(state)
    known: dict[int, Array] = {}
    # The state at the end follows from the increments before it, so it is computed again as these become known.
    for place in (0, leap, leap, leap // 2, leap, leap // 4):
        increments = _interpolated(known, layer, leap)
        found = _increment(step, here + increments[:place].sum(axis=0))
        if found is None:
            return None
        missed = found - increments[min(place, leap - 1)]
        known[place] = found
    error = leap * float(np.abs(missed).max())
    if error > allowed:
        return None
    following = here + np.cumsum(_interpolated(known, layer, leap), axis=0)
    following[:, 1] = np.minimum(following[:, 1], np.log(2.0))
    return (np.exp(following), error) if following.max() < _LARGEST else None


def _increment(step: Callable[[float, float], State], log_state: Array) -> Array | None:
    with np.errstate(over="ignore"):
        q, gap = np.exp(log_state)
    if not (0.0 < q < np.inf and gap > 0.0):
        return None
    following = np.asarray(step(float(q), min(float(gap), 2.0)))
    return np.log(following) - log_state if np.all(following > 0.0) else None


def _interpolated(known: dict[int, Array], layer: int, leap: int) -> Array:
    """Increments at 0 ... leap - 1 by the polynomial in 1 / (layer + 1) through the known ones; zeros through none."""
    x = 1.0 / (layer + 1.0 + np.array(list(known), dtype=np.float64))
    wanted = 1.0 / (layer + 1.0 + np.arange(leap))
    increments = np.zeros((leap, 2))
    for place, value in zip(x, known.values(), strict=True):
        others = x[x != place]
        increments += np.prod((wanted[:, None] - others) / (place - others), axis=1)[:, None] * value
    return increments
