"""Constants around an activation that keep a deep plain stack trainable: Deep Kernel Shaping and Tailored Activations.

phi_hat(x) = s_o (phi(s_i x + b_i) + b_o) is chosen so that the maps of a layer that reads N(0, 1) are given: q of the
output as a function Q of q, and the correlation of two outputs as a function C of that of two inputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np

from fanin.errors import TheoryError
from fanin.theory._types import Array
from fanin.theory.activations import Activation
from fanin.theory.callables import ActivationLike, resolve
from fanin.theory.moments import Moments, gaussian_moments, kinks_of
from fanin.theory.panels import EPS, over_the_line, slopes_at, values_at
from fanin.theory.quadrature import DIFFERENTIATE, NODES, WEIGHTS, PanelRule

__all__ = ["ShapedActivation", "dks", "shifted", "tat"]

_SHIFTS: Final = (0.3, -0.3, 1.0, -1.0, 2.0, -2.0)
_STARTS: Final = (*((0.2, b) for b in _SHIFTS), (0.6, 1.0), (0.6, -1.0))  # (s_i, b_i) that the search begins with
_FARTHEST: Final = 15.0  # of log s_i and b_i
_SOLVED: Final = 1e-8  # residual, relative to the budget of a layer
_JUMP: Final = 1e-4  # of a slope, over a step of 1e-6
_SHIFT_GRID: Final = tuple(i / 4.0 for i in range(33))  # |b_i| at which a shift is looked for
_NARROW: Final = 1e-12  # least width of a panel, in standard deviations
_STIFF: Final[Array] = np.abs(DIFFERENTIATE).sum(axis=1)  # rounding of an interpolating polynomial's derivative


@dataclass(frozen=True, slots=True, kw_only=True)
class ShapedActivation:
    """phi_hat(x) = output_scale (phi(input_scale x + input_shift) + output_shift), and its local maps at q = 1.

    Attributes:
        input_scale: s_i > 0.
        input_shift: b_i.
        output_shift: b_o.
        output_scale: s_o > 0.
        at_zero: C(0): correlation of two outputs whose inputs are uncorrelated.
        slope: C'(1) = E phi_hat'^2, the factor by which a gradient's square norm changes per layer.
        curvature: C''(1) = E phi_hat''^2; infinite where phi' jumps.
    """

    input_scale: float
    input_shift: float
    output_shift: float
    output_scale: float
    at_zero: float
    slope: float
    curvature: float


def dks(phi: ActivationLike, *, depth: int, total_slope: float = 1.5) -> ShapedActivation:
    r"""Constants of Deep Kernel Shaping for a plain stack: Q(1) = Q'(1) = 1, C(0) = 0, C'(1) = total_slope^(1/depth).

    Uncorrelated inputs stay so, and the slope of the whole stack's correlation map at 1 is `total_slope`, which bounds
    how far that map is from the identity.

    Args:
        phi: activation: name, callable or module.
        depth: number of activations on the way from the input to the output, >= 1.
        total_slope: C'(1) of the whole stack, > 1; the paper's zeta.

    Returns:
        `ShapedActivation`. Of several solutions the one of least abs(input_shift); of two with opposite ones the
        positive one.

    Raises:
        TheoryError: no constants exist (ReLU and leaky ReLU, which scaling leaves as they are; linear functions), or an
            argument out of range.

    Accuracy:
        the conditions hold to 1e-9 against 30-digit mpmath (tests/theory/test_shaping.py).

    Source:
        Martens et al. 2021, arXiv 2110.01765, sections 9 and 11.

    Example:
        >>> found = dks("tanh", depth=100)
        >>> [round(c, 6) for c in (found.input_scale, found.input_shift, found.output_shift, found.output_scale)]
        [0.090438, 0.560107, -0.505004, 14.902526]
    """
    _check(depth, total_slope, "total_slope", 1.0)
    return _dks(resolve(phi), depth, float(total_slope))


def tat(phi: ActivationLike, *, depth: int, total_curvature: float = 0.3) -> ShapedActivation:
    r"""Constants of Tailored Activation Transformation: Q(1) = Q'(1) = C'(1) = 1, C''(1) = total_curvature / depth.

    Gradients keep their size exactly, and uncorrelated inputs become alike by about half of `total_curvature` over the
    whole stack.

    Args:
        phi: activation with a continuous slope: name, callable or module.
        depth: number of activations on the way from the input to the output, >= 1.
        total_curvature: C''(1) summed over the stack, > 0; the paper's tau.

    Returns:
        `ShapedActivation`, chosen as in `dks`.

    Raises:
        TheoryError: phi' jumps, no constants exist, or an argument out of range.

    Accuracy:
        the conditions hold to 1e-9 against 30-digit mpmath (tests/theory/test_shaping.py).

    Source:
        Zhang, Botev, Martens 2022, arXiv 2203.08120, section 4.2.

    Example:
        >>> found = tat("gelu", depth=30)
        >>> round(found.slope, 9), round(found.curvature, 9)
        (1.0, 0.01)
    """
    _check(depth, total_curvature, "total_curvature", 0.0)
    return _tat(resolve(phi), depth, float(total_curvature))


def shifted(phi: ActivationLike, *, depth: int, total_slope: float = 1.5) -> ShapedActivation:
    r"""Constants of a shift alone, s_i = 1: Q(1) = 1, C(0) = 0, C'(1) = total_slope^(1/depth).

    For powers (x^2, relu(x)^2, x |x|): scaling their input only scales their output, so `dks` has no constants for
    them. Far from zero a power is nearly linear, and Q'(1) comes near 1 with C'(1): for x^2 both are equal.

    Args:
        phi: activation: name, callable or module.
        depth: number of activations on the way from the input to the output, >= 1.
        total_slope: C'(1) of the whole stack, > 1.

    Returns:
        `ShapedActivation` with the shift of least size that meets the conditions, the positive one of two.

    Raises:
        TheoryError: no shift of size up to 8 meets them, or an argument out of range.

    Accuracy:
        the conditions hold to 1e-9 against closed forms (tests/theory/test_shaping.py).

    Source:
        The conditions of Martens et al. 2021, arXiv 2110.01765, section 11, without Q'(1) = 1.

    Example:
        >>> found = shifted("square", depth=1, total_slope=1.2)  # C'(1) = (4 + 4 b^2) / (2 + 4 b^2)
        >>> round(found.input_shift, 6), round(found.output_shift, 6)
        (1.414214, -3.0)
    """
    _check(depth, total_slope, "total_slope", 1.0)
    return _shifted(resolve(phi), depth, float(total_slope))


def _check(depth: int, value: float, name: str, least: float) -> None:
    if isinstance(depth, bool) or not isinstance(depth, int) or depth < 1:
        raise TheoryError(f"depth counts activations and must be a whole number >= 1, got {depth!r}")
    if not (math.isfinite(value) and value > least):
        raise TheoryError(f"{name} must be finite and > {least:g}, got {value!r}")


# ---------------------------------------------------------------------- the integrals
@dataclass(frozen=True, slots=True)
class _Local:
    """Integrals over x ~ N(0, 1) at one (s_i, b_i); u = s_i x + b_i.

    Attributes:
        scale: s_i.
        shift: b_i.
        mean: E phi(u).
        var: Var phi(u).
        dsecond: E phi'(u)^2.
        near: E x (phi(u) - E phi) phi'(u).
        tilt: E x phi'(u).
        bend: E phi''(u)^2 between the kinks.
    """

    scale: float
    shift: float
    mean: float
    var: float
    dsecond: float
    near: float
    tilt: float
    bend: float


def _local(act: Activation, kinks: tuple[float, ...], scale: float, shift: float) -> _Local:
    at_shift = float(np.asarray(act.fn(np.array([shift])), dtype=np.float64)[0])
    integral = over_the_line(act, _rule(act, scale, shift, at_shift), mean=shift, std=scale, kinks=kinks)
    g, g2, dsecond, xgd, tilt, bend = (float(v) for v in integral.values)
    return _Local(scale, shift, at_shift + g, g2 - g * g, dsecond, xgd - g * tilt, tilt, bend)


def _rule(act: Activation, scale: float, shift: float, at_shift: float) -> PanelRule:
    """Panel integrals of g = phi(u) - phi(b_i), g^2, phi'^2, x g phi', x phi', phi''^2."""

    def rule(lo: Array, hi: Array) -> tuple[Array, Array, Array]:
        half = 0.5 * (hi - lo)[:, None]
        u = 0.5 * (hi + lo)[:, None] + half * NODES
        x = (u - shift) / scale
        weight = half * WEIGHTS * np.exp(-0.5 * x * x) / (scale * math.sqrt(2.0 * math.pi))
        f, eps = values_at(act, u)
        slope, slope_noise = slopes_at(act, u, f, half, eps)
        wide = np.maximum(half, _NARROW * scale)  # a panel beside a kink may have no width at all
        bend = (slope @ DIFFERENTIATE.T) / wide
        rough = (EPS * np.abs(slope).max(-1, keepdims=True) + slope_noise.max(-1, keepdims=True)) / wide * _STIFF
        g = f - at_shift
        weighted = weight * np.stack((g, g * g, slope * slope, x * g * slope, x * slope, bend * bend))
        noise = EPS * np.abs(weighted)
        noise[5] += weight * (2.0 * np.abs(bend) + rough) * rough
        return weighted.sum(-1).T, np.abs(weighted).sum(-1).T, noise.sum(-1).T

    return rule


