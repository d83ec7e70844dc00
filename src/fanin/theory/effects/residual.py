"""Sums with a skip connection: how fast a residual stream grows."""

from __future__ import annotations

import math

from fanin.errors import TheoryError

__all__ = ["pre_norm_q", "residual_chi", "residual_depth_q", "residual_q"]


def residual_q(
    q: float, branch: float, *, skip: float = 1.0, branch_multiplier: float = 1.0, correlation: float = 0.0
) -> float:
    """Second moment of skip x + branch_multiplier F(x): the squares' sum, plus the cross term.

    Args:
        q: second moment of x.
        branch: second moment of F(x).
        skip: factor of the skip path.
        branch_multiplier: factor of the branch.
        correlation: of x and F(x); 0 where F ends in fresh centred weights.

    Example:
        >>> residual_q(1.0, 4.0, branch_multiplier=0.5)
        2.0
    """
    if q < 0.0 or branch < 0.0 or not -1.0 <= correlation <= 1.0:
        raise TheoryError(
            f"second moments must be >= 0 and the correlation in [-1, 1], got {q!r}, {branch!r}, {correlation!r}"
        )
    cross = 2.0 * skip * branch_multiplier * correlation * math.sqrt(q * branch)
    return skip**2 * q + branch_multiplier**2 * branch + cross


def residual_depth_q(depth: int, *, branch_gain2: float, branch_multiplier: float = 1.0, q0: float = 1.0) -> float:
    """Q after `depth` blocks x + a F(x), F multiplying q by branch_gain2: q0 (1 + a^2 branch_gain2)^depth.

    a = 1 / sqrt(depth) keeps it below q0 exp(branch_gain2) at any depth; a = 1 grows without end.

    Example:
        >>> round(residual_depth_q(100, branch_gain2=1.0, branch_multiplier=0.1), 3)
        2.705
    """
    return q0 * (1.0 + branch_multiplier**2 * branch_gain2) ** depth


def pre_norm_q(depth: int, *, branch: float, branch_multiplier: float = 1.0, q0: float = 1.0) -> float:
    """Q of the stream after `depth` pre-norm branches: q0 + depth a^2 branch, linear in depth.

    Each branch sees a normalised input, so it adds the same each time; the gradient per block is 1 + O(1 / depth).

    Source:
        Kedia et al. 2024, arXiv 2403.09635, section 3 (Theta(N)).

    Example:
        >>> pre_norm_q(24, branch=0.5)
        13.0
    """
    return q0 + depth * branch_multiplier**2 * branch


def residual_chi(chi: float, *, skip: float = 1.0, branch_multiplier: float = 1.0) -> float:
    """Squared-gradient factor of a block: skip^2 + branch_multiplier^2 chi of the branch.

    Example:
        >>> residual_chi(2.0, branch_multiplier=0.5)
        1.5
    """
    return skip**2 + branch_multiplier**2 * chi
