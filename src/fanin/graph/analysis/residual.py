"""Residual streams: which additions put a branch back on the value that the branch started from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from fanin.graph.analysis.contraction import Contraction
from fanin.graph.analysis.dependence import Taint
from fanin.graph.analysis.norms import Norm
from fanin.graph.analysis.regions import Regions
from fanin.graph.ir import Graph, Op
from fanin.model.operations import DROPOUT, POOLS, RECURRENT, VIEWS

__all__ = ["Residual", "Surroundings", "residuals"]

_PICKS = frozenset(
    {"chunk", "split", "tensor_split", "unbind", "select", "narrow", "getitem", "index_select", "gather"}
)
_TRANSPARENT = VIEWS | DROPOUT | POOLS
_MAX_BACK = 400


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is known of a graph before its residual streams are looked for."""

    graph: Graph
    kinds: Taint
    norms: Mapping[int, Norm]
    regions: Regions
    contractions: Mapping[int, tuple[Contraction, ...]]
    products: frozenset[int]

    def signals(self, op: Op) -> list[int]:
        """The signal operands of an op, each once."""
        return [i for i in dict.fromkeys(op.inputs) if self.kinds.is_signal(i)]

    def is_map(self, op: Op) -> bool:
        """Whether an op applies a weight, is recurrent, or multiplies two signals."""
        return op.index in self.contractions or op.name in RECURRENT or op.index in self.products

    def is_affine_end(self, value: int) -> bool:
        """Whether a value is an affine function of the root of its region."""
        found = self.regions.functions.get(value)
        return found is not None and found.is_affine


@dataclass(frozen=True, slots=True)
class Residual:
    """One addition that closes a residual branch.

    Attributes:
        op: index of the addition.
        skip: its operand that carries the stream.
        branch: its operand that the branch wrote.
        start: the value that the branch started from.
        kind: "identity", or "projection" where the skip path holds one map of its own.
        stream: number of the stream.
        index: which branch of that stream, from 0.
        maps: ops of the branch that apply weights -> how many maps lie before on the longest path inside the branch.
        num_maps: maps on the longest path through the branch.
    """

    op: int
    skip: int
    branch: int
    start: int
    kind: Literal["identity", "projection"]
    stream: int
    index: int
    maps: Mapping[int, int]
    num_maps: int


def residuals(around: Surroundings) -> dict[int, Residual]:
    """All residual additions by op index, numbered along their streams."""
    found: dict[int, Residual] = {}
    lengths: list[int] = []
    for op in around.graph.live_ops():
        if op.name not in ("add", "sub") or op.output in around.regions.root or len(around.signals(op)) != 2:
            continue
        a, b = around.signals(op)
        if around.graph.values[a].shape != around.graph.values[b].shape:
            continue
        match = _identity(around, found, a, b) or _identity(around, found, b, a)
        match = match or _projection(around, found, a, b) or _projection(around, found, b, a)
        if match is None:
            continue
        skip, branch, start, kind = match
        maps, num_maps = _maps_in_branch(around, branch, start)
        if not maps:
            continue  # nothing in the branch can be sized: the direct term of a state-space layer is no depth
        stream = _stream_of(around, found, skip, through_map=kind == "projection")
        if stream is None:
            stream = len(lengths)
            lengths.append(0)
        found[op.index] = Residual(op.index, skip, branch, start, kind, stream, lengths[stream], maps, num_maps)
        lengths[stream] += 1
    return found


Match = tuple[int, int, int, Literal["identity", "projection"]]


def _identity(around: Surroundings, known: Mapping[int, Residual], skip: int, branch: int) -> Match | None:
    start = _reaches(around, branch, _back_chain(around, known, skip), maps=1)
    return None if start is None else (skip, branch, start, "identity")


def _projection(around: Surroundings, known: Mapping[int, Residual], skip: int, branch: int) -> Match | None:
    """The skip path is one map (with norm) of a value from which the branch needs at least two."""
    origin = skip
    for _ in range(8):
        op = around.graph.producer(origin)
        if op is None:
            return None
        if op.index in around.contractions:
            break
        signals = around.signals(op)
        transparent = op.name in _TRANSPARENT or op.index in around.norms or op.name in ("mul", "add", "sub", "div")
        if len(signals) != 1 or not transparent:
            return None
        origin = signals[0]
    else:
        return None
    use = around.contractions[op.index][0]
    if use.lookup or len(use.data) != 1:
        return None
    start = _reaches(around, branch, _back_chain(around, known, use.data[0]), maps=2)
    if start is None or not _bends(around, branch, start):
        return None  # a linear branch beside a map is a low-rank update of that map
    if op.index in {inside.index for inside in _branch_ops(around, branch, start)}:
        return None  # both come through that map: what parts them lies behind it
    return skip, branch, start, "projection"


