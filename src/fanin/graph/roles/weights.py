"""Parameters that a contraction sums over or looks up, and the gains that are broadcast into such weights."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fanin.graph.analysis.activations import FoundActivation
from fanin.graph.analysis.analysis import Analysis, Sighting
from fanin.graph.analysis.axes import is_outer
from fanin.graph.analysis.bounded import NEAR, reach
from fanin.graph.analysis.contraction import Contraction, layout_of
from fanin.graph.analysis.entries import entry_layout, entry_pieces
from fanin.graph.analysis.feeding import cut_of
from fanin.graph.analysis.probed import probed_layout
from fanin.graph.analysis.walks import downstream, sources
from fanin.graph.ir import Op, Parameter
from fanin.graph.roles.data import ParameterRole, Piece, Product, Use
from fanin.graph.roles.layouts import fits, vector, weight_layout, with_parts
from fanin.graph.roles.non_weights import meetings
from fanin.graph.roles.operand_rules import Meeting, find_role
from fanin.graph.roles.parts import parts_of
from fanin.graph.roles.placement import branch_at, iterated, place_name
from fanin.graph.roles.reparametrizations import chain_names
from fanin.graph.roles.tags import tags
from fanin.layout import Layout, fans
from fanin.model.operations import DROPOUT, MATRIX_PRODUCTS, VIEWS
from fanin.model.roles import Role

__all__ = ["gain_role", "weight_role"]

_TO_ACTIVATION = 10  # values between a map and the activation that feeds it


def weight_role(analysis: Analysis, p: Parameter, seen: Sequence[Sighting]) -> ParameterRole:
    """The role of a parameter that is a weight in these contractions; a lookup decides it before others."""
    seen = sorted(seen, key=lambda s: (not s.use.lookup, s.use.op))
    main = seen[0]
    layout, known = _layout(analysis, seen, p)
    uses = tuple(_weight_use(analysis, s) for s in seen)
    parts = parts_of(analysis, seen, layout, p.shape)
    layout = with_parts(layout, parts, p.shape)
    counted = fans(p.shape, layout) if layout.in_axes and fits(layout, p) else None
    pieces = () if counted is not None else _pieces(analysis, seen, p)
    if pieces:
        layout = Layout.vector(parts=tuple(piece.size for piece in pieces))
    return ParameterRole(
        name=p.name,
        aliases=p.aliases,
        role=_lookup_role(analysis, main, uses[0]) if main.use.lookup else "weight",
        shape=p.shape,
        layout=layout,
        layout_known=known,
        fan_in=counted.fan_in if counted else _fan_in_there(analysis, main.use),
        fan_out=counted.fan_out if counted else None,
        parts=parts,
        product=None if known else _product(analysis, main),
        pieces=pieces,
        uses=uses,
        iterated=max(iterated(analysis.graph, ops) for ops in _by_cut(analysis, seen)),
        reason=_weight_reason(analysis, main, uses[0], known),
    )


def _layout(analysis: Analysis, seen: Sequence[Sighting], p: Parameter) -> tuple[Layout, bool]:
    """The layout by following axes back; by entries, or by changing them, where fan_in is not the operation's."""
    use = seen[0].use
    layout, known = weight_layout(use, seen[0].link, p)
    if use.lookup or (known and not seen[0].link.ops):
        return layout, known
    if known and layout.in_axes and fans(p.shape, layout).fan_in == _fan_in_there(analysis, use):
        return layout, known
    found = entry_layout(analysis, seen, p)
    if found is None and not known:
        found = probed_layout(analysis, seen[0], p)
    return (layout, known) if found is None or not fits(found, p) else (found, True)


def _product(analysis: Analysis, main: Sighting) -> Product | None:
    """The weight that a parameter is a factor of; None where more than products and views make it."""
    links = [link for link in analysis.links[main.use.op, main.use.weight] if link.whole]
    ops = [analysis.graph.ops[i] for i in sorted({i for link in links for i in link.ops})]
    fan_in = _fan_in_there(analysis, main.use)
    products = [op for op in ops if op.name in MATRIX_PRODUCTS or is_outer(analysis.graph, op)]
    if len(links) < 2 or not fan_in or any(op not in products and op.name not in VIEWS for op in ops):
        return None
    counts = [_summed(analysis, op) for op in products]
    paths = math.prod(n or 1 for n in counts)
    return None if None in counts or not counts else Product(factors=len(links), paths=paths, fan_in=fan_in)


