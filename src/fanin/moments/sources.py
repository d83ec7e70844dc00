"""Entries of the tensors that a function is computed of: their values at normal numbers, and images under it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from fanin.moments.frame import Frame
from fanin.moments.hermite import GaussianImage, gaussian_image
from fanin.moments.kernel import Array
from fanin.moments.moments import JointMoments

__all__ = ["Function", "correlation", "entries", "is_positive", "normal_correlation", "source_image"]

Function: TypeAlias = "Callable[[Array], Array]"

_LEAST = 1e-150  # a mean whose square float64 still holds


def is_positive(frame: Frame, value: int) -> bool:
    """Whether a value is never negative (an exponential, a mean of squares) and has no law: taken as log-normal."""
    s = frame.signals[value]
    return s.positive and s.law is None and _LEAST < s.known.mean < 1.0 / _LEAST


def correlation(m: JointMoments) -> Array:
    """Correlation of pairs of entries."""
    return np.clip(m.covariance / m.entry_var, -1.0, 1.0) if m.entry_var > 0.0 else np.ones_like(m.kernel)


def normal_correlation(frame: Frame, value: int, m: JointMoments) -> Array:
    """Correlations of the normal numbers that give pairs of a source's entries theirs; m: its moments at some shape."""
    law = frame.signals[value].law
    c = correlation(m)
    return c if law is None or is_positive(frame, value) else law.normal(c)


def entries(frame: Frame, value: int, z: Array, *, stretch: float = 1.0) -> Array:
    """Entries of a source that belong to normal numbers: Gaussian, log-normal, or of its own law.

    Args:
        frame: of the sweep.
        value: the source.
        z: normal numbers.
        stretch: what its standard deviation is multiplied by.
    """
    s = frame.signals[value]
    m = s.known
    if is_positive(frame, value):
        log_var = math.log1p(stretch * stretch * m.entry_var / (m.mean * m.mean))
        return np.asarray(np.exp(math.log(m.mean) - 0.5 * log_var + math.sqrt(log_var) * z))
    return np.asarray(m.mean + stretch * math.sqrt(m.entry_var) * (z if s.law is None else s.law.at(z)))


def source_image(frame: Frame, f: Function, source: int, *, stretch: float = 1.0) -> GaussianImage:
    """Image of a source under a function."""
    return gaussian_image(lambda z: f(entries(frame, source, z, stretch=stretch)), mean=0.0, var=1.0)
