r"""E f(u1) g(u2) over two correlated Gaussians: what a layer does to the likeness of two signals.

With :math:`u_{1,2} = m_{1,2} + s_{1,2}(\alpha x \pm \beta y)`, :math:`\alpha^2 = (1+c)/2`, :math:`\beta^2 = (1-c)/2`,
x and y are independent and the kinks are straight lines: the inner integral over y is split where they cross, the
outer one is adaptive.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypeAlias

import numpy as np

from fanin.errors import TheoryError
from fanin.theory._types import Array
from fanin.theory.activations import Activation
from fanin.theory.callables import ActivationLike, resolve
from fanin.theory.closed_forms import CLOSED_BIVARIATE
from fanin.theory.moments import gaussian_moments, kinks_of
from fanin.theory.panels import EPS
from fanin.theory.quadrature import NODES, WEIGHTS, PanelRule, integrate
from fanin.theory.sampled import drawn_fourths, drawn_product, roughness, sampled_gap

__all__ = ["bivariate", "bivariate_gap", "bivariate_slope", "gap_in_one_pass", "pair_fourths"]

_INNER_CUT: Final = 10.0  # in deviations of y: tail mass 2e-23
_OUTER_CUT: Final = 12.0
_PANEL_WIDTH: Final = 2.0  # in units of z: 16 nodes then resolve what activations do near the origin
_MAX_PANELS: Final = 256
_FEW_PANELS: Final = 48  # enough for one pass
_MOST_OUTER: Final = 1024  # outer panels that may be refined at once: each holds 16 inner integrals
_NODES_AT_ONCE: Final = 1 << 20  # about 100 MB of arrays
_LEADING: Final = 1e-8  # gap below which its leading powers are enough
_SMALLEST_GAP: Final = 1e-13  # below it two values differ by less than rounding

# (u1, u2, x, y) -> integrands, (k, ...)
_Integrand: TypeAlias = Callable[[Array, Array, Array, Array], Array]


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two correlated Gaussians, and where the functions of each one have kinks."""

    c: float
    gap: float  # 1 - c, kept apart so that it stays exact near c = 1
    means: tuple[float, float]
    stds: tuple[float, float]
    kinks: tuple[tuple[float, ...], tuple[float, ...]]


def bivariate(
    f: ActivationLike,
    c: float,
    *,
    q: float = 1.0,
    mean: float = 0.0,
    g: ActivationLike | None = None,
    q2: float | None = None,
    mean2: float | None = None,
) -> float:
    r"""E f(u1) g(u2) for jointly Gaussian u1 ~ N(mean, q), u2 ~ N(mean2, q2) with correlation c.

    Args:
        f: activation of u1; a name, callable or module.
        c: correlation of u1 and u2, in [-1, 1].
        q: variance of u1, > 0.
        mean: mean of u1.
        g: activation of u2; f if left out.
        q2: variance of u2; q if left out.
        mean2: mean of u2; mean if left out.

    Raises:
        TheoryError: c outside [-1, 1], q not positive, f or g not elementwise or not finite.

    Accuracy:
        1e-10 relative to E f^2, for every activation of the table, q = 0.1, 1, 10, c from -1 to 1
        (tests/theory/test_bivariate.py, against closed forms and mpmath).

    Source:
        Poole et al. 2016, arXiv 1606.05340, eq. 5.

    Example:
        >>> round(bivariate("relu", 0.5), 6)
        0.304499
        >>> round(bivariate("erf", 0.3), 6) == round(2 / math.pi * math.asin(2 * 0.3 / 3), 6)
        True
    """
    _check_correlation(c)
    first, second = resolve(f), resolve(f if g is None else g)
    qs, means = (q, q if q2 is None else q2), (mean, mean if mean2 is None else mean2)
    same = first == second and qs[0] == qs[1] and means[0] == means[1]
    if same and mean == 0.0 and q > 0.0 and first.identity is None and first.name in CLOSED_BIVARIATE:
        return CLOSED_BIVARIATE[first.name](q, float(c), **dict(first.params))
    if same and c == 1.0:
        return gaussian_moments(first, mean=mean, q=q).second
    return _bivariate(first, second, float(c), qs, means)