def _summed(analysis: Analysis, op: Op) -> int | None:
    """Terms that a product of two or more parameters sums; None where that cannot be told."""
    if is_outer(analysis.graph, op):
        return 1
    if op.name == "einsum":
        terms, arrow, out = str(op.arg(0)).replace(" ", "").partition("->")
        sizes: dict[str, int] = {}
        for letters, value in zip(terms.split(","), op.inputs, strict=False):
            sizes.update(zip(letters, analysis.graph.values[value].shape, strict=False))
        return math.prod(n for letter, n in sizes.items() if letter not in out) if arrow and "." not in terms else None
    known = op.name in ("matmul", "mm", "bmm") and len(op.inputs) == 2
    return analysis.graph.values[op.inputs[0]].shape[-1] if known else None


def _pieces(analysis: Analysis, seen: Sequence[Sighting], p: Parameter) -> tuple[Piece, ...]:
    """The weights inside a flat parameter, and what lies between them; () where it holds anything but that."""
    found = entry_pieces(analysis, seen, p)
    if not found or not _only_added(analysis, p, seen):
        return ()
    pieces: list[Piece] = []
    for one in found:
        end = pieces[-1].start + pieces[-1].size if pieces else 0
        if one.start > end:
            pieces.append(Piece(start=end, size=one.start - end))
        fan_in = fans((one.size,), one.layout).fan_in
        pieces.append(Piece(start=one.start, size=one.size, fan_in=fan_in, use=one.sighting, layout=one.layout))
    end = pieces[-1].start + pieces[-1].size
    return (*pieces, Piece(start=end, size=p.numel - end)) if end < p.numel else tuple(pieces)


def _only_added(analysis: Analysis, p: Parameter, seen: Sequence[Sighting]) -> bool:
    """Whether what is no weight in a flat parameter is added to the signal, as a bias."""
    maps = {s.use.op for s in seen}
    met = [m for m in meetings(analysis, p.value) if m.op.index not in maps or _is_bias_of(analysis, m)]
    return all(find_role(analysis, m, analysis.graph.values[p.value]).role in _ADDED for m in met)


def _is_bias_of(analysis: Analysis, meeting: Meeting) -> bool:
    return any(use.bias == meeting.operand for use in analysis.contractions[meeting.op.index])


_ADDED = frozenset({"bias", "shift", "norm_shift", "position", "rnn_bias"})


def _by_cut(analysis: Analysis, seen: Sequence[Sighting]) -> list[list[int]]:
    """The uses of each piece of a parameter; different pieces are different maps."""
    found: dict[str, list[int]] = {}
    for s in seen:
        found.setdefault(cut_of(analysis.graph, s), []).append(s.use.op)
    return list(found.values())


def _fan_in_there(analysis: Analysis, use: Contraction) -> float | None:
    """Terms that the operation sums into one output."""
    shape = analysis.graph.values[use.weight].shape
    layout, known = layout_of(use, use.axes, len(shape))
    return fans(shape, layout).fan_in if known and layout.in_axes else None


def gain_role(analysis: Analysis, p: Parameter, seen: Sequence[Sighting]) -> ParameterRole:
    """The role of a parameter that is a factor or offset of a weight, never a whole weight."""
    first = seen[0]
    links = analysis.links[first.use.op, first.use.weight]
    return ParameterRole(
        name=p.name,
        aliases=p.aliases,
        role="gain",
        shape=p.shape,
        layout=vector(p),
        uses=tuple(_weight_use(analysis, s) for s in seen),
        iterated=iterated(analysis.graph, [s.use.op for s in seen]),
        owner=next((analysis.graph.values[li.value].name for li in links if li.whole), ""),
        reason=f"broadcast into the weight of {place_name(analysis.graph, first.use.op)}",
    )


# ---------------------------------------------------------------------- tables
def _lookup_role(analysis: Analysis, main: Sighting, use: Use) -> Role:
    if set(use.tags) <= {"attn_bias", "embed"} and "attn_bias" in use.tags:
        return "attn_bias"
    rows = main.use.data[0]
    if analysis.dependence.kinds[rows] != "aux" or not _rows_differ(analysis, rows):
        return "embedding"
    return "position"


