"""Attention: products of two signals, which of them are scores, and who is query, key and value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from fanin.graph.analysis.bounded import reach
from fanin.graph.analysis.dependence import Dependence
from fanin.graph.ir import Graph, Op, Ref
from fanin.model.operations import DROPOUT, ELEMENTWISE, MATRIX_PRODUCTS, SOFTMAX, VIEWS

__all__ = ["Attention", "attention"]

Place = Literal["attn_q", "attn_k", "attn_v", "attn_p", "attn_bias", "datamul"]
_THROUGH = (ELEMENTWISE | VIEWS | DROPOUT) - {"getitem"}
_TO_SCORES, _TO_VALUES = 60, 41  # values between a softmax and the products before and after it
_FUSED = frozenset({"scaled_dot_product_attention", "_scaled_dot_product_flash_attention_for_cpu", "flex_attention"})

_FUSED_PLACES: tuple[tuple[str, Place], ...] = (
    ("query", "attn_q"),
    ("key", "attn_k"),
    ("value", "attn_v"),
    ("attn_mask", "attn_bias"),
)


@dataclass(frozen=True, slots=True)
class Attention:
    """Products of signals in a graph.

    Attributes:
        places: (op index, value index) -> what that operand is: query, key, value, attention probabilities, or plain
            "datamul".
        scores: values that are attention scores or come before the softmax of an attention.
        softmaxes: indices of the softmax ops of attentions.
        outputs: op indices whose output is an attention output.
    """

    places: Mapping[tuple[int, int], Place]
    scores: frozenset[int]
    softmaxes: frozenset[int]
    outputs: frozenset[int]


def attention(graph: Graph, dependence: Dependence) -> Attention:
    """Find all products of two signals, and the attentions among them."""
    places: dict[tuple[int, int], Place] = {}
    outputs: set[int] = set()
    products: set[int] = set()
    for op in graph.live_ops():
        if op.name in _FUSED:
            for position, (keyword, place) in enumerate(_FUSED_PLACES):
                value = op.ref(position, keyword)
                if value is not None:
                    places.setdefault((op.index, value), place)
            outputs.add(op.index)
        elif op.name in MATRIX_PRODUCTS:
            signals = _operands(op, dependence)
            if len(signals) >= 2:
                products.add(op.index)
                places.update({(op.index, v): "datamul" for v in signals})
    scores: set[int] = set()
    softmaxes: set[int] = set()
    for op in graph.live_ops():
        if op.name in SOFTMAX and dependence.is_signal(op.inputs[0]):
            before = _scores(graph, op.inputs[0], dependence, products)
            if before is None:
                continue
            softmaxes.add(op.index)
            path, makers = before
            scores |= path
            for maker in makers:
                places.update(_query_key(maker, dependence, _softmax_dim(op, graph)))
            for use, value in _value_products(graph, op.output, products):
                outputs.add(use.index)
                for operand in _operands(use, dependence):
                    places[use.index, operand] = "attn_p" if operand == value else "attn_v"
    return Attention(places, frozenset(scores), frozenset(softmaxes), frozenset(outputs))


def _operands(op: Op, dependence: Dependence) -> list[int]:
    added = op.ref(0) if op.name in ("addmm", "baddbmm", "addbmm") else None
    return [i for i in dict.fromkeys(op.inputs) if dependence.is_signal(i) and i != added]


def _softmax_dim(op: Op, graph: Graph) -> int:
    """Axis of a softmax, counted from the end: the scores may gain axes between product and softmax."""
    dim, rank = op.arg(1, "dim", -1), len(graph.values[op.inputs[0]].shape)
    return dim % rank - rank if isinstance(dim, int) else -1


def _scores(graph: Graph, value: int, dependence: Dependence, products: set[int]) -> tuple[set[int], list[Op]] | None:
    """Back from a softmax through scales, masks and biases to the products that made the scores."""

    def made_of(v: int) -> list[int]:
        op = graph.producer(v)
        through = op is not None and op.index not in products and (op.name in _THROUGH or op.name == "getitem")
        return [i for i in op.inputs if dependence.is_signal(i)] if op is not None and through else []

    path = set(reach(value, made_of, limit=_TO_SCORES))
    makers = [op for op in map(graph.producer, sorted(path)) if op is not None and op.index in products]
    return (path, makers) if makers else None


def _query_key(op: Op, dependence: Dependence, dim: int) -> dict[tuple[int, int], Place]:
    operands = _operands(op, dependence)[:2]
    if len(operands) < 2:
        return {(op.index, v): "attn_q" for v in operands}
    if op.name == "einsum":
        key = _holds_letter(op, operands, dim)
    else:
        key = operands[1] if dim == -1 else operands[0]
    return {(op.index, v): "attn_k" if v == key else "attn_q" for v in operands}


def _holds_letter(op: Op, operands: list[int], dim: int) -> int:
    """The operand of an einsum that has the axis which the softmax runs over."""
    equation: Any = op.arg(0)
    terms, _, out = equation.replace(" ", "").partition("->")
    flat = op.args[1] if isinstance(op.args[1], (list, tuple)) else op.args[1:]
    refs = [r.index for r in flat if isinstance(r, Ref)]
    letter = out[dim] if -dim <= len(out) else out[-1]
    holders = [v for v, t in zip(refs, terms.split(","), strict=False) if letter in t]
    return next((v for v in holders if v in operands), operands[-1])


def _value_products(graph: Graph, value: int, products: set[int]) -> list[tuple[Op, int]]:
    """Forward from a softmax to the products that its probabilities weight values in."""

    def passed_on(v: int) -> list[int]:
        through = (op for op in graph.consumers(v) if op.index not in products and op.name in _THROUGH)
        return [out for op in through for out in op.outputs]

    reached = reach(value, passed_on, limit=_TO_VALUES)
    return [(op, v) for v in reached for op in graph.consumers(v) if op.index in products]
