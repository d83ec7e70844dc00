"""What happens to a map's output next, and where its input comes from.

Both walks look through what changes neither meaning nor law of a unit: views, casts, dropout, pooling, biases,
affine factors, plain sums.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from fanin.graph.analysis.activations import LIBRARY, FoundActivation
from fanin.graph.analysis.analysis import Analysis
from fanin.graph.analysis.bounded import reach
from fanin.graph.analysis.events import Event, EventKind
from fanin.graph.ir import Op
from fanin.model.operations import (
    CONVOLUTIONS,
    DROPOUT,
    ELEMENTWISE,
    FACTORIES,
    LOOKUPS,
    LOSSES,
    MATRIX_PRODUCTS,
    POOLS,
    RECURRENT,
    REDUCTIONS,
    SOFTMAX,
    VIEWS,
)

__all__ = ["downstream", "sources"]

_TRANSPARENT = (
    VIEWS
    | DROPOUT
    | POOLS
    | {"mean", "sum", "amax", "max", "amin", "min", "nanmean", "cumsum", "median", "logcumsumexp"}
)
_SPLITS = frozenset(
    {"chunk", "split", "unbind", "tensor_split", "getitem", "select", "narrow", "slice", "hsplit", "split_with_sizes"}
)
_MAX_STEPS = 2_000
_MAX_EVENTS = 64  # more say nothing new: in a dense block the output of a map meets every later map
_MAX_SOURCES = 4
_TO_GATE = 5  # views and constant factors between an activation and the product that it gates
_FIXED_MAPS = MATRIX_PRODUCTS | CONVOLUTIONS
_NAMED = {**dict.fromkeys(SOFTMAX, "softmax"), **dict.fromkeys(RECURRENT, "rnn"), **dict.fromkeys(LOOKUPS, "embed")}
_GLU_GATE = FoundActivation("sigmoid", fn=LIBRARY["sigmoid"])  # torch's glu: one half times the sigmoid of the other


@dataclass(slots=True)
class _WalkDown:
    """State of one walk downstream."""

    todo: deque[tuple[int, tuple[int, ...], int | None, bool]]  # value, norms passed, piece, whether through a gate
    seen: set[int] = field(default_factory=set)
    events: list[Event] = field(default_factory=list)


def downstream(analysis: Analysis, value: int) -> tuple[Event, ...]:
    """The first events on all ways from a value, in the order they are met.

    Behind a gate the walk goes on, but only to see whether the product is added to a stream or leaves the model.
    """
    passed = list(_along(analysis, value))  # a chain of sums would else be walked once for each of its summands
    known = analysis.walked.after.get(passed[-1])
    if known is None:
        known = _events_after(analysis, passed[-1])
    analysis.walked.after.update(dict.fromkeys(passed, known))
    return known


def _along(analysis: Analysis, value: int) -> Iterator[int]:
    """The values from here on while there is one way only and no event on it, to the first that was walked from."""
    at: int | None = value
    seen = set[int]()
    while at is not None and at not in seen:
        yield at
        seen.add(at)
        at = None if at in analysis.walked.after else _only_next(analysis, at)


def _only_next(analysis: Analysis, value: int) -> int | None:
    """The value that a walk goes to from here, where it is the only one and nothing is met or passed on the way."""
    graph = analysis.graph
    if value in analysis.outputs or not graph.values[value].is_float:
        return None
    readers = [op for op in graph.consumers(value) if graph.is_live(op) and op.name not in FACTORIES]
    if len(readers) != 1 or len(readers[0].outputs) != 1:
        return None
    op = readers[0]
    passed = op.index in analysis.inside_norm or op.output in analysis.regions.root or op.name in _SPLITS
    if passed or op.name == "glu" or not _looked_through(analysis, op):
        return None
    return op.output if _event_kind(analysis, op, value) is None else None


def _events_after(analysis: Analysis, value: int) -> tuple[Event, ...]:
    graph = analysis.graph
    walk = _WalkDown(deque([(value, (), None, False)]))
    while walk.todo and len(walk.seen) < _MAX_STEPS and len(walk.events) < _MAX_EVENTS:
        v, norms, piece, gated = walk.todo.popleft()
        if v in walk.seen or not graph.values[v].is_float:
            continue
        walk.seen.add(v)
        if v in analysis.outputs:
            walk.events.append(Event("head", -1, v, norms=norms, piece=piece, gated=gated))
        for op in graph.consumers(v):
            if graph.is_live(op) and op.name not in FACTORIES:  # zeros_like and similar functions read a shape only
                _step(analysis, walk, op, _State(v, norms, piece, gated))
    return tuple(dict.fromkeys(walk.events))


@dataclass(frozen=True, slots=True)
class _State:
    """The value that a walk has reached, and what it passed on the way."""

    value: int
    norms: tuple[int, ...]
    piece: int | None
    gated: bool


def _step(analysis: Analysis, walk: _WalkDown, op: Op, at: _State) -> None:
    """One consumer: an event, or further on."""
    kind = _event_kind(analysis, op, at.value)
    if op.name == "glu" and not at.gated:
        walk.events.append(Event("act", op.index, at.value, _GLU_GATE, None, at.norms, at.piece, True))
    if kind is not None:
        if not at.gated or kind == "residual":
            walk.events.append(
                Event(kind, op.index, at.value, norms=at.norms, piece=at.piece, gated=at.gated, name=op.name)
            )
        if kind == "gate" and not analysis.dependence.is_weight(at.value):
            walk.todo.extend((out, at.norms, at.piece, True) for out in op.outputs)
    elif op.index in analysis.inside_norm:
        norm = analysis.inside_norm[op.index]
        walk.todo.append((norm.output, (*at.norms, norm.op), at.piece, at.gated))
    elif op.output in analysis.regions.root:
        _through_region(analysis, walk, op, at)
    elif _looked_through(analysis, op):
        for out in op.outputs:
            walk.todo.append((out, at.norms, out if at.piece is None and op.name in _SPLITS else at.piece, at.gated))
    elif not at.gated:
        walk.events.append(Event("op", op.index, at.value, norms=at.norms, piece=at.piece, name=op.name))


def _event_kind(analysis: Analysis, op: Op, v: int) -> EventKind | None:
    if op.index in analysis.residuals:
        return "residual" if analysis.residuals[op.index].branch == v else "stream_in"
    place = analysis.attention.places.get((op.index, v))
    if place is not None:
        return "datamul" if place == "attn_p" else place
    if op.index in analysis.contractions or op.name in RECURRENT:
        return "linear"
    if op.name in SOFTMAX:
        return "attn_bias" if op.index in analysis.attention.softmaxes else "softmax"
    if op.output in analysis.attention.scores and op.index not in analysis.products and len(analysis.signals(op)) > 1:
        return "attn_bias"
    if op.name in LOSSES:
        return "loss"
    if op.name == "glu":
        return "gate"
    multiplies = op.name in ("mul", "div", "rdiv", "addcmul", "complex", "polar", "addcdiv", "lerp")
    if (
        multiplies
        and op.index not in analysis.inside_norm
        and op.output not in analysis.regions.root
        and len(analysis.signals(op)) > 1
    ):
        return "gate"
    return None


def _through_region(analysis: Analysis, walk: _WalkDown, op: Op, at: _State) -> None:
    """To the ends of the univariate region that begins here."""
    regions = analysis.regions
    base = regions.root[op.output]
    if base not in (at.value, regions.root.get(at.value)):
        return
    for end in regions.ends.get(base, ()):
        found = regions.functions[end]
        if found.is_affine:
            walk.todo.append((end, at.norms, at.piece, at.gated))
        elif not at.gated:
            walk.events.append(
                Event("act", op.index, at.value, found, end, at.norms, at.piece, _multiplies(analysis, end))
            )


def _looked_through(analysis: Analysis, op: Op) -> bool:
    if op.name in _TRANSPARENT or op.name.startswith("fft_") or op.name in ELEMENTWISE:
        return True
    return op.name in _FIXED_MAPS and len(analysis.signals(op)) == 1  # a map by constants (a cosine transform)


def _multiplies(analysis: Analysis, value: int) -> bool:
    """Whether a value multiplies another signal, perhaps after a view or a constant factor."""

    def readers(v: int) -> list[Op]:
        live = (op for op in analysis.graph.consumers(v) if analysis.graph.is_live(op))
        return [op for op in live if op.index not in analysis.residuals and op.index not in analysis.inside_norm]

    def passed_on(v: int) -> list[int]:
        return [out for op in readers(v) if _keeps_values(analysis, op) for out in op.outputs]

    reached = reach(value, passed_on, limit=_MAX_STEPS, levels=_TO_GATE)
    return any(_event_kind(analysis, op, v) == "gate" for v in reached for op in readers(v))


def _keeps_values(analysis: Analysis, op: Op) -> bool:
    """Whether an op moves the values of one signal, or scales and shifts them."""
    scales = op.name in ("mul", "add", "sub", "rsub", "div") and len(analysis.signals(op)) == 1
    return op.name != "cat" and (op.name in _TRANSPARENT or scales)


# ---------------------------------------------------------------------- upstream
def sources(analysis: Analysis, value: int) -> tuple[str, ...]:
    """What a value comes from, one entry for each summand or concatenated part: the four nearest, the nearest first.

    "input", "norm", "act:NAME", "attn", "gate", "se_gate", "stream", "lin", "embed", "softmax", "rnn", "mix",
    "param", "const", "op:NAME".
    """
    known, waiting = analysis.walked.before, dict[int, list[int]]()
    todo = [value]
    while todo:
        v = todo[-1]
        if v not in known and v not in waiting:
            label, waiting[v] = _source(analysis, v)
            if label:
                known[v] = ((label, 0),)
            todo += [before for before in waiting[v] if before not in known and before not in waiting]
            continue
        todo.pop()
        if v not in known:
            known[v] = _nearest(known.get(before, ()) for before in waiting[v])
    return tuple(label for label, _ in known[value])


def _nearest(found: Iterable[tuple[tuple[str, int], ...]]) -> tuple[tuple[str, int], ...]:
    """The nearest of what several values come from, seen from one step further on."""
    steps: dict[str, int] = {}
    for label, far in itertools.chain.from_iterable(found):
        steps[label] = min(steps.get(label, far + 1), far + 1)
    return tuple(sorted(steps.items(), key=lambda pair: pair[1])[:_MAX_SOURCES])


def _source(analysis: Analysis, v: int) -> tuple[str, list[int]]:
    op = analysis.graph.producer(v)
    if op is None:
        return _leaf_source(analysis, v), []
    if op.index in analysis.residuals:
        return "stream", []
    if op.index in analysis.norms:
        return "norm", []
    if v in analysis.loops.states and op.index not in analysis.contractions:
        return "rnn", []
    if op.index in analysis.contractions:
        return ("embed" if analysis.contractions[op.index][0].lookup else "lin"), []
    if op.index in analysis.attention.outputs:
        return "attn", []
    if op.index in analysis.products:
        return "mix", []
    if op.name in _NAMED:
        return _NAMED[op.name], []
    if v in analysis.regions.root:
        function = analysis.regions.functions.get(v)
        if function is None or function.is_affine:
            return "", [analysis.regions.root[v]]
        return f"act:{function.label}", []
    return _source_through(analysis, op, v)


def _source_through(analysis: Analysis, op: Op, v: int) -> tuple[str, list[int]]:
    signals = analysis.signals(op)
    if not signals:
        kinds = {analysis.dependence.kinds[i] for i in op.inputs}
        return ("param" if "weight" in kinds else "input" if "index" in kinds else "const"), []
    if op.name == "glu":
        return "gate", []
    if op.name in ("mul", "div", "rdiv", "addcmul", "lerp") and len(signals) > 1:
        sizes = {analysis.graph.values[i].numel for i in signals}
        return ("gate" if len(sizes) == 1 else "se_gate"), []
    if op.name in (
        "setitem",
        "index_put",
        "copy",
        "index_copy",
        "index_add",
        "scatter",
        "scatter_add",
        "as_strided_scatter",
    ):
        written = [i for i in signals if i != op.inputs[0]]
        return "", written or signals
    if _looked_through(analysis, op) or op.name in REDUCTIONS:
        return "", signals
    if op.name in FACTORIES:
        return "const", []
    return f"op:{op.name}", []


def _leaf_source(analysis: Analysis, v: int) -> str:
    kind = analysis.graph.values[v].kind
    return {"input": "input", "parameter": "param", "buffer": "const", "constant": "const"}.get(kind, "const")
