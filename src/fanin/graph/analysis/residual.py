"""Residual streams: which additions put a branch back on the value that the branch started from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from fanin.graph.analysis.analysis import Analysis, Residual
from fanin.graph.analysis.bounded import FAR, reach
from fanin.graph.ir import Op
from fanin.model.operations import DROPOUT, POOLS, VIEWS

__all__ = ["residuals"]

_PICKS = frozenset(
    {"chunk", "split", "tensor_split", "unbind", "select", "narrow", "getitem", "index_select", "gather"}
)
_TRANSPARENT = VIEWS | DROPOUT | POOLS
_SKIP_PATH = 8  # values on a skip path from the addition to the one map that it may hold
_BACK_CHAIN = 41  # values that a branch may start from
_BRANCHES = 3  # earlier branches added to the stream since it was the value that a branch starts from
_MAX_STATES = 20 * FAR


def residuals(analysis: Analysis) -> dict[int, Residual]:
    """All residual additions by op index, numbered along their streams."""
    found: dict[int, Residual] = {}
    lengths: list[int] = []
    for op in analysis.graph.live_ops():
        if op.name not in ("add", "sub") or op.output in analysis.regions.root or len(analysis.signals(op)) != 2:
            continue
        if op.output in analysis.loops.inside:
            continue  # a sum inside the step of a recurrent cell: its state is overwritten, not added to
        a, b = analysis.signals(op)
        if analysis.graph.values[a].shape != analysis.graph.values[b].shape:
            continue
        match = _identity(analysis, found, a, b) or _identity(analysis, found, b, a)
        match = match or _projection(analysis, found, a, b) or _projection(analysis, found, b, a)
        if match is None:
            continue
        skip, branch, start, kind = match
        maps, num_maps = _maps_in_branch(analysis, branch, start)
        if not maps:
            continue  # nothing in the branch can be sized: the direct term of a state-space layer is no depth
        stream = _stream_of(analysis, found, skip, through_map=kind == "projection")
        if stream is None:
            stream = len(lengths)
            lengths.append(0)
        found[op.index] = Residual(op.index, skip, branch, start, kind, stream, lengths[stream], maps, num_maps)
        lengths[stream] += 1
    return found


Match = tuple[int, int, int, Literal["identity", "projection"]]


def _identity(analysis: Analysis, known: Mapping[int, Residual], skip: int, branch: int) -> Match | None:
    start = _reaches(analysis, branch, _back_chain(analysis, known, skip), maps=1)
    return None if start is None else (skip, branch, start, "identity")


def _projection(analysis: Analysis, known: Mapping[int, Residual], skip: int, branch: int) -> Match | None:
    """The skip path is one map (with norm) of a value from which the branch needs at least two."""
    op = _map_behind(analysis, skip)
    if op is None:
        return None
    use = analysis.contractions[op.index][0]
    if use.lookup or len(use.data) != 1:
        return None
    start = _reaches(analysis, branch, _back_chain(analysis, known, use.data[0]), maps=2)
    if start is None or not _bends(analysis, branch, start):
        return None  # a linear branch beside a map is a low-rank update of that map
    if op.index in {inside.index for inside in _branch_ops(analysis, branch, start)}:
        return None  # both come through that map: they separate after it
    return skip, branch, start, "projection"


def _map_behind(analysis: Analysis, skip: int) -> Op | None:
    """The map that a skip operand is the output of, up to views, norms and constant factors."""

    def back(value: int) -> list[int]:
        op = analysis.graph.producer(value)
        if op is None:
            return []
        through = op.name in _TRANSPARENT or op.index in analysis.norms or op.name in ("mul", "add", "sub", "div")
        signals = analysis.signals(op)
        return signals if through and len(signals) == 1 else []

    makers = (analysis.graph.producer(v) for v in reach(skip, back, limit=_SKIP_PATH))
    return next((op for op in makers if op is not None and op.index in analysis.contractions), None)


def _bends(analysis: Analysis, branch: int, start: int) -> bool:
    """Whether something nonlinear happens in a branch."""
    return any(
        op.index in analysis.norms or op.index in analysis.products or analysis.is_activated(op.output)
        for op in _branch_ops(analysis, branch, start)
    )


def _back_chain(analysis: Analysis, known: Mapping[int, Residual], value: int) -> list[int]:
    """A value and what it equals up to views, dropout, affine maps and earlier branches added to it."""
    chain: list[int] = []
    branches = 0
    for current in reach(value, lambda v: _equal_before(analysis, known, v), limit=_BACK_CHAIN):
        chain.append(current)
        op = analysis.graph.producer(current)
        branches += op is not None and op.index in known
        if branches > _BRANCHES:
            break
    return chain


def _equal_before(analysis: Analysis, known: Mapping[int, Residual], value: int) -> list[int]:
    """What a value equals up to one view, dropout, affine map or branch added to it."""
    op = analysis.graph.producer(value)
    if op is None:
        return []
    if op.index in known:
        return [known[op.index].skip]
    if analysis.is_affine_end(value):
        return [analysis.regions.root[value]]
    if op.name in _PICKS and not _is_stride(op):
        return []  # another piece of the same tensor is another signal
    signals = analysis.signals(op)
    scaled = op.name in ("mul", "add", "sub", "div", "where", "masked_fill")
    inside = value in analysis.regions.root and not scaled and op.name not in VIEWS
    return signals if len(signals) == 1 and (op.name in _TRANSPARENT or scaled) and not inside else []


def _is_stride(op: Op) -> bool:
    """Whether an indexing only skips positions (the shortcut of a first-generation ResNet)."""
    index = op.arg(1)
    parts = index if isinstance(index, tuple) else (index,)
    return op.name == "getitem" and all(
        p is Ellipsis or (isinstance(p, slice) and not p.start and p.stop is None) for p in parts
    )


def _reaches(analysis: Analysis, branch: int, targets: list[int], maps: int) -> int | None:
    """The target that a branch comes from with at least so many maps in between; the nearest to the addition."""
    graph = analysis.graph
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
        if op is None or op.index <= first or len(seen) > _MAX_STATES:
            continue
        more = min(count + analysis.is_map(op), 2)
        todo += [(i, more) for i in analysis.signals(op)]
    return best


def _stream_of(analysis: Analysis, known: Mapping[int, Residual], value: int, *, through_map: bool) -> int | None:
    """The stream that a skip operand belongs to: back through norms and activations to an earlier addition."""
    left = 1 if through_map else 0
    for v in reach(value, lambda v: _stream_before(analysis, v), limit=FAR):
        op = analysis.graph.producer(v)
        if op is not None and op.index in known:
            return known[op.index].stream
        left -= op is not None and _is_bare_map(analysis, op, v)
        if left < 0:
            return None
    return None


def _is_bare_map(analysis: Analysis, op: Op, value: int) -> bool:
    return op.index not in analysis.norms and value not in analysis.regions.root and analysis.is_map(op)


def _stream_before(analysis: Analysis, value: int) -> list[int]:
    """The value that carries the stream one norm, activation, map or view earlier; empty where there is none."""
    op = analysis.graph.producer(value)
    if op is None:
        return []
    if op.index in analysis.norms:
        return [analysis.norms[op.index].input]
    if value in analysis.regions.root:
        return [analysis.regions.root[value]]
    if analysis.is_map(op):
        return list(analysis.contractions[op.index][0].data[:1]) if op.index in analysis.contractions else []
    if op.name in _PICKS and not _is_stride(op):
        return []  # additions to pieces of a stream side by side do not follow one another
    signals = analysis.signals(op)
    return signals[:1] if len(signals) == 1 or op.name in _TRANSPARENT else []


def _branch_ops(analysis: Analysis, branch: int, start: int) -> list[Op]:
    """The ops that a branch's output is made by after its start, in order."""
    graph = analysis.graph
    made = graph.values[start].op
    first = -1 if made is None else made
    inside, todo = set[int](), [branch]
    while todo:
        op = graph.producer(todo.pop())
        if op is None or op.index <= first or op.index in inside:
            continue
        inside.add(op.index)
        todo += analysis.signals(op)
    return [graph.ops[i] for i in sorted(inside)]


def _maps_in_branch(analysis: Analysis, branch: int, start: int) -> tuple[dict[int, int], int]:
    """Ops of a branch that apply weights, with their depth inside it, and the branch's depth."""
    depth: dict[int, int] = {}
    maps: dict[int, int] = {}
    for op in _branch_ops(analysis, branch, start):
        before = max((depth.get(i, 0) for i in op.inputs), default=0)
        applies = analysis.has_weights(op)
        if applies:
            maps[op.index] = before
        depth.update(dict.fromkeys(op.outputs, before + applies))
    return maps, depth.get(branch, 0)
