"""Gaussian moments of one activation: what a layer does to the size of a signal and of its gradient."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from fanin.errors import TheoryError
from fanin.theory._types import Array
from fanin.theory.activations import Activation
from fanin.theory.callables import ActivationLike, resolve
from fanin.theory.closed_forms import CLOSED_MOMENTS
from fanin.theory.kinks import find_kinks
from fanin.theory.panels import EPS, over_the_line, slopes_at, values_at
from fanin.theory.quadrature import NODES, WEIGHTS, PanelRule, RoughFunctionError
from fanin.theory.sampled import roughness, sampled_integrals
from fanin.theory.singular import steepest_power

_UNSURE = 1e-6  # error from which the function is searched for a point where its slope has no limit
# Powers up to which E f'^2 and E f'^4 are infinite: 1/2 and 3/4, as well as they show.
_SECOND, _FOURTH = 0.505, 0.755

__all__ = ["Moments", "gaussian_moments", "kinks_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """Moments of f(z), z Gaussian with the given mean and variance q.

    Attributes:
        mean: E f.
        second: E f^2.
        var: E f^2 - (E f)^2, computed without that cancellation.
        fourth: E f^4.
        dmean: E f'.
        dsecond: E f'^2, the derivative where it exists; infinite for a function such as sqrt|x|, whose slope grows
            without limit towards a point as |x - s|^(-1/2) or faster.
        dfourth: E f'^4; infinite where the slope grows as |x - s|^(-1/4) or faster.
        ffprime: E f f'.
        second_slope: d E f^2 / dq at fixed mean, from E (z - mean) f f' / q; jumps leave it short of their share.
        error: largest error among the finite ones, relative to the integral of the absolute value; of functions too
            rough for quadrature, which are drawn, about 1e-3.
        kinks: the kinks used: given, known, or found.
    """

    mean: float
    second: float
    var: float
    fourth: float
    dmean: float
    dsecond: float
    dfourth: float
    ffprime: float
    second_slope: float
    error: float
    kinks: tuple[float, ...] = ()

    @property
    def kappa(self) -> float:
        """E f^4 / (E f^2)^2 - 1: variance of f^2 relative to its mean squared; rules the spread at finite width."""
        return self.fourth / self.second**2 - 1.0


def gaussian_moments(
    phi: ActivationLike, *, mean: float = 0.0, q: float = 1.0, kinks: Iterable[float] | None = None
) -> Moments:
    r"""Moments of :math:`f(z)` for :math:`z \sim \mathcal{N}(\mathrm{mean}, q)`.

    Closed forms where the activation has them (centred z), else adaptive quadrature in float64 that closes in on kinks
    by itself.

    Args:
        phi: name, `Activation`, NumPy or torch callable, or activation module; elementwise.
        mean: mean of z, finite.
        q: variance of z (not a standard deviation), finite and > 0.
        kinks: where f or f' jumps, in units of z; known for the table's activations, found otherwise. Giving them
            saves time.

    Returns:
        `Moments`, floats.

    Raises:
        TheoryError: q or mean out of range; f not elementwise, not finite, or growing too fast for its moments to
            exist.

    Accuracy:
        relative error < 1e-10 for every activation of the table and every moment, q = 1e-3, 1e-2, ..., 1e2, kinks
        known or found, against 30-digit mpmath (tests/theory/test_moments.py); typically 1e-14.

    Source:
        the integrals of Poole et al. 2016, arXiv 1606.05340, eq. 3, and Schoenholz et al. 2017, arXiv 1611.01232, eq.
        5.

    Example:
        >>> relu = gaussian_moments("relu")
        >>> relu.second, relu.dsecond
        (0.5, 0.5)
        >>> gaussian_moments(lambda x: np.maximum(x, 0.2), q=2.0).kinks
        (0.2...,)
    """
    _check_gaussian(mean, q)
    act = resolve(phi)
    given = act.kinks if kinks is None else tuple(sorted(float(k) for k in kinks))
    return _moments(act, float(mean), float(q), given)


def kinks_of(phi: ActivationLike, *, mean: float = 0.0, q: float = 1.0) -> tuple[float, ...]:
    """Kinks of phi: the known ones, or those that quadrature under N(mean, q) runs into.

    Example:
        >>> kinks_of("relu6")
        (0.0, 6.0)
    """
    act = resolve(phi)
    return act.kinks if act.kinks is not None else find_kinks(act, mean=mean, std=math.sqrt(q))


def _check_gaussian(mean: float, q: float) -> None:
    if not (math.isfinite(q) and q > 0.0):
        raise TheoryError(
            f"q is the variance of a Gaussian and must be finite and > 0, got {q!r}; for a standard deviation pass "
            "its square"
        )
    if not math.isfinite(mean):
        raise TheoryError(f"mean must be finite, got {mean!r}; pass the mean of the pre-activation, usually 0.0")


@lru_cache(maxsize=8192)
def _moments(act: Activation, mean: float, q: float, kinks: tuple[float, ...] | None) -> Moments:
    closed = CLOSED_MOMENTS.get(act.name) if act.identity is None and mean == 0.0 else None
    if closed is not None:
        try:
            values = closed(q, **dict(act.params))
        except OverflowError:
            raise TheoryError(f"the moments of {act} under N(0, {q:g}) exceed every float; use a smaller q") from None
        return Moments(**values, error=8.0 * EPS, kinks=act.kinks or ())
    return _by_quadrature(act, mean, q, kinks)


def _by_quadrature(act: Activation, mean: float, q: float, given: tuple[float, ...] | None) -> Moments:
    std = math.sqrt(q)
    shift = float(np.asarray(act.fn(np.array([mean])), dtype=np.float64)[0])
    kinks: tuple[float, ...] = ()
    rough = roughness(act)
    try:
        if q >= rough.from_q:
            raise RoughFunctionError(act.name)
        kinks = given if given is not None else find_kinks(act, mean=mean, std=std)
        integral = over_the_line(act, _rule(act, mean=mean, std=std, shift=shift), mean=mean, std=std, kinks=kinks)
        values, errors, error = integral.values, integral.errors, float(np.max(integral.errors))
    except RoughFunctionError:
        if act.identity is None:
            raise
        rough.found(q)
        kinks, (values, error) = (), sampled_integrals(act, mean=mean, std=std, shift=shift)
        errors = np.array([error])
    near, near2, second, fourth, dmean, dsecond, dfourth, ffprime, zff = (float(v) for v in values)
    if error > _UNSURE and (power := steepest_power(act, mean=mean, std=std)) <= _FOURTH:
        dsecond, dfourth = math.inf if power <= _SECOND else dsecond, math.inf
        error = float(np.max(errors[[0, 1, 2, 3, 4, 7, 8]])) if errors.size > 1 else error
    return Moments(
        mean=shift + near,
        second=second,
        var=near2 - near * near,
        fourth=fourth,
        dmean=dmean,
        dsecond=dsecond,
        dfourth=dfourth,
        ffprime=ffprime,
        second_slope=zff / q,
        error=error,
        kinks=kinks,
    )


def _rule(act: Activation, *, mean: float, std: float, shift: float) -> PanelRule:
    """Panel integrals of f - f(mean), its square, f^2, f^4, f', f'^2, f'^4, f f', (z - mean) f f'.

    f - f(mean) keeps the variance of a function with a large constant part (a sigmoid at small q) free of cancellation.
    """

    def rule(lo: Array, hi: Array) -> tuple[Array, Array, Array]:
        half = 0.5 * (hi - lo)[:, None]
        z = 0.5 * (hi + lo)[:, None] + half * NODES
        u = (z - mean) / std
        weight = half * WEIGHTS * np.exp(-0.5 * u * u) / (std * math.sqrt(2.0 * math.pi))
        f, eps = values_at(act, z)
        df, noise = slopes_at(act, z, f, half, eps)
        near = f - shift
        parts = np.stack((near, near * near, f * f, (f * f) ** 2, df, df * df, df**4, f * df, (z - mean) * f * df))
        weighted = weight * parts
        roundoff = eps * np.abs(f) * 4.0
        values = roundoff * np.stack((np.ones_like(f), 2 * np.abs(near), 2 * np.abs(f), 4 * np.abs(f) ** 3))
        slopes = noise * np.stack(
            (np.ones_like(f), 2 * np.abs(df) + noise, 4 * np.abs(df) ** 3 + noise**3, np.abs(f), np.abs((z - mean) * f))
        )
        noises = np.concatenate((values, slopes))
        return weighted.sum(-1).T, np.abs(weighted).sum(-1).T, (weight * noises).sum(-1).T

    return rule
