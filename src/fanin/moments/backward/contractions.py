"""Backward through sums of products: each operand receives the einsum of the gradient with the other operands."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from fanin.graph.ir import Op, Ref
from fanin.model.operations import VIEWS
from fanin.moments.algebra import contraction
from fanin.moments.backward.common import along_output, crowded, received, unbroadcast
from fanin.moments.forward.contractions import SPECS, EinsumCall
from fanin.moments.frame import Frame
from fanin.moments.moments import JointMoments

__all__ = ["RULES", "operand_gradient"]


def operand_gradient(frame: Frame, spec: EinsumCall, which: int, g: JointMoments) -> JointMoments:
    """Gradient of one operand of a contraction."""
    left, _, right = spec.equation.partition("->")
    terms = left.split(",")
    own = terms[which]
    others = [(t, frame.moments(o)) for i, (t, o) in enumerate(zip(terms, spec.operands, strict=True)) if i != which]
    reachable = set(right) | set("".join(t for t, _ in others))
    inner = "".join(s for s in own if s in reachable)
    sizes = dict(zip(own, frame.graph.value(spec.operands[which].index).shape, strict=True))
    equation = f"{','.join([right, *(t for t, _ in others)])}->{inner}"
    full = {s: n for t, m in [(right, g), *others] for s, n in zip(t, m.shape, strict=True) if n != 1}
    made = contraction(equation, [g, *(m for _, m in others)], [full.get(s, 1) for s in inner])
    spread = made.reshaped([full.get(s, 1) if s in inner else 1 for s in own])
    return (
        unbroadcast(spread, [sizes[s] if s in inner else 1 for s in own])
        .expanded([sizes[s] for s in own])
        .scaled(spec.alpha)
    )


def _contracted(frame: Frame, op: Op, grads: Sequence[JointMoments | None]) -> Mapping[int, JointMoments]:
    g = received(grads)
    if g is None:
        return {}
    spec = SPECS[op.name](frame, op)
    out = {}
    for i, template in enumerate(spec.operands):
        if isinstance(template, Ref) and frame.graph.value(template.index).is_float:
            part = _of_logits(frame, op, spec, i, operand_gradient(frame, spec, i, g))
            out[template.index] = _of_output(frame, op, g, part) if i == 0 and op.name == "linear" else part
    if isinstance(spec.bias, Ref):
        out[spec.bias.index] = unbroadcast(g, frame.graph.value(spec.bias.index).shape).scaled(spec.beta)
    return out


def _of_output(frame: Frame, op: Op, g: JointMoments, part: JointMoments) -> JointMoments:
    """The gradient of what the last map reads, where the output receives a multiple of itself, as in W^T (W h - y).

    Along h it is (g . W h) / |h|, whatever W is; across h a fresh W gives what it gives an independent gradient. A
    weight that h was made with (a tied embedding) meets labels, which are not made of W h: its gradient is as long as
    that of an independent one.
    """
    x, along = frame.moments_at(op.inputs[0]), along_output(frame, op.output)
    features = x.shape[-1]
    whole = features * x.second_moment * features * part.second_moment
    if along <= 0.0 or not whole > 0.0:
        return part
    ratio = along * g.shape[-1] * g.second_moment / whole
    if op.index in frame.repeats.forward:
        frame.radial[op.inputs[0]] = min(ratio, 1.0)
        return part
    frame.radial[op.inputs[0]] = ratio / (1.0 + ratio)
    return part.scaled(math.sqrt(1.0 + ratio))


def _of_logits(frame: Frame, op: Op, spec: EinsumCall, which: int, g: JointMoments) -> JointMoments:
    """The gradient with what keys and values share, where the products are the logits of a softmax."""
    terms, _, right = spec.equation.partition("->")
    refs = [t.index for t in spec.operands if isinstance(t, Ref)]
    own = terms.split(",")
    if len(refs) != 2 or not right or any(frame.signals[v].weight_only for v in refs) or not _feeds_softmax(frame, op):
        return g
    keys = next((i for i, t in enumerate(own) if right[-1] in t), 1)
    shape = dict(zip(own[keys], frame.graph.value(refs[keys]).shape, strict=True))
    summed = [n for letter, n in shape.items() if letter not in right]
    heads = [shape[letter] for letter in own[keys][1:] if letter in own[1 - keys] and letter in right]
    return crowded(g, shape[right[-1]], math.prod((*summed, *heads)), of_query=which != keys)


def _feeds_softmax(frame: Frame, op: Op, hops: int = 8) -> bool:
    """Whether a softmax is what a result goes to, through scales, masks and views."""
    for reader in frame.graph.consumers(op.output):
        if reader.name == "softmax":
            return True
        if hops and reader.name in _TO_SOFTMAX and _feeds_softmax(frame, reader, hops - 1):
            return True
    return False


_TO_SOFTMAX = VIEWS | frozenset(["add", "sub", "mul", "div", "masked_fill", "where", "to", "float", "type_as", "clamp"])


def _grouped_mm(frame: Frame, op: Op, grads: Sequence[JointMoments | None]) -> Mapping[int, JointMoments]:
    """Each row is multiplied by one expert's matrix.

    The gradient of a row is as through one matrix; an expert receives the rows sent to it, their share on average.
    """
    g = received(grads)
    if g is None:
        return {}
    x, w = op.inputs[0], op.inputs[1]
    one = frame.moments_at(w).resized(0, 1)
    back = contraction("to,aio->ti", [g, one], frame.graph.value(x).shape)
    experts = frame.graph.value(w).shape[0]
    to_weight = contraction("ti,to->io", [frame.moments_at(x), g], frame.graph.value(w).shape[1:])
    return {x: back, w: JointMoments.iid(frame.graph.value(w).shape, var=to_weight.second_moment / experts)}


RULES = {**dict.fromkeys(SPECS, _contracted), "_grouped_mm": _grouped_mm}
