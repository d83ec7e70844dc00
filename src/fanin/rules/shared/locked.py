"""All-zero maps in a row: the later one gives the earlier no gradient, and is given nothing but biases to read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from fanin.measure.record import Measurements, Site

__all__ = ["Locked", "locked_maps"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Locked:
    """Two all-zero maps on one path.

    Attributes:
        first: path of the map that gets no gradient, because the other one passes none back.
        second: path of the map that reads the same numbers for all samples, because the first passes no signal on.
        held: parameters up to and including the first map whose gradient is zero.
    """

    first: str
    second: str
    held: frozenset[str]


def locked_maps(measurements: Measurements) -> tuple[Locked, ...]:
    """Pairs of all-zero maps that keep each other from learning anything about the inputs.

    A zero map reads biases alone where every way from the inputs to it leads through another zero map. What it learns
    then is the average of the targets. A zero head, the last map of a branch beside a stream, or the second factor of a
    product of two (LoRA) reads a signal, and is in no pair.
    """
    paths = _Paths(measurements)
    found = []
    for second in paths.zeros:
        walls = paths.walls(second)
        for first in sorted(walls or ()):
            name = paths.zeros[first]
            if paths.states.get(name) == "zero":
                found.append(Locked(first=name, second=paths.zeros[second], held=paths.held(first)))
    return tuple(found)


@dataclass(frozen=True)
class _Paths:
    """Ways between the operations of a model, and the all-zero maps on them."""

    measurements: Measurements

    @cached_property
    def sites(self) -> Mapping[int, Site]:
        return {s.index: s for s in self.measurements.sites}

    @cached_property
    def states(self) -> Mapping[str, str]:
        return {p.path: p.state for p in self.measurements.parameters if p.requires_grad}

    @cached_property
    def zeros(self) -> Mapping[int, str]:
        """Site -> its map, of those whose maps are all zero."""
        maps = {p.path: p.weight.rms == 0.0 for p in self.measurements.parameters if p.is_map}
        own = {s.index: [n for n in s.parameters if n in maps] for s in self.measurements.weight_sites()}
        return {i: names[0] for i, names in own.items() if names and all(maps[n] for n in names)}

    def walls(self, site: int) -> frozenset[int] | None:
        """The zero maps that every way from the inputs to a site leads through first; None where a way avoids them."""
        seen: set[int] = set()
        walls: set[int] = set()
        todo = list(self._inputs(site))
        while todo:
            index = todo.pop()
            if index in self.zeros:
                walls.add(index)
            elif index not in seen:
                seen.add(index)
                before = self._inputs(index)
                if not before:
                    return None  # the model's input, or a start that is learned
                todo.extend(before)
        return frozenset(walls)

    def held(self, site: int) -> frozenset[str]:
        """Parameters without a gradient at a site and before it."""
        before = {site, *self._before(site)}
        names = {n for i in before for n in self.sites[i].parameters}
        return frozenset(n for n in names if self.states.get(n) == "zero")

    def _before(self, site: int) -> Iterator[int]:
        seen: set[int] = set()
        todo = list(self._inputs(site))
        while todo:
            index = todo.pop()
            if index in self.sites and index not in seen:
                seen.add(index)
                yield index
                todo.extend(self._inputs(index))

    def _inputs(self, site: int) -> Iterable[int]:
        return self.sites[site].inputs if site in self.sites else ()
