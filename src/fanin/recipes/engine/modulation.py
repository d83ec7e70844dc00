"""Modulated signals, scale * h + shift, whose scale and shift maps or tables make from a condition (FiLM, AdaLN)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from fanin.graph.analysis.bounded import reach
from fanin.graph.ir import Graph, Op
from fanin.graph.roles.data import ParameterRole
from fanin.model.operations import DROPOUT, VIEWS

__all__ = ["Modulator", "Stretch", "modulators"]

_THROUGH = (VIEWS | DROPOUT) - {"cat", "stack", "hstack", "vstack"}
_CUTS = frozenset({"getitem", "narrow", "select", "index_select"})
_SPLITS = frozenset({"chunk", "split", "split_with_sizes", "tensor_split", "unbind"})
_NEAR = 40  # values between a map and the product or sum that its output takes part in
_MAPS = ("weight", "embedding")


@dataclass(frozen=True, slots=True)
class Stretch:
    """Neighbouring outputs that are all scales or all shifts.

    Attributes:
        kind: "scale" where they multiply a signal, "shift" where they are added to what was multiplied.
        size: how many.
        offset: what the model adds to a scale itself (1 in ``(1 + scale) * h``).
    """

    kind: str
    size: int
    offset: float = 0.0


@dataclass(frozen=True, slots=True)
class Modulator:
    """A weight or table whose outputs are scales and shifts of a signal, in order."""

    stretches: tuple[Stretch, ...]


@dataclass(frozen=True, slots=True)
class _Piece:
    """What a value is made of, through views and added numbers alone: a map, perhaps a piece of its output."""

    maker: int
    offset: float
    split: int | None = None
    slot: int = 0


def modulators(graph: Graph, roles: Mapping[str, ParameterRole]) -> Mapping[str, Modulator]:
    """Weights and tables that make a scale and its shift, by name.

    The condition must be another one than what the modulated signal is made of: the gates of a GLU are no scales.
    """
    makers = {u.op: name for name, r in roles.items() if r.role in _MAPS and len(r.uses) == 1 for u in r.uses}
    kinds: dict[str, dict[tuple[int | None, int], tuple[str, float]]] = {}
    for op in graph.live_ops():
        for piece, kind in _modulations(graph, op, makers):
            known = kinds.setdefault(makers[piece.maker], {})
            if known.setdefault((piece.split, piece.slot), (kind, piece.offset)) != (kind, piece.offset):
                known[None, -1] = ("unclear", 0.0)
    found = {name: _modulator(graph, roles[name], known, makers) for name, known in kinds.items()}
    return {name: one for name, one in found.items() if one is not None}


def _modulator(
    graph: Graph,
    role: ParameterRole,
    kinds: Mapping[tuple[int | None, int], tuple[str, float]],
    makers: Mapping[int, str],
) -> Modulator | None:
    """All outputs of one weight or table, if each is known to be a scale or a shift."""
    units = role.shape[role.layout.out_axes[0]] if len(role.layout.out_axes) == 1 and not role.layout.view else 0
    splits = {split for split, _ in kinds}
    if not units or len(splits) > 1 or (None, -1) in kinds:
        return None
    (split,) = splits
    if split is None:
        ((kind, offset),) = kinds.values()
        return Modulator((Stretch(kind, units, offset),))
    outputs = graph.ops[split].outputs
    total = sum(graph.values[v].numel for v in outputs)
    stretches = []
    for slot, v in enumerate(outputs):
        known = kinds.get((split, slot)) or _lone_scale(graph, v, makers)
        if known is None:
            return None
        stretches.append(Stretch(known[0], units * graph.values[v].numel // total, known[1]))
    return Modulator(tuple(stretches)) if sum(s.size for s in stretches) == units else None


def _lone_scale(graph: Graph, value: int, makers: Mapping[int, str]) -> tuple[str, float] | None:
    """A piece that multiplies a signal without a shift beside it: the gate of a branch."""

    def onward(v: int) -> list[int]:
        return [out for op in graph.consumers(v) if op.name in _THROUGH for out in op.outputs]

    for v in reach(value, onward, limit=_NEAR):
        for op in graph.consumers(v):
            if op.name == "mul" and len(set(op.inputs)) == 2:
                piece = _piece(graph, v, makers)
                return None if piece is None else ("scale", piece.offset)
    return None


def _modulations(graph: Graph, op: Op, makers: Mapping[int, str]) -> Iterator[tuple[_Piece, str]]:
    """The scale and the shift where an op adds a shift to a scaled signal."""
    if op.name != "add" or len(set(op.inputs)) != 2:
        return
    for product, added in (op.inputs[:2], op.inputs[1::-1]):
        maker, shift = graph.producer(_unviewed(graph, product)), _piece(graph, added, makers)
        if maker is None or maker.name != "mul" or len(set(maker.inputs)) != 2 or shift is None or shift.offset:
            continue
        condition = _condition(graph, shift.maker)
        for factor, signal in (maker.inputs[:2], maker.inputs[1::-1]):
            scale = _piece(graph, factor, makers)
            if scale is None or _condition(graph, scale.maker) != condition:
                continue
            if not _is_made_of(graph, signal, condition, makers):
                yield scale, "scale"
                yield shift, "shift"


def _unviewed(graph: Graph, value: int) -> int:
    while (op := graph.producer(value)) is not None and op.name in _THROUGH:
        value = op.inputs[0]
    return value


def _piece(graph: Graph, value: int, makers: Mapping[int, str]) -> _Piece | None:
    """The map behind a value; None where anything but views and added numbers lies between."""
    offset, split, slot = 0.0, None, 0
    for _ in range(_NEAR):
        op = graph.producer(value)
        if op is None:
            return None
        if op.index in makers:
            return _Piece(op.index, offset, split, slot)
        added = [a for a in op.args if isinstance(a, (int, float)) and not isinstance(a, bool)]
        if op.name == "add" and len(op.inputs) == 1 and len(added) == 1:
            offset += float(added[0])
        elif op.name in _SPLITS:
            if split is not None:
                return None
            split, slot = op.index, graph.values[value].slot
        elif op.name not in _THROUGH or (op.name in _CUTS and _takes_part(graph, op)):
            return None
        value = op.inputs[0]
    return None


def _takes_part(graph: Graph, op: Op) -> bool:
    return graph.values[op.output].numel != graph.values[op.inputs[0]].numel


def _condition(graph: Graph, index: int) -> int:
    """The value that a map or lookup is applied to."""
    op = graph.ops[index]
    return op.inputs[1] if op.name in ("embedding", "embedding_bag") else op.inputs[0]


def _is_made_of(graph: Graph, value: int, condition: int, makers: Mapping[int, str]) -> bool:
    """Whether a signal is the condition itself, or what one map makes of it, up to what has no weight."""

    def back(v: int) -> list[int]:
        op = graph.producer(v)
        return [] if op is None or op.index in makers else list(op.inputs)

    reached = list(reach(value, back, limit=_NEAR))
    made = (op for v in reached if (op := graph.producer(v)) is not None and op.index in makers)
    return condition in reached or any(_condition(graph, op.index) == condition for op in made)
