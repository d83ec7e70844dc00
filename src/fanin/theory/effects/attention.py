"""Attention: an average over tokens, and what is left after it of their variance and their differences."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fanin.errors import TheoryError
from fanin.theory.effects.softmax import condensation_std, softmax_moments

__all__ = ["AttentionMoments", "attention_moments", "logit_var"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionMoments:
    """Moments behind one attention layer (softmax(q k / sqrt(d)) v, then the output projection).

    Attributes:
        var: variance of an output entry.
        correlation: of two tokens' outputs; near 1 means tokens have become alike (rank collapse).
        logit_std: standard deviation of a logit row.
        entropy_ratio: mean entropy of a row over ln T: 1 uniform, 0 one key has all.
        regime: uniform (tokens are averaged: rank collapse ahead), selective, or condensed (one key has all).
    """

    var: float
    correlation: float
    logit_std: float
    entropy_ratio: float
    regime: str


def logit_var(*, width: int, second: float, query_std: float, key_std: float, correlation: float = 0.0) -> float:
    """Variance within a row of the logits x_i W_q W_k^T x_j / sqrt(d_head).

    It is (width second query_std key_std)^2 (1 - correlation).

    Args:
        width: size of the token vectors.
        second: second moment of their entries.
        query_std: standard deviation of W_q's entries.
        key_std: standard deviation of W_k's entries.
        correlation: of two tokens; what they share moves a whole row, which softmax does not see.

    Source:
        Kedia et al. 2024, arXiv 2403.09635, appendix A (their d s^2 k^2 times d s^2); Giorlandino & Goldt 2025,
        arXiv 2505.24333.

    Example:
        >>> round(logit_var(width=256, second=1.0, query_std=1 / 16, key_std=1 / 16), 12)
        1.0
    """
    return (width * second * query_std * key_std) ** 2 * (1.0 - correlation)


def attention_moments(
    *,
    tokens: int,
    second: float = 1.0,
    correlation: float = 0.0,
    row_logit_var: float,
    value_gain2: float = 1.0,
    dropout: float = 0.0,
) -> AttentionMoments:
    """Variance and token correlation behind self-attention, logits independent of values.

    With P = E sum p^2 over the T keys: var = value_gain2 second (correlation + (1 - correlation) P / (1 - dropout));
    two queries share correlation + (1 - correlation) / T. Weights that are normalised over correlated tokens keep
    the shared part whole and average the rest.

    Args:
        tokens: T, keys visible to a query.
        second: second moment of the token entries.
        correlation: of two tokens' entries, in [0, 1]; what is left out of analyses that take tokens as independent.
        row_logit_var: variance within a row of logits, see `logit_var`.
        value_gain2: fan_in Var(w) of the value projection times that of the output projection.
        dropout: share of attention weights dropped.

    Accuracy:
        5 standard errors of a real torch attention layer at logit std 0.5 and 1, correlation 0, 0.3, 0.6
        (tests/theory/test_attention.py); a query's own key, whose logit is tied to its value, is a part O(1 / T).

    Source:
        Kedia et al. 2024, arXiv 2403.09635, table 1; regimes: Giorlandino & Goldt 2025, arXiv 2505.24333.

    Example:
        >>> m = attention_moments(tokens=256, correlation=0.3, row_logit_var=0.7)
        >>> round(m.var, 3), round(m.correlation, 3), m.regime
        (0.305, 0.991, 'uniform')
    """
    if not 0.0 <= correlation <= 1.0 or not 0.0 <= dropout < 1.0 or second <= 0.0:
        raise TheoryError(
            f"needs second > 0, correlation in [0, 1], dropout in [0, 1); got {second!r}, {correlation!r}, {dropout!r}"
        )
    row = softmax_moments(tokens, logit_var=row_logit_var)
    own = correlation + (1.0 - correlation) * row.participation
    # dropping attention weights scales the kept ones up and so perturbs the shared part as well
    lost = row.participation * dropout / (1.0 - dropout)
    var = value_gain2 * second * (own + lost)
    shared = value_gain2 * second * (correlation + (1.0 - correlation) * row.overlap)
    ratio = row.entropy / math.log(tokens) if tokens > 1 else 1.0
    return AttentionMoments(
        var=var,
        correlation=shared / var,
        logit_std=math.sqrt(row_logit_var),
        entropy_ratio=ratio,
        regime=_regime(tokens, row_logit_var),
    )


def _regime(tokens: int, row_logit_var: float) -> str:
    """By the free energy of the Random Energy Model: E sum p^2 is O(1 / T) up to half the condensation std."""
    share = math.sqrt(row_logit_var) / condensation_std(tokens) if tokens > 1 else 0.0
    return "uniform" if share < 0.5 else "selective" if share < 1.0 else "condensed"
