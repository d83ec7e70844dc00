"""What happens to a map's output next, and where its input comes from.

Both walks look through what changes neither meaning nor law of a unit: views, casts, dropout, pooling, biases,
affine factors, plain sums.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from fanin.graph.analysis.activations import LIBRARY, Activation
from fanin.graph.analysis.attention import Attention
from fanin.graph.analysis.norms import Norm
from fanin.graph.analysis.residual import Residual, Surroundings
from fanin.graph.ir import Graph, Op
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

__all__ = ["Event", "EventKind", "Flow", "downstream", "sources"]

EventKind = Literal[
    "act",
    "gate",
    "attn_q",
    "attn_k",
    "attn_v",
    "attn_bias",
    "datamul",
    "residual",
    "stream_in",
    "linear",
    "softmax",
    "head",
    "loss",
    "op",
]
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
_FIXED_MAPS = MATRIX_PRODUCTS | CONVOLUTIONS
_GLU_GATE = Activation("sigmoid", fn=LIBRARY["sigmoid"])  # torch's glu: one half times the sigmoid of the other


@dataclass(frozen=True, slots=True)
class Flow:
    """Everything that the walks need."""

    around: Surroundings
    residuals: Mapping[int, Residual]
    attention: Attention
    inside_norm: Mapping[int, Norm]
    outputs: frozenset[int]

    @property
    def graph(self) -> Graph:
        """The graph itself."""
        return self.around.graph


@dataclass(frozen=True, slots=True)
class Event:
    """The first thing that happens to a value downstream.

    Attributes:
        kind: what happens.
        op: index of the op where it happens; -1 for an output of the model.
        value: the value that arrives there.
        activation: the function, for "act".
        result: the value after an activation.
        norms: indices of the norms passed on the way.
        piece: the piece of a split output that the way led through (value index), if any.
        gated: for "act", whether its result multiplies another signal.
        name: name of the op, for "op".
    """

    kind: EventKind
    op: int
    value: int
    activation: Activation | None = None
    result: int | None = None
    norms: tuple[int, ...] = ()
    piece: int | None = None
    gated: bool = False
    name: str = ""


@dataclass(slots=True)
class _Walk:
    """State of one walk downstream."""

    todo: deque[tuple[int, tuple[int, ...], int | None, bool]]  # value, norms passed, piece, whether through a gate
    seen: set[int] = field(default_factory=set)
    events: list[Event] = field(default_factory=list)


def downstream(flow: Flow, value: int) -> tuple[Event, ...]:
    """The first events on all ways from a value, in the order they are met.

    Behind a gate the walk goes on, but only to see whether the product is added to a stream or leaves the model.
    """
    walk = _Walk(deque([(value, (), None, False)]))
    while walk.todo and len(walk.seen) < _MAX_STEPS:
        v, norms, piece, gated = walk.todo.popleft()
        if v in walk.seen or not flow.graph.values[v].is_float:
            continue
        walk.seen.add(v)
        if v in flow.outputs:
            walk.events.append(Event("head", -1, v, norms=norms, piece=piece, gated=gated))
        for op in flow.graph.consumers(v):
            if flow.graph.is_live(op) and op.name not in FACTORIES:  # zeros_like and its kin read a shape only
                _step(flow, walk, op, _State(v, norms, piece, gated))
    return tuple(dict.fromkeys(walk.events))


@dataclass(frozen=True, slots=True)
class _State:
    """Where a walk stands."""

    value: int
    norms: tuple[int, ...]
    piece: int | None
    gated: bool


def _step(flow: Flow, walk: _Walk, op: Op, at: _State) -> None:
    """One consumer: an event, or further on."""
    kind = _event_kind(flow, op, at.value)
    if op.name == "glu" and not at.gated:
        walk.events.append(Event("act", op.index, at.value, _GLU_GATE, None, at.norms, at.piece, True))
    if kind is not None:
        if not at.gated or kind == "residual":
            walk.events.append(
                Event(kind, op.index, at.value, norms=at.norms, piece=at.piece, gated=at.gated, name=op.name)
            )
        if kind == "gate" and not flow.around.kinds.is_weight(at.value):
            walk.todo.extend((out, at.norms, at.piece, True) for out in op.outputs)
    elif op.index in flow.inside_norm:
        norm = flow.inside_norm[op.index]
        walk.todo.append((norm.output, (*at.norms, norm.op), at.piece, at.gated))
    elif op.output in flow.around.regions.root:
        _through_region(flow, walk, op, at)
    elif _looked_through(flow, op):
        for out in op.outputs:
            walk.todo.append((out, at.norms, out if at.piece is None and op.name in _SPLITS else at.piece, at.gated))
    elif not at.gated:
        walk.events.append(Event("op", op.index, at.value, norms=at.norms, piece=at.piece, name=op.name))


def _event_kind(flow: Flow, op: Op, v: int) -> EventKind | None:
    around = flow.around
    if op.index in flow.residuals:
        return "residual" if flow.residuals[op.index].branch == v else "stream_in"
    place = flow.attention.places.get((op.index, v))
    if place is not None:
        return "datamul" if place == "attn_p" else place
    if op.index in around.contractions or op.name in RECURRENT:
        return "linear"
    if op.name in SOFTMAX:
        return "attn_bias" if op.index in flow.attention.softmaxes else "softmax"
    if op.output in flow.attention.scores and op.index not in around.products and len(around.signals(op)) > 1:
        return "attn_bias"
    if op.name in LOSSES:
        return "loss"
    if op.name == "glu":
        return "gate"
    multiplies = op.name in ("mul", "div", "rdiv", "addcmul", "complex", "polar", "addcdiv", "lerp")
    if (
        multiplies
        and op.index not in flow.inside_norm
        and op.output not in around.regions.root
        and len(around.signals(op)) > 1
    ):
        return "gate"
    return None


def _through_region(flow: Flow, walk: _Walk, op: Op, at: _State) -> None:
    """To the ends of the univariate region that begins here."""
    regions = flow.around.regions
    base = regions.root[op.output]
    if base not in (at.value, regions.root.get(at.value)):
        return
    for end in regions.ends.get(base, ()):
        found = regions.functions[end]
        if found.is_affine:
            walk.todo.append((end, at.norms, at.piece, at.gated))
        elif not at.gated:
            walk.events.append(Event("act", op.index, at.value, found, end, at.norms, at.piece, _multiplies(flow, end)))


def _looked_through(flow: Flow, op: Op) -> bool:
    if op.name in _TRANSPARENT or op.name.startswith("fft_") or op.name in ELEMENTWISE:
        return True
    return op.name in _FIXED_MAPS and len(flow.around.signals(op)) == 1  # a map by constants (a cosine transform)


def _multiplies(flow: Flow, value: int, steps: int = 6) -> bool:
    """Whether a value multiplies another signal, perhaps after a view or a constant factor."""
    frontier = [value]
    for _ in range(steps):
        following: list[int] = []
        for v in frontier:
            for op in flow.graph.consumers(v):
                if not flow.graph.is_live(op) or op.index in flow.residuals or op.index in flow.inside_norm:
                    continue
                if _event_kind(flow, op, v) == "gate":
                    return True
                alone = len(flow.around.signals(op)) == 1
                if (
                    op.name in _TRANSPARENT or (op.name in ("mul", "add", "sub", "rsub", "div") and alone)
                ) and op.name != "cat":
                    following += op.outputs
        frontier = following
        if not frontier:
            break
    return False


# ---------------------------------------------------------------------- upstream
def sources(flow: Flow, value: int, limit: int = 4) -> tuple[str, ...]:
    """What a value comes from, one entry for each summand or concatenated part.

    "input", "norm", "act:NAME", "attn", "gate", "se_gate", "stream", "lin", "embed", "softmax", "rnn", "mix",
    "param", "const", "op:NAME".
    """
    found: dict[str, None] = {}
    todo, seen = deque([value]), set[int]()
    while todo and len(seen) < _MAX_STEPS and len(found) < limit:
        v = todo.popleft()
        if v in seen:
            continue
        seen.add(v)
        label, more = _source(flow, v)
        if label:
            found[label] = None
        todo.extend(more)
    return tuple(found)


def _source(flow: Flow, v: int) -> tuple[str, list[int]]:
    around = flow.around
    op = flow.graph.producer(v)
    if op is None:
        return _leaf_source(flow, v), []
    if op.index in flow.residuals:
        return "stream", []
    if op.index in around.norms:
        return "norm", []
    if op.index in around.contractions:
        return ("embed" if around.contractions[op.index][0].lookup else "lin"), []
    if op.index in flow.attention.outputs:
        return "attn", []
    if op.index in around.products:
        return "mix", []
    named = {**dict.fromkeys(SOFTMAX, "softmax"), **dict.fromkeys(RECURRENT, "rnn"), **dict.fromkeys(LOOKUPS, "embed")}
    if op.name in named:
        return named[op.name], []
    if v in around.regions.root:
        function = around.regions.functions.get(v)
        if function is None or function.is_affine:
            return "", [around.regions.root[v]]
        return f"act:{function.label}", []
    return _source_through(flow, op, v)


def _source_through(flow: Flow, op: Op, v: int) -> tuple[str, list[int]]:
    signals = flow.around.signals(op)
    if not signals:
        kinds = {flow.around.kinds.kinds[i] for i in op.inputs}
        return ("param" if "weight" in kinds else "input" if "index" in kinds else "const"), []
    if op.name == "glu":
        return "gate", []
    if op.name in ("mul", "div", "rdiv", "addcmul", "lerp") and len(signals) > 1:
        sizes = {flow.graph.values[i].numel for i in signals}
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
    if _looked_through(flow, op) or op.name in REDUCTIONS:
        return "", signals
    if op.name in FACTORIES:
        return "const", []
    return f"op:{op.name}", []


def _leaf_source(flow: Flow, v: int) -> str:
    kind = flow.graph.values[v].kind
    return {"input": "input", "parameter": "param", "buffer": "const", "constant": "const"}.get(kind, "const")
