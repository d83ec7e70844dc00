"""Tokens that are alike: variance and correlation of a set of vectors through the steps of a block."""

from __future__ import annotations

from dataclasses import dataclass

from fanin.errors import TheoryError
from fanin.theory.bivariate import bivariate
from fanin.theory.callables import ActivationLike
from fanin.theory.effects.pooling import average_pool_moments
from fanin.theory.moments import gaussian_moments

__all__ = ["TokenMoments", "activated_tokens", "linear_tokens", "pooled_tokens"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenMoments:
    """Entries of token vectors.

    Attributes:
        mean: mean of an entry.
        second: E x^2.
        product: E x x' of one entry at two tokens.
    """

    mean: float
    second: float
    product: float

    @property
    def cosine(self) -> float:
        """Expected cosine of two tokens, product / second."""
        return self.product / self.second


def linear_tokens(tokens: TokenMoments, *, sigma_w2: float, sigma_b2: float = 0.0) -> TokenMoments:
    """Through a centred linear layer: both moments times sigma_w2, plus the bias, which all tokens share.

    Example:
        >>> linear_tokens(TokenMoments(mean=0.5, second=1.0, product=0.4), sigma_w2=2.0).product
        0.8
    """
    return TokenMoments(
        mean=0.0, second=sigma_w2 * tokens.second + sigma_b2, product=sigma_w2 * tokens.product + sigma_b2
    )


def activated_tokens(tokens: TokenMoments, *, phi: ActivationLike = "relu") -> TokenMoments:
    """Through an activation, for Gaussian centred tokens (behind a linear layer).

    Source:
        Kedia et al. 2024, arXiv 2403.09635, table 1, in closed form for relu and gelu.

    Example:
        >>> round(activated_tokens(TokenMoments(mean=0.0, second=2.0, product=0.0)).cosine, 6)  # 1 / pi
        0.31831
    """
    if tokens.mean != 0.0:
        raise TheoryError(f"expects centred tokens, as a linear layer leaves them; got mean {tokens.mean!r}")
    m = gaussian_moments(phi, q=tokens.second)
    return TokenMoments(mean=m.mean, second=m.second, product=bivariate(phi, tokens.cosine, q=tokens.second))


def pooled_tokens(tokens: TokenMoments, count: int) -> float:
    """Second moment of the mean of `count` tokens: (second + (count - 1) product) / count.

    Example:
        >>> pooled_tokens(TokenMoments(mean=0.0, second=1.0, product=0.2), 4)
        0.4
    """
    var = tokens.second - tokens.mean**2
    shared = (tokens.product - tokens.mean**2) / var if var > 0.0 else 0.0
    pooled = average_pool_moments(count, mean=tokens.mean, var=var, correlation=shared)
    return pooled.second
