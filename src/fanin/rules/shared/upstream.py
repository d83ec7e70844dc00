"""Which operations lead to which: the data flow between recorded sites."""

from __future__ import annotations

import math
from collections.abc import Iterable

from fanin.measure.record import Measurements, ParameterRecord, Site

__all__ = ["ancestors", "behind_norms", "maps_with_sites", "nearest_weights", "read_by_weights", "steepest"]

_STEEP, _NEARLY = 5.0, 0.5


def maps_with_sites(measurements: Measurements) -> list[tuple[ParameterRecord, Site]]:
    """Every linear map or convolution (no lookup table) with the operation that first reads it, in execution order."""
    by_index = {s.index: s for s in measurements.sites}
    found = [(p, by_index[p.reader]) for p in measurements.parameters if p.is_map and p.reader is not None]
    return sorted(found, key=lambda pair: pair[1].index)


def ancestors(indices: Iterable[int], measurements: Measurements) -> set[int]:
    """Indices of the sites that lead to these, themselves included."""
    inputs = {s.index: s.inputs for s in measurements.sites}
    seen: set[int] = set()
    todo = [i for i in indices if i >= 0]
    while todo:
        index = todo.pop()
        if index not in seen:
            seen.add(index)
            todo.extend(i for i in inputs.get(index, ()) if i >= 0)
    return seen


def read_by_weights(measurements: Measurements) -> set[int]:
    """Indices of the sites that lead to the input of a weighted operation."""
    return ancestors((i for s in measurements.weight_sites() for i in s.inputs), measurements)


def behind_norms(measurements: Measurements) -> set[str]:
    """Names of the parameters of weighted operations that read the output of a normalisation."""
    norms = {s.index for s in measurements.sites if s.kind == "norm"}
    return {name for s in measurements.weight_sites() if norms.intersection(s.inputs) for name in s.parameters}


def steepest(last: Iterable[int], measurements: Measurements) -> tuple[Site, float] | None:
    """The operation on the way to these at which the rms rises most over what it reads, and the factor.

    None where no operation alone makes a factor of 5 and half (in logarithms) of the rms that the last ones have.
    """
    by_index = {s.index: s for s in measurements.sites}
    way = [by_index[i] for i in sorted(ancestors(last, measurements)) if i in by_index]
    found = []
    for site in way:
        read = max((by_index[i].forward.rms for i in site.inputs if i in by_index), default=0.0)
        if read > 0 and not site.forward.any_nonfinite:
            found.append((site.forward.rms / read, site))
    if not found:
        return None
    most = max(factor for factor, _ in found)
    factor, worst = next(f for f in found if f[0] >= _NEARLY * most)  # the first of those that are nearly as steep
    reached = max((by_index[i].forward.rms for i in last if i in by_index), default=0.0)
    return (worst, factor) if factor >= max(_STEEP, math.sqrt(reached)) else None


def nearest_weights(indices: Iterable[int], measurements: Measurements) -> list[Site]:
    """The weighted operations that these sites are, or that lead to them with no other one between, in execution order.

    What attention mixes is not followed: behind an attention its own weights are the nearest.
    """
    by_index = {s.index: s for s in measurements.sites}
    seen, found = set[int](), list[Site]()
    todo = [i for i in indices if i in by_index]
    while todo:
        site = by_index[todo.pop()]
        if site.index in seen:
            continue
        seen.add(site.index)
        if site.kind == "weight":
            found.append(site)
        elif site.kind != "attention":
            todo += [i for i in site.inputs if i in by_index]
    return sorted(found, key=lambda s: s.index)
