"""Where the samples of a batch become alike: the operation that takes off most of what differs between them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from fanin.measure.record import Measurements, Site
from fanin.rules.shared.upstream import ancestors

__all__ = ["Narrowing", "apart", "narrowest"]

_LEAST, _MOST_OF = math.log(8.0), 0.5  # of a drop by itself, and of all that is lost on the way


@dataclass(frozen=True, slots=True)
class Narrowing:
    """An operation, and how far samples are apart in what it reads and in what it gives."""

    site: Site
    before: float
    behind: float

    @property
    def size(self) -> float:
        """Logarithm of the factor by which samples come nearer to each other."""
        return math.log(self.before / max(self.behind, 1e-30))


def apart(site: Site) -> float | None:
    """1 - mean cosine of the samples or their share of the energy that differs, the larger; None where not measured."""
    seen = site.sample_cosine
    return None if seen is None else max(seen.one_minus_mean, seen.between_share)


def narrowest(measurements: Measurements, last: Site) -> Narrowing | None:
    """The operation behind which samples are alike, where one alone takes off most of what differs; else None.

    It takes off at least a factor of 8, and half (in logarithms) of all that is lost between the input and `last`.
    """
    by_index = {s.index: s for s in measurements.sites}
    on_the_way = ancestors([last.index], measurements)
    found = []
    for site in measurements.sites:
        behind = apart(site) if site.index in on_the_way else None
        before = None if behind is None else _read(site, by_index)
        if behind is not None and before is not None and before > 0 and site.forward.rms > 0:
            found.append(Narrowing(site, before, behind))
    worst = max(found, key=lambda n: n.size, default=None)
    lost = -math.log(max(apart(last) or 0.0, 1e-30))
    return worst if worst is not None and worst.size >= max(_LEAST, _MOST_OF * lost) else None


def _read(reader: Site, by_index: Mapping[int, Site]) -> float | None:
    """How far samples are apart in what an operation reads, from the nearest operations where that was measured.

    None where it reads one place of many, or a mean over them: in that one samples may be as alike as behind it.
    """
    known, todo, seen = [], list(reader.inputs), set[int]()
    while todo:
        site = by_index.get(todo.pop())
        if site is None or site.index in seen or site.kind == "attention":
            continue
        seen.add(site.index)
        value = apart(site)
        if value is None:
            todo += site.inputs
        elif len(site.shape) != len(reader.shape):
            return None
        else:
            known.append(value)
    return max(known, default=None)
