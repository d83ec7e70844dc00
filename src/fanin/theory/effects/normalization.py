"""Normalisation: the forward signal is pinned; what it does to gradients is not nothing."""

from __future__ import annotations

from fanin.errors import TheoryError
from fanin.theory.callables import ActivationLike
from fanin.theory.moments import gaussian_moments

__all__ = ["batch_norm_growth", "layer_norm_slope", "rms_norm_slope"]


def batch_norm_growth(phi: ActivationLike) -> float:
    """Squared-gradient factor of a linear + BatchNorm + phi layer, large batch: E phi'^2 / Var phi.

    BatchNorm divides by the standard deviation of W phi(z), so the weights' scale cancels; what remains is above 1
    for every function but a straight line: a deep plain network with BatchNorm has exploding gradients, at any
    weight scale.

    Accuracy:
        1e-10; relu gives pi / (pi - 1) = 1.466942 (tests/theory/test_effects.py). Infinite width and batch.

    Source:
        Yang et al. 2019, arXiv 1902.08129, corollary 3.6.

    Example:
        >>> round(batch_norm_growth("relu"), 6)
        1.466942
    """
    m = gaussian_moments(phi)
    if m.var <= 0.0:
        raise TheoryError("a constant function has no variance to normalise; use another activation")
    return m.dsecond / m.var


def layer_norm_slope(*, var: float, features: int, eps: float = 0.0) -> float:
    """Mean squared singular value of LayerNorm's Jacobian: (features - 2) / features / (var + eps).

    The output has mean 0 and fixed norm, so two of the directions are lost; the rest is divided by the standard
    deviation.

    Args:
        var: variance over the features of the input, > 0.
        features: number of features normalised together, >= 3.
        eps: added to the variance; with eps > 0 the direction of the norm is not lost in full, the number then is a
            bound.

    Example:
        >>> layer_norm_slope(var=4.0, features=1000)
        0.2495
    """
    _check(var, features, least=3)
    return (features - 2) / features / (var + eps)


def rms_norm_slope(*, second: float, features: int, eps: float = 0.0) -> float:
    """Mean squared singular value of RMSNorm's Jacobian: (features - 1) / features / (second + eps).

    Example:
        >>> rms_norm_slope(second=4.0, features=1000)
        0.24975
    """
    _check(second, features, least=2)
    return (features - 1) / features / (second + eps)


def _check(size: float, features: int, *, least: int) -> None:
    if not (size > 0.0 and features >= least):
        raise TheoryError(f"needs a positive variance and at least {least} features, got {size!r} and {features!r}")
