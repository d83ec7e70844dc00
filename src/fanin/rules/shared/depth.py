"""How a quantity grows with depth, robustly: one odd layer does not make a trend."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fanin.measure.kinds import SITE_NORMS
from fanin.measure.record import Measurements, Site
from fanin.rules.shared.upstream import read_by_weights

__all__ = ["Drift", "backward_sites", "backward_size", "drift", "finite_width_std", "forward_sites"]

_HEAD_FROM = 4
_MOST_PLACES = 1000  # half a million pairs; all of 5,000 places would take 600 MB
_RELU_KAPPA = 5.0  # E[phi^4] / E[phi^2]^2 - 1 of the rectifier, the widest of the common activations


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """A trend of ln(value) along depth.

    Attributes:
        log_factor: ln of the whole change from the first site to the last, by the median slope.
        tau: Kendall's rank correlation with depth.
        num_sites: sites that it was taken over.
    """

    log_factor: float
    tau: float
    num_sites: int

    @property
    def factor(self) -> float:
        """The whole change as a factor."""
        return math.exp(min(max(self.log_factor, -700.0), 700.0))


def drift(values: Sequence[float]) -> Drift:
    """Theil-Sen slope of ln(value) over position times the number of steps, and Kendall's tau.

    Of more than 1,000 values, 1,000 that are spread evenly from the first to the last.

    Source: Sen 1968 (J. Am. Stat. Assoc. 63), Kendall 1938 (Biometrika 30).

    Example:
        >>> round(drift([1.0, 0.1, 0.01, 5.0, 1e-4]).factor, 6)
        0.0001
    """
    y = np.log(np.asarray(values, dtype=np.float64))
    place = np.linspace(0, len(y) - 1, min(len(y), _MOST_PLACES)).round().astype(int)
    i, j = (place[k] for k in np.triu_indices(len(place), 1))
    rise = y[j] - y[i]
    slope = float(np.median(rise / (j - i))) if len(rise) else 0.0
    return Drift(
        log_factor=slope * (len(y) - 1), tau=float(np.mean(np.sign(rise))) if len(rise) else 0.0, num_sites=len(y)
    )


def finite_width_std(widths: Sequence[float], kappa: float = _RELU_KAPPA) -> float:
    """Standard deviation of ln(rms) that finite width alone gives a network at criticality: sqrt(kappa sum 1/n) / 2.

    Source: Hanin and Rolnick 2018 (arXiv 1803.01719), theorem 5; kappa = 5 for ReLU.

    Example:
        >>> round(finite_width_std([128.0] * 40), 3)
        0.625
    """
    return 0.5 * math.sqrt(kappa * sum(1.0 / n for n in widths if n > 0))


def _in_series(sites: list[Site], measurements: Measurements) -> list[Site]:
    """The sites without heads beside the last one: they start at scales of their own, and no depth lies between them.

    All stay where more than half would be heads: then what reads them was not seen.
    """
    read = read_by_weights(measurements)
    heads = [s.index for s in sites if s.index not in read]
    beside = set(heads[:-1]) if 2 * len(heads) <= len(sites) else set()
    return [s for s in sites if s.index not in beside]


def forward_sites(measurements: Measurements) -> list[Site]:
    """Weighted operations with a finite, non-zero output, in execution order; of several heads only the last.

    The last one is left out where five or more are: a head starts at a scale of its own, or is fed by its bias alone.
    """
    found = [s for s in measurements.weight_sites() if not s.forward.any_nonfinite and s.forward.rms > 0]
    found = _in_series(found, measurements)
    return found[:-1] if len(found) > _HEAD_FROM else found


def backward_size(site: Site) -> float:
    """Norm of the gradient at a site's output; before a normalisation times the output's rms.

    A normalisation makes the scale of its input arbitrary and the gradient there inverse to it; their product is what
    does not change.
    """
    if site.backward is None:
        return 0.0
    norm = site.backward.norm or site.backward.rms
    return norm * site.forward.rms if site.follower in SITE_NORMS else norm


def backward_sites(measurements: Measurements, *, once: bool = False) -> list[Site]:
    """Weighted operations whose output gets a finite, non-zero gradient, in execution order; of heads only the last.

    Args:
        measurements: where they are recorded.
        once: of the calls that read the same parameters only the one with the largest gradient: the parameter's
            gradient is the sum over its calls, so early steps of an iteration may vanish.
    """
    found = [
        s
        for s in measurements.weight_sites()
        if s.backward is not None
        and not s.backward.any_nonfinite
        and not s.forward.any_nonfinite
        and backward_size(s) > 0
    ]
    found = _in_series(found, measurements)
    if not once:
        return found
    largest: dict[tuple[str, ...], Site] = {}
    for site in found:
        best = largest.get(site.parameters)
        if best is None or backward_size(site) > backward_size(best):
            largest[site.parameters] = site
    return sorted(largest.values(), key=lambda s: s.index)
