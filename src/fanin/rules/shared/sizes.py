"""The scale of each weight over the scale that keeps the signal, and which weights differ most from the others."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

from fanin.measure.kinds import KINDS
from fanin.measure.record import Measurements, ParameterRecord, Site
from fanin.model.operations import LOOKUPS, LOSSES, RECURRENT, SUMS
from fanin.rules.patterns import repeats_of
from fanin.rules.shared.gains import RATED, gain_of
from fanin.rules.shared.upstream import read_by_weights

__all__ = [
    "STRAY",
    "ElementwiseSize",
    "MapSize",
    "Stray",
    "TableBeside",
    "TableSize",
    "elementwise_sizes",
    "far_off",
    "first_readers",
    "is_made_up_for",
    "large_scales",
    "large_tables",
    "map_sizes",
    "strays",
    "tables_beside_signals",
    "without_biases",
]

_PERIODIC = frozenset(("sin", "cos"))
_GAP_HIGH, _GAP_LOW = math.log(4.0), math.log(8.0)
_LEAST_HIGH, _LEAST_HIGH_BRANCH, _MOST_LOW = 5.0, 2.5, 0.1
_ALWAYS_HIGH = 10.0
_WITNESS = 0.5  # of the excess (in logarithms) that the measured signal shows as well; of the size, where it falls
_SMOOTH = frozenset(("tanh", "softsign", "sigmoid", "sin", "erf", "gelu", "silu", "mish", "softplus", "elu", "celu"))
_ORDINARY = 0.3  # rms of the outputs, and share of it that differs between samples
_ADDED = frozenset(("add", "sub", "rsub"))
_SAME = 1e-6  # 1 - cosine of an output that is the same for all samples, to float32's rounding
_MOST_SPREAD = 1.5  # rms of the scale of a feature: 1 keeps its size
STRAY, _ALIKE, _FEWEST_ALIKE = 10.0, 2.0, 3
_LARGE = 3.0  # rms of outputs, from which on their scale is looked at: a smaller one does no harm
_LEAST_SEEN = 1e-6  # of the energy of an output: what is left of it without its biases is known to that
_REST = 1 / 3  # of the maps, at least, are right where the others are called outliers


@dataclass(frozen=True, slots=True)
class MapSize:
    """A weight that is applied to a signal.

    Attributes:
        parameter: the weight.
        site: the operation.
        wanted: rms(W) sqrt(fan_in) that keeps the signal: the gain of the activation behind it, 1 where there is none.
        ratio: rms(W) sqrt(fan_in), times the plain number behind it, over `wanted`.
        seen: rms of the output over rms of the input as measured, over `wanted`; None where the input is not known. Of
            several calls the largest: in a loop the first state is zero.
        ends_branch: its output is added to another signal.
        is_last: no other weight reads what comes of it.
        is_output: nothing reads its output but a loss, or what the user does with the model's output.
    """

    parameter: ParameterRecord
    site: Site
    wanted: float
    ratio: float
    seen: float | None
    ends_branch: bool = False
    is_last: bool = False
    is_output: bool = False

    @property
    def witnessed(self) -> bool:
        """The measured signal changes in the same direction, by the better part of the ratio."""
        if self.seen is None or self.seen <= 0:
            return False
        if self.ratio < 1:
            return self.seen < _WITNESS
        return math.log(self.seen) * math.copysign(1.0, math.log(self.ratio)) > _WITNESS * abs(math.log(self.ratio))


@dataclass(frozen=True, slots=True)
class Stray:
    """A map unlike the others of its kind: its std over theirs, and which they are."""

    parameter: ParameterRecord
    ratio: float
    others: frozenset[str]


@dataclass(frozen=True, slots=True)
class ElementwiseSize:
    """A parameter that multiplies a signal number by number: its std over what it should be, and what that is."""

    parameter: ParameterRecord
    ratio: float
    wanted: str
    limit: float


@dataclass(frozen=True, slots=True)
class TableSize:
    """A lookup table: rms of its entries, times the plain number behind it."""

    parameter: ParameterRecord
    site: Site
    rms: float


@dataclass(frozen=True, slots=True)
class TableBeside:
    """A table that is the same for all samples, and the rms of the signal that it is added to, and who gives it."""

    path: str
    rms: float
    signal: float
    joined: Site | None = None

    @property
    def ratio(self) -> float:
        """How many times larger the table is."""
        return self.rms / self.signal


def first_readers(measurements: Measurements) -> dict[int, Site]:
    """Site index -> the first site that reads its output, a norm only where all are norms; pooling is looked through.

    What a norm and a sum read (the stem of a pre-norm network) goes on at its own scale in the sum.
    """
    first: dict[int, Site] = {}
    for site in measurements.sites:
        for index in site.inputs:
            known = first.setdefault(index, site)
            if known.kind == "norm" and site.kind == "merge":
                first[index] = site
    return {i: _behind_pools(s, first) for i, s in first.items()}


def _behind_pools(site: Site, first: dict[int, Site]) -> Site:
    while site.kind == "pool" and site.index in first:
        site = first[site.index]
    return site


def map_sizes(measurements: Measurements) -> list[MapSize]:
    """Every weight whose scale reaches the signal: not one that a normalisation, a softmax or the loss follows."""
    by_path = {p.path: p for p in measurements.parameters}
    readers, by_index = first_readers(measurements), {s.index: s for s in measurements.sites}
    read_again = read_by_weights(measurements)
    found: dict[str, MapSize] = {}
    for site in measurements.weight_sites():
        weight = next((p for n in site.parameters if (p := by_path.get(n)) and p.is_map and p.weight.rms > 0), None)
        reader = readers.get(site.index)
        is_output = reader is None or reader.op in LOSSES
        if weight is None or not _is_rated(site, reader) or (is_output and _handed_on(site) < _LARGE):
            continue
        size = weight.rms_read * math.sqrt(weight.fan_in or 1.0) * _read_times(site)
        wanted = gain_of(reader.op) if reader is not None and reader.op in RATED else 1.0
        seen = _amplification(site, by_index, measurements)
        if size > 0:
            seen = None if seen is None else seen * _read_times(site) / wanted
            first = found.setdefault(
                weight.path,
                MapSize(
                    weight,
                    site,
                    wanted,
                    size / wanted,
                    seen,
                    ends_branch=reader is not None and reader.kind == "merge",
                    is_last=site.index not in read_again,
                    is_output=is_output,
                ),
            )
            found[weight.path] = replace(
                first, seen=max((s for s in (first.seen, seen) if s is not None), default=None)
            )
    return list(found.values())


def _is_rated(site: Site, reader: Site | None) -> bool:
    if site.op in LOOKUPS | RECURRENT or (site.forward.any_nonfinite and site.forward.rms == 0):
        return False
    if reader is None:
        return True
    frequencies = reader.op in _PERIODIC and max(site.inputs, default=-1) < 0
    return KINDS.get(reader.op) not in ("norm", "attention") and not frequencies


def _amplification(site: Site, by_index: dict[int, Site], measurements: Measurements) -> float | None:
    sizes = [by_index[i].forward.rms for i in site.inputs if i in by_index]
    sizes += [i.as_read.rms for i in measurements.inputs if i.floating and -1 in site.inputs]
    if not site.inputs:  # a learned code, of which a map makes the weights of another
        sizes += [p.weight.rms for p in measurements.parameters if p.path in site.parameters and not _is_own(p)]
    largest = max(sizes, default=0.0)
    return without_biases(site, measurements) / largest if largest > 0 else None


def without_biases(site: Site, measurements: Measurements) -> float:
    """Rms of what the weights give, where biases are the better part of the output: they keep it from falling."""
    biases = [
        p.weight.rms for p in measurements.parameters if p.role in ("bias", "rnn_bias") and p.path in site.parameters
    ]
    total, of_biases = site.forward.rms**2, max(biases, default=0.0) ** 2
    return math.sqrt(max(total - of_biases, _LEAST_SEEN * total) if of_biases > total / 2 else total)


def _is_own(parameter: ParameterRecord) -> bool:
    return parameter.is_map or parameter.role == "bias"


def far_off(sizes: Sequence[MapSize]) -> tuple[list[MapSize], bool]:
    """Weights whose scale is far off, worst first, and whether they are a minority beside others that are right.

    A group far above the rest (a factor of 4 apart, 5 and more above what is wanted, 2.5 at the end of a branch) or far
    below it (a factor of 8 apart, a tenth or less, before an activation or another map); and any weight ten times too
    large. Only what the measured signal shows as well counts: a weight that is scaled down again on its way does no
    harm. What is small before a function that is written out (a cube) may have the size that this function wants. A
    small last weight is no outlier: an output that starts near zero is drawn so on purpose (a policy, a step
    size, an offset); nor is one that is as small in every block (the map of a gate that starts open). Outputs of the
    model have no say in what the others are compared with.
    """
    ordered = sorted(sizes, key=lambda s: -s.ratio)
    high = _group([s.ratio for s in ordered], _GAP_HIGH)
    top = [s for s in ordered[:high] if s.ratio >= (_LEAST_HIGH_BRANCH if s.ends_branch else _LEAST_HIGH)]
    top += [s for s in ordered if s.ratio >= _ALWAYS_HIGH and s not in top]
    inner = [s for s in ordered if not s.is_output]
    low = _group([1.0 / s.ratio for s in reversed(inner)], _GAP_LOW)
    bottom = [s for s in inner[len(inner) - low :] if s.ratio <= _MOST_LOW and s.site.follower in RATED | SUMS]
    bottom = [s for s in bottom if not s.is_last and not s.site.follower_bent]
    meant = _of_every_block({s.parameter.path: s.ratio for s in bottom}, (s.parameter.path for s in sizes))
    bottom = [s for s in bottom if s.parameter.path not in meant]
    off = [s for s in (*top, *bottom) if s.witnessed]
    off.sort(key=lambda s: (-_steps(s.ratio), s.site.index))
    rest = [s.ratio for s in inner if s not in off]
    apart = len(rest) >= _REST * len(inner) and bool(rest) and 0.05 < median(rest) < _LEAST_HIGH
    return off, apart


def strays(measurements: Measurements) -> list[Stray]:
    """Maps whose std is ten times that of their like, or a tenth: same shape and role, read by the same operations.

    Other parameters of two axes or more (the matrices of a state space) are compared at one place of all blocks. At
    least three others have to lie within a factor of two. A normalisation behind the map, or a branch that starts
    small, hides the difference in the first outputs; the rate at which the map learns differs all the same. Of one
    weight alone no such thing is known. First and last maps start at scales of their own, and zeros are a choice; so is
    what differs by one factor in every block.
    """
    read, by_index = read_by_weights(measurements), {s.index: s for s in measurements.sites}
    alike: dict[tuple[object, ...], list[ParameterRecord]] = {}
    for p in measurements.parameters:
        if p.is_map and p.weight.rms > 0 and p.reader in read and -1 not in by_index[p.reader].inputs:
            site = by_index[p.reader]
            alike.setdefault((p.shape, p.role, p.layout, site.op, site.module_class, site.follower), []).append(p)
        elif p.used and not p.is_map and len(p.shape) > 1 and p.weight.rms > 0 and p.op not in LOOKUPS:
            for place in repeats_of(p.path):
                alike.setdefault((place, p.shape, p.role), []).append(p)
    return [stray for group in alike.values() for stray in _strays_of(group)]


def _strays_of(group: list[ParameterRecord]) -> list[Stray]:
    middle = median(p.rms_read for p in group)
    far = [p for p in group if not 1 / STRAY < p.rms_read / middle < STRAY]
    rest = {p.path: p.rms_read for p in group if p not in far}
    if len(rest) < _FEWEST_ALIKE or max(rest.values()) > _ALIKE * min(rest.values()):
        return []
    ratios = {p.path: p.rms_read / middle for p in far}
    meant = _of_every_block(ratios, (p.path for p in group))
    return [Stray(p, ratios[p.path], frozenset(rest)) for p in far if p.path not in meant]


def _of_every_block(far: Mapping[str, float], paths: Iterable[str]) -> set[str]:
    """Those that differ by one factor at one place of every block: a choice, where one block alone shows a slip.

    One block of four or more may be without: it is the one that slipped.
    """
    at_place: dict[str, list[str]] = {}
    for path in paths:
        for place in repeats_of(path):
            at_place.setdefault(place, []).append(path)
    found = set[str]()
    for all_there in at_place.values():
        there = [p for p in all_there if p in far]
        most = len(there) == len(all_there) > 1 or len(there) == len(all_there) - 1 >= _FEWEST_ALIKE
        if most and max(far[p] for p in there) <= _ALIKE * min(far[p] for p in there):
            found |= set(there)
    return found


def is_made_up_for(size: MapSize, measurements: Measurements) -> bool:
    """A small first map before a smooth activation, in a network whose outputs are of ordinary size all the same.

    Such a network works at small signals in every layer, where the activation is all but linear, and its output layer
    scales up again: the critical point of tanh, shaped activations.
    """
    last = max(measurements.weight_sites(), key=lambda s: s.index)
    alive = last.sample_cosine is not None and last.sample_cosine.between_share >= _ORDINARY
    first = -1 in size.site.inputs and size.site.follower in _SMOOTH
    return size.ratio <= _MOST_LOW and first and alive and last.forward.rms >= _ORDINARY


def _steps(ratio: float) -> int:
    """How many factors of 1.5 a ratio is off: what is nearly as bad is named in the order in which it runs."""
    return round(abs(math.log(ratio)) / math.log(1.5))


def _group(falling: Sequence[float], gap: float) -> int:
    """How many of the first are far from the rest: all before the widest gap, if that gap is wide enough."""
    most = math.floor(len(falling) * (1 - _REST))
    gaps = [(math.log(falling[i - 1] / falling[i]), i) for i in range(1, most + 1) if i < len(falling)]
    widest, count = max(gaps, default=(0.0, 0))
    return count if widest >= gap else 0


def _only_normed(index: int, readers: dict[int, list[Site]], sums: set[int]) -> bool:
    """Every reader is a normalisation, or a sum of tables that only normalisations read."""
    behind = readers.get(index, [])
    inner = [s for s in behind if s.kind == "merge" and set(s.inputs) <= sums]
    if not behind or any(s.kind != "norm" and s not in inner for s in behind):
        return False
    return all(_only_normed(s.index, readers, sums | {s.index}) for s in inner)


def large_tables(measurements: Measurements, limit: float) -> list[TableSize]:
    """Lookup tables of a larger rms than `limit` whose rows no normalisation reads first."""
    by_path = {p.path: p for p in measurements.parameters}
    lookups = {s.index for s in measurements.sites if s.op in LOOKUPS}
    readers: dict[int, list[Site]] = {}
    for site in measurements.sites:
        for index in site.inputs:
            readers.setdefault(index, []).append(site)
    found: dict[str, TableSize] = {}
    for site in measurements.weight_sites():
        weight = next((p for n in site.parameters if (p := by_path.get(n)) and len(p.shape) == 2), None)
        if site.op not in LOOKUPS or weight is None:
            continue
        rms = weight.weight.rms * abs(site.follower_factor)
        if rms > limit and not _only_normed(site.index, readers, lookups):
            found.setdefault(weight.path, TableSize(weight, site, rms))
    return list(found.values())


def large_scales(measurements: Measurements, limit: float) -> list[ParameterRecord]:
    """Scales of norms of a larger rms than `limit`, the largest first: they start at one."""
    names = {n for s in measurements.sites if s.kind == "norm" for n in s.parameters}
    found = [p for p in measurements.parameters if p.path in names and p.role == "norm_scale" and p.weight.rms > limit]
    return sorted(found, key=lambda p: -p.weight.rms)


def tables_beside_signals(measurements: Measurements) -> list[TableBeside]:
    """Positions and the like beside what they are added to: parameters, buffers, and lookups that ignore the input."""
    by_index = {s.index: s for s in measurements.sites}
    by_path = {p.path: p for p in measurements.parameters}
    added_to = [(p, _known(p.added_to, by_index)) for p in measurements.parameters if len(p.shape) > 1]
    pairs = [(p.path, p.weight.rms, signals) for p, signals in added_to if not _opens_a_gate(p, signals)]
    pairs += [(b.path, b.rms, _known(b.added_to, by_index)) for b in measurements.buffers if len(b.shape) > 1]
    for merge in measurements.sites:
        added = _known(merge.inputs, by_index) if merge.op == "add" else []
        others = [s for s in added if not _is_constant(s)]
        tables = [s for s in added if s.op in LOOKUPS and _is_constant(s)]
        pairs += [(n, _handed_on(t), others) for t in tables for n in t.parameters if n in by_path]
    made = [(p.elementwise, q) for p in measurements.parameters if p.elementwise for q in p.elementwise.beside]
    spread = [(by_path[q], use.result) for use, q in made if use.summed == 1 and q in by_path]
    beside = [TableBeside(q.path, q.weight.rms, size) for q, size in spread if q.weight.rms > _MOST_SPREAD and size > 0]
    largest = [(path, rms, max(signals, key=_handed_on)) for path, rms, signals in pairs if signals]
    return beside + [TableBeside(n, rms, _handed_on(s), s) for n, rms, s in largest if _handed_on(s) > 0]


def _opens_a_gate(parameter: ParameterRecord, signals: Sequence[Site]) -> bool:
    """One number everywhere, added to what multiplies another tensor: the gate starts near that number by design."""
    return not _varies(parameter) and all(s.multiplied for s in signals)


def elementwise_sizes(measurements: Measurements, beside: float) -> list[ElementwiseSize]:
    """Score vectors of ten times the std that keeps the signal, and scales of features far larger than what joins them.

    Equal numbers are no draw: ones that sum features are a choice.
    """
    by_path = {p.path: p for p in measurements.parameters}
    drawn = [(p, p.elementwise) for p in measurements.parameters if p.elementwise is not None and _varies(p)]
    found = []
    for p, use in drawn:
        others = [q for name in use.beside if (q := by_path.get(name)) is not None and _varies(q)]
        if use.summed > 1 and not p.is_map:
            ratio = min(p.weight.rms * math.sqrt(use.summed), use.amplification)
            if ratio >= _ALWAYS_HIGH:
                found.append(
                    ElementwiseSize(p, ratio, f"the std that keeps the signal, 1 / sqrt({use.summed})", _ALWAYS_HIGH)
                )
        elif use.summed == 1 and others and p.weight.rms > _MOST_SPREAD:
            least = min(others, key=lambda q: q.weight.rms)
            ratio = use.result / least.weight.rms
            if ratio > beside:
                found.append(ElementwiseSize(p, ratio, f"the rms of {least.path}, beside what it makes", beside))
    return sorted(found, key=lambda s: -s.ratio)


def _varies(parameter: ParameterRecord) -> bool:
    return parameter.weight.std > 1e-6 * parameter.weight.rms


def _read_times(site: Site) -> float:
    """The known number that the next function multiplies an output by; how much of a branch a sum takes is its own."""
    return 1.0 if site.follower in _ADDED else abs(site.follower_factor)


def _handed_on(site: Site) -> float:
    """Rms of an output after the known number that it is multiplied with first, as tokens are with sqrt(width)."""
    return site.forward.rms * abs(site.follower_factor)


def _known(indices: Iterable[int], by_index: Mapping[int, Site]) -> list[Site]:
    """The sites of these indices; the model's own inputs have none."""
    return [by_index[i] for i in indices if i in by_index]


def _is_constant(site: Site) -> bool:
    """The output is the same for all samples: rows looked up whatever the input is, or equal as measured."""
    if site.op in LOOKUPS and not site.inputs:
        return True
    return site.sample_cosine is not None and site.sample_cosine.one_minus_mean < _SAME
