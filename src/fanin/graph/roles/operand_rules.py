"""What a parameter does in an operation that does not contract it with the signal: one small rule an operation."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fanin.graph.analysis.analysis import Analysis
from fanin.graph.analysis.bounded import NEAR, reach
from fanin.graph.analysis.recurrent import places_of
from fanin.graph.analysis.walks import downstream
from fanin.graph.ir import Op, Value
from fanin.model.operations import DROPOUT, JOINS, NORM_CALLS, NORMS, POOLS, RECURRENT, VIEWS
from fanin.model.roles import Role

__all__ = ["WITH_BIAS", "FoundRole", "Meeting", "find_role"]


@dataclass(frozen=True, slots=True)
class Meeting:
    """An op that reads a parameter (perhaps after some operations on it alone) together with the signal."""

    op: Op
    operand: int
    chain: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class FoundRole:
    """A role, what it belongs to, the norm it is part of, and why."""

    role: Role
    reason: str
    owner: int | None = None
    norm: str = ""


def find_role(analysis: Analysis, meeting: Meeting, parameter: Value) -> FoundRole:
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
    if analysis.attention.places.get((op.index, meeting.operand)) == "attn_bias":
        return FoundRole("attn_bias", f"added to the scores of {op.name}")
    if (op.index, meeting.operand) in analysis.attention.places or op.index in analysis.contractions:
        return FoundRole("token", f"a learned input: it is what {op.name} is applied to")
    return FoundRole("unknown", f"it enters the signal through {op.name}, which fanin has no rule for")


Rule = Callable[[Analysis, Meeting, Value], "FoundRole | None"]


def _native_norm(analysis: Analysis, meeting: Meeting, parameter: Value) -> FoundRole | None:
    op = meeting.op
    call = NORM_CALLS.get(op.name)
    if meeting.operand == op.ref(0, "input"):
        return FoundRole("token", f"a learned input: it is what {op.name} normalizes")
    name = op.name.removeprefix("native_")
    if call is not None and call.shift is not None and op.ref(call.shift, "bias") == meeting.operand:
        return FoundRole("norm_shift", f"added by {name}", owner=op.ref(call.scale, "weight"), norm=name)
    return FoundRole("norm_scale", f"multiplied by {name}", norm=name)


def _recurrent(analysis: Analysis, meeting: Meeting, parameter: Value) -> FoundRole | None:
    for place in places_of(analysis.graph, meeting.op):
        if place.value == meeting.operand:
            return FoundRole(place.role, f"{place.role} of {meeting.op.name}", owner=place.owner)
    return FoundRole("token", f"a learned state of {meeting.op.name}")


def _multiplied(analysis: Analysis, meeting: Meeting, parameter: Value) -> FoundRole | None:
    signal = _signal_operand(analysis, meeting)
    if signal is None:
        return None
    op = meeting.op
    norm = _norm_behind(analysis, signal) or _norm_of_factor(analysis, op)
    if norm:
        return FoundRole("norm_scale", f"multiplies the output of {norm}", norm=norm)
    if _inside_activation(analysis, op, signal):
        return FoundRole("act_param", f"a number inside the activation at {op.name}")
    if any(e.kind == "residual" for e in downstream(analysis, op.output)) and not _one_map_later(analysis, signal):
        return FoundRole("layer_scale", "multiplies a residual branch before it is added")
    return FoundRole("scale", "multiplies the signal")


def _inside_activation(analysis: Analysis, op: Op, signal: int) -> bool:
    """Whether a factor acts on the argument of an activation and not on its result."""
    regions = analysis.regions
    base = regions.root.get(op.output)
    before = regions.functions.get(signal)
    if base is None or (before is not None and not before.is_affine):
        return False
    return any(not regions.functions[end].is_affine for end in regions.ends.get(base, ()))


def _one_map_later(analysis: Analysis, signal: int) -> bool:
    """Whether the stream itself is multiplied (a D-skip, a decay) and not what the branch made."""
    op = _maker_behind(analysis, signal)
    return op is None


def _added(analysis: Analysis, meeting: Meeting, parameter: Value) -> FoundRole | None:
    signal = _signal_operand(analysis, meeting)
    if signal is None:
        return None
    op = meeting.op
    if op.output in analysis.attention.scores:
        return FoundRole("attn_bias", "added to attention scores")
    maker = _maker_behind(analysis, signal)
    if _extents(parameter) > 1 and not _one_for_each_unit(analysis, maker, parameter):
        return FoundRole("position", "added to the signal, with a value for each position")
    norm = _norm_behind(analysis, signal) or _norm_of_factor(analysis, op, through=False)
    if norm:
        return FoundRole("norm_shift", f"added to the output of {norm}", norm=norm)
    if maker is not None and maker.index in analysis.contractions and not analysis.contractions[maker.index][0].lookup:
        return FoundRole(
            "bias",
            f"added to the output of {maker.name}",
            owner=analysis.contractions[maker.index][0].weight,
        )
    return FoundRole("shift", "added to the signal")


def _compared(analysis: Analysis, meeting: Meeting, parameter: Value) -> FoundRole | None:
    return FoundRole("position", f"centres: {meeting.op.name} measures the distance of the signal from each")


def _extents(v: Value) -> int:
    return sum(1 for n in v.shape if n != 1)


def _one_for_each_unit(analysis: Analysis, maker: Op | None, parameter: Value) -> bool:
    """Whether a parameter of several axes (heads, features) has as many numbers as a map has output units.

    Those of several maps side by side (the members of an ensemble) count too.
    """
    uses = analysis.contractions.get(maker.index, ()) if maker is not None else ()
    if not uses or uses[0].lookup:
        return False
    shape = analysis.graph.values[uses[0].weight].shape

    def units(*meanings: str) -> int:
        return math.prod(n for n, axis in zip(shape, uses[0].axes, strict=True) if axis in meanings)

    return parameter.numel in (units("out"), units("out", "batch"))


def _joined(analysis: Analysis, meeting: Meeting, parameter: Value) -> FoundRole | None:
    return FoundRole("token", f"joined to the signal by {meeting.op.name}")


def _activation(analysis: Analysis, meeting: Meeting, parameter: Value) -> FoundRole | None:
    if meeting.op.ref(0) == meeting.operand and len(analysis.signals(meeting.op)) == 0:
        return FoundRole("token", f"a learned input of {meeting.op.name}")
    return FoundRole("act_param", f"a parameter of {meeting.op.name}")


def _blended(analysis: Analysis, meeting: Meeting, parameter: Value) -> FoundRole | None:
    places = [meeting.op.ref(i) for i in range(3)]
    if meeting.operand == places[2]:
        return FoundRole("scale", f"weighs the two operands of {meeting.op.name}")
    return FoundRole("shift" if meeting.operand == places[0] else "scale", f"an operand of {meeting.op.name}")


def _product_bias(analysis: Analysis, meeting: Meeting, parameter: Value) -> FoundRole | None:
    """The first operand of addmm and similar operations."""
    if meeting.op.ref(0) != meeting.operand:
        return None
    uses = analysis.contractions.get(meeting.op.index)
    if not uses:
        return FoundRole(
            "attn_bias" if meeting.op.output in analysis.attention.scores else "shift",
            f"added by {meeting.op.name}",
        )
    return FoundRole("bias", f"added by {meeting.op.name}", owner=uses[0].weight)


def _called_bias(analysis: Analysis, meeting: Meeting, parameter: Value) -> FoundRole | None:
    """The bias of linear, convolution and bilinear."""
    for use in analysis.contractions.get(meeting.op.index, ()):
        if use.bias == meeting.operand:
            return FoundRole("bias", f"added by {meeting.op.name}", owner=use.weight)
    if meeting.op.ref(2, "bias") == meeting.operand:
        return FoundRole("bias", f"added by {meeting.op.name}", owner=meeting.op.ref(1, "weight"))
    return None


def _masked(analysis: Analysis, meeting: Meeting, parameter: Value) -> FoundRole | None:
    return FoundRole("token", f"put in place of the signal by {meeting.op.name}")


WITH_BIAS = frozenset({"linear", "conv1d", "conv2d", "conv3d", "convolution", "_convolution"})
_RULES: Mapping[str, Rule] = {
    **dict.fromkeys(("mul", "div", "rdiv", "pow"), _multiplied),
    **dict.fromkeys(("add", "sub", "rsub", "maximum", "minimum"), _added),
    **dict.fromkeys(("cdist", "pairwise_distance", "_euclidean_dist"), _compared),
    **dict.fromkeys(sorted(JOINS), _joined),
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


def _norm_of_factor(analysis: Analysis, op: Op, *, through: bool = True) -> str:
    """Name of the norm whose factor or whose last summand an op makes: x * (scale / sqrt(var)) + (shift - mean * ...).

    Args:
        analysis: the graph.
        op: what reads the parameter.
        through: look through the last operations of the norm too, and not through views alone.
    """
    norm = analysis.inside_norm.get(op.index)
    if norm is None or norm.op == op.index:
        return ""

    def back(v: int) -> list[int]:
        maker = analysis.graph.producer(v)
        if maker is None:
            return []
        inside = through and maker.index in norm.inside and maker.name in ("mul", "add", "sub")
        return list(maker.inputs) if inside else list(maker.inputs[:1]) if maker.name in VIEWS else []

    last = analysis.graph.ops[norm.op]
    return norm.name if any(op.output in reach(v, back, limit=NEAR) for v in last.inputs) else ""


_BACK_THROUGH = VIEWS | DROPOUT | POOLS


def _signal_operand(analysis: Analysis, meeting: Meeting) -> int | None:
    signals = [i for i in analysis.signals(meeting.op) if i != meeting.operand]
    return signals[0] if signals else None


def _norm_behind(analysis: Analysis, value: int) -> str:
    """Name of the norm that a value is the output of, up to views, casts and affine parameters."""

    def back(v: int) -> list[int]:
        op = analysis.graph.producer(v)
        if op is None:
            return []
        if analysis.is_affine_end(v):
            return [analysis.regions.root[v]]
        passes = op.name in _BACK_THROUGH or op.name in ("mul", "add", "sub")
        signals = analysis.signals(op)
        return signals if len(signals) == 1 and passes and op.name not in JOINS else []

    made = (analysis.graph.producer(v) for v in reach(value, back, limit=NEAR))
    return next((analysis.norms[op.index].name for op in made if op is not None and op.index in analysis.norms), "")


def _maker_behind(analysis: Analysis, value: int) -> Op | None:
    """The map, norm or activation that a value is the output of, up to views and constant factors."""

    def back(v: int) -> list[int]:
        op = analysis.graph.producer(v)
        if op is None:
            return []
        if v in analysis.regions.root:
            return [analysis.regions.root[v]]
        signals = analysis.signals(op)
        passes = op.name in _BACK_THROUGH or op.name in ("mul", "add", "sub", "div")
        return signals if len(signals) == 1 and passes else []

    reached = reach(value, back, limit=NEAR)
    return next((op for v in reached if (op := analysis.graph.producer(v)) and _makes(analysis, op, v)), None)


def _makes(analysis: Analysis, op: Op, value: int) -> bool:
    """Whether a value is new at this op: a map, norm, activation, attention or product of signals gives it."""
    if any(op.index in made for made in (analysis.contractions, analysis.norms, analysis.attention.outputs)):
        return True
    if analysis.is_activated(value):
        return True
    gates = op.name in ("mul", "div") and len(analysis.signals(op)) > 1
    return gates and value not in analysis.regions.root