# ---------------------------------------------------------------------- the conditions
def _shaped(m: _Local, offset: float, output_scale: float, bend: float) -> ShapedActivation:
    """The activation with these constants; `offset` is E phi + b_o."""
    power = output_scale**2
    return ShapedActivation(
        input_scale=m.scale,
        input_shift=m.shift,
        output_shift=offset - m.mean,
        output_scale=output_scale,
        at_zero=power * offset**2,
        slope=power * m.scale**2 * m.dsecond,
        curvature=power * m.scale**4 * bend,
    )


def _q_slope(m: _Local, offset: float, output_scale: float) -> float:
    """Q'(1) = E x phi_hat phi_hat'."""
    return output_scale**2 * m.scale * (m.near + offset * m.tilt)


@lru_cache(maxsize=256)
def _dks(act: Activation, depth: int, total_slope: float) -> ShapedActivation:
    kinks, slope = kinks_of(act), total_slope ** (1.0 / depth)
    bend_known = not _jumps(act, kinks)

    def residual(m: _Local) -> Array:
        found = _shaped(m, 0.0, m.var**-0.5, m.bend)
        apart = np.array([found.slope - slope, _q_slope(m, 0.0, found.output_scale) - 1.0])
        return np.asarray(apart / (slope - 1.0))

    found = _roots(act, kinks, residual)
    if not found:
        raise _none(act, "dks")
    best = min(found, key=_order)
    return _shaped(best, 0.0, best.var**-0.5, best.bend if bend_known else math.inf)


