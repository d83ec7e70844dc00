"""Put the findings together into one `ParameterRole` for each parameter (see `roles`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fanin.errors import LayoutError
from fanin.graph.analysis.activations import Activation
from fanin.graph.analysis.contraction import Contraction, layout_of
from fanin.graph.analysis.recurrent import GATES, RecurrentPlace
from fanin.graph.analysis.walks import Event, sources
from fanin.graph.ir import Graph, Parameter
from fanin.graph.roles.data import ParameterRole, Part, Roles, Stream, Use
from fanin.graph.roles.non_weights import Finding, Meeting, find_role, meetings
from fanin.graph.roles.parts import parts_of
from fanin.graph.roles.placement import branch_at, iterated, plain_stack, with_owners
from fanin.graph.roles.reparametrizations import chain_names
from fanin.graph.roles.uses import Book, Sighting, open_book, stream_start
from fanin.layout import Layout, fans
from fanin.model.roles import Role

__all__ = ["roles"]


def roles(graph: Graph) -> Roles:
    """The role of every parameter of a graph.

    Example:
        >>> import torch
        >>> from fanin.graph.recording.capture import capture
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        >>> r = roles(capture(model, torch.zeros(3, 4)))
        >>> r["0.weight"].fan_in, r["0.weight"].activation.label, r["2.weight"].feeds, r["2.weight"].tags
        (4.0, 'relu', ('act:relu',), ('head',))
    """
    book = open_book(graph)
    first = {name: _label(book, p) for name, p in graph.parameters.items()}
    named = with_owners(book, first)
    streams = tuple(
        Stream(number=s, num_branches=n, start=stream_start(book, s), sums=_sums(book, s))
        for s, n in sorted(book.lengths.items())
    )
    return Roles(named, streams, plain_stack(book, named), graph.notes)


def _sums(book: Book, stream: int) -> tuple[int, ...]:
    found = book.analysis.flow.residuals.values()
    return tuple(book.graph.ops[r.op].output for r in found if r.stream == stream)


# ---------------------------------------------------------------------- one parameter
def _label(book: Book, p: Parameter) -> ParameterRole:
    if p.value in book.recurrent:
        return _recurrent_role(book, p)
    whole = [s for s in book.sightings.get(p.value, []) if s.link.whole]
    if whole:
        return _weight_role(book, p, whole)
    if p.value in book.sightings:
        return _gain_role(book, p, book.sightings[p.value])
    if book.analysis.flow.around.kinds.is_signal(p.value):
        return _learned_input_role(book, p)
    met = sorted(meetings(book.analysis, p.value), key=lambda m: m.op.index)
    if met:
        return _other_role(book, p, met)
    return _unused_role(book, p)


def _vector(p: Parameter) -> Layout:
    """One number a unit: every axis counts outputs, none is summed."""
    return Layout(out_axes=tuple(range(len(p.shape))), in_axes=())


def _unused_role(book: Book, p: Parameter) -> ParameterRole:
    read = book.graph.consumers(p.value)
    why = "its only readers have no influence on an output" if read else "the forward pass never reads it"
    return ParameterRole(
        name=p.name, aliases=p.aliases, role="unused", shape=p.shape, layout=_default_layout(p), reason=why
    )


def _default_layout(p: Parameter) -> Layout:
    return Layout.default(len(p.shape)) if len(p.shape) > 1 else _vector(p)


def _learned_input_role(book: Book, p: Parameter) -> ParameterRole:
    readers = [op for op in book.graph.consumers(p.value) if book.graph.is_live(op)]
    return ParameterRole(
        name=p.name,
        aliases=p.aliases,
        role="token",
        shape=p.shape,
        layout=_vector(p),
        uses=tuple(_other_use(book, Meeting(op, p.value, ())) for op in readers),
        iterated=1,
        reason="a learned input: maps are applied to it as to a signal",
    )


def _other_role(book: Book, p: Parameter, met: Sequence[Meeting]) -> ParameterRole:
    value = book.graph.values[p.value]
    found = [find_role(book.analysis, m, value) for m in met[:8]]
    best = next((f for f in found if f.role != "unknown"), found[0])
    meeting = met[found.index(best)]
    return ParameterRole(
        name=p.name,
        aliases=p.aliases,
        role=best.role,
        shape=p.shape,
        layout=_vector(p),
        uses=tuple(_other_use(book, m) for m in met),
        iterated=iterated(book, [m.op.index for m in met]),
        owner=_owner_name(book, best),
        norm=best.norm,
        reason=f"{best.reason} at {_place(book, meeting.op.index)}",
    )


def _other_use(book: Book, m: Meeting) -> Use:
    op = m.op
    return Use(
        op=op.index,
        op_name=op.name,
        module=op.module,
        depth=book.analysis.depth[op.output],
        chain=chain_names(book.analysis, m.chain),
        output_shape=book.graph.values[op.output].shape,
    )


def _owner_name(book: Book, found: Finding) -> str:
    """Name of the parameter that the owner value is made of."""
    if found.owner is None:
        return ""
    direct = book.graph.parameter_of(found.owner)
    if direct is not None:
        return direct.name
    links = next((ls for (_, w), ls in book.analysis.links.items() if w == found.owner), ())
    whole = [link for link in links if link.whole] or list(links)
    return book.graph.values[whole[0].value].name if whole else ""


def _place(book: Book, index: int) -> str:
    op = book.graph.ops[index]
    return f"{op.name} in {op.module or book.graph.model}"


def _gain_role(book: Book, p: Parameter, seen: Sequence[Sighting]) -> ParameterRole:
    first = seen[0]
    owner = next(
        (book.graph.values[li.value].name for li in book.analysis.links[first.use.op, first.use.weight] if li.whole), ""
    )
    return ParameterRole(
        name=p.name,
        aliases=p.aliases,
        role="gain",
        shape=p.shape,
        layout=_vector(p),
        uses=tuple(_weight_use(book, s) for s in seen),
        iterated=iterated(book, [s.use.op for s in seen]),
        owner=owner,
        reason=f"broadcast into the weight of {_place(book, first.use.op)}",
    )


def _recurrent_role(book: Book, p: Parameter) -> ParameterRole:
    placed = book.recurrent[p.value]
    op = book.graph.ops[placed[0][0]]
    place = placed[0][1]
    gates = GATES[op.name]
    size = p.shape[0] // len(gates)
    is_weight = place.role in ("rnn_ih", "rnn_hh")
    layout = Layout.linear(parts=len(gates)) if is_weight else Layout.linear() if len(p.shape) == 2 else _vector(p)
    counted = fans(p.shape, layout) if len(p.shape) == 2 else None
    parts = (
        tuple(Part(tag=g, start=i * size, size=size) for i, g in enumerate(gates))
        if place.role != "weight" and len(gates) > 1
        else ()
    )
    steps = _time_steps(book, op.index) if place.role in ("rnn_hh", "weight") else 1
    return ParameterRole(
        name=p.name,
        aliases=p.aliases,
        role=place.role,
        shape=p.shape,
        layout=layout,
        fan_in=counted.fan_in if counted else None,
        fan_out=counted.fan_out if counted else None,
        parts=parts,
        uses=tuple(_recurrent_use(book, i, pl) for i, pl in placed),
        iterated=max(steps, len(placed)),
        owner=book.graph.values[place.owner].name if place.owner is not None else "",
        reason=f"{place.role} of {op.name}, layer {place.layer}{', reverse' if place.reverse else ''}",
    )


def _time_steps(book: Book, index: int) -> int:
    op = book.graph.ops[index]
    shape = book.graph.values[op.inputs[0]].shape
    if op.name.endswith("_cell") or len(shape) < 2:
        return 1
    batch_first = len(op.args) > 8 and op.args[8] is True
    return shape[1] if batch_first and len(shape) == 3 else shape[0]


def _recurrent_use(book: Book, index: int, place: RecurrentPlace) -> Use:
    op = book.graph.ops[index]
    events = tuple(dict.fromkeys(e for out in op.outputs for e in book.events_after(out)))
    feeds = sources(book.analysis.flow, op.inputs[0]) if place.layer == 0 else ("rnn",)
    return Use(
        op=index,
        op_name=op.name,
        module=op.module,
        tags=tuple(dict.fromkeys(_tag(book, e) for e in events)),
        feeds=feeds if place.role == "rnn_ih" else ("rnn",),
        depth=book.analysis.depth[op.output],
        chain=chain_names(book.analysis, ()),
        input_shape=book.graph.values[op.inputs[0]].shape,
        output_shape=book.graph.values[op.output].shape,
        branch=branch_at(book, index, events),
    )


# ---------------------------------------------------------------------- weights
def _weight_role(book: Book, p: Parameter, seen: Sequence[Sighting]) -> ParameterRole:
    seen = sorted(seen, key=lambda s: (not s.use.lookup, s.use.op))
    main = seen[0]
    layout, known = layout_of(main.use, main.link.axes, len(p.shape))
    layout, known = (layout, known) if _fits(layout, p) else (_default_layout(p), False)
    uses = tuple(_weight_use(book, s) for s in seen)
    parts = parts_of(
        book.analysis, [(s.use, s.link) for s in seen], layout, p.shape, book.events_after, lambda e: _tag(book, e)
    )
    layout = _with_parts(layout, parts, p.shape)
    counted = fans(p.shape, layout) if layout.in_axes and _fits(layout, p) else None
    role = _lookup_role(book, main, uses[0]) if main.use.lookup else "weight"
    return ParameterRole(
        name=p.name,
        aliases=p.aliases,
        role=role,
        shape=p.shape,
        layout=layout,
        layout_known=known,
        fan_in=counted.fan_in if counted else None,
        fan_out=counted.fan_out if counted else None,
        parts=parts,
        uses=uses,
        iterated=iterated(book, [s.use.op for s in seen]),
        reason=_weight_reason(book, main, uses[0], known),
    )


def _fits(layout: Layout, p: Parameter) -> bool:
    try:
        layout.check(p.shape)
    except LayoutError:
        return False
    return True


def _with_parts(layout: Layout, parts: tuple[Part, ...], shape: Sequence[int]) -> Layout:
    if len(parts) < 2 or len(layout.out_axes) != 1 or layout.groups > 1:
        return layout
    sizes = tuple(part.size for part in parts)
    if sum(sizes) != shape[layout.out_axes[0]]:
        return layout
    return replace(layout, parts=len(sizes) if len(set(sizes)) == 1 else sizes)


def _lookup_role(book: Book, main: Sighting, use: Use) -> Role:
    if set(use.tags) <= {"attn_bias", "embed"} and "attn_bias" in use.tags:
        return "attn_bias"
    rows = main.use.data[0]
    if book.analysis.flow.around.kinds.kinds[rows] != "aux" or not _rows_differ(book, rows):
        return "embedding"
    return "position"


def _rows_differ(book: Book, rows: int) -> bool:
    """Whether a constant index asks for different rows (positions) or always the same (a default token type)."""
    graph, op = book.graph, book.graph.producer(rows)
    for _ in range(12):
        if op is None:
            data = graph.data.get(rows)
            return data is None or data.unique().numel() > 1
        if op.name in ("zeros", "zeros_like", "new_zeros", "full"):
            return False
        if op.name in ("arange", "cumsum") or not op.inputs:
            return True
        rows = op.inputs[0]
        op = graph.producer(rows)
    return True


def _weight_reason(book: Book, main: Sighting, use: Use, known: bool) -> str:
    what = "rows looked up by" if main.use.lookup else "summed over by"
    chain = f" after {' and '.join(use.chain)}" if use.chain else ""
    guess = "" if known else "; its axes could not be followed, torch's order (out, in, taps) is assumed"
    feeds, then = " + ".join(use.feeds) or "nothing", ", ".join(use.tags) or "nothing"
    return f"{what} {_place(book, main.use.op)}{chain}; fed by {feeds}, then {then}{guess}"


def _weight_use(book: Book, s: Sighting) -> Use:
    graph, flow = book.graph, book.analysis.flow
    op = graph.ops[s.use.op]
    events = book.events_after(op.output)
    acts = tuple(e for e in events if e.kind == "act" and e.activation is not None)
    feed_value = s.use.data[0]
    tags = tuple(dict.fromkeys(_tag(book, e) for e in events))
    norm = next((n for e in events for n in e.norms), None)
    return Use(
        op=op.index,
        op_name=op.name,
        module=op.module,
        tags=("embed", *tags) if s.use.lookup else tags,
        feeds=_feeds(book, s.use),
        feed=_feed_activation(book, feed_value),
        activation=acts[0].activation if acts else None,
        activations=tuple(dict.fromkeys(e.activation for e in acts if e.activation is not None)),
        norm_after="" if norm is None else flow.around.norms[norm].name,
        depth=book.analysis.depth[op.output],
        chain=chain_names(book.analysis, s.link.ops),
        padding=s.use.padding,
        dilation=s.use.dilation,
        input_shape=graph.values[feed_value].shape,
        output_shape=graph.values[op.output].shape,
        branch=branch_at(book, op.index, events),
    )


def _feeds(book: Book, use: Contraction) -> tuple[str, ...]:
    if use.lookup:
        kind = book.analysis.flow.around.kinds.kinds[use.data[0]]
        return ("input",) if kind == "index" else ("const",)
    return tuple(dict.fromkeys(f for d in use.data for f in sources(book.analysis.flow, d)))


def _feed_activation(book: Book, value: int) -> Activation | None:
    """The activation that a data operand is the value of, through views."""
    around = book.analysis.flow.around
    for _ in range(10):
        found = around.regions.functions.get(value)
        if found is not None and not found.is_affine:
            return found
        if value in around.regions.root:
            value = around.regions.root[value]
            continue
        op = book.graph.producer(value)
        if (
            op is None
            or op.index in around.contractions
            or op.index in around.norms
            or op.index in book.analysis.flow.residuals
        ):
            return None
        signals = around.signals(op)
        if len(signals) != 1:
            return None
        value = signals[0]
    return None


def _tag(book: Book, event: Event) -> str:
    if event.kind == "act":
        if event.result is not None and not event.gated and _only_output(book, event.result):
            return "head"
        if event.result is not None and _chooses(book, event.result):
            return "router"
        return "act+gate" if event.gated else "act"
    if event.kind == "softmax":
        return _softmax_tag(book, event)
    return "op:" + event.name if event.kind == "op" else event.kind


def _only_output(book: Book, value: int) -> bool:
    after = book.events_after(value)
    return bool(after) and all(e.kind in ("head", "loss") for e in after)


def _softmax_tag(book: Book, event: Event) -> str:
    """A softmax whose result chooses among experts makes its weight a router; one that leaves the model a head."""
    out = book.graph.ops[event.op].output
    if _only_output(book, out):
        return "head"
    return "router" if _chooses(book, out) else "softmax"


def _chooses(book: Book, value: int) -> bool:
    """Whether a value is ranked (topk, argmax) before it meets another signal."""
    todo, seen = [value], set[int]()
    while todo and len(seen) < 30:
        v = todo.pop()
        if v in seen:
            continue
        seen.add(v)
        for op in book.graph.consumers(v):
            if op.name in ("topk", "argmax", "sort") or (op.name == "max" and len(op.outputs) == 2):
                return True
            if (
                len(book.analysis.flow.around.signals(op)) == 1
                and op.index not in book.analysis.flow.around.contractions
            ):
                todo += op.outputs
    return False
