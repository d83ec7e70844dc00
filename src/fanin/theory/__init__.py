"""What a weight scale does before anything runs: Gaussian moments, gains, signal maps, criticality, finite width.

Pure functions in float64 over plain callables; no framework is imported. Each says its formula, range, measured
accuracy and source.
"""

from __future__ import annotations

from fanin.theory.activations import Activation, activation, activation_names
from fanin.theory.bivariate import bivariate, bivariate_gap, bivariate_slope
from fanin.theory.callables import resolve
from fanin.theory.gains import gain
from fanin.theory.moments import Moments, gaussian_moments

__all__ = [
    "Activation",
    "Moments",
    "activation",
    "activation_names",
    "bivariate",
    "bivariate_gap",
    "bivariate_slope",
    "gain",
    "gaussian_moments",
    "resolve",
]
