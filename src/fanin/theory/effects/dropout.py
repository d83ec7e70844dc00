"""Dropout: more variance for one input, and an end to two inputs ever becoming one."""

from __future__ import annotations

from dataclasses import dataclass

from fanin.errors import TheoryError
from fanin.theory.bivariate import bivariate_gap, bivariate_slope
from fanin.theory.callables import ActivationLike, resolve
from fanin.theory.depth_scales import layers
from fanin.theory.fixed_points import q_star, solve_bracketed
from fanin.theory.moments import gaussian_moments

__all__ = ["DropoutScales", "dropout_moments", "dropout_scales"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DropoutScales:
    """Fixed points and depth scale under dropout.

    Attributes:
        q_star: second moment of the pre-activations.
        c_star: correlation that two inputs settle at, below 1 for any dropout, even for one input shown twice.
        xi_c: layers over which c settles.
    """

    q_star: float
    c_star: float
    xi_c: float


def _check_rate(p: float) -> None:
    if not 0.0 <= p < 1.0:
        raise TheoryError(f"p is the share of entries dropped and must lie in [0, 1), got {p!r}")


def dropout_moments(*, mean: float, var: float, p: float) -> tuple[float, float]:
    """Mean and variance after inverted dropout: mean, (var + p mean^2) / (1 - p).

    The mean term is what makes it right behind relu: var / (1 - p) alone is for centred inputs.

    Args:
        mean: mean of the input.
        var: variance of the input.
        p: share dropped, in [0, 1).

    Source:
        direct: the second moment is divided by 1 - p, the mean is kept. Kedia et al. 2024, arXiv 2403.09635, table 1.

    Example:
        >>> dropout_moments(mean=1.0, var=1.0, p=0.5)
        (1.0, 3.0)
    """
    _check_rate(p)
    return mean, (var + p * mean * mean) / (1.0 - p)


def dropout_scales(phi: ActivationLike, *, sigma_w2: float, sigma_b2: float = 0.0, p: float) -> DropoutScales:
    """q*, c* and xi_c of a plain network with inverted dropout at rate p behind every activation.

    q = sigma_w2 E phi^2 / (1 - p) + sigma_b2 for one pass; sigma_w2 E phi phi + sigma_b2 between two passes, whose
    masks are independent.

    Raises:
        TheoryError: p out of range, or q grows without bound.

    Accuracy:
        tanh critical at sigma_b2 = 0.05 has xi_c 14.5, 6.8, 4.7, 2.9 at p = 0.01, 0.05, 0.1, 0.2
        (tests/theory/test_effects.py).

    Source:
        Schoenholz et al. 2017, arXiv 1611.01232, section 5.

    Example:
        >>> round(dropout_scales("tanh", sigma_w2=1.760955, sigma_b2=0.05, p=0.01).xi_c, 1)
        14.5
    """
    _check_rate(p)
    act = resolve(phi)
    q = q_star(act, sigma_w2=sigma_w2 / (1.0 - p), sigma_b2=sigma_b2).value
    if q == 0.0:
        return DropoutScales(q_star=0.0, c_star=1.0, xi_c=layers(sigma_w2 * gaussian_moments(act, q=1e-12).dsecond))
    lost = sigma_w2 * gaussian_moments(act, q=q).second * p / (1.0 - p)

    def drift(gap: float) -> float:
        return (sigma_w2 * bivariate_gap(act, gap, q=q) + lost) / q - gap

    gap = solve_bracketed(drift, 0.0, 1.0).value if p > 0.0 and drift(1.0) < 0.0 else float(p > 0.0)
    return DropoutScales(q_star=q, c_star=1.0 - gap, xi_c=layers(sigma_w2 * bivariate_slope(act, gap, q=q)))