@lru_cache(maxsize=256)
def _shifted(act: Activation, depth: int, total_slope: float) -> ShapedActivation:
    limit = total_slope ** (1.0 / depth)

    def excess(shift: float) -> float:
        m = _moved(act, shift)
        return m.dsecond / m.var - limit if m.var > 0.0 and m.dsecond > 0.0 else math.inf

    sides = [b for sign in (1.0, -1.0) if (b := _least(excess, sign)) is not None]
    shift = min(sides, key=lambda b: (round(abs(b), 9), -b), default=None)
    if shift is None:
        raise TheoryError(f"no shift of the input brings the slope of {act} to {limit:.4g}; use another start")
    m = _moved(act, shift)
    return ShapedActivation(
        input_scale=1.0,
        input_shift=shift,
        output_shift=-m.mean,
        output_scale=m.var**-0.5,
        at_zero=0.0,
        slope=m.dsecond / m.var,
        curvature=_bend(act, shift) / m.var,
    )


def _moved(act: Activation, shift: float) -> Moments:
    """Moments of phi(x + shift), x ~ N(0, 1)."""
    return gaussian_moments(lambda x: act.fn(x + shift))


def _bend(act: Activation, shift: float) -> float:
    """E phi''(x + shift)^2; infinite where phi' jumps or turns too fast for the integral (a power below 2 at zero)."""
    kinks = kinks_of(act)
    if _jumps(act, kinks):
        return math.inf
    try:
        return _local(act, kinks, 1.0, shift).bend
    except TheoryError:
        return math.inf