def _bends(around: Surroundings, branch: int, start: int) -> bool:
    """Whether something nonlinear happens in a branch."""
    return any(
        op.index in around.norms
        or op.index in around.products
        or (op.output in around.regions.functions and not around.is_affine_end(op.output))
        for op in _branch_ops(around, branch, start)
    )


def _back_chain(around: Surroundings, known: Mapping[int, Residual], value: int) -> list[int]:
    """A value and what it equals up to views, dropout, affine maps and earlier branches added to it."""
    chain, current, adds = [value], value, 0
    for _ in range(40):
        op = around.graph.producer(current)
        if op is None:
            break
        if op.index in known:
            adds += 1
            current = known[op.index].skip
            if adds > 3:
                break
        elif around.is_affine_end(current):
            current = around.regions.root[current]
        else:
            signals = around.signals(op)
            if op.name in _PICKS and not _is_stride(op):
                break  # another piece of the same tensor is another signal
            scaled = op.name in ("mul", "add", "sub", "div", "where", "masked_fill")
            if (
                len(signals) != 1
                or not (op.name in _TRANSPARENT or scaled)
                or (current in around.regions.root and not scaled and op.name not in VIEWS)
            ):
                break
            current = signals[0]
        chain.append(current)
    return chain


def _is_stride(op: Op) -> bool:
    """Whether an indexing only skips positions (the shortcut of a first-generation ResNet)."""
    index = op.arg(1)
    parts = index if isinstance(index, tuple) else (index,)
    return op.name == "getitem" and all(
        p is Ellipsis or (isinstance(p, slice) and not p.start and p.stop is None) for p in parts
    )


def _reaches(around: Surroundings, branch: int, targets: list[int], maps: int) -> int | None:
    """The target that a branch comes from with at least so many maps in between; the nearest to the addition."""
    graph = around.graph
    first = min((-1 if (made := graph.values[t].op) is None else made) for t in targets)
    wanted = {t: i for i, t in enumerate(targets)}
    best: int | None = None
    todo, seen = [(branch, 0)], set[tuple[int, int]]()
    while todo:
        state = todo.pop()
        if state in seen:
            continue
        seen.add(state)
        value, count = state
        if value in wanted and count >= maps and (best is None or wanted[value] < wanted[best]):
            best = value
        op = graph.producer(value)
        if op is None or op.index <= first or len(seen) > 20 * _MAX_BACK:
            continue
        more = min(count + around.is_map(op), 2)
        todo += [(i, more) for i in around.signals(op)]
    return best


def _stream_of(around: Surroundings, known: Mapping[int, Residual], value: int, *, through_map: bool) -> int | None:
    """The stream that a skip operand belongs to: back through norms and activations to an earlier addition."""
    maps = 1 if through_map else 0
    for _ in range(_MAX_BACK):
        op = around.graph.producer(value)
        if op is None:
            return None
        if op.index in known:
            return known[op.index].stream
        if op.index in around.norms:
            value = around.norms[op.index].input
            continue
        if value in around.regions.root:
            value = around.regions.root[value]
            continue
        if around.is_map(op):
            maps -= 1
            if maps < 0 or op.index not in around.contractions:
                return None
            value = around.contractions[op.index][0].data[0]
            continue
        signals = around.signals(op)
        if not signals or (len(signals) > 1 and op.name not in _TRANSPARENT):
            return None
        value = signals[0]
    return None


def _branch_ops(around: Surroundings, branch: int, start: int) -> list[Op]:
    """The ops that a branch's output is made by after its start, in order."""
    graph = around.graph
    made = graph.values[start].op
    first = -1 if made is None else made
    inside, todo = set[int](), [branch]
    while todo:
        op = graph.producer(todo.pop())
        if op is None or op.index <= first or op.index in inside:
            continue
        inside.add(op.index)
        todo += around.signals(op)
    return [graph.ops[i] for i in sorted(inside)]


def _maps_in_branch(around: Surroundings, branch: int, start: int) -> tuple[dict[int, int], int]:
    """Ops of a branch that apply weights, with their depth inside it, and the branch's depth."""
    depth: dict[int, int] = {}
    maps: dict[int, int] = {}
    for op in _branch_ops(around, branch, start):
        before = max((depth.get(i, 0) for i in op.inputs), default=0)
        applies = op.index in around.contractions or op.name in RECURRENT
        if applies:
            maps[op.index] = before
        depth.update(dict.fromkeys(op.outputs, before + applies))
    return maps, depth.get(branch, 0)