@lru_cache(maxsize=4096)
def _bivariate(f: Activation, g: Activation, c: float, qs: tuple[float, float], means: tuple[float, float]) -> float:
    if any(_is_rough(act, q, m) for act, q, m in zip((f, g), qs, means, strict=True)):
        return drawn_product(f, g, c, qs, means)
    pair = _pair(f, g, c=c, gap=1.0 - c, qs=qs, means=means)
    return _nested(lambda u1, u2, x, y: (f.fn(u1) * g.fn(u2))[None], pair)[0]


def _is_rough(act: Activation, q: float, mean: float = 0.0) -> bool:
    """Whether a function is drawn at this variance."""
    if act.identity is None or not (math.isfinite(q) and q > 0.0 and math.isfinite(mean)):
        return False
    gaussian_moments(act, q=q, mean=mean)
    return q >= roughness(act).from_q


def bivariate_gap(phi: ActivationLike, gap: float, *, q: float = 1.0, mean: float = 0.0) -> float:
    """E (f(u1) - f(u2))^2 / 2 at correlation 1 - gap: E f^2 less the bivariate moment, exact for small gaps.

    Args:
        phi: activation.
        gap: 1 - c, in [0, 2]; 1e-12 is as good as 0.5.
        q: variance of both.
        mean: mean of both.

    Accuracy:
        1e-9 relative for gap from 1e-12 to 2 (tests/theory/test_bivariate.py).

    Example:
        >>> round(bivariate_gap("relu", 1e-10) / 0.5e-10, 6)
        0.999997
    """
    return _gap_and_slope(resolve(phi), _check_gap(gap), float(q), float(mean))[0]


def bivariate_slope(phi: ActivationLike, gap: float, *, q: float = 1.0, mean: float = 0.0) -> float:
    r"""d/dc of E f(u1) f(u2) at c = 1 - gap, divided by q: E f'(u1) f'(u2), by Price's theorem.

    Computed from f alone (differentiating the Gaussian, not the function), so kinks and jumps are accounted for in
    full.

    Example:
        >>> round(bivariate_slope("relu", 0.5), 6) == round((1 - math.acos(0.5) / math.pi) / 2, 6)
        True
    """
    gap = _check_gap(gap)
    if gap == 0.0:
        return gaussian_moments(phi, q=q, mean=mean).dsecond
    return _gap_and_slope(resolve(phi), gap, float(q), float(mean))[1]


def gap_in_one_pass(act: Activation, gap: float, *, q: float) -> float:
    """`bivariate_gap` at a fifth of its cost: the panels are taken as they are, without a second look at their error.

    Below 1e-8 the gap enters by its leading powers: gap, gap^(3/2) at kinks, gap^(1/2) at jumps.

    Accuracy:
        1e-5 relative for every activation of the table, q from 1e-8 to 100; 1e-3 for q to 1e8; 5e-3 for functions
        that jump at a gap below 1e-8
        (tests/theory/test_bivariate.py).

    Example:
        >>> from fanin.theory.activations import activation
        >>> round(gap_in_one_pass(activation("relu"), 1e-10, q=1.0) / 0.5e-10, 4)
        1.0
    """
    if _is_rough(act, q):
        return sampled_gap(act, gap, q)
    if gap >= _LEADING:
        return _one_pass(act, gap, q)
    slope = q * gaussian_moments(act, q=q).dsecond
    rest, rest_4 = (_one_pass(act, k * _LEADING, q) - slope * k * _LEADING for k in (1.0, 4.0))
    # what the slope leaves goes as gap^(1/2) where the function jumps, so twice as large at four times the gap
    power = 0.5 if rest_4 < 4.0 * rest and rest > 1e-6 * slope * _LEADING else 1.5
    return float(slope * gap + rest * (gap / _LEADING) ** power)


@lru_cache(maxsize=4096)
def _one_pass(act: Activation, gap: float, q: float) -> float:
    pair = _pair(act, act, c=1.0 - gap, gap=gap, qs=(q, q), means=(0.0, 0.0))
    integrand: _Integrand = lambda u1, u2, x, y: 0.5 * np.square(act.fn(u1) - act.fn(u2))[None]  # noqa: E731
    rule, edges = _outer(integrand, pair, inner=_FEW_PANELS)
    return float(rule(edges[:-1], edges[1:])[0].sum())