def _rows_differ(analysis: Analysis, rows: int) -> bool:
    """Whether a constant index asks for different rows (positions) or always the same (a default token type)."""
    graph = analysis.graph

    def first_operand(value: int) -> tuple[int, ...]:
        op = graph.producer(value)
        return () if op is None else op.inputs[:1]

    for value in reach(rows, first_operand, limit=NEAR):
        op = graph.producer(value)
        if op is None:
            data = graph.data.get(value)
            return data is None or data.unique().numel() > 1
        if op.name in ("zeros", "zeros_like", "new_zeros", "full"):
            return False
        if op.name in ("arange", "cumsum"):
            return True
    return True


# ---------------------------------------------------------------------- one use
def _weight_use(analysis: Analysis, s: Sighting) -> Use:
    graph = analysis.graph
    op = graph.ops[s.use.op]
    events = downstream(analysis, op.output)
    activations = tuple(e.activation for e in events if e.kind == "act" and e.activation is not None)
    norm = next((n for e in events for n in e.norms), None)
    return Use(
        op=op.index,
        op_name=op.name,
        module=op.module,
        tags=(*(("embed",) if s.use.lookup else ()), *tags(analysis, events)),
        feeds=_feeds(analysis, s.use),
        feed=_feed_activation(analysis, s.use.data[0]),
        activation=activations[0] if activations else None,
        activations=tuple(dict.fromkeys(activations)),
        norm_after="" if norm is None else analysis.norms[norm].name,
        normed=_only_norms_read(analysis, op.output),
        depth=analysis.depth[op.output],
        chain=chain_names(analysis, s.link.ops),
        padding=s.use.padding,
        dilation=s.use.dilation,
        input_shape=graph.values[s.use.data[0]].shape,
        output_shape=graph.values[op.output].shape,
        branch=branch_at(analysis, op.index, events),
    )


def _only_norms_read(analysis: Analysis, value: int) -> bool:
    """Whether every way from a value leads into a norm before it meets another signal or leaves the model."""
    todo, seen = [value], set[int]()
    while todo:
        v = todo.pop()
        readers = [op for op in analysis.graph.consumers(v) if analysis.graph.is_live(op)]
        if v in analysis.outputs or not readers or len(seen) > NEAR:
            return False
        seen.add(v)
        for op in readers:
            if op.index in analysis.inside_norm:
                continue
            if op.name not in VIEWS | _KEEPS_SCALE or len(analysis.signals(op)) != 1:
                return False
            todo += [out for out in op.outputs if out not in seen]
    return True


_KEEPS_SCALE = DROPOUT | {"add", "sub", "mul", "div"}


def _feeds(analysis: Analysis, use: Contraction) -> tuple[str, ...]:
    if use.lookup:
        return ("input",) if analysis.dependence.kinds[use.data[0]] == "index" else ("const",)
    return tuple(dict.fromkeys(f for d in use.data for f in sources(analysis, d)))


def _feed_activation(analysis: Analysis, value: int) -> FoundActivation | None:
    """The activation that a data operand is the value of, through views."""

    def back(v: int) -> list[int]:
        if v in analysis.regions.root:
            return [analysis.regions.root[v]]
        op = analysis.graph.producer(v)
        if op is None or any(op.index in made for made in (analysis.contractions, analysis.norms, analysis.residuals)):
            return []
        signals = analysis.signals(op)
        return signals if len(signals) == 1 else []

    reached = reach(value, back, limit=_TO_ACTIVATION)
    return next((analysis.regions.functions[v] for v in reached if analysis.is_activated(v)), None)


def _weight_reason(analysis: Analysis, main: Sighting, use: Use, known: bool) -> str:
    what = "rows looked up by" if main.use.lookup else "summed over by"
    chain = f" after {' and '.join(use.chain)}" if use.chain else ""
    guess = "" if known else "; its axes could not be followed, torch's order (out, in, taps) is assumed"
    feeds, then = " + ".join(use.feeds) or "nothing", ", ".join(use.tags) or "nothing"
    return f"{what} {place_name(analysis.graph, main.use.op)}{chain}; fed by {feeds}, then {then}{guess}"
