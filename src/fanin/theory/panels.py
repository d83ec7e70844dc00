"""An activation on the panels of a Gaussian integral: its values, its slopes, and where the panels begin."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

import numpy as np

from fanin.errors import TheoryError
from fanin.theory._types import Array
from fanin.theory.activations import Activation
from fanin.theory.quadrature import DIFFERENTIATE, MAX_LEVELS, MAX_PANELS, Integral, PanelRule, integrate

__all__ = ["EPS", "over_the_line", "panel_edges", "slopes_at", "values_at"]

# Where the tails are cut, in standard deviations; widened while the outermost panel still matters. 38 is where the
# density underflows.
_CUTOFFS: Final = (12.0, 20.0, 28.0, 38.0)
_FEW_PANELS: Final = 512
_OFF_ROUND: Final = math.pi / 200.0
EPS: Final = float(np.finfo(np.float64).eps)


def values_at(act: Activation, z: Array) -> tuple[Array, float]:
    """F at the nodes, and the rounding unit of the dtype it was computed in."""
    with np.errstate(all="ignore"):
        raw = np.asarray(act.fn(z.ravel())).reshape(z.shape)
    values = raw.astype(np.float64)
    if not np.isfinite(values).all():
        where = float(z[~np.isfinite(values)].flat[0])
        raise TheoryError(
            f"{act} is not finite at {where:g}, a value that this Gaussian reaches. Make the function finite there, "
            "or ask about a "
            "smaller q"
        )
    return values, float(np.finfo(raw.dtype).eps) if raw.dtype.kind == "f" else EPS


def slopes_at(act: Activation, z: Array, f: Array, half: Array, eps: float) -> tuple[Array, Array]:
    """F' at the nodes and its rounding noise: the known derivative, or that of the panel's interpolating polynomial."""
    if act.derivative is not None:
        return np.asarray(act.derivative(z), dtype=np.float64), np.zeros_like(f)
    slopes = (f @ DIFFERENTIATE.T) / half
    size = np.max(np.abs(f), axis=-1, keepdims=True)
    if eps > EPS:  # the argument was rounded too
        size = size + np.max(np.abs(z * slopes), axis=-1, keepdims=True)
    noise = 8.0 * eps * size / half * np.abs(DIFFERENTIATE).sum(axis=1)
    return slopes, noise


def panel_edges(mean: float, std: float, cut: float, kinks: Iterable[float] | None) -> Array:
    """First panel limits for z ~ N(mean, std^2): two deviations each, the kinks, and powers of two around 0.

    The last ones keep a wide Gaussian from stepping over what an activation does near the origin. Where kinks are
    still to be found, the limits keep away from round numbers: a kink on a panel limit would do no harm here, but
    would stay unseen.
    """
    off = _OFF_ROUND if kinks is None else 0.0
    lo, hi = mean - cut * std, mean + cut * std
    graded = (1.0 + off) * 2.0 ** np.arange(-2, max(0, math.ceil(math.log2(max(abs(lo), abs(hi), 0.5)))) + 1)
    regular = mean + std * (np.arange(-cut, cut + 1.0, 2.0) + off)
    candidates = np.concatenate((regular, graded, -graded, [0.1 * off * std], list(kinks or ())))
    inside = candidates[(candidates > lo) & (candidates < hi)]
    return np.unique(np.concatenate((inside, [lo, hi])))


def over_the_line(
    act: Activation,
    rule: PanelRule,
    *,
    mean: float,
    std: float,
    kinks: Iterable[float] | None,
    levels: int = MAX_LEVELS,
) -> Integral:
    """The rule's integrals over so much of the line that nothing is left outside.

    A function that nobody described is given up as rough sooner than one of the table.
    """
    panels = MAX_PANELS if act.derivative is not None else _FEW_PANELS
    eps = values_at(act, np.array([[mean]]))[1]
    for cut in _CUTOFFS:
        edges = panel_edges(mean, std, cut, kinks)
        with np.errstate(over="ignore", invalid="ignore"):
            _, size, _ = rule(edges[:-1], edges[1:])
        if np.isfinite(size).all() and np.all(size[[0, -1]] <= 1e-15 * size.sum(axis=0)):
            try:
                return integrate(rule, edges, rtol=max(1e-13, 100.0 * eps), levels=levels, panels=panels)
            except TheoryError as error:
                raise type(error)(f"{act}: {error}") from None
    raise TheoryError(
        f"the moments of {act} under N({mean:g}, {std * std:g}) do not converge: the function grows about as fast as "
        "the Gaussian "
        "falls. Use a smaller q, or a function that grows slower"
    )
