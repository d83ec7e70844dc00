"""All-zero maps that shut what is behind them, and those in a row, of which the later gives the earlier no gradient."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from fanin.measure.record import Measurements, Site
from fanin.model.operations import LOOKUPS, SUMS

__all__ = ["Locked", "Shut", "locked_maps", "shut_maps"]

_SAME = 1e-6  # 1 - cosine of outputs that are the same for all samples, to float32's rounding


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Shut:
    """An all-zero map behind which others read the same numbers for all samples.

    Attributes:
        zero: path of the map.
        readers: paths of the trained maps behind it, in execution order.
        held: parameters before and behind it whose gradient is zero.
    """

    zero: str
    readers: tuple[str, ...]
    held: frozenset[str]


def shut_maps(measurements: Measurements) -> tuple[Shut, ...]:
    """All-zero maps and tables that are the only way from the inputs to a trained map behind them.

    What a zero map adds to a signal, multiplies it by, or gives as the output shuts nothing: the last map of a residual
    branch, a gate, either factor of LoRA, the convolutions of ControlNet, a head. A map that is called several times is
    shut where all calls are; one that gives other numbers for other samples reads noise, and is not. Nor is one behind
    a table of learned codes: it never reads the inputs.
    """
    paths = _Paths(measurements)
    if not paths.tables:
        return ()
    trained = {p.path: p.weight.rms > 0 for p in measurements.parameters if p.is_map and p.requires_grad}
    walls: dict[str, list[frozenset[int]]] = defaultdict(list)
    for site in measurements.weight_sites():
        open_ = _differs(site) or paths.is_second_factor(site)
        for name in site.parameters:
            walls[name].append(frozenset() if open_ else paths.walls(site.index, paths.tables))
    readers: dict[int, list[str]] = defaultdict(list)
    for name, found in walls.items():
        if trained.get(name) and all(found):
            for wall in filter(paths.reads_inputs, frozenset().union(*found)):
                readers[wall].append(name)
    return tuple(
        Shut(zero=paths.tables[i], readers=tuple(readers[i]), held=paths.held(i) | paths.held_behind(i))
        for i in sorted(readers)
    )


def _differs(site: Site) -> bool:
    return site.sample_cosine is not None and site.sample_cosine.one_minus_mean > _SAME


def locked_maps(measurements: Measurements) -> tuple[Locked, ...]:
    """Pairs of all-zero maps that keep each other from learning anything about the inputs.

    A zero map reads biases alone where every way from the inputs to it leads through another zero map. What it learns
    then is the average of the targets. A zero head, the last map of a branch beside a stream, or the second factor of a
    product of two (LoRA) reads a signal, and is in no pair.
    """
    paths = _Paths(measurements)
    found = []
    for second in paths.zeros:
        for first in sorted(paths.walls(second, paths.zeros)):
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

    @cached_property
    def tables(self) -> Mapping[int, str]:
        """The same with lookup tables."""
        rms = {
            p.path: p.weight.rms for p in self.measurements.parameters if len(p.shape) > 1 and p.op in SUMS | LOOKUPS
        }
        own = {s.index: [n for n in s.parameters if n in rms] for s in self.measurements.weight_sites()}
        return {i: names[0] for i, names in own.items() if names and not any(rms[n] for n in names)}

    def walls(self, site: int, zeros: Mapping[int, str]) -> frozenset[int]:
        """The zero maps that every way from the inputs to a site leads through first; none where a way avoids them."""
        seen: set[int] = set()
        walls: set[int] = set()
        todo = list(self._inputs(site))
        while todo:
            index = todo.pop()
            if index in zeros:
                walls.add(index)
            elif index not in seen:
                seen.add(index)
                before = self._inputs(index)
                if not before:
                    return frozenset()  # the model's input, or a start that is learned
                todo.extend(before)
        return frozenset(walls)

    def reads_inputs(self, site: int) -> bool:
        """Whether what a site reads comes from the model's inputs."""
        return any(-1 in self._inputs(i) for i in (site, *self._before(site)))

    def is_second_factor(self, site: Site) -> bool:
        """A map right behind an all-zero one, whose output is added to a signal: the product of both starts at zero."""
        return site.follower == "add" and len(site.inputs) == 1 and site.inputs[0] in self.tables

    def held_behind(self, site: int) -> frozenset[str]:
        """Parameters without a gradient that read nothing but what comes of a zero map."""
        shut = {site}
        for s in self.measurements.sites:
            if s.inputs and shut.issuperset(s.inputs):
                shut.add(s.index)
        names = {n for i in shut for n in self.sites[i].parameters}
        return frozenset(n for n in names if self.states.get(n) == "zero")

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