@lru_cache(maxsize=4096)
def _gap_and_slope(act: Activation, gap: float, q: float, mean: float) -> tuple[float, float]:
    if gap == 0.0:
        return 0.0, gaussian_moments(act, q=q, mean=mean).dsecond
    if _is_rough(act, q, mean):
        around = [sampled_gap(act, min(k * gap, 2.0), q, mean) for k in (0.9, 1.0, 1.1)]
        return around[1], max(around[2] - around[0], 0.0) / ((min(1.1 * gap, 2.0) - 0.9 * gap) * q)
    if gap < _SMALLEST_GAP:
        return _below_rounding(act, gap, q, mean)
    pair = _pair(act, act, c=1.0 - gap, gap=gap, qs=(q, q), means=(mean, mean))

    def integrand(u1: Array, u2: Array, x: Array, y: Array) -> Array:
        half_square = 0.5 * np.square(act.fn(u1) - act.fn(u2))
        # d log density / d gap = (y^2 - 1) / (2 gap) - (x^2 - 1) / (2 (2 - gap)); at gap = 2 x does not enter u at all
        score = (y * y - 1.0) / (2.0 * gap)
        if gap < 2.0:
            score = score - (x * x - 1.0) / (2.0 * (2.0 - gap))
        return np.stack((half_square, half_square * score))

    m = gaussian_moments(act, mean=mean, q=q)
    # f(u1) - f(u2) of nearly equal values: what rounding leaves of it; asking quadrature for more would never end
    lost = EPS * math.sqrt(m.second / max(min(gap * q * m.dsecond, m.second), 1e-300))
    value, slope = _nested(integrand, pair, rtol=max(1e-12, 30.0 * lost))
    return value, slope / q


def _below_rounding(act: Activation, gap: float, q: float, mean: float) -> tuple[float, float]:
    """The leading power of the gap: linear, or a square root where the function jumps, from the smallest integrated."""
    value, slope = _gap_and_slope(act, _SMALLEST_GAP, q, mean)
    share = gap / _SMALLEST_GAP
    if value > 2.0 * _SMALLEST_GAP * q * gaussian_moments(act, q=q, mean=mean).dsecond:
        return value * math.sqrt(share), slope / math.sqrt(share)
    return value * share, slope


@lru_cache(maxsize=1024)
def pair_fourths(act: Activation, c: float, *, q: float) -> tuple[float, float, float]:
    """E f1 f2, E f1^2 f2^2 and E f1^3 f2 for a centred Gaussian pair of variance q and correlation c.

    Example:
        >>> from fanin.theory.activations import activation
        >>> [round(v, 9) for v in pair_fourths(activation("linear"), 0.5, q=1.0)]
        [0.5, 1.5, 1.5]
    """

    def integrand(u1: Array, u2: Array, x: Array, y: Array) -> Array:
        f1, f2 = act.fn(u1), act.fn(u2)
        return np.stack((f1 * f2, np.square(f1 * f2), f1**3 * f2))

    if _is_rough(act, q):
        return drawn_fourths(act, c, q)
    product, squares, cube = _nested(integrand, _pair(act, act, c=c, gap=1.0 - c, qs=(q, q), means=(0.0, 0.0)))
    return product, squares, cube


def _pair(
    f: Activation, g: Activation, *, c: float, gap: float, qs: tuple[float, float], means: tuple[float, float]
) -> _Pair:
    for v, m in zip(qs, means, strict=True):
        if not (math.isfinite(v) and v > 0.0 and math.isfinite(m)):
            raise TheoryError(f"variances must be finite and > 0 and means finite, got q = {v!r}, mean = {m!r}")
    kinks = tuple(kinks_of(act, mean=m, q=v) for act, m, v in zip((f, g), means, qs, strict=True))
    return _Pair(c, gap, means, (math.sqrt(qs[0]), math.sqrt(qs[1])), (kinks[0], kinks[1]))


def _nested(integrand: _Integrand, pair: _Pair, *, rtol: float = 1e-12) -> tuple[float, ...]:
    rule, edges = _outer(integrand, pair)
    return tuple(float(v) for v in integrate(rule, edges, rtol=rtol, panels=_MOST_OUTER).values)


