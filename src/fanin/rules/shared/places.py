"""Where a finding about an operation points: its module, or the bare parameter that it reads."""

from __future__ import annotations

from collections.abc import Iterable

from fanin.measure.record import Measurements, ParameterRecord, Site
from fanin.model.operations import RECURRENT

__all__ = ["place", "places", "weights_of"]


def weights_of(site: Site, measurements: Measurements) -> list[ParameterRecord]:
    """Parameters of two or more axes that an operation reads."""
    by_path = {p.path: p for p in measurements.parameters}
    return [p for name in site.parameters if (p := by_path.get(name)) is not None and len(p.shape) >= 2]


def place(site: Site, measurements: Measurements) -> str:
    """The path that a reader should look at.

    The module where it owns this one weight (an nn.Linear); the parameter where a module holds several or where it is
    kept elsewhere; the module, or the class of the model, for operations without a weight.
    """
    weights = weights_of(site, measurements)
    if not weights or site.op in RECURRENT:
        return site.path or site.module_class
    weight = weights[0].path
    owner = weight.rpartition(".")[0]
    siblings = [p for p in measurements.parameters if len(p.shape) >= 2 and p.path.rpartition(".")[0] == owner]
    return site.path if site.path and owner == site.path and len(siblings) == 1 else weight


def places(sites: Iterable[Site], measurements: Measurements) -> list[str]:
    """Places of several operations, each once."""
    return list(dict.fromkeys(place(s, measurements) for s in sites))
