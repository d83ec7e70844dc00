"""Batch norms in eval mode: whether their running statistics are those of what they read."""

from __future__ import annotations

import math

from fanin.measure.record import InputRecord, Measurements, Site

__all__ = ["cancels_scale", "given_over_asked"]

_FITS = 10.0  # times the rms that gain and shift ask for, up to which statistics count as those of the input


def given_over_asked(site: Site, measurements: Measurements) -> float | None:
    """Rms of the output of a batch norm in eval mode over what its gain and shift ask for; None elsewhere."""
    norm = site.norm
    if norm is None or norm.kind != "batch_norm" or norm.training or site.forward.any_nonfinite:
        return None
    own = {p.role: p.weight.rms for p in measurements.parameters if p.path in site.parameters}
    asked = math.hypot(own.get("norm_scale", 1.0), own.get("norm_shift", 0.0))
    return site.forward.rms / asked if asked > 0 else None


def cancels_scale(record: InputRecord, measurements: Measurements) -> bool:
    """Whether a normalisation right before or behind the first weights takes the scale of an input away.

    A batch norm in eval mode does so where its running statistics are those of this input.
    """
    first = {-1, *(s.index for s in measurements.weight_sites() if -1 in s.inputs)}
    behind = (s for s in measurements.sites if s.norm is not None and first.intersection(s.inputs))
    given = (given_over_asked(s, measurements) for s in behind)
    return record.normalised_first and all(ratio is None or ratio <= _FITS for ratio in given)