def _outer(integrand: _Integrand, pair: _Pair, *, inner: int = _MAX_PANELS) -> tuple[PanelRule, Array]:
    """The outer integral's rule, with the inner one done, and its first panels."""
    alpha, beta = math.sqrt(0.5 * (1.0 + pair.c)), math.sqrt(0.5 * pair.gap)
    # kinks in units of the standardised u1, u2
    k1 = (np.array(pair.kinks[0]) - pair.means[0]) / pair.stds[0]
    k2 = (np.array(pair.kinks[1]) - pair.means[1]) / pair.stds[1]
    grid = _inner_grid(beta * max(pair.stds), inner)

    at_once = max(1, _NODES_AT_ONCE // (NODES.size**2 * (grid.size + k1.size + k2.size)))

    def rule(lo: Array, hi: Array) -> tuple[Array, Array, Array]:
        parts = [part(lo[i : i + at_once], hi[i : i + at_once]) for i in range(0, lo.size, at_once)]
        values, sizes, noises = (np.concatenate(column) for column in zip(*parts, strict=True))
        return values, sizes, noises

    def part(lo: Array, hi: Array) -> tuple[Array, Array, Array]:
        half = 0.5 * (hi - lo)[:, None]
        x = (0.5 * (hi + lo)[:, None] + half * NODES).ravel()
        y, weight = _inner_nodes(x, alpha=alpha, beta=beta, k1=k1, k2=k2, grid=grid)
        u1 = pair.means[0] + pair.stds[0] * (alpha * x[:, None] + beta * y)
        u2 = pair.means[1] + pair.stds[1] * (alpha * x[:, None] - beta * y)
        inner = (weight * integrand(u1, u2, x[:, None], y)).sum(axis=-1)
        density = np.exp(-0.5 * x * x) / math.sqrt(2.0 * math.pi)
        outer = (inner * density).reshape(-1, *half.shape[:1], NODES.size) * (half * WEIGHTS)
        values = outer.sum(axis=-1).T
        return values, np.abs(outer).sum(axis=-1).T, np.zeros_like(values)

    return rule, _outer_edges(alpha, beta, max(pair.stds), k1, k2)


def _inner_grid(spread: float, most: int) -> Array:
    panels = min(most, max(8, math.ceil(2.0 * _INNER_CUT * spread / _PANEL_WIDTH)))
    return np.linspace(-_INNER_CUT, _INNER_CUT, panels + 1)


def _inner_nodes(x: Array, *, alpha: float, beta: float, k1: Array, k2: Array, grid: Array) -> tuple[Array, Array]:
    """Nodes in y and their weights with the Gaussian density, (x, nodes), panels split where u1 or u2 meets a kink."""
    limits = np.broadcast_to(grid, (x.size, grid.size))
    if beta > 0.0 and k1.size + k2.size:
        crossings = np.concatenate((k1 - alpha * x[:, None], alpha * x[:, None] - k2), axis=1) / beta
        limits = np.sort(np.concatenate((limits, np.clip(crossings, -_INNER_CUT, _INNER_CUT)), axis=1), axis=1)
    half = 0.5 * np.diff(limits, axis=1)[..., None]
    y = (0.5 * (limits[:, 1:] + limits[:, :-1])[..., None] + half * NODES).reshape(x.size, -1)
    weight = (half * WEIGHTS).reshape(x.size, -1) * np.exp(-0.5 * y * y) / math.sqrt(2.0 * math.pi)
    return y, weight


def _outer_edges(alpha: float, beta: float, std: float, k1: Array, k2: Array) -> Array:
    base = np.arange(-_OUTER_CUT, _OUTER_CUT + 1.0, 2.0)
    if alpha == 0.0:
        return base
    # where two kink lines cross, the inner integral is itself not smooth; around each, the smoothing has width beta
    crossings = (0.5 * (k1[:, None] + k2[None, :])).ravel()
    spread = 3.0 * beta * np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    near_origin = 2.0 ** np.arange(-1.0, max(0.0, math.log2(_OUTER_CUT * std)) + 1.0) / (alpha * std)
    grids = (base, ((crossings[:, None] + spread) / alpha).ravel(), near_origin, -near_origin, np.zeros(1))
    edges = np.concatenate(grids)
    return np.unique(np.clip(edges, -_OUTER_CUT, _OUTER_CUT))


def _check_correlation(c: float) -> None:
    if not -1.0 <= c <= 1.0:
        raise TheoryError(
            f"c is a correlation and must lie in [-1, 1], got {c!r}; divide the covariance by sqrt(q1 q2)"
        )


def _check_gap(gap: float) -> float:
    if not 0.0 <= gap <= 2.0:
        raise TheoryError(f"gap is 1 - c and must lie in [0, 2], got {gap!r}")
    return float(gap)
