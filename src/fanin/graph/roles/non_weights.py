"""Parameters that are not the weight of a contraction: what they do where they meet the signal.

Every rule is a small function in a table by operation; the first that answers gives the role.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from fanin.graph.analysis.analysis import Analysis
from fanin.graph.analysis.walks import downstream
from fanin.graph.ir import Op, Value
from fanin.model.operations import DROPOUT, NORM_CALLS, NORMS, POOLS, RECURRENT, VIEWS
from fanin.model.roles import Role

__all__ = ["Finding", "Meeting", "find_role", "meetings"]


@dataclass(frozen=True, slots=True)
class Meeting:
    """An op where a parameter, perhaps after some operations on it alone, meets the signal."""

    op: Op
    operand: int
    chain: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """A role, what it belongs to, the norm it is part of, and why."""

    role: Role
    reason: str
    owner: int | None = None
    norm: str = ""


def meetings(analysis: Analysis, leaf: int) -> Iterator[Meeting]:
    """The ops where a parameter meets the signal or leaves the model, nearest first."""
    graph, kinds = analysis.graph, analysis.flow.around.kinds
    todo: deque[tuple[int, tuple[int, ...]]] = deque([(leaf, ())])
    seen = {leaf}
    while todo:
        value, chain = todo.popleft()
        for op in graph.consumers(value):
            if not graph.is_live(op):
                continue
            signal = any(kinds.is_signal(o) for o in op.outputs) or not any(kinds.is_weight(o) for o in op.outputs)
            if signal or _is_side_operand(op, value):
                yield Meeting(op, value, chain)
                continue
            for out in op.outputs:
                if out not in seen:
                    seen.add(out)
                    todo.append((out, (*chain, op.index)))


def _is_side_operand(op: Op, value: int) -> bool:
    """Whether a value is the scale or shift of a norm, or the bias of a map, that works on learned inputs alone."""
    if op.name in NORMS:
        return op.ref(0, "input") != value
    return op.name in _WITH_BIAS and op.ref(2, "bias") == value


def find_role(analysis: Analysis, meeting: Meeting, parameter: Value) -> Finding:
    """What a parameter does at one meeting."""
    op = meeting.op
    rule = _RULES.get(op.name)
    if op.name in NORMS:
        rule = _native_norm
    elif op.name in RECURRENT:
        rule = _recurrent
    found = rule(analysis, meeting, parameter) if rule is not None else None
    if found is not None:
        return found
    if analysis.flow.attention.places.get((op.index, meeting.operand)) == "attn_bias":
        return Finding("attn_bias", f"added to the scores of {op.name}")
    if (op.index, meeting.operand) in analysis.flow.attention.places or op.index in analysis.flow.around.contractions:
        return Finding("token", f"a learned input: it is what {op.name} is applied to")
    return Finding("unknown", f"it enters the signal through {op.name}, which fanin has no rule for")


Rule = Callable[[Analysis, Meeting, Value], "Finding | None"]


def _native_norm(analysis: Analysis, meeting: Meeting, parameter: Value) -> Finding | None:
    op = meeting.op
    call = NORM_CALLS.get(op.name)
    if meeting.operand == op.ref(0, "input"):
        return Finding("token", f"a learned input: it is what {op.name} normalizes")
    name = op.name.removeprefix("native_")
    if call is not None and call.shift is not None and op.ref(call.shift, "bias") == meeting.operand:
        return Finding("norm_shift", f"added by {name}", owner=op.ref(call.scale, "weight"), norm=name)
    return Finding("norm_scale", f"multiplied by {name}", norm=name)


def _recurrent(analysis: Analysis, meeting: Meeting, parameter: Value) -> Finding | None:
    from fanin.graph.analysis.recurrent import places_of

    for place in places_of(analysis.graph, meeting.op):
        if place.value == meeting.operand:
            return Finding(place.role, f"{place.role} of {meeting.op.name}", owner=place.owner)
    return Finding("token", f"a learned state of {meeting.op.name}")


def _multiplied(analysis: Analysis, meeting: Meeting, parameter: Value) -> Finding | None:
    signal = _signal_operand(analysis, meeting)
    if signal is None:
        return None
    norm = _norm_behind(analysis, signal)
    if norm:
        return Finding("norm_scale", f"multiplies the output of {norm}", norm=norm)
    op = meeting.op
    if _inside_activation(analysis, op, signal):
        return Finding("act_param", f"a number inside the activation at {op.name}")
    if any(e.kind == "residual" for e in downstream(analysis.flow, op.output)) and not _one_map_later(analysis, signal):
        return Finding("layer_scale", "multiplies a residual branch before it is added")
    return Finding("scale", "multiplies the signal")


def _inside_activation(analysis: Analysis, op: Op, signal: int) -> bool:
    """Whether a factor acts on the argument of an activation and not on its result."""
    regions = analysis.flow.around.regions
    base = regions.root.get(op.output)
    before = regions.functions.get(signal)
    if base is None or (before is not None and not before.is_affine):
        return False
    return any(not regions.functions[end].is_affine for end in regions.ends.get(base, ()))


def _one_map_later(analysis: Analysis, signal: int) -> bool:
    """Whether the stream itself is multiplied (a D-skip, a decay) and not what the branch made."""
    op = _maker_behind(analysis, signal)
    return op is None


def _added(analysis: Analysis, meeting: Meeting, parameter: Value) -> Finding | None:
    signal = _signal_operand(analysis, meeting)
    if signal is None:
        return None
    op = meeting.op
    if op.output in analysis.flow.attention.scores:
        return Finding("attn_bias", "added to attention scores")
    if _extents(parameter) > 1:
        return Finding("position", "added to the signal, with a value for each position")
    norm = _norm_behind(analysis, signal)
    if norm:
        return Finding("norm_shift", f"added to the output of {norm}", norm=norm)
    maker = _maker_behind(analysis, signal)
    if (
        maker is not None
        and maker.index in analysis.flow.around.contractions
        and not analysis.flow.around.contractions[maker.index][0].lookup
    ):
        return Finding(
            "bias",
            f"added to the output of {maker.name}",
            owner=analysis.flow.around.contractions[maker.index][0].weight,
        )
    return Finding("shift", "added to the signal")


def _extents(v: Value) -> int:
    return sum(1 for n in v.shape if n != 1)


def _joined(analysis: Analysis, meeting: Meeting, parameter: Value) -> Finding | None:
    return Finding("token", f"joined to the signal by {meeting.op.name}")


def _activation(analysis: Analysis, meeting: Meeting, parameter: Value) -> Finding | None:
    if meeting.op.ref(0) == meeting.operand and len(analysis.flow.around.signals(meeting.op)) == 0:
        return Finding("token", f"a learned input of {meeting.op.name}")
    return Finding("act_param", f"a parameter of {meeting.op.name}")


def _blended(analysis: Analysis, meeting: Meeting, parameter: Value) -> Finding | None:
    places = [meeting.op.ref(i) for i in range(3)]
    if meeting.operand == places[2]:
        return Finding("scale", f"weighs the two operands of {meeting.op.name}")
    return Finding("shift" if meeting.operand == places[0] else "scale", f"an operand of {meeting.op.name}")


def _product_bias(analysis: Analysis, meeting: Meeting, parameter: Value) -> Finding | None:
    """The first operand of addmm and its kin."""
    if meeting.op.ref(0) != meeting.operand:
        return None
    uses = analysis.flow.around.contractions.get(meeting.op.index)
    if not uses:
        return Finding(
            "attn_bias" if meeting.op.output in analysis.flow.attention.scores else "shift",
            f"added by {meeting.op.name}",
        )
    return Finding("bias", f"added by {meeting.op.name}", owner=uses[0].weight)


def _called_bias(analysis: Analysis, meeting: Meeting, parameter: Value) -> Finding | None:
    """The bias of linear, convolution and bilinear."""
    for use in analysis.flow.around.contractions.get(meeting.op.index, ()):
        if use.bias == meeting.operand:
            return Finding("bias", f"added by {meeting.op.name}", owner=use.weight)
    if meeting.op.ref(2, "bias") == meeting.operand:
        return Finding("bias", f"added by {meeting.op.name}", owner=meeting.op.ref(1, "weight"))
    return None


def _masked(analysis: Analysis, meeting: Meeting, parameter: Value) -> Finding | None:
    return Finding("token", f"put in place of the signal by {meeting.op.name}")


_WITH_BIAS = frozenset({"linear", "conv1d", "conv2d", "conv3d", "convolution", "_convolution"})
_RULES: Mapping[str, Rule] = {
    **dict.fromkeys(("mul", "div", "rdiv", "pow"), _multiplied),
    **dict.fromkeys(("add", "sub", "rsub", "maximum", "minimum"), _added),
    **dict.fromkeys(("cat", "stack", "hstack", "vstack"), _joined),
    **dict.fromkeys(
        ("prelu", "rrelu", "threshold", "clamp", "clamp_min", "clamp_max", "softplus"),
        _activation,
    ),
    **dict.fromkeys(("lerp", "addcmul", "addcdiv"), _blended),
    **dict.fromkeys(("addmm", "baddbmm", "addbmm", "addmv"), _product_bias),
    **dict.fromkeys(
        ("linear", "bilinear", "conv1d", "conv2d", "conv3d", "conv_tbc", "convolution", "_convolution"), _called_bias
    ),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "deform_conv2d"), _called_bias),
    **dict.fromkeys(
        ("where", "setitem", "masked_fill", "index_put", "copy", "masked_scatter", "scatter", "index_copy"), _masked
    ),
}

_BACK_THROUGH = VIEWS | DROPOUT | POOLS


def _signal_operand(analysis: Analysis, meeting: Meeting) -> int | None:
    signals = [i for i in analysis.flow.around.signals(meeting.op) if i != meeting.operand]
    return signals[0] if signals else None


def _norm_behind(analysis: Analysis, value: int) -> str:
    """Name of the norm that a value is the output of, up to views, casts and affine parameters."""
    around = analysis.flow.around
    for _ in range(12):
        op = analysis.graph.producer(value)
        if op is None:
            return ""
        if op.index in around.norms:
            return around.norms[op.index].name
        if around.is_affine_end(value):
            value = around.regions.root[value]
            continue
        signals = around.signals(op)
        passes = op.name in _BACK_THROUGH or op.name in ("mul", "add", "sub")
        if len(signals) != 1 or not passes or op.name in ("cat", "stack"):
            return ""
        value = signals[0]
    return ""


def _maker_behind(analysis: Analysis, value: int) -> Op | None:
    """The map, norm or activation that a value is the output of, up to views and constant factors."""
    around = analysis.flow.around
    for _ in range(12):
        op = analysis.graph.producer(value)
        if op is None:
            return None
        function = around.regions.functions.get(value)
        nonlinear = function is not None and not function.is_affine
        if (
            op.index in around.contractions
            or op.index in around.norms
            or nonlinear
            or op.index in analysis.flow.attention.outputs
        ):
            return op
        if value in around.regions.root:
            value = around.regions.root[value]
            continue
        signals = around.signals(op)
        if len(signals) > 1 and op.name in ("mul", "div"):
            return op
        if len(signals) != 1 or not (op.name in _BACK_THROUGH or op.name in ("mul", "add", "sub", "div")):
            return None
        value = signals[0]
    return None
