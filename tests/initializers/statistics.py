"""Comparisons that raise, with tolerances computed from the law and the number of samples."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

Z = 5.0
WRONG = 1.03  # the factor on a std that every check here must be able to see


def assert_ratio(got: float, want: float, *, rel_var: float, what: str) -> None:
    """`got` within Z standard errors of `want`, where `rel_var` is the variance of got / want."""
    error = math.sqrt(rel_var)
    if not abs(got / want - 1.0) < Z * error:
        raise AssertionError(
            f"{what}: {got:.6g}, want {want:.6g} (1 +- {Z * error:.2g}), {(got / want - 1) / error:+.1f} se"
        )


def assert_power(rel_var: float) -> None:
    """The check with this variance sees a std that is 3 % off, and does not see a right one: 2 Z se < 1.03^2 - 1."""
    if not 2.0 * Z * math.sqrt(rel_var) < WRONG**2 - 1.0:
        raise AssertionError(f"the check is too weak: se {math.sqrt(rel_var):.3g} for a change of {WRONG**2 - 1.0:.3g}")


def assert_variance(w: npt.NDArray[Any], *, mean: float, var: float, kurtosis: float) -> None:
    """Mean and variance of independent entries, within Z standard errors."""
    values = np.asarray(w, np.float64).reshape(-1)
    n = values.size
    if var > 0.0 and not abs(values.mean() - mean) < Z * math.sqrt(var / n):
        raise AssertionError(f"mean {values.mean():.6g}, want {mean:.6g} +- {Z * math.sqrt(var / n):.2g}")
    assert_ratio(float(((values - mean) ** 2).mean()), var, rel_var=(kurtosis - 1.0) / n, what="variance")


def assert_same_law(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> None:
    """Two-sample Kolmogorov-Smirnov at p > 3e-7 (5 standard errors one-sided), for at least 1e5 values each."""
    from scipy.stats import ks_2samp

    if min(np.size(a), np.size(b)) < 100_000:
        raise AssertionError("too few values for this test to mean anything")
    found = ks_2samp(np.asarray(a, np.float64).reshape(-1), np.asarray(b, np.float64).reshape(-1), method="asymp")
    if not found.pvalue > 3e-7:
        raise AssertionError(f"different laws: KS {found.statistic:.4g}, p {found.pvalue:.2g}")
