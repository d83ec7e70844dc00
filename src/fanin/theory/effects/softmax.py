r"""Softmax over T Gaussian logits: the Random Energy Model.

Small logits average over all T entries; beyond a standard deviation of sqrt(2 ln T) a few entries carry everything. The
moments are exact at any T, by the identity :math:`1/S^k = \int t^{k-1} e^{-tS} dt / (k-1)!`, which turns the sum
over T entries into a power.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from fanin.errors import TheoryError
from fanin.theory._types import Array
from fanin.theory.quadrature import NODES, WEIGHTS, integrate

__all__ = ["SoftmaxMoments", "condensation_std", "softmax_entropy", "softmax_moments"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftmaxMoments:
    """Moments of softmax weights p over T entries, logits independent N(0, logit_var).

    Attributes:
        mean: 1 / T.
        var: variance of one weight.
        participation: E sum p^2, from 1 / T (uniform) to 1 (one entry has all): what is left of the values' variance.
        overlap: E sum p p' of two rows with independent logits, 1 / T.
        entropy: mean entropy, from ln T to 0.
        condensed: logits beyond sqrt(2 ln T).
    """

    mean: float
    var: float
    participation: float
    overlap: float
    entropy: float
    condensed: bool


def condensation_std(entries: int) -> float:
    """Logit standard deviation at which softmax over T entries condenses: sqrt(2 ln T).

    Source:
        Derrida 1981, the Random Energy Model; attention: Giorlandino & Goldt 2025, arXiv 2505.24333.

    Example:
        >>> round(condensation_std(1024), 3)
        3.723
    """
    _check(entries, 0.0)
    return math.sqrt(2.0 * math.log(entries))


def softmax_entropy(entries: int, *, logit_var: float) -> float:
    """Mean entropy for large T: ln T - logit_var / 2 below condensation; it reaches 0 at logit_var = 2 ln T.

    Accuracy:
        0.036 ln T for logit std up to 1.5 and T >= 64, against the exact one of `softmax_moments`
        (tests/theory/test_attention.py).

    Example:
        >>> round(softmax_entropy(256, logit_var=1.0), 4)
        5.0452
    """
    _check(entries, logit_var)
    return max(math.log(entries) - 0.5 * logit_var, 0.0)


def softmax_moments(entries: int, *, logit_var: float, correlation: float = 0.0) -> SoftmaxMoments:
    """Exact moments of softmax over T Gaussian logits of one variance and one pairwise correlation.

    A shared part of the logits cancels in a softmax, so only (1 - correlation) logit_var matters.

    Args:
        entries: T, >= 1.
        logit_var: variance of the logits, in [0, 100].
        correlation: of any two logits of the row.

    Accuracy:
        five standard errors of Monte Carlo, T = 2 to 256, logit std 0.5 to 6 (tests/theory/test_attention.py).
        Small logit_var: var is about (e^logit_var - 1) / T^2, the form of Kedia et al. 2024, arXiv 2403.09635.

    Example:
        >>> m = softmax_moments(256, logit_var=1.0)
        >>> round(m.participation * 256, 3), round(m.entropy, 3)
        (2.646, 5.052)
    """
    _check(entries, logit_var)
    own = (1.0 - correlation) * logit_var
    participation, entropy = _exact(entries, own) if own > 0.0 and entries > 1 else (1.0 / entries, math.log(entries))
    return SoftmaxMoments(
        mean=1.0 / entries,
        var=max(participation / entries - 1.0 / entries**2, 0.0),
        participation=participation,
        overlap=1.0 / entries,
        entropy=entropy,
        condensed=own > 2.0 * math.log(entries),
    )


@lru_cache(maxsize=512)
def _exact(entries: int, logit_var: float) -> tuple[float, float]:
    std = math.sqrt(logit_var)

    def rule(lo: Array, hi: Array) -> tuple[Array, Array, Array]:
        half = 0.5 * (hi - lo)[:, None]
        tau = 0.5 * (hi + lo)[:, None] + half * NODES
        t = np.exp(tau)
        log_kept, one_log, two = _laplace(tau.ravel(), std)
        rest = np.exp((entries - 1) * log_kept).reshape(tau.shape)
        # E sum p^2 = T int t E[e^2l e^{-t e^l}] rest dt; E sum p l = T int E[l e^l e^{-t e^l}] rest dt; dt = t dtau
        squares = entries * two.reshape(tau.shape) * rest
        energy = entries * one_log.reshape(tau.shape) * rest
        # E ln S = int (e^{-t} - E[e^{-t e^l}]^T) / t dt
        log_sum = np.exp(-t) - np.exp(entries * log_kept).reshape(tau.shape)
        parts = half * WEIGHTS * np.stack((squares, log_sum - energy))
        values = parts.sum(-1).T
        return values, np.abs(parts).sum(-1).T, np.zeros_like(values)

    low = -math.log(entries) - 12.0 * std - 40.0
    edges = np.linspace(low, 12.0 * std + 8.0, 2 + int((12.0 * std + 8.0 - low) / 3.0))
    participation, entropy = integrate(rule, edges, rtol=1e-10).values
    return float(participation), max(float(entropy), 0.0)


def _laplace(tau: Array, std: float) -> tuple[Array, Array, Array]:
    """Log E exp(-t e^l), E t l e^l exp(-t e^l), E t^2 e^2l exp(-t e^l) for l ~ N(0, std^2), t = e^tau."""
    panels = max(24, math.ceil(24.0 * std / 1.5))
    edges = np.linspace(-12.0, 12.0 + std, panels + 1)
    half = 0.5 * np.diff(edges)[:, None]
    z = (0.5 * (edges[1:] + edges[:-1])[:, None] + half * NODES).ravel()
    weight = (half * WEIGHTS).ravel() * np.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)
    x = np.exp(np.minimum(tau[:, None] + std * z, 700.0))  # t e^l
    decay = np.exp(-x)
    first = x * decay
    kept, lost = decay @ weight, -np.expm1(-x) @ weight  # each exact where the other is nearly 1
    log_kept = np.where(lost < 0.5, np.log1p(-np.minimum(lost, 0.5)), np.log(np.maximum(kept, 1e-300)))
    return log_kept, first @ (weight * std * z), (np.minimum(x, 1e3) * first) @ weight


def _check(entries: int, logit_var: float) -> None:
    if entries < 1 or not 0.0 <= logit_var <= 100.0:
        raise TheoryError(
            f"softmax needs at least one entry and a logit variance in [0, 100], got {entries!r} and "
            f"{logit_var!r}; beyond that "
            "one entry has all the weight"
        )
