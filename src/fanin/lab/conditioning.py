"""Input conditioning: what is done to the features before the first layer, fitted on the training part only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from fanin.errors import MissingDependencyError, UnknownNameError, did_you_mean
from fanin.lab.split import Split

__all__ = ["CONDITIONINGS", "condition"]


def _raw(x: Any, held: Any) -> tuple[Any, Any]:
    return x, held


def _unit(x: Any, held: Any) -> tuple[Any, Any]:
    """To [0, 1] by the training part's smallest and largest value."""
    low, high = float(x.min()), float(x.max())
    return (x - low) / (high - low), (held - low) / (high - low)


def _standardised(x: Any, held: Any) -> tuple[Any, Any]:
    """Mean 0 and std 1: over all features together for pixels on one range, per feature otherwise."""
    same_range = float(x.min()) == 0.0 and float(x.max()) in (1.0, 16.0, 255.0)
    axis = None if same_range else 0
    mean, std = x.mean(axis=axis, dtype=np.float64), x.std(axis=axis, dtype=np.float64)
    std = np.where(std > 0, std, 1.0)
    return (x - mean) / std, (held - mean) / std


def _whitened(x: Any, held: Any) -> tuple[Any, Any]:
    """Uncorrelated features of variance 1: principal components of 99 % of the variance, each divided by its std."""
    try:
        from sklearn.decomposition import PCA
    except ImportError as error:
        raise MissingDependencyError.of("scikit-learn", extra="lab", needed_for="whitening") from error
    pca = PCA(n_components=0.99, whiten=True, svd_solver="full").fit(x.astype(np.float64))
    return pca.transform(x), pca.transform(held)


CONDITIONINGS: dict[str, Callable[[Any, Any], tuple[Any, Any]]] = {
    "raw": _raw,
    "unit": _unit,
    "standardised": _standardised,
    "whitened": _whitened,
}


def condition(data: Split, scaling: str) -> Split:
    """The same data set with its inputs conditioned; every constant is fitted on the training part.

    Args:
        data: inputs of shape (n, features).
        scaling: "raw", "unit" (to [0, 1]), "standardised" (mean 0, std 1) or "whitened" (principal components of 99 %
            of the variance, each of std 1).

    Source: LeCun, Bottou, Orr, Mueller 1998, "Efficient BackProp", section 4.3.

    Example:
        >>> from fanin.lab.data import load
        >>> white = condition(load("digits", scaling="raw"), "whitened")
        >>> bool(abs(np.cov(white.x.T) - np.eye(white.x.shape[1])).max() < 1e-3)
        True
    """
    if scaling not in CONDITIONINGS:
        raise UnknownNameError(f"there is no input conditioning {scaling!r}; {did_you_mean(scaling, CONDITIONINGS)}")
    x, held = CONDITIONINGS[scaling](data.x, data.x_held)
    return replace(data, x=np.asarray(x, dtype=np.float32), x_held=np.asarray(held, dtype=np.float32))
