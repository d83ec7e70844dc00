"""Which use of a repeated weight feeds which: through elementwise operations, norms and views, but no other map."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fanin.graph.analysis.analysis import Analysis, Sighting
from fanin.graph.ir import Graph, Ref, map_template
from fanin.model.operations import CONVOLUTIONS, LOOKUPS, MATRIX_PRODUCTS, RECURRENT, SOFTMAX

__all__ = ["Family", "Feeding", "circles", "cut_of", "feeding"]

# a parameter and how it is cut before it is used; each has one use a step
Family = tuple[int, str]
_STOPS = MATRIX_PRODUCTS | CONVOLUTIONS | RECURRENT | LOOKUPS | SOFTMAX | {"scaled_dot_product_attention"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Feeding:
    """Repeated weights and how they feed each other.

    Attributes:
        uses: family -> its sightings in order.
        reads: op index of a use -> the latest use of each family that its data operands are made of.
        values: value -> likewise, for every value that some repeated weight feeds.
    """

    uses: Mapping[Family, tuple[Sighting, ...]]
    reads: Mapping[int, Mapping[Family, int]]
    values: Mapping[int, Mapping[Family, int]]

    def feeds_itself(self, family: Family) -> bool:
        """Whether a use reads what an earlier use of the same weight made."""
        return any(family in self.reads[s.use.op] for s in self.uses[family])


def feeding(analysis: Analysis) -> Feeding | None:
    """The repeated weights of a graph; None where no weight is used twice."""
    uses = _repeated(analysis)
    if not uses:
        return None
    made: dict[int, dict[Family, int]] = {}
    for family, seen in uses.items():
        for s in seen:
            made.setdefault(s.use.op, {})[family] = s.use.op
    values: dict[int, dict[Family, int]] = {}
    reads: dict[int, dict[Family, int]] = {}
    for op in analysis.graph.live_ops():
        found = analysis.contractions.get(op.index, ())
        if op.index in made:
            reads[op.index] = _merged(values, [d for use in found for d in use.data])
        if found or op.name in _STOPS:
            added = [use.bias for use in found if use.bias is not None]
            here = {**_merged(values, added), **made.get(op.index, {})}
        else:
            here = _merged(values, op.inputs)
        if here:
            values.update(dict.fromkeys(op.outputs, here))
    return Feeding(uses=uses, reads=reads, values=values)


def _repeated(analysis: Analysis) -> dict[Family, tuple[Sighting, ...]]:
    found: dict[Family, list[Sighting]] = {}
    for leaf, seen in analysis.sightings.items():
        whole = [s for s in seen if s.link.whole and not s.use.lookup]
        for s in whole if len(whole) > 1 else ():
            found.setdefault((leaf, cut_of(analysis.graph, s)), []).append(s)
    kept = {f: sorted(seen, key=lambda s: s.use.op) for f, seen in found.items()}
    return {f: tuple(seen) for f, seen in kept.items() if len({s.use.op for s in seen}) > 1}


def cut_of(graph: Graph, sighting: Sighting) -> str:
    """How a parameter becomes the weight, the same words at every step."""
    words = []
    ops = [graph.ops[i] for i in sighting.link.ops]
    for n, op in enumerate(ops):
        read = {sighting.use.weight, *(i for after in ops[n + 1 :] for i in after.inputs)}
        slots = "".join(str(i) for i, v in enumerate(op.outputs) if v in read)
        words.append(f"{op.name}{map_template(op.args, lambda r: _name(graph, r))!r}{slots}")
    return " ".join(words)


def _name(graph: Graph, ref: Ref) -> str:
    return graph.values[ref.index].name


def _merged(values: Mapping[int, Mapping[Family, int]], operands: object) -> dict[Family, int]:
    merged: dict[Family, int] = {}
    for i in operands:  # type: ignore[attr-defined]
        for family, op in values.get(i, {}).items():
            merged[family] = max(op, merged.get(family, -1))
    return merged


def circles(found: Feeding) -> list[set[Family]]:
    """Families that feed each other in a circle, or themselves; in the order of their first use."""
    after: dict[Family, set[Family]] = {f: set() for f in found.uses}
    for family, seen in found.uses.items():
        for s in seen:
            for source in found.reads[s.use.op]:
                after[source].add(family)
    reach = {f: _reached(after, f) for f in after}
    rounds: list[set[Family]] = []
    for family in sorted(after, key=lambda f: found.uses[f][0].use.op):
        if family in reach[family] and not any(family in known for known in rounds):
            rounds.append({f for f in reach[family] if family in reach[f]})
    return rounds


def _reached(after: Mapping[Family, set[Family]], start: Family) -> set[Family]:
    todo, seen = list(after[start]), set[Family]()
    while todo:
        family = todo.pop()
        if family not in seen:
            seen.add(family)
            todo += after[family]
    return seen