def _least(excess: Callable[[float], float], sign: float) -> float | None:
    """The shift nearest to zero, on one side, at which the slope comes down to its limit; None where it does not."""
    from scipy import optimize

    with np.errstate(all="ignore"):
        far = next((i for i, b in enumerate(_SHIFT_GRID) if excess(sign * b) <= 0.0), None)
        if not far:
            return None if far is None else 0.0
        near, end = sign * _SHIFT_GRID[far - 1], sign * _SHIFT_GRID[far]
        if not math.isfinite(excess(near)):
            return end
        return float(optimize.brentq(excess, min(near, end), max(near, end), xtol=1e-11))


@lru_cache(maxsize=256)
def _tat(act: Activation, depth: int, total_curvature: float) -> ShapedActivation:
    kinks, curvature = kinks_of(act), total_curvature / depth
    if jumps := _jumps(act, kinks):
        raise TheoryError(
            f"the slope of {act} jumps at {jumps[0]:g}, so C''(1) is infinite and tat has no constants for it; "
            "use dks, or an activation with a continuous slope"
        )
    found: list[tuple[_Local, float]] = []
    for sign in (1.0, -1.0):

        def residual(m: _Local, sign: float = sign) -> Array:
            found = _tailored(m, sign)
            q_slope = _q_slope(m, found.output_shift + m.mean, found.output_scale)
            return np.array([found.curvature / curvature - 1.0, (q_slope - 1.0) / curvature])

        found += [(m, sign) for m in _roots(act, kinks, residual)]
    if not found:
        raise _none(act, "tat")
    return _tailored(*min(found, key=lambda pair: _order(pair[0])))


def _tailored(m: _Local, sign: float) -> ShapedActivation:
    """C'(1) = 1 sets s_o, Q(1) = 1 the size of E phi_hat; its sign is free."""
    power = m.scale**2 * m.dsecond
    offset = sign * math.sqrt(max(power - m.var, 0.0))
    return _shaped(m, offset, power**-0.5, m.bend)


# ---------------------------------------------------------------------- the solutions
def _roots(act: Activation, kinks: tuple[float, ...], residual: Callable[[_Local], Array]) -> list[_Local]:
    """The (s_i, b_i) at which the residual is zero, from every start."""
    from scipy import optimize  # a quarter of a second to import, and gains do without

    def at(point: Array) -> Array:
        if not (abs(point[0]) < _FARTHEST and abs(point[1]) < _FARTHEST):
            raise TheoryError("the search went too far; another start may do better")
        m = _local(act, kinks, math.exp(float(point[0])), float(point[1]))
        if not (m.var > 0.0 and m.dsecond > 0.0):
            raise TheoryError(f"{act} is constant there; another start may do better")
        return residual(m)

    found = []
    for scale, shift in _STARTS:
        try:
            with np.errstate(all="ignore"):
                root = optimize.root(at, [math.log(scale), shift], method="hybr", options={"xtol": 1e-13})
        except TheoryError:
            continue  # this start led to where the function is flat, linear or not finite
        if np.abs(root.fun).max() < _SOLVED:
            found.append(_local(act, kinks, math.exp(float(root.x[0])), float(root.x[1])))
    return found


def _order(m: _Local) -> tuple[float, float]:
    """The smallest shift first, of two opposite ones the positive: farther roots lie where phi is all but straight."""
    return (round(abs(m.shift), 6), -m.shift)


def _none(act: Activation, name: str) -> TheoryError:
    return TheoryError(
        f"{name} has no constants for {act}: no input scale and shift meet its conditions. A ReLU or leaky ReLU is the "
        "same function at every scale, and a linear function has no bend; use another start there, such as auto"
    )


def _jumps(act: Activation, kinks: tuple[float, ...]) -> list[float]:
    """Kinks at which phi' jumps."""
    step = 1e-6

    def slope(z: float) -> float:
        if act.derivative is not None:
            return float(np.asarray(act.derivative(np.array([z])))[0])
        left, right = np.asarray(act.fn(np.array([z - step, z + step])), dtype=np.float64)
        return float((right - left) / (2.0 * step))

    return [k for k in kinks if abs(slope(k + 2.0 * step) - slope(k - 2.0 * step)) > _JUMP]
