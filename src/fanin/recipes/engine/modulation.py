"""Modulated signals, scale * h + shift, whose scale and shift maps or tables make from a condition (FiLM, AdaLN)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from fanin.graph.analysis.bounded import reach
from fanin.graph.analysis.units import held_units
from fanin.graph.ir import Graph, Op
from fanin.graph.roles.data import ParameterRole, Part
from fanin.graph.roles.layouts import with_parts
from fanin.model.operations import DROPOUT, JOINS, VIEWS

__all__ = ["Modulator", "Stretch", "in_stretches", "modulators"]

_THROUGH = (VIEWS | DROPOUT) - JOINS
_NEAR = 40  # values between a map and the product or sum that its output takes part in
_MAPS = ("weight", "embedding")
_TABLES = ("embedding", "embedding_bag")


@dataclass(frozen=True, slots=True)
class Stretch:
    """Neighbouring outputs that are all scales or all shifts.

    Attributes:
        kind: "scale" where they multiply a signal, "shift" where they are added to what was multiplied.
        size: how many.
        offset: what the model adds to a scale itself (1 in ``(1 + scale) * h``).
        start: the first one.
    """

    kind: str
    size: int
    offset: float = 0.0
    start: int = 0


@dataclass(frozen=True, slots=True)
class Modulator:
    """A weight or table whose outputs are scales and shifts of a signal, in order."""

    stretches: tuple[Stretch, ...]


@dataclass(frozen=True, slots=True)
class _Piece:
    """What a value is made of through views and added numbers alone: a map, and the operations after it."""

    maker: int
    offset: float
    path: tuple[int, ...]
    value: int


def modulators(graph: Graph, roles: Mapping[str, ParameterRole]) -> Mapping[str, Modulator]:
    """Weights and tables that make a scale and its shift, by name.

    The condition must be another one than what the modulated signal is made of (the gates of a GLU are no scales),
    unless one map makes both the scale and the shift, and another one the signal.
    """
    makers = {u.op: name for name, r in roles.items() if r.role in _MAPS and len(r.uses) == 1 for u in r.uses}
    found: dict[str, list[tuple[str, _Piece]]] = {}
    for op in graph.live_ops():
        for kind, piece in _modulations(graph, op, makers):
            found.setdefault(makers[piece.maker], []).append((kind, piece))
    made = {name: _modulator(graph, roles[name], pieces, makers) for name, pieces in found.items()}
    return {name: one for name, one in made.items() if one is not None}


def in_stretches(graph: Graph, roles: Mapping[str, ParameterRole]) -> dict[str, ParameterRole]:
    """The roles, where the bias or table of a modulation has its scales and shifts as parts."""
    known = modulators(graph, roles)

    def one(role: ParameterRole) -> ParameterRole:
        found = known.get(role.name if role.layout.lookup else role.owner if role.role == "bias" else "")
        if found is None or len(found.stretches) < 2 or (role.role == "bias" and len(role.shape) != 1):
            return role
        ends = [sum(s.size for s in found.stretches[:n]) for n in range(len(found.stretches))]
        parts = tuple(Part(tag=s.kind, start=e, size=s.size) for s, e in zip(found.stretches, ends, strict=True))
        return replace(role, parts=parts, layout=with_parts(role.layout, parts, role.shape))

    return {name: one(role) for name, role in roles.items()}


# ---------------------------------------------------------------------- which outputs
def _modulator(
    graph: Graph, role: ParameterRole, pieces: list[tuple[str, _Piece]], makers: Mapping[int, str]
) -> Modulator | None:
    """All outputs of one weight or table, if each is known to be a scale or a shift."""
    units = role.shape[role.layout.out_axes[0]] if len(role.layout.out_axes) == 1 and not role.layout.view else 0
    known: dict[tuple[int, int], Stretch] = {}
    for kind, piece in (*pieces, *_lone_scales(graph, pieces[0][1].maker, makers)):
        stretch = _stretch(graph, kind, piece, units) if units else None
        if stretch is None:
            return None
        first = known.setdefault((stretch.start, stretch.size), stretch)
        if first != stretch and (kind, piece) in pieces:
            return None
    ordered = tuple(known[place] for place in sorted(known))
    ends = [0, *(s.start + s.size for s in ordered)]
    return Modulator(ordered) if [s.start for s in ordered] == ends[:-1] and ends[-1] == units else None


def _stretch(graph: Graph, kind: str, piece: _Piece, units: int) -> Stretch | None:
    """The outputs of a map that a piece of its output holds; None where they are no neighbours."""
    held = held_units(graph, graph.ops[piece.maker], piece.path, piece.value, units)
    if not held or held != list(range(held[0], held[-1] + 1)):
        return None
    return Stretch(kind, len(held), piece.offset, held[0])


def _lone_scales(graph: Graph, maker: int, makers: Mapping[int, str]) -> Iterator[tuple[str, _Piece]]:
    """Pieces that multiply a signal without a shift beside them: the gate of a branch."""

    def onward(v: int) -> list[int]:
        return [out for op in graph.consumers(v) if op.name in _THROUGH for out in op.outputs]

    for v in reach(graph.ops[maker].output, onward, limit=_NEAR):
        if any(op.name == "mul" and len(set(op.inputs)) == 2 for op in graph.consumers(v)):
            piece = _piece(graph, v, makers)
            if piece is not None:
                yield "scale", piece


# ---------------------------------------------------------------------- where a signal is modulated
def _modulations(graph: Graph, op: Op, makers: Mapping[int, str]) -> Iterator[tuple[str, _Piece]]:
    """The scale and the shift where an op adds a shift to a scaled signal."""
    for factors, added in _scaled_sums(graph, op):
        shift = _piece(graph, added, makers)
        if shift is None or shift.offset:
            continue
        condition = _condition(graph, shift.maker)
        for factor, signal in (factors, factors[::-1]):
            scale = _piece(graph, factor, makers)
            if scale is None or _condition(graph, scale.maker) != condition:
                continue
            by_one = scale.maker == shift.maker and scale.maker not in _makers(graph, signal, makers)
            if (by_one and condition not in _before(graph, signal, makers)) or not _is_made_of(
                graph, signal, condition, makers
            ):
                yield "scale", scale
                yield "shift", shift


def _scaled_sums(graph: Graph, op: Op) -> Iterator[tuple[tuple[int, int], int]]:
    """(the two factors, what is added) of an op that adds to a product."""
    if op.name == "addcmul" and len(set(op.inputs)) == 3:
        yield (op.inputs[1], op.inputs[2]), op.inputs[0]
    if op.name != "add" or len(set(op.inputs)) != 2:
        return
    for product, added in (op.inputs[:2], op.inputs[1::-1]):
        maker = graph.producer(_unviewed(graph, product))
        if maker is not None and maker.name == "mul" and len(set(maker.inputs)) == 2:
            yield (maker.inputs[0], maker.inputs[1]), added


def _unviewed(graph: Graph, value: int) -> int:
    while (op := graph.producer(value)) is not None and op.name in _THROUGH:
        value = op.inputs[0]
    return value


def _piece(graph: Graph, value: int, makers: Mapping[int, str]) -> _Piece | None:
    """The map behind a value; None where anything but views and added numbers lies between."""
    at, offset = value, 0.0
    path: list[int] = []
    for _ in range(_NEAR):
        op = graph.producer(at)
        if op is None:
            return None
        if op.index in makers:
            return _Piece(op.index, offset, tuple(reversed(path)), value)
        added = [a for a in op.args if isinstance(a, (int, float)) and not isinstance(a, bool)]
        if op.name == "add" and len(op.inputs) == 1 and len(added) == 1:
            offset += float(added[0])
        elif op.name not in _THROUGH:
            return None
        path.append(op.index)
        at = op.inputs[0]
    return None


def _condition(graph: Graph, index: int) -> int:
    """The value that a map or lookup is applied to."""
    op = graph.ops[index]
    return op.inputs[1] if op.name in _TABLES else op.inputs[0]


def _is_made_of(graph: Graph, value: int, condition: int, makers: Mapping[int, str]) -> bool:
    """Whether a signal is the condition itself, or what one map makes of it, up to what has no weight."""
    makes_it = any(_condition(graph, index) == condition for index in _makers(graph, value, makers))
    return makes_it or condition in _before(graph, value, makers)


def _makers(graph: Graph, value: int, makers: Mapping[int, str]) -> list[int]:
    """The maps that a signal is made by, up to what has no weight."""
    made = (graph.producer(v) for v in _before(graph, value, makers))
    return [op.index for op in made if op is not None and op.index in makers]


def _before(graph: Graph, value: int, makers: Mapping[int, str]) -> list[int]:
    """Values that a signal is made of, back to the maps before it."""

    def back(v: int) -> list[int]:
        op = graph.producer(v)
        return [] if op is None or op.index in makers else list(op.inputs)

    return list(reach(value, back, limit=_NEAR))
